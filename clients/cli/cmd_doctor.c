/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Looks for everything that is known to go wrong, all services at once, and
 * says for each finding what mends it.  Changes nothing.
 */
#include "clients/cli/doctor.h"

#include <stdarg.h>
#include <stdio.h>

#include "clients/cli/cmd_topology.h"
#include "libcommon/clock.h"
#include "libcommon/loop.h"

#define DOCTOR_TIMEOUT_MS 3000	     /* a service that is up answers in milliseconds */
#define LISTEN_US	  2500000ULL /* the heartbeat comes once a second */
#define CLOCK_SLACK_S	  2	     /* uptimes are whole seconds, calls take time */

void doctor_find(struct doctor *d, const char *check, const char *subject, const char *mend,
		 const char *format, ...)
{
	const char *red = d->cli->color ? "\033[31m" : "";
	const char *reset = d->cli->color ? "\033[0m" : "";
	char text[1024];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	d->n_findings++;
	if (d->cli->json) {
		struct json_object *o = json_object_new_object();

		json_object_object_add(o, "check", json_object_new_string(check));
		json_object_object_add(o, "subject", json_object_new_string(subject));
		json_object_object_add(o, "problem", json_object_new_string(text));
		json_object_object_add(o, "mend", json_object_new_string(mend));
		cli_print_json(o);
		return;
	}
	printf("%s%s%s: %s\n    %s\n", red, cli_plain(d->cli, subject), reset,
	       cli_plain(d->cli, text), cli_plain(d->cli, mend));
}

/* ---- services ---- */

static const char *problem_of(struct cli *cli, const struct probe *p)
{
	const char *message = cli_bare_message(p->service->name, p->reply.message);

	switch (p->state) {
	case PROBE_MISSING:
		return "is not there: its socket does not exist";
	case PROBE_DOWN:
		return arena_printf(&cli->arena, "is down: nobody listens on its stale socket %s",
				    p->path);
	case PROBE_DEAF:
		return "is deaf: it takes connections and does not answer";
	case PROBE_DENIED:
		return "does not answer this user";
	case PROBE_UNREACHABLE:
		return message;
	default:
		return arena_printf(&cli->arena, "answers %s: %s", bus_code_name(p->reply.code),
				    message);
	}
}

static void check_services(struct doctor *d)
{
	d->n_checks++;
	for (size_t i = 0; i < d->n_probes; i++) {
		const struct probe *p = &d->probes[i];

		if (p->state != PROBE_UP) {
			/* Files of TLS that cannot be used are a finding of their own. */
			bool is_ours = p->state == PROBE_UNREACHABLE && !p->reply.took_ns;

			doctor_find(d, "services", p->service->name,
				    is_ours ? "mend what is told about [tls]"
					    : probe_advice(d->cli, p),
				    "%s", problem_of(d->cli, p));
		}
	}
}

static void check_versions(struct doctor *d)
{
	d->n_checks++;
	for (size_t i = 0; i < d->n_probes; i++) {
		const struct probe *p = &d->probes[i];
		struct probe as_deaf = *p;

		if (!p->about || streq(p->about->version, XENMESH_VERSION)) {
			continue;
		}
		as_deaf.state = PROBE_DEAF; /* whose advice is a restart */
		doctor_find(d, "versions", p->service->name, probe_advice(d->cli, &as_deaf),
			    "is version %s, this xenmesh is %s",
			    cli_text(d->cli, p->about->version, strlen(p->about->version)),
			    XENMESH_VERSION);
	}
}

/* What the wall clock of a service shows, by when it started and for how long it runs, against
 * ours. Of this host it tells that the clock was set meanwhile, which harms nobody. */
static void check_clocks(struct doctor *d)
{
	d->n_checks++;
	for (size_t i = 0; i < d->n_probes; i++) {
		const struct probe *p = &d->probes[i];
		int64_t theirs_s, ours_s, ahead_s;
		const char *slash = strchr(p->service->name, '/');

		if (!p->about || !p->stats || !slash) {
			continue;
		}
		theirs_s = (int64_t)(p->about->started_ns / NSEC_PER_SEC +
				     probe_stat(p->stats, "process.uptime_s"));
		ours_s = (int64_t)(p->answered_real_ns / NSEC_PER_SEC);
		ahead_s = theirs_s - ours_s;
		if (ahead_s > CLOCK_SLACK_S || ahead_s < -CLOCK_SLACK_S) {
			doctor_find(d, "clocks", p->service->name,
				    arena_printf(&d->cli->arena, "ssh %.*s chronyc makestep",
						 (int)(slash - p->service->name), p->service->name),
				    "its clock is %lld s %s ours",
				    (long long)(ahead_s > 0 ? ahead_s : -ahead_s),
				    ahead_s > 0 ? "ahead of" : "behind");
		}
	}
}

/* ---- publications ---- */

/* What they say does not matter, only that they are heard. */
static void on_event(struct bus_sub *sub _unused_, const struct bus_sub_event *e _unused_,
		     void *userdata _unused_)
{
}

static int on_over(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
	*(bool *)userdata = true;
	return 0;
}

static bool is_silent(const struct bus_sub *sub)
{
	struct bus_sub_stats stats;

	if (!sub) {
		return false; /* not listened to */
	}
	bus_sub_stats(sub, &stats);
	return stats.bytes == 0;
}

static bool is_any_silent(struct bus_sub *const *subs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (is_silent(subs[i])) {
			return true;
		}
	}
	return false;
}

/* One subscriber a service, until each has heard something: the heartbeat, at least. */
static void listen_to_all(struct doctor *d, struct bus_sub **subs)
{
	_cleanup_(loop_source_unrefp) sd_event_source *timer = NULL;
	static const char *const prefix = "bus/";
	bool is_over = false;

	for (size_t i = 0; i < d->n_probes; i++) {
		const struct topology_service *s = d->probes[i].service;

		if (d->probes[i].state == PROBE_UP && s->pub.n_urls &&
		    bus_sub_new(&subs[i], d->cli->loop, d->cli->topology, s->name, &prefix, 1,
				CLI_NAME, on_event, NULL) < 0) {
			subs[i] = NULL;
		}
	}
	if (loop_after(d->cli->loop, &timer, LISTEN_US, on_over, &is_over) < 0) {
		return;
	}
	while (!is_over && is_any_silent(subs, d->n_probes) &&
	       sd_event_run(d->cli->loop, UINT64_MAX) >= 0) {
	}
}

static void check_publications(struct doctor *d)
{
	struct bus_sub **subs = calloc(MAX(d->n_probes, 1), sizeof(*subs));

	if (!subs) {
		return;
	}
	d->n_checks++;
	listen_to_all(d, subs);
	for (size_t i = 0; i < d->n_probes; i++) {
		struct probe as_deaf = d->probes[i];

		as_deaf.state = PROBE_DEAF;
		if (is_silent(subs[i])) {
			doctor_find(d, "publications", as_deaf.service->name,
				    probe_advice(d->cli, &as_deaf),
				    "answers calls, but nothing is heard from %s",
				    as_deaf.service->pub.urls[0]);
		}
		bus_sub_free(subs[i]);
	}
	free(subs);
}

/* ---- the topology ---- */

static void check_topology(struct doctor *d)
{
	struct json_object *lists[] = { json_object_new_array(), json_object_new_array() };
	const char *mend = arena_printf(&d->cli->arena, "$EDITOR %s && xenmesh bus topology check",
					topology_origin(d->cli->topology));

	d->n_checks++;
	topology_find(d->cli->topology, lists[0], lists[1]);
	for (size_t k = 0; k < ARRAY_LEN(lists); k++) {
		for (size_t i = 0; i < json_object_array_length(lists[k]); i++) {
			doctor_find(d, "topology", "topology", mend, "%s",
				    json_object_get_string(json_object_array_get_idx(lists[k], i)));
		}
		json_object_put(lists[k]);
	}
}

int cmd_bus_doctor(struct cli *cli, int argc, char **argv)
{
	_cleanup_(xfreep) struct probe *probes = NULL;
	struct doctor d = { .cli = cli, .n_probes = topology_n_services(cli->topology) };
	int r = cli_options(&argc, argv, NULL, 0);

	if (r || argc) {
		return r ? r : cli_usage("bus doctor takes no arguments");
	}
	probes = probe_all(cli, cli_timeout_ms(cli, DOCTOR_TIMEOUT_MS));
	if (!probes) {
		cli_error("out of memory");
		return CLI_FAILURE;
	}
	d.probes = probes;
	check_topology(&d);
	doctor_check_directories(&d);
	check_services(&d);
	check_publications(&d);
	check_versions(&d);
	check_clocks(&d);
	doctor_check_tls(&d);
	doctor_check_xenstored(&d);
	doctor_check_journal(&d);
	if (!d.n_findings && !cli->json) {
		printf("healthy: %zu services, %u checks\n", d.n_probes, d.n_checks);
	}
	return d.n_findings ? CLI_FAILURE : CLI_OK;
}
