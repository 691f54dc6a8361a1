/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * One CUnit binary per module.  Prints `ok NAME` or `FAIL NAME: ...` a test and
 * ends with `N passed, N failed`, as every test program of the project does.
 *
 * A *_FATAL assertion leaves the test by longjmp and skips cleanup attributes:
 * use the plain ones and `return`.
 */
#include <CUnit/CUnit.h>
#include <stdbool.h>
#include <stddef.h>

struct unit_test {
	const char *name;
	void (*fn)(void);
	bool is_apart; /* in a child process; the parent must have one thread */
};

/* Exit status for main(). */
int unit_run(const char *suite, const struct unit_test *tests, size_t n_tests);

/* In a test that is apart: something beside its subject broke, and if it fails that is why. Then it
 * begins again in a new process, ten times at most. */
void unit_void(const char *why);

#define UNIT_TEST(fn)          \
	{                      \
#fn, fn, false \
	}
#define UNIT_TEST_APART(fn)   \
	{                     \
#fn, fn, true \
	}
#define UNIT_MAIN(suite, ...)                                                    \
	int main(void)                                                           \
	{                                                                        \
		const struct unit_test tests[] = { __VA_ARGS__ };                \
		return unit_run(suite, tests, sizeof(tests) / sizeof(tests[0])); \
	}
