/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * One worker: asked for from the host process, given one request, followed
 * until it has ended.
 */
#include "services/ops/core/hostlink.h"
#include "services/ops/core/names.h"

struct workerlink;

struct workerlink_result {
	int code; /* enum bus_code */
	const char *message;
	int32_t domid; /* of a created domain; -1 = none */
	bool is_told;  /* by the worker; false: it died, or never came, and nobody knows more */
};

struct workerlink_handler {
	/* The worker waits for its request: workerlink_request() now. */
	void (*on_ready)(void *userdata);
	void (*on_progress)(double progress, const char *step, void *userdata);
	/* level: XTL_* of xentoollog.h. */
	void (*on_log)(uint32_t level, const char *text, void *userdata);
	/* Exactly once, last; free it here or later. */
	void (*on_done)(const struct workerlink_result *result, void *userdata);
};

/* traceparent: of the task; the worker works as a child of it. -ENOTCONN: there is no host process.
 */
int workerlink_new(struct workerlink **out, sd_event *loop, struct hostlink *host,
		   const char *traceparent, const struct workerlink_handler *handler,
		   void *userdata);
/* No callback comes any more. A worker that has its request goes on by itself. NULL. */
struct workerlink *workerlink_free(struct workerlink *w);
/* 0: handed over, the outcome comes by on_done. <0: not handed over, free it. */
int workerlink_request(struct workerlink *w, const Xenmesh__Host__ToWorker *request);
/* Ask it to stop; on_done follows when it has. Before on_ready: nobody was asked yet. */
void workerlink_cancel(struct workerlink *w, const char *reason);
/* Whether the request was handed over. */
bool workerlink_is_at_work(const struct workerlink *w);
