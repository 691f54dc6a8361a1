/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A peer of our own for an ipc:// listener: connects, shakes hands as the SP
 * protocols ask, and goes.  It always sends its 8 bytes and never leaves before
 * it has read the listener's, because a peer that does is what makes nng
 * 1.5.2 stop accepting.
 */
#include <systemd/sd-event.h>

#include "libcommon/base.h"

/* Numbers of the SP protocols, as in the handshake. */
enum sp_protocol { SP_PUB = 0x20, SP_SUB = 0x21, SP_REQ = 0x30, SP_REP = 0x31 };

#define SP_HANDSHAKE_LEN 8

void sp_handshake(uint8_t out[static SP_HANDSHAKE_LEN], enum sp_protocol protocol);

struct sp_probe {
	int fd; /* -1 = none */
	size_t n_read;
	sd_event_source *source;
	void (*fn)(struct sp_probe *p, void *userdata);
	void *userdata;
};

#define SP_PROBE_NULL ((struct sp_probe){ .fd = -1 })

/* Connect to the socket at path; fn is called once the listener has shaken hands or hung up.
 * 0 or -errno (-ECONNREFUSED, -ENOENT, -EAGAIN when its backlog is full). Does not block. */
int sp_probe_start(struct sp_probe *p, sd_event *loop, const char *path, enum sp_protocol protocol,
		   void (*fn)(struct sp_probe *p, void *userdata), void *userdata);
static inline bool sp_probe_is_done(const struct sp_probe *p)
{
	return p->n_read == SP_HANDSHAKE_LEN;
}
/* Idempotent. */
void sp_probe_stop(struct sp_probe *p);

/* Make path free for a listener: its directory is made (mode 0755) if only that is missing, a
 * stale socket file is removed. Waits up to 500 ms for the handshake of one that lives, to leave
 * politely. 0; -EADDRINUSE: somebody listens there; -errno. Failures are logged. */
int sp_path_prepare(const char *path, enum sp_protocol protocol);
