/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The log of the process: the only process-wide state there is.
 *
 * Lines go to a sink: stderr ("IDENT: LEVEL message key=value ...", or with the
 * <N> prefix of sd-daemon(3) in place of IDENT when stderr is the journal) or,
 * with log_use_journal(), the journal with fields.  Control characters of
 * messages and values are escaped as \xHH, so a guest cannot forge lines; what
 * is longer than a line of 4 KiB is cut and ends in "...".  Each call site is
 * limited to 20 lines in 10 s; the number left out is told afterwards, with
 * the next line of any site or by log_flush().
 *
 * Names of fields are written in lower case and without XENMESH_ to stderr, and
 * MESSAGE_ID is left to the journal.
 *
 * Writing waits at most 100 ms for a full pipe; then lines are counted instead
 * until it drains, and the count is told.  errno is left as it was.  For one
 * thread.  Promise: a healthy hour writes nothing above debug but what people
 * and programs did, at notice (bus/audit.h).
 */
#include "libcommon/base.h"

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_NOTICE,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

#define LOG_FIELDS_MAX	     20 /* of one line; the richest, the audit's, has 17 */
#define LOG_SCOPE_FIELDS_MAX 2

/* One structured field, e.g. {"VM", uuid}. Names are [A-Z0-9_], values any text. */
struct log_field {
	const char *name;
	const char *value;
};

/* State of one call site. */
struct log_site {
	uint64_t window_ns;
	unsigned int n_lines;
	unsigned int n_suppressed;
	enum log_level level; /* these are set while n_suppressed > 0 */
	const char *format;
	struct log_site *next;
};

/* What is at work, so that each of its lines can be found: see log_enter(). */
struct log_scope {
	struct log_field fields[LOG_SCOPE_FIELDS_MAX];
	size_t n_fields;
	struct log_scope *outer;
};

/* message and values are escaped already. What a sink logs itself goes to stderr. */
typedef void (*log_sink_fn)(enum log_level level, const char *message,
			    const struct log_field *fields, size_t n_fields);

/* ident: program name, kept by pointer. Level info until set otherwise. To be called before any
 * file is opened: descriptors 0 to 2 that are closed hold /dev/null from now on, read only. */
void log_init(const char *ident);
/* Never NULL. */
const char *log_ident(void);
void log_set_level(enum log_level level);
enum log_level log_level(void);
/* "error" "warning" "notice" "info" "debug"; -EINVAL for others. */
int log_level_parse(const char *text, enum log_level *out);
const char *log_level_name(enum log_level level);
/* NULL = back to stderr. */
void log_set_sink(log_sink_fn sink);
/* For the sink that was set last, if it counts what it loses: log_flush() has it tell the count. */
void log_set_flush(void (*flush)(void));
/* Structured lines to the journal when stderr is connected to it; else stays on stderr. Writing
 * never waits for the journal: lines it has no room for are counted, and the count is told. */
void log_use_journal(void);
/* The same for a journal whose socket is at path, wherever stderr goes. 0 or -errno. */
int log_use_journal_at(const char *path);
/* True when systemd connected stderr to the journal. */
bool log_stderr_is_journal(void);
/* The sink that is there at first. */
void log_sink_stderr(enum log_level level, const char *message, const struct log_field *fields,
		     size_t n_fields);

bool log_would(enum log_level level);
/* Writes whatever the level is; fields beyond LOG_FIELDS_MAX are left out. site NULL: no limit. */
void log_write(struct log_site *site, enum log_level level, const struct log_field *fields,
	       size_t n_fields, const char *format, ...) _printf_(5, 6);

/* A line for each line of text that is not empty; as of one site, so 20 at most. */
void log_lines(enum log_level level, const char *text);

/* Until log_leave() each line has the fields of the scope entered last too, after its own and
 * without those that it has itself. The scope and what its fields point to must live as long;
 * scopes are left in reverse order. */
void log_enter(struct log_scope *scope);
void log_leave(struct log_scope *scope);

/* Tell all numbers of lines left out or lost so far; at the end of a program. */
void log_flush(void);

/* Escape into out, always terminated: C0, C1 and DEL, what is no UTF-8, and the characters that
 * reorder or break a line (U+2028 U+2029, bidirectional controls). What does not fit is cut
 * between characters and ends in "...". */
void log_escape(char *out, size_t out_size, const char *text, size_t len);

#define log_at(level, fields, n_fields, ...)                                           \
	do {                                                                           \
		static struct log_site site_;                                          \
		if (log_would(level)) {                                                \
			log_write(&site_, (level), (fields), (n_fields), __VA_ARGS__); \
		}                                                                      \
	} while (0)

#define log_error(...)	 log_at(LOG_LEVEL_ERROR, NULL, 0, __VA_ARGS__)
#define log_warning(...) log_at(LOG_LEVEL_WARNING, NULL, 0, __VA_ARGS__)
#define log_info(...)	 log_at(LOG_LEVEL_INFO, NULL, 0, __VA_ARGS__)
#define log_debug(...)	 log_at(LOG_LEVEL_DEBUG, NULL, 0, __VA_ARGS__)
/* log_fields(LOG_LEVEL_INFO, LOG_FIELDS({ "VM", uuid }, { "TASK", id }), "started") */
#define LOG_FIELDS(...) ((const struct log_field[]){ __VA_ARGS__ })
#define log_fields(level, fields, ...) \
	log_at(level, fields, sizeof(fields) / sizeof(struct log_field), __VA_ARGS__)
