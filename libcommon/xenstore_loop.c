/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xenstore on sd-event, apart from xenstore.c because the guest agent has no
 * libsystemd.  A callback may close the xenstore and with it free the
 * attachment: nothing here is touched after a call that can run callbacks,
 * unless its result says that the connection is there.
 */
#include <sys/epoll.h>
#include <systemd/sd-event.h>

#include "libcommon/err.h"
#include "libcommon/loop.h"
#include "libcommon/xenstore_private.h"

#define PROBE_US (2 * USEC_PER_SEC)

struct attachment {
	struct xenstore *xs;
	sd_event *loop;
	sd_event_source *io;
	sd_event_source *more; /* events are left after a full dispatch */
	struct loop_ticker *ticker;
};

static void dispatch(struct attachment *a);

static int on_more(sd_event_source *s _unused_, void *userdata)
{
	dispatch(userdata);
	return 0;
}

static int on_io(sd_event_source *s _unused_, int fd _unused_, uint32_t events _unused_,
		 void *userdata)
{
	dispatch(userdata);
	return 0;
}

static void dispatch(struct attachment *a)
{
	/* libxenstore may clear the fd before the last event is taken. */
	if (xenstore_dispatch(a->xs) > 0) {
		loop_defer(a->loop, &a->more, on_more, a);
	}
}

static int on_tick(void *userdata)
{
	struct attachment *a = userdata;

	xenstore_probe(a->xs);
	return 0;
}

static void on_fd_changed(void *userdata)
{
	struct attachment *a = userdata;
	int fd = xenstore_fd(a->xs);

	a->io = sd_event_source_disable_unref(a->io);
	if (fd >= 0 && sd_event_add_io(a->loop, &a->io, fd, EPOLLIN, on_io, a) < 0) {
		sd_event_exit(a->loop, -ENOMEM); /* deaf is worse than restarted */
	}
}

static void on_closed(void *userdata)
{
	struct attachment *a = userdata;

	sd_event_source_disable_unref(a->io);
	sd_event_source_disable_unref(a->more);
	loop_ticker_free(a->ticker);
	sd_event_unref(a->loop);
	free(a);
}

int xenstore_attach(struct xenstore *xs, struct sd_event *loop)
{
	struct attachment *a = calloc(1, sizeof(*a));
	struct xenstore_hooks hooks = { on_fd_changed, on_closed, a };
	int r;

	if (!a) {
		return -ENOMEM;
	}
	r = xenstore_set_hooks(xs, &hooks);
	if (r < 0) {
		free(a);
		return err_trace(r);
	}
	a->xs = xs;
	a->loop = sd_event_ref(loop);
	r = loop_ticker_new(&a->ticker, loop, PROBE_US, on_tick, a);
	if (r == 0 && xenstore_is_connected(xs)) {
		r = sd_event_add_io(loop, &a->io, xenstore_fd(xs), EPOLLIN, on_io, a);
	}
	if (r < 0) {
		xenstore_set_hooks(xs, NULL);
		on_closed(a);
		return err_trace(r);
	}
	return 0;
}
