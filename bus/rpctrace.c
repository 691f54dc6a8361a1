/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The server has a pointer to the trace exactly while it is on.
 */
#include "bus/rpctrace.h"

#include <stdio.h>

#include "bus/limits.h"
#include "bus/transient.h"
#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"

struct rpc_trace {
	sd_event *loop;
	struct bus_server *server;
	struct bus_pub *pub;
	char topic[BUS_TOPIC_MAX + 1];
	sd_event_source *timer;
	uint64_t until_ns; /* CLOCK_BOOTTIME; while it is on */
	uint64_t number;
	bool has_callers;
};

static void switch_off(struct rpc_trace *t)
{
	t->timer = sd_event_source_disable_unref(t->timer);
	t->server->trace = NULL;
}

static int on_timer(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
	struct rpc_trace *t = userdata;

	log_info("calls are no more traced to %s, the time is over", t->topic);
	switch_off(t);
	return 0;
}

static void fill_caller(const struct bus_call *call, Xenmesh__V1__RpcCaller *caller)
{
	caller->local = call->info.has_creds;
	if (call->info.has_creds) {
		caller->uid = call->info.uid;
		caller->gid = call->info.gid;
		caller->pid = (uint32_t)call->info.pid;
	} else if (call->info.has_cert) {
		caller->certificate = (char *)call->info.name;
	} else {
		caller->address = (char *)call->info.name;
	}
	caller->client = (char *)call->envelope.client;
}

void rpc_trace_tell(struct rpc_trace *t, const struct bus_call *call, int code, size_t reply_len,
		    bool is_repeat)
{
	Xenmesh__V1__RpcTrace trace = XENMESH__V1__RPC_TRACE__INIT;
	Xenmesh__V1__RpcCaller caller = XENMESH__V1__RPC_CALLER__INIT;
	Xenmesh__V1__Event event = XENMESH__V1__EVENT__INIT;
	int r;

	trace.number = ++t->number;
	trace.method = (char *)call->envelope.method->name;
	trace.request_id.data = (uint8_t *)call->envelope.request_id;
	trace.request_id.len = ENVELOPE_ID_LEN;
	trace.traceparent = (char *)call->envelope.traceparent;
	trace.connection = call->info.id;
	trace.code = (Xenmesh__V1__Code)code;
	trace.duration_us = (clock_boot_ns() - call->start_ns) / 1000;
	trace.request_bytes = call->len;
	trace.reply_bytes = reply_len;
	trace.repeated = is_repeat;
	if (t->has_callers) {
		fill_caller(call, &caller);
		trace.caller = &caller;
	}
	event.body_case = XENMESH__V1__EVENT__BODY_RPC_TRACE;
	event.rpc_trace = &trace;
	r = bus_pub_publish(t->pub, t->topic, &event);
	if (r < 0) {
		log_debug("a call of %s is not traced: %s", trace.method, err_text(r));
	}
}

static uint32_t seconds_left(const struct rpc_trace *t)
{
	uint64_t now = clock_boot_ns();

	if (!t->server->trace || t->until_ns <= now) {
		return 0;
	}
	return (uint32_t)((t->until_ns - now + NSEC_PER_SEC - 1) / NSEC_PER_SEC);
}

static void on_set_trace(struct bus_call *call, const ProtobufCMessage *request, void *userdata)
{
	const Xenmesh__V1__SetTraceRequest *q = (const Xenmesh__V1__SetTraceRequest *)request;
	Xenmesh__V1__SetTraceReply reply = XENMESH__V1__SET_TRACE_REPLY__INIT;
	struct rpc_trace *t = userdata;

	if (q->seconds > RPC_TRACE_MAX_S) {
		bus_call_fail(call, CODE_INVALID_ARGUMENT,
			      "seconds: %u is more than %d; switch it on again when they are over",
			      q->seconds, RPC_TRACE_MAX_S);
		return;
	}
	reply.topic = t->topic;
	reply.previous_seconds = seconds_left(t);
	if (q->seconds == 0) {
		switch_off(t);
	} else if (loop_after(t->loop, &t->timer, q->seconds * USEC_PER_SEC, on_timer, t) < 0) {
		switch_off(t);
		bus_call_fail(call, CODE_RESOURCE_EXHAUSTED, "out of memory; the trace is off");
		return;
	} else {
		t->number = t->server->trace ? t->number : 0;
		t->until_ns = clock_boot_ns() + q->seconds * NSEC_PER_SEC;
		t->has_callers = q->with_callers;
		t->server->trace = t;
	}
	bus_call_reply(call, &reply.base);
}

int rpc_trace_new(struct rpc_trace **out, sd_event *loop, struct bus_server *server,
		  struct bus_pub *pub, const char *service)
{
	static const struct bus_handler handlers[] = {
		{ "xenmesh.v1.Bus/SetTrace", on_set_trace },
	};
	struct rpc_trace *t = calloc(1, sizeof(*t));
	int len, r;

	if (!t) {
		return -ENOMEM;
	}
	t->loop = loop;
	t->server = server;
	t->pub = pub;
	len = snprintf(t->topic, sizeof(t->topic), BUS_TRANSIENT_SEGMENT "/rpc/%s", service);
	r = len >= (int)sizeof(t->topic) ? -EINVAL
					 : bus_server_add(server, handlers, ARRAY_LEN(handlers), t);
	if (r < 0) {
		rpc_trace_free(t);
		return err_trace(r);
	}
	*out = t;
	return 0;
}

struct rpc_trace *rpc_trace_free(struct rpc_trace *t)
{
	if (t) {
		switch_off(t);
		free(t);
	}
	return NULL;
}
