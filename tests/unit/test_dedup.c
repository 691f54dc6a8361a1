/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fingerprints, and the store of answers in memory with a clock that can be set.
 */
#include <sys/syscall.h>

#include "bus/dedup.h"
#include "bus/envelope.h"
#include "bus/limits.h"
#include "libcommon/clock.h"
#include "tests/unit/unit.h"

static uint64_t clock_offset_s;

/* In place of libc's. */
int clock_gettime(clockid_t id, struct timespec *t)
{
	int r = (int)syscall(SYS_clock_gettime, id, t);

	if (id == CLOCK_BOOTTIME) {
		t->tv_sec += (time_t)clock_offset_s;
	}
	return r;
}

struct answer {
	uint8_t *bytes;
	size_t len;
};

static struct answer make_answer(int code, const char *message)
{
	struct answer a = { 0 };

	CU_ASSERT_EQUAL(envelope_fail(NULL, code, message, &a.bytes, &a.len), 0);
	return a;
}

static void make_id(uint8_t id[static 16], uint32_t n)
{
	memset(id, 0, 16);
	memcpy(id, &n, sizeof(n));
}

static int save(const struct bus_dedup *d, uint32_t id_n, char mark, int code, const char *message)
{
	struct answer a = make_answer(code, message);
	uint8_t id[16], fingerprint[16];
	int r;

	make_id(id, id_n);
	memset(fingerprint, mark, sizeof(fingerprint));
	r = d->save(d->userdata, id, fingerprint, a.bytes, a.len);
	free(a.bytes);
	return r;
}

static int find(const struct bus_dedup *d, uint32_t id_n, char mark, const char *message)
{
	struct answer want = make_answer(CODE_NOT_FOUND, message);
	uint8_t id[16], fingerprint[16], *reply = NULL;
	size_t len = 0;
	int r;

	make_id(id, id_n);
	memset(fingerprint, mark, sizeof(fingerprint));
	r = d->find(d->userdata, id, fingerprint, &reply, &len);
	if (r == 0) {
		CU_ASSERT(len == want.len && memcmp(reply, want.bytes, len) == 0);
	} else {
		CU_ASSERT_PTR_NULL(reply);
	}
	free(reply);
	free(want.bytes);
	return r;
}

static void test_find_and_save(void)
{
	struct dedup *store = dedup_new();
	struct bus_dedup d = dedup_interface(store);

	CU_ASSERT_EQUAL(find(&d, 1, 'a', ""), 1);
	CU_ASSERT_EQUAL(save(&d, 1, 'a', CODE_NOT_FOUND, "one"), 0);
	CU_ASSERT_EQUAL(save(&d, 2, 'b', CODE_NOT_FOUND, "two"), 0);
	CU_ASSERT_EQUAL(find(&d, 1, 'a', "one"), 0);
	CU_ASSERT_EQUAL(find(&d, 2, 'b', "two"), 0);
	CU_ASSERT_EQUAL(find(&d, 1, 'b', ""), 2);
	CU_ASSERT_EQUAL(save(&d, 1, 'a', CODE_NOT_FOUND, "again"), 0);
	CU_ASSERT_EQUAL(find(&d, 1, 'a', "again"), 0);
	/* What says "ask again" is not kept. */
	CU_ASSERT_EQUAL(save(&d, 3, 'c', CODE_UNAVAILABLE, "later"), 0);
	CU_ASSERT_EQUAL(save(&d, 4, 'c', CODE_RESOURCE_EXHAUSTED, "later"), 0);
	CU_ASSERT_EQUAL(find(&d, 3, 'c', ""), 1);
	CU_ASSERT_EQUAL(find(&d, 4, 'c', ""), 1);
	dedup_free(store);
}

static void test_expiry(void)
{
	struct dedup *store = dedup_new();
	struct bus_dedup d = dedup_interface(store);

	CU_ASSERT_EQUAL(save(&d, 1, 'a', CODE_NOT_FOUND, "one"), 0);
	clock_offset_s += BUS_DEDUP_SECONDS - 10;
	CU_ASSERT_EQUAL(find(&d, 1, 'a', "one"), 0);
	CU_ASSERT_EQUAL(save(&d, 2, 'a', CODE_NOT_FOUND, "two"), 0);
	clock_offset_s += 20;
	CU_ASSERT_EQUAL(find(&d, 1, 'a', ""), 1);
	CU_ASSERT_EQUAL(find(&d, 2, 'a', "two"), 0);
	CU_ASSERT_EQUAL(save(&d, 1, 'b', CODE_NOT_FOUND, "new"), 0);
	CU_ASSERT_EQUAL(find(&d, 1, 'b', "new"), 0);
	dedup_free(store);
}

static void test_limits(void)
{
	struct dedup *store = dedup_new();
	struct bus_dedup d = dedup_interface(store);
	size_t size = 3U << 20;
	char *big = malloc(size + 1);

	for (uint32_t i = 0; i <= BUS_DEDUP_MAX; i++) {
		CU_ASSERT_EQUAL(save(&d, i, 'a', CODE_NOT_FOUND, "x"), 0);
	}
	CU_ASSERT_EQUAL(find(&d, 0, 'a', ""), 1);
	CU_ASSERT_EQUAL(find(&d, 1, 'a', "x"), 0);
	CU_ASSERT_EQUAL(find(&d, BUS_DEDUP_MAX, 'a', "x"), 0);
	memset(big, 'b', size);
	big[size] = '\0';
	for (uint32_t i = 0; i < 11; i++) {
		CU_ASSERT_EQUAL(save(&d, 100000 + i, 'a', CODE_NOT_FOUND, big), 0);
	}
	CU_ASSERT_EQUAL(find(&d, BUS_DEDUP_MAX, 'a', ""), 1);
	CU_ASSERT_EQUAL(find(&d, 100000, 'a', ""), 1); /* 11 * 3 MiB are more than 32 */
	CU_ASSERT_EQUAL(find(&d, 100001, 'a', big), 0);
	free(big);
	dedup_free(store);
	CU_ASSERT_PTR_NULL(dedup_free(NULL));
}

/* Stored fingerprints must stay valid: the values are part of the format. */
static void test_fingerprint(void)
{
	static const uint8_t want[] = { 0xe8, 0x03, 0x00, 0x00 };
	uint8_t a[16], b[16];

	dedup_fingerprint("M", "payload", 7, 1000, a);
	CU_ASSERT_EQUAL(memcmp(a, want, sizeof(want)), 0);
	dedup_fingerprint("M", "payload", 7, 1000, b);
	CU_ASSERT_EQUAL(memcmp(a, b, 16), 0);
	dedup_fingerprint("M", "payload", 7, 1001, b);
	CU_ASSERT_NOT_EQUAL(memcmp(a, b, 16), 0);
	CU_ASSERT_EQUAL(memcmp(a + 4, b + 4, 12), 0);
	dedup_fingerprint("N", "payload", 7, 1000, b);
	CU_ASSERT_NOT_EQUAL(memcmp(a, b, 16), 0);
	dedup_fingerprint("M", "payloae", 7, 1000, b);
	CU_ASSERT_NOT_EQUAL(memcmp(a, b, 16), 0);
	dedup_fingerprint("M", "payload", 6, 1000, b);
	CU_ASSERT_NOT_EQUAL(memcmp(a, b, 16), 0);
	dedup_fingerprint("M", NULL, 0, 1000, b);
	CU_ASSERT_NOT_EQUAL(memcmp(a, b, 16), 0);
	/* The method's end is part of what is hashed. */
	dedup_fingerprint("Mp", "ayload", 6, 1000, b);
	CU_ASSERT_NOT_EQUAL(memcmp(a, b, 16), 0);
}

UNIT_MAIN("dedup", UNIT_TEST(test_find_and_save), UNIT_TEST(test_expiry), UNIT_TEST(test_limits),
	  UNIT_TEST(test_fingerprint))
