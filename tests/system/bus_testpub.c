/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A service for the tests of the bus: publishes at a steady rate the changes of
 * some hundred topics, which come and go, until it has published --events of
 * them; then only its heartbeat goes on.  The value of a topic is the number of
 * the event, so it grows.
 *
 * It also answers a few methods of Ops, with Task.step = how many mutating
 * calls it has executed:
 *   PauseVm    at once
 *   UnpauseVm  after SLOW_US
 *   WaitTask   never
 */
#include <stdio.h>

#include "bus/service.h"
#include "libcommon/clock.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"
#include "libcommon/parse.h"

#define TICK_US	       2000
#define SLOW_US	       300000
#define BURST_MAX      1000 /* events a tick, when the machine was busy */
#define REMOVED_OF_100 3
#define SLOW_MAX       64

struct slow {
	struct bus_call *call;
	sd_event_source *timer;
	struct testpub *owner;
};

struct testpub {
	sd_event *loop;
	struct bus_service *service;
	uint32_t rate, n_topics, n_wanted; /* events a second; topics; events in all */
	uint64_t begin_ns, n_published;
	uint64_t random;
	unsigned int n_executed;
	struct slow slow[SLOW_MAX];
};

/* xorshift64: the same run each time. */
static uint32_t next_random(struct testpub *t)
{
	t->random ^= t->random << 13;
	t->random ^= t->random >> 7;
	t->random ^= t->random << 17;
	return (uint32_t)(t->random >> 16);
}

static int publish_one(struct testpub *t)
{
	Xenmesh__V1__Event event = XENMESH__V1__EVENT__INIT;
	Xenmesh__V1__Task task = XENMESH__V1__TASK__INIT;
	struct bus_pub *pub = bus_service_pub(t->service);
	uint32_t which = next_random(t) % t->n_topics;
	char topic[48], value[24];

	snprintf(topic, sizeof(topic), which % 3 ? "vm/%u/state" : "task/%u", which);
	t->n_published++;
	if (next_random(t) % 100 < REMOVED_OF_100) {
		return bus_pub_remove(pub, topic, "test");
	}
	snprintf(value, sizeof(value), "%llu", (unsigned long long)t->n_published);
	task.step = value;
	event.body_case = XENMESH__V1__EVENT__BODY_TASK;
	event.task = &task;
	return bus_pub_publish(pub, topic, &event);
}

static int on_tick(void *userdata)
{
	struct testpub *t = userdata;
	uint64_t elapsed_ns = clock_boot_ns() - t->begin_ns;
	uint64_t due = elapsed_ns / 1000 * t->rate / USEC_PER_SEC;
	uint64_t until = MIN(MIN(due, t->n_wanted), t->n_published + BURST_MAX);

	while (t->n_published < until) {
		int r = publish_one(t);

		if (r < 0) {
			return r;
		}
	}
	return 0;
}

/* ---- calls ---- */

static void reply_count(struct bus_call *call, unsigned int n)
{
	Xenmesh__V1__Task task = XENMESH__V1__TASK__INIT;
	char text[16];

	snprintf(text, sizeof(text), "%u", n);
	task.step = text;
	bus_call_reply(call, &task.base);
}

static void on_pause(struct bus_call *call, const ProtobufCMessage *request _unused_,
		     void *userdata)
{
	struct testpub *t = userdata;

	reply_count(call, ++t->n_executed);
}

static int on_slow_done(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
	struct slow *slow = userdata;

	reply_count(STEAL(slow->call), slow->owner->n_executed);
	return 0;
}

static void on_unpause(struct bus_call *call, const ProtobufCMessage *request _unused_,
		       void *userdata)
{
	struct testpub *t = userdata;

	for (size_t i = 0; i < SLOW_MAX; i++) {
		struct slow *slow = &t->slow[i];

		if (!slow->call) {
			slow->call = call;
			slow->owner = t;
			t->n_executed++;
			if (loop_after(t->loop, &slow->timer, SLOW_US, on_slow_done, slow) < 0) {
				abort();
			}
			return;
		}
	}
	bus_call_fail(call, CODE_RESOURCE_EXHAUSTED, "%d slow calls are under way", SLOW_MAX);
}

/* Whoever gives up waiting is answered by the library. */
static void on_wait_cancelled(struct bus_call *call _unused_, void *userdata _unused_)
{
}

static void on_wait(struct bus_call *call, const ProtobufCMessage *request _unused_,
		    void *userdata _unused_)
{
	bus_call_on_cancel(call, on_wait_cancelled, NULL);
}

/* ---- main ---- */

static int on_option(const char *name, const char *value, void *userdata)
{
	struct testpub *t = userdata;
	uint32_t *const targets[] = { &t->rate, &t->n_wanted, &t->n_topics };
	const char *const names[] = { "--rate", "--events", "--topics" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (streq(name, names[i])) {
			return value && parse_u32(value, strlen(value), UINT32_MAX, targets[i]) == 0
				       ? 1
				       : -EINVAL;
		}
	}
	return -EINVAL;
}

static int run(struct testpub *t, const char *topology_path)
{
	static const struct bus_handler handlers[] = {
		{ "xenmesh.v1.Ops/PauseVm", on_pause },
		{ "xenmesh.v1.Ops/UnpauseVm", on_unpause },
		{ "xenmesh.v1.Ops/WaitTask", on_wait },
	};
	_cleanup_(topology_freep) struct topology *topology = NULL;
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	struct bus_service_config config = {
		.name = "test",
		.version = XENMESH_VERSION,
		.handlers = handlers,
		.n_handlers = ARRAY_LEN(handlers),
		.userdata = t,
	};
	struct loop_ticker *ticker = NULL;
	int r;

	r = topology_load(&topology, topology_path, &errors);
	if (r < 0) {
		log_error("%s", strbuf_str(&errors));
		return r;
	}
	config.topology = topology;
	r = bus_service_new(&t->service, t->loop, &config);
	if (r < 0) {
		return r;
	}
	t->begin_ns = clock_boot_ns();
	r = loop_ticker_new(&ticker, t->loop, TICK_US, on_tick, t);
	if (r == 0) {
		loop_ready(t->loop, "publishing");
		r = loop_run(t->loop);
	}
	loop_ticker_free(ticker);
	for (size_t i = 0; i < SLOW_MAX; i++) {
		sd_event_source_disable_unref(t->slow[i].timer);
	}
	bus_service_free(t->service);
	return r;
}

int main(int argc, char **argv)
{
	struct testpub t = { .n_topics = 900, .random = 88172645463325252ULL };
	struct bus_args args = {
		.program = "bus_testpub",
		.usage = "  --rate N     events a second\n"
			 "  --events N   that many, then only heartbeats\n"
			 "  --topics N   different topics at most\n",
		.extra = on_option,
		.userdata = &t,
	};
	int status = EXIT_FAILURE;
	int r;

	log_init("bus_testpub");
	if (bus_args_parse(&args, argc, argv, &status) > 0) {
		return status;
	}
	if (t.n_topics == 0 || loop_new(&t.loop) < 0) {
		return EXIT_FAILURE;
	}
	r = run(&t, args.topology_path);
	sd_event_unref(t.loop);
	return r < 0 ? EXIT_FAILURE : r;
}
