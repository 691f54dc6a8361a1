/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who may call what: a message is decoded, checked against the caller's role
 * and the limits, and handed to call.c.
 */
#include "bus/server.h"

#include <stdio.h>

#include "bus/dedup.h"
#include "bus/limits.h"
#include "bus/server_internal.h"
#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"

#define REPLY_QUEUE 1024 /* answers a peer has no room for at the moment */

/* ---- admission ---- */

/* Once for each connection. Who has no role is told so with the answer to a call. */
static bool on_admit(struct bus_peer *peer, void *userdata)
{
	const struct bus_server *s = userdata;

	if (peer->has_creds) {
		peer->role = topology_role(s->config.topology, peer->uid, peer->gid, peer->gids,
					   peer->n_gids);
	} else if (peer->is_plain_tcp) {
		peer->role = ROLE_OBSERVER;
	}
	return true;
}

/* What the caller lacks, and who can mend it. */
static void explain_role(const struct bus_call *c, int role, char *why, size_t size)
{
	const struct bus_method *m = c->envelope.method;
	const char *origin = topology_origin(c->server->config.topology);

	if (c->info.has_cert) {
		snprintf(why, size,
			 "%s needs the role %s and the certificate of '%s' has %s; issue it one "
			 "with `xenmesh bus pki issue --role %s`",
			 m->name, bus_role_name(m->role), c->info.name, bus_role_name(role),
			 bus_role_name(m->role));
		return;
	}
	snprintf(why, size,
		 "%s needs the role %s and the process of uid %u has %s; add the user or one of "
		 "the groups of the process to the key %s of [access] in the topology (%s) on the "
		 "host, then restart the service",
		 m->name, bus_role_name(m->role), (unsigned int)c->info.uid, bus_role_name(role),
		 bus_role_name(m->role), origin);
}

static int check_access(struct bus_call *c, char *why, size_t size)
{
	const struct bus_method *m = c->envelope.method;
	struct bus_server *s = c->server;
	int role = c->info.role;

	if (c->info.is_plain_tcp && (m->mutating || m->role > ROLE_OBSERVER)) {
		snprintf(
			why, size,
			"%s changes something, and a plain tcp:// connection is not authenticated; "
			"call over tls+tcp://, or over ipc:// on the host itself",
			m->name);
	} else if (role < m->role) {
		explain_role(c, role, why, size);
	} else {
		return CODE_OK;
	}
	s->n_denied++;
	return CODE_PERMISSION_DENIED;
}

/* A place among the calls in flight, until call_free(). */
static int check_load(struct bus_call *c, char *why, size_t size)
{
	struct bus_server *s = c->server;
	bool is_essential = c->envelope.method->essential;
	bool has_more = is_essential && c->info.has_creds;
	size_t per_peer = BUS_INFLIGHT_PER_PEER + (has_more ? BUS_INFLIGHT_PEER_RESERVE : 0);
	const struct quota_payer payer = quota_payer(&c->info);

	if (call_peer_load(s, c->info.id) >= per_peer) {
		snprintf(why, size,
			 "this connection has %zu calls in flight, the limit for %s is %zu; wait "
			 "for answers",
			 call_peer_load(s, c->info.id), c->envelope.method->name, per_peer);
		return CODE_RESOURCE_EXHAUSTED;
	}
	c->user = quota_user_ref(&s->quota, &payer);
	if (!c->user) {
		snprintf(why, size, "out of memory");
		return CODE_RESOURCE_EXHAUSTED;
	}
	c->quota = QUOTA_CALLS;
	c->is_charged = quota_take(&s->quota, c->user, QUOTA_CALLS, 1);
	if (!c->is_charged && is_essential) {
		c->quota = QUOTA_RESERVE;
		c->is_charged = quota_take(&s->quota, c->user, QUOTA_RESERVE, 1);
		s->n_reserve += c->is_charged;
	}
	if (!c->is_charged) {
		snprintf(why, size,
			 "%zu calls are in flight, %zu of them of this user, whose limit is %zu "
			 "now; wait for answers, or try later",
			 s->n_calls, c->user->used[QUOTA_CALLS],
			 quota_share(&s->quota, c->user, QUOTA_CALLS));
		s->n_shed++;
		return CODE_RESOURCE_EXHAUSTED;
	}
	return CODE_OK;
}

/* Small requests are bounded by their number. */
static int check_memory(struct bus_call *c, char *why, size_t size)
{
	struct bus_server *s = c->server;

	if (c->arena.used <= BUS_ARENA_BASE) {
		return CODE_OK;
	}
	if (!quota_take(&s->quota, c->user, QUOTA_BYTES, c->arena.used)) {
		snprintf(why, size,
			 "the request takes %zu bytes in memory, and calls in flight of this user "
			 "have %zu of the %zu it may have now; wait for answers",
			 c->arena.used, c->user->used[QUOTA_BYTES],
			 quota_share(&s->quota, c->user, QUOTA_BYTES));
		s->n_shed++;
		return CODE_RESOURCE_EXHAUSTED;
	}
	c->charged_bytes = c->arena.used;
	return CODE_OK;
}

/* The name for records. */
static const char *describe_client(struct bus_call *c)
{
	const char *client = c->envelope.client ? c->envelope.client : "?";
	const char *text;

	if (c->info.has_creds) {
		text = arena_printf(&c->arena, "%s uid=%u", client, (unsigned int)c->info.uid);
	} else {
		text = arena_printf(&c->arena, "%s %s=%s", client,
				    c->info.has_cert ? "cert" : "tcp",
				    c->info.name[0] ? c->info.name : "?");
	}
	return text ? text : "?";
}

/* CODE_OK and the decoded request, or the code to refuse with. */
static int admit(struct bus_call *c, const void *data, size_t len,
		 char why[static ENVELOPE_WHY_MAX])
{
	struct bus_server *s = c->server;
	struct envelope *e = &c->envelope;
	int code = envelope_open(e, &c->arena, data, len, why);

	if (code == CODE_OK) {
		c->client = describe_client(c);
		c->slot = &s->slots[e->method - bus_methods];
		c->deadline_ns = c->start_ns + e->timeout_ms * NSEC_PER_MSEC;
		code = c->slot->fn ? check_access(c, why, ENVELOPE_WHY_MAX) : CODE_UNIMPLEMENTED;
	} else {
		s->n_undecodable += code == CODE_INVALID_ARGUMENT;
		return code;
	}
	if (!c->slot->fn) {
		snprintf(why, ENVELOPE_WHY_MAX,
			 "%s is not served by '%s'; xenmesh.v1.Bus/Describe lists what is",
			 e->method->name, s->config.service->name);
		return code;
	}
	if (code == CODE_OK) {
		code = check_load(c, why, ENVELOPE_WHY_MAX);
	}
	if (code != CODE_OK) {
		return code;
	}
	c->request = envelope_request(e, &c->arena);
	if (!c->request) {
		snprintf(why, ENVELOPE_WHY_MAX,
			 "the payload (%zu bytes) is no %s, unfolds to more than %zu bytes, or has "
			 "text that is not UTF-8",
			 e->payload_len, e->method->input->name, c->arena.limit);
		return CODE_INVALID_ARGUMENT;
	}
	return check_memory(c, why, ENVELOPE_WHY_MAX);
}

static void on_message(struct bus_socket *socket, const struct bus_peer *peer,
		       const struct bus_route *route, const void *data, size_t len, void *userdata)
{
	struct bus_server *s = userdata;
	struct bus_call *c = call_new(s, socket, peer, route, len);
	char why[ENVELOPE_WHY_MAX];
	int code;

	s->n_received++;
	if (!c) {
		return; /* out of memory: the caller asks again */
	}
	code = admit(c, data, len, why);
	if (code != CODE_OK) {
		call_refuse(c, code, why);
		return;
	}
	if (!c->envelope.method->mutating || !call_is_repeat(c)) {
		call_execute(c);
	}
}

static void on_link(struct bus_socket *socket _unused_, const struct bus_peer *peer, bool up,
		    void *userdata)
{
	if (!up) {
		call_peer_gone(userdata, peer->id);
	}
}

/* ---- the server ---- */

int bus_server_add(struct bus_server *s, const struct bus_handler *handlers, size_t n_handlers,
		   void *userdata)
{
	for (size_t i = 0; i < n_handlers; i++) {
		const struct bus_method *m = bus_method_find(handlers[i].method);

		if (!m || !streq(m->name, handlers[i].method)) {
			log_error("there is no method %s to handle", handlers[i].method);
			return -EINVAL;
		}
		s->slots[m - bus_methods].fn = handlers[i].fn;
		s->slots[m - bus_methods].userdata = userdata;
	}
	return 0;
}

static int open_dedup(struct bus_server *s)
{
	if (s->config.dedup) {
		s->dedup = *s->config.dedup;
		return 0;
	}
	s->own_dedup = dedup_new();
	if (!s->own_dedup) {
		return -ENOMEM;
	}
	s->dedup = dedup_interface(s->own_dedup);
	return 0;
}

int bus_server_new(struct bus_server **out, sd_event *loop, const struct bus_server_config *config)
{
	const struct bus_socket_options options = { .max_message = BUS_CALL_MAX,
						    .queue = REPLY_QUEUE };
	const struct bus_socket_handler handler = {
		.admit = on_admit,
		.on_message = on_message,
		.on_link = on_link,
	};
	struct bus_server *s = calloc(1, sizeof(*s));
	int r;

	if (!s) {
		return -ENOMEM;
	}
	s->loop = sd_event_ref(loop);
	s->config = *config;
	s->quota.max[QUOTA_CALLS] = BUS_INFLIGHT_MAX;
	s->quota.max[QUOTA_RESERVE] = BUS_INFLIGHT_RESERVE;
	s->quota.max[QUOTA_BYTES] = BUS_CALLS_BYTES_MAX;
	list_init(&s->calls);
	audit_limit_init(&s->audit, s->loop);
	s->slots = calloc(bus_n_methods, sizeof(*s->slots));
	r = s->slots ? open_dedup(s) : -ENOMEM;
	if (r == 0) {
		r = topology_resolve_access(config->topology);
	}
	if (r == 0) {
		r = bus_server_add(s, config->handlers, config->n_handlers, config->userdata);
	}
	if (r == 0) {
		r = bus_binding_open(&s->binding, loop, BUS_REP, &config->service->rpc, &options,
				     &handler, s);
	}
	if (r < 0) {
		bus_server_free(s);
		return r;
	}
	*out = s;
	return 0;
}

struct bus_server *bus_server_free(struct bus_server *s)
{
	if (!s) {
		return NULL;
	}
	bus_binding_close(&s->binding); /* no message comes any more */
	call_cancel_all(s);
	map_deinit(&s->peers);
	map_deinit(&s->running);
	quota_book_deinit(&s->quota);
	dedup_free(s->own_dedup);
	audit_limit_deinit(&s->audit);
	for (size_t i = 0; s->slots && i < bus_n_methods; i++) {
		free(s->slots[i].latency);
	}
	free(s->slots);
	sd_event_unref(s->loop);
	free(s);
	return NULL;
}

/* "StartVm" of "xenmesh.v1.Ops/StartVm", or the whole if that is not unique. */
static const char *stat_name(const struct bus_method *m)
{
	const char *last = strrchr(m->name, '/') + 1;

	return bus_method_find(last) == m ? last : m->name;
}

static uint64_t slot_quantile(const struct method_slot *slot, unsigned int percent)
{
	uint64_t us = slot->latency ? histogram_quantile(slot->latency, percent) : 0;

	return MIN(us, slot->us_max); /* of a bucket it is the upper end */
}

static void slot_stats(const struct method_slot *slot, const struct bus_method *m, bus_stat_fn fn,
		       void *userdata)
{
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
		{ "calls", slot->n_calls },
		{ "errors", slot->n_errors },
		{ "in_flight", slot->n_in_flight },
		{ "p50_us", slot_quantile(slot, 50) },
		{ "p99_us", slot_quantile(slot, 99) },
		{ "max_us", slot->us_max },
	};
	char name[160];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		snprintf(name, sizeof(name), "rpc.%s.%s", stat_name(m), rows[i].name);
		fn(name, rows[i].value, userdata);
	}
}

void bus_server_stats(const struct bus_server *s, bus_stat_fn fn, void *userdata)
{
	struct bus_socket_stats sockets;
	uint64_t n_calls = 0, n_errors = 0;

	bus_binding_stats(&s->binding, &sockets);
	for (size_t i = 0; i < bus_n_methods; i++) {
		n_calls += s->slots[i].n_calls;
		n_errors += s->slots[i].n_errors;
	}
	fn("rpc.received", s->n_received, userdata);
	fn("rpc.calls", n_calls, userdata);
	fn("rpc.errors", n_errors, userdata);
	fn("rpc.in_flight", s->n_calls, userdata);
	fn("rpc.undecodable", s->n_undecodable, userdata);
	fn("rpc.refused", s->n_refused, userdata);
	fn("rpc.denied", s->n_denied, userdata);
	fn("rpc.shed", s->n_shed, userdata);
	fn("rpc.from_reserve", s->n_reserve, userdata);
	fn("rpc.repeats", s->n_repeats, userdata);
	fn("rpc.expired", s->n_expired, userdata);
	fn("rpc.abandoned", s->n_abandoned, userdata);
	fn("rpc.unsent", s->n_unsent, userdata);
	fn("rpc.bytes_in", sockets.bytes_in, userdata);
	fn("rpc.bytes_out", sockets.bytes_out, userdata);
	fn("rpc.peers", sockets.peers, userdata);
	fn("rpc.relistens", sockets.relistens, userdata);
	for (size_t i = 0; i < bus_n_methods; i++) {
		if (s->slots[i].n_calls > 0) {
			slot_stats(&s->slots[i], &bus_methods[i], fn, userdata);
		}
	}
}
