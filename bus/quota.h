/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What each user holds of things of which there is a bounded number.
 *
 * The rule: a user may hold at most half of what all others leave,
 *     (max - held by others) / 2, and at least 1 while any is left.
 * So the first that takes all it can get has half, a second one a quarter, a
 * third one an eighth, and who comes after n of them still gets max / 2^(n+1).
 * Nobody is exempt: root has an account as everybody has.  What is given back
 * counts at once.  Nothing blocks.
 */
#include <sys/types.h>

#include "bus/engine.h"
#include "libcommon/base.h"
#include "libcommon/map.h"

enum quota_kind {
	QUOTA_CONNECTIONS, /* of one socket */
	QUOTA_BYTES,	   /* messages that have come in part, answers that wait to be read */
	QUOTA_CALLS,	   /* in flight */
	QUOTA_RESERVE,	   /* in flight, of the essential methods when QUOTA_CALLS is used up */
	QUOTA_KINDS,
};

/* Whoever is not vouched for by the kernel: those with a certificate have an account for each name
 * in one, all others share one, and so do those who have not shown their certificate yet. */
#define QUOTA_UID_UNKNOWN     ((uid_t)-1)
#define QUOTA_UID_CERTIFICATE ((uid_t)-2)
#define QUOTA_UID_SHAKING     ((uid_t)-3)

/* Whose account it is. */
struct quota_payer {
	uid_t uid;
	char name[BUS_PEER_NAME_SIZE]; /* QUOTA_UID_CERTIFICATE: its CN; else "" */
};

static inline struct quota_payer quota_payer(const struct bus_peer *peer)
{
	struct quota_payer payer = { .uid = QUOTA_UID_UNKNOWN };

	if (peer->has_creds) {
		payer.uid = peer->uid;
	} else if (peer->has_cert) {
		payer.uid = QUOTA_UID_CERTIFICATE;
		memcpy(payer.name, peer->name, sizeof(payer.name));
	}
	return payer;
}

static inline bool quota_payer_equal(const struct quota_payer *a, const struct quota_payer *b)
{
	return a->uid == b->uid && streq(a->name, b->name);
}

struct quota_user {
	struct quota_payer payer;
	size_t n_refs;
	size_t used[QUOTA_KINDS];
};

struct quota_book {
	size_t max[QUOTA_KINDS]; /* set by the owner */
	size_t used[QUOTA_KINDS];
	struct map users; /* a payer's uid and name -> struct quota_user */
};

/* Idempotent. All references are void afterwards. */
void quota_book_deinit(struct quota_book *b);
/* With one more reference; NULL when out of memory. */
struct quota_user *quota_user_ref(struct quota_book *b, const struct quota_payer *payer);
/* Only when nothing is held by this reference. NULL is allowed. Returns NULL. */
struct quota_user *quota_user_unref(struct quota_book *b, struct quota_user *u);
/* What the user may hold at most, as things are. */
size_t quota_share(const struct quota_book *b, const struct quota_user *u, enum quota_kind kind);
/* False: it would be more than the user's share, and nothing was taken. */
bool quota_take(struct quota_book *b, struct quota_user *u, enum quota_kind kind, size_t n);
void quota_give(struct quota_book *b, struct quota_user *u, enum quota_kind kind, size_t n);
