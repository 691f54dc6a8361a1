/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Entries are in a map by request id and in a list by age.
 */
#include "bus/dedup.h"

#include "bus/envelope.h"
#include "bus/limits.h"
#include "libcommon/clock.h"
#include "libcommon/list.h"
#include "libcommon/map.h"

#define ID_LEN 16

struct answer {
	struct list by_age;
	uint64_t until_ns;
	uint8_t id[ID_LEN];
	uint8_t fingerprint[DEDUP_FINGERPRINT_LEN];
	size_t len;
	uint8_t reply[];
};

struct dedup {
	struct map by_id;
	struct list by_age;
	size_t bytes;
};

/* ---- fingerprint ---- */

static uint64_t rotl(uint64_t x, unsigned int n)
{
	return x << n | x >> (64 - n);
}

static void sip_round(uint64_t v[static 4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] = rotl(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] = rotl(v[2], 32);
}

struct sip {
	uint64_t v[4];
	uint64_t word; /* bytes that are not yet a whole word */
	uint64_t n;    /* bytes so far */
};

static void sip_add(struct sip *s, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++) {
		s->word |= (uint64_t)p[i] << (8 * (s->n % 8));
		if (++s->n % 8 == 0) {
			s->v[3] ^= s->word;
			sip_round(s->v);
			sip_round(s->v);
			s->v[0] ^= s->word;
			s->word = 0;
		}
	}
}

static uint64_t sip_finish(struct sip *s, uint64_t tweak)
{
	s->v[tweak == 0xee ? 2 : 1] ^= tweak;
	for (int i = 0; i < 4; i++) {
		sip_round(s->v);
	}
	return s->v[0] ^ s->v[1] ^ s->v[2] ^ s->v[3];
}

/* Aumasson and Bernstein's function with 128 bits of output and the key zero. */
static void sip128(const char *text, const void *data, size_t len, uint64_t out[static 2])
{
	struct sip s = { .v = { 0x736f6d6570736575ULL, 0x646f72616e646f6dULL ^ 0xee,
				0x6c7967656e657261ULL, 0x7465646279746573ULL } };
	uint64_t last;

	sip_add(&s, text, strlen(text) + 1);
	sip_add(&s, data, len);
	last = s.word | s.n << 56;
	s.v[3] ^= last;
	sip_round(s.v);
	sip_round(s.v);
	s.v[0] ^= last;
	out[0] = sip_finish(&s, 0xee);
	out[1] = sip_finish(&s, 0xdd);
}

void dedup_fingerprint(const char *method, const void *payload, size_t len, uid_t uid,
		       uint8_t out[static DEDUP_FINGERPRINT_LEN])
{
	uint64_t hash[2];

	sip128(method, payload, len, hash);
	for (size_t i = 0; i < 4; i++) {
		out[i] = (uint8_t)(uid >> (8 * i));
	}
	for (size_t i = 0; i < DEDUP_FINGERPRINT_LEN - 4; i++) {
		out[4 + i] = (uint8_t)(hash[i / 8] >> (8 * (i % 8)));
	}
}

/* ---- the store ---- */

struct dedup *dedup_new(void)
{
	struct dedup *d = calloc(1, sizeof(*d));

	if (d) {
		list_init(&d->by_age);
	}
	return d;
}

static void forget(struct dedup *d, struct answer *a)
{
	map_remove(&d->by_id, a->id, sizeof(a->id));
	list_unlink(&a->by_age);
	d->bytes -= a->len;
	free(a);
}

struct dedup *dedup_free(struct dedup *d)
{
	if (d) {
		list_for_each_safe (i, &d->by_age) {
			forget(d, list_entry(i, struct answer, by_age));
		}
		map_deinit(&d->by_id);
		free(d);
	}
	return NULL;
}

/* Make room for one more of that size. */
static void expire(struct dedup *d, size_t len)
{
	uint64_t now = clock_boot_ns();
	struct answer *a;

	while ((a = list_first(&d->by_age, struct answer, by_age)) &&
	       (a->until_ns <= now || map_size(&d->by_id) >= BUS_DEDUP_MAX ||
		d->bytes + len > DEDUP_BYTES_MAX)) {
		forget(d, a);
	}
}

static int find(void *userdata, const uint8_t id[16], const uint8_t fingerprint[16],
		uint8_t **reply, size_t *len)
{
	struct dedup *d = userdata;
	const struct answer *a = map_get(&d->by_id, id, ID_LEN);

	if (!a || a->until_ns <= clock_boot_ns()) {
		return 1;
	}
	if (memcmp(a->fingerprint, fingerprint, DEDUP_FINGERPRINT_LEN) != 0) {
		return 2;
	}
	*reply = malloc(MAX(a->len, 1U));
	if (!*reply) {
		return -ENOMEM;
	}
	memcpy(*reply, a->reply, a->len);
	*len = a->len;
	return 0;
}

/* "Now is not possible, ask again" must lead to an execution. */
static bool is_worth_keeping(const uint8_t *reply, size_t len)
{
	int code = envelope_reply_code(reply, len);

	return code != CODE_UNAVAILABLE && code != CODE_RESOURCE_EXHAUSTED;
}

static int save(void *userdata, const uint8_t id[16], const uint8_t fingerprint[16],
		const uint8_t *reply, size_t len)
{
	struct dedup *d = userdata;
	struct answer *a = map_get(&d->by_id, id, ID_LEN);

	if (!is_worth_keeping(reply, len)) {
		return 0;
	}
	if (a) {
		forget(d, a);
	}
	expire(d, len);
	a = malloc(sizeof(*a) + len);
	if (!a) {
		return -ENOMEM;
	}
	*a = (struct answer){ .len = len,
			      .until_ns = clock_boot_ns() + BUS_DEDUP_SECONDS * NSEC_PER_SEC };
	memcpy(a->id, id, sizeof(a->id));
	memcpy(a->fingerprint, fingerprint, sizeof(a->fingerprint));
	memcpy(a->reply, reply, len);
	if (map_set(&d->by_id, id, ID_LEN, a, NULL) < 0) {
		free(a);
		return -ENOMEM;
	}
	list_append(&d->by_age, &a->by_age);
	d->bytes += len;
	return 0;
}

struct bus_dedup dedup_interface(struct dedup *d)
{
	return (struct bus_dedup){ .find = find, .save = save, .userdata = d };
}
