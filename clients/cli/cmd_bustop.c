/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `bus top`: a frame per delay, of what this program hears itself and of what
 * the services count.
 */
#include <inttypes.h>
#include <math.h>

#include "clients/cli/bus_tools.h"
#include "clients/cli/bustop.h"
#include "clients/cli/event_text.h"
#include "clients/cli/follow.h"
#include "clients/cli/frames.h"
#include "libcommon/clock.h"
#include "libcommon/err.h"

#define STATS_TIMEOUT_MS 2000
#define START_NS	 (NSEC_PER_SEC / 2)
#define START_STEP_NS	 (20 * NSEC_PER_MSEC)

struct busfront {
	struct cli *cli;
	struct follow follow;
	struct bustop top;
	struct frames frames;
	double seconds; /* of the frame */
};

static void on_event(const struct follow_source *source, const struct bus_sub_event *e,
		     void *userdata)
{
	struct busfront *f = userdata;
	size_t service = (size_t)(source - f->follow.sources);

	if (e->what == BUS_SUB_GAP || e->what == BUS_SUB_LOST) {
		bustop_gap(&f->top, service, e->missed);
	} else if (e->raw && e->topic) {
		bustop_message(&f->top, service, e->topic, e->size);
	}
}

/* ---- lines ---- */

/* "-" for what is not known. */
static const char *number(struct cli *cli, double value)
{
	return isnan(value) ? "-" : arena_printf(&cli->arena, "%.1f", value);
}

static const char *publishers_text(struct busfront *f, const struct bustop_segment *s)
{
	const char *text = "";

	for (size_t i = 0; i < s->n_publishers; i++) {
		text = arena_printf(&f->cli->arena, "%s%s%s", text, i ? "," : "",
				    f->top.services[s->publishers[i]].name);
	}
	return text ? text : "";
}

static void add_segments(struct busfront *f)
{
	struct cli *cli = f->cli;

	frames_line(&f->frames, true,
		    "TOPICS            PUBLISHERS            SUBSCR     MSG/S         B/S  "
		    "SIZE P50  SIZE P99");
	for (size_t i = 0; i < f->top.n_segments; i++) {
		const struct bustop_segment *s = &f->top.segments[i];

		frames_line(&f->frames, false,
			    "%-17.17s %-20.20s %7" PRIu64 " %9s %11s %9.0f %9.0f",
			    cli_text(cli, s->name, strlen(s->name)), publishers_text(f, s),
			    s->subscribers, number(cli, s->rate), number(cli, s->byte_rate),
			    s->size.p50, s->size.p99);
	}
}

static void add_services(struct busfront *f)
{
	struct cli *cli = f->cli;

	frames_line(&f->frames, true,
		    "SERVICE           STATE SUBSCR  GAPS    LOST DROPPED  QUEUED B    HIGH B   "
		    "CALLS/S INFLIGHT  ERRORS   RSS KiB");
	for (size_t i = 0; i < f->top.n_services; i++) {
		const struct bustop_service *s = &f->top.services[i];

		frames_line(&f->frames, false,
			    "%-17.17s %-5s %6" PRIu64 " %5" PRIu64 " %7" PRIu64 " %7" PRIu64
			    " %9" PRIu64 " %9" PRIu64 " %9s %8" PRIu64 " %7" PRIu64 " %9" PRIu64,
			    s->name, s->is_up ? "up" : "down", s->subscribers, s->n_gaps,
			    s->n_missed, s->dropped, s->queued_bytes, s->high_bytes,
			    number(cli, s->call_rate), s->in_flight, s->errors, s->rss_kib);
	}
}

static void add_methods(struct busfront *f)
{
	struct cli *cli = f->cli;

	frames_line(&f->frames, true,
		    "METHOD                       SERVICE             CALLS/S      CALLS  ERRORS "
		    "INFLIGHT    P50 us    P99 us");
	for (size_t i = 0; i < f->top.n_methods; i++) {
		const struct bustop_method *m = &f->top.methods[i];

		frames_line(&f->frames, false,
			    "%-28.28s %-17.17s %9s %10" PRIu64 " %7" PRIu64 " %8" PRIu64
			    " %9" PRIu64 " %9" PRIu64,
			    cli_text(cli, m->name, strlen(m->name)),
			    f->top.services[m->service].name, number(cli, m->rate), m->calls,
			    m->errors, m->in_flight, m->p50_us, m->p99_us);
	}
}

static void frame_text(struct frames *frames, void *userdata)
{
	struct busfront *f = userdata;

	bustop_order(&f->top, (enum bustop_sort)frames->column);
	frames_line(&f->frames, false, "%s  over %.1f s", event_time(f->cli, clock_real_ns()),
		    f->seconds);
	frames_line(&f->frames, false, "%s", "");
	add_segments(f);
	frames_line(&f->frames, false, "%s", "");
	add_services(f);
	frames_line(&f->frames, false, "%s", "");
	add_methods(f);
}

/* ---- JSON ---- */

static void add_number(struct json_object *o, const char *name, uint64_t value)
{
	json_object_object_add(o, name, json_object_new_uint64(value));
}

static struct json_object *segment_json(const struct busfront *f, const struct bustop_segment *s)
{
	struct json_object *o = json_object_new_object();
	struct json_object *publishers = json_object_new_array();

	for (size_t i = 0; i < s->n_publishers; i++) {
		json_object_array_add(
			publishers, json_object_new_string(f->top.services[s->publishers[i]].name));
	}
	json_object_object_add(o, "segment", json_object_new_string(s->name));
	json_object_object_add(o, "publishers", publishers);
	add_number(o, "subscribers", s->subscribers);
	json_object_object_add(o, "messages_per_second", cli_json_double(s->rate));
	json_object_object_add(o, "bytes_per_second", cli_json_double(s->byte_rate));
	json_object_object_add(o, "size_p50", cli_json_double(s->size.p50));
	json_object_object_add(o, "size_p99", cli_json_double(s->size.p99));
	return o;
}

static struct json_object *service_json(const struct bustop_service *s)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "service", json_object_new_string(s->name));
	json_object_object_add(o, "up", json_object_new_boolean(s->is_up));
	add_number(o, "subscribers", s->subscribers);
	add_number(o, "gaps", s->n_gaps);
	add_number(o, "lost", s->n_missed);
	add_number(o, "dropped", s->dropped);
	add_number(o, "queued_bytes", s->queued_bytes);
	add_number(o, "high_bytes", s->high_bytes);
	json_object_object_add(o, "calls_per_second", cli_json_double(s->call_rate));
	add_number(o, "calls", s->calls);
	add_number(o, "errors", s->errors);
	add_number(o, "in_flight", s->in_flight);
	add_number(o, "rss_kib", s->rss_kib);
	return o;
}

static struct json_object *method_json(const struct busfront *f, const struct bustop_method *m)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "method", json_object_new_string(m->name));
	json_object_object_add(o, "service",
			       json_object_new_string(f->top.services[m->service].name));
	json_object_object_add(o, "calls_per_second", cli_json_double(m->rate));
	add_number(o, "calls", m->calls);
	add_number(o, "errors", m->errors);
	add_number(o, "in_flight", m->in_flight);
	add_number(o, "p50_us", m->p50_us);
	add_number(o, "p99_us", m->p99_us);
	return o;
}

static struct json_object *frame_json(const struct frames *frames, void *userdata)
{
	struct busfront *f = userdata;
	struct json_object *o = json_object_new_object();
	struct json_object *segments = json_object_new_array();
	struct json_object *services = json_object_new_array();
	struct json_object *methods = json_object_new_array();

	bustop_order(&f->top, (enum bustop_sort)frames->column);
	for (size_t i = 0; i < f->top.n_segments; i++) {
		json_object_array_add(segments, segment_json(f, &f->top.segments[i]));
	}
	for (size_t i = 0; i < f->top.n_services; i++) {
		json_object_array_add(services, service_json(&f->top.services[i]));
	}
	for (size_t i = 0; i < f->top.n_methods; i++) {
		json_object_array_add(methods, method_json(f, &f->top.methods[i]));
	}
	add_number(o, "time_ns", clock_real_ns());
	json_object_object_add(o, "seconds", cli_json_double(f->seconds));
	json_object_object_add(o, "topics", segments);
	json_object_object_add(o, "services", services);
	json_object_object_add(o, "methods", methods);
	return o;
}

/* ---- frames ---- */

static const struct frames_kind bus_kind = {
	.command = "bus top",
	.columns = bustop_sort_names,
	.keys = "rbn", /* in the order of enum bustop_sort */
	.key_help = "sort by: r rate  b bytes  n name    q quit",
	.delay_min_ms = 100,
	.delay_min = "100ms",
	.text = frame_text,
	.json = frame_json,
};

/* Ask all services that are heard for their counters; others would only delay the frame. */
static void sample(struct busfront *f)
{
	Xenmesh__V1__StatsRequest request = XENMESH__V1__STATS_REQUEST__INIT;
	size_t n = f->top.n_services;
	_cleanup_(xfreep) struct cli_pending *calls = calloc(n + 1, sizeof(*calls));
	_cleanup_(xfreep) size_t *of_service = calloc(n + 1, sizeof(*of_service));
	size_t n_calls = 0;

	for (size_t i = 0; calls && of_service && i < n; i++) {
		if (!bus_sub_is_synced(f->follow.sources[i].sub)) {
			bustop_stats(&f->top, i, NULL);
			continue;
		}
		of_service[n_calls] = i;
		calls[n_calls].service = f->top.services[i].name;
		calls[n_calls].method = "xenmesh.v1.Bus/Stats";
		calls[n_calls++].request = &request.base;
	}
	if (n_calls > 0) {
		cli_call_all(f->cli, calls, n_calls, STATS_TIMEOUT_MS);
	}
	for (size_t i = 0; i < n_calls; i++) {
		bustop_stats(&f->top, of_service[i],
			     (const Xenmesh__V1__StatsReply *)(const void *)calls[i].reply.payload);
	}
}

/* Until all services are heard, or some time is over. */
static int wait_for_services(struct busfront *f)
{
	uint64_t end = clock_boot_ns() + START_NS;
	int r = 0;

	while (r >= 0 && clock_boot_ns() < end && !f->frames.is_over) {
		size_t n_synced = 0;

		for (size_t i = 0; i < f->follow.n; i++) {
			n_synced += bus_sub_is_synced(f->follow.sources[i].sub);
		}
		if (n_synced == f->follow.n) {
			break;
		}
		r = frames_wait(&f->frames, clock_boot_ns() + START_STEP_NS);
	}
	return r;
}

static int run_frames(struct busfront *f)
{
	int r = wait_for_services(f);
	uint64_t last = clock_boot_ns();

	if (r < 0) {
		return r;
	}
	sample(f);
	bustop_frame(&f->top, 0);
	while (!f->frames.is_over) {
		uint64_t now;

		r = frames_wait(&f->frames, last + f->frames.delay_ns);
		if (r < 0 || f->frames.is_over) {
			return r;
		}
		sample(f);
		now = clock_boot_ns();
		f->seconds = (double)(now - last) / 1e9;
		last = now;
		bustop_frame(&f->top, f->seconds);
		frames_next(&f->frames);
	}
	return 0;
}

/* ---- the command ---- */

static int run(struct busfront *f)
{
	int r = follow_open(&f->follow, f->cli, NULL, NULL, 0, on_event, f);

	if (r) {
		return r;
	}
	if (bustop_init(&f->top, f->follow.n) < 0) {
		return CLI_FAILURE;
	}
	for (size_t i = 0; i < f->follow.n; i++) {
		f->top.services[i].name = f->follow.sources[i].service;
	}
	r = frames_begin(&f->frames);
	r = r < 0 ? r : run_frames(f);
	frames_end(&f->frames);
	if (r < 0) {
		cli_error("%s", err_text(r));
	}
	return r < 0 ? CLI_FAILURE : frames_status(&f->frames);
}

int cmd_bus_top(struct cli *cli, int argc, char **argv)
{
	_cleanup_(xfreep) struct busfront *f = calloc(1, sizeof(*f));
	int r;

	if (!f) {
		return CLI_FAILURE;
	}
	f->cli = cli;
	r = frames_init(&f->frames, &bus_kind, cli, f, argc, argv);
	r = r ? r : run(f);
	frames_deinit(&f->frames);
	follow_close(&f->follow);
	bustop_deinit(&f->top);
	return r;
}
