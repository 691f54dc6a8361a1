/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libcommon/arena.h"

#include "tests/unit/unit.h"

static void test_limit_is_exact(void)
{
	_cleanup_(arena_deinit) struct arena a;

	for (size_t limit = 0; limit <= 64; limit++) {
		size_t n = 0;

		arena_init(&a, limit);
		while (arena_alloc(&a, 1)) {
			n++;
		}
		CU_ASSERT_EQUAL(n, limit / 16);
		arena_deinit(&a);
	}
	arena_init(&a, 1 << 20);
	CU_ASSERT_PTR_NULL(arena_alloc(&a, (1 << 20) + 1));
	CU_ASSERT_PTR_NOT_NULL(arena_alloc(&a, 1 << 20));
	CU_ASSERT_PTR_NULL(arena_alloc(&a, 0));
}

static void test_aligned_and_zeroed(void)
{
	_cleanup_(arena_deinit) struct arena a;
	static const char zero[5000];

	arena_init(&a, 64 << 20);
	for (size_t size = 0; size < sizeof(zero); size += 7) {
		char *p = arena_alloc(&a, size);

		if (!p || (uintptr_t)p % 16 != 0 || memcmp(p, zero, size) != 0) {
			CU_FAIL("a piece is not as promised");
			return;
		}
		memset(p, 0xff, size);
	}
}

static void test_reset_frees(void)
{
	_cleanup_(arena_deinit) struct arena a = { 0 };

	arena_deinit(&a); /* zeroed */
	arena_init(&a, 4096);
	for (int i = 0; i < 3; i++) {
		CU_ASSERT_PTR_NOT_NULL(arena_alloc(&a, 4000));
		CU_ASSERT_PTR_NULL(arena_alloc(&a, 4000));
		arena_reset(&a);
	}
	arena_deinit(&a);
	arena_deinit(&a);
}

static void test_huge_sizes(void)
{
	_cleanup_(arena_deinit) struct arena a;

	arena_init(&a, SIZE_MAX);
	CU_ASSERT_PTR_NOT_NULL(arena_alloc(&a, 10));
	CU_ASSERT_PTR_NULL(arena_alloc(&a, SIZE_MAX));
	CU_ASSERT_PTR_NULL(arena_alloc(&a, SIZE_MAX - 8));
	CU_ASSERT_PTR_NULL(arena_alloc(&a, PTRDIFF_MAX));
	CU_ASSERT_PTR_NULL(arena_strndup(&a, "", SIZE_MAX));
}

static void test_strings(void)
{
	_cleanup_(arena_deinit) struct arena a;

	arena_init(&a, 64);
	CU_ASSERT_STRING_EQUAL(arena_strndup(&a, "domain", 3), "dom");
	CU_ASSERT_STRING_EQUAL(arena_strndup(&a, NULL, 0), "");
	CU_ASSERT_STRING_EQUAL(arena_printf(&a, "%s/%d", "vif", 7), "vif/7");
	CU_ASSERT_PTR_NULL(arena_printf(&a, "%20d", 1));
}

UNIT_MAIN("arena", UNIT_TEST(test_limit_is_exact), UNIT_TEST(test_aligned_and_zeroed),
	  UNIT_TEST(test_reset_frees), UNIT_TEST(test_huge_sizes), UNIT_TEST(test_strings))
