/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What every dom0 service wants from its sd-event loop: SIGTERM and SIGINT end
 * it with 0, SIGPIPE is ignored, READY=1 and WATCHDOG=1 are sent to systemd,
 * RLIMIT_NOFILE is raised to its hard limit, and up to 1 MiB of freed memory is
 * kept for what comes next.
 *
 * SIGTERM and SIGINT are blocked for the threads and children made afterwards:
 * make the loop before any thread, and reset the mask after fork().
 */
#include <systemd/sd-event.h>

#include "libcommon/base.h"

/* The watchdog is fed by itself when systemd asked for one. */
int loop_new(sd_event **out);
/* sd_notify READY=1 with STATUS=. Harmless outside systemd. */
void loop_ready(sd_event *loop, const char *status);
/* Runs until sd_event_exit(); tells systemd STOPPING=1 and flushes the log; returns the exit code
 * given there or <0. */
int loop_run(sd_event *loop);

/* Periodic timer on CLOCK_BOOTTIME: fires every period_us (first after one), drift-free, late
 * ticks are not made up for. A callback may free its ticker; one that returns <0 stops the loop
 * with that code. */
typedef int (*loop_tick_fn)(void *userdata);
struct loop_ticker;
int loop_ticker_new(struct loop_ticker **out, sd_event *loop, uint64_t period_us, loop_tick_fn fn,
		    void *userdata);
struct loop_ticker *loop_ticker_free(struct loop_ticker *t);

/* One-shot timer `delay_us` from now; *source is replaced (the old one, which may be NULL, is
 * disabled and unref'ed). As always in sd-event, a callback that returns <0 only disables it. */
int loop_after(sd_event *loop, sd_event_source **source, uint64_t delay_us,
	       sd_event_time_handler_t fn, void *userdata);
/* Run fn once from the loop, not from the caller's stack; *source as in loop_after. */
int loop_defer(sd_event *loop, sd_event_source **source, sd_event_handler_t fn, void *userdata);
static inline void loop_source_unrefp(sd_event_source **s)
{
	*s = sd_event_source_disable_unref(*s);
}
