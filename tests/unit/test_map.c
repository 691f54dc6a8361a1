/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libcommon/map.h"

#include <stdio.h>

#include "tests/unit/unit.h"

#define N 10000

static void test_empty(void)
{
	struct map m = MAP_NULL;
	struct map_iter i = map_begin(&m);

	CU_ASSERT_PTR_NULL(map_get_str(&m, "x"));
	CU_ASSERT_PTR_NULL(map_remove_str(&m, "x"));
	CU_ASSERT_FALSE(map_next(&m, &i));
	map_deinit(&m);
	map_deinit(&m);
}

static void test_set_get_remove(void)
{
	_cleanup_(map_deinit) struct map m = MAP_NULL;
	static int values[N];
	char key[16];

	for (int i = 0; i < N; i++) {
		snprintf(key, sizeof(key), "%d", i);
		CU_ASSERT_EQUAL(map_set_str(&m, key, &values[i], NULL), 0);
	}
	CU_ASSERT_EQUAL(map_size(&m), N);
	for (int i = 0; i < N; i += 2) {
		snprintf(key, sizeof(key), "%d", i);
		CU_ASSERT_PTR_EQUAL(map_remove_str(&m, key), &values[i]);
		CU_ASSERT_PTR_NULL(map_remove_str(&m, key));
	}
	CU_ASSERT_EQUAL(map_size(&m), N / 2);
	for (int i = 0; i < N; i++) {
		snprintf(key, sizeof(key), "%d", i);
		CU_ASSERT_PTR_EQUAL(map_get_str(&m, key), i % 2 ? &values[i] : NULL);
	}
}

static void test_replace_tells_old(void)
{
	_cleanup_(map_deinit) struct map m = MAP_NULL;
	int one, two;
	void *old = &one;

	CU_ASSERT_EQUAL(map_set_str(&m, "k", &one, &old), 0);
	CU_ASSERT_PTR_NULL(old);
	CU_ASSERT_EQUAL(map_set_str(&m, "k", &two, &old), 1);
	CU_ASSERT_PTR_EQUAL(old, &one);
	CU_ASSERT_PTR_EQUAL(map_get_str(&m, "k"), &two);
	CU_ASSERT_EQUAL(map_size(&m), 1);
}

/* Every length around the hash's 8-byte words; keys that are prefixes of each other differ. */
static void test_binary_keys(void)
{
	_cleanup_(map_deinit) struct map m = MAP_NULL;
	static const unsigned char zeros[40];
	static int values[40];

	for (size_t len = 0; len < ARRAY_LEN(values); len++) {
		CU_ASSERT_EQUAL(map_set(&m, zeros, len, &values[len], NULL), 0);
	}
	for (size_t len = 0; len < ARRAY_LEN(values); len++) {
		CU_ASSERT_PTR_EQUAL(map_get(&m, zeros, len), &values[len]);
	}
}

static void test_iterate_and_remove(void)
{
	_cleanup_(map_deinit) struct map m = MAP_NULL;
	static unsigned int seen[N];
	unsigned int n = 0;

	for (unsigned int i = 0; i < N; i++) {
		map_set(&m, &i, sizeof(i), &seen[i], NULL);
	}
	for (struct map_iter i = map_begin(&m); map_next(&m, &i); n++) {
		unsigned int key;

		CU_ASSERT_EQUAL(i.key_len, sizeof(key));
		memcpy(&key, i.key, sizeof(key));
		++*(unsigned int *)i.value;
		if (key % 3 == 0) {
			map_remove(&m, &key, sizeof(key));
		}
	}
	CU_ASSERT_EQUAL(n, N);
	for (unsigned int i = 0; i < N; i++) {
		CU_ASSERT_EQUAL(seen[i], 1);
	}
	CU_ASSERT_EQUAL(map_size(&m), N - (N + 2) / 3);
}

UNIT_MAIN("map", UNIT_TEST(test_empty), UNIT_TEST(test_set_get_remove),
	  UNIT_TEST(test_replace_tells_old), UNIT_TEST(test_binary_keys),
	  UNIT_TEST(test_iterate_and_remove))
