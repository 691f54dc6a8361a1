/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Growing byte buffer that is always NUL-terminated.  A failed allocation
 * sticks: later appends do nothing and strbuf_error() tells at the end, so a
 * chain of appends needs one check.
 */
#include "libcommon/base.h"

struct strbuf {
	char *data; /* never NULL after the first append; use strbuf_str() */
	size_t len; /* without the terminator */
	size_t size;
	int error;
};

#define STRBUF_NULL ((struct strbuf){ 0 })

void strbuf_deinit(struct strbuf *s);
/* Empty it, keep the memory. */
void strbuf_reset(struct strbuf *s);
void strbuf_append(struct strbuf *s, const void *data, size_t len);
void strbuf_puts(struct strbuf *s, const char *text);
void strbuf_putc(struct strbuf *s, char c);
void strbuf_printf(struct strbuf *s, const char *format, ...) _printf_(2, 3);
/* Room for len bytes at the end, counted as content; NULL when out of memory. */
void *strbuf_extend(struct strbuf *s, size_t len);
/* 0 or -ENOMEM. */
int strbuf_error(const struct strbuf *s);
/* Never NULL. */
const char *strbuf_str(const struct strbuf *s);
/* The malloc'ed string, the buffer becomes empty; NULL when out of memory. */
char *strbuf_steal(struct strbuf *s);
