/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Clocks, in nanoseconds.  Intervals are measured with clock_boot_ns() only:
 * it neither jumps nor stops in suspend.
 */
#include <time.h>

#include "libcommon/base.h"

static inline uint64_t clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

static inline uint64_t clock_boot_ns(void)
{
	return clock_ns(CLOCK_BOOTTIME);
}

/* Wall clock, for records that people read. */
static inline uint64_t clock_real_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}
