/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `bus replay` and `bus pub`: publish in the name of services that are not
 * there.  A replay is a publisher of its own: new instance, sequence numbers
 * from 1 on without holes, times of now.  So what subscribers see is one
 * consistent history, whatever the capture lost.
 */
#include <inttypes.h>
#include <stdio.h>

#include "bus/limits.h"
#include "clients/cli/bus_tools.h"
#include "clients/cli/capture_file.h"
#include "clients/cli/follow.h"
#include "clients/cli/pbjson.h"
#include "clients/cli/stage.h"
#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/loop.h"
#include "libcommon/parse.h"

#define BATCH	    64 /* records in one turn of the loop; a subscriber's queue holds 1,024 */
#define LINGER_US   2500000ULL /* two heartbeats: subscribers find out what they lost */
#define POLL_US	    50000ULL
#define SETTLE_US   300000 /* new subscribers ask what there is before they count what comes */
#define SPEED_MAX   1e6
#define PUB_HOLD_MS 2500

struct replay {
	struct cli *cli;
	struct stage stage;
	const char *path;
	struct capture_reader *reader;
	struct capture_record next;
	double speed; /* 0 = as fast as it goes */
	bool keeps;
	bool is_finished; /* all is played */
	bool is_waiting;  /* for subscribers, and that was told */
	bool is_quiet;	  /* about damage: it is told in the second reading */
	uint64_t wanted_subscribers;
	uint64_t start_ns; /* CLOCK_BOOTTIME, when the first record was due */
	uint64_t first_ns; /* its time of receipt */
	uint64_t n_published, n_skipped, n_damaged;
	sd_event_source *timer;
};

static int on_due(sd_event_source *source, uint64_t usec, void *userdata);

/* ---- one record ---- */

static int publish(struct replay *p, const struct capture_record *r)
{
	_cleanup_(arena_deinit) struct arena arena = { 0 };
	struct bus_pub *pub = stage_pub(&p->stage, r->service);
	const char *topic = (const char *)r->data;
	size_t head = strlen(topic) + 1;
	Xenmesh__V1__Event *event;

	if (!pub) {
		return -ENOENT;
	}
	arena_init(&arena, r->len * BUS_ARENA_FACTOR + BUS_ARENA_BASE);
	event = (Xenmesh__V1__Event *)arena_unpack(&arena, &xenmesh__v1__event__descriptor,
						   r->data + head, r->len - head);
	if (!event) {
		return -EBADMSG;
	}
	if (event->body_case == XENMESH__V1__EVENT__BODY_REMOVED) {
		return bus_pub_remove(pub, topic, event->removed->reason);
	}
	return bus_pub_publish(pub, topic, event);
}

/* The next publication of the file; false at its end. */
static bool advance(struct replay *p)
{
	_cleanup_(strbuf_deinit) struct strbuf error = STRBUF_NULL;

	for (;;) {
		int r = capture_read(p->reader, &p->next, &error);

		if (r == 0 && p->next.data) {
			return true;
		}
		if (r < 0) {
			if (!p->is_quiet) {
				cli_error("%s", strbuf_str(&error));
			}
			strbuf_reset(&error);
			p->n_damaged++;
		}
		if (r > 0 || (r < 0 && r != -EBADMSG)) {
			return false;
		}
	}
}

static uint64_t due_ns(const struct replay *p)
{
	uint64_t after = p->next.time_ns > p->first_ns ? p->next.time_ns - p->first_ns : 0;

	return p->speed > 0 ? p->start_ns + (uint64_t)((double)after / p->speed) : 0;
}

/* ---- the run ---- */

static int on_end(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
	struct replay *p = userdata;

	return sd_event_exit(p->cli->loop, p->n_damaged ? CLI_FAILURE : CLI_OK);
}

static int finish(struct replay *p)
{
	p->is_finished = true;
	fprintf(stderr,
		"%" PRIu64 " publications replayed, %" PRIu64 " skipped, %" PRIu64 " damaged%s\n",
		p->n_published, p->n_skipped, p->n_damaged,
		p->keeps ? "; listening on until interrupted" : "");
	return p->keeps ? 0 : loop_after(p->cli->loop, &p->timer, LINGER_US, on_end, p);
}

static int play(struct replay *p)
{
	uint64_t now = clock_boot_ns();

	for (int i = 0; i < BATCH; i++) {
		uint64_t due = due_ns(p);

		if (due > now) {
			return loop_after(p->cli->loop, &p->timer, (due - now) / 1000 + 1, on_due,
					  p);
		}
		if (publish(p, &p->next) < 0) {
			p->n_skipped++;
		} else {
			p->n_published++;
		}
		if (!advance(p)) {
			return finish(p);
		}
	}
	return loop_after(p->cli->loop, &p->timer, 0, on_due, p);
}

static int on_due(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
	struct replay *p = userdata;
	int r;

	if (p->start_ns == 0 && stage_subscribers(&p->stage) < p->wanted_subscribers) {
		if (!p->is_waiting) {
			p->is_waiting = true;
			fprintf(stderr, "waiting for %" PRIu64 " subscribers of %zu services\n",
				p->wanted_subscribers, p->stage.n);
		}
		r = loop_after(p->cli->loop, &p->timer, POLL_US, on_due, p);
	} else if (p->is_waiting) {
		p->is_waiting = false;
		r = loop_after(p->cli->loop, &p->timer, SETTLE_US, on_due, p);
	} else {
		p->start_ns = p->start_ns ? p->start_ns : clock_boot_ns();
		r = play(p);
	}
	if (r < 0) {
		cli_error("cannot go on: %s", err_text(r));
		sd_event_exit(p->cli->loop, CLI_FAILURE);
	}
	return 0;
}

/* Whose publications the file has; those of the topology are played. */
static int set_stage(struct replay *p, bool i_know)
{
	const char *left_out = NULL;

	while (advance(p)) {
		const char *name = p->next.service;
		int r;

		if (stage_pub(&p->stage, name)) {
			continue;
		}
		if (!topology_service(p->cli->topology, name)) {
			if (!left_out || !streq(left_out, name)) {
				left_out = arena_strndup(&p->cli->arena, name, strlen(name));
				cli_error("%s is not in the topology (%s): left out", name,
					  topology_origin(p->cli->topology));
			}
			continue;
		}
		r = stage_add(&p->stage, p->cli, name, i_know);
		if (r) {
			return r;
		}
	}
	if (p->stage.n == 0) {
		cli_error("%s has nothing that can be replayed", p->path);
		return CLI_FAILURE;
	}
	return CLI_OK;
}

static int open_again(struct replay *p)
{
	_cleanup_(strbuf_deinit) struct strbuf error = STRBUF_NULL;

	p->reader = capture_reader_close(p->reader);
	p->n_damaged = 0;
	if (capture_reader_open(&p->reader, p->path, &error) < 0) {
		cli_error("%s", strbuf_str(&error));
		return CLI_FAILURE;
	}
	return CLI_OK;
}

static int replay_run(struct replay *p, bool i_know)
{
	int r = open_again(p);

	p->is_quiet = true;
	r = r ? r : set_stage(p, i_know);
	p->is_quiet = false;
	r = r ? r : open_again(p);
	if (!r && !advance(p)) {
		cli_error("%s was changed meanwhile", p->path);
		r = CLI_FAILURE;
	}
	if (!r) {
		p->first_ns = p->next.time_ns;
		r = loop_after(p->cli->loop, &p->timer, 0, on_due, p) < 0 ? CLI_FAILURE : CLI_OK;
	}
	r = r ? r : follow_run(p->cli, CLI_INTERRUPTED);
	return r == CLI_INTERRUPTED && p->is_finished ? CLI_OK : r;
}

static int parse_speed(const char *text, double *out)
{
	char *end;

	if (streq(text, "max")) {
		*out = 0;
		return CLI_OK;
	}
	*out = strtod(text, &end);
	if (*end || !(*out > 0) || *out > SPEED_MAX) {
		return cli_usage("--speed wants a factor as 1, 0.5 or 10, or max, got \"%s\"",
				 text);
	}
	return CLI_OK;
}

int cmd_bus_replay(struct cli *cli, int argc, char **argv)
{
	struct replay p = { .cli = cli };
	const char *speed = "1";
	const char *subscribers = "0";
	bool i_know = false;
	const struct cli_option options[] = {
		{ "speed", 0, &speed, NULL },
		{ "wait-subscribers", 0, &subscribers, NULL },
		{ "keep", 0, NULL, &p.keeps },
		{ "i-know", 0, NULL, &i_know },
	};
	int r = cli_options(&argc, argv, options, ARRAY_LEN(options));

	if (!r && (argc != 1 || streq(argv[0], "-"))) {
		r = cli_usage("bus replay wants one file, which it reads twice");
	}
	if (!r && parse_u64(subscribers, strlen(subscribers), UINT64_MAX, &p.wanted_subscribers)) {
		r = cli_usage("--wait-subscribers wants a number, got \"%s\"", subscribers);
	}
	r = r ? r : parse_speed(speed, &p.speed);
	if (!r) {
		p.path = argv[0];
		r = replay_run(&p, i_know);
	}
	sd_event_source_disable_unref(p.timer);
	stage_close(&p.stage);
	capture_reader_close(p.reader);
	return r;
}

/* ---- pub ---- */

static int read_event(struct cli *cli, const char *text, Xenmesh__V1__Event **out)
{
	_cleanup_(strbuf_deinit) struct strbuf error = STRBUF_NULL;
	struct json_object *o = pbjson_parse(text, strlen(text), &error);
	ProtobufCMessage *message;
	int r;

	if (!o) {
		return cli_usage("the event is no JSON: %s", strbuf_str(&error));
	}
	r = pbjson_to(&cli->arena, &xenmesh__v1__event__descriptor, o, &message, &error);
	json_object_put(o);
	if (r < 0) {
		return cli_usage("%s", strbuf_str(&error));
	}
	*out = (Xenmesh__V1__Event *)message;
	return CLI_OK;
}

int cmd_bus_pub(struct cli *cli, int argc, char **argv)
{
	_cleanup_(loop_source_unrefp) sd_event_source *end = NULL;
	struct stage stage = { .n = 0 };
	const char *data = NULL;
	const char *duration = NULL;
	bool i_know = false;
	const struct cli_option options[] = {
		{ "data", 'j', &data, NULL },
		{ "for", 0, &duration, NULL },
		{ "i-know", 0, NULL, &i_know },
	};
	Xenmesh__V1__Event *event = NULL;
	uint64_t ms = PUB_HOLD_MS;
	int r = cli_options(&argc, argv, options, ARRAY_LEN(options));

	if (r) {
		return r;
	}
	if (argc != 2 || !data) {
		return cli_usage("bus pub wants a service, a topic and -j JSON");
	}
	r = follow_duration(duration, &ms);
	r = r ? r : read_event(cli, data, &event);
	r = r ? r : stage_add(&stage, cli, argv[0], i_know);
	if (!r && bus_pub_publish(stage_pub(&stage, argv[0]), argv[1], event) < 0) {
		r = cli_usage("topic %s cannot carry that; an event has one body, as "
			      "{\"vm_state\": {...}}",
			      argv[1]);
	}
	r = r ? r : follow_end_after(cli, &end, ms, CLI_OK);
	r = r ? r : follow_run(cli, CLI_OK);
	stage_close(&stage);
	return r;
}
