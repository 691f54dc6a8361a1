/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whatever is not exactly a traceparent of version 00 is none: a caller's
 * mistake must neither fail its call nor get into the records.
 */
#include "libcommon/traceparent.h"

#include <stdio.h>

#include "libcommon/uuid.h"

#define TRACE_ID_AT  3
#define PARENT_ID_AT 36
#define FLAGS_AT     53
#define FLAGS_KNOWN  0x03 /* sampled, random trace id */
#define PARENT_BYTES 8
#define TRACE_BYTES  16

/* len lowercase hex digits; of an id not all zero. Of every call: strspn() would cost more. */
static bool is_hex(const char *text, size_t len, bool is_id)
{
	bool is_zero = true;

	for (size_t i = 0; i < len; i++) {
		bool is_digit = text[i] >= '0' && text[i] <= '9';

		if (!is_digit && (text[i] < 'a' || text[i] > 'f')) {
			return false;
		}
		is_zero = is_zero && text[i] == '0';
	}
	return !is_id || !is_zero;
}

bool traceparent_is_valid(const char *text)
{
	return strnlen(text, TRACEPARENT_SIZE) == TRACEPARENT_SIZE - 1 &&
	       strncmp(text, "00-", TRACE_ID_AT) == 0 &&
	       is_hex(text + TRACE_ID_AT, 2 * TRACE_BYTES, true) && text[PARENT_ID_AT - 1] == '-' &&
	       is_hex(text + PARENT_ID_AT, 2 * PARENT_BYTES, true) && text[FLAGS_AT - 1] == '-' &&
	       is_hex(text + FLAGS_AT, 2, false);
}

static void put_random_id(char *out, size_t n_bytes)
{
	static const char digits[] = "0123456789abcdef";
	uint8_t bytes[TRACE_BYTES];

	random_bytes(bytes, n_bytes);
	bytes[0] |= 1; /* never all zero */
	for (size_t i = 0; i < n_bytes; i++) {
		*out++ = digits[bytes[i] >> 4];
		*out++ = digits[bytes[i] & 15];
	}
}

void traceparent_new(char out[static TRACEPARENT_SIZE])
{
	out[0] = out[1] = '0';
	out[TRACE_ID_AT - 1] = '-';
	put_random_id(out + TRACE_ID_AT, TRACE_BYTES);
	out[PARENT_ID_AT - 1] = '-';
	put_random_id(out + PARENT_ID_AT, PARENT_BYTES);
	memcpy(out + FLAGS_AT - 1, "-01", 4);
}

void traceparent_child(const char *parent, char out[static TRACEPARENT_SIZE])
{
	unsigned int flags = (unsigned int)strtoul(parent + FLAGS_AT, NULL, 16) & FLAGS_KNOWN;

	memmove(out, parent, PARENT_ID_AT);
	put_random_id(out + PARENT_ID_AT, PARENT_BYTES);
	snprintf(out + FLAGS_AT - 1, 4, "-%02x", flags);
}

void traceparent_trace_id(const char *text, char out[static TRACE_ID_SIZE])
{
	out[0] = '\0';
	if (traceparent_is_valid(text)) {
		memcpy(out, text + TRACE_ID_AT, TRACE_ID_SIZE - 1);
		out[TRACE_ID_SIZE - 1] = '\0';
	}
}

void trace_enter(struct trace_scope *s, const char *traceparent, const char *task)
{
	s->log.n_fields = 0;
	if (traceparent && traceparent[0]) {
		traceparent_trace_id(traceparent, s->trace_id);
	} else {
		s->trace_id[0] = '\0';
	}
	if (s->trace_id[0]) {
		s->log.fields[s->log.n_fields++] = (struct log_field){ "TRACE_ID", s->trace_id };
	}
	if (task && task[0]) {
		snprintf(s->task, sizeof(s->task), "%s", task);
		s->log.fields[s->log.n_fields++] = (struct log_field){ "TASK", s->task };
	}
	log_enter(&s->log);
}
