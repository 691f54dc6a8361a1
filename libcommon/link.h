/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Private protobuf link between two processes of one service over a
 * SOCK_STREAM unix socket: u32 little-endian length, one message, and with a
 * message possibly one file descriptor (SCM_RIGHTS on its first byte).
 * Non-blocking on the loop; the output queue is bounded.
 */
#include <protobuf-c/protobuf-c.h>
#include <systemd/sd-event.h>

#include "libcommon/base.h"

#define LINK_MESSAGE_MAX (16U << 20) /* a sample of 5,000 domains is about 3 MiB */
#define LINK_QUEUE_MAX	 (64U << 20) /* beyond: the peer hangs, the link is closed */

struct link;

/* A message came. It lives until the callback returns. fd >= 0 belongs to the callee.
 * Return <0 to close the link. */
typedef int (*link_message_fn)(struct link *l, const ProtobufCMessage *message, int fd,
			       void *userdata);
/* The link is closed (error 0 = by the peer); free it here or later, never inside message_fn. */
typedef void (*link_closed_fn)(struct link *l, int error, void *userdata);

/* fd is consumed also on failure. `type`: of incoming messages. */
int link_new(struct link **out, sd_event *loop, int fd, const ProtobufCMessageDescriptor *type,
	     link_message_fn on_message, link_closed_fn on_closed, void *userdata);
struct link *link_free(struct link *l);
/* Queue a message; fd (or -1) is consumed also on failure. 0, -EMSGSIZE, -ENOBUFS, -EPIPE. */
int link_send(struct link *l, const ProtobufCMessage *message, int fd);
/* Peer's credentials (SO_PEERCRED). */
int link_peer(const struct link *l, uid_t *uid, gid_t *gid, pid_t *pid);

/* Listen on a unix socket path (mode 0660, stale socket replaced): the fd or <0. */
int link_listen(const char *path);
/* Connect; the fd or <0 (does not block: unix sockets connect at once or fail). */
int link_connect(const char *path);
