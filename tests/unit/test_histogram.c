/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/histogram.h"

#include "tests/unit/unit.h"

static void test_is_small(void)
{
	CU_ASSERT_TRUE(sizeof(struct histogram) <= 1024);
}

static void test_empty(void)
{
	const struct histogram h = { 0 };

	CU_ASSERT_EQUAL(histogram_quantile(&h, 50), 0);
	CU_ASSERT_EQUAL(histogram_quantile(&h, 99), 0);
}

static void test_small_values_are_exact(void)
{
	struct histogram h = { 0 };

	for (uint64_t v = 0; v < 8; v++) {
		histogram_add(&h, v);
	}
	CU_ASSERT_EQUAL(histogram_quantile(&h, 1), 0);
	CU_ASSERT_EQUAL(histogram_quantile(&h, 50), 3);
	CU_ASSERT_EQUAL(histogram_quantile(&h, 63), 5);
	CU_ASSERT_EQUAL(histogram_quantile(&h, 100), 7);
}

/* Of a single value each quantile is that value, up to the width of a bucket. */
static void test_error_is_bounded(void)
{
	uint64_t last = 0;

	for (uint64_t v = 1; v < UINT32_MAX; v += 1 + v / 17) {
		struct histogram h = { 0 };
		uint64_t q;

		histogram_add(&h, v);
		q = histogram_quantile(&h, 50);
		CU_ASSERT_TRUE(q >= v && q - v <= v / 8);
		CU_ASSERT_TRUE(q >= last);
		CU_ASSERT_EQUAL(histogram_quantile(&h, 99), q);
		last = q;
	}
}

static void test_huge_values(void)
{
	const uint64_t huge[] = { UINT32_MAX - 1ULL, UINT32_MAX, UINT32_MAX + 1ULL, UINT64_MAX };

	for (size_t i = 0; i < ARRAY_LEN(huge); i++) {
		struct histogram h = { 0 };

		histogram_add(&h, huge[i]);
		CU_ASSERT_EQUAL(histogram_quantile(&h, 50), UINT32_MAX);
	}
}

static void test_quantiles_of_many(void)
{
	struct histogram h = { 0 };
	uint64_t p50, p99;

	for (uint64_t v = 1; v <= 10000; v++) {
		histogram_add(&h, v);
	}
	p50 = histogram_quantile(&h, 50);
	p99 = histogram_quantile(&h, 99);
	CU_ASSERT_TRUE(p50 >= 5000 && p50 <= 5625);
	CU_ASSERT_TRUE(p99 >= 9900 && p99 <= 11138);
	histogram_add(&h, 1000000);
	CU_ASSERT_TRUE(histogram_quantile(&h, 100) >= 1000000);
}

/* What was long ago weighs less and less, and nothing overflows. */
static void test_old_values_fade(void)
{
	struct histogram h = { 0 };

	for (int i = 0; i < 100000; i++) {
		histogram_add(&h, 1000000);
	}
	CU_ASSERT_TRUE(h.n < HISTOGRAM_MAX);
	CU_ASSERT_TRUE(histogram_quantile(&h, 50) >= 1000000);
	for (int i = 0; i < 60000; i++) {
		histogram_add(&h, 5);
	}
	CU_ASSERT_EQUAL(histogram_quantile(&h, 50), 5);
	for (int i = 0; i < 400000; i++) {
		histogram_add(&h, 5);
	}
	CU_ASSERT_EQUAL(histogram_quantile(&h, 99), 5);
	CU_ASSERT_TRUE(h.n < HISTOGRAM_MAX);
}

UNIT_MAIN("histogram", UNIT_TEST(test_is_small), UNIT_TEST(test_empty),
	  UNIT_TEST(test_small_values_are_exact), UNIT_TEST(test_error_is_bounded),
	  UNIT_TEST(test_huge_values), UNIT_TEST(test_quantiles_of_many),
	  UNIT_TEST(test_old_values_fade))
