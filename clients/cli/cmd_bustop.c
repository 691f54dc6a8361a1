/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `bus top`: a frame per delay, of what this program hears itself and of what
 * the services count.
 */
#include <curses.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "clients/cli/bus_tools.h"
#include "clients/cli/bustop.h"
#include "clients/cli/event_text.h"
#include "clients/cli/follow.h"
#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/loop.h"
#include "libcommon/parse.h"

#define STATS_TIMEOUT_MS 2000
#define LINES_MAX	 2048
#define START_NS	 (NSEC_PER_SEC / 2)
#define START_STEP_NS	 (20 * NSEC_PER_MSEC)

struct busfront {
	struct cli *cli;
	struct follow follow;
	struct bustop top;
	bool batch;
	uint64_t frames; /* 0 = no end */
	uint64_t delay_ns;
	enum bustop_sort sort;
	double seconds; /* of the frame */
	bool is_screen, is_over;
	const char *lines[LINES_MAX];
	bool is_title[LINES_MAX];
	size_t n_lines;
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

static void add_line(struct busfront *f, bool is_title, const char *text)
{
	if (text && f->n_lines < LINES_MAX) {
		f->is_title[f->n_lines] = is_title;
		f->lines[f->n_lines++] = text;
	}
}

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

	add_line(f, true,
		 "TOPICS            PUBLISHERS            SUBSCR     MSG/S         B/S  SIZE P50  "
		 "SIZE P99");
	for (size_t i = 0; i < f->top.n_segments; i++) {
		const struct bustop_segment *s = &f->top.segments[i];

		add_line(f, false,
			 arena_printf(&cli->arena,
				      "%-17.17s %-20.20s %7" PRIu64 " %9s %11s %9.0f %9.0f",
				      cli_text(cli, s->name, strlen(s->name)),
				      publishers_text(f, s), s->subscribers, number(cli, s->rate),
				      number(cli, s->byte_rate), s->size.p50, s->size.p99));
	}
}

static void add_services(struct busfront *f)
{
	struct cli *cli = f->cli;

	add_line(f, true,
		 "SERVICE           STATE SUBSCR  GAPS    LOST DROPPED  QUEUED B    HIGH B   "
		 "CALLS/S INFLIGHT  ERRORS   RSS KiB");
	for (size_t i = 0; i < f->top.n_services; i++) {
		const struct bustop_service *s = &f->top.services[i];

		add_line(f, false,
			 arena_printf(&cli->arena,
				      "%-17.17s %-5s %6" PRIu64 " %5" PRIu64 " %7" PRIu64
				      " %7" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9s %8" PRIu64
				      " %7" PRIu64 " %9" PRIu64,
				      s->name, s->is_up ? "up" : "down", s->subscribers, s->n_gaps,
				      s->n_missed, s->dropped, s->queued_bytes, s->high_bytes,
				      number(cli, s->call_rate), s->in_flight, s->errors,
				      s->rss_kib));
	}
}

static void add_methods(struct busfront *f)
{
	struct cli *cli = f->cli;

	add_line(f, true,
		 "METHOD                       SERVICE             CALLS/S      CALLS  ERRORS "
		 "INFLIGHT    P50 us    P99 us");
	for (size_t i = 0; i < f->top.n_methods; i++) {
		const struct bustop_method *m = &f->top.methods[i];

		add_line(f, false,
			 arena_printf(&cli->arena,
				      "%-28.28s %-17.17s %9s %10" PRIu64 " %7" PRIu64 " %8" PRIu64
				      " %9" PRIu64 " %9" PRIu64,
				      cli_text(cli, m->name, strlen(m->name)),
				      f->top.services[m->service].name, number(cli, m->rate),
				      m->calls, m->errors, m->in_flight, m->p50_us, m->p99_us));
	}
}

static void make_lines(struct busfront *f)
{
	f->n_lines = 0;
	add_line(f, false,
		 arena_printf(&f->cli->arena, "%s  over %.1f s",
			      event_time(f->cli, clock_real_ns()), f->seconds));
	add_line(f, false, "");
	add_segments(f);
	add_line(f, false, "");
	add_services(f);
	add_line(f, false, "");
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

static void print_json(const struct busfront *f)
{
	struct json_object *o = json_object_new_object();
	struct json_object *segments = json_object_new_array();
	struct json_object *services = json_object_new_array();
	struct json_object *methods = json_object_new_array();

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
	cli_print_json(o);
}

/* ---- frames ---- */

static void draw_screen(const struct busfront *f)
{
	erase();
	for (size_t i = 0; i < f->n_lines && (int)i < LINES - 1; i++) {
		if (f->is_title[i]) {
			attron(A_REVERSE);
		}
		mvaddnstr((int)i, 0, f->lines[i], COLS);
		attroff(A_REVERSE);
	}
	mvaddnstr(LINES - 1, 0, "sort by: r rate  b bytes  n name    q quit", COLS);
	refresh();
}

static void show(struct busfront *f)
{
	bustop_order(&f->top, f->sort);
	if (f->cli->json) {
		print_json(f);
	} else {
		make_lines(f);
		for (size_t i = 0; f->batch && i < f->n_lines; i++) {
			puts(f->lines[i]);
		}
		if (f->is_screen) {
			draw_screen(f);
		}
	}
	fflush(stdout);
	arena_reset(&f->cli->arena);
}

static int on_key(sd_event_source *source _unused_, int fd _unused_, uint32_t revents _unused_,
		  void *userdata)
{
	static const char keys[] = "rbn"; /* in the order of enum bustop_sort */
	struct busfront *f = userdata;
	int key = getch();
	const char *found = key > 0 && key < 128 ? strchr(keys, key) : NULL;

	if (key == 'q' || key == 27) {
		f->is_over = true;
	}
	if (found && *found) {
		f->sort = (enum bustop_sort)(found - keys);
		show(f);
	}
	return 0;
}

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

	while (r >= 0 && clock_boot_ns() < end && !f->is_over) {
		size_t n_synced = 0;

		for (size_t i = 0; i < f->follow.n; i++) {
			n_synced += bus_sub_is_synced(f->follow.sources[i].sub);
		}
		if (n_synced == f->follow.n) {
			break;
		}
		r = follow_until(f->cli, &f->is_over, clock_boot_ns() + START_STEP_NS);
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
	for (uint64_t i = 0; !f->is_over && (!f->frames || i < f->frames); i++) {
		uint64_t now;

		r = follow_until(f->cli, &f->is_over, last + f->delay_ns);
		if (r < 0) {
			return r;
		}
		if (f->is_over) {
			break;
		}
		sample(f);
		now = clock_boot_ns();
		f->seconds = (double)(now - last) / 1e9;
		last = now;
		bustop_frame(&f->top, f->seconds);
		show(f);
	}
	return 0;
}

/* ---- the command ---- */

static int parse(struct busfront *f, int argc, char **argv)
{
	const char *frames = "0";
	const char *delay = "1s";
	const char *sort = "rate";
	const struct cli_option options[] = {
		{ "batch", 'b', NULL, &f->batch },
		{ "frames", 'n', &frames, NULL },
		{ "delay", 'd', &delay, NULL },
		{ "sort", 's', &sort, NULL },
	};
	uint64_t ms;
	int r = cli_options(&argc, argv, options, ARRAY_LEN(options));

	if (r || argc) {
		return r ? r : cli_usage("bus top takes no arguments");
	}
	if (parse_u64(frames, strlen(frames), UINT64_MAX, &f->frames)) {
		return cli_usage("--frames wants a number, got \"%s\"", frames);
	}
	if (parse_duration_ms(delay, &ms) || ms < 100) {
		return cli_usage("--delay wants 100ms or more, got \"%s\"", delay);
	}
	if (bustop_sort_parse(sort, &f->sort)) {
		return cli_usage("--sort is rate, bytes or name, not \"%s\"", sort);
	}
	f->delay_ns = ms * NSEC_PER_MSEC;
	f->batch = f->batch || f->cli->json || !isatty(STDOUT_FILENO);
	return CLI_OK;
}

static int run(struct busfront *f)
{
	_cleanup_(loop_source_unrefp) sd_event_source *key_source = NULL;
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
	if (!f->batch) {
		f->is_screen = initscr() != NULL;
		noecho();
		cbreak();
		curs_set(0);
		nodelay(stdscr, TRUE);
		r = sd_event_add_io(f->cli->loop, &key_source, STDIN_FILENO, EPOLLIN, on_key, f);
	}
	r = r < 0 ? r : run_frames(f);
	if (f->is_screen) {
		endwin();
	}
	if (r < 0) {
		cli_error("%s", err_text(r));
	}
	return r < 0 ? CLI_FAILURE : CLI_OK;
}

int cmd_bus_top(struct cli *cli, int argc, char **argv)
{
	_cleanup_(xfreep) struct busfront *f = calloc(1, sizeof(*f));
	int r;

	if (!f) {
		return CLI_FAILURE;
	}
	f->cli = cli;
	r = parse(f, argc, argv);
	r = r ? r : run(f);
	follow_close(&f->follow);
	bustop_deinit(&f->top);
	return r;
}
