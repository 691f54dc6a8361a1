/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Hash map from byte strings to pointers.  Keys are copied; values belong to
 * the caller.  The hash is seeded at random per map (SipHash-1-3), because
 * keys may come from peers.
 */
#include "libcommon/base.h"

struct map_entry;

struct map {
	struct map_entry **buckets;
	size_t n_buckets;
	size_t n;
	uint64_t seed[2];
};

#define MAP_NULL ((struct map){ 0 })

/* Frees the entries, not the values. Idempotent. */
void map_deinit(struct map *m);
/* 0; 1 when there was one already (value replaced, the old one in *old when given); -ENOMEM. */
int map_set(struct map *m, const void *key, size_t key_len, void *value, void **old);
void *map_get(const struct map *m, const void *key, size_t key_len);
/* The removed value or NULL. */
void *map_remove(struct map *m, const void *key, size_t key_len);
size_t map_size(const struct map *m);

/* Iterate in no order; the current entry may be removed while iterating:
 *   for (struct map_iter i = map_begin(&m); map_next(&m, &i);) use(i.key, i.key_len, i.value); */
struct map_iter {
	const void *key;
	size_t key_len;
	void *value;
	size_t bucket;
	struct map_entry *next;
};
struct map_iter map_begin(const struct map *m);
bool map_next(const struct map *m, struct map_iter *i);

/* NUL-terminated keys. */
static inline int map_set_str(struct map *m, const char *key, void *value, void **old)
{
	return map_set(m, key, strlen(key), value, old);
}
static inline void *map_get_str(const struct map *m, const char *key)
{
	return map_get(m, key, strlen(key));
}
static inline void *map_remove_str(struct map *m, const char *key)
{
	return map_remove(m, key, strlen(key));
}
