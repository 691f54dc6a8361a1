/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Idle for 0.7 s, then a probe, looked at each 100 ms:
 *   shaken hands, and a peer was accepted since it began   -> well, idle
 *   shaken hands, but nobody accepted for half a second    -> deaf
 *   no handshake for 1.5 s                                 -> deaf
 * so a deaf listener is found at most 1.4 s after it went deaf, or 2.3 s if it is stuck.
 */
#include "bus/sp_watch.h"

#include <sys/stat.h>

#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"

#define PERIOD_US (700 * USEC_PER_MSEC)
#define TICK_US	  (100 * USEC_PER_MSEC)
#define DEAF_NS	  (500 * NSEC_PER_MSEC) /* a healthy listener needs less than 10 ms */
#define STUCK_NS  (1500 * NSEC_PER_MSEC)

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata);

static int arm(struct sp_watch *w, uint64_t delay_us)
{
	int r = loop_after(w->loop, &w->timer, delay_us, on_timer, w);

	if (r < 0) {
		log_error("cannot arm the watch of %s: %s", w->path, err_text(r));
	}
	return r;
}

/* The probe, if any, is over. */
static int idle(struct sp_watch *w)
{
	sp_probe_stop(&w->probe);
	w->start_ns = w->shaken_ns = 0;
	return arm(w, PERIOD_US);
}

static void check(struct sp_watch *w)
{
	if (w->shaken_ns && w->n_accepted > w->n_accepted_before) {
		idle(w);
	}
}

void sp_watch_accepted(struct sp_watch *w)
{
	w->n_accepted++;
	check(w);
}

static void on_answer(struct sp_probe *p, void *userdata)
{
	struct sp_watch *w = userdata;

	if (!sp_probe_is_done(p)) {
		idle(w); /* turned away, so somebody is at work there */
		return;
	}
	w->shaken_ns = clock_boot_ns();
	check(w);
}

bool sp_watch_is_foreign(const struct sp_watch *w)
{
	struct stat st;

	return stat(w->path, &st) == 0 && (st.st_dev != w->dev || st.st_ino != w->ino);
}

static void begin(struct sp_watch *w)
{
	int r;

	if (access(w->path, F_OK) < 0) {
		w->deaf(w, "has lost its socket file", w->userdata);
		return;
	}
	if (sp_watch_is_foreign(w)) {
		if (!w->has_complained) {
			w->has_complained = true;
			log_error("%s was taken over by another process; stop one of the two",
				  w->path);
		}
		idle(w);
		return;
	}
	w->start_ns = clock_boot_ns();
	w->n_accepted_before = w->n_accepted;
	r = sp_probe_start(&w->probe, w->loop, w->path, w->protocol, on_answer, w);
	if (r < 0 && r != -EAGAIN) {
		log_debug("cannot probe %s: %s", w->path, err_text(r));
	}
	arm(w, TICK_US);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct sp_watch *w = userdata;
	uint64_t now;

	(void)source;
	(void)usec;
	if (w->start_ns == 0) {
		begin(w);
		return 0;
	}
	/* What this loop was late to see is not the listener's fault. */
	if (!w->catch_up(w, w->userdata) || w->start_ns == 0) {
		return 0;
	}
	now = clock_boot_ns();
	if (w->shaken_ns ? now - w->shaken_ns > DEAF_NS : now - w->start_ns > STUCK_NS) {
		w->deaf(w, "stopped accepting (a peer vanished while it connected)", w->userdata);
	} else if (w->probe.fd < 0 && w->n_accepted > w->n_accepted_before) {
		idle(w); /* too busy for ours, but not deaf */
	} else {
		arm(w, TICK_US);
	}
	return 0;
}

int sp_watch_restart(struct sp_watch *w)
{
	struct stat st;

	if (stat(w->path, &st) < 0) {
		w->dev = 0;
		w->ino = 0;
	} else {
		w->dev = st.st_dev;
		w->ino = st.st_ino;
	}
	return idle(w);
}

void sp_watch_stop(struct sp_watch *w)
{
	w->timer = sd_event_source_disable_unref(w->timer);
	sp_probe_stop(&w->probe);
	w->start_ns = w->shaken_ns = 0;
}
