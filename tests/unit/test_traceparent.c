/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libcommon/traceparent.h"

#include "libcommon/strbuf.h"
#include "tests/unit/log_util.h"
#include "tests/unit/unit.h"

#define TRACE_ID  "4bf92f3577b34da6a3ce929d0e0e4736"
#define PARENT_ID "00f067aa0ba902b7"
#define EXAMPLE	  "00-" TRACE_ID "-" PARENT_ID "-01"
#define ZEROS_16  "0000000000000000"

static void test_validation(void)
{
	static const struct {
		const char *text;
		bool is_valid;
	} cases[] = {
		{ EXAMPLE, true },
		{ "00-" TRACE_ID "-" PARENT_ID "-00", true },
		{ "00-" TRACE_ID "-" PARENT_ID "-ff", true },
		{ "00-" ZEROS_16 "0000000000000001-0000000000000001-00", true },
		{ "", false },
		{ "00-", false },
		{ "01-" TRACE_ID "-" PARENT_ID "-01", false }, /* other versions */
		{ "cc-" TRACE_ID "-" PARENT_ID "-01", false },
		{ "ff-" TRACE_ID "-" PARENT_ID "-01", false },
		{ EXAMPLE "-more", false }, /* 00 has nothing behind the flags */
		{ EXAMPLE " ", false },
		{ " " EXAMPLE, false },
		{ "00-" TRACE_ID "-" PARENT_ID "-1", false },
		{ "00-" TRACE_ID "-" PARENT_ID "-0g", false },
		{ "00-" TRACE_ID "-" PARENT_ID, false },
		{ "00-" ZEROS_16 ZEROS_16 "-" PARENT_ID "-01", false },
		{ "00-" TRACE_ID "-" ZEROS_16 "-01", false },
		{ "00-4BF92F3577B34DA6A3CE929D0E0E4736-" PARENT_ID "-01", false },
		{ "00-4bf92f3577b34da6a3ce929d0e0e473-" PARENT_ID "-01", false },
		{ "00-4bf92f3577b34da6a3ce929d0e0e473-0" PARENT_ID "-01", false },
		{ "00_" TRACE_ID "-" PARENT_ID "-01", false },
		{ "00-" TRACE_ID "_" PARENT_ID "-01", false },
		{ "00-" TRACE_ID "-" PARENT_ID "_01", false },
		{ "00-4bf92f3577b34da6a3ce929d0e0e47\n6-" PARENT_ID "-01", false },
	};
	char id[TRACE_ID_SIZE];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		CU_ASSERT_EQUAL(traceparent_is_valid(cases[i].text), cases[i].is_valid);
		traceparent_trace_id(cases[i].text, id);
		CU_ASSERT_EQUAL(id[0] != '\0', cases[i].is_valid);
	}
	traceparent_trace_id(EXAMPLE, id);
	CU_ASSERT_STRING_EQUAL(id, TRACE_ID);
}

static void test_new_ones_differ(void)
{
	char a[TRACEPARENT_SIZE], b[TRACEPARENT_SIZE];

	traceparent_new(a);
	traceparent_new(b);
	CU_ASSERT_TRUE(traceparent_is_valid(a));
	CU_ASSERT_TRUE(traceparent_is_valid(b));
	CU_ASSERT_TRUE(strncmp(a, b, 35) != 0);
	CU_ASSERT_STRING_EQUAL(a + 52, "-01");
}

static void test_child(void)
{
	char child[TRACEPARENT_SIZE];

	traceparent_child(EXAMPLE, child);
	CU_ASSERT_TRUE(traceparent_is_valid(child));
	CU_ASSERT_EQUAL(strncmp(child, EXAMPLE, 36), 0);
	CU_ASSERT_TRUE(strncmp(child + 36, PARENT_ID, 16) != 0);
	CU_ASSERT_STRING_EQUAL(child + 52, "-01");
	traceparent_child("00-" TRACE_ID "-" PARENT_ID "-fe", child);
	CU_ASSERT_STRING_EQUAL(child + 52, "-02");
	traceparent_child(child, child);
	CU_ASSERT_TRUE(traceparent_is_valid(child));
	CU_ASSERT_EQUAL(strncmp(child, EXAMPLE, 36), 0);
}

static void test_lines_of_a_scope(void)
{
	struct trace_scope call, task, none;

	log_set_sink(log_collect);
	trace_enter(&call, EXAMPLE, NULL);
	log_warning("call");
	trace_enter(&task, EXAMPLE, "0a1b");
	log_warning("task");
	trace_enter(&none, "junk", "");
	log_warning("none");
	trace_leave(&none);
	trace_leave(&task);
	trace_leave(&call);
	log_warning("after");
	log_set_sink(NULL);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&log_collected),
			       "warning:call|TRACE_ID=" TRACE_ID "\n"
			       "warning:task|TRACE_ID=" TRACE_ID "|TASK=0a1b\n"
			       "warning:none\n"
			       "warning:after\n");
	strbuf_deinit(&log_collected);
}

UNIT_MAIN("traceparent", UNIT_TEST(test_validation), UNIT_TEST(test_new_ones_differ),
	  UNIT_TEST(test_child), UNIT_TEST(test_lines_of_a_scope))
