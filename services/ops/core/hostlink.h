/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The link to the host process: connects for ever (50 ms .. 1 s between tries),
 * says hello, notices a silent peer, and asks for workers.  It gives root's
 * powers over the host to whoever listens there, so the peer's uid is checked.
 */
#include <systemd/sd-event.h>

#include "libcommon/base.h"
#include "services/ops/core/names.h"

struct hostlink;

struct hostlink_handler {
	/* Everything but hello and workers. Lives until the callback returns; the callee may
	 * change it. -errno closes the link, which then connects anew and gets a new table. */
	int (*on_message)(Xenmesh__Host__FromHost *message, void *userdata);
	/* The peer has said hello, or is gone. */
	void (*on_link)(bool is_up, void *userdata);
};

struct hostlink_config {
	const char *path; /* of the socket */
	uid_t uid;	  /* that may listen there, beside root and our own */
	const struct hostlink_handler *handler;
	void *userdata;
};

/* Whether a process of that user may be the host process. */
bool hostlink_trusts(const struct hostlink_config *config, uid_t uid);
int hostlink_new(struct hostlink **out, sd_event *loop, const struct hostlink_config *config);
/* Spawns that are under way end without their callbacks. */
struct hostlink *hostlink_free(struct hostlink *h);
bool hostlink_is_up(const struct hostlink *h);
/* Ask for state and table; several within 200 ms become one. */
void hostlink_resync(struct hostlink *h, const char *reason);

struct hostlink_spawn;
/* fd >= 0 is the worker's socket and the callee's; else error says why there is none. */
typedef void (*hostlink_spawn_fn)(int fd, const char *error, void *userdata);
/* fn is called once, from the loop; *out is valid until then. -ENOTCONN, -ENOMEM. */
int hostlink_spawn(struct hostlink *h, const char *traceparent, hostlink_spawn_fn fn,
		   void *userdata, struct hostlink_spawn **out);
/* fn will not be called; a worker that comes after all is sent away. Accepts NULL. */
struct hostlink_spawn *hostlink_spawn_cancel(struct hostlink_spawn *s);

typedef void (*hostlink_stat_fn)(const char *name, uint64_t value, void *userdata);
void hostlink_stats(const struct hostlink *h, hostlink_stat_fn fn, void *userdata);
