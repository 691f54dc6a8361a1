/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define MHD_LIB_NO_NAMES
#include "services/metrics/mhd_lib.h"

#include <sys/wait.h>

#include "libcommon/err.h"
#include "libcommon/log.h"

#define LIBRARY "libmicrohttpd.so.12"

struct mhd_lib mhd_lib_table;

int mhd_lib_load(void)
{
	static const struct library_function functions[] = {
#define MHD_LIB_ROW(f) { #f, offsetof(struct mhd_lib, f) },
		MHD_LIB_FUNCTIONS(MHD_LIB_ROW)
	};
	const char *why;
	int r = 0;

	if (!mhd_lib_table.MHD_run) {
		r = library_load(LIBRARY, functions, ARRAY_LEN(functions), &mhd_lib_table,
				 sizeof(mhd_lib_table), &why);
	}
	if (r < 0) {
		log_error("serving HTTP needs %s: %s; install libmicrohttpd12, or give --http off",
			  LIBRARY, why);
	}
	return r;
}

int mhd_lib_check(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		_exit(mhd_lib_load() < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		return err_errno();
	}
	return status == 0 ? 0 : -ENOSYS;
}
