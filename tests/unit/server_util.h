/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A service with a few handlers, and a peer that speaks to it by hand.
 */
#include <fcntl.h>
#include <nng/nng.h>
#include <spawn.h>
#include <sys/wait.h>

#include "bus/engine.h"
#include "bus/limits.h"
#include "bus/service.h"
#include "bus/sp_frame.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"
#include "libcommon/strbuf.h"
#include "tests/unit/bus_util.h"
#include "tests/unit/unit.h"

#define START "xenmesh.v1.Ops/StartVm"
#define WAIT  "xenmesh.v1.Ops/WaitTask"
#define PING  "xenmesh.v1.Bus/Ping"

#define PEER_REPLIES_MAX 128

struct fixture {
	struct bus_dir dir;
	sd_event *loop;
	struct topology *topology;
	char url[128], tcp_url[64];
	struct bus_service *service;
	const struct bus_dedup *dedup;
	struct bus_call *kept[BUS_INFLIGHT_MAX];
	size_t n_kept, n_started, n_cancelled;
	char client[256];
};

/* A REQ socket and the replies it got. */
struct peer {
	struct fixture *f;
	const struct bus_engine *engine;
	struct bus_socket *socket;
	size_t n_up, n_replies;
	Xenmesh__V1__Reply *replies[PEER_REPLIES_MAX];
	uint32_t next_id;
};

/* ---- the handlers under test ---- */

static void reply_task(struct bus_call *call, const char *id)
{
	Xenmesh__V1__Task task = XENMESH__V1__TASK__INIT;

	task.id = (char *)id;
	bus_call_reply(call, &task.base);
}

static void on_cancel(struct bus_call *call, void *userdata)
{
	struct fixture *f = userdata;

	f->n_cancelled++;
	for (size_t i = 0; i < f->n_kept; i++) {
		f->kept[i] = f->kept[i] == call ? NULL : f->kept[i];
	}
}

static void on_start(struct bus_call *call, const ProtobufCMessage *request, void *userdata)
{
	const char *vm = ((const Xenmesh__V1__StartVmRequest *)request)->vm;
	Xenmesh__V1__PingReply wrong = XENMESH__V1__PING_REPLY__INIT;
	struct fixture *f = userdata;
	char id[32];

	f->n_started++;
	snprintf(id, sizeof(id), "task-%zu", f->n_started);
	snprintf(f->client, sizeof(f->client), "%s", bus_call_client(call));
	if (streq(vm, "keep") || streq(vm, "cancel")) {
		f->kept[f->n_kept++] = call;
		if (vm[0] == 'c') {
			bus_call_on_cancel(call, on_cancel, f);
		}
	} else if (streq(vm, "fail")) {
		bus_call_fail(call, CODE_FAILED_PRECONDITION, "line 1\nline \x1b[31m2 \xff%d", 3);
	} else if (streq(vm, "busy")) {
		bus_call_fail(call, CODE_UNAVAILABLE, "the host process is away");
	} else if (streq(vm, "twice")) {
		reply_task(call, id);
		reply_task(call, "second");
	} else if (streq(vm, "wrong")) {
		bus_call_reply(call, &wrong.base);
	} else {
		reply_task(call, id);
	}
}

static void on_wait(struct bus_call *call, const ProtobufCMessage *request, void *userdata)
{
	const char *id = ((const Xenmesh__V1__WaitTaskRequest *)request)->id;
	struct fixture *f = userdata;

	f->kept[f->n_kept++] = call;
	if (streq(id, "cancel")) {
		bus_call_on_cancel(call, on_cancel, f);
	}
}

static void on_get_vm(struct bus_call *call, const ProtobufCMessage *request _unused_,
		      void *userdata _unused_)
{
	Xenmesh__V1__VmState state = XENMESH__V1__VM_STATE__INIT;
	char *name = malloc(BUS_REPLY_MAX);

	memset(name, 'n', BUS_REPLY_MAX - 1);
	name[BUS_REPLY_MAX - 1] = '\0';
	state.name = name;
	bus_call_reply(call, &state.base);
	free(name);
}

static const struct bus_handler handlers[] = {
	{ START, on_start },
	{ WAIT, on_wait },
	{ "xenmesh.v1.Ops/GetVm", on_get_vm },
};

static void own_stats(void *userdata, bus_stat_fn fn, void *fn_userdata)
{
	const struct fixture *f = userdata;

	fn("test.started", f->n_started, fn_userdata);
}

/* ---- fixture ---- */

static int start_service(struct fixture *f)
{
	const struct bus_service_config config = {
		.topology = f->topology,
		.name = "ops",
		.version = "1.2.3",
		.handlers = handlers,
		.n_handlers = ARRAY_LEN(handlers),
		.dedup = f->dedup,
		.userdata = f,
		.stats = own_stats,
	};

	f->n_kept = 0;
	return bus_service_new(&f->service, f->loop, &config);
}

static void set_up(struct fixture *f)
{
	struct strbuf errors = STRBUF_NULL;
	char path[128];
	FILE *file;

	*f = (struct fixture){ 0 };
	bus_dir_make(&f->dir);
	chmod(f->dir.path, 0755);
	snprintf(path, sizeof(path), "%s/topology.conf", f->dir.path);
	snprintf(f->url, sizeof(f->url), "ipc://%s/ops/rpc", f->dir.path);
	snprintf(f->tcp_url, sizeof(f->tcp_url), "tcp://127.0.0.1:%u", bus_free_port());
	file = fopen(path, "we");
	if (!file) {
		abort();
	}
	fprintf(file, "[bus]\nrun_dir = %s\n[service ops]\nrpc = ipc://@run@/ops/rpc %s\n",
		f->dir.path, f->tcp_url);
	fclose(file);
	if (topology_load(&f->topology, path, &errors) < 0 || sd_event_new(&f->loop) < 0 ||
	    start_service(f) < 0) {
		puts(strbuf_str(&errors));
		abort();
	}
	strbuf_deinit(&errors);
}

static void tear_down(struct fixture *f)
{
	bus_service_free(f->service);
	sd_event_unref(f->loop);
	topology_free(f->topology);
	bus_dir_remove(&f->dir);
}

static void on_reply(struct bus_socket *s _unused_, const struct bus_peer *server _unused_,
		     const struct bus_route *route _unused_, const void *data, size_t len,
		     void *userdata)
{
	struct peer *p = userdata;
	Xenmesh__V1__Reply *reply = xenmesh__v1__reply__unpack(NULL, len, data);

	CU_ASSERT_PTR_NOT_NULL(reply);
	if (reply && p->n_replies < PEER_REPLIES_MAX) {
		p->replies[p->n_replies++] = reply;
	} else if (reply) {
		xenmesh__v1__reply__free_unpacked(reply, NULL);
	}
}

static void on_link(struct bus_socket *s _unused_, const struct bus_peer *server _unused_, bool up,
		    void *userdata)
{
	struct peer *p = userdata;

	p->n_up += up;
}

static void forget_replies(struct peer *p)
{
	for (size_t i = 0; i < p->n_replies; i++) {
		xenmesh__v1__reply__free_unpacked(p->replies[i], NULL);
	}
	p->n_replies = 0;
}

static void peer_open(struct peer *p, struct fixture *f, const char *url)
{
	static uint32_t n_peers;
	const struct bus_socket_options options = { .max_message = BUS_REPLY_MAX, .queue = 1024 };
	const struct bus_socket_handler handler = { .on_message = on_reply, .on_link = on_link };

	*p = (struct peer){ .f = f, .engine = &bus_engine_sp, .next_id = ++n_peers << 16 };
	if (p->engine->open(&p->socket, f->loop, BUS_REQ, &options, &handler, p) < 0 ||
	    p->engine->dial(p->socket, url) < 0 || !bus_run_until(f->loop, &p->n_up, 1, 5000)) {
		abort();
	}
}

static void peer_close(struct peer *p)
{
	p->engine->close(p->socket);
	forget_replies(p);
}

static void make_id(uint8_t id[static 16], uint32_t n)
{
	memset(id, 0x5a, 16);
	memcpy(id, &n, sizeof(n));
}

static void send_raw(struct peer *p, const void *data, size_t len)
{
	struct bus_route route;

	CU_ASSERT_EQUAL(p->engine->send(p->socket, &route, data, len), 0);
}

/* Send a call; id_n names its request id, payload is what it is. */
static void send_call(struct peer *p, uint32_t id_n, const char *method, const void *payload,
		      size_t len, uint32_t timeout_ms)
{
	Xenmesh__V1__Call call = XENMESH__V1__CALL__INIT;
	uint8_t id[16], *bytes;
	size_t size;

	make_id(id, id_n);
	call.request_id = (ProtobufCBinaryData){ 16, id };
	call.method = (char *)method;
	call.client = (char *)"test/1\n";
	call.timeout_ms = timeout_ms;
	call.payload = (ProtobufCBinaryData){ len, (uint8_t *)payload };
	size = xenmesh__v1__call__get_packed_size(&call);
	bytes = malloc(size);
	xenmesh__v1__call__pack(&call, bytes);
	send_raw(p, bytes, size);
	free(bytes);
}

static const Xenmesh__V1__Reply *wait_reply(struct peer *p)
{
	static Xenmesh__V1__Reply none = XENMESH__V1__REPLY__INIT;

	none.code = (Xenmesh__V1__Code)-1;
	if (!bus_run_until(p->f->loop, &p->n_replies, p->n_replies + 1, 5000)) {
		CU_FAIL("no reply came");
		return &none;
	}
	return p->replies[p->n_replies - 1];
}

static void send_start(struct peer *p, uint32_t id_n, const char *vm, uint32_t timeout_ms)
{
	Xenmesh__V1__StartVmRequest request = XENMESH__V1__START_VM_REQUEST__INIT;
	uint8_t bytes[256];

	request.vm = (char *)vm;
	send_call(p, id_n, START, bytes, xenmesh__v1__start_vm_request__pack(&request, bytes),
		  timeout_ms);
}

static void send_wait(struct peer *p, uint32_t id_n, const char *id, uint32_t timeout_ms)
{
	Xenmesh__V1__WaitTaskRequest request = XENMESH__V1__WAIT_TASK_REQUEST__INIT;
	uint8_t bytes[256];

	request.id = (char *)id;
	send_call(p, id_n, WAIT, bytes, xenmesh__v1__wait_task_request__pack(&request, bytes),
		  timeout_ms);
}

static const Xenmesh__V1__Reply *start(struct peer *p, uint32_t id_n, const char *vm)
{
	send_start(p, id_n, vm, 0);
	return wait_reply(p);
}

/* The id of the Task in a reply. */
static bool is_task(const Xenmesh__V1__Reply *reply, const char *id)
{
	Xenmesh__V1__Task *task = reply->code == XENMESH__V1__CODE__CODE_OK
					  ? xenmesh__v1__task__unpack(NULL, reply->payload.len,
								      reply->payload.data)
					  : NULL;
	bool ok = task && streq(task->id, id);

	if (task) {
		xenmesh__v1__task__free_unpacked(task, NULL);
	}
	return ok;
}

static bool ping(struct peer *p)
{
	send_call(p, ++p->next_id, PING, "\n\2hi", 4, 0);
	return wait_reply(p)->code == XENMESH__V1__CODE__CODE_OK;
}

static uint64_t stat_of(struct peer *p, const char *name)
{
	Xenmesh__V1__StatsReply *stats;
	const Xenmesh__V1__Reply *reply;
	uint64_t value = UINT64_MAX;

	send_call(p, ++p->next_id, "xenmesh.v1.Bus/Stats", NULL, 0, 0);
	reply = wait_reply(p);
	stats = xenmesh__v1__stats_reply__unpack(NULL, reply->payload.len, reply->payload.data);
	for (size_t i = 0; stats && i < stats->n_stats; i++) {
		if (streq(stats->stats[i]->name, name)) {
			value = stats->stats[i]->value;
		}
	}
	if (stats) {
		xenmesh__v1__stats_reply__free_unpacked(stats, NULL);
	}
	return value;
}

/* ---- the methods of every service ---- */
