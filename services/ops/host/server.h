/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The socket where cores connect.  Who may connect is said by the mode of the
 * socket alone (0660 and its group).
 *
 * Several cores are served alike, none supersedes another: a core that is
 * restarted has its old link closed by the kernel, and one that hangs loses
 * its link when its queue is full.  Each gets everything after its hello.
 */
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "libcommon/base.h"
#include "xenmesh/host/host.pb-c.h"

#define HOST_PEERS_MAX	    8
#define HOST_HELLO_LIMIT_MS 5000 /* from connecting to the hello */

struct host_server;
struct link;

/* What the owner does for a peer. All messages are sent with host_server_reply(). */
struct host_server_events {
	bool simulated; /* said in the hello: this is no Xen */
	/* Send state and table, in this order. */
	void (*send_all)(struct link *peer, void *userdata);
	/* Start a worker: *fd is its socket. On <0 *error says why, in one sentence, malloc'ed. */
	int (*spawn)(int *fd, char **error, void *userdata);
};

/* The socket's directory is made if only that is missing.
 * group: of the socket, (gid_t)-1 = as it is. events is kept by pointer. */
int host_server_new(struct host_server **out, sd_event *loop, const char *path, gid_t group,
		    const struct host_server_events *events, void *userdata);
/* Removes the socket. */
struct host_server *host_server_free(struct host_server *s);
/* Peers that have said hello. */
size_t host_server_count(const struct host_server *s);
/* To all of these. A peer that does not take it loses its link. */
void host_server_broadcast(struct host_server *s, Xenmesh__Host__FromHost *message);
/* To one; fd (or -1) is consumed. */
void host_server_reply(struct link *peer, Xenmesh__Host__FromHost *message, int fd);
