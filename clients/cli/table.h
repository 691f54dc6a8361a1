/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Aligned columns for people. Cells are copied; the last column is not padded.
 */
#include "libcommon/base.h"

struct table;

/* titles: "NAME", or ">CPU" for a column aligned to the right. */
struct table *table_new(const char *const *titles, size_t n_columns);
/* The next cell, row by row. What is no text to print is escaped. */
void table_cell(struct table *t, const char *format, ...) _printf_(2, 3);
/* Prints to stdout; width by characters, not bytes. */
void table_print(const struct table *t);
struct table *table_free(struct table *t);
static inline void table_freep(struct table **t)
{
	*t = table_free(*t);
}
