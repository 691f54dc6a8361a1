/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One socket an engine, however many URLs it listens on.
 */
#include "bus/bind.h"

#include "libcommon/err.h"
#include "libcommon/log.h"

static struct bus_bound *find(struct bus_binding *b, const struct bus_engine *engine)
{
	for (size_t i = 0; i < b->n; i++) {
		if (b->bound[i].engine == engine) {
			return &b->bound[i];
		}
	}
	return NULL;
}

int bus_binding_open(struct bus_binding *b, sd_event *loop, enum bus_kind kind,
		     const struct topology_endpoint *where,
		     const struct bus_socket_options *options,
		     const struct bus_socket_handler *handler, void *userdata)
{
	int r = where->n_urls > 0 ? 0 : -EDESTADDRREQ;

	*b = (struct bus_binding){ 0 };
	for (size_t i = 0; i < where->n_urls && r == 0; i++) {
		const struct bus_engine *engine = bus_engine_for(where->urls[i]);
		struct bus_bound *bound = find(b, engine);

		if (!engine) {
			r = -EPROTONOSUPPORT;
			log_error("%s: unknown kind of address; use ipc:// or tcp://",
				  where->urls[i]);
			break;
		}
		if (!bound) {
			bound = &b->bound[b->n];
			bound->engine = engine;
			r = engine->open(&bound->socket, loop, kind, options, handler, userdata);
			if (r < 0) {
				break;
			}
			b->n++;
		}
		r = engine->listen(bound->socket, where->urls[i]);
	}
	if (r < 0) {
		bus_binding_close(b);
		return err_trace(r);
	}
	return 0;
}

void bus_binding_close(struct bus_binding *b)
{
	for (size_t i = 0; i < b->n; i++) {
		b->bound[i].engine->close(b->bound[i].socket);
	}
	*b = (struct bus_binding){ 0 };
}

void bus_binding_stats(const struct bus_binding *b, struct bus_socket_stats *out)
{
	*out = (struct bus_socket_stats){ 0 };
	for (size_t i = 0; i < b->n; i++) {
		struct bus_socket_stats s;

		b->bound[i].engine->stats(b->bound[i].socket, &s);
		out->messages_in += s.messages_in;
		out->messages_out += s.messages_out;
		out->bytes_in += s.bytes_in;
		out->bytes_out += s.bytes_out;
		out->relistens += s.relistens;
		out->drops += s.drops;
		out->peers += s.peers;
	}
}

const struct bus_engine *bus_binding_engine(const struct bus_binding *b, const struct bus_socket *s)
{
	for (size_t i = 0; i < b->n; i++) {
		if (b->bound[i].socket == s) {
			return b->bound[i].engine;
		}
	}
	return NULL;
}
