/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Listening sockets that were passed to the process (LISTEN_FDS of
 * sd_listen_fds(3)).  systemd keeps them while the service is down, so callers
 * that connect during a restart wait instead of being refused.
 *
 * A socket belongs to the endpoint whose ipc:// path it is bound to; its name
 * (FileDescriptorName=) only makes messages clearer.
 */

/* The passed SOCK_STREAM socket that listens on path: the caller's from now on, non-blocking and
 * close-on-exec. -ENOENT when there is none. */
int sp_inherit_take(const char *path);
/* When all endpoints listen: tells of the descriptors that none of them took, closes them, and
 * removes LISTEN_* from the environment. */
void sp_inherit_finish(void);
