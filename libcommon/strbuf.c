/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Text is built here for the log, the API and the command line.  Invariant:
 * data is NULL, or size > len and data[len] is NUL.  After an error the content
 * stays what it was, so that it can still be printed.
 */
#include "libcommon/strbuf.h"

#include <stdarg.h>
#include <stdio.h>

#define STRBUF_SIZE_FIRST 64

void strbuf_deinit(struct strbuf *s)
{
	free(s->data);
	*s = STRBUF_NULL;
}

void strbuf_reset(struct strbuf *s)
{
	s->len = 0;
	s->error = 0;
	if (s->data) {
		s->data[0] = '\0';
	}
}

/* Room for len bytes and the terminator; false when there is none. */
static bool reserve(struct strbuf *s, size_t len)
{
	size_t need, size;
	char *data;

	if (s->error) {
		return false;
	}
	if (__builtin_add_overflow(s->len, len, &need) || __builtin_add_overflow(need, 1, &need) ||
	    need > PTRDIFF_MAX) {
		s->error = -ENOMEM;
		return false;
	}
	if (s->data && need <= s->size) {
		return true;
	}
	size = MAX(need, s->size < PTRDIFF_MAX / 2 ? s->size * 2 : need);
	size = MAX(size, STRBUF_SIZE_FIRST);
	data = realloc(s->data, size);
	if (!data) {
		s->error = -ENOMEM;
		return false;
	}
	s->data = data;
	s->size = size;
	return true;
}

void *strbuf_extend(struct strbuf *s, size_t len)
{
	char *start;

	if (!reserve(s, len)) {
		return NULL;
	}
	start = s->data + s->len;
	s->len += len;
	s->data[s->len] = '\0';
	return start;
}

void strbuf_append(struct strbuf *s, const void *data, size_t len)
{
	void *start = strbuf_extend(s, len);

	if (start && len > 0) {
		memcpy(start, data, len);
	}
}

void strbuf_puts(struct strbuf *s, const char *text)
{
	strbuf_append(s, text, strlen(text));
}

void strbuf_putc(struct strbuf *s, char c)
{
	strbuf_append(s, &c, 1);
}

void strbuf_printf(struct strbuf *s, const char *format, ...)
{
	va_list args;
	int len;

	if (!reserve(s, STRBUF_SIZE_FIRST)) {
		return;
	}
	va_start(args, format);
	len = vsnprintf(s->data + s->len, s->size - s->len, format, args);
	va_end(args);
	if (len >= 0 && (size_t)len < s->size - s->len) {
		s->len += (size_t)len;
		return;
	}
	s->data[s->len] = '\0';
	if (len < 0) {
		s->error = -ENOMEM;
		return;
	}
	if (!reserve(s, (size_t)len)) {
		return;
	}
	va_start(args, format);
	len = vsnprintf(s->data + s->len, s->size - s->len, format, args);
	va_end(args);
	s->len += (size_t)len;
}

int strbuf_error(const struct strbuf *s)
{
	return s->error;
}

const char *strbuf_str(const struct strbuf *s)
{
	return s->data ? s->data : "";
}

char *strbuf_steal(struct strbuf *s)
{
	char *text;

	if (!reserve(s, 0)) {
		strbuf_deinit(s);
		return NULL;
	}
	s->data[s->len] = '\0';
	text = STEAL(s->data);
	*s = STRBUF_NULL;
	return text;
}
