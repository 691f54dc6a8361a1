/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A service listens in all places or not at all.
 */
#include "bus/bind.h"

#include "libcommon/err.h"

int bus_binding_open(struct bus_binding *b, sd_event *loop, enum bus_kind kind,
		     const struct topology_endpoint *where,
		     const struct bus_socket_options *options,
		     const struct bus_socket_handler *handler, void *userdata)
{
	const struct bus_engine *engine = where->engine;
	struct bus_socket_options with_tls = *options;
	int r = where->n_urls > 0 ? 0 : -EDESTADDRREQ;

	*b = (struct bus_binding){ .engine = engine };
	with_tls.tls = where->tls;
	if (r == 0) {
		r = engine->open(&b->socket, loop, kind, &with_tls, handler, userdata);
	}
	for (size_t i = 0; i < where->n_urls && r == 0; i++) {
		r = engine->listen(b->socket, where->urls[i]);
	}
	if (r < 0) {
		bus_binding_close(b);
		return err_trace(r);
	}
	return 0;
}

void bus_binding_close(struct bus_binding *b)
{
	if (b->socket) {
		b->engine->close(b->socket);
	}
	*b = (struct bus_binding){ 0 };
}

void bus_binding_stats(const struct bus_binding *b, struct bus_socket_stats *out)
{
	b->engine->stats(b->socket, out);
}
