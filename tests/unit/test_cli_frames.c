/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The options of `top` and `bus top`, and when they end. What they show is tested with whole
 * processes.
 */
#include "clients/cli/frames.h"
#include "tests/unit/unit.h"

static const char *const columns[] = { "cpu", "mem", "name", NULL };

static void count_call(struct frames *f, void *userdata)
{
	++*(int *)userdata;
	CU_ASSERT_EQUAL(f->n_lines, 0);
	frames_line(f, true, "# frame %d", *(int *)userdata);
	for (int i = 0; i < 200; i++) {
		frames_line(f, false, "# line %d", i);
	}
	CU_ASSERT_EQUAL(f->n_lines, 201);
}

static const struct frames_kind kind = {
	.command = "test",
	.columns = columns,
	.keys = "cma",
	.key_help = "",
	.delay_min_ms = 500,
	.delay_min = "500ms",
	.text = count_call,
};

/* What comes of up to two arguments. */
static int init(struct frames *f, const char *first, const char *second)
{
	static struct cli cli;
	static int n_calls;
	char *argv[] = { (char *)first, (char *)second, NULL };

	n_calls = 0;
	return frames_init(f, &kind, &cli, &n_calls, !!first + !!second, argv);
}

static void test_frames__defaults(void)
{
	struct frames f;

	CU_ASSERT_EQUAL(init(&f, "-b", NULL), CLI_OK);
	CU_ASSERT(f.is_batch);
	CU_ASSERT_EQUAL(f.delay_ns, NSEC_PER_SEC);
	CU_ASSERT_EQUAL(f.column, 0);
	frames_deinit(&f);
	frames_deinit(&f);
}

static void test_frames__number(void)
{
	static const char *const wrong[] = { "0", "-1", "", "x", "1.5", "18446744073709551616" };
	struct frames f;

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		CU_ASSERT_EQUAL(init(&f, "-n", wrong[i]), CLI_USAGE);
	}
	CU_ASSERT_EQUAL(init(&f, "-n", "1"), CLI_OK);
	CU_ASSERT_EQUAL(init(&f, "--frames=18446744073709551615", NULL), CLI_OK);
}

static void test_frames__delay(void)
{
	struct frames f;

	CU_ASSERT_EQUAL(init(&f, "-d", "499ms"), CLI_USAGE);
	CU_ASSERT_EQUAL(init(&f, "-d", "often"), CLI_USAGE);
	CU_ASSERT_EQUAL(init(&f, "-d", "500ms"), CLI_OK);
	CU_ASSERT_EQUAL(f.delay_ns, NSEC_PER_SEC / 2);
}

static void test_frames__column(void)
{
	struct frames f;

	CU_ASSERT_EQUAL(init(&f, "-s", "name"), CLI_OK);
	CU_ASSERT_EQUAL(f.column, 2);
	CU_ASSERT_EQUAL(init(&f, "-s", "nam"), CLI_USAGE);
	CU_ASSERT_EQUAL(init(&f, "-s", ""), CLI_USAGE);
	CU_ASSERT_EQUAL(init(&f, "name", NULL), CLI_USAGE);
}

static void test_frames__end(void)
{
	struct frames f;

	CU_ASSERT_EQUAL(init(&f, "-b", "-n2"), CLI_OK);
	CU_ASSERT_EQUAL(frames_status(&f), CLI_INTERRUPTED);
	frames_next(&f);
	CU_ASSERT(!f.is_over);
	CU_ASSERT_EQUAL(frames_status(&f), CLI_INTERRUPTED);
	frames_next(&f);
	CU_ASSERT(f.is_over);
	CU_ASSERT_EQUAL(frames_status(&f), CLI_OK);
	CU_ASSERT_EQUAL(*(int *)f.userdata, 2);
	frames_deinit(&f);
	CU_ASSERT_EQUAL(init(&f, "-b", NULL), CLI_OK);
	frames_next(&f);
	CU_ASSERT(!f.is_over);
	CU_ASSERT_EQUAL(frames_status(&f), CLI_OK);
	frames_deinit(&f);
}

UNIT_MAIN("frames", UNIT_TEST(test_frames__defaults), UNIT_TEST(test_frames__number),
	  UNIT_TEST(test_frames__delay), UNIT_TEST(test_frames__column),
	  UNIT_TEST(test_frames__end))
