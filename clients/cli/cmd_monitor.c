/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `bus monitor` and `events`: follow the services and show what they publish.
 * Observing is only another subscription; nothing of it slows a service down.
 */
#include "clients/cli/bus_tools.h"
#include "clients/cli/follow.h"
#include "clients/cli/monitor.h"
#include "clients/cli/pages.h"
#include "libcommon/clock.h"
#include "libcommon/loop.h"

/* How far a service was shown before it was followed. */
struct shown {
	const char *service;
	uint8_t instance[16];
	uint64_t seq;
	bool is_synced; /* the state at the beginning has come */
};

struct watch {
	struct monitor monitor;
	struct follow follow;
	uint64_t follow_ms;  /* ends after so long; 0 = no end */
	uint64_t fail_ms;    /* fails with CLI_TIMEOUT after so long; 0 = no end */
	bool hides_first;    /* the states there are at the beginning */
	bool hides_replayed; /* those of repairs too */
	struct shown *shown; /* as the services of the topology */
	size_t n_shown;
	bool is_full;
};

static struct shown *shown_of(struct watch *w, const char *service)
{
	size_t i = 0;

	while (i + 1 < w->n_shown && !streq(w->shown[i].service, service)) {
		i++;
	}
	return &w->shown[i];
}

static bool is_shown_already(const struct shown *s, const struct bus_sub_event *e)
{
	return e->event && e->event->instance.len == sizeof(s->instance) &&
	       memcmp(e->event->instance.data, s->instance, sizeof(s->instance)) == 0 &&
	       e->seq <= s->seq;
}

static void on_event(const struct follow_source *source, const struct bus_sub_event *e,
		     void *userdata)
{
	struct watch *w = userdata;
	struct shown *s = shown_of(w, source->service);
	bool is_state = e->what == BUS_SUB_STATE || e->what == BUS_SUB_REMOVED;

	s->is_synced = s->is_synced || e->what == BUS_SUB_RESYNCED;
	if (w->is_full ||
	    (is_state && e->replayed &&
	     (w->hides_replayed || (w->hides_first && !s->is_synced) || is_shown_already(s, e)))) {
		return;
	}
	w->is_full = monitor_show(&w->monitor, source->service, e, clock_real_ns());
	arena_reset(&w->monitor.cli->arena);
	if (w->is_full) {
		sd_event_exit(w->monitor.cli->loop, CLI_OK);
	}
}

/* ---- --since-start ---- */

struct history {
	struct watch *w;
	const char *service;
};

static void on_page_event(const Xenmesh__V1__Event *event, void *userdata)
{
	const struct history *h = userdata;
	struct watch *w = h->w;
	struct bus_sub_event e = { .what = BUS_SUB_STATE, .event = event, .replayed = true };

	if (!event || w->is_full) {
		return;
	}
	if (event->body_case == XENMESH__V1__EVENT__BODY_REMOVED) {
		e.what = BUS_SUB_REMOVED;
	}
	e.topic = event->topic;
	e.seq = event->seq;
	e.size = xenmesh__v1__event__get_packed_size(event);
	w->is_full = monitor_show(&w->monitor, h->service, &e, clock_real_ns());
}

/* Newest event of everything each service ever published, as far as it knows it still. */
static int show_history(struct watch *w, const char *only, char *const *prefixes, size_t n)
{
	struct cli *cli = w->monitor.cli;

	for (size_t i = 0; i < w->n_shown && !w->is_full; i++) {
		struct shown *s = &w->shown[i];
		struct history history = { w, s->service };
		struct pages pages = { .service = s->service,
				       .prefixes = prefixes,
				       .n_prefixes = n,
				       .since_start = true,
				       .fn = on_page_event,
				       .userdata = &history };
		int r;

		if (only && !streq(only, s->service)) {
			continue;
		}
		r = pages_fetch(cli, &pages);
		arena_reset(&cli->arena);
		if (r && only) {
			return r;
		}
		if (r) {
			continue;
		}
		if (pages.is_cut) {
			cli_error("%s has forgotten the oldest of what it removed", s->service);
		}
		memcpy(s->instance, pages.instance, sizeof(pages.instance));
		s->seq = pages.seq;
	}
	return CLI_OK;
}

/* ---- the commands ---- */

static int watch_follow(struct watch *w, const char *only, char *const *prefixes, size_t n)
{
	_cleanup_(loop_source_unrefp) sd_event_source *end = NULL, *failure = NULL;
	struct cli *cli = w->monitor.cli;
	int r = follow_open(&w->follow, cli, only, prefixes, n, on_event, w);

	r = r ? r : follow_ask(&w->follow, cli);
	r = r ? r : follow_end_after(cli, &end, w->follow_ms, FOLLOW_TIME_OVER);
	r = r ? r : follow_end_after(cli, &failure, w->fail_ms, CLI_TIMEOUT);
	r = r ? r : follow_run(cli, w->monitor.count ? CLI_INTERRUPTED : CLI_OK);
	return follow_judge(&w->follow, r, w->monitor.count ? CLI_TIMEOUT : CLI_OK);
}

static int watch_run(struct watch *w, const char *only, char *const *prefixes, size_t n,
		     bool since_start)
{
	struct cli *cli = w->monitor.cli;
	int r;

	w->n_shown = topology_n_services(cli->topology);
	w->shown = calloc(w->n_shown + 1, sizeof(*w->shown));
	if (!w->shown) {
		return CLI_FAILURE;
	}
	for (size_t i = 0; i < w->n_shown; i++) {
		w->shown[i].service = topology_service_at(cli->topology, i)->name;
	}
	/* Before anything is followed: what comes with that is newer. */
	r = since_start ? show_history(w, only, prefixes, n) : CLI_OK;
	if (!r && !w->is_full) {
		r = watch_follow(w, only, prefixes, n);
	}
	follow_close(&w->follow);
	free(w->shown);
	return r;
}

int cmd_bus_monitor(struct cli *cli, int argc, char **argv)
{
	struct watch w = { .monitor = { .cli = cli }, .fail_ms = cli->timeout_ms };
	const char *service = NULL;
	const char *duration = NULL;
	bool since_start = false;
	bool snapshot = false;
	const struct cli_option options[] = {
		{ "service", 's', &service, NULL },
		{ "for", 0, &duration, NULL },
		{ "since-start", 0, NULL, &since_start },
		{ "snapshot", 0, NULL, &snapshot },
	};
	int r = monitor_options(&w.monitor, &argc, argv, options, ARRAY_LEN(options));

	r = r ? r : follow_duration(duration, &w.follow_ms);
	if (!r) {
		w.hides_first = !since_start && !snapshot;
		r = watch_run(&w, service, argv, (size_t)argc, since_start);
	}
	monitor_deinit(&w.monitor);
	return r;
}

int cmd_events(struct cli *cli, int argc, char **argv)
{
	struct watch w = { .monitor = { .cli = cli, .form = MONITOR_SHORT } };
	const char *service = NULL;
	const char *duration = NULL;
	const struct cli_option options[] = {
		{ "service", 's', &service, NULL },
		{ "for", 0, &duration, NULL },
		{ "live", 0, NULL, &w.hides_replayed },
	};
	int r = monitor_options(&w.monitor, &argc, argv, options, ARRAY_LEN(options));

	r = r ? r : follow_duration(duration, &w.follow_ms);
	r = r ? r : watch_run(&w, service, argv, (size_t)argc, false);
	monitor_deinit(&w.monitor);
	return r;
}
