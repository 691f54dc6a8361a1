/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The result is delivered when the link is closed: a worker that was told done
 * has nothing more to say, and one that closes without it has died.
 */
#include "services/ops/core/workerlink.h"

#include "libcommon/err.h"
#include "libcommon/link.h"
#include "libcommon/log.h"
#include "libcommon/traceparent.h"
#include "services/ops/core/limits.h"
#include "services/ops/core/pb.h"

struct workerlink {
	sd_event *loop;
	const struct workerlink_handler *handler;
	void *userdata;
	struct hostlink_spawn *spawn;
	struct link *link;
	char traceparent[TRACEPARENT_SIZE]; /* the worker's; "" = none */
	bool is_at_work;
	bool has_result;
	int code;
	char *message;
	int32_t domid;
};

static void deliver(struct workerlink *w, const struct workerlink_result *result)
{
	w->handler->on_done(result, w->userdata); /* may free w */
}

static void take_result(struct workerlink *w, const Xenmesh__Host__WorkerDone *done)
{
	free(w->message);
	w->message = text_clean(done->message, strlen(done->message), OPS_TASK_TEXT_MAX);
	w->code = (int)done->code;
	w->domid = done->domid;
	w->has_result = true;
}

static int on_message(struct link *l _unused_, const ProtobufCMessage *base, int fd, void *userdata)
{
	const Xenmesh__Host__FromWorker *m = (const Xenmesh__Host__FromWorker *)(const void *)base;
	struct workerlink *w = userdata;

	xclose(fd);
	switch (m->body_case) {
	case XENMESH__HOST__FROM_WORKER__BODY_PROGRESS:
		w->handler->on_progress(m->progress->progress, m->progress->step, w->userdata);
		return 0;
	case XENMESH__HOST__FROM_WORKER__BODY_LOG:
		w->handler->on_log(m->log->level, m->log->text, w->userdata);
		return 0;
	case XENMESH__HOST__FROM_WORKER__BODY_DONE:
		take_result(w, m->done);
		return -ESHUTDOWN; /* close: on_closed() delivers */
	default:
		log_debug("a message of a worker is of no known kind");
		return 0;
	}
}

static void on_closed(struct link *l _unused_, int error, void *userdata)
{
	struct workerlink *w = userdata;
	struct workerlink_result result = {
		.code = CODE_INTERNAL,
		.message = "the worker died; the host's state is read anew, look at the VM "
			   "before you try again",
		.domid = -1,
	};

	w->link = link_free(w->link);
	if (w->has_result) {
		result.code = w->code;
		result.message = w->message ? w->message : "";
		result.domid = w->domid;
		result.is_told = true;
	} else {
		log_warning("a worker died without a result (%s)",
			    error < 0 ? err_text(error) : "its link was closed");
	}
	deliver(w, &result);
}

static void on_spawned(int fd, const char *error, void *userdata)
{
	struct workerlink *w = userdata;
	struct workerlink_result result = { .code = CODE_UNAVAILABLE, .domid = -1 };
	int r;

	w->spawn = NULL;
	if (fd < 0) {
		result.message = error;
		deliver(w, &result);
		return;
	}
	r = link_new(&w->link, w->loop, fd, &xenmesh__host__from_worker__descriptor, on_message,
		     on_closed, w);
	if (r < 0) {
		result.message = err_text(r);
		deliver(w, &result);
		return;
	}
	w->handler->on_ready(w->userdata);
}

int workerlink_new(struct workerlink **out, sd_event *loop, struct hostlink *host,
		   const char *traceparent, const struct workerlink_handler *handler,
		   void *userdata)
{
	struct workerlink *w = calloc(1, sizeof(*w));
	int r;

	if (!w) {
		return -ENOMEM;
	}
	w->loop = loop;
	w->handler = handler;
	w->userdata = userdata;
	if (traceparent_is_valid(traceparent)) {
		traceparent_child(traceparent, w->traceparent);
	}
	r = hostlink_spawn(host, w->traceparent, on_spawned, w, &w->spawn);
	if (r < 0) {
		free(w);
		return r;
	}
	*out = w;
	return 0;
}

struct workerlink *workerlink_free(struct workerlink *w)
{
	if (w) {
		hostlink_spawn_cancel(w->spawn);
		link_free(w->link);
		free(w->message);
		free(w);
	}
	return NULL;
}

int workerlink_request(struct workerlink *w, const Xenmesh__Host__ToWorker *request)
{
	Xenmesh__Host__ToWorker traced = *request;
	int r;

	traced.traceparent = w->traceparent;
	r = w->link ? link_send(w->link, &traced.base, -1) : -ENOTCONN;
	w->is_at_work = r == 0;
	return r < 0 ? err_trace(r) : 0;
}

void workerlink_cancel(struct workerlink *w, const char *reason)
{
	Xenmesh__Host__CancelOperation cancel = XENMESH__HOST__CANCEL_OPERATION__INIT;
	Xenmesh__Host__ToWorker message = XENMESH__HOST__TO_WORKER__INIT;

	if (w->link && w->is_at_work) {
		cancel.reason = (char *)reason;
		message.body_case = XENMESH__HOST__TO_WORKER__BODY_CANCEL;
		message.cancel = &cancel;
		link_send(w->link, &message.base, -1);
	}
}

bool workerlink_is_at_work(const struct workerlink *w)
{
	return w->is_at_work;
}
