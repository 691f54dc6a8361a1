/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sd-event with the habits of a daemon.  Timers count CLOCK_BOOTTIME, which
 * neither jumps nor stops in suspend.
 */
#include "libcommon/loop.h"

#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>

#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"

/* How late a timer may fire so that the kernel can merge wake-ups. sd-event's own is 250 ms. */
#define ACCURACY_US  1000
#define HEAP_KEPT    (1 << 20)	 /* free bytes at the top of the heap that stay */
#define HEAP_LARGEST (256 << 10) /* what is larger comes and goes with pages of its own */

struct loop_ticker {
	sd_event_source *source;
	uint64_t period_us;
	uint64_t next_us;
	loop_tick_fn fn;
	void *userdata;
};

static int on_stop_signal(sd_event_source *s, const struct signalfd_siginfo *info _unused_,
			  void *userdata _unused_)
{
	return sd_event_exit(sd_event_source_get_event(s), 0);
}

/* glibc gives the top of the heap back to the kernel when 128 KiB of it are free: a service that
 * answers 64 KiB at a time would return and fetch it with each call, page by page. */
static void keep_some_memory(void)
{
#ifdef M_TRIM_THRESHOLD
	mallopt(M_TRIM_THRESHOLD, HEAP_KEPT);
	mallopt(M_MMAP_THRESHOLD, HEAP_LARGEST);
#endif
}

static void raise_fd_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit); /* the old limit is worse, not wrong */
	}
}

int loop_new(sd_event **out)
{
	static const int stop_signals[] = { SIGTERM, SIGINT };
	_cleanup_(sd_event_unrefp) sd_event *loop = NULL;
	sigset_t blocked;
	int r;

	sigemptyset(&blocked);
	for (size_t i = 0; i < ARRAY_LEN(stop_signals); i++) {
		sigaddset(&blocked, stop_signals[i]);
	}
	if (sigprocmask(SIG_BLOCK, &blocked, NULL) < 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR) {
		return err_trace(err_errno());
	}
	raise_fd_limit();
	keep_some_memory();
	r = sd_event_new(&loop);
	for (size_t i = 0; r >= 0 && i < ARRAY_LEN(stop_signals); i++) {
		r = sd_event_add_signal(loop, NULL, stop_signals[i], on_stop_signal, NULL);
	}
	if (r >= 0) {
		r = sd_event_set_watchdog(loop, true);
	}
	if (r < 0) {
		return err_trace(r);
	}
	*out = STEAL(loop);
	return 0;
}

void loop_ready(sd_event *loop _unused_, const char *status)
{
	sd_notifyf(false, "READY=1\nSTATUS=%s", status);
}

int loop_run(sd_event *loop)
{
	int r = sd_event_loop(loop);

	sd_notify(false, "STOPPING=1");
	log_flush();
	return err_trace(r);
}

static int on_tick(sd_event_source *s, uint64_t at_us _unused_, void *userdata)
{
	struct loop_ticker *t = userdata;
	sd_event *loop = sd_event_source_get_event(s);
	uint64_t now_us = clock_boot_ns() / 1000;
	int r;

	t->next_us += t->period_us;
	if (t->next_us <= now_us) {
		t->next_us += ((now_us - t->next_us) / t->period_us + 1) * t->period_us;
	}
	r = sd_event_source_set_time(s, t->next_us);
	if (r >= 0) {
		r = sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
	}
	if (r >= 0) {
		r = t->fn(t->userdata); /* may free t */
	}
	if (r < 0) {
		sd_event_exit(loop, err_trace(r));
	}
	return 0;
}

int loop_ticker_new(struct loop_ticker **out, sd_event *loop, uint64_t period_us, loop_tick_fn fn,
		    void *userdata)
{
	struct loop_ticker *t;
	int r;

	if (period_us == 0) {
		return -EINVAL;
	}
	t = malloc(sizeof(*t));
	if (!t) {
		return -ENOMEM;
	}
	*t = (struct loop_ticker){
		.period_us = period_us,
		.next_us = clock_boot_ns() / 1000 + period_us,
		.fn = fn,
		.userdata = userdata,
	};
	r = sd_event_add_time(loop, &t->source, CLOCK_BOOTTIME, t->next_us, ACCURACY_US, on_tick,
			      t);
	if (r < 0) {
		loop_ticker_free(t);
		return err_trace(r);
	}
	*out = t;
	return 0;
}

struct loop_ticker *loop_ticker_free(struct loop_ticker *t)
{
	if (t) {
		sd_event_source_disable_unref(t->source);
		free(t);
	}
	return NULL;
}

int loop_after(sd_event *loop, sd_event_source **source, uint64_t delay_us,
	       sd_event_time_handler_t fn, void *userdata)
{
	uint64_t now_us = clock_boot_ns() / 1000;
	uint64_t at_us = delay_us < UINT64_MAX - now_us ? now_us + delay_us : UINT64_MAX;
	int r;

	*source = sd_event_source_disable_unref(*source);
	r = sd_event_add_time(loop, source, CLOCK_BOOTTIME, at_us, ACCURACY_US, fn, userdata);
	return r < 0 ? err_trace(r) : 0;
}

int loop_defer(sd_event *loop, sd_event_source **source, sd_event_handler_t fn, void *userdata)
{
	int r;

	*source = sd_event_source_disable_unref(*source);
	r = sd_event_add_defer(loop, source, fn, userdata);
	return r < 0 ? err_trace(r) : 0;
}
