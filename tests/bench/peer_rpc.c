/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The whole bus as services use it: Bus.Ping with envelopes, access checks,
 * deadlines and protobuf at both ends.
 */
#include <stdio.h>

#include "bus/client.h"
#include "bus/service.h"
#include "libcommon/loop.h"
#include "tests/bench/bus_peer.h"

struct rpc_client {
	sd_event *loop;
	struct bus_client *client;
	size_t size;
	size_t n_received;
};

static struct topology *load_topology(const char *dir)
{
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	struct topology *t = NULL;

	if (topology_load(&t, bench_path(dir, "topology.conf"), &errors) < 0) {
		bench_fail("topology", strbuf_str(&errors));
	}
	return t;
}

static void write_topology(const char *dir)
{
	FILE *f = fopen(bench_path(dir, "topology.conf"), "we");

	bench_expect(f, "topology.conf");
	fprintf(f,
		"[bus]\nrun_dir = %s\n\n[service bench]\npub = ipc://@run@/rpc-pub\n"
		"rpc = ipc://@run@/rpc\n",
		dir);
	fclose(f);
}

static void rpc_serve(const char *dir, int ready)
{
	struct bus_service_config config = { .name = "bench", .version = "0" };
	struct bus_service *service = NULL;
	sd_event *loop = NULL;

	write_topology(dir);
	config.topology = load_topology(dir);
	bench_expect(loop_new(&loop) == 0 && bus_service_new(&service, loop, &config) == 0,
		     "rpc: service");
	close(ready);
	loop_run(loop);
	_exit(0);
}

static void *rpc_connect(const char *dir)
{
	static struct rpc_client c;

	bench_expect(loop_new(&c.loop) == 0 && bus_client_new(&c.client, c.loop, load_topology(dir),
							      "bench", "bench") == 0,
		     "rpc: client");
	return &c;
}

static void on_pong(struct bus_client *client _unused_, const struct bus_result *result,
		    void *userdata)
{
	const Xenmesh__V1__PingReply *reply = (const Xenmesh__V1__PingReply *)result->payload;
	struct rpc_client *c = userdata;

	if (result->code != CODE_OK) {
		bench_fail("rpc: ping", result->message);
	}
	bench_expect(reply->echo.len == c->size, "rpc: the answer has another size");
	c->n_received++;
}

static void rpc_call_many(void *client, size_t size, size_t n)
{
	static uint8_t data[BENCH_MESSAGE_MAX];
	Xenmesh__V1__PingRequest request = XENMESH__V1__PING_REQUEST__INIT;
	struct rpc_client *c = client;
	size_t n_sent = 0;

	request.echo.data = data;
	request.echo.len = size;
	c->size = size;
	c->n_received = 0;
	while (c->n_received < n) {
		while (n_sent < n && n_sent - c->n_received < BENCH_WINDOW) {
			bench_expect(bus_client_call(c->client, "xenmesh.v1.Bus/Ping",
						     &request.base, NULL, on_pong, c, NULL) == 0,
				     "rpc: call");
			n_sent++;
		}
		sd_event_run(c->loop, UINT64_MAX);
	}
}

static void rpc_call(void *client, size_t size)
{
	rpc_call_many(client, size, 1);
}

const struct bench_peer peer_rpc = {
	.name = "xenmesh RPC",
	.serve = rpc_serve,
	.connect = rpc_connect,
	.call = rpc_call,
	.call_many = rpc_call_many,
};
