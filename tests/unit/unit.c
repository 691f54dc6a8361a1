/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

/* CUnit starts a new failure list with each CU_run_test(). */
static void print_failures(const char *name)
{
	for (CU_pFailureRecord f = CU_get_failure_list(); f; f = f->pNext) {
		printf("FAIL %s: %s:%u: %s\n", name, f->strFileName, f->uiLineNumber,
		       f->strCondition);
	}
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
		CU_pTest test = CU_add_test(suite, tests[i].name, tests[i].fn);

		CU_set_error_action(CUEA_IGNORE);
		if (!test || CU_run_test(suite, test) != CUE_SUCCESS ||
		    CU_get_number_of_tests_failed() != 0) {
			print_failures(tests[i].name);
			n_failed++;
		} else {
			printf("ok %s\n", tests[i].name);
		}
	}
	printf("%zu passed, %u failed\n", n_tests - n_failed, n_failed);
	CU_cleanup_registry();
	return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
