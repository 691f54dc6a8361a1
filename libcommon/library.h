/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Libraries that a program needs only for some configurations, loaded when it
 * comes to that: what is linked costs each process memory, used or not.  The
 * functions go to a table, which stands for what the dynamic linker would have
 * filled in; who uses it loads it first.
 */
#include "libcommon/base.h"

struct library_function {
	const char *name;
	size_t offset; /* of its pointer in the table */
};

/* Load `soname` and fill the table: wholly, or not at all. The library stays loaded. Blocks on the
 * file system. 0; -ENOSYS: not installed, or without one of the functions; *why then says so, until
 * the next call. */
int library_load(const char *soname, const struct library_function *functions, size_t n_functions,
		 void *table, size_t table_size, const char **why);
