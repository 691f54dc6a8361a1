/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * When the link closes during an operation the operation goes on: the core is
 * restarting and will look at the host.  Only what it said is then not heard.
 *
 * The core learns of our death by the end of the link, so scripts and device
 * models that libxl starts do not inherit it.
 */
#include "services/ops/worker/worker.h"

#include <fcntl.h>
#include <stdio.h>

#include "libcommon/err.h"
#include "libcommon/link.h"
#include "libcommon/log.h"
#include "libcommon/traceparent.h"
#include "services/ops/worker/codes.h"
#include "services/ops/worker/operation.h"

#define FLUSH_MS 5000

struct worker {
	sd_event *loop;
	struct link *link; /* NULL when closed */
	const struct worker_paths *paths;
	struct lines lines;
	struct xl xl;
	Xenmesh__Host__ToWorker *request;
};

/* ---- what the core is told ---- */

static void send_message(struct worker *w, Xenmesh__Host__FromWorker *message)
{
	int r = w->link ? link_send(w->link, &message->base, -1) : 0;

	if (r < 0 && r != -EPIPE) {
		log_error("cannot send to the core: %s", err_text(r));
	}
}

static void tell_progress(double progress, const char *step, void *userdata)
{
	Xenmesh__Host__FromWorker message = XENMESH__HOST__FROM_WORKER__INIT;
	Xenmesh__Host__WorkerProgress body = XENMESH__HOST__WORKER_PROGRESS__INIT;

	body.progress = progress;
	body.step = (char *)step;
	message.body_case = XENMESH__HOST__FROM_WORKER__BODY_PROGRESS;
	message.progress = &body;
	send_message(userdata, &message);
}

static void on_libxl_progress(const char *what, int percent, void *userdata)
{
	tell_progress(percent / 100.0, what, userdata);
}

static void on_line(xentoollog_level level, const char *text, void *userdata)
{
	Xenmesh__Host__FromWorker message = XENMESH__HOST__FROM_WORKER__INIT;
	Xenmesh__Host__WorkerLog body = XENMESH__HOST__WORKER_LOG__INIT;

	body.level = (uint32_t)level;
	body.text = (char *)text;
	message.body_case = XENMESH__HOST__FROM_WORKER__BODY_LOG;
	message.log = &body;
	send_message(userdata, &message);
}

static void tell_done(struct worker *w, const struct operation *op)
{
	Xenmesh__Host__FromWorker message = XENMESH__HOST__FROM_WORKER__INIT;
	Xenmesh__Host__WorkerDone body = XENMESH__HOST__WORKER_DONE__INIT;
	char text[OPERATION_MESSAGE_MAX + 64];

	log_escape(text, sizeof(text), op->message, strlen(op->message));
	if (op->code != CODE_OK) {
		log_info("operation failed: %s", text);
	}
	body.code = (Xenmesh__V1__Code)op->code;
	body.message = text;
	body.libxl_rc = op->rc;
	body.domid = op->domid;
	message.body_case = XENMESH__HOST__FROM_WORKER__BODY_DONE;
	message.done = &body;
	send_message(w, &message);
}

/* ---- what the core says ---- */

/* The message lives only until we return; the operation is not run from in here. */
static int keep_request(struct worker *w, const ProtobufCMessage *message)
{
	size_t len = protobuf_c_message_get_packed_size(message);
	_cleanup_(xfreep) uint8_t *packed = malloc(MAX(len, 1));

	if (w->request) {
		log_warning("a second operation was asked for");
		return -EPROTO;
	}
	if (!packed) {
		return -ENOMEM;
	}
	protobuf_c_message_pack(message, packed);
	w->request = xenmesh__host__to_worker__unpack(NULL, len, packed);
	return w->request ? 0 : -ENOMEM;
}

static int on_message(struct link *l _unused_, const ProtobufCMessage *base, int fd, void *userdata)
{
	const Xenmesh__Host__ToWorker *message = (const void *)base;
	struct worker *w = userdata;

	xclose(fd);
	switch (message->body_case) {
	case XENMESH__HOST__TO_WORKER__BODY_CREATE:
	case XENMESH__HOST__TO_WORKER__BODY_ACT:
		return keep_request(w, base);
	case XENMESH__HOST__TO_WORKER__BODY_CANCEL:
		log_info("cancelled: %.200s", message->cancel->reason);
		xl_cancel(&w->xl);
		return 0;
	default:
		log_warning(
			"a message from the core is of no known kind; are both of one version?");
		return -EPROTO;
	}
}

static void on_closed(struct link *l _unused_, int error, void *userdata)
{
	struct worker *w = userdata;

	/* A reset is a core that ended with messages unread. */
	if (error < 0 && error != -ECONNRESET) {
		log_warning("link to the core closed: %s", err_text(error));
	}
	if (w->request) {
		log_info("the core is gone; the operation goes on without it");
	}
	w->link = link_free(w->link);
}

/* ---- life ---- */

static void run_operation(struct worker *w)
{
	struct operation op = {
		.xl = &w->xl,
		.paths = w->paths,
		.lines = &w->lines,
		.tell = tell_progress,
		.userdata = w,
		.domid = -1,
	};
	bool is_cancelled = w->xl.is_cancelled;
	int rc = xl_open(&w->xl, w->loop, &w->lines.logger);

	w->xl.is_cancelled = is_cancelled;
	if (rc) {
		char reason[OPERATION_MESSAGE_MAX / 2];

		lines_error_text(&w->lines, reason, sizeof(reason));
		op.code = CODE_UNAVAILABLE;
		op.rc = rc;
		snprintf(op.message, sizeof(op.message),
			 "libxl cannot be used on this host: %s (%s)", reason,
			 worker_error_name(rc));
	} else if (w->request->body_case == XENMESH__HOST__TO_WORKER__BODY_CREATE) {
		operation_create(&op, w->request->create);
	} else {
		operation_act(&op, w->request->act);
	}
	tell_done(w, &op);
	if (w->link) {
		link_flush(w->link, FLUSH_MS);
	}
}

static int wait_request(struct worker *w)
{
	while (w->link && !w->request) {
		int r = sd_event_run(w->loop, UINT64_MAX);

		if (r < 0) {
			return err_trace(r);
		}
	}
	return 0;
}

int worker_run(int fd, const struct worker_paths *paths)
{
	struct worker w = { .paths = paths };
	int r = fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? err_errno() : sd_event_new(&w.loop);

	lines_init(&w.lines, on_line, on_libxl_progress, &w);
	if (r < 0) {
		xclose(fd);
	} else {
		r = link_new(&w.link, w.loop, fd, &xenmesh__host__to_worker__descriptor, on_message,
			     on_closed, &w);
	}
	if (r >= 0) {
		r = wait_request(&w);
	}
	if (r >= 0 && w.request) {
		struct trace_scope scope;

		trace_enter(&scope, w.request->traceparent, w.request->task);
		run_operation(&w);
		trace_leave(&scope);
	}
	if (r < 0) {
		log_error("cannot work: %s", err_text(r));
	}
	xl_close(&w.xl);
	if (w.request) {
		xenmesh__host__to_worker__free_unpacked(w.request, NULL);
	}
	link_free(w.link);
	sd_event_unref(w.loop);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
