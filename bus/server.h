/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * RPC server.  Checks envelope, role, size and deadline, decodes through a
 * capped arena, drops repeats of a request id, and hands each call to the
 * handler of its method.  A handler answers at once or keeps the call and
 * answers later; calls are independent, so slow ones delay nobody.
 */
#include <systemd/sd-event.h>

#include "bus/codes.h"
#include "bus/engine.h"
#include "bus/methods.h"
#include "bus/pub.h"
#include "bus/topology.h"
#include "libcommon/arena.h"
#include "xenmesh/v1/bus.pb-c.h"

struct bus_server;
struct bus_call;

/* request is of the method's input type and lives until the call is answered.
 * Must answer (bus_call_reply/bus_call_fail) or keep `call` for later; a call that is kept is
 * the handler's until it answers or on_cancel is called. */
typedef void (*bus_handler_fn)(struct bus_call *call, const ProtobufCMessage *request,
			       void *userdata);

struct bus_handler {
	const char *method; /* "xenmesh.v1.Ops/StartVm" */
	bus_handler_fn fn;
};

/* Answers of mutating calls, kept so that a repeat is not executed again.  The
 * default keeps them in memory; a service whose work outlives it stores them
 * with its journal.  All for the same caller only (uid). */
struct bus_dedup {
	/* Fills *reply (malloc'ed serialized Reply): 0; 1 = unknown id; 2 = known, but of another
	 * method, payload or caller. */
	int (*find)(void *userdata, const uint8_t id[16], const uint8_t fingerprint[16],
		    uint8_t **reply, size_t *len);
	/* Called before the reply is sent: must be durable when it returns 0. 1 = there is no room
	 * for more, and what the call has done was taken back: the caller gets
	 * RESOURCE_EXHAUSTED. When it fails the caller gets INTERNAL. */
	int (*save)(void *userdata, const uint8_t id[16], const uint8_t fingerprint[16],
		    const uint8_t *reply, size_t len);
	void *userdata;
};

struct bus_server_config {
	const struct topology_service *service;
	struct topology *topology; /* for roles */
	const struct bus_handler *handlers;
	size_t n_handlers;
	const struct bus_dedup *dedup; /* NULL = in memory */
	void *userdata;		       /* of the handlers */
};

/* Binds the service's rpc endpoints. config's pointers must outlive the server. */
int bus_server_new(struct bus_server **out, sd_event *loop, const struct bus_server_config *config);
/* Kept calls are cancelled. */
struct bus_server *bus_server_free(struct bus_server *s);

/* Each ends the call; it must not be used afterwards. */
void bus_call_reply(struct bus_call *call, const ProtobufCMessage *reply);
/* The same with the payload already serialized. */
void bus_call_reply_raw(struct bus_call *call, const void *payload, size_t len);
void bus_call_fail(struct bus_call *call, enum bus_code code, const char *format, ...)
	_printf_(3, 4);

/* For a call that is kept: told once when its deadline passed or its caller went; the call is
 * gone when the callback returns. A call that changes something is not given up like this, as its
 * work may go on and whoever repeats it wants to know how it ended: its caller is told that the
 * time is over, and the handler still has to answer. It is told only when the server ends. */
void bus_call_on_cancel(struct bus_call *call, void (*fn)(struct bus_call *call, void *userdata),
			void *userdata);
/* Memory that lives as long as the call. */
struct arena *bus_call_arena(struct bus_call *call);
const uint8_t *bus_call_request_id(const struct bus_call *call); /* 16 bytes */
const struct bus_peer *bus_call_peer(const struct bus_call *call);
/* "xenmesh-cli/0.1 uid=0", for records; printable. */
const char *bus_call_client(const struct bus_call *call);
/* Valid, or "" when there is none; a mutating call has one. */
const char *bus_call_traceparent(const struct bus_call *call);
/* What the call is about, for the audit, where no field of the request says it. */
void bus_call_name_object(struct bus_call *call, const char *name);
uint64_t bus_call_deadline_ns(const struct bus_call *call); /* CLOCK_BOOTTIME */

void bus_server_stats(const struct bus_server *s, bus_stat_fn fn, void *userdata);
