/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * libxl's asynchronous operations on our loop.  While one runs, our own events
 * (the link) are served, so that it can be cancelled.
 */
#include <systemd/sd-event.h>

#include "libcommon/base.h"
#include "services/ops/worker/libxl_api.h"

struct xl {
	sd_event *loop; /* borrowed */
	libxl_ctx *ctx;
	const libxl_asyncop_how *running; /* what may be aborted */
	bool is_cancelled;
	struct pollfd *fds;
	size_t fds_size;
};

/* Start an operation of libxl: call its function with `how`. */
typedef int (*xl_start_fn)(libxl_ctx *ctx, const libxl_asyncop_how *how, void *args);

/* 0 or libxl's error. */
int xl_open(struct xl *xl, sd_event *loop, xentoollog_logger *logger);
/* Idempotent. */
void xl_close(struct xl *xl);
/* Run an operation to its end. 0 or libxl's error; ERROR_ABORTED when xl_cancel() came first or cut
 * it off. One that is not cancellable does not even notice. */
int xl_run(struct xl *xl, bool is_cancellable, xl_start_fn start, void *args);
/* From any callback of the loop; asks libxl to end what runs. */
void xl_cancel(struct xl *xl);
/* Serve our events and libxl's for so long. */
void xl_wait(struct xl *xl, uint64_t duration_ms);
/* One round of it, sleeping at most timeout_ms (-1 = until something happens).
 * Does not return when the process cannot wait for events any more. */
void xl_iterate(struct xl *xl, int timeout_ms);
