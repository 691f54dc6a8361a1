/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Private protobuf link between two processes of one service over a
 * SOCK_STREAM unix socket: u32 little-endian length, one message, and with a
 * message possibly one file descriptor (SCM_RIGHTS on its first byte, and no
 * other message in that sendmsg()).  Non-blocking on the loop; the output queue
 * is bounded, and so is what a message may unfold to.
 *
 * Callbacks come from the loop only, never from inside a call of this API.
 */
#include <protobuf-c/protobuf-c.h>
#include <systemd/sd-event.h>

#include "libcommon/base.h"

#define LINK_MESSAGE_MAX (16U << 20) /* a sample of 5,000 domains is about 3 MiB */
#define LINK_QUEUE_MAX	 (64U << 20) /* beyond: the peer hangs, the link is closed */

/* What a message of len bytes may take in memory, where protobuf-c's structs are larger than the
 * bytes on the wire: HostSample takes 5 to 17 times its length with busy domains, 29 times with
 * vCPUs that never ran. */
static inline size_t link_memory_max(size_t len)
{
	return MIN((64U << 10) + 64 * len, 256U << 20);
}

struct link;

/* A message came. It lives until the callback returns. fd >= 0 belongs to the callee, also when the
 * message should have none. Return <0 to close the link with that error. */
typedef int (*link_message_fn)(struct link *l, const ProtobufCMessage *message, int fd,
			       void *userdata);
/* The link is closed. error: 0 = by the peer after a whole message; -EPROTO = in the middle of one,
 * or more descriptors than allowed; -EMSGSIZE, -EBADMSG = the peer's message is too long or none;
 * -ENOBUFS = the peer does not read; message_fn's; or the system's. Called once; everything the
 * peer had sent before was delivered. link_free() is allowed in both callbacks, and no callback
 * comes after it. */
typedef void (*link_closed_fn)(struct link *l, int error, void *userdata);

/* fd is a connected unix socket, consumed also on failure. `type`: of incoming messages. */
int link_new(struct link **out, sd_event *loop, int fd, const ProtobufCMessageDescriptor *type,
	     link_message_fn on_message, link_closed_fn on_closed, void *userdata);
/* What is still queued is lost, see link_flush(). NULL is fine; returns NULL. */
struct link *link_free(struct link *l);
/* Queue a message; fd (or -1) is consumed also on failure. 0; -EMSGSIZE; -EPIPE: the peer takes no
 * more; -ENOBUFS: queue full, the link gets closed; -EINVAL: NULL in a repeated field; -ENOMEM. */
int link_send(struct link *l, const ProtobufCMessage *message, int fd);
/* For a process about to exit: wait until all is written. 0, -EPIPE, -ETIMEDOUT. */
int link_flush(struct link *l, uint64_t timeout_ms);
/* Peer's credentials (SO_PEERCRED). */
int link_peer(const struct link *l, uid_t *uid, gid_t *gid, pid_t *pid);

/* Listen on a unix socket path (mode 0660, stale socket replaced): the fd or <0. -EADDRINUSE:
 * somebody listens there; -EEXIST: it is no socket. accept4() it with SOCK_CLOEXEC. */
int link_listen(const char *path);
/* Connect; the fd or <0 (does not block: unix sockets connect at once or fail; -EAGAIN: the
 * listener's backlog is full). */
int link_connect(const char *path);
