/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Topic trace/rpc/<service>: an event for each call of a service that ends,
 * while an admin has it switched on (Bus/SetTrace).  Off it costs the test of
 * one pointer.  It goes off by itself, so that it cannot be forgotten.
 */
#include "bus/server_internal.h"

#define RPC_TRACE_MAX_S 3600

struct rpc_trace;

/* For the server's calls, with its method SetTrace. Both must outlive it. 0; -EINVAL: the
 * name makes no topic; -ENOMEM. */
int rpc_trace_new(struct rpc_trace **out, sd_event *loop, struct bus_server *server,
		  struct bus_pub *pub, const char *service);
struct rpc_trace *rpc_trace_free(struct rpc_trace *t);

/* The call ends so. reply_len: bytes of the Reply, 0 = there is none. */
void rpc_trace_tell(struct rpc_trace *t, const struct bus_call *call, int code, size_t reply_len,
		    bool is_repeat);
