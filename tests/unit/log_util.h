/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Sinks of the log for tests: for log_set_sink().
 */
#include "libcommon/log.h"
#include "libcommon/strbuf.h"

/* For tests whose subject complains, as it should. */
static inline void log_swallow(enum log_level level _unused_, const char *message _unused_,
			       const struct log_field *fields _unused_, size_t n_fields _unused_)
{
}

/* What log_collect() got: "level:message|NAME=value...\n" for each line. The test empties it. */
static struct strbuf log_collected;

static inline void log_collect(enum log_level level, const char *message,
			       const struct log_field *fields, size_t n_fields)
{
	strbuf_printf(&log_collected, "%s:%s", log_level_name(level), message);
	for (size_t i = 0; i < n_fields; i++) {
		strbuf_printf(&log_collected, "|%s=%s", fields[i].name, fields[i].value);
	}
	strbuf_putc(&log_collected, '\n');
}
