/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Invariant: for each kind, `used` of the book is the sum over its users and
 * at most `max`.
 */
#include "bus/quota.h"

void quota_book_deinit(struct quota_book *b)
{
	for (struct map_iter i = map_begin(&b->users); map_next(&b->users, &i);) {
		free(i.value);
	}
	map_deinit(&b->users);
	memset(b->used, 0, sizeof(b->used));
}

/* The bytes of a payer that are its key. */
static size_t key_size(const struct quota_payer *payer)
{
	return offsetof(struct quota_payer, name) + strlen(payer->name);
}

struct quota_user *quota_user_ref(struct quota_book *b, const struct quota_payer *payer)
{
	struct quota_user *u = map_get(&b->users, payer, key_size(payer));

	if (!u) {
		u = calloc(1, sizeof(*u));
		if (!u || map_set(&b->users, payer, key_size(payer), u, NULL) < 0) {
			free(u);
			return NULL;
		}
		u->payer = *payer;
	}
	u->n_refs++;
	return u;
}

struct quota_user *quota_user_unref(struct quota_book *b, struct quota_user *u)
{
	if (u && --u->n_refs == 0) {
		free(map_remove(&b->users, &u->payer, key_size(&u->payer)));
	}
	return NULL;
}

size_t quota_share(const struct quota_book *b, const struct quota_user *u, enum quota_kind kind)
{
	size_t left = b->max[kind] - (b->used[kind] - u->used[kind]);

	return left / 2 + (left == 1);
}

bool quota_take(struct quota_book *b, struct quota_user *u, enum quota_kind kind, size_t n)
{
	size_t share = quota_share(b, u, kind);

	/* Of a share that others have made smaller since, more may be held already. */
	if (u->used[kind] > share || n > share - u->used[kind]) {
		return false;
	}
	u->used[kind] += n;
	b->used[kind] += n;
	return true;
}

void quota_give(struct quota_book *b, struct quota_user *u, enum quota_kind kind, size_t n)
{
	u->used[kind] -= n;
	b->used[kind] -= n;
}
