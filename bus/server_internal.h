/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Shared by server.c (what is admitted) and call.c (the life of what was), and
 * by service.c, which adds the methods every service answers.
 */
#include "bus/audit.h"
#include "bus/bind.h"
#include "bus/envelope.h"
#include "bus/histogram.h"
#include "bus/quota.h"
#include "bus/server.h"
#include "libcommon/list.h"
#include "libcommon/map.h"

struct method_slot {
	bus_handler_fn fn; /* NULL: not served here */
	void *userdata;
	uint64_t n_calls, n_errors, n_in_flight, us_max;
	struct histogram *latency; /* us; NULL until a call has ended, or when out of memory */
};

struct rpc_trace;

struct bus_server {
	sd_event *loop;
	struct bus_server_config config;
	struct bus_binding binding;
	struct method_slot *slots; /* as bus_methods[] */
	struct map peers;	   /* uint64_t id -> struct call_peer, those with calls */
	struct map running;	   /* request id -> mutating call that is executed */
	struct list calls;
	size_t n_calls;
	struct dedup *own_dedup; /* NULL when the service has one */
	struct bus_dedup dedup;
	struct audit_limit audit;
	struct rpc_trace *trace; /* NULL = off */
	uint64_t n_received, n_undecodable, n_refused, n_denied, n_repeats, n_expired, n_abandoned;
	uint64_t n_unsent, n_shed, n_reserve;
	struct quota_book quota; /* QUOTA_CALLS, QUOTA_RESERVE, QUOTA_BYTES */
};

/* A peer with calls in flight. */
struct call_peer {
	uint64_t id;
	struct list calls;
	size_t n_calls;
};

struct bus_call {
	struct list by_server, by_peer, by_primary;
	struct list waiters;	  /* repeats that wait for the same answer */
	struct bus_call *primary; /* of a waiter */
	struct bus_server *server;
	struct call_peer *peer; /* NULL: gone */
	struct bus_peer info;
	struct quota_user *user; /* NULL: has no place among the calls in flight yet */
	enum quota_kind quota;
	bool is_charged;
	size_t charged_bytes; /* of QUOTA_BYTES: the request, decoded */
	const struct bus_engine *engine;
	struct bus_socket *socket;
	struct bus_route route;
	struct arena arena;
	struct envelope envelope;
	struct method_slot *slot;
	size_t len; /* of the Call */
	const char *client;
	const ProtobufCMessage *request; /* NULL until it was decoded */
	const char *object;		 /* named by its handler; NULL or in the arena */
	const char *object_id, *task;	 /* of the answer, for the audit; NULL or in the arena */
	uint8_t fingerprint[16];
	uint64_t start_ns, deadline_ns;
	sd_event_source *timer;
	void (*on_cancel)(struct bus_call *call, void *userdata);
	void *cancel_userdata;
	bool is_counted;   /* in slot->n_in_flight */
	bool is_busy;	   /* a function of its handler is on the stack: free it later */
	bool is_done;	   /* answered while busy */
	bool is_concluded; /* its end was accounted for */
	bool is_answered;  /* its caller was told that the time is over; the work goes on */
};

/* More handlers, with a userdata of their own. 0; -EINVAL for an unknown method (logged). */
int bus_server_add(struct bus_server *s, const struct bus_handler *handlers, size_t n_handlers,
		   void *userdata);

/* ---- call.c ---- */

/* NULL when out of memory. */
struct bus_call *call_new(struct bus_server *s, struct bus_socket *socket,
			  const struct bus_peer *peer, const struct bus_route *route, size_t len);
void call_free(struct bus_call *c);
/* Calls of the peer in flight. */
size_t call_peer_load(const struct bus_server *s, uint64_t id);
/* Answer a call that was not executed, and free it. */
void call_refuse(struct bus_call *c, int code, const char *why);
/* A mutating call: answer it from what is known, or let it wait for the one that is running.
 * True when that was all. */
bool call_is_repeat(struct bus_call *c);
void call_execute(struct bus_call *c);
/* The peer has gone. */
void call_peer_gone(struct bus_server *s, uint64_t id);
void call_cancel_all(struct bus_server *s);
