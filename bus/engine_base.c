/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The life of a socket whose user may close it in a callback.
 *
 * Invariant: the memory goes when it is closed and depth becomes 0; closing
 * itself counts as one.
 */
#include "bus/engine_base.h"

#include "libcommon/uuid.h"

void engine_base_init(struct engine_base *b, struct bus_socket *socket,
		      const struct bus_socket_handler *handler, void *userdata)
{
	*b = (struct engine_base){ .socket = socket, .handler = *handler, .userdata = userdata };
	random_bytes(&b->next_request, sizeof(b->next_request));
}

void engine_base_enter(struct engine_base *b)
{
	b->depth++;
}

void engine_base_leave(struct engine_base *b)
{
	b->depth--;
	if (b->is_closed && b->depth == 0) {
		free(b->socket);
	}
}

bool engine_base_close(struct engine_base *b)
{
	if (b->is_closed) {
		return false;
	}
	b->is_closed = true;
	engine_base_enter(b);
	return true;
}

void engine_base_tell_link(struct engine_base *b, const struct bus_peer *info, bool is_up)
{
	struct bus_peer copy = *info;

	if (b->handler.on_link && !b->is_closed) {
		b->handler.on_link(b->socket, &copy, is_up, b->userdata);
	}
}

void engine_base_tell_message(struct engine_base *b, const struct bus_peer *info,
			      const struct bus_route *route, const void *data, size_t len)
{
	if (b->is_closed || !b->handler.on_message) {
		return;
	}
	b->stats.messages_in++;
	b->stats.bytes_in += len;
	b->handler.on_message(b->socket, info, route, data, len, b->userdata);
}

bool engine_base_admits(const struct engine_base *b, struct bus_peer *peer)
{
	return !b->handler.admit || b->handler.admit(peer, b->userdata);
}

void engine_base_next_request(struct engine_base *b, struct bus_route *route)
{
	uint32_t id = ++b->next_request | 0x80000000U;
	const uint8_t bytes[] = { (uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8),
				  (uint8_t)id };

	memcpy(route->bytes, bytes, sizeof(bytes));
	route->len = sizeof(bytes);
}
