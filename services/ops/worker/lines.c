/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libxl calls vmessage with its lock held: nothing here blocks or calls libxl.
 */
#include "services/ops/worker/lines.h"

#include <stdarg.h>
#include <stdio.h>

#include "libcommon/err.h"
#include "libcommon/log.h"

static const char *level_name(xentoollog_level level)
{
	static const char *const names[XTL_NUM_LEVELS] = {
		[XTL_NONE] = "none",	     [XTL_DEBUG] = "debug",	  [XTL_VERBOSE] = "verbose",
		[XTL_DETAIL] = "detail",     [XTL_PROGRESS] = "progress", [XTL_INFO] = "info",
		[XTL_NOTICE] = "notice",     [XTL_WARN] = "warning",	  [XTL_ERROR] = "error",
		[XTL_CRITICAL] = "critical",
	};

	return level >= XTL_NONE && level < XTL_NUM_LEVELS ? names[level] : "unknown";
}

static bool may_forward(const struct lines *l, xentoollog_level level)
{
	if (level < XTL_NOTICE) {
		return false;
	}
	return l->n_forwarded < LINES_FORWARD_MAX ||
	       (level >= XTL_ERROR && l->n_forwarded < LINES_ERRORS_MAX);
}

static void take_line(struct lines *l, xentoollog_level level, const char *raw)
{
	char text[LINES_TEXT_MAX];

	log_escape(text, sizeof(text), raw, strlen(raw));
	if (log_would(LOG_LEVEL_DEBUG)) {
		log_write(NULL, LOG_LEVEL_DEBUG, NULL, 0, "libxl %s: %s", level_name(level), text);
	}
	if (level >= XTL_ERROR && l->n_errors < LINES_ERRORS_KEPT) {
		memcpy(l->errors[l->n_errors++], text, sizeof(text));
	}
	if (may_forward(l, level)) {
		l->n_forwarded++;
		l->on_line(level, text, l->userdata);
	}
}

static void _printf_(5, 0)
	on_message(xentoollog_logger *logger, xentoollog_level level, int errnoval,
		   const char *context, const char *format, va_list args)
{
	char text[LINES_TEXT_MAX], line[LINES_TEXT_MAX + 128];

	vsnprintf(text, sizeof(text), format, args);
	snprintf(line, sizeof(line), "%s: %s%s%s", context ? context : "libxl", text,
		 errnoval > 0 ? ": " : "", errnoval > 0 ? err_text(errnoval) : "");
	take_line((struct lines *)(void *)logger, level, line);
}

static void on_progress(xentoollog_logger *logger, const char *context _unused_,
			const char *doing_what, int percent, unsigned long done,
			unsigned long total _unused_)
{
	struct lines *l = (struct lines *)(void *)logger;
	char text[LINES_TEXT_MAX];

	if (percent == l->percent && done != 0) {
		return;
	}
	l->percent = percent;
	log_escape(text, sizeof(text), doing_what, strlen(doing_what));
	l->on_progress(text, MAX(0, MIN(percent, 100)), l->userdata);
}

void lines_init(struct lines *l,
		void (*on_line)(xentoollog_level level, const char *text, void *userdata),
		void (*progress)(const char *what, int percent, void *userdata), void *userdata)
{
	*l = (struct lines){
		.logger = { .vmessage = on_message, .progress = on_progress },
		.on_line = on_line,
		.on_progress = progress,
		.userdata = userdata,
		.percent = -1,
	};
}

/* "libxl_create.c:12:function: " at p: its length, else 0. */
static size_t source_prefix(const char *p)
{
	static const char word[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
	size_t at = strspn(p, word);

	if (at == 0 || !str_starts(p + at, ".c:")) {
		return 0;
	}
	at += strlen(".c:");
	at += strspn(p + at, "0123456789");
	at += strspn(p + at, ": ");
	at += strspn(p + at, word);
	at += strspn(p + at, ": ");
	return at;
}

/* What people need of a line. */
static const char *plain(const char *line)
{
	static const char *const contexts[] = { "libxl: ", "xc: ", "panic: " };

	for (size_t i = 0; i < ARRAY_LEN(contexts); i++) {
		if (str_starts(line, contexts[i])) {
			line += strlen(contexts[i]);
		}
	}
	return line + source_prefix(line);
}

void lines_error_text(const struct lines *l, char *out, size_t out_size)
{
	size_t len = 0;

	out[0] = '\0';
	for (size_t i = 0; i < l->n_errors && len + 1 < out_size; i++) {
		int n = snprintf(out + len, out_size - len, "%s%s", i > 0 ? "; " : "",
				 plain(l->errors[i]));

		len += n > 0 ? MIN((size_t)n, out_size - len - 1) : 0;
	}
}

void lines_add(struct lines *l, xentoollog_level level, const char *format, ...)
{
	char text[LINES_TEXT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	take_line(l, level, text);
}
