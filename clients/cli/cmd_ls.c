/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * All services of the topology, asked at once.  Those that do not answer stand
 * in the list too, with how to start them.
 */
#include <inttypes.h>
#include <stdio.h>

#include "clients/cli/probe.h"
#include "clients/cli/table.h"
#include "libcommon/clock.h"
#include "libcommon/parse.h"

#define LS_TIMEOUT_MS 2000 /* a service that is up answers in milliseconds */

/* Events, heartbeats and calls since the start of the service. */
static uint64_t messages(const Xenmesh__V1__StatsReply *stats)
{
	return probe_stat(stats, "pub.events") + probe_stat(stats, "pub.heartbeats") +
	       probe_stat(stats, "rpc.received");
}

/* What ls knows of a service: its probe, and its counters a while later. */
struct seen {
	const struct probe *probe;
	bool has_rate;
	double rate; /* messages/s */
};

static struct json_object *seen_json(struct cli *cli, const struct seen *s)
{
	const struct probe *p = s->probe;
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "service", json_object_new_string(p->service->name));
	json_object_object_add(o, "up", json_object_new_boolean(p->state == PROBE_UP));
	json_object_object_add(o, "state", json_object_new_string(probe_state_name(p->state)));
	if (!p->about) {
		json_object_object_add(o, "error", json_object_new_string(p->reply.message));
		json_object_object_add(o, "advice", json_object_new_string(probe_advice(cli, p)));
		json_object_object_add(o, "last_seen_ns", NULL);
		return o;
	}
	json_object_object_add(o, "version", json_object_new_string(p->about->version));
	json_object_object_add(o, "pid", json_object_new_int64(p->about->pid));
	json_object_object_add(o, "uid", p->has_uid ? json_object_new_int64(p->uid) : NULL);
	json_object_object_add(o, "started_ns", json_object_new_uint64(p->about->started_ns));
	json_object_object_add(o, "last_seen_ns", json_object_new_uint64(p->answered_real_ns));
	json_object_object_add(o, "calls",
			       json_object_new_uint64(probe_stat(p->stats, "rpc.calls")));
	json_object_object_add(o, "events",
			       json_object_new_uint64(probe_stat(p->stats, "pub.events")));
	json_object_object_add(o, "topics",
			       json_object_new_uint64(probe_stat(p->stats, "pub.topics")));
	json_object_object_add(o, "messages_per_s", s->has_rate ? cli_json_double(s->rate) : NULL);
	return o;
}

static void seen_row(struct cli *cli, struct table *table, const struct seen *s)
{
	const struct probe *p = s->probe;

	table_cell(table, "%s", p->service->name);
	table_cell(table, "%s", probe_state_name(p->state));
	if (!p->about) {
		for (int i = 0; i < 9; i++) {
			table_cell(table, "-");
		}
		table_cell(table, "%s", probe_advice(cli, p));
		return;
	}
	table_cell(table, "%" PRIu32, p->about->pid);
	table_cell(table, p->has_uid ? "%u" : "-", (unsigned int)p->uid);
	table_cell(table, "%s", cli_text(cli, p->about->version, strlen(p->about->version)));
	table_cell(table, "%s", cli_age(cli, p->about->started_ns));
	table_cell(table, s->has_rate ? "%.1f" : "-", s->rate);
	table_cell(table, "%s ago", cli_age(cli, p->answered_real_ns));
	table_cell(table, "%" PRIu64, probe_stat(p->stats, "rpc.calls"));
	table_cell(table, "%" PRIu64, probe_stat(p->stats, "pub.events"));
	table_cell(table, "%" PRIu64, probe_stat(p->stats, "pub.topics"));
	table_cell(table, "%s", "");
}

static void set_rate(struct seen *s, uint64_t before, double seconds)
{
	s->has_rate = s->probe->stats != NULL;
	if (s->has_rate) {
		s->rate = (double)(messages(s->probe->stats) - before) / MAX(seconds, 1e-3);
	}
}

/* Since the start of each service, or from now on for `ms`. */
static void measure(struct cli *cli, struct probe *probes, struct seen *seen, size_t n, uint64_t ms)
{
	uint64_t *before = calloc(MAX(n, 1), sizeof(*before));
	uint64_t begin_ns = clock_boot_ns();

	for (size_t i = 0; before && i < n; i++) {
		before[i] = messages(probes[i].stats);
		set_rate(&seen[i], 0,
			 (double)MAX(probe_stat(probes[i].stats, "process.uptime_s"), 1));
	}
	if (before && ms && !cli_pause(cli, ms)) {
		double seconds = (double)(clock_boot_ns() - begin_ns) / NSEC_PER_SEC;

		probe_stats(cli, probes, n, cli_timeout_ms(cli, LS_TIMEOUT_MS));
		for (size_t i = 0; i < n; i++) {
			set_rate(&seen[i], before[i], seconds);
		}
	}
	free(before);
}

static int list(struct cli *cli, const struct seen *seen, size_t n)
{
	static const char *const titles[] = { "SERVICE", "STATE",   ">PID",    ">UID",
					      "VERSION", "UP",	    ">MSG/S",  "SEEN",
					      ">CALLS",	 ">EVENTS", ">TOPICS", "" };
	_cleanup_(table_freep) struct table *table = table_new(titles, ARRAY_LEN(titles));
	int status = CLI_OK;

	for (size_t i = 0; i < n; i++) {
		if (seen[i].probe->state != PROBE_UP) {
			status = seen[i].probe->state == PROBE_DENIED && status != CLI_UNREACHABLE
					 ? CLI_DENIED
					 : CLI_UNREACHABLE;
		}
		if (cli->json) {
			cli_print_json(seen_json(cli, &seen[i]));
		} else {
			seen_row(cli, table, &seen[i]);
		}
	}
	if (!cli->json) {
		table_print(table);
	}
	return status;
}

int cmd_bus_ls(struct cli *cli, int argc, char **argv)
{
	const char *sample = "0";
	const struct cli_option options[] = { { "sample", 0, &sample, NULL } };
	size_t n = topology_n_services(cli->topology);
	_cleanup_(xfreep) struct probe *probes = NULL;
	_cleanup_(xfreep) struct seen *seen = NULL;
	uint64_t sample_ms;
	int r = cli_options(&argc, argv, options, ARRAY_LEN(options));

	if (r || argc) {
		return r ? r : cli_usage("bus ls takes no arguments");
	}
	if (parse_duration_ms(sample, &sample_ms) || sample_ms > 60000) {
		return cli_usage("--sample wants a time up to 60s, got \"%s\"", sample);
	}
	probes = probe_all(cli, cli_timeout_ms(cli, LS_TIMEOUT_MS));
	seen = calloc(MAX(n, 1), sizeof(*seen));
	if (!probes || !seen) {
		cli_error("out of memory");
		return CLI_FAILURE;
	}
	for (size_t i = 0; i < n; i++) {
		seen[i].probe = &probes[i];
	}
	measure(cli, probes, seen, n, sample_ms);
	return list(cli, seen, n);
}
