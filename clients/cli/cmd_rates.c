/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `bus hz`, `bus bw`, `bus delay`: how often, how much and how late messages
 * come, of the live ones below each prefix together.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "clients/cli/bus_tools.h"
#include "clients/cli/follow.h"
#include "clients/cli/window.h"
#include "libcommon/clock.h"
#include "libcommon/loop.h"
#include "libcommon/parse.h"

#define WINDOW_MAX 1000000

enum measure { MEASURE_HZ, MEASURE_BW, MEASURE_DELAY };

struct row {
	const char *prefix;
	struct window intervals; /* seconds between messages */
	struct window values;	 /* bytes, or milliseconds late */
	uint64_t last_ns;
	uint64_t n_all;
	uint64_t n_new; /* since the last report */
	uint64_t n_gaps;
};

struct rates {
	struct cli *cli;
	enum measure measure;
	struct follow follow;
	struct row *rows;
	size_t n_rows;
	uint64_t count; /* reports; 0 = no end */
	uint64_t n_reports;
	bool has_heard; /* anything that counts */
	bool is_remote_told, is_clock_told;
	sd_event_source *timeout;
};

/* ---- messages ---- */

static void warn_of_clock(struct rates *r, const struct follow_source *source, double ms)
{
	if (r->measure != MEASURE_DELAY) {
		return;
	}
	if (source->is_remote && !r->is_remote_told) {
		r->is_remote_told = true;
		cli_error("%s may be on another host: the delay has the difference of the clocks "
			  "in it",
			  source->service);
	}
	if (ms < 0 && !r->is_clock_told) {
		r->is_clock_told = true;
		cli_error("a message of %s came %.3f ms before it was sent: the clocks differ, or "
			  "one was set",
			  source->service, -ms);
	}
}

static void count_message(struct row *row, double value)
{
	uint64_t now = clock_boot_ns();

	if (row->last_ns) {
		window_add(&row->intervals, (double)(now - row->last_ns) / 1e9);
	}
	row->last_ns = now;
	row->n_all++;
	row->n_new++;
	window_add(&row->values, value);
}

static void on_event(const struct follow_source *source, const struct bus_sub_event *e,
		     void *userdata)
{
	struct rates *r = userdata;
	double late_ms;

	if (e->what == BUS_SUB_GAP || e->what == BUS_SUB_LOST) {
		cli_error("%s: %" PRIu64 " or more events lost", source->service, e->missed);
		for (size_t i = 0; i < r->n_rows; i++) {
			r->rows[i].n_gaps++;
		}
	}
	if (!e->raw || !e->event) {
		return;
	}
	late_ms = (double)(int64_t)(clock_real_ns() - e->event->time_ns) / 1e6;
	warn_of_clock(r, source, late_ms);
	for (size_t i = 0; i < r->n_rows; i++) {
		if (str_starts(e->topic, r->rows[i].prefix)) {
			count_message(&r->rows[i],
				      r->measure == MEASURE_DELAY ? late_ms : (double)e->size);
			r->has_heard = true;
		}
	}
	if (r->has_heard) {
		r->timeout = sd_event_source_disable_unref(r->timeout);
	}
}

/* ---- reports ---- */

static const char *label(const struct row *row)
{
	return *row->prefix ? row->prefix : "(all)";
}

/* NAN, which is null in JSON, when one message is all there is. */
static double per_second(double amount, double seconds)
{
	return seconds > 0 ? amount / seconds : (double)NAN;
}

static void print_text(const struct rates *r, const struct row *row, const struct window_stats *gap,
		       const struct window_stats *v)
{
	if (row->n_new == 0) {
		printf("%s: no new message\n", label(row));
		return;
	}
	if (gap->n == 0 && r->measure == MEASURE_HZ) {
		printf("%s: 1 message, which is no rate yet\n", label(row));
		return;
	}
	switch (r->measure) {
	case MEASURE_HZ:
		printf("%s: %.3f/s, interval min/avg/max/stddev %.3f/%.3f/%.3f/%.3f ms, window "
		       "%zu\n",
		       label(row), per_second((double)gap->n, gap->sum), gap->min * 1e3,
		       gap->avg * 1e3, gap->max * 1e3, gap->stddev * 1e3, gap->n);
		break;
	case MEASURE_BW:
		if (gap->n > 0) {
			printf("%s: %.0f B/s, ", label(row),
			       per_second(v->avg * (double)gap->n, gap->sum));
		} else {
			printf("%s: no rate yet, ", label(row));
		}
		printf("size min/avg/max/p99 %.0f/%.0f/%.0f/%.0f B, window %zu\n", v->min, v->avg,
		       v->max, v->p99, v->n);
		break;
	case MEASURE_DELAY:
		printf("%s: delay min/avg/max/stddev/p99 %.3f/%.3f/%.3f/%.3f/%.3f ms, window %zu\n",
		       label(row), v->min, v->avg, v->max, v->stddev, v->p99, v->n);
		break;
	}
}

static void add_stats(struct json_object *o, const struct window_stats *s, double factor)
{
	const struct {
		const char *name;
		double value;
	} fields[] = { { "min", s->min },	{ "avg", s->avg }, { "max", s->max },
		       { "stddev", s->stddev }, { "p50", s->p50 }, { "p99", s->p99 } };

	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		json_object_object_add(
			o, fields[i].name,
			cli_json_double(s->n ? fields[i].value * factor : (double)NAN));
	}
	json_object_object_add(o, "window", json_object_new_uint64(s->n));
}

static void print_json(const struct rates *r, const struct row *row, const struct window_stats *gap,
		       const struct window_stats *v)
{
	static const char *const units[] = { "interval_ms", "size_bytes", "delay_ms" };
	struct json_object *o = json_object_new_object();
	struct json_object *stats = json_object_new_object();

	json_object_object_add(o, "prefix", json_object_new_string(row->prefix));
	json_object_object_add(o, "messages", json_object_new_uint64(row->n_all));
	json_object_object_add(o, "new", json_object_new_uint64(row->n_new));
	json_object_object_add(o, "gaps", json_object_new_uint64(row->n_gaps));
	json_object_object_add(o, "per_second",
			       cli_json_double(per_second((double)gap->n, gap->sum)));
	if (r->measure == MEASURE_BW) {
		json_object_object_add(
			o, "bytes_per_second",
			cli_json_double(per_second(v->avg * (double)gap->n, gap->sum)));
	}
	add_stats(stats, r->measure == MEASURE_HZ ? gap : v, r->measure == MEASURE_HZ ? 1e3 : 1);
	json_object_object_add(o, units[r->measure], stats);
	cli_print_json(o);
}

static void report(struct rates *r)
{
	for (size_t i = 0; i < r->n_rows; i++) {
		struct row *row = &r->rows[i];
		struct window_stats gap;
		struct window_stats v;

		window_stats(&row->intervals, &gap);
		window_stats(&row->values, &v);
		if (r->cli->json) {
			print_json(r, row, &gap, &v);
		} else {
			print_text(r, row, &gap, &v);
		}
		row->n_new = 0;
	}
}

static int on_tick(void *userdata)
{
	struct rates *r = userdata;

	report(r);
	if (++r->n_reports == r->count) {
		sd_event_exit(r->cli->loop, FOLLOW_TIME_OVER);
	}
	return 0;
}

static int on_over(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
	struct rates *r = userdata;

	report(r);
	return sd_event_exit(r->cli->loop, FOLLOW_TIME_OVER);
}

/* ---- the commands ---- */

static int add_rows(struct rates *r, char **prefixes, size_t n, size_t window)
{
	r->rows = calloc(n + 1, sizeof(*r->rows));
	for (size_t i = 0; r->rows && i < MAX(n, 1); i++) {
		struct row *row = &r->rows[r->n_rows++];

		row->prefix = n > 0 ? prefixes[i] : "";
		if (window_init(&row->intervals, window) < 0 ||
		    window_init(&row->values, window) < 0) {
			return CLI_FAILURE;
		}
	}
	return r->rows ? CLI_OK : CLI_FAILURE;
}

struct settings {
	const char *service;
	uint64_t window, interval_ms, ms;
};

static int parse(struct rates *r, struct settings *s, int *argc, char **argv)
{
	const char *window = "1000";
	const char *count = NULL;
	const char *interval = "1s";
	const char *duration = NULL;
	const struct cli_option options[] = {
		{ "window", 'w', &window, NULL },      { "count", 'n', &count, NULL },
		{ "interval", 'i', &interval, NULL },  { "for", 0, &duration, NULL },
		{ "service", 's', &s->service, NULL },
	};
	int e = cli_options(argc, argv, options, ARRAY_LEN(options));

	if (e) {
		return e;
	}
	if (parse_u64(window, strlen(window), WINDOW_MAX, &s->window) || !s->window) {
		return cli_usage("--window wants 1 to %d messages, got \"%s\"", WINDOW_MAX, window);
	}
	e = follow_count(count, &r->count);
	if (e) {
		return e;
	}
	if (parse_duration_ms(interval, &s->interval_ms) || s->interval_ms < 10) {
		return cli_usage("--interval wants 10ms or more, got \"%s\"", interval);
	}
	return follow_duration(duration, &s->ms);
}

static int run(struct cli *cli, enum measure measure, int argc, char **argv)
{
	_cleanup_(loop_source_unrefp) sd_event_source *over = NULL;
	struct rates r = { .cli = cli, .measure = measure };
	struct settings s = { .service = NULL };
	struct loop_ticker *ticker = NULL;
	int e = parse(&r, &s, &argc, argv);

	e = e ? e : add_rows(&r, argv, (size_t)argc, s.window);
	e = e ? e : follow_open(&r.follow, cli, s.service, argv, (size_t)argc, on_event, &r);
	e = e ? e : follow_ask(&r.follow, cli);
	e = e ? e : follow_end_after(cli, &r.timeout, cli->timeout_ms, CLI_TIMEOUT);
	if (!e && s.ms && loop_after(cli->loop, &over, s.ms * USEC_PER_MSEC, on_over, &r) < 0) {
		e = CLI_FAILURE;
	}
	if (!e &&
	    loop_ticker_new(&ticker, cli->loop, s.interval_ms * USEC_PER_MSEC, on_tick, &r) < 0) {
		e = CLI_FAILURE;
	}
	e = e ? e : follow_run(cli, r.count ? CLI_INTERRUPTED : CLI_OK);
	e = follow_judge(&r.follow, e, r.has_heard ? CLI_OK : CLI_TIMEOUT);
	loop_ticker_free(ticker);
	sd_event_source_disable_unref(r.timeout);
	follow_close(&r.follow);
	for (size_t i = 0; i < r.n_rows; i++) {
		window_deinit(&r.rows[i].intervals);
		window_deinit(&r.rows[i].values);
	}
	free(r.rows);
	return e;
}

int cmd_bus_hz(struct cli *cli, int argc, char **argv)
{
	return run(cli, MEASURE_HZ, argc, argv);
}

int cmd_bus_bw(struct cli *cli, int argc, char **argv)
{
	return run(cli, MEASURE_BW, argc, argv);
}

int cmd_bus_delay(struct cli *cli, int argc, char **argv)
{
	return run(cli, MEASURE_DELAY, argc, argv);
}
