/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The part of a bus_socket that is the same in every engine: the callbacks of
 * its user, what was counted, and the numbers of requests.
 *
 * The user may close the socket in each callback.  So the engine enters before
 * it calls back and leaves afterwards: the memory of a socket that was closed
 * goes with the last leave, and only until then is_closed may be looked at.
 * Nothing here blocks; all of it belongs to the loop's thread.
 */
#include "bus/engine.h"

struct engine_base {
	struct bus_socket *socket; /* malloc'ed, and this is in it */
	struct bus_socket_handler handler;
	void *userdata;
	struct bus_socket_stats stats; /* in: counted here; the rest by the engine */
	uint32_t next_request;
	unsigned int depth; /* of callbacks under way */
	bool is_closed;
};

void engine_base_init(struct engine_base *b, struct bus_socket *socket,
		      const struct bus_socket_handler *handler, void *userdata);

void engine_base_enter(struct engine_base *b);
/* The socket may be gone then. */
void engine_base_leave(struct engine_base *b);

/* The socket's close(): false = it was closed before. No callback comes any more; when all of the
 * engine's own is freed, engine_base_leave() frees the rest, at once or when the callback that
 * closes has returned. */
bool engine_base_close(struct engine_base *b);

/* Between enter and leave. A socket that was closed tells nothing. */
void engine_base_tell_link(struct engine_base *b, const struct bus_peer *info, bool is_up);
void engine_base_tell_message(struct engine_base *b, const struct bus_peer *info,
			      const struct bus_route *route, const void *data, size_t len);

/* Whether the user lets the peer in; sets its role. */
bool engine_base_admits(const struct engine_base *b, struct bus_peer *peer);

/* REQ: the header of the next request, four bytes with the top bit set. */
void engine_base_next_request(struct engine_base *b, struct bus_route *route);
