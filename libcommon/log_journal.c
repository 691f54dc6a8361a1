/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal as a sink.  A file of its own: programs that do not call
 * log_use_journal() do not get it from the archive, nor libsystemd with it.
 */
#define SD_JOURNAL_SUPPRESS_LOCATION /* it would always be this file */

#include <stdio.h>
#include <sys/uio.h>
#include <syslog.h>
#include <systemd/sd-journal.h>

#include "libcommon/log.h"

#define TEXT_SIZE 8192 /* more than a message and all fields that a sink can get */

static int priority(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR:
		return LOG_ERR;
	case LOG_LEVEL_WARNING:
		return LOG_WARNING;
	case LOG_LEVEL_NOTICE:
		return LOG_NOTICE;
	case LOG_LEVEL_INFO:
		return LOG_INFO;
	default:
		return LOG_DEBUG;
	}
}

struct entry {
	struct iovec iov[3 + LOG_FIELDS_MAX];
	size_t n;
	char text[TEXT_SIZE];
	size_t text_len;
};

static void add(struct entry *e, const char *name, const char *value)
{
	char *start = e->text + e->text_len;
	size_t room = sizeof(e->text) - e->text_len;
	int len = snprintf(start, room, "%s=%s", name, value);

	if (len > 0 && (size_t)len < room) {
		e->iov[e->n++] = (struct iovec){ start, (size_t)len };
		e->text_len += (size_t)len;
	}
}

static void sink(enum log_level level, const char *message, const struct log_field *fields,
		 size_t n_fields)
{
	char digit[2] = { (char)('0' + priority(level)) };
	struct entry e;

	e.n = e.text_len = 0;
	add(&e, "MESSAGE", message);
	add(&e, "PRIORITY", digit);
	add(&e, "SYSLOG_IDENTIFIER", log_ident());
	for (size_t i = 0; i < n_fields; i++) {
		add(&e, fields[i].name, fields[i].value);
	}
	if (sd_journal_sendv(e.iov, (int)e.n) < 0) {
		log_sink_stderr(level, message, fields, n_fields);
	}
}

void log_use_journal(void)
{
	if (log_stderr_is_journal()) {
		log_set_sink(sink);
	}
}
