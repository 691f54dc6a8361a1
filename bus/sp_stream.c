/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A plain stream costs one system call a read or write and copies nothing.
 */
#include "bus/sp_stream.h"

#include <poll.h>
#include <sys/socket.h>

#include "libcommon/err.h"

/* 1 = connected; 0 = not yet; -errno. */
static int finish_connecting(struct sp_stream *s)
{
	struct pollfd p = { .fd = s->fd, .events = POLLOUT };
	socklen_t len = sizeof(int);
	int error = 0;

	if (poll(&p, 1, 0) <= 0) {
		return 0;
	}
	if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0) {
		return err_errno();
	}
	s->is_connecting = false;
	return error ? -error : 1;
}

int sp_stream_open(struct sp_stream *s)
{
	int r = s->is_connecting ? finish_connecting(s) : 1;

	return r == 1 && s->tls ? sp_tls_shake(s->tls) : r;
}

void sp_stream_close(struct sp_stream *s)
{
	s->tls = sp_tls_free(s->tls);
	s->fd = xclose(s->fd);
}

ssize_t sp_stream_read(struct sp_stream *s, void *out, size_t size)
{
	ssize_t n;

	if (s->tls) {
		return sp_tls_read(s->tls, out, size);
	}
	n = recv(s->fd, out, size, MSG_DONTWAIT);
	if (n < 0) {
		return errno == EAGAIN || errno == EINTR ? 0 : err_errno();
	}
	return n > 0 ? n : -EPIPE;
}

ssize_t sp_stream_write(struct sp_stream *s, const struct iovec *iov, size_t n_iov)
{
	const struct msghdr m = { .msg_iov = (struct iovec *)iov, .msg_iovlen = n_iov };
	ssize_t n;

	if (s->tls) {
		return sp_tls_write(s->tls, iov, n_iov);
	}
	n = sendmsg(s->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0) {
		return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? 0 : err_errno();
	}
	return n;
}
