/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The few macros every file may use.
 */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define _cleanup_(fn)	    __attribute__((cleanup(fn)))
#define _printf_(fmt, args) __attribute__((format(printf, fmt, args)))
#define _must_check_	    __attribute__((warn_unused_result))
#define _unused_	    __attribute__((unused))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)    ((a) < (b) ? (a) : (b))
#define MAX(a, b)    ((a) > (b) ? (a) : (b))

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define NSEC_PER_SEC  1000000000ULL
#define NSEC_PER_MSEC 1000000ULL
#define USEC_PER_SEC  1000000ULL
#define USEC_PER_MSEC 1000ULL

/* Hand over a pointer: yields *pp and leaves NULL behind. */
#define STEAL(p)                             \
	({                                   \
		__typeof__(p) stolen_ = (p); \
		(p) = NULL;                  \
		stolen_;                     \
	})

/* The same for a file descriptor: leaves -1 behind. */
#define STEAL_FD(fd)                   \
	({                             \
		int stolen_fd_ = (fd); \
		(fd) = -1;             \
		stolen_fd_;            \
	})

static inline void xfreep(void *pp)
{
	free(*(void **)pp);
}

static inline void xclosep(int *fd)
{
	if (*fd >= 0) {
		close(*fd);
	}
}

/* Close and return -1, for `fd = xclose(fd)`. */
static inline int xclose(int fd)
{
	if (fd >= 0) {
		close(fd);
	}
	return -1;
}

static inline bool streq(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

static inline bool str_starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}
