/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Starts worker processes and reaps them.  A worker is a session of its own
 * and does not die with us: an operation that libxl has begun is better ended
 * than cut off, and what it started (qemu) must stay.
 */
#include <systemd/sd-event.h>

#include "libcommon/base.h"

#define HOST_WORKERS_MAX 256 /* at one time; a core's 64 + 64, and those of the core before */

struct host_workers;

/* A worker has ended: something may be different on the host. */
typedef void (*host_workers_ended_fn)(void *userdata);

/* path: of xenmesh-ops-worker, copied. Blocks SIGCHLD, as sd_event_add_child() wants it. */
int host_workers_new(struct host_workers **out, sd_event *loop, const char *path,
		     host_workers_ended_fn on_ended, void *userdata);
/* The workers live on. */
struct host_workers *host_workers_free(struct host_workers *w);
/* Start one. *out: our end of the socket that is its fd 3, for the caller. -EBUSY: as many as may
 * be are running; else why the program could not be started. Takes about a millisecond. */
int host_workers_spawn(struct host_workers *w, int *out);
size_t host_workers_count(const struct host_workers *w);
