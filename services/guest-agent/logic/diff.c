/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory figures change for ever; they must not wake those who rescan the
 * whole guest at each news, so they are no news.
 */
#include "services/guest-agent/logic/diff.h"

#include "services/guest-agent/logic/keys.h"

/* Nodes with fewer components belong to the toolstack, which may have given them to the guest
 * with permissions that the guest could not give to new ones. */
#define REMOVAL_DEPTH_MIN 2

void guest_ops_deinit(struct guest_ops *ops)
{
	for (size_t i = 0; i < ops->n; i++) {
		free(ops->ops[i].path);
	}
	free(ops->ops);
	*ops = GUEST_OPS_NULL;
}

static void append(struct guest_ops *out, const char *path, size_t path_len, const char *value)
{
	char *copy = strndup(path, path_len);

	if (copy && out->n == out->size) {
		size_t size = out->size ? 2 * out->size : 32;
		struct guest_op *ops = reallocarray(out->ops, size, sizeof(*ops));

		if (!ops) {
			free(copy);
			copy = NULL;
		} else {
			out->ops = ops;
			out->size = size;
		}
	}
	if (!copy) {
		out->error = -ENOMEM;
		return;
	}
	out->ops[out->n++] = (struct guest_op){ copy, value };
	if (!guest_path_is_below(path, "data/meminfo_free") &&
	    !guest_path_is_below(path, "data/meminfo_total")) {
		out->is_news = true;
	}
}

static bool is_removed(const struct guest_ops *out, const char *path)
{
	for (size_t i = 0; i < out->n; i++) {
		if (!out->ops[i].value && guest_path_is_below(path, out->ops[i].path)) {
			return true;
		}
	}
	return false;
}

static bool may_remove(const char *path)
{
	size_t depth = 1;

	for (const char *c = path; *c; c++) {
		depth += *c == '/';
	}
	return depth >= REMOVAL_DEPTH_MIN && !streq(path, GUEST_KEY_VIFS) &&
	       !streq(path, "attr/PVAddons") && !streq(path, GUEST_KEY_UPDATED);
}

/* Length of the highest ancestor of path that can go with it. */
static size_t removal_len(const struct guest_tree *wanted, const char *path)
{
	_cleanup_(xfreep) char *above = strdup(path);
	size_t len = strlen(path);
	char *slash;

	while (above && (slash = strrchr(above, '/'))) {
		*slash = '\0';
		if (!may_remove(above) || guest_tree_covers(wanted, above)) {
			break;
		}
		len = strlen(above);
	}
	return len;
}

static void append_removals(struct guest_ops *out, const struct guest_tree *published,
			    const struct guest_tree *wanted)
{
	for (size_t i = 0; i < published->n; i++) {
		const char *path = published->keys[i].path;

		if (!guest_tree_covers(wanted, path) && may_remove(path) &&
		    !is_removed(out, path)) {
			append(out, path, removal_len(wanted, path), NULL);
		}
	}
}

/* Writes of keys below attr/ or of those that are not. */
static void append_writes(struct guest_ops *out, const struct guest_tree *published,
			  const struct guest_tree *wanted, bool is_attr)
{
	for (size_t i = 0; i < wanted->n; i++) {
		const struct guest_key *key = &wanted->keys[i];
		const struct guest_key *old = guest_tree_find(published, key->path);

		if (guest_path_is_below(key->path, "attr") != is_attr ||
		    streq(key->path, GUEST_KEY_LAST)) {
			continue;
		}
		if (!old || !old->value || !streq(old->value, key->value)) {
			append(out, key->path, strlen(key->path), key->value);
		}
	}
}

int guest_diff(const struct guest_tree *published, const struct guest_tree *wanted, const char *now,
	       struct guest_ops *out)
{
	const struct guest_key *last = guest_tree_find(wanted, GUEST_KEY_LAST);
	const struct guest_key *old = guest_tree_find(published, GUEST_KEY_LAST);

	append_writes(out, published, wanted, false);
	append_removals(out, published, wanted);
	append_writes(out, published, wanted, true);
	if (last && (!old || !old->value || !streq(old->value, last->value))) {
		out->is_news = true;
	}
	if (out->is_news && last) {
		append(out, GUEST_KEY_UPDATED, strlen(GUEST_KEY_UPDATED), now);
		append(out, last->path, strlen(last->path), last->value);
	}
	return out->error;
}
