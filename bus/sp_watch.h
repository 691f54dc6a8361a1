/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Watch over an ipc:// listener: every 0.7 s a peer of our own connects, and
 * must become a connection of the listener's.  Finds a socket file that was
 * removed, and an nng that stopped accepting though it still shakes hands, as
 * 1.5.2 does in more than one way.
 */
#include "bus/sp_probe.h"

struct sp_watch {
	sd_event *loop;
	char *path;
	enum sp_protocol protocol; /* of the peers */
	/* Report with sp_watch_accepted() what waits in a queue. False: `w` is gone. */
	bool (*catch_up)(struct sp_watch *w, void *userdata);
	/* It does not accept: listen anew. Then call sp_watch_restart(). */
	void (*deaf)(struct sp_watch *w, const char *why, void *userdata);
	void *userdata;

	dev_t dev; /* of our socket file */
	ino_t ino;
	uint64_t n_accepted;
	struct sp_probe probe;
	uint64_t start_ns, shaken_ns; /* of the probe; 0 = not yet */
	uint64_t n_accepted_before;
	sd_event_source *timer;
	bool has_complained;
};

/* Begin to watch the socket file that is at w->path now. 0 or -errno. */
int sp_watch_restart(struct sp_watch *w);
/* The listener has accepted a peer, ours or any. */
void sp_watch_accepted(struct sp_watch *w);
/* True when the file at the path is another one than at the last restart. */
bool sp_watch_is_foreign(const struct sp_watch *w);
/* Idempotent. Neither callback comes after it. */
void sp_watch_stop(struct sp_watch *w);
