/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libxl offers its descriptors for poll(); sd-event is one more descriptor in
 * that set.  An operation's state lives on the stack of xl_run(), therefore
 * nothing but the end of the operation (or of the process) leaves it.
 */
#include "services/ops/worker/xl.h"

#include <poll.h>
#include <sys/time.h>

#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"

struct running {
	bool is_done;
	int rc;
};

int xl_open(struct xl *xl, sd_event *loop, xentoollog_logger *logger)
{
	/* libxl reaps its own children; there are no others in this process. */
	static const libxl_childproc_hooks hooks = { .chldowner = libxl_sigchld_owner_libxl };
	int rc;

	*xl = (struct xl){ .loop = loop };
	rc = libxl_ctx_alloc(&xl->ctx, LIBXL_VERSION, 0, logger);
	if (rc) {
		xl->ctx = NULL;
		return rc;
	}
	libxl_childproc_setmode(xl->ctx, &hooks, NULL);
	return 0;
}

void xl_close(struct xl *xl)
{
	if (xl->ctx) {
		libxl_ctx_free(xl->ctx);
		xl->ctx = NULL;
	}
	free(STEAL(xl->fds));
	xl->fds_size = 0;
}

/* Out of memory or worse: whoever waits sees the link close. */
_Noreturn static void give_up(const char *what, int r)
{
	log_error("cannot wait for events: %s: %s", what, err_text(r));
	log_flush();
	_exit(EXIT_FAILURE);
}

/* libxl's descriptors into fds, with one place more; their number. */
static int collect_fds(struct xl *xl, int *timeout_ms)
{
	for (;;) {
		int n = (int)xl->fds_size - 1, rc = ERROR_BUFFERFULL;
		struct timeval now;
		void *bigger;

		gettimeofday(&now, NULL);
		if (xl->fds) {
			rc = libxl_osevent_beforepoll(xl->ctx, &n, xl->fds, timeout_ms, now);
		}
		if (rc == 0) {
			return n;
		}
		if (rc != ERROR_BUFFERFULL) {
			give_up("libxl_osevent_beforepoll", -EIO);
		}
		xl->fds_size = (size_t)MAX(n, 15) + 1;
		bigger = reallocarray(xl->fds, xl->fds_size, sizeof(*xl->fds));
		if (!bigger) {
			give_up("realloc", -ENOMEM);
		}
		xl->fds = bigger;
	}
}

static void dispatch_ours(sd_event *loop, int prepared)
{
	int r = prepared;

	if (r == 0) {
		r = sd_event_wait(loop, 0);
	}
	if (r > 0) {
		r = sd_event_dispatch(loop);
	}
	if (r < 0) {
		give_up("sd_event", r);
	}
}

void xl_iterate(struct xl *xl, int timeout_ms)
{
	struct timeval now;
	int prepared, n;

	prepared = sd_event_prepare(xl->loop);
	if (prepared < 0) {
		give_up("sd_event_prepare", prepared);
	}
	if (prepared > 0) {
		timeout_ms = 0;
	}
	n = collect_fds(xl, &timeout_ms);
	xl->fds[n] = (struct pollfd){ .fd = sd_event_get_fd(xl->loop), .events = POLLIN };
	if (poll(xl->fds, (nfds_t)n + 1, timeout_ms) < 0) {
		if (errno != EINTR) {
			give_up("poll", err_errno());
		}
		for (int i = 0; i <= n; i++) {
			xl->fds[i].revents = 0;
		}
	}
	gettimeofday(&now, NULL);
	libxl_osevent_afterpoll(xl->ctx, n, xl->fds, now);
	dispatch_ours(xl->loop, prepared);
}

void xl_wait(struct xl *xl, uint64_t duration_ms)
{
	uint64_t end_ns = clock_boot_ns() + duration_ms * NSEC_PER_MSEC;
	uint64_t now_ns;

	while ((now_ns = clock_boot_ns()) < end_ns) {
		xl_iterate(xl, (int)((end_ns - now_ns) / NSEC_PER_MSEC + 1));
	}
}

static void on_done(libxl_ctx *ctx _unused_, int rc, void *userdata)
{
	struct running *running = userdata;

	running->is_done = true;
	running->rc = rc;
}

int xl_run(struct xl *xl, bool is_cancellable, xl_start_fn start, void *args)
{
	struct running running = { 0 };
	const libxl_asyncop_how how = { .callback = on_done, .u.for_callback = &running };
	int rc;

	if (is_cancellable && xl->is_cancelled) {
		return ERROR_ABORTED;
	}
	rc = start(xl->ctx, &how, args);
	if (rc) {
		return rc; /* not begun, on_done is never called */
	}
	xl->running = is_cancellable ? &how : NULL;
	while (!running.is_done) {
		xl_iterate(xl, -1);
	}
	xl->running = NULL;
	return running.rc;
}

void xl_cancel(struct xl *xl)
{
	xl->is_cancelled = true;
	if (xl->running) {
		libxl_ao_abort(xl->ctx, xl->running);
	}
}
