/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A connection that cannot be accepted waits in the backlog, which would wake
 * us again and again: hence the pause.
 */
#include "bus/sp_accept.h"

#include <sys/socket.h>

#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"

#define ACCEPTS_A_TURN 64
#define PAUSE_US       (100 * USEC_PER_MSEC)

static int on_pause_over(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
	struct sp_accept *a = userdata;

	sd_event_source_set_enabled(a->io, SD_EVENT_ON);
	return 0;
}

static void pause_accepting(struct sp_accept *a, int error)
{
	log_warning("%s: cannot accept: %s; trying again (raise LimitNOFILE= of the unit)",
		    a->where, err_text(error));
	if (loop_after(a->loop, &a->pause, PAUSE_US, on_pause_over, a) == 0) {
		sd_event_source_set_enabled(a->io, SD_EVENT_OFF);
	}
}

static int on_connection(sd_event_source *source _unused_, int listen_fd, uint32_t events _unused_,
			 void *userdata)
{
	struct sp_accept *a = userdata;

	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			a->fn(fd, a->userdata);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
			   errno == ENOMEM) {
			pause_accepting(a, err_errno());
			break;
		} else if (errno == EAGAIN) {
			break;
		} /* else that connection is over already */
	}
	return 0;
}

int sp_accept_start(struct sp_accept *a, int fd)
{
	int r = sd_event_add_io(a->loop, &a->io, fd, EPOLLIN, on_connection, a);

	return r < 0 ? r : 0;
}

void sp_accept_stop(struct sp_accept *a)
{
	a->io = sd_event_source_disable_unref(a->io);
	a->pause = sd_event_source_disable_unref(a->pause);
}
