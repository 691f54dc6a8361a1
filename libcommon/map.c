/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Chained buckets, a power of two of them, at most one entry a bucket on
 * average.  The hash is SipHash-1-3 (Aumasson and Bernstein) with a random key
 * a map, so a peer that chooses keys cannot choose collisions.
 */
#include "libcommon/map.h"

#include "libcommon/uuid.h"

#define N_BUCKETS_FIRST 16

struct map_entry {
	struct map_entry *next;
	uint64_t hash;
	void *value;
	size_t key_len;
	unsigned char key[];
};

static uint64_t rotl(uint64_t x, unsigned int n)
{
	return x << n | x >> (64 - n);
}

static void sip_round(uint64_t v[static 4])
{
	v[0] += v[1];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[0] = rotl(v[0], 32);
	v[2] += v[3];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[2] = rotl(v[2], 32);
}

/* Bytes in memory order of the host: the hash never leaves the process. */
static uint64_t siphash13(const uint64_t seed[static 2], const unsigned char *data, size_t len)
{
	uint64_t v[4] = {
		seed[0] ^ 0x736f6d6570736575ULL,
		seed[1] ^ 0x646f72616e646f6dULL,
		seed[0] ^ 0x6c7967656e657261ULL,
		seed[1] ^ 0x7465646279746573ULL,
	};
	uint64_t last = (uint64_t)len << 56;
	uint64_t word;

	for (; len >= sizeof(word); data += sizeof(word), len -= sizeof(word)) {
		memcpy(&word, data, sizeof(word));
		v[3] ^= word;
		sip_round(v);
		v[0] ^= word;
	}
	for (size_t i = 0; i < len; i++) {
		last |= (uint64_t)data[i] << (8 * i);
	}
	v[3] ^= last;
	sip_round(v);
	v[0] ^= last;
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++) {
		sip_round(v);
	}
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void map_deinit(struct map *m)
{
	for (size_t i = 0; i < m->n_buckets; i++) {
		for (struct map_entry *e = m->buckets[i], *next; e; e = next) {
			next = e->next;
			free(e);
		}
	}
	free(m->buckets);
	*m = MAP_NULL;
}

/* The link that points to the entry of the key, or to the NULL at the end of its bucket. */
static struct map_entry **find(const struct map *m, uint64_t hash, const void *key, size_t key_len)
{
	struct map_entry **link = &m->buckets[hash & (m->n_buckets - 1)];

	for (; *link; link = &(*link)->next) {
		const struct map_entry *e = *link;

		if (e->hash == hash && e->key_len == key_len &&
		    (key_len == 0 || memcmp(e->key, key, key_len) == 0)) {
			break;
		}
	}
	return link;
}

static int grow(struct map *m)
{
	size_t n = m->n_buckets ? m->n_buckets * 2 : N_BUCKETS_FIRST;
	struct map_entry **buckets = calloc(n, sizeof(*buckets));

	if (!buckets) {
		return -ENOMEM;
	}
	if (m->n_buckets == 0) {
		random_bytes(m->seed, sizeof(m->seed));
	}
	for (size_t i = 0; i < m->n_buckets; i++) {
		for (struct map_entry *e = m->buckets[i], *next; e; e = next) {
			next = e->next;
			e->next = buckets[e->hash & (n - 1)];
			buckets[e->hash & (n - 1)] = e;
		}
	}
	free(m->buckets);
	m->buckets = buckets;
	m->n_buckets = n;
	return 0;
}

int map_set(struct map *m, const void *key, size_t key_len, void *value, void **old)
{
	struct map_entry **link, *e;
	uint64_t hash;

	if (m->n >= m->n_buckets && grow(m) < 0 && m->n_buckets == 0) {
		return -ENOMEM; /* a map that cannot grow only gets slower */
	}
	hash = siphash13(m->seed, key, key_len);
	link = find(m, hash, key, key_len);
	e = *link;
	if (old) {
		*old = e ? e->value : NULL;
	}
	if (e) {
		e->value = value;
		return 1;
	}
	if (key_len > SIZE_MAX - sizeof(*e)) {
		return -ENOMEM;
	}
	e = malloc(sizeof(*e) + key_len);
	if (!e) {
		return -ENOMEM;
	}
	*e = (struct map_entry){ .hash = hash, .value = value, .key_len = key_len };
	if (key_len > 0) {
		memcpy(e->key, key, key_len);
	}
	*link = e;
	m->n++;
	return 0;
}

void *map_get(const struct map *m, const void *key, size_t key_len)
{
	const struct map_entry *e;

	if (m->n == 0) {
		return NULL;
	}
	e = *find(m, siphash13(m->seed, key, key_len), key, key_len);
	return e ? e->value : NULL;
}

void *map_remove(struct map *m, const void *key, size_t key_len)
{
	struct map_entry **link, *e;
	void *value;

	if (m->n == 0) {
		return NULL;
	}
	link = find(m, siphash13(m->seed, key, key_len), key, key_len);
	e = *link;
	if (!e) {
		return NULL;
	}
	value = e->value;
	*link = e->next;
	m->n--;
	free(e);
	return value;
}

size_t map_size(const struct map *m)
{
	return m->n;
}

struct map_iter map_begin(const struct map *m)
{
	return (struct map_iter){ .next = m->n_buckets > 0 ? m->buckets[0] : NULL };
}

bool map_next(const struct map *m, struct map_iter *i)
{
	const struct map_entry *e;

	while (!i->next) {
		if (i->bucket + 1 >= m->n_buckets) {
			return false;
		}
		i->next = m->buckets[++i->bucket];
	}
	e = i->next;
	i->key = e->key;
	i->key_len = e->key_len;
	i->value = e->value;
	i->next = e->next;
	return true;
}
