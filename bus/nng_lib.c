/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define NNG_LIB_NO_NAMES
#include "bus/nng_lib.h"

#include "libcommon/log.h"

#define LIBRARY "libnng.so.1"

struct nng_lib nng_lib_table;

int nng_lib_load(void)
{
	static const struct library_function functions[] = {
#define NNG_LIB_ROW(f) { #f, offsetof(struct nng_lib, f) },
		NNG_LIB_FUNCTIONS(NNG_LIB_ROW)
	};
	const char *why;
	int r = 0;

	if (!nng_lib_table.nng_close) {
		r = library_load(LIBRARY, functions, ARRAY_LEN(functions), &nng_lib_table,
				 sizeof(nng_lib_table), &why);
	}
	if (r < 0) {
		log_error("engine = nng needs %s: %s; install libnng1, or leave `engine` out of "
			  "the topology",
			  LIBRARY, why);
	}
	return r;
}
