/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * One operation for the core at the other end of a socket: wait for it, do it,
 * tell the outcome.
 */
#include "services/ops/worker/vmlock.h"

/* fd: the link, consumed. Returns the exit status: 0 when the outcome was told, or when the core
 * went before it asked for anything; 1 when something is wrong with this process. */
int worker_run(int fd, const struct worker_paths *paths);
