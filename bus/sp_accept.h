/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Accepts what comes to a listening socket, and stops only for the moments in
 * which there is no free descriptor.
 */
#include <systemd/sd-event.h>

#include "libcommon/base.h"

struct sp_accept {
	/* Set by the owner, whose they stay. */
	sd_event *loop;
	const char *where; /* for the log */
	/* Takes fd, which does not block. The owner must not be freed in it. */
	void (*fn)(int fd, void *userdata);
	void *userdata;

	sd_event_source *io, *pause;
};

/* fd stays the caller's and lives until sp_accept_stop(). 0 or -errno. */
int sp_accept_start(struct sp_accept *a, int fd);
/* Idempotent; it may be started again. */
void sp_accept_stop(struct sp_accept *a);
