/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Figures of this host to compare with another's: calls of a live service, and
 * publications on a private bus.  Times are of CLOCK_MONOTONIC; what is done
 * first, a tenth of it, warms up and is not counted.
 */
#include <inttypes.h>
#include <stdio.h>

#include "bus/limits.h"
#include "clients/cli/bench_bus.h"
#include "clients/cli/follow.h"
#include "clients/cli/summary.h"
#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/loop.h"
#include "libcommon/parse.h"

#define COUNT_MAX	10000000 /* 80 MB of times */
#define SUBSCRIBERS_MAX 256
#define WINDOW		256 /* events on their way; a subscriber's queue holds 4096 */
#define BATCH		64
#define STALL_US	5000000ULL /* nothing happened for so long: it never will */
#define SIZE_MAX_	(64U << 10)
#define PING_TIMEOUT_MS 5000

struct bench_options {
	uint32_t count;
	uint32_t size;
	uint32_t outstanding;
	uint32_t subscribers;
};

/* One measurement. `times_ns` has room for `count`. */
struct bench {
	struct cli *cli;
	struct bench_options o;
	uint64_t *times_ns;
	uint32_t n_warm, n_begun, n_done, n_timed;
	uint64_t begin_ns, end_ns; /* of what is counted */
	const char *failure;
};

/* ---- results ---- */

static int report(const struct bench *b, const char *name, const char *unit)
{
	struct summary s = summary_of(b->times_ns, b->n_timed);
	double seconds = (double)(b->end_ns - b->begin_ns) / NSEC_PER_SEC;
	double rate = seconds > 0 ? b->n_timed / seconds : 0;

	if (b->cli->json) {
		struct json_object *o = json_object_new_object();
		char rate_name[32];

		snprintf(rate_name, sizeof(rate_name), "%s_per_s", unit);
		json_object_object_add(o, "bench", json_object_new_string(name));
		json_object_object_add(o, "bytes", json_object_new_int64(b->o.size));
		json_object_object_add(o, "outstanding", json_object_new_int64(b->o.outstanding));
		json_object_object_add(o, "subscribers", json_object_new_int64(b->o.subscribers));
		json_object_object_add(o, unit, json_object_new_int64(b->n_timed));
		json_object_object_add(o, rate_name, cli_json_double(rate));
		summary_to_json(&s, o);
		json_object_object_add(o, "version", json_object_new_string(XENMESH_VERSION));
		json_object_object_add(o, "cpus",
				       json_object_new_int64(sysconf(_SC_NPROCESSORS_ONLN)));
		cli_print_json(o);
	} else {
		printf("%-18s %6" PRIu32 " B  %10.0f %s/s  p50 %.1f us  p99 %.1f us  "
		       "min %.1f  max %.1f\n",
		       name, b->o.size, rate, unit, s.p50_us, s.p99_us, s.min_us, s.max_us);
	}
	return CLI_OK;
}

/* Counts one that took so long, once it is warm. */
static void count(struct bench *b, uint64_t took_ns)
{
	uint64_t now = clock_ns(CLOCK_MONOTONIC);

	b->n_done++;
	if (b->n_done == b->n_warm) {
		b->begin_ns = now;
	}
	if (b->n_done > b->n_warm && b->n_timed < b->o.count) {
		b->times_ns[b->n_timed++] = took_ns;
		b->end_ns = now;
	}
}

static uint32_t n_total(const struct bench *b)
{
	return b->n_warm + b->o.count;
}

/* Until all are done. Ends too when nothing goes on. */
static int run(struct bench *b)
{
	while (b->n_done < n_total(b) && !b->failure) {
		uint32_t before = b->n_done;
		uint64_t end_ns = clock_ns(CLOCK_MONOTONIC) + STALL_US * 1000;

		while (b->n_done == before && !b->failure) {
			if (sd_event_run(b->cli->loop, STALL_US) < 0) {
				b->failure = "the loop failed";
			} else if (b->n_done == before && clock_ns(CLOCK_MONOTONIC) > end_ns) {
				b->failure = "nothing came for 5 s";
			}
		}
	}
	if (b->failure) {
		cli_error("bench: %s", b->failure);
	}
	return b->failure ? CLI_FAILURE : CLI_OK;
}

/* ---- rtt ---- */

/* A call on its way. */
struct ping {
	struct rtt *owner;
	uint64_t sent_ns;
};

struct rtt {
	struct bench b;
	struct bus_client *client;
	Xenmesh__V1__PingRequest request;
	struct ping *pings;
	int code; /* of the call that failed */
	char message[512];
};

static void on_pong(struct bus_client *c, const struct bus_result *result, void *userdata);

static void send_ping(struct rtt *r, struct ping *p)
{
	const struct bus_call_options options = { .timeout_ms = PING_TIMEOUT_MS, .no_retry = true };

	r->b.n_begun++;
	p->sent_ns = clock_ns(CLOCK_MONOTONIC);
	if (bus_client_call(r->client, "xenmesh.v1.Bus/Ping", &r->request.base, &options, on_pong,
			    p, NULL) < 0) {
		r->b.failure = "a call cannot be made";
	}
}

static void on_pong(struct bus_client *c _unused_, const struct bus_result *result, void *userdata)
{
	struct ping *p = userdata;
	struct rtt *r = p->owner;

	if (result->code != CODE_OK) {
		r->code = result->code;
		snprintf(r->message, sizeof(r->message), "%s", result->message);
		r->b.failure = r->message;
		return;
	}
	count(&r->b, clock_ns(CLOCK_MONOTONIC) - p->sent_ns);
	if (r->b.n_begun < n_total(&r->b)) {
		send_ping(r, p);
	}
}

static int run_rtt(struct rtt *r)
{
	int status;

	for (uint32_t i = 0; i < r->b.o.outstanding && r->b.n_begun < n_total(&r->b); i++) {
		r->pings[i].owner = r;
		send_ping(r, &r->pings[i]);
	}
	status = run(&r->b);
	if (status) {
		return r->code ? cli_exit_code(r->code) : status;
	}
	return report(&r->b, r->b.o.outstanding > 1 ? "rtt outstanding" : "rtt", "calls");
}

static int bench_rtt(struct bench *b, const char *service)
{
	struct rtt r = { .b = *b };
	_cleanup_(xfreep) uint8_t *echo = calloc(MAX(b->o.size, 1), 1);
	_cleanup_(xfreep) struct ping *pings = calloc(b->o.outstanding, sizeof(*pings));
	int status = cli_check_service(b->cli, service);

	if (status) {
		return status;
	}
	r.client = cli_client(b->cli, service);
	if (!r.client) {
		cli_error("%s: no connection can be made", service);
		return CLI_UNREACHABLE;
	}
	if (!echo || !pings) {
		cli_error("out of memory");
		return CLI_FAILURE;
	}
	r.pings = pings;
	xenmesh__v1__ping_request__init(&r.request);
	r.request.echo = (ProtobufCBinaryData){ b->o.size, echo };
	return run_rtt(&r);
}

/* ---- pub, fan ---- */

struct fan {
	struct bench b;
	struct bench_bus bus;
	struct bus_sub *subs[SUBSCRIBERS_MAX];
	uint32_t n_synced;
	uint64_t n_delivered;
	uint32_t window;
	uint32_t n_owed; /* done and not yet allowed again */
};

static void allow(struct fan *f, uint32_t n)
{
	n = MIN(n, n_total(&f->b) - f->b.n_begun);
	f->b.n_begun += n;
	if (n && bench_bus_allow(&f->bus, n) < 0) {
		f->b.failure = "the publisher is gone";
	}
}

/* An event is done when all subscribers have it; they get each in the same order, so counting the
 * deliveries does. */
static void on_event(struct bus_sub *s _unused_, const struct bus_sub_event *e, void *userdata)
{
	struct fan *f = userdata;
	uint64_t sent_ns = 0;

	if (e->what == BUS_SUB_RESYNCED) {
		f->n_synced++;
	}
	if (e->what == BUS_SUB_GAP) {
		f->b.failure = "events were lost";
	}
	if (e->what != BUS_SUB_STATE || e->replayed || !e->event->task) {
		return;
	}
	f->n_delivered++;
	if (f->n_delivered % f->b.o.subscribers) {
		return;
	}
	parse_u64(e->event->task->step, strcspn(e->event->task->step, " "), UINT64_MAX, &sent_ns);
	count(&f->b, clock_ns(CLOCK_MONOTONIC) - sent_ns);
	if (++f->n_owed >= MIN(f->window, BATCH)) {
		allow(f, f->n_owed);
		f->n_owed = 0;
	}
}

static int subscribe(struct fan *f)
{
	static const char *const prefix = BENCH_TOPIC;
	uint64_t end_ns = clock_ns(CLOCK_MONOTONIC) + STALL_US * 1000;

	for (uint32_t i = 0; i < f->b.o.subscribers; i++) {
		int r = bus_sub_new(&f->subs[i], f->b.cli->loop, f->bus.topology, BENCH_SERVICE,
				    &prefix, 1, CLI_NAME, on_event, f);

		if (r < 0) {
			cli_error("bench: cannot subscribe: %s", err_text(r));
			return CLI_FAILURE;
		}
	}
	while (f->n_synced < f->b.o.subscribers) {
		if (sd_event_run(f->b.cli->loop, STALL_US) < 0 ||
		    clock_ns(CLOCK_MONOTONIC) > end_ns) {
			cli_error("bench: the private bus does not work");
			return CLI_FAILURE;
		}
	}
	return CLI_OK;
}

/* One after the other for the delay, then as fast as it goes for the rate. */
static int run_window(struct fan *f, uint32_t window, const char *name)
{
	int status;

	f->window = window;
	f->n_owed = 0;
	f->n_delivered = 0;
	f->b.n_begun = f->b.n_done = f->b.n_timed = 0;
	f->b.o.outstanding = window;
	allow(f, window);
	status = run(&f->b);
	return status ? status : report(&f->b, name, "events");
}

static int on_signal(sd_event_source *source _unused_, const struct signalfd_siginfo *info _unused_,
		     void *userdata)
{
	struct fan *f = userdata;

	f->b.failure = "interrupted";
	return 0;
}

static int bench_fan(struct bench *b, bool is_fan)
{
	struct fan f = { .b = *b };
	sd_event_source *signals[2] = { NULL };
	int status = bench_bus_open(&f.bus, b->o.size) < 0 ? CLI_FAILURE : CLI_OK;

	/* An interrupt has to leave no directory behind. The publisher was forked before: it dies
	 * of it. */
	if (!status && follow_signals_catch(b->cli, signals, on_signal, &f) < 0) {
		status = CLI_FAILURE;
	}
	status = status ? status : subscribe(&f);
	if (!status) {
		status = run_window(&f, 1, is_fan ? "fan" : "pub");
	}
	if (!status) {
		status = run_window(&f, WINDOW, is_fan ? "fan outstanding" : "pub outstanding");
	}
	for (uint32_t i = 0; i < b->o.subscribers; i++) {
		bus_sub_free(f.subs[i]);
	}
	bench_bus_close(&f.bus);
	follow_signals_release(signals);
	return status;
}

/* ---- the command ---- */

static int number(const char *name, const char *text, uint32_t max, uint32_t *out)
{
	if (parse_u32(text, strlen(text), max, out) || !*out) {
		return cli_usage("--%s wants 1 to %u, got \"%s\"", name, max, text);
	}
	return CLI_OK;
}

static int run_kind(struct bench *b, const char *kind, const char *service)
{
	if (streq(kind, "rtt")) {
		return bench_rtt(b, service);
	}
	return bench_fan(b, streq(kind, "fan"));
}

int cmd_bus_bench(struct cli *cli, int argc, char **argv)
{
	const char *n = "10000", *size = "64", *outstanding = "1", *subscribers = "10";
	const struct cli_option options[] = {
		{ "count", 'c', &n, NULL },
		{ "size", 's', &size, NULL },
		{ "outstanding", 'o', &outstanding, NULL },
		{ "subscribers", 'n', &subscribers, NULL },
	};
	_cleanup_(xfreep) uint64_t *times_ns = NULL;
	struct bench b = { .cli = cli };
	int r = cli_options(&argc, argv, options, ARRAY_LEN(options));

	if (r) {
		return r;
	}
	if (argc < 1 || argc > 2 ||
	    (!streq(argv[0], "rtt") &&
	     (argc > 1 || (!streq(argv[0], "pub") && !streq(argv[0], "fan"))))) {
		return cli_usage("bus bench wants rtt [SERVICE], pub or fan");
	}
	r = number("count", n, COUNT_MAX, &b.o.count);
	r = r ? r : number("size", size, SIZE_MAX_, &b.o.size);
	r = r ? r : number("outstanding", outstanding, BUS_INFLIGHT_PER_PEER, &b.o.outstanding);
	r = r ? r : number("subscribers", subscribers, SUBSCRIBERS_MAX, &b.o.subscribers);
	if (r) {
		return r;
	}
	if (!streq(argv[0], "fan")) {
		b.o.subscribers = 1;
	}
	b.n_warm = MAX(b.o.count / 10, 1);
	times_ns = calloc(b.o.count, sizeof(*times_ns));
	if (!times_ns) {
		cli_error("out of memory");
		return CLI_FAILURE;
	}
	b.times_ns = times_ns;
	return run_kind(&b, argv[0], argc > 1 ? argv[1] : "ops");
}
