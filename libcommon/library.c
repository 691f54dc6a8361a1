/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libcommon/library.h"

#include <dlfcn.h>

int library_load(const char *soname, const struct library_function *functions, size_t n_functions,
		 void *table, size_t table_size, const char **why)
{
	_cleanup_(xfreep) char *filled = calloc(1, table_size);
	void *library = dlopen(soname, RTLD_NOW | RTLD_LOCAL);

	if (!filled || !library) {
		*why = library ? "out of memory" : dlerror();
		return -ENOSYS;
	}
	for (size_t i = 0; i < n_functions; i++) {
		void *f = dlsym(library, functions[i].name);

		if (!f) {
			*why = dlerror();
			return -ENOSYS;
		}
		memcpy(filled + functions[i].offset, &f, sizeof(f));
	}
	memcpy(table, filled, table_size);
	return 0;
}
