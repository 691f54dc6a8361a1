/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A table keeps its cells until it is printed, because a column is as wide as
 * its widest cell.  Out of memory only loses cells of a listing.
 */
#include "clients/cli/table.h"

#include <stdarg.h>
#include <stdio.h>

#include "libcommon/log.h"

struct table {
	const char *const *titles;
	size_t n_columns;
	char **cells;
	size_t n_cells;
	size_t size;
};

struct table *table_new(const char *const *titles, size_t n_columns)
{
	struct table *t = calloc(1, sizeof(*t));

	if (t) {
		t->titles = titles;
		t->n_columns = n_columns;
	}
	return t;
}

void table_cell(struct table *t, const char *format, ...)
{
	_cleanup_(xfreep) char *raw = NULL;
	char *text = NULL;
	va_list ap;

	if (!t) {
		return;
	}
	if (t->n_cells == t->size) {
		size_t size = t->size ? t->size * 2 : 64;
		char **cells = reallocarray(t->cells, size, sizeof(*cells));

		if (!cells) {
			return;
		}
		t->cells = cells;
		t->size = size;
	}
	va_start(ap, format);
	if (vasprintf(&raw, format, ap) < 0) {
		raw = NULL;
	}
	va_end(ap);
	if (raw) {
		size_t size = strlen(raw) * 4 + 1; /* every byte as \xHH */

		text = malloc(size);
		log_escape(text, text ? size : 0, raw, strlen(raw));
	}
	t->cells[t->n_cells++] = text;
}

/* Characters of UTF-8 text. */
static size_t width(const char *text)
{
	size_t n = 0;

	for (; text && *text; text++) {
		n += ((unsigned char)*text & 0xc0) != 0x80;
	}
	return n;
}

/* Blanks are held back until text follows, so that no line ends in them. */
static void print_cell(const char *text, bool right, size_t column_width, size_t *blanks)
{
	size_t pad = column_width - MIN(column_width, width(text));

	if (text && *text) {
		printf("%*s%s", (int)(*blanks + (right ? pad : 0)), "", text);
		*blanks = right ? 0 : pad;
	} else {
		*blanks += column_width;
	}
	*blanks += 2;
}

static void end_row(size_t *blanks)
{
	putchar('\n');
	*blanks = 0;
}

void table_print(const struct table *t)
{
	size_t *widths = t ? calloc(t->n_columns, sizeof(*widths)) : NULL;
	size_t blanks = 0;

	if (!widths) {
		return;
	}
	for (size_t i = 0; i < t->n_columns; i++) {
		widths[i] = width(t->titles[i] + (t->titles[i][0] == '>'));
	}
	for (size_t i = 0; i < t->n_cells; i++) {
		size_t *w = &widths[i % t->n_columns];

		*w = MAX(*w, width(t->cells[i]));
	}
	for (size_t i = 0; i < t->n_columns; i++) {
		bool right = t->titles[i][0] == '>';

		print_cell(t->titles[i] + right, right, widths[i], &blanks);
	}
	end_row(&blanks);
	for (size_t i = 0; i < t->n_cells; i++) {
		size_t column = i % t->n_columns;

		print_cell(t->cells[i], t->titles[column][0] == '>', widths[column], &blanks);
		if (column + 1 == t->n_columns) {
			end_row(&blanks);
		}
	}
	free(widths);
}

struct table *table_free(struct table *t)
{
	if (t) {
		for (size_t i = 0; i < t->n_cells; i++) {
			free(t->cells[i]);
		}
		free(t->cells);
		free(t);
	}
	return NULL;
}
