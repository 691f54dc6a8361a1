/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The life of a call: executed or attached to the one it repeats, answered,
 * out of time, or abandoned.
 *
 * Invariants:
 *  - a call is freed by exactly one of: its answer, its cancellation, the end
 *    of the server. A handler that keeps a call either has on_cancel, or owns
 *    it until it answers, however late;
 *  - a mutating request id is executed once while it is in `running` or in the
 *    dedup store, which is offered every answer before it is sent;
 *  - each call of a known method is concluded once, whatever its end, and
 *    before its answer is sent: what somebody was told of is in the audit.
 */
#include <stdarg.h>
#include <stdio.h>

#include "bus/dedup.h"
#include "bus/limits.h"
#include "bus/rpctrace.h"
#include "bus/server_internal.h"
#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"
#include "libcommon/strbuf.h"
#include "libcommon/traceparent.h"

#define MESSAGE_MAX 4096 /* of a failure; the log lines of an operation fit */

/* ---- making and freeing ---- */

struct bus_call *call_new(struct bus_server *s, struct bus_socket *socket,
			  const struct bus_peer *peer, const struct bus_route *route, size_t len)
{
	struct bus_call *c = calloc(1, sizeof(*c));

	if (!c) {
		return NULL;
	}
	c->server = s;
	c->socket = socket;
	c->engine = s->binding.engine;
	c->info = *peer;
	c->route = *route;
	c->len = len;
	c->start_ns = clock_boot_ns();
	list_init(&c->waiters);
	arena_init(&c->arena, BUS_ARENA_BASE + BUS_ARENA_FACTOR * len);
	return c;
}

static void leave_peer(struct bus_call *c)
{
	struct call_peer *peer = c->peer;

	if (!peer) {
		return;
	}
	list_unlink(&c->by_peer);
	c->peer = NULL;
	c->info.gids = NULL; /* they were the connection's */
	c->info.n_gids = 0;
	if (--peer->n_calls == 0) {
		map_remove(&c->server->peers, &peer->id, sizeof(peer->id));
		free(peer);
	}
}

static void leave_running(struct bus_call *c)
{
	struct bus_server *s = c->server;

	if (c->envelope.request_id &&
	    map_get(&s->running, c->envelope.request_id, ENVELOPE_ID_LEN) == c) {
		map_remove(&s->running, c->envelope.request_id, ENVELOPE_ID_LEN);
	}
}

void call_free(struct bus_call *c)
{
	leave_peer(c);
	leave_running(c);
	if (list_is_linked(&c->by_server)) {
		list_unlink(&c->by_server);
		c->server->n_calls--;
	}
	list_unlink(&c->by_primary);
	if (c->is_charged) {
		quota_give(&c->server->quota, c->user, c->quota, 1);
	}
	if (c->user) {
		quota_give(&c->server->quota, c->user, QUOTA_BYTES, c->charged_bytes);
		quota_user_unref(&c->server->quota, c->user);
	}
	if (c->is_counted) {
		c->slot->n_in_flight--;
	}
	sd_event_source_disable_unref(c->timer);
	arena_deinit(&c->arena);
	free(c);
}

size_t call_peer_load(const struct bus_server *s, uint64_t id)
{
	const struct call_peer *peer = map_get(&s->peers, &id, sizeof(id));

	return peer ? peer->n_calls : 0;
}

/* From now on the call counts. 0 or -ENOMEM. */
static int enlist(struct bus_call *c)
{
	struct bus_server *s = c->server;
	struct call_peer *peer = map_get(&s->peers, &c->info.id, sizeof(c->info.id));

	if (!peer) {
		peer = calloc(1, sizeof(*peer));
		if (!peer || map_set(&s->peers, &c->info.id, sizeof(c->info.id), peer, NULL) < 0) {
			free(peer);
			return -ENOMEM;
		}
		peer->id = c->info.id;
		list_init(&peer->calls);
	}
	c->peer = peer;
	peer->n_calls++;
	list_append(&peer->calls, &c->by_peer);
	list_append(&s->calls, &c->by_server);
	s->n_calls++;
	return 0;
}

/* ---- the end, for the records ---- */

/* How a call ended. */
struct end {
	enum audit_outcome outcome;
	int code;
	const char *why;	       /* of a failure, or NULL */
	size_t reply_len;	       /* 0 = there is no answer */
	const struct bus_call *answer; /* the call whose answer it got, or NULL */
};

static void account(struct bus_call *c, int code, uint64_t us)
{
	struct method_slot *slot = c->slot;

	slot->n_errors += code != CODE_OK;
	slot->us_max = MAX(slot->us_max, us);
	if (!slot->latency) {
		slot->latency = calloc(1, sizeof(*slot->latency));
	}
	if (slot->latency) {
		histogram_add(slot->latency, us);
	}
	log_debug("%s of %s: %s after %llu us", c->envelope.method->name, c->client,
		  bus_code_name(code), (unsigned long long)us);
}

static void audit(struct bus_call *c, const struct end *end, uint64_t us)
{
	const struct envelope *e = &c->envelope;
	struct audit_line line = {
		.message_id = AUDIT_ID_CALL,
		.method = e->method->name,
		.outcome = end->outcome,
		.code = end->code,
		.reason = end->why,
		.peer = &c->info,
		.client = e->client,
		.duration_us = us,
		.request_id = e->request_id,
		.traceparent = e->traceparent,
	};
	char object[AUDIT_OBJECT_SIZE] = "";

	if (!c->is_counted && !end->answer && end->outcome != AUDIT_REPEATED &&
	    !audit_limit_take(&c->server->audit, &c->info)) {
		return;
	}
	if (!c->request) { /* refused before it was read */
		c->request = envelope_request(e, &c->arena);
	}
	if (c->object) {
		snprintf(object, sizeof(object), "%s", c->object);
	} else if (c->request) {
		audit_object(c->request, e->method->object, object, sizeof(object));
	}
	line.object = object;
	if (end->answer) {
		line.object_id = end->answer->object_id;
		line.task = end->answer->task;
	}
	audit_write(&line);
}

static void conclude(struct bus_call *c, const struct end *end)
{
	uint64_t us = (clock_boot_ns() - c->start_ns) / 1000;

	if (c->is_concluded || !c->envelope.method) {
		return;
	}
	c->is_concluded = true;
	if (c->is_counted) {
		account(c, end->code, us);
	}
	if (bus_method_is_audited(c->envelope.method)) {
		audit(c, end, us);
	}
	if (c->server->trace) {
		rpc_trace_tell(c->server->trace, c, end->code, end->reply_len,
			       end->outcome == AUDIT_REPEATED);
	}
}

static void conclude_unanswered(struct bus_call *c)
{
	conclude(c, &(struct end){ .outcome = AUDIT_UNANSWERED, .code = CODE_CANCELLED });
}

/* ---- answering ---- */

static void send_reply(struct bus_call *c, const uint8_t *reply, size_t len)
{
	int r;

	if (c->is_answered) {
		return;
	}
	r = c->engine->send(c->socket, &c->route, reply, len);
	if (r < 0) {
		c->server->n_unsent++;
		log_debug("cannot send an answer to %s: %s", c->client ? c->client : "?",
			  err_text(r));
	}
}

/* is_end: nothing comes after it. */
static void send_failure(struct bus_call *c, int code, const char *why, bool is_end)
{
	_cleanup_(xfreep) uint8_t *reply = NULL;
	size_t len = 0;

	if (envelope_fail(c->envelope.request_id, code, why, &reply, &len) < 0) {
		reply = NULL;
		len = 0;
	}
	if (is_end) {
		conclude(c, &(struct end){
				    .outcome = code == CODE_PERMISSION_DENIED ? AUDIT_DENIED
									      : AUDIT_FAILED,
				    .code = code,
				    .why = why,
				    .reply_len = len,
			    });
	}
	if (reply) {
		send_reply(c, reply, len);
	}
}

void call_refuse(struct bus_call *c, int code, const char *why)
{
	c->server->n_refused++;
	send_failure(c, code, why, true);
	call_free(c);
}

/* *reply may be replaced by another one, and *end by how it says that it ended. */
static void store(struct bus_call *c, uint8_t **reply, size_t *len, struct end *end)
{
	const struct bus_dedup *d = &c->server->dedup;
	int r;

	if (!c->envelope.method->mutating) {
		return;
	}
	r = d->save(d->userdata, c->envelope.request_id, c->fingerprint, *reply, *len);
	if (r == 0) {
		return;
	}
	*end = (struct end){ .outcome = AUDIT_FAILED };
	if (r == 1) {
		end->code = CODE_RESOURCE_EXHAUSTED;
		end->why = "so many changes were asked for lately that the answers to no more can "
			   "be remembered; nothing was done, try again in some minutes";
	} else {
		end->code = CODE_INTERNAL;
		end->why = "the answer could not be recorded; the operation may have been done, "
			   "look before you repeat it";
	}
	log_error("cannot record the answer to %s of %s: %s", c->envelope.method->name, c->client,
		  r == 1 ? "there are too many" : err_text(r));
	free(*reply);
	*reply = NULL;
	if (envelope_fail(c->envelope.request_id, end->code, end->why, reply, len) < 0) {
		*reply = NULL;
	}
}

/* The end of an executed call: consumes reply (NULL: out of memory, nobody is told). */
static void finish(struct bus_call *c, int code, const char *why, uint8_t *reply, size_t len)
{
	struct end end = {
		.outcome = code == CODE_OK ? AUDIT_ACCEPTED : AUDIT_FAILED,
		.code = code,
		.why = why,
		.answer = c,
	};

	if (c->is_done) {
		log_error("%s was answered twice; the second answer is dropped",
			  c->envelope.method->name);
		free(reply);
		return;
	}
	if (reply) {
		store(c, &reply, &len, &end);
	}
	end.reply_len = reply ? len : 0;
	conclude(c, &end);
	leave_running(c);
	end.outcome = AUDIT_REPEATED;
	if (reply) {
		send_reply(c, reply, len);
	}
	while (!list_is_empty(&c->waiters)) {
		struct bus_call *waiter = list_entry(c->waiters.next, struct bus_call, by_primary);

		conclude(waiter, &end);
		if (reply) {
			send_reply(waiter, reply, len);
		}
		call_free(waiter);
	}
	free(reply);
	c->is_done = true;
	if (!c->is_busy) {
		call_free(c);
	}
}

static void finish_failed(struct bus_call *c, int code, const char *why)
{
	uint8_t *reply = NULL;
	size_t len = 0;

	if (envelope_fail(c->envelope.request_id, code, why, &reply, &len) < 0) {
		reply = NULL;
	}
	finish(c, code, why, reply, len);
}

static void finish_encoded(struct bus_call *c, int r, uint8_t *reply, size_t len)
{
	if (r == -EMSGSIZE) {
		finish_failed(c, CODE_RESOURCE_EXHAUSTED,
			      "the answer is larger than a message may be; ask for less at once");
	} else if (r < 0) {
		finish_failed(c, CODE_INTERNAL, "out of memory");
	} else {
		finish(c, CODE_OK, NULL, reply, len);
	}
}

/* What of the answer goes into the audit. */
static void note_answer(struct bus_call *c, const ProtobufCMessage *reply)
{
	char text[AUDIT_OBJECT_SIZE];

	if (!bus_method_is_audited(c->envelope.method)) {
		return;
	}
	audit_object(reply, c->envelope.method->object_id, text, sizeof(text));
	c->object_id = arena_strndup(&c->arena, text, strlen(text));
	if (reply->descriptor == &xenmesh__v1__task__descriptor) {
		const char *id = ((const Xenmesh__V1__Task *)reply)->id;

		c->task = arena_strndup(&c->arena, id, strlen(id));
	}
}

void bus_call_reply(struct bus_call *call, const ProtobufCMessage *reply)
{
	const struct bus_method *m = call->envelope.method;
	uint8_t *bytes = NULL;
	size_t len = 0;
	int r;

	if (reply->descriptor != m->output || !protobuf_c_message_check(reply)) {
		log_error("%s was answered with no valid %s", m->name, m->output->name);
		finish_failed(call, CODE_INTERNAL, "the service made an invalid answer");
		return;
	}
	if (!call->is_done) {
		note_answer(call, reply);
	}
	r = envelope_reply_message(call->envelope.request_id, reply, &bytes, &len);
	finish_encoded(call, r, bytes, len);
}

void bus_call_reply_raw(struct bus_call *call, const void *payload, size_t len)
{
	uint8_t *bytes = NULL;
	size_t bytes_len = 0;
	int r = envelope_reply(call->envelope.request_id, payload, len, &bytes, &bytes_len);

	finish_encoded(call, r, bytes, bytes_len);
}

/* Text with escapes for what a terminal or a decoder would stumble over, line by line. */
static void clean_lines(struct strbuf *out, const char *text)
{
	while (*text) {
		size_t len = strcspn(text, "\n");
		_cleanup_(xfreep) char *line = malloc(4 * len + 1);

		if (line) {
			log_escape(line, 4 * len + 1, text, len);
			strbuf_puts(out, line);
		}
		text += len;
		if (*text) {
			strbuf_putc(out, '\n');
			text++;
		}
	}
}

void bus_call_fail(struct bus_call *call, enum bus_code code, const char *format, ...)
{
	char text[MESSAGE_MAX];
	struct strbuf clean = STRBUF_NULL;
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (code == CODE_OK) {
		log_error("%s failed with OK", call->envelope.method->name);
		code = CODE_INTERNAL;
	}
	clean_lines(&clean, text);
	finish_failed(call, code, strbuf_str(&clean));
	strbuf_deinit(&clean);
}

/* ---- time and cancellation ---- */

/* Tell the handler that the call ends; it may still answer. */
static void run_on_cancel(struct bus_call *c)
{
	void (*fn)(struct bus_call *, void *) = c->on_cancel;

	c->on_cancel = NULL;
	if (fn) {
		struct trace_scope scope;

		trace_enter(&scope, c->envelope.traceparent, NULL);
		c->is_busy = true;
		fn(c, c->cancel_userdata);
		c->is_busy = false;
		trace_leave(&scope);
	}
}

static int on_deadline(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
	static const char why[] = "not finished within the time the caller gave; it may still "
				  "finish, look before you repeat it";
	struct bus_call *c = userdata;

	c->server->n_expired++;
	if (c->primary) {
		send_failure(c, CODE_DEADLINE_EXCEEDED, why, true);
		call_free(c);
		return 0;
	}
	if (!c->on_cancel || c->envelope.method->mutating) {
		/* The handler still has it, and whoever repeats it gets the real answer: "out of
		 * time" must not be remembered as the outcome of what may be done yet. */
		send_failure(c, CODE_DEADLINE_EXCEEDED, why, false);
		c->is_answered = true;
		return 0;
	}
	run_on_cancel(c);
	if (c->is_done) {
		call_free(c);
	} else {
		finish_failed(c, CODE_DEADLINE_EXCEEDED, why);
	}
	return 0;
}

static void arm(struct bus_call *c)
{
	uint64_t now = clock_boot_ns();
	uint64_t left_us = c->deadline_ns > now ? (c->deadline_ns - now) / 1000 : 0;

	if (loop_after(c->server->loop, &c->timer, left_us, on_deadline, c) < 0) {
		log_error("out of memory: %s has no deadline", c->envelope.method->name);
	}
}

/* The caller of one call has gone; it is in no peer's list any more. */
static void abandon(struct bus_call *c)
{
	c->server->n_abandoned++;
	if (c->primary) {
		conclude_unanswered(c);
		call_free(c);
		return;
	}
	if (c->envelope.method->mutating || !c->on_cancel) {
		return; /* the work is worth its answer, or its handler still has it */
	}
	run_on_cancel(c);
	conclude_unanswered(c);
	call_free(c);
}

void call_peer_gone(struct bus_server *s, uint64_t id)
{
	struct call_peer *peer;

	/* Answering one call may end others. */
	while ((peer = map_get(&s->peers, &id, sizeof(id)))) {
		struct bus_call *c = list_entry(peer->calls.next, struct bus_call, by_peer);

		leave_peer(c);
		c->is_answered = true; /* nobody listens */
		abandon(c);
	}
}

void call_cancel_all(struct bus_server *s)
{
	list_for_each (i, &s->calls) {
		list_entry(i, struct bus_call, by_server)->is_answered = true;
	}
	while (!list_is_empty(&s->calls)) {
		struct bus_call *c = list_entry(s->calls.next, struct bus_call, by_server);

		if (!c->primary) {
			run_on_cancel(c);
		}
		while (!list_is_empty(&c->waiters)) {
			struct bus_call *w = list_entry(c->waiters.next, struct bus_call,
							by_primary);

			conclude_unanswered(w);
			call_free(w);
		}
		conclude_unanswered(c);
		call_free(c);
	}
}

/* ---- repeats ---- */

/* Wait for the answer of the running call. */
static void attach(struct bus_call *c, struct bus_call *primary)
{
	if (memcmp(c->fingerprint, primary->fingerprint, sizeof(c->fingerprint)) != 0) {
		call_refuse(c, CODE_INVALID_ARGUMENT,
			    "this request_id is in use for another request");
		return;
	}
	if (enlist(c) < 0) {
		call_refuse(c, CODE_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	c->server->n_repeats++;
	c->primary = primary;
	list_append(&primary->waiters, &c->by_primary);
	arm(c);
	if (c->deadline_ns > primary->deadline_ns) {
		primary->deadline_ns = c->deadline_ns;
		if (!primary->is_answered || primary->on_cancel) {
			arm(primary);
		}
	}
}

/* Whose repeats are repeats: the uid, or 32 bits (FNV-1a) of a certificate's name. */
static uid_t caller_of(const struct bus_peer *peer)
{
	uint32_t hash = 2166136261U;

	if (!peer->has_cert) {
		return peer->uid;
	}
	for (const char *p = peer->name; *p; p++) {
		hash = (hash ^ (uint8_t)*p) * 16777619U;
	}
	return hash;
}

bool call_is_repeat(struct bus_call *c)
{
	const struct envelope *e = &c->envelope;
	struct bus_server *s = c->server;
	_cleanup_(xfreep) uint8_t *reply = NULL;
	struct bus_call *primary;
	size_t len;
	int r;

	dedup_fingerprint(e->method->name, e->payload, e->payload_len, caller_of(&c->info),
			  c->fingerprint);
	primary = map_get(&s->running, e->request_id, ENVELOPE_ID_LEN);
	if (primary) {
		attach(c, primary);
		return true;
	}
	r = s->dedup.find(s->dedup.userdata, e->request_id, c->fingerprint, &reply, &len);
	switch (r) {
	case 1:
		return false;
	case 0:
		s->n_repeats++;
		conclude(c, &(struct end){ .outcome = AUDIT_REPEATED,
					   .code = envelope_reply_code(reply, len),
					   .reply_len = len });
		send_reply(c, reply, len);
		call_free(c);
		return true;
	case 2:
		call_refuse(c, CODE_INVALID_ARGUMENT,
			    "this request_id was used for another request, or by another user");
		return true;
	default:
		log_error("cannot look up a request id: %s", err_text(r));
		call_refuse(c, CODE_INTERNAL,
			    "the record of requests cannot be read; nothing was done");
		return true;
	}
}

/* ---- execution ---- */

void call_execute(struct bus_call *c)
{
	const struct envelope *e = &c->envelope;
	struct trace_scope scope;

	if (enlist(c) < 0 || (e->method->mutating && map_set(&c->server->running, e->request_id,
							     ENVELOPE_ID_LEN, c, NULL) < 0)) {
		call_refuse(c, CODE_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	c->slot->n_calls++;
	c->slot->n_in_flight++;
	c->is_counted = true;
	trace_enter(&scope, e->traceparent, NULL);
	c->is_busy = true;
	c->slot->fn(c, c->request, c->slot->userdata);
	c->is_busy = false;
	trace_leave(&scope);
	if (c->is_done) {
		call_free(c);
	} else {
		arm(c);
	}
}

void bus_call_on_cancel(struct bus_call *call, void (*fn)(struct bus_call *call, void *userdata),
			void *userdata)
{
	call->on_cancel = fn;
	call->cancel_userdata = userdata;
}

struct arena *bus_call_arena(struct bus_call *call)
{
	return &call->arena;
}

const uint8_t *bus_call_request_id(const struct bus_call *call)
{
	return call->envelope.request_id;
}

const struct bus_peer *bus_call_peer(const struct bus_call *call)
{
	return &call->info;
}

const char *bus_call_client(const struct bus_call *call)
{
	return call->client;
}

const char *bus_call_traceparent(const struct bus_call *call)
{
	return call->envelope.traceparent;
}

void bus_call_name_object(struct bus_call *call, const char *name)
{
	call->object = arena_strndup(&call->arena, name, strnlen(name, AUDIT_OBJECT_SIZE));
}

uint64_t bus_call_deadline_ns(const struct bus_call *call)
{
	return call->deadline_ns;
}
