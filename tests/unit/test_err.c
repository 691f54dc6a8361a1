/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libcommon/err.h"

#include <limits.h>

#include "libcommon/log.h"
#include "libcommon/strbuf.h"
#include "tests/unit/log_util.h"
#include "tests/unit/unit.h"

static void test_trace_at_debug_only(void)
{
	int n = 0;

	log_set_sink(log_collect);
	log_set_level(LOG_LEVEL_INFO);
	CU_ASSERT_EQUAL(err_trace(-ENOENT), -ENOENT);
	CU_ASSERT_EQUAL(log_collected.len, 0);
	log_set_level(LOG_LEVEL_DEBUG);
	CU_ASSERT_EQUAL(err_trace((n++, -ENOENT)), -ENOENT);
	CU_ASSERT_EQUAL(n, 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(strbuf_str(&log_collected),
				      "debug:test_trace_at_debug_only returns "
				      "No such file or directory (test_err.c:"));
	strbuf_reset(&log_collected);
	CU_ASSERT_EQUAL(err_trace(0), 0);
	CU_ASSERT_EQUAL(err_trace(7), 7);
	CU_ASSERT_EQUAL(log_collected.len, 0);
	strbuf_deinit(&log_collected);
	log_set_sink(NULL);
}

static void test_text(void)
{
	CU_ASSERT_STRING_EQUAL(err_text(-EACCES), "Permission denied");
	CU_ASSERT_STRING_EQUAL(err_text(EACCES), "Permission denied");
	CU_ASSERT_STRING_EQUAL(err_text(-99999), "unknown error");
	CU_ASSERT_STRING_EQUAL(err_text(INT_MIN), "unknown error");
}

static void test_errno_is_never_success(void)
{
	errno = ENOSPC;
	CU_ASSERT_EQUAL(err_errno(), -ENOSPC);
	errno = 0;
	CU_ASSERT_EQUAL(err_errno(), -EIO);
}

UNIT_MAIN("err", UNIT_TEST(test_trace_at_debug_only), UNIT_TEST(test_text),
	  UNIT_TEST(test_errno_is_never_success))
