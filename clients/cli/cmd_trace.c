/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `bus trace`: switch on the trace of calls of some services, show it, and
 * leave it off again if it was.
 */
#include <inttypes.h>
#include <stdio.h>

#include "clients/cli/bus_tools.h"
#include "clients/cli/follow.h"
#include "clients/cli/monitor.h"
#include "libcommon/clock.h"
#include "libcommon/err.h"

#define TRACE_MS	 60000
#define TRACE_MAX_MS	 3600000 /* of Bus.SetTrace */
#define SYNC_NS		 (3 * NSEC_PER_SEC)
#define SYNC_STEP_NS	 (20 * NSEC_PER_MSEC)
#define TRACE_TIMEOUT_MS 5000
#define SET_TRACE	 "xenmesh.v1.Bus/SetTrace"

struct trace {
	struct monitor monitor;
	struct follow follow;
	char **services;
	size_t n_services;
	bool *was_on;  /* before us, as services */
	bool *is_ours; /* the call that switches it on is still to come */
	bool with_callers;
	bool is_over;
};

/* -1: not asked for. */
static ssize_t index_of(const struct trace *t, const char *service)
{
	for (size_t i = 0; i < t->n_services; i++) {
		if (streq(t->services[i], service)) {
			return (ssize_t)i;
		}
	}
	return -1;
}

/* The first record that a service makes for us is of our own SetTrace. */
static bool is_own_call(struct trace *t, size_t i, const struct bus_sub_event *e)
{
	if (!t->is_ours[i] || !e->event ||
	    e->event->body_case != XENMESH__V1__EVENT__BODY_RPC_TRACE ||
	    !streq(e->event->rpc_trace->method, SET_TRACE)) {
		return false;
	}
	t->is_ours[i] = false;
	return true;
}

static void on_event(const struct follow_source *source, const struct bus_sub_event *e,
		     void *userdata)
{
	struct trace *t = userdata;
	ssize_t i = index_of(t, source->service);

	if (t->is_over || i < 0 || e->what == BUS_SUB_RESYNCED || is_own_call(t, (size_t)i, e)) {
		return;
	}
	t->is_over = monitor_show(&t->monitor, source->service, e, clock_real_ns());
	arena_reset(&t->monitor.cli->arena);
}

/* Seconds 0: off, where it was off before. The exit code of the worst. */
static int set_trace(struct trace *t, uint32_t seconds)
{
	struct cli *cli = t->monitor.cli;
	int status = CLI_OK;

	for (size_t i = 0; i < t->n_services; i++) {
		Xenmesh__V1__SetTraceRequest request = XENMESH__V1__SET_TRACE_REQUEST__INIT;
		struct cli_pending call = { .service = t->services[i],
					    .method = SET_TRACE,
					    .request = &request.base };
		const Xenmesh__V1__SetTraceReply *reply;
		int r;

		if (seconds == 0 && t->was_on[i]) {
			continue;
		}
		request.seconds = seconds;
		request.with_callers = t->with_callers;
		t->is_ours[i] = seconds > 0;
		cli_call_all(cli, &call, 1, cli_timeout_ms(cli, TRACE_TIMEOUT_MS));
		r = cli_fail(&call.reply);
		status = r ? r : status;
		reply = (const Xenmesh__V1__SetTraceReply *)(const void *)call.reply.payload;
		/* One that could not be switched on is not switched off. */
		t->was_on[i] = !reply || reply->previous_seconds > 0;
	}
	return status;
}

/* Until the services are heard: what happens after the switching on is seen then. */
static int wait_for_services(struct trace *t)
{
	uint64_t end = clock_boot_ns() + SYNC_NS;
	int r = 0;

	while (r >= 0 && clock_boot_ns() < end && !t->is_over) {
		bool is_missing = false;

		for (size_t i = 0; i < t->follow.n; i++) {
			const struct follow_source *s = &t->follow.sources[i];

			is_missing = is_missing ||
				     (index_of(t, s->service) >= 0 && !bus_sub_is_synced(s->sub));
		}
		if (!is_missing) {
			break;
		}
		r = follow_until(t->monitor.cli, &t->is_over, clock_boot_ns() + SYNC_STEP_NS);
	}
	return r;
}

static int run(struct trace *t, uint64_t ms)
{
	static char prefix[] = "trace/rpc/";
	char *const prefixes[] = { prefix };
	struct cli *cli = t->monitor.cli;
	int r = follow_open(&t->follow, cli, NULL, prefixes, 1, on_event, t);
	int status = r;

	if (!r && wait_for_services(t) < 0) {
		return CLI_FAILURE;
	}
	if (!r && !t->is_over) {
		status = set_trace(t, (uint32_t)((ms + 999) / 1000));
		if (!status) {
			r = follow_until(cli, &t->is_over, clock_boot_ns() + ms * NSEC_PER_MSEC);
			status = r < 0 ? CLI_FAILURE : CLI_OK;
		}
		t->is_over = true;
		r = set_trace(t, 0);
		status = status ? status : r;
	}
	if (!status && t->monitor.count && t->monitor.n_shown < t->monitor.count) {
		status = CLI_TIMEOUT;
	}
	return status;
}

int cmd_bus_trace(struct cli *cli, int argc, char **argv)
{
	struct trace t = { .monitor = { .cli = cli }, .services = argv };
	const char *duration = NULL;
	const struct cli_option options[] = {
		{ "for", 0, &duration, NULL },
		{ "callers", 0, NULL, &t.with_callers },
	};
	uint64_t ms = TRACE_MS;
	int r = monitor_options(&t.monitor, &argc, argv, options, ARRAY_LEN(options));

	r = r ? r : follow_duration(duration, &ms);
	if (!r && ms > TRACE_MAX_MS) {
		r = cli_usage("a trace ends after an hour at most");
	}
	if (!r && argc < 1) {
		r = cli_usage("bus trace wants a service");
	}
	for (int i = 0; !r && i < argc; i++) {
		r = cli_check_service(cli, argv[i]);
	}
	t.n_services = r ? 0 : (size_t)argc;
	t.was_on = calloc(t.n_services + 1, sizeof(*t.was_on));
	t.is_ours = calloc(t.n_services + 1, sizeof(*t.is_ours));
	if (!r) {
		r = t.was_on && t.is_ours ? run(&t, ms) : CLI_FAILURE;
	}
	follow_close(&t.follow);
	free(t.was_on);
	free(t.is_ours);
	monitor_deinit(&t.monitor);
	return r;
}
