/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The path of a listener, before it is one.
 */
#include "bus/sp_frame.h"

/* Make path free for a listener: its directory is made (mode 0755) if only that is missing, a
 * stale socket file is removed. Waits up to 500 ms for the handshake of one that lives, to leave
 * politely. 0; -EADDRINUSE: somebody listens there; -errno. Failures are logged. */
int sp_path_prepare(const char *path, enum sp_protocol protocol);
/* Whether connecting to path reaches a listening socket. Only for one of the own process: a bare
 * connection is made and closed. */
bool sp_path_is_reachable(const char *path);
