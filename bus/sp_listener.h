/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A listening unix socket that cannot be made deaf: it stops accepting only
 * for the moments without a free descriptor, and makes its file anew when that
 * was removed.
 *
 * A socket passed by systemd (bus/sp_inherit.h) is used as it is, and its file
 * stays when the listener ends: who connects then waits for the next start.
 */
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "bus/sp_accept.h"
#include "bus/sp_frame.h"
#include "libcommon/list.h"
#include "libcommon/loop.h"

struct sp_listener {
	struct list link; /* of the owner */
	sd_event *loop;
	char *path;
	enum sp_protocol peer_protocol;
	/* Takes fd. The listener must not be freed in it. */
	void (*on_accept)(struct sp_listener *l, int fd, void *userdata);
	void *userdata;

	int fd;
	dev_t dev; /* of the socket file */
	ino_t ino;
	struct sp_accept accept;
	struct loop_ticker *ticker;
	uint64_t n_relistens;
	bool has_complained;
	bool is_inherited; /* the file is systemd's */
};

/* Listen on path; the file gets mode 0666, unless the socket was passed. 0; -EADDRINUSE: another
 * process listens there; -ENAMETOOLONG; -errno. Failures are logged. */
int sp_listener_new(struct sp_listener **out, sd_event *loop, const char *path,
		    enum sp_protocol peer_protocol,
		    void (*on_accept)(struct sp_listener *l, int fd, void *userdata),
		    void *userdata);
/* Removes the socket file if it is ours still and the socket was not passed. NULL is allowed.
 * Returns NULL. */
struct sp_listener *sp_listener_free(struct sp_listener *l);
