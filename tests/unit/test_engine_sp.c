/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The SP engine: what every engine has to pass, with nng at the other end too,
 * and its own limits.
 */
#include <fcntl.h>
#include <nng/nng.h>
#include <sys/resource.h>

#include "bus/engine.h"
#include "bus/sp_frame.h"
#include "libcommon/log.h"
#include "tests/unit/bus_util.h"
#include "tests/unit/engine_suite.h"
#include "tests/unit/unit.h"

SUITE_PAIR(sp, bus_engine_sp, bus_engine_sp)
SUITE_SERVER(sp, bus_engine_sp)
SUITE_PAIR(sp_nng, bus_engine_sp, bus_engine_nng)
SUITE_PAIR(nng_sp, bus_engine_nng, bus_engine_sp)

int main(void)
{
	static const struct unit_test tests[] = {
		SUITE_TESTS(sp),
		SUITE_SERVER_TESTS(sp),
		SUITE_TESTS(sp_nng),
		SUITE_TESTS(nng_sp),
	};
	int status;

	log_init("test_engine_sp");
	status = unit_run("engine_sp", tests, ARRAY_LEN(tests));
	nng_fini();
	return status;
}
