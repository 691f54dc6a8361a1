/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A message and its descriptor travel in sendmsg() calls of their own.  The
 * kernel ends a recvmsg() with the piece of stream that brought a descriptor,
 * so a descriptor belongs to the message that holds the last byte of its
 * recvmsg(), whether that message is complete by then or not.
 *
 * Three states: open; out_error set (the peer takes no more, what it sent
 * before is still read); closed (fd -1), after which on_closed is called once
 * from the loop.  The struct outlives link_free() while a callback is on the
 * stack (n_busy).
 */
#include "libcommon/link.h"

#include <endian.h>
#include <limits.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "libcommon/arena.h"
#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/list.h"

#define HEADER_SIZE    4
#define IN_SIZE_FIRST  4096
#define IN_SIZE_KEPT   (1U << 20) /* of an idle link */
#define READS_PER_WAKE 16	  /* then others of the loop have their turn */
#define FDS_MAX	       8	  /* received at once; all but one are too many */
#define BACKLOG	       64

struct out_message {
	struct list list;
	int fd;
	size_t len;
	size_t sent;
	uint8_t data[];
};

struct in_fd {
	int fd;
	size_t at; /* offset in the input of the last byte that came with it */
};

struct link {
	sd_event_source *io;
	sd_event_source *closing; /* deferred on_closed, off until then */
	int fd;
	unsigned int n_busy;
	bool is_freed;
	int error; /* for on_closed */
	struct ucred peer;

	const ProtobufCMessageDescriptor *type;
	link_message_fn on_message;
	link_closed_fn on_closed;
	void *userdata;

	uint8_t *in;
	size_t in_len;
	size_t in_size;
	/* Received and not yet given: of an incomplete message, and of the one after it. */
	struct in_fd in_fds[2];
	size_t n_in_fds;

	struct list out;
	size_t out_bytes; /* unsent */
	int out_error;
	bool is_waiting_out;
};

/* ---- closing ---- */

static void drop_out(struct link *l)
{
	for (struct list *i; (i = list_pop(&l->out));) {
		struct out_message *m = list_entry(i, struct out_message, list);

		xclose(m->fd);
		free(m);
	}
	l->out_bytes = 0;
}

static void release(struct link *l)
{
	l->io = sd_event_source_disable_unref(l->io);
	l->fd = xclose(l->fd);
	while (l->n_in_fds > 0) {
		xclose(l->in_fds[--l->n_in_fds].fd);
	}
	drop_out(l);
}

static void leave(struct link *l)
{
	if (--l->n_busy == 0 && l->is_freed) {
		free(l->in);
		free(l);
	}
}

struct link *link_free(struct link *l)
{
	if (l) {
		release(l);
		l->closing = sd_event_source_disable_unref(l->closing);
		l->is_freed = true;
		l->n_busy++;
		leave(l);
	}
	return NULL;
}

/* on_closed follows from the loop. */
static void close_link(struct link *l, int error)
{
	if (l->fd >= 0) {
		release(l);
		l->error = error;
		sd_event_source_set_enabled(l->closing, SD_EVENT_ONESHOT);
	}
}

static int on_closing(sd_event_source *s _unused_, void *userdata)
{
	struct link *l = userdata;

	l->n_busy++;
	l->on_closed(l, l->error, l->userdata);
	leave(l);
	return 0;
}

/* ---- output ---- */

static void set_waiting_out(struct link *l, bool is_waiting)
{
	if (l->is_waiting_out != is_waiting) {
		l->is_waiting_out = is_waiting;
		sd_event_source_set_io_events(l->io, EPOLLIN | (is_waiting ? EPOLLOUT : 0));
	}
}

/* Bytes sent or -errno. */
static ssize_t send_piece(struct link *l, struct out_message *m)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { m->data + m->sent, m->len - m->sent };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (m->fd >= 0) {
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &m->fd, sizeof(int));
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control.space);
	}
	do {
		n = sendmsg(l->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? err_errno() : n;
}

/* Send the whole message: 0 or -errno. */
static int send_message(struct link *l, struct out_message *m)
{
	while (m->sent < m->len) {
		ssize_t n = send_piece(l, m);

		if (n < 0) {
			return (int)n;
		}
		m->fd = xclose(m->fd);
		m->sent += (size_t)n;
		l->out_bytes -= (size_t)n;
	}
	return 0;
}

static void flush_out(struct link *l)
{
	list_for_each_safe (i, &l->out) {
		struct out_message *m = list_entry(i, struct out_message, list);
		int r = send_message(l, m);

		if (r == -EAGAIN) {
			set_waiting_out(l, true);
			return;
		}
		if (r == -EPIPE || r == -ECONNRESET) {
			/* The end of input closes the link: there may be last words before. */
			l->out_error = r;
			drop_out(l);
			break;
		}
		if (r < 0) {
			close_link(l, r);
			return;
		}
		list_unlink(&m->list);
		free(m);
	}
	set_waiting_out(l, false);
}

int link_send(struct link *l, const ProtobufCMessage *message, int fd)
{
	_cleanup_(xclosep) int owned_fd = fd;
	struct out_message *m;
	uint32_t header;
	size_t len;

	if (l->fd < 0 || l->out_error < 0) {
		return -EPIPE;
	}
	if (!protobuf_c_message_check(message)) {
		return err_trace(-EINVAL);
	}
	len = protobuf_c_message_get_packed_size(message);
	if (len > LINK_MESSAGE_MAX) {
		return -EMSGSIZE;
	}
	if (l->out_bytes + HEADER_SIZE + len > LINK_QUEUE_MAX) {
		close_link(l, -ENOBUFS);
		return -ENOBUFS;
	}
	m = malloc(sizeof(*m) + HEADER_SIZE + len);
	if (!m) {
		return -ENOMEM;
	}
	*m = (struct out_message){ .fd = STEAL_FD(owned_fd), .len = HEADER_SIZE + len };
	header = htole32((uint32_t)len);
	memcpy(m->data, &header, HEADER_SIZE);
	protobuf_c_message_pack(message, m->data + HEADER_SIZE);
	list_append(&l->out, &m->list);
	l->out_bytes += m->len;
	if (!l->is_waiting_out) {
		flush_out(l);
	}
	return 0;
}

int link_flush(struct link *l, uint64_t timeout_ms)
{
	uint64_t end_ns = clock_boot_ns() + MIN(timeout_ms, INT_MAX) * NSEC_PER_MSEC;

	for (;;) {
		struct pollfd p = { .fd = l->fd, .events = POLLOUT };
		uint64_t now_ns = clock_boot_ns();

		if (l->fd >= 0) {
			flush_out(l);
		}
		if (l->fd < 0 || l->out_error < 0) {
			return -EPIPE;
		}
		if (l->out_bytes == 0) {
			return 0;
		}
		if (now_ns >= end_ns) {
			return -ETIMEDOUT;
		}
		poll(&p, 1, (int)MIN((end_ns - now_ns) / NSEC_PER_MSEC + 1, INT_MAX));
	}
}

/* ---- input ---- */

enum receive_outcome { RECEIVE_NOTHING, RECEIVE_DATA, RECEIVE_END };

/* Keep the one descriptor that may come, close all others. 0 or -EPROTO. */
static int take_fds(struct link *l, struct msghdr *msg, size_t at)
{
	int r = msg->msg_flags & MSG_CTRUNC ? -EPROTO : 0;
	bool is_first = true;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
			continue;
		}
		for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (is_first && l->n_in_fds < ARRAY_LEN(l->in_fds)) {
				l->in_fds[l->n_in_fds++] = (struct in_fd){ fd, at };
			} else {
				xclose(fd);
				r = -EPROTO;
			}
			is_first = false;
		}
	}
	return r;
}

/* Invariant: a full buffer holds one incomplete message. */
static int make_room(struct link *l)
{
	size_t size = MIN(MAX(l->in_size * 2, IN_SIZE_FIRST), HEADER_SIZE + LINK_MESSAGE_MAX);
	uint8_t *in;

	if (l->in_len < l->in_size) {
		return 0;
	}
	in = realloc(l->in, size);
	if (!in) {
		return -ENOMEM;
	}
	l->in = in;
	l->in_size = size;
	return 0;
}

static int receive(struct link *l)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int) * FDS_MAX)];
	} control;
	struct iovec iov;
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control.space),
	};
	ssize_t n;
	int r = make_room(l);

	if (r < 0) {
		return err_trace(r);
	}
	iov = (struct iovec){ l->in + l->in_len, l->in_size - l->in_len };
	do {
		n = recvmsg(l->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0) {
		return errno == EAGAIN ? RECEIVE_NOTHING : err_errno();
	}
	if (n == 0) {
		return RECEIVE_END;
	}
	l->in_len += (size_t)n;
	r = take_fds(l, &msg, l->in_len - 1);
	return r < 0 ? err_trace(r) : RECEIVE_DATA;
}

/* The descriptor of the first message of the input, which ends at `end`; -1 = none. */
static int give_fd(struct link *l, size_t end, int *out)
{
	*out = -1;
	if (l->n_in_fds == 0 || l->in_fds[0].at >= end) {
		return 0;
	}
	if (l->n_in_fds > 1 && l->in_fds[1].at < end) {
		return err_trace(-EPROTO);
	}
	*out = l->in_fds[0].fd;
	l->in_fds[0] = l->in_fds[1];
	l->n_in_fds--;
	return 0;
}

/* fd is consumed. */
static int deliver(struct link *l, const uint8_t *data, size_t len, int fd)
{
	_cleanup_(arena_deinit) struct arena arena;
	ProtobufCMessage *message;

	arena_init(&arena, link_memory_max(len));
	message = arena_unpack(&arena, l->type, data, len);
	if (!message) {
		xclose(fd);
		return err_trace(-EBADMSG);
	}
	return l->on_message(l, message, fd, l->userdata);
}

/* Deliver all complete messages; stops when the link gets closed. */
static int deliver_all(struct link *l)
{
	size_t at = 0;

	while (l->in_len - at >= HEADER_SIZE) {
		uint32_t header;
		size_t end;
		int fd, r;

		memcpy(&header, l->in + at, HEADER_SIZE);
		header = le32toh(header);
		if (header > LINK_MESSAGE_MAX) {
			return err_trace(-EMSGSIZE);
		}
		end = at + HEADER_SIZE + header;
		if (end > l->in_len) {
			break;
		}
		r = give_fd(l, end, &fd);
		if (r < 0) {
			return r;
		}
		r = deliver(l, l->in + at + HEADER_SIZE, header, fd);
		if (r < 0 || l->fd < 0) {
			return r;
		}
		at = end;
	}
	l->in_len -= at;
	if (l->in_len > 0) {
		memmove(l->in, l->in + at, l->in_len);
	}
	for (size_t i = 0; i < l->n_in_fds; i++) {
		l->in_fds[i].at -= at;
	}
	return 0;
}

static void read_in(struct link *l)
{
	for (int i = 0; i < READS_PER_WAKE && l->fd >= 0; i++) {
		int r = receive(l);

		if (r == RECEIVE_NOTHING) {
			break;
		}
		if (r == RECEIVE_END) {
			close_link(l, l->in_len > 0 ? -EPROTO : 0);
			break;
		}
		if (r == RECEIVE_DATA) {
			r = deliver_all(l);
		}
		if (r < 0) {
			close_link(l, r);
		}
	}
	if (l->in_len == 0 && l->in_size > IN_SIZE_KEPT) {
		free(STEAL(l->in));
		l->in_size = 0;
	}
}

static int on_io(sd_event_source *s _unused_, int fd _unused_, uint32_t events, void *userdata)
{
	struct link *l = userdata;

	l->n_busy++;
	if (events & EPOLLOUT) {
		flush_out(l);
	}
	read_in(l);
	leave(l);
	return 0;
}

/* ---- links and sockets ---- */

int link_new(struct link **out, sd_event *loop, int fd, const ProtobufCMessageDescriptor *type,
	     link_message_fn on_message, link_closed_fn on_closed, void *userdata)
{
	socklen_t peer_len = sizeof(struct ucred);
	struct link *l = calloc(1, sizeof(*l));
	int r;

	if (!l) {
		xclose(fd);
		return -ENOMEM;
	}
	l->fd = fd;
	l->type = type;
	l->on_message = on_message;
	l->on_closed = on_closed;
	l->userdata = userdata;
	list_init(&l->out);
	r = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &l->peer, &peer_len) < 0 ? err_errno() : 0;
	if (r == 0) {
		r = sd_event_add_defer(loop, &l->closing, on_closing, l);
	}
	if (r >= 0) {
		r = sd_event_source_set_enabled(l->closing, SD_EVENT_OFF);
	}
	if (r >= 0) {
		r = sd_event_add_io(loop, &l->io, fd, EPOLLIN, on_io, l);
	}
	if (r < 0) {
		link_free(l);
		return err_trace(r);
	}
	*out = l;
	return 0;
}

int link_peer(const struct link *l, uid_t *uid, gid_t *gid, pid_t *pid)
{
	*uid = l->peer.uid;
	*gid = l->peer.gid;
	*pid = l->peer.pid;
	return 0;
}

static int make_address(struct sockaddr_un *out, const char *path)
{
	size_t len = strlen(path);

	*out = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (len == 0 || len >= sizeof(out->sun_path)) {
		return len == 0 ? -EINVAL : -ENAMETOOLONG;
	}
	memcpy(out->sun_path, path, len + 1);
	return 0;
}

int link_connect(const char *path)
{
	_cleanup_(xclosep) int fd = -1;
	struct sockaddr_un address;
	int r = make_address(&address, path);

	if (r < 0) {
		return r;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		return err_errno();
	}
	return STEAL_FD(fd);
}

/* Remove the socket of a listener that is gone. 0; -EADDRINUSE, -EEXIST for any other file. */
static int remove_stale(const char *path)
{
	_cleanup_(xclosep) int fd = -1;
	struct stat st;

	if (lstat(path, &st) < 0) {
		return errno == ENOENT ? 0 : err_errno();
	}
	if (!S_ISSOCK(st.st_mode)) {
		return -EEXIST;
	}
	fd = link_connect(path);
	if (fd != -ECONNREFUSED) {
		return fd >= 0 || fd == -EAGAIN ? -EADDRINUSE : fd;
	}
	return unlink(path) < 0 ? err_errno() : 0;
}

static int start_listening(int fd, const char *path, const struct sockaddr_un *address)
{
	const mode_t mode = 0660;

	/* fchmod() bounds what bind() makes, chmod() undoes the umask. */
	if (fchmod(fd, mode) < 0 ||
	    bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ||
	    chmod(path, mode) < 0 || listen(fd, BACKLOG) < 0) {
		return err_errno();
	}
	return 0;
}

int link_listen(const char *path)
{
	struct sockaddr_un address;
	int r = make_address(&address, path);
	int fd;

	if (r == 0) {
		r = remove_stale(path);
	}
	if (r < 0) {
		return err_trace(r);
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		return err_trace(err_errno());
	}
	r = start_listening(fd, path, &address);
	if (r < 0) {
		xclose(fd);
		return err_trace(r);
	}
	return fd;
}
