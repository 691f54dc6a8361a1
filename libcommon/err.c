/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The trace is not rate-limited: it exists only at debug, and half a path is
 * worth nothing.
 */
#include "libcommon/err.h"

#include <limits.h>

#include "libcommon/log.h"

int err_trace_at(int r, const char *function, const char *file, int line)
{
	if (r < 0 && log_would(LOG_LEVEL_DEBUG)) {
		log_write(NULL, LOG_LEVEL_DEBUG, NULL, 0, "%s returns %s (%s:%d)", function,
			  err_text(r), file, line);
	}
	return r;
}

const char *err_text(int r)
{
	const char *text;

	if (r == INT_MIN) {
		return "unknown error";
	}
#ifdef __GLIBC__
	text = strerrordesc_np(abs(r));
#else
	text = strerror(abs(r)); /* constant text in musl */
#endif
	return text ? text : "unknown error";
}
