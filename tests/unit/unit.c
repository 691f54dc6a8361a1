/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_VOID 77
#define VOID_MAX  10

static const char *void_why; /* of a child's test */

void unit_void(const char *why)
{
	void_why = why;
}

/* CUnit starts a new failure list with each CU_run_test(). */
static void print_failures(const char *name)
{
	for (CU_pFailureRecord f = CU_get_failure_list(); f; f = f->pNext) {
		printf("FAIL %s: %s:%u: %s\n", name, f->strFileName, f->uiLineNumber,
		       f->strCondition);
	}
}

static bool passes(CU_pSuite suite, const struct unit_test *t)
{
	CU_pTest test = CU_add_test(suite, t->name, t->fn);

	CU_set_error_action(CUEA_IGNORE);
	return test && CU_run_test(suite, test) == CUE_SUCCESS &&
	       CU_get_number_of_tests_failed() == 0;
}

/* An exit status. */
static int run_here(CU_pSuite suite, const struct unit_test *t)
{
	if (passes(suite, t)) {
		printf("ok %s\n", t->name);
		return EXIT_SUCCESS;
	}
	if (void_why && t->is_apart) {
		printf("   %s is void: %s\n", t->name, void_why);
		return EXIT_VOID;
	}
	print_failures(t->name);
	return EXIT_FAILURE;
}

/* The status of waitpid(); -1: there is no child. */
static int run_child(CU_pSuite suite, const struct unit_test *t)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		exit(run_here(suite, t));
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid ? status : -1;
}

/* An exit status. */
static int run_apart(CU_pSuite suite, const struct unit_test *t)
{
	int status = 0;

	for (int i = 0; i < VOID_MAX; i++) {
		status = run_child(suite, t);
		if (!WIFEXITED(status) || WEXITSTATUS(status) != EXIT_VOID) {
			break;
		}
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status) > EXIT_FAILURE) {
		printf("FAIL %s: its process ended with status %#x\n", t->name, status);
	}
	return status == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int unit_run(const char *suite_name, const struct unit_test *tests, size_t n_tests)
{
	unsigned int n_failed = 0;
	CU_pSuite suite;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (CU_initialize_registry() != CUE_SUCCESS) {
		return EXIT_FAILURE;
	}
	suite = CU_add_suite(suite_name, NULL, NULL);
	for (size_t i = 0; i < n_tests; i++) {
		const struct unit_test *t = &tests[i];

		n_failed += (t->is_apart ? run_apart : run_here)(suite, t) != EXIT_SUCCESS;
	}
	printf("%zu passed, %u failed\n", n_tests - n_failed, n_failed);
	CU_cleanup_registry();
	return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
