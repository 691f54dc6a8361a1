/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Paths come back as strings; what is not understood is no error but an event
 * of no interest.  One pass takes at most 20 ms and goes on 50 ms later, so
 * that a thousand domains at once do not hold up the rest of the loop.
 */
#include "services/ops/host/watcher.h"

#include <stdio.h>

#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"
#include "libcommon/xenstore.h"

#define PASS_BUDGET_US (20 * USEC_PER_MSEC)
#define BACKENDS       "/local/domain/0/backend"

enum { WATCH_INTRODUCE, WATCH_RELEASE, WATCH_LIBXL, WATCH_BACKENDS, N_WATCHES };

struct host_watcher {
	sd_event *loop;
	struct xenstore *xs;
	struct host_domains *domains;
	struct xenstore_watch *watches[N_WATCHES];
	sd_event_source *timer;
	bool is_waiting;
	bool wants_scan;
};

static int on_timer(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
	struct host_watcher *w = userdata;
	int r;

	w->is_waiting = false;
	if (w->wants_scan) {
		w->wants_scan = false;
		r = host_domains_scan(w->domains);
		if (r < 0) {
			log_warning("cannot list the domains: %s", err_text(r));
		}
	}
	if (host_domains_refresh(w->domains, PASS_BUDGET_US)) {
		host_watcher_wake(w);
	}
	return 0;
}

void host_watcher_wake(struct host_watcher *w)
{
	int r;

	if (w->is_waiting) {
		return;
	}
	r = loop_after(w->loop, &w->timer, HOST_WATCHER_PAUSE_MS * USEC_PER_MSEC, on_timer, w);
	if (r < 0) {
		log_error("cannot set a timer: %s", err_text(r));
		return;
	}
	w->is_waiting = true;
}

void host_watcher_scan(struct host_watcher *w)
{
	w->wants_scan = true;
	host_watcher_wake(w);
}

void host_watcher_reset(struct host_watcher *w)
{
	host_domains_mark_all(w->domains, HOST_DIRTY_ALL);
	host_watcher_scan(w);
}

static void on_domains(struct xenstore *xs _unused_, const char *path _unused_, void *userdata)
{
	host_watcher_scan(userdata);
}

/* "/libxl/<domid>..." */
static void on_libxl(struct xenstore *xs _unused_, const char *path, void *userdata)
{
	struct host_watcher *w = userdata;
	uint32_t domid;

	if (sscanf(path, "/libxl/%5u", &domid) == 1 &&
	    !host_domains_mark(w->domains, domid, HOST_DIRTY_DEVICES)) {
		host_watcher_scan(w);
	}
}

/* "/local/domain/0/backend/<kind>/<domid>/<devid>/state", or a part of it that came or went. */
static void on_backends(struct xenstore *xs _unused_, const char *path, void *userdata)
{
	struct host_watcher *w = userdata;
	const char *rest = path + MIN(strlen(path), strlen(BACKENDS));
	char key[16] = "state";
	uint32_t domid;

	if (sscanf(rest, "/%*15[a-z0-9_]/%5u/%*10u/%15s", &domid, key) >= 1 &&
	    streq(key, "state")) {
		host_domains_mark(w->domains, domid, HOST_DIRTY_STATES);
	}
}

int host_watcher_new(struct host_watcher **out, sd_event *loop, struct xenstore *xs,
		     struct host_domains *domains)
{
	static const struct {
		const char *path;
		xenstore_watch_fn fn;
	} wanted[N_WATCHES] = {
		[WATCH_INTRODUCE] = { "@introduceDomain", on_domains },
		[WATCH_RELEASE] = { "@releaseDomain", on_domains },
		[WATCH_LIBXL] = { "/libxl", on_libxl },
		[WATCH_BACKENDS] = { BACKENDS, on_backends },
	};
	struct host_watcher *w = calloc(1, sizeof(*w));
	int r = 0;

	if (!w) {
		return -ENOMEM;
	}
	w->loop = loop;
	w->xs = xs;
	w->domains = domains;
	for (size_t i = 0; r == 0 && i < N_WATCHES; i++) {
		r = xenstore_watch(xs, &w->watches[i], wanted[i].path, wanted[i].fn, w);
	}
	if (r < 0) {
		host_watcher_free(w);
		return err_trace(r);
	}
	*out = w;
	return 0;
}

struct host_watcher *host_watcher_free(struct host_watcher *w)
{
	if (w) {
		for (size_t i = 0; i < N_WATCHES; i++) {
			xenstore_unwatch(w->watches[i]);
		}
		sd_event_source_disable_unref(w->timer);
		free(w);
	}
	return NULL;
}
