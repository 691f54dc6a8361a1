/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls to one service over one REQ socket.
 *
 * A call is in exactly one list: `queued` (has to be sent, in order), `sent`
 * (awaits its answer on the present connection) or `ended` (its local failure
 * is to be told).  When the connection is lost, `sent` goes back in front of
 * `queued`, so calls are sent again in their first order.  A call that the
 * caller no longer waits for stays in `sent` without its callback: the server
 * counts it among the BUS_INFLIGHT_PER_PEER until it has answered.
 */
#include "bus/client.h"

#include <stdio.h>

#include "bus/engine.h"
#include "bus/envelope.h"
#include "bus/limits.h"
#include "bus/methods.h"
#include "libcommon/arena.h"
#include "libcommon/clock.h"
#include "libcommon/list.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"

#define CONNECT_GRACE_NS (1 * NSEC_PER_SEC)   /* of calls with no_retry, see client.h */
#define BUSY_RETRY_NS	 (20 * NSEC_PER_MSEC) /* after EAGAIN of a connected socket */
#define ABANDONED_KEEP_NS                                                      \
	(5 * NSEC_PER_SEC) /* past the deadline the server answers, or lost it \
			    */
#define NSEC_PER_USEC 1000ULL
#define CALL_OVERHEAD 512 /* of the envelope beside payload, method and client */

enum call_end {
	END_NOT_REACHED, /* never sent, or cut and not connected since */
	END_CUT,
	END_TIMEOUT,
	END_NO_MEMORY,
	END_REFUSED, /* the engine will never send it */
};

struct call {
	struct list node;
	uint64_t id;
	uint64_t begin_ns;
	uint64_t deadline_ns;
	struct uuid request_id;
	const struct bus_method *method;
	char traceparent[TRACEPARENT_SIZE];
	uint8_t *payload;
	size_t payload_len;
	struct bus_route route; /* in `sent` */
	bus_result_fn fn;	/* NULL: abandoned */
	void *userdata;
	enum call_end end; /* in `ended` */
	bool no_retry;
	bool was_sent; /* on any connection, and so in any list */
};

struct bus_client {
	sd_event *loop;
	const struct bus_engine *engine;
	struct bus_socket *socket;
	char *url;
	char *service;
	char *name;
	char traceparent[TRACEPARENT_SIZE]; /* that the process was given; "" = none */
	struct list queued, sent, ended;
	size_t n_sent;
	uint64_t last_id;
	sd_event_source *timer;
	uint64_t armed_ns; /* when the timer fires; UINT64_MAX = not armed */
	uint64_t retry_ns; /* 0, or when a busy socket is tried again */
	sd_event_source *defer;
	unsigned int depth; /* of callbacks running */
	bool is_connected;
	bool is_dead; /* freed in a callback */
};

static struct call *call_free(struct call *call)
{
	if (call) {
		list_unlink(&call->node);
		free(call->payload);
		free(call);
	}
	return NULL;
}

static void call_freep(struct call **call)
{
	*call = call_free(*call);
}

static void free_list(struct list *head)
{
	list_for_each_safe (i, head) {
		call_free(list_entry(i, struct call, node));
	}
}

static void leave(struct bus_client *c)
{
	if (--c->depth == 0 && c->is_dead) {
		free(c);
	}
}

struct bus_client *bus_client_free(struct bus_client *c)
{
	if (!c || c->is_dead) {
		return NULL;
	}
	if (c->socket) {
		c->engine->close(c->socket);
		c->socket = NULL;
	}
	c->timer = sd_event_source_unref(c->timer);
	c->defer = sd_event_source_unref(c->defer);
	c->loop = sd_event_unref(c->loop);
	free_list(&c->queued);
	free_list(&c->sent);
	free_list(&c->ended);
	free(c->url);
	free(c->service);
	free(c->name);
	c->is_dead = true;
	c->depth++;
	leave(c);
	return NULL;
}

/* The callback may cancel calls, add calls and free the client. */
static void tell(struct bus_client *c, struct call *call, struct bus_result *result)
{
	bus_result_fn fn = call->fn;
	void *userdata = call->userdata;

	result->request_id = call->request_id;
	result->was_sent = call->was_sent;
	memcpy(result->traceparent, call->traceparent, sizeof(result->traceparent));
	call_free(call);
	if (fn) {
		fn(c, result, userdata);
	}
}

/* "ops" or "ops on host alpha", and the unit's name. */
static void describe_unreachable(const struct bus_client *c, const char *what, char *out,
				 size_t out_size)
{
	const char *slash = strchr(c->service, '/');
	const char *name = slash ? slash + 1 : c->service;

	if (slash) {
		snprintf(out, out_size,
			 "%s: %s at %s; is xenmesh-%s running on %.*s? there: "
			 "systemctl status xenmesh-%s",
			 c->service, what, c->url, name, (int)(slash - c->service), c->service,
			 name);
	} else {
		snprintf(out, out_size,
			 "%s: %s at %s; is xenmesh-%s running? systemctl status xenmesh-%s",
			 c->service, what, c->url, name, name);
	}
}

static void tell_end(struct bus_client *c, struct call *call)
{
	struct bus_result result = { .code = CODE_UNAVAILABLE };
	uint64_t waited_ms = (clock_boot_ns() - call->begin_ns) / NSEC_PER_MSEC;
	char text[512];

	result.message = text;
	switch (call->end) {
	case END_NOT_REACHED:
		describe_unreachable(c, "not connected", text, sizeof(text));
		break;
	case END_CUT:
		describe_unreachable(c, "the connection broke before the answer", text,
				     sizeof(text));
		break;
	case END_TIMEOUT:
		result.code = CODE_DEADLINE_EXCEEDED;
		snprintf(text, sizeof(text),
			 "%s did not answer %s within %llu ms; it may still finish", c->service,
			 call->method->name, (unsigned long long)waited_ms);
		break;
	case END_NO_MEMORY:
		result.code = CODE_RESOURCE_EXHAUSTED;
		snprintf(text, sizeof(text), "out of memory for %s", call->method->name);
		break;
	case END_REFUSED:
		result.code = CODE_INTERNAL;
		snprintf(text, sizeof(text), "the transport refuses to send %s to %s",
			 call->method->name, c->url);
		break;
	}
	tell(c, call, &result);
}

/* From the loop only. Returns false when the client was freed. */
static bool tell_ended(struct bus_client *c)
{
	struct call *call;

	while (!c->is_dead && (call = list_first(&c->ended, struct call, node))) {
		tell_end(c, call);
	}
	return !c->is_dead;
}

static int on_defer(sd_event_source *source _unused_, void *userdata)
{
	struct bus_client *c = userdata;

	c->depth++;
	tell_ended(c);
	leave(c);
	return 0;
}

/* Told from the loop, not from the caller's stack. */
static void end_later(struct bus_client *c, struct call *call, enum call_end end)
{
	call->end = end;
	list_unlink(&call->node);
	list_append(&c->ended, &call->node);
	if (loop_defer(c->loop, &c->defer, on_defer, c) < 0) {
		log_error("%s: no memory to tell a failed call", c->service);
	}
}

/* ---- time ---- */

static uint64_t wake_ns(const struct bus_client *c, const struct call *call)
{
	if (!call->fn) {
		return call->deadline_ns + ABANDONED_KEEP_NS;
	}
	if (call->no_retry && !c->is_connected) {
		return MIN(call->deadline_ns, call->begin_ns + CONNECT_GRACE_NS);
	}
	return call->deadline_ns;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata);

static void arm_at(struct bus_client *c, uint64_t at_ns)
{
	uint64_t now = clock_boot_ns();

	if (at_ns >= c->armed_ns) {
		return;
	}
	c->armed_ns = at_ns;
	/* Rounded up, so that it never fires just before. */
	if (loop_after(c->loop, &c->timer, at_ns > now ? (at_ns - now) / NSEC_PER_USEC + 1 : 0,
		       on_timer, c) < 0) {
		log_error("%s: no memory for a timer, calls may wait too long", c->service);
	}
}

static void arm(struct bus_client *c)
{
	uint64_t at_ns = UINT64_MAX;
	const struct list *const heads[] = { &c->queued, &c->sent };

	for (size_t h = 0; h < ARRAY_LEN(heads); h++) {
		list_for_each (i, heads[h]) {
			at_ns = MIN(at_ns, wake_ns(c, list_entry(i, struct call, node)));
		}
	}
	if (c->retry_ns) {
		at_ns = MIN(at_ns, c->retry_ns);
	}
	c->armed_ns = UINT64_MAX;
	if (at_ns != UINT64_MAX) {
		arm_at(c, at_ns);
	}
}

/* The caller waits no more, the server may still work on it. */
static struct call *abandon(struct bus_client *c, struct call *call)
{
	struct call *shadow = calloc(1, sizeof(*shadow));

	if (!shadow) {
		c->n_sent--;
		return call;
	}
	shadow->route = call->route;
	shadow->method = call->method;
	shadow->deadline_ns = call->deadline_ns;
	list_append(&call->node, &shadow->node);
	return call;
}

static void expire_sent(struct bus_client *c, uint64_t now)
{
	list_for_each_safe (i, &c->sent) {
		struct call *call = list_entry(i, struct call, node);

		if (wake_ns(c, call) > now) {
			continue;
		}
		if (!call->fn) {
			c->n_sent--;
			call_free(call);
			continue;
		}
		end_later(c, abandon(c, call), END_TIMEOUT);
	}
}

static void expire(struct bus_client *c)
{
	uint64_t now = clock_boot_ns();

	list_for_each_safe (i, &c->queued) {
		struct call *call = list_entry(i, struct call, node);

		if (wake_ns(c, call) <= now) {
			end_later(c, call, c->is_connected ? END_TIMEOUT : END_NOT_REACHED);
		}
	}
	expire_sent(c, now);
}

/* ---- sending ---- */

static int pack_call(const struct bus_client *c, const struct call *call, uint8_t **out,
		     size_t *len)
{
	Xenmesh__V1__Call m = XENMESH__V1__CALL__INIT;
	uint64_t now = clock_boot_ns();
	uint64_t left_ms = call->deadline_ns > now ? (call->deadline_ns - now) / NSEC_PER_MSEC : 0;

	m.request_id.data = (uint8_t *)call->request_id.bytes;
	m.request_id.len = sizeof(call->request_id.bytes);
	m.method = (char *)call->method->name;
	m.timeout_ms = (uint32_t)MAX(left_ms, 1);
	m.client = c->name;
	m.traceparent = (char *)call->traceparent;
	m.payload.data = call->payload;
	m.payload.len = call->payload_len;
	*len = xenmesh__v1__call__get_packed_size(&m);
	*out = malloc(*len);
	if (!*out) {
		return -ENOMEM;
	}
	xenmesh__v1__call__pack(&m, *out);
	return 0;
}

/* 0 = sent or ended; 1 = the socket is busy, the call stays queued. */
static int send_call(struct bus_client *c, struct call *call)
{
	_cleanup_(xfreep) uint8_t *data = NULL;
	size_t len;
	int r;

	if (pack_call(c, call, &data, &len) < 0) {
		end_later(c, call, END_NO_MEMORY);
		return 0;
	}
	r = c->engine->send(c->socket, &call->route, data, len);
	if (r == -EAGAIN) {
		return 1;
	}
	if (r < 0) {
		end_later(c, call, r == -ENOMEM ? END_NO_MEMORY : END_REFUSED);
		return 0;
	}
	call->was_sent = true;
	list_unlink(&call->node);
	list_append(&c->sent, &call->node);
	c->n_sent++;
	return 0;
}

static void flush(struct bus_client *c)
{
	struct call *call;

	c->retry_ns = 0;
	while (c->is_connected && c->n_sent < BUS_INFLIGHT_PER_PEER &&
	       (call = list_first(&c->queued, struct call, node))) {
		if (send_call(c, call) > 0) {
			c->retry_ns = clock_boot_ns() + BUSY_RETRY_NS;
			arm_at(c, c->retry_ns);
			return;
		}
	}
}

static int on_timer(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
	struct bus_client *c = userdata;

	c->depth++;
	expire(c);
	if (tell_ended(c)) {
		flush(c);
		arm(c);
	}
	leave(c);
	return 0;
}

/* ---- the socket ---- */

static void on_link(struct bus_socket *socket _unused_, const struct bus_peer *peer _unused_,
		    bool up, void *userdata)
{
	struct bus_client *c = userdata;

	c->depth++;
	c->is_connected = up;
	if (!up) {
		/* From the last to the first, each to the front: the order stays. */
		while (!list_is_empty(&c->sent)) {
			struct call *call = list_entry(c->sent.prev, struct call, node);

			if (!call->fn) {
				call_free(call);
			} else if (call->no_retry) {
				end_later(c, call, END_CUT);
			} else {
				list_unlink(&call->node);
				list_append(c->queued.next, &call->node);
			}
		}
		c->n_sent = 0;
		expire(c);
	}
	if (tell_ended(c)) {
		flush(c);
		arm(c);
	}
	leave(c);
}

static struct call *find_sent(const struct bus_client *c, const struct bus_route *route)
{
	list_for_each (i, &c->sent) {
		struct call *call = list_entry(i, struct call, node);

		if (call->route.len == route->len &&
		    memcmp(call->route.bytes, route->bytes, route->len) == 0) {
			return call;
		}
	}
	return NULL;
}

/* A server that could not read the call has no id to return. */
static bool is_answer_to(const Xenmesh__V1__Reply *reply, int code, const struct call *call)
{
	if (reply->request_id.len == 0) {
		return code != CODE_OK;
	}
	return reply->request_id.len == sizeof(call->request_id.bytes) &&
	       memcmp(reply->request_id.data, call->request_id.bytes, reply->request_id.len) == 0;
}

/* Fills result; what it points to lives in the arena or is constant. */
static void read_reply(const struct call *call, struct arena *arena, const void *data, size_t len,
		       struct bus_result *result)
{
	const Xenmesh__V1__Reply *reply = (const Xenmesh__V1__Reply *)arena_unpack(
		arena, &xenmesh__v1__reply__descriptor, data, len);
	int code = reply ? (int)reply->code : CODE_INTERNAL;

	result->code = CODE_INTERNAL;
	if (!reply) {
		result->message = "the service's answer is no xenmesh.v1.Reply";
		return;
	}
	if (!is_answer_to(reply, code, call)) {
		result->message = "the service's answer carries the id of another request";
		return;
	}
	result->reply = reply;
	if (code == CODE_OK) {
		result->payload = arena_unpack(arena, call->method->output, reply->payload.data,
					       reply->payload.len);
		if (!result->payload) {
			result->message = "the service's answer has a payload that cannot be read";
			return;
		}
	}
	result->code = code;
	result->message = reply->message;
}

static void on_message(struct bus_socket *socket _unused_, const struct bus_peer *peer _unused_,
		       const struct bus_route *route, const void *data, size_t len, void *userdata)
{
	struct bus_client *c = userdata;
	struct bus_result result = { .message = "" };
	_cleanup_(arena_deinit) struct arena arena;
	struct call *call = find_sent(c, route);

	arena_init(&arena, envelope_memory_max(len));
	if (!call) {
		return;
	}
	c->depth++;
	c->n_sent--;
	if (call->fn) {
		read_reply(call, &arena, data, len, &result);
		tell(c, call, &result);
	} else {
		call_free(call);
	}
	if (!c->is_dead) {
		flush(c);
	}
	leave(c);
}

/* ---- the interface ---- */

int bus_client_new(struct bus_client **out, sd_event *loop, const struct topology *topology,
		   const char *service, const char *client_name)
{
	static const struct bus_socket_handler handler = { .on_message = on_message,
							   .on_link = on_link };
	struct bus_socket_options options = {
		.max_message = BUS_REPLY_MAX,
		.queue = BUS_INFLIGHT_PER_PEER,
	};
	const struct topology_service *where = topology_service(topology, service);
	const char *traceparent = getenv("TRACEPARENT");
	_cleanup_(bus_client_freep) struct bus_client *c = NULL;
	int r;

	if (!where || where->rpc.n_urls == 0) {
		return -ENOENT;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		return -ENOMEM;
	}
	list_init(&c->queued);
	list_init(&c->sent);
	list_init(&c->ended);
	c->loop = sd_event_ref(loop);
	c->armed_ns = UINT64_MAX;
	if (traceparent && traceparent_is_valid(traceparent)) {
		memcpy(c->traceparent, traceparent, sizeof(c->traceparent));
	}
	c->url = strdup(where->rpc.urls[0]);
	c->service = strdup(service);
	c->name = strndup(client_name, BUS_CLIENT_NAME_MAX);
	c->engine = where->rpc.engine;
	if (!c->url || !c->service || !c->name) {
		return -ENOMEM;
	}
	options.tls = where->rpc.tls;
	r = c->engine->open(&c->socket, loop, BUS_REQ, &options, &handler, c);
	if (r < 0) {
		return r;
	}
	r = c->engine->dial(c->socket, c->url);
	if (r < 0) {
		return r;
	}
	*out = STEAL(c);
	return 0;
}

static void set_traceparent(const struct bus_client *c, struct call *call, const char *given)
{
	if (given) {
		memcpy(call->traceparent, given, sizeof(call->traceparent));
	} else if (c->traceparent[0]) {
		traceparent_child(c->traceparent, call->traceparent);
	} else {
		traceparent_new(call->traceparent);
	}
}

static int call_new(struct call **out, const struct bus_client *c, const struct bus_method *method,
		    const ProtobufCMessage *request, const struct bus_call_options *options)
{
	_cleanup_(call_freep) struct call *call = calloc(1, sizeof(*call));
	uint32_t timeout_ms = options->timeout_ms ? options->timeout_ms : BUS_TIMEOUT_DEFAULT_MS;

	if (!call) {
		return -ENOMEM;
	}
	if (options->traceparent && !traceparent_is_valid(options->traceparent)) {
		return -EINVAL;
	}
	call->method = method;
	call->payload_len = protobuf_c_message_get_packed_size(request);
	if (call->payload_len > BUS_CALL_MAX - BUS_CLIENT_NAME_MAX - CALL_OVERHEAD) {
		return -EMSGSIZE;
	}
	call->payload = malloc(MAX(call->payload_len, 1));
	if (!call->payload) {
		return -ENOMEM;
	}
	set_traceparent(c, call, options->traceparent);
	protobuf_c_message_pack(request, call->payload);
	if (options->request_id) {
		call->request_id = *options->request_id;
	} else {
		uuid_random(&call->request_id);
	}
	call->no_retry = options->no_retry;
	call->begin_ns = clock_boot_ns();
	call->deadline_ns = call->begin_ns + MIN(timeout_ms, BUS_TIMEOUT_MAX_MS) * NSEC_PER_MSEC;
	*out = STEAL(call);
	return 0;
}

int bus_client_call(struct bus_client *c, const char *method, const ProtobufCMessage *request,
		    const struct bus_call_options *options, bus_result_fn fn, void *userdata,
		    uint64_t *id)
{
	static const struct bus_call_options defaults = { 0 };
	const struct bus_method *m = bus_method_find(method);
	struct call *call = NULL;
	int r;

	if (!m || request->descriptor != m->input || !fn) {
		return -EINVAL;
	}
	r = call_new(&call, c, m, request, options ? options : &defaults);
	if (r < 0) {
		return r;
	}
	call->fn = fn;
	call->userdata = userdata;
	call->id = ++c->last_id;
	if (id) {
		*id = call->id;
	}
	list_append(&c->queued, &call->node);
	arm_at(c, wake_ns(c, call));
	/* Behind a busy socket its timer goes on. */
	if (!c->retry_ns) {
		flush(c);
	}
	return 0;
}

void bus_client_cancel(struct bus_client *c, uint64_t id)
{
	struct list *const heads[] = { &c->queued, &c->sent, &c->ended };

	for (size_t h = 0; h < ARRAY_LEN(heads); h++) {
		list_for_each (i, heads[h]) {
			struct call *call = list_entry(i, struct call, node);

			if (call->id != id || !call->fn) {
				continue;
			}
			if (heads[h] == &c->sent) {
				call->fn = NULL;
			} else {
				call_free(call);
			}
			return;
		}
	}
}

bool bus_client_is_connected(const struct bus_client *c)
{
	return c->is_connected;
}
