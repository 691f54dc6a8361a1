/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The socket behind one endpoint of a service, with all its URLs.
 */
#include "bus/engine.h"
#include "bus/topology.h"

struct bus_binding {
	const struct bus_engine *engine;
	struct bus_socket *socket;
};

/* Listens on every URL. 0; -EADDRINUSE; -EDESTADDRREQ when there is none; -errno. All or nothing;
 * failures are logged. */
int bus_binding_open(struct bus_binding *b, sd_event *loop, enum bus_kind kind,
		     const struct topology_endpoint *where,
		     const struct bus_socket_options *options,
		     const struct bus_socket_handler *handler, void *userdata);
/* Idempotent. */
void bus_binding_close(struct bus_binding *b);
void bus_binding_stats(const struct bus_binding *b, struct bus_socket_stats *out);
