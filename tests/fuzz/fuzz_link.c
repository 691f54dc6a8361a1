/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any bytes from the peer of a link, in any pieces, with a descriptor here and
 * there: the link delivers, or closes with a documented error, and leaks
 * nothing.  Input: pieces of { length; low bits of the flags: 1 = with a
 * descriptor, 2 = the loop runs after it; bytes }.
 */
#include <fcntl.h>
#include <sys/socket.h>

#include "libcommon/link.h"
#include "xenmesh/host/host.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct state {
	struct link *link;
	unsigned int n_closed;
};

static void require(bool is_true)
{
	if (!is_true) {
		abort();
	}
}

static int on_message(struct link *l _unused_, const ProtobufCMessage *message, int fd,
		      void *userdata _unused_)
{
	require(message->descriptor == &xenmesh__host__to_host__descriptor);
	require(protobuf_c_message_get_packed_size(message) <= 64 * LINK_MESSAGE_MAX);
	if (fd >= 0) {
		require(close(fd) == 0);
	}
	return 0;
}

static void on_closed(struct link *l, int error, void *userdata)
{
	struct state *s = userdata;

	require(error == 0 || error == -EPROTO || error == -EMSGSIZE || error == -EBADMSG);
	s->n_closed++;
	s->link = link_free(l);
}

static void send_piece(int socket_fd, const uint8_t *data, size_t len, bool with_fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)data, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	const int some_fd = STDERR_FILENO; /* its own end would keep the connection open */

	if (with_fd) {
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &some_fd, sizeof(int));
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control.space);
	}
	/* The link may have closed; a full socket only shortens the input. */
	sendmsg(socket_fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void run_ready(sd_event *loop)
{
	while (sd_event_run(loop, 0) > 0) {
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct state s = { 0 };
	sd_event *loop = NULL;
	int fds[2], probe;

	require(sd_event_new(&loop) >= 0);
	require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	require(link_new(&s.link, loop, fds[0], &xenmesh__host__to_host__descriptor, on_message,
			 on_closed, &s) == 0);
	while (size > 2) {
		size_t len = MIN(data[0], size - 2);
		uint8_t flags = data[1];

		send_piece(fds[1], data + 2, len, flags & 1);
		if (flags & 2) {
			run_ready(loop);
		}
		data += 2 + len;
		size -= 2 + len;
	}
	close(fds[1]);
	run_ready(loop);
	require(s.n_closed == 1 && !s.link);
	sd_event_unref(loop);
	/* The lowest free number is what it was: all descriptors are closed. */
	probe = fcntl(0, F_DUPFD, 3);
	require(probe <= fds[0]);
	close(probe);
	return 0;
}
