/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The full way to a service and back: connection, dispatch and answer.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>

#include "clients/cli/cli.h"
#include "clients/cli/summary.h"
#include "libcommon/parse.h"

#define PING_TIMEOUT_MS 2000	    /* a service that is up answers in milliseconds */
#define COUNT_MAX	1000000	    /* 8 MB of times */
#define SIZE_MAX_	(64U << 10) /* what comes back at most, see PingRequest */
#define INTERVAL_MAX_MS 3600000

struct pings {
	struct cli *cli;
	const char *service; /* whose turn it is */
	uint32_t count;
	uint64_t interval_ms;
	ProtobufCBinaryData echo;
	uint64_t *times_ns; /* of those answered */
	uint32_t sent;
	uint32_t received;
};

static int ping_once(struct cli *cli, const char *service, struct pings *p)
{
	Xenmesh__V1__PingRequest request = XENMESH__V1__PING_REQUEST__INIT;
	const Xenmesh__V1__PingReply *pong;
	struct cli_reply reply;

	request.echo = p->echo;
	p->sent++;
	cli_call(cli, service, "xenmesh.v1.Bus/Ping", &request.base, PING_TIMEOUT_MS, &reply);
	if (reply.code != CODE_OK) {
		cli_error("%s", reply.message);
		return cli_exit_code(reply.code);
	}
	pong = (const Xenmesh__V1__PingReply *)(const void *)reply.payload;
	if (pong->echo.len != p->echo.len ||
	    (p->echo.len && memcmp(pong->echo.data, p->echo.data, p->echo.len) != 0)) {
		cli_error("%s: the answer is not what was sent", service);
		return CLI_FAILURE;
	}
	p->times_ns[p->received++] = reply.took_ns;
	if (p->interval_ms && !cli->json) {
		printf("%s: %zu bytes, number %" PRIu32 ", %.1f us\n", service, p->echo.len,
		       p->sent, (double)reply.took_ns / 1e3);
	}
	return CLI_OK;
}

static void report(struct cli *cli, const char *service, struct pings *p)
{
	struct summary s = summary_of(p->times_ns, p->received);
	double loss = p->sent ? 100.0 * (p->sent - p->received) / p->sent : 0;

	if (cli->json) {
		struct json_object *o = json_object_new_object();

		json_object_object_add(o, "service", json_object_new_string(service));
		json_object_object_add(o, "sent", json_object_new_int64(p->sent));
		json_object_object_add(o, "received", json_object_new_int64(p->received));
		json_object_object_add(o, "loss_percent", cli_json_double(loss));
		json_object_object_add(o, "bytes", json_object_new_uint64(p->echo.len));
		summary_to_json(&s, o);
		cli_print_json(o);
	} else if (p->received) {
		printf("%s: %" PRIu32 " of %" PRIu32
		       " answered, %.4g%% lost, min/avg/max/p99 %.1f/%.1f/%.1f/%.1f us\n",
		       service, p->received, p->sent, loss, s.min_us, s.avg_us, s.max_us, s.p99_us);
	}
}

/* What is known until now is told. The call that goes on has its target on a stack: no way back. */
static int on_interrupt(sd_event_source *source _unused_,
			const struct signalfd_siginfo *info _unused_, void *userdata)
{
	struct pings *p = userdata;

	report(p->cli, p->service, p);
	exit(CLI_INTERRUPTED);
}

static int catch_interrupt(struct pings *p)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return sd_event_add_signal(p->cli->loop, NULL, SIGINT, on_interrupt, p);
}

static int ping_service(struct cli *cli, const char *service, struct pings *p)
{
	int status = CLI_OK;

	p->service = service;
	p->sent = 0;
	p->received = 0;
	/* A service that is away is said to be away once, not count times. */
	for (uint32_t i = 0; i < p->count && status != CLI_UNREACHABLE; i++) {
		int r;

		if (i && p->interval_ms && cli_pause(cli, p->interval_ms) < 0) {
			return CLI_FAILURE;
		}
		r = ping_once(cli, service, p);
		status = r ? r : status;
		if (i % 256 == 255) {
			arena_reset(&cli->arena); /* nothing of a finished ping is kept */
		}
	}
	report(cli, service, p);
	return status;
}

static int ping_all(struct cli *cli, int argc, char **argv, struct pings *p)
{
	int status = CLI_OK;

	for (int i = 0; i < argc; i++) {
		int r = cli_check_service(cli, argv[i]);

		if (r) {
			return r;
		}
	}
	for (int i = 0; i < argc; i++) {
		int r = ping_service(cli, argv[i], p);

		status = r ? r : status;
	}
	for (size_t i = 0; !argc && i < topology_n_services(cli->topology); i++) {
		int r = ping_service(cli, topology_service_at(cli->topology, i)->name, p);

		status = r ? r : status;
	}
	return status;
}

int cmd_bus_ping(struct cli *cli, int argc, char **argv)
{
	const char *count = "1";
	const char *interval = "0";
	const char *size = "8";
	const struct cli_option options[] = {
		{ "count", 'c', &count, NULL },
		{ "interval", 'i', &interval, NULL },
		{ "size", 's', &size, NULL },
	};
	_cleanup_(xfreep) uint64_t *times_ns = NULL;
	_cleanup_(xfreep) uint8_t *echo = NULL;
	struct pings p = { .count = 0 };
	uint32_t n_bytes = 0;
	int r = cli_options(&argc, argv, options, ARRAY_LEN(options));

	if (r) {
		return r;
	}
	if (parse_u32(count, strlen(count), COUNT_MAX, &p.count) || !p.count) {
		return cli_usage("--count wants 1 to %d, got \"%s\"", COUNT_MAX, count);
	}
	if (parse_duration_ms(interval, &p.interval_ms) || p.interval_ms > INTERVAL_MAX_MS) {
		return cli_usage("--interval wants a time as 500ms or 1s, got \"%s\"", interval);
	}
	if (parse_u32(size, strlen(size), SIZE_MAX_, &n_bytes)) {
		return cli_usage("--size wants 0 to %u bytes, got \"%s\"", SIZE_MAX_, size);
	}
	times_ns = calloc(p.count, sizeof(*times_ns));
	echo = malloc(MAX(n_bytes, 1));
	if (!times_ns || !echo) {
		cli_error("out of memory");
		return CLI_FAILURE;
	}
	for (uint32_t i = 0; i < n_bytes; i++) {
		echo[i] = (uint8_t)i;
	}
	p.cli = cli;
	p.times_ns = times_ns;
	p.echo = (ProtobufCBinaryData){ n_bytes, echo };
	if (catch_interrupt(&p) < 0) {
		cli_error("cannot wait for signals");
		return CLI_FAILURE;
	}
	return ping_all(cli, argc, argv, &p);
}
