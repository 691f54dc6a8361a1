/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "services/ops/worker/lines.h"

#include <stdio.h>

#include "tests/unit/unit.h"

static unsigned int n_lines;
static char last_line[LINES_TEXT_MAX];

static void on_line(xentoollog_level level _unused_, const char *text, void *userdata _unused_)
{
	n_lines++;
	snprintf(last_line, sizeof(last_line), "%s", text);
}

static void on_progress(const char *what _unused_, int percent, void *userdata)
{
	*(int *)userdata = percent;
}

static void test_lines(void)
{
	struct lines l;
	char text[256];
	int percent = -1;

	lines_init(&l, on_line, on_progress, &percent);
	lines_error_text(&l, text, sizeof(text));
	CU_ASSERT_STRING_EQUAL(text, "");
	lines_add(&l, XTL_INFO, "no");
	CU_ASSERT_EQUAL(n_lines, 0);
	lines_add(&l, XTL_NOTICE, "yes \x1b[2J");
	CU_ASSERT_EQUAL(n_lines, 1);
	CU_ASSERT_STRING_EQUAL(last_line, "yes \\x1b[2J");
	lines_add(&l, XTL_ERROR,
		  "xc: panic: xg_dom_core.c:689: xc_dom_find_loader: no loader found: Invalid "
		  "kernel");
	lines_error_text(&l, text, sizeof(text));
	CU_ASSERT_STRING_EQUAL(text, "no loader found: Invalid kernel");
	for (int i = 0; i < 1000; i++) {
		lines_add(&l, XTL_WARN, "%d", i);
	}
	CU_ASSERT_EQUAL(n_lines, LINES_FORWARD_MAX);
	for (int i = 0; i < 1000; i++) {
		lines_add(&l, XTL_ERROR, "%d", i);
	}
	CU_ASSERT_EQUAL(n_lines, LINES_ERRORS_MAX);
	lines_error_text(&l, text, 16);
	CU_ASSERT_STRING_EQUAL(text, "no loader found");
	l.logger.progress(&l.logger, "xc", "x", 250, 1, 2);
	CU_ASSERT_EQUAL(percent, 100);
	percent = 7;
	l.logger.progress(&l.logger, "xc", "x", 250, 2, 2);
	CU_ASSERT_EQUAL(percent, 7); /* the same again */
}

UNIT_MAIN("worker_lines", UNIT_TEST(test_lines))
