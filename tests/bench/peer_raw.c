/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The floor: AF_UNIX stream sockets with epoll on both sides, one system call
 * to wait, one to read, one to write, and no protocol but a known size.
 */
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "libcommon/link.h"
#include "tests/bench/bus_peer.h"

#define BUFFER_SIZE (256U << 10)

struct raw_client {
	int fd, epoll_fd;
	uint32_t events;
};

struct raw_publisher {
	int listener;
	struct bench_fan *fan;
	int *fds;
	size_t n;
};

static uint8_t buffer[BUFFER_SIZE];

static void wait_events(int epoll_fd)
{
	struct epoll_event e;

	while (epoll_wait(epoll_fd, &e, 1, -1) != 1) {
	}
}

static int watch(int fd)
{
	struct epoll_event e = { .events = EPOLLIN };
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

	bench_expect(epoll_fd >= 0 && epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e) == 0, "epoll");
	return epoll_fd;
}

/* Non-blocking, as link_connect()'s. */
static int listen_at(const char *dir, const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", bench_path(dir, name));
	unlink(address.sun_path);
	bench_expect(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
			     listen(fd, SOMAXCONN) == 0,
		     "raw: listen");
	return fd;
}

static int dial(const char *dir, const char *name)
{
	int fd = link_connect(bench_path(dir, name));

	bench_expect(fd >= 0, "connect");
	return fd;
}

static void send_all(int fd, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len > 0) {
		struct pollfd writable = { .fd = fd, .events = POLLOUT };
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n > 0) {
			p += n;
			len -= (size_t)n;
		} else if (errno == EAGAIN) {
			poll(&writable, 1, -1);
		} else if (errno != EINTR) {
			bench_die("send");
		}
	}
}

/* ---- calls ---- */

static void raw_serve(const char *dir, int ready)
{
	int listener = listen_at(dir, "raw");
	struct pollfd p = { .fd = listener, .events = POLLIN };
	int fd, epoll_fd;

	close(ready);
	poll(&p, 1, -1);
	fd = accept(listener, NULL, NULL);
	bench_expect(fd >= 0, "raw: accept");
	epoll_fd = watch(fd);
	for (;;) {
		ssize_t n;

		wait_events(epoll_fd);
		n = recv(fd, buffer, sizeof(buffer), 0);
		if (n > 0) {
			send_all(fd, buffer, (size_t)n);
		} else if (n == 0 || errno != EAGAIN) {
			_exit(0);
		}
	}
}

static void *raw_connect(const char *dir)
{
	static struct raw_client client;

	client.fd = dial(dir, "raw");
	client.epoll_fd = watch(client.fd);
	client.events = EPOLLIN;
	return &client;
}

static void want(struct raw_client *c, uint32_t events)
{
	struct epoll_event e = { .events = events };

	if (c->events != events) {
		bench_expect(epoll_ctl(c->epoll_fd, EPOLL_CTL_MOD, c->fd, &e) == 0, "epoll_ctl");
		c->events = events;
	}
}

static size_t receive(struct raw_client *c)
{
	ssize_t n = recv(c->fd, buffer, sizeof(buffer), 0);

	bench_expect(n > 0 || (n < 0 && errno == EAGAIN), "recv");
	return n > 0 ? (size_t)n : 0;
}

static void raw_call(void *client, size_t size)
{
	static const uint8_t request[BENCH_MESSAGE_MAX];
	struct raw_client *c = client;
	size_t n_received = 0;

	send_all(c->fd, request, size);
	while (n_received < size) {
		wait_events(c->epoll_fd);
		n_received += receive(c);
	}
}

/* A message at a time, or as much of it as there is room for. */
static void raw_call_many(void *client, size_t size, size_t n)
{
	static const uint8_t request[BENCH_MESSAGE_MAX];
	struct raw_client *c = client;
	size_t sent = 0, received = 0, total = n * size;

	while (received < total) {
		size_t allowed = MIN(total, (received / size + BENCH_WINDOW) * size);

		while (sent < allowed) {
			ssize_t k = send(c->fd, request, size - sent % size, MSG_NOSIGNAL);

			if (k < 0) {
				bench_expect(errno == EAGAIN, "send");
				break;
			}
			sent += (size_t)k;
		}
		want(c, sent < allowed ? EPOLLIN | EPOLLOUT : EPOLLIN);
		wait_events(c->epoll_fd);
		received += receive(c);
	}
	want(c, EPOLLIN);
}

/* ---- publications: a length of 4 bytes, then the message ---- */

static void *raw_publisher(const char *dir, struct bench_fan *fan)
{
	static struct raw_publisher p;

	p.fan = fan;
	p.fds = calloc(fan->n, sizeof(*p.fds));
	p.listener = listen_at(dir, "raw-pub");
	bench_expect(p.fds, "memory");
	return &p;
}

static void raw_publish(void *publisher, const void *data, size_t len)
{
	struct raw_publisher *p = publisher;
	uint32_t head = (uint32_t)len;

	for (size_t i = 0; i < p->n; i++) {
		struct iovec iov[] = { { &head, sizeof(head) }, { (void *)data, len } };
		const struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };

		bench_expect(sendmsg(p->fds[i], &m, MSG_NOSIGNAL) == (ssize_t)(sizeof(head) + len),
			     "sendmsg");
	}
}

static void raw_wait(void *publisher, int timeout_ms)
{
	struct raw_publisher *p = publisher;
	struct pollfd fds[] = { { .fd = p->fan->done_fd, .events = POLLIN },
				{ .fd = p->n < p->fan->n ? p->listener : -1, .events = POLLIN } };

	poll(fds, 2, timeout_ms);
	while (p->n < p->fan->n) {
		int fd = accept(p->listener, NULL, NULL); /* blocks in sendmsg */

		if (fd < 0) {
			break;
		}
		p->fds[p->n++] = fd;
	}
}

static void raw_subscribe(const char *dir, struct bench_fan *fan, size_t i)
{
	int fd = dial(dir, "raw-pub");
	int epoll_fd = watch(fd);
	size_t held = 0;

	for (;;) {
		size_t at = 0;
		uint32_t len;
		ssize_t n;

		wait_events(epoll_fd);
		n = recv(fd, buffer + held, sizeof(buffer) - held, 0);
		if (n <= 0) {
			_exit(0);
		}
		held += (size_t)n;
		while (held - at >= sizeof(len)) {
			memcpy(&len, buffer + at, sizeof(len));
			if (held - at < sizeof(len) + len) {
				break;
			}
			bench_fan_take(fan, i, buffer + at + sizeof(len), len);
			at += sizeof(len) + len;
		}
		held -= at;
		memmove(buffer, buffer + at, held);
	}
}

const struct bench_peer peer_raw = {
	.name = "raw AF_UNIX, epoll",
	.serve = raw_serve,
	.connect = raw_connect,
	.call = raw_call,
	.call_many = raw_call_many,
	.publisher = raw_publisher,
	.publish = raw_publish,
	.wait = raw_wait,
	.subscribe = raw_subscribe,
};
