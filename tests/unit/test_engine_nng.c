/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The nng engine over tcp: what every engine has to pass, and its own parts.
 * Over ipc it is the other end in test_engine_sp.c.
 */

#include "bus/engine.h"
#include "bus/nng_fix.h"
#include "bus/send_window.h"
#include "libcommon/log.h"
#include "tests/unit/engine_suite.h"
#include "tests/unit/unit.h"

SUITE_PAIR(nng, &bus_engine_nng, &bus_engine_nng, SP_TCP)

static void test_send_window(void)
{
	struct send_window w;

	CU_ASSERT_EQUAL(send_window_init(&w, 10, 1000), 0);
	for (int i = 0; i < 25; i++) {
		CU_ASSERT_EQUAL(send_window_push(&w, 100), 10);
	}
	CU_ASSERT_EQUAL(send_window_push(&w, 500), 6);
	CU_ASSERT_EQUAL(send_window_push(&w, 500), 2);
	CU_ASSERT_EQUAL(send_window_push(&w, 5000), 1);
	CU_ASSERT_EQUAL(send_window_push(&w, 1), 1);
	for (size_t i = 2; i < 10; i++) {
		CU_ASSERT_EQUAL(send_window_push(&w, 1), i);
	}
	CU_ASSERT_EQUAL(send_window_push(&w, 1), 10);
	CU_ASSERT_EQUAL(send_window_push(&w, 1), 10);
	send_window_deinit(&w);
	send_window_deinit(&w);
}

static void test_fix(void)
{
	CU_ASSERT(nng_fix_is_active());
}

int main(void)
{
	static const struct unit_test tests[] = {
		SUITE_TESTS(nng),
		UNIT_TEST(test_send_window),
		UNIT_TEST(test_fix),
	};

	/* Without nng_fini(), which waits for the connections that nng cannot close. */
	log_init("test_engine_nng");
	return unit_run("engine_nng", tests, ARRAY_LEN(tests));
}
