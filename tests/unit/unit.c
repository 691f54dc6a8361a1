/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* CUnit starts a new failure list with each CU_run_test(). */
static void print_failures(const char *name)
{
	for (CU_pFailureRecord f = CU_get_failure_list(); f; f = f->pNext) {
		printf("FAIL %s: %s:%u: %s\n", name, f->strFileName, f->uiLineNumber,
		       f->strCondition);
	}
}

static bool run_here(CU_pSuite suite, const struct unit_test *t)
{
	CU_pTest test = CU_add_test(suite, t->name, t->fn);

	CU_set_error_action(CUEA_IGNORE);
	if (!test || CU_run_test(suite, test) != CUE_SUCCESS ||
	    CU_get_number_of_tests_failed() != 0) {
		print_failures(t->name);
		return false;
	}
	printf("ok %s\n", t->name);
	return true;
}

static bool run_apart(CU_pSuite suite, const struct unit_test *t)
{
	int status = 0;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		exit(run_here(suite, t) ? EXIT_SUCCESS : EXIT_FAILURE);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		printf("FAIL %s: no process for it\n", t->name);
		return false;
	}
	if (WIFSIGNALED(status) || WEXITSTATUS(status) > EXIT_FAILURE) {
		printf("FAIL %s: its process ended with status %#x\n", t->name, status);
	}
	return status == 0;
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

		n_failed += !(t->is_apart ? run_apart(suite, t) : run_here(suite, t));
	}
	printf("%zu passed, %u failed\n", n_tests - n_failed, n_failed);
	CU_cleanup_registry();
	return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
