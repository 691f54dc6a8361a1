/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * W3C Trace Context, header `traceparent` of version 00:
 *
 *   00-<trace id, 32 hex>-<parent id, 16 hex>-<flags, 2 hex>
 *
 * Hex is lowercase and no id is all zero; other versions are not understood.
 * The trace id is the same for all that one request brings about, also in
 * other services and in processes that act for it, and names their log lines
 * (field TRACE_ID).  The parent id is the sender's own piece of work.
 */
#include "libcommon/log.h"

#define TRACEPARENT_SIZE 56 /* with the NUL */
#define TRACE_ID_SIZE	 33 /* likewise */

bool traceparent_is_valid(const char *text);
/* The beginning of a new trace: random ids, flags 01 (sampled). */
void traceparent_new(char out[static TRACEPARENT_SIZE]);
/* Of what is done on behalf of parent, a valid one: the same trace with a new parent id. Flags
 * that are not known are cleared. out may be parent. */
void traceparent_child(const char *parent, char out[static TRACEPARENT_SIZE]);
/* "" when text is not valid. */
void traceparent_trace_id(const char *text, char out[static TRACE_ID_SIZE]);

/* Until trace_leave() all log lines have the fields TRACE_ID and TASK, as far as they are known. */
struct trace_scope {
	struct log_scope log;
	char trace_id[TRACE_ID_SIZE];
	char task[37];
};
/* traceparent, task: copied; NULL or "" = none. Scopes are left in reverse order. */
void trace_enter(struct trace_scope *s, const char *traceparent, const char *task);
static inline void trace_leave(struct trace_scope *s)
{
	log_leave(&s->log);
}
