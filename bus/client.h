/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Calls to one service.  Asynchronous on the loop; any number outstanding.
 *
 * Every call has a request id.  While the deadline lasts, a call whose
 * connection was lost is repeated over the next one with the same id; the
 * server executes it once.  So CODE_UNAVAILABLE means: not answered in time
 * and possibly never seen; asking again with the same id is safe.
 */
#include <systemd/sd-event.h>

#include "bus/codes.h"
#include "bus/topology.h"
#include "libcommon/traceparent.h"
#include "libcommon/uuid.h"
#include "xenmesh/v1/bus.pb-c.h"

struct bus_client;

struct bus_call_options {
	uint32_t timeout_ms;	       /* 0 = BUS_TIMEOUT_DEFAULT_MS */
	const struct uuid *request_id; /* NULL = a new random one */
	/* W3C trace context that is sent as it is. NULL: a child of $TRACEPARENT if the process
	 * has one, else a new trace. What is done on behalf of a call gets traceparent_child() of
	 * bus_call_traceparent(). */
	const char *traceparent;
	bool no_retry; /* fail with UNAVAILABLE at once when not connected in 1 s or cut */
};

struct bus_result {
	int code;	     /* enum bus_code */
	const char *message; /* never NULL; for people */
	/* Decoded payload when code is OK, else NULL. Lives until the callback returns. */
	const ProtobufCMessage *payload;
	const Xenmesh__V1__Reply *reply; /* NULL when the failure was local */
	/* False: not a byte of it left this process, so it was certainly not executed. True says
	 * only that a connection took it. */
	bool was_sent;
	struct uuid request_id;
	char traceparent[TRACEPARENT_SIZE]; /* that was sent */
};

typedef void (*bus_result_fn)(struct bus_client *c, const struct bus_result *result,
			      void *userdata);

/* client_name goes into records of the server: "xenmesh-cli/0.1". -ENOENT: no such service. */
int bus_client_new(struct bus_client **out, sd_event *loop, const struct topology *topology,
		   const char *service, const char *client_name);
/* Outstanding calls end without their callbacks. */
struct bus_client *bus_client_free(struct bus_client *c);
static inline void bus_client_freep(struct bus_client **c)
{
	*c = bus_client_free(*c);
}

/* method: full name of the proto ("xenmesh.v1.Ops/StartVm"). request: its input message.
 * *id (may be NULL) is for bus_client_cancel(). fn is called exactly once, from the loop.
 * 0; -EINVAL unknown method, or a traceparent that is none; -EMSGSIZE; -ENOMEM. */
int bus_client_call(struct bus_client *c, const char *method, const ProtobufCMessage *request,
		    const struct bus_call_options *options, bus_result_fn fn, void *userdata,
		    uint64_t *id);
/* fn will not be called. */
void bus_client_cancel(struct bus_client *c, uint64_t id);
bool bus_client_is_connected(const struct bus_client *c);
