/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * libxl's log of this operation.  Lines of level notice and above go to the
 * core, all go to our own log at debug.  The first errors are kept: they name
 * the cause, later ones only what followed from it.
 */
#include <xentoollog.h>

#include "libcommon/base.h"

#define LINES_ERRORS_KEPT 2
#define LINES_TEXT_MAX	  512 /* bytes of a line; longer ones are cut */
#define LINES_FORWARD_MAX 200 /* then only errors go to the core ... */
#define LINES_ERRORS_MAX  400 /* ... and then nothing */

struct lines {
	xentoollog_logger logger; /* first: libxl hands it back */
	void (*on_line)(xentoollog_level level, const char *text, void *userdata);
	void (*on_progress)(const char *what, int percent, void *userdata);
	void *userdata;
	char errors[LINES_ERRORS_KEPT][LINES_TEXT_MAX];
	size_t n_errors;
	size_t n_forwarded;
	int percent; /* last told */
};

/* The callbacks get safe text. */
void lines_init(struct lines *l,
		void (*on_line)(xentoollog_level level, const char *text, void *userdata),
		void (*on_progress)(const char *what, int percent, void *userdata), void *userdata);
/* The kept errors without libxl's function names, in one line; "" when there was none. */
void lines_error_text(const struct lines *l, char *out, size_t out_size);
/* A line of our own, as if libxl had written it. */
void lines_add(struct lines *l, xentoollog_level level, const char *format, ...) _printf_(3, 4);
