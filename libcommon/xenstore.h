/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * xenstore over libxenstore, for one thread.  Requests are synchronous and
 * short (about 50 us each); watches are dispatched from the caller's loop.
 *
 * libxenstore's fd does not become readable when xenstored dies, so the owner
 * calls xenstore_probe() every few seconds (xenstore_attach() does all of this
 * on an sd-event loop).  After a reconnect all watches are registered again,
 * each fires once as xenstored does on registration, and on_reset is called
 * first: the owner re-reads everything.
 *
 * Results: 0; 1 = XENSTORE_ABSENT where said; negative errno otherwise:
 * -EACCES, -ENOSPC (quota), -ENOTCONN (xenstored away: watches wait for the
 * reconnect, requests fail), -E2BIG (path and value over 4096 bytes), -EINVAL
 * (characters of the path) ...
 *
 * A xenstored that hangs without dying blocks the caller: libxenstore knows no
 * timeout. A watchdog is the remedy.
 */
#include "libcommon/base.h"

#define XENSTORE_ABSENT	   1	/* no such node */
#define XENSTORE_VALUE_MAX 4096 /* of the wire protocol */
#define XENSTORE_PATH_MAX  3072 /* XENSTORE_ABS_PATH_MAX */

struct xenstore;
struct xenstore_watch;

typedef void (*xenstore_watch_fn)(struct xenstore *xs, const char *path, void *userdata);
typedef void (*xenstore_reset_fn)(struct xenstore *xs, void *userdata);

/* Connects ($XENSTORED_PATH, the socket, /dev/xen/xenbus); -ENOTCONN when there is none. */
int xenstore_open(struct xenstore **out);
/* Frees its watches too. Allowed in every callback but a transaction's body. NULL is fine;
 * returns NULL. */
struct xenstore *xenstore_close(struct xenstore *xs);
bool xenstore_is_connected(const struct xenstore *xs);
/* Poll for POLLIN, then dispatch. -1 when not connected. Any call may find the connection dead and
 * close it, and xenstore_probe() makes another: ask again before each poll. */
int xenstore_fd(const struct xenstore *xs);
/* Delivers pending watch events, at most 256 a call. Returns how many, or -ENOTCONN. While it
 * returns > 0 call it again before you poll: the fd need not stay readable until the last one. */
int xenstore_dispatch(struct xenstore *xs);
/* Heartbeat: one read; not in a transaction's body. When the connection is dead tries to reconnect.
 * 0 = connected; 1 = reconnected just now (on_reset was called); -ENOTCONN. */
int xenstore_probe(struct xenstore *xs);
void xenstore_on_reset(struct xenstore *xs, xenstore_reset_fn fn, void *userdata);

/* *out is malloc'ed, NUL-terminated beyond *len (value may contain NULs). 0 or XENSTORE_ABSENT. */
int xenstore_read(struct xenstore *xs, const char *path, char **out, size_t *len);
/* Strict decimal. 0, XENSTORE_ABSENT, -EINVAL, -ERANGE. */
int xenstore_read_u64(struct xenstore *xs, const char *path, uint64_t *out);
/* *out: one malloc'ed block, free(*out); *n names. 0 or XENSTORE_ABSENT. */
int xenstore_list(struct xenstore *xs, const char *path, char ***out, size_t *n);
int xenstore_write(struct xenstore *xs, const char *path, const void *value, size_t len);
int xenstore_write_str(struct xenstore *xs, const char *path, const char *value);
int xenstore_mkdir(struct xenstore *xs, const char *path);
/* Removing what is not there is success. */
int xenstore_remove(struct xenstore *xs, const char *path);
/* xenstore(1) notation: "n0,r5" = owned by 0, readable by 5; at most 16 entries. */
int xenstore_set_perms(struct xenstore *xs, const char *path, const char *perms);

/* Runs body in a transaction, again when it conflicts, at most 32 times with
 * jittered back-off (a guest must not be able to starve us: XSA-206); blocks at
 * most 0.4 s.  Requests made in body belong to it.  Its negative result aborts and is returned,
 * its positive one is returned after the commit. -EAGAIN when never committed. Not to be nested. */
typedef int (*xenstore_body_fn)(struct xenstore *xs, void *userdata);
int xenstore_transaction(struct xenstore *xs, xenstore_body_fn body, void *userdata);

/* fn is called from xenstore_dispatch(), also once soon after registration (while not connected:
 * after the reconnect). path as xenstored tells it: the watched node or one below. fn may call
 * everything here. Events come merged or without cause: read what is there. */
int xenstore_watch(struct xenstore *xs, struct xenstore_watch **out, const char *path,
		   xenstore_watch_fn fn, void *userdata);
/* No call of fn comes after this. */
struct xenstore_watch *xenstore_unwatch(struct xenstore_watch *w);

/* Dispatch, heartbeat each 2 s and reconnect on an sd-event loop (libcommon/xenstore_loop.c) until
 * xenstore_close(). -EALREADY the second time. */
struct sd_event;
int xenstore_attach(struct xenstore *xs, struct sd_event *loop);
