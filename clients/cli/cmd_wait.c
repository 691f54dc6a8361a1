/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `bus wait`: for scripts and unit files.  Ends as soon as a service answers,
 * or as a topic is there and as it should be.
 */
#include "clients/cli/bus_tools.h"
#include "clients/cli/event_text.h"
#include "clients/cli/filter.h"
#include "clients/cli/follow.h"
#include "libcommon/clock.h"
#include "libcommon/loop.h"

#define WAIT_MS	     60000
#define WAIT_PING_MS 2000 /* of one attempt; a service that is up answers in milliseconds */

/* ---- a service ---- */

static int wait_for_service(struct cli *cli, const char *service, uint32_t timeout_ms)
{
	Xenmesh__V1__PingRequest request = XENMESH__V1__PING_REQUEST__INIT;
	uint64_t end = clock_boot_ns() + timeout_ms * NSEC_PER_MSEC;
	struct cli_reply reply;
	int status;

	/* Each attempt waits for a connection by itself; several, for a service that hangs and is
	 * restarted with its connections left open. */
	do {
		uint64_t now = clock_boot_ns();
		uint64_t left_ms = now < end ? (end - now) / NSEC_PER_MSEC : 0;

		cli->timeout_ms = (uint32_t)MAX(MIN(left_ms, WAIT_PING_MS), 1);
		cli_call(cli, service, "xenmesh.v1.Bus/Ping", &request.base, 0, &reply);
		status = cli_exit_code(reply.code);
		if (status == CLI_TIMEOUT || status == CLI_UNREACHABLE) {
			status = CLI_TIMEOUT;
		}
	} while (status == CLI_TIMEOUT && clock_boot_ns() < end);
	if (status) {
		cli_error("%s", *reply.message ? reply.message : bus_code_name(reply.code));
	}
	return status;
}

/* ---- a topic ---- */

struct topic_wait {
	struct cli *cli;
	const char *topic; /* ends in '/': any below it */
	struct filter *filter;
	uint64_t n_seen;
	bool is_over; /* more may come before the loop ends */
};

static bool is_meant(const struct topic_wait *w, const char *topic)
{
	size_t len = strlen(w->topic);

	return len > 0 && w->topic[len - 1] == '/' ? str_starts(topic, w->topic)
						   : streq(topic, w->topic);
}

static void on_event(const struct follow_source *source, const struct bus_sub_event *e,
		     void *userdata)
{
	struct topic_wait *w = userdata;
	struct json_object *doc;

	if (w->is_over || e->what != BUS_SUB_STATE || !is_meant(w, e->topic)) {
		return;
	}
	w->n_seen++;
	doc = event_json(source->service, e, clock_real_ns());
	w->is_over = filter_match(w->filter, event_lookup, doc);
	if (w->is_over) {
		if (w->cli->json) {
			cli_print_json(json_object_get(doc));
		}
		sd_event_exit(w->cli->loop, CLI_OK);
	}
	json_object_put(doc);
	arena_reset(&w->cli->arena);
}

static int wait_for_topic(struct topic_wait *w, const char *service, uint32_t timeout_ms)
{
	_cleanup_(loop_source_unrefp) sd_event_source *timeout = NULL;
	struct cli *cli = w->cli;
	struct follow follow;
	int r = follow_open(&follow, cli, service, (char *const *)&w->topic, 1, on_event, w);

	r = r ? r : follow_ask(&follow, cli);
	r = r ? r : follow_end_after(cli, &timeout, timeout_ms, CLI_TIMEOUT);
	r = r ? r : follow_run(cli, CLI_INTERRUPTED);
	follow_close(&follow);
	if (r == CLI_TIMEOUT) {
		cli_error("%s %s within %.3g s", w->topic,
			  w->n_seen ? "is there, but was not as it should be" : "was not there",
			  timeout_ms / 1e3);
	}
	return r;
}

/* ---- the command ---- */

int cmd_bus_wait(struct cli *cli, int argc, char **argv)
{
	_cleanup_(filter_freep) struct filter *filter = NULL;
	_cleanup_(strbuf_deinit) struct strbuf error = STRBUF_NULL;
	const char *expression = NULL;
	const char *service = NULL;
	const struct cli_option options[] = {
		{ "for", 0, &expression, NULL },
		{ "service", 's', &service, NULL },
	};
	uint32_t timeout_ms = cli->timeout_ms ? cli->timeout_ms : WAIT_MS;
	struct topic_wait w = { .cli = cli };
	int r = cli_options(&argc, argv, options, ARRAY_LEN(options));

	if (r || argc != 1) {
		return r ? r : cli_usage("bus wait wants one service or topic");
	}
	if (expression && filter_parse(&filter, expression, &error) < 0) {
		return cli_usage("--for: %s", strbuf_str(&error));
	}
	if (topology_service(cli->topology, argv[0])) {
		return expression || service ? cli_usage("--for and --service are for topics")
					     : wait_for_service(cli, argv[0], timeout_ms);
	}
	if (!strchr(argv[0], '/')) {
		r = cli_check_service(cli, argv[0]);
		cli_error("nor is it a topic, which has a /");
		return r;
	}
	w.topic = argv[0];
	w.filter = filter;
	return wait_for_topic(&w, service, timeout_ms);
}
