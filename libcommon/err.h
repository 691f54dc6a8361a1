/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Errors are ints.  0 is success.  Negative is a fatal -errno: nobody matches
 * on it, it travels up to whoever can answer or exit.  Positive is an outcome
 * that the function documents and its caller handles, never forwards.
 *
 * err_trace() stands at each `return` of a forwarded negative; at log level
 * debug it leaves function, file and line, so a failing daemon shows its path.
 */
#include <errno.h>

int err_trace_at(int r, const char *function, const char *file, int line);

/* Forward r; evaluates it once. */
#define err_trace(r) err_trace_at((r), __func__, __FILE_NAME__, __LINE__)

/* The errno of the call that just failed, as a negative int, never 0. */
static inline int err_errno(void)
{
	int e = errno;

	return e > 0 ? -e : -EIO;
}

/* Text of r (negative or positive errno); thread-safe, static storage. */
const char *err_text(int r);
