/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The sockets behind one endpoint of a service: its URLs may need different
 * engines, and each engine gets one socket.
 */
#include "bus/engine.h"
#include "bus/topology.h"

struct bus_bound {
	const struct bus_engine *engine;
	struct bus_socket *socket;
};

struct bus_binding {
	struct bus_bound bound[TOPOLOGY_URLS_MAX];
	size_t n;
};

/* Listens on every URL. 0; -EADDRINUSE; -EDESTADDRREQ when there is none; -errno. All or nothing;
 * failures are logged. */
int bus_binding_open(struct bus_binding *b, sd_event *loop, enum bus_kind kind,
		     const struct topology_endpoint *where,
		     const struct bus_socket_options *options,
		     const struct bus_socket_handler *handler, void *userdata);
/* Idempotent. */
void bus_binding_close(struct bus_binding *b);
/* Sum over the sockets. */
void bus_binding_stats(const struct bus_binding *b, struct bus_socket_stats *out);
/* The engine of one of the sockets. */
const struct bus_engine *bus_binding_engine(const struct bus_binding *b,
					    const struct bus_socket *s);
