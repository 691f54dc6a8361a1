/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * TCP sockets of the SP engine: one that listens, and those that connect.
 */
#include <systemd/sd-event.h>

#include "bus/sp_accept.h"
#include "bus/sp_resolve.h"
#include "libcommon/list.h"

struct sp_tcp_listener {
	struct list link; /* of the owner */
	sd_event *loop;
	char *url;
	struct sp_address where;
	int fd;
	struct sp_accept accept;
	/* Takes fd. The listener must not be freed in it. */
	void (*on_accept)(struct sp_tcp_listener *l, int fd, void *userdata);
	void *userdata;
};

/* Listens; waits for a name server when the host is a name. 0; -EADDRINUSE; -EADDRNOTAVAIL: no
 * such address here; -errno. Failures are logged. */
int sp_tcp_listener_new(struct sp_tcp_listener **out, sd_event *loop, const char *url,
			const struct sp_address *where,
			void (*on_accept)(struct sp_tcp_listener *l, int fd, void *userdata),
			void *userdata);
/* NULL is allowed. Returns NULL. */
struct sp_tcp_listener *sp_tcp_listener_free(struct sp_tcp_listener *l);

/* A socket on its way to `to`: the fd, or -errno. */
int sp_tcp_connect(const struct sockaddr_storage *to);
/* The address of the other end, for people: "10.0.0.2". Always terminated. */
void sp_tcp_peer_name(int fd, char *out, size_t size);
