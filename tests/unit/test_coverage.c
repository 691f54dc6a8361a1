/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/coverage.h"

#include <stdio.h>

#include "tests/unit/unit.h"

static void test_coverage__segments_go_beyond_complete(void)
{
	static struct coverage c;

	coverage_reset(&c, 10);
	CU_ASSERT_EQUAL(coverage_of(&c, "vm", 2), 10);
	CU_ASSERT(coverage_add(&c, "vm/a/state", 2, 12));
	CU_ASSERT(coverage_add(&c, "vmx/a", 3, 14));
	CU_ASSERT(coverage_add(&c, "vm/b", 2, 11)); /* never goes back */
	CU_ASSERT_EQUAL(coverage_of(&c, "vm/c", 2), 12);
	CU_ASSERT_EQUAL(coverage_of(&c, "v", 1), 10);
	CU_ASSERT_EQUAL(coverage_of(&c, "vmx", 3), 14);
	CU_ASSERT_EQUAL(coverage_highest(&c), 14);
	coverage_reset(&c, 13);
	CU_ASSERT_EQUAL(coverage_of(&c, "vmx", 3), 13);
	CU_ASSERT_EQUAL(coverage_highest(&c), 13);
}

static void test_coverage__complete_may_overtake_a_segment(void)
{
	static struct coverage c;

	coverage_reset(&c, 0);
	CU_ASSERT(coverage_add(&c, "vm", 2, 5));
	c.complete = 9;
	CU_ASSERT_EQUAL(coverage_of(&c, "vm", 2), 9);
	CU_ASSERT_EQUAL(coverage_highest(&c), 9);
}

static void test_coverage__is_bounded(void)
{
	static struct coverage c;
	char name[2 * BUS_TOPIC_MAX];

	coverage_reset(&c, 0);
	for (unsigned int i = 0; i < COVERAGE_SEGMENTS_MAX; i++) {
		snprintf(name, sizeof(name), "s%u", i);
		CU_ASSERT(coverage_add(&c, name, strlen(name), i + 1));
	}
	CU_ASSERT_FALSE(coverage_add(&c, "one-more", 8, 100));
	CU_ASSERT(coverage_add(&c, "s0", 2, 101));
	CU_ASSERT_EQUAL(coverage_of(&c, "s0", 2), 101);
	memset(name, 'x', sizeof(name));
	coverage_reset(&c, 7);
	CU_ASSERT_FALSE(coverage_add(&c, name, sizeof(name), 8));
	CU_ASSERT_EQUAL(coverage_of(&c, name, sizeof(name)), 7);
}

UNIT_MAIN("coverage", UNIT_TEST(test_coverage__segments_go_beyond_complete),
	  UNIT_TEST(test_coverage__complete_may_overtake_a_segment),
	  UNIT_TEST(test_coverage__is_bounded))
