/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * For the tests of bus/: a directory, a loop that runs until something is
 * true, and a bare SP peer that can misbehave.
 */
#include <ftw.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-event.h>

#include "libcommon/base.h"
#include "libcommon/clock.h"

struct bus_dir {
	char path[64];
};

static inline void bus_dir_make(struct bus_dir *d)
{
	snprintf(d->path, sizeof(d->path), "/tmp/xenmesh-test.XXXXXX");
	if (!mkdtemp(d->path)) {
		perror("mkdtemp");
		abort();
	}
}

static inline int bus_dir_remove_one(const char *path, const struct stat *st, int type,
				     struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void bus_dir_remove(struct bus_dir *d)
{
	nftw(d->path, bus_dir_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Run the loop until *flag (or *count >= want) or the time is over. */
static inline bool bus_run_until(sd_event *loop, const size_t *count, size_t want,
				 uint64_t timeout_ms)
{
	uint64_t end = clock_boot_ns() + timeout_ms * NSEC_PER_MSEC;

	while (*count < want) {
		uint64_t now = clock_boot_ns();

		if (now >= end ||
		    sd_event_run(loop, (end - now) / NSEC_PER_SEC * USEC_PER_SEC + 1000) < 0) {
			return *count >= want;
		}
	}
	return true;
}

/* Run the loop that long, whatever happens. */
static inline void bus_run_for(sd_event *loop, uint64_t ms)
{
	const size_t never = 0;

	bus_run_until(loop, &never, 1, ms);
}

/* A connected unix socket, blocking; -1 on failure. */
static inline int bus_raw_connect(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* A port of loopback that nobody listens on. */
static inline unsigned int bus_free_port(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &len) < 0) {
		abort();
	}
	close(fd);
	return ntohs(a.sin_port);
}

/* A connected tcp socket, blocking; -1 on failure. */
static inline int bus_tcp_connect(unsigned int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static inline bool bus_raw_send(int fd, const void *data, size_t len)
{
	return send(fd, data, len, MSG_NOSIGNAL) == (ssize_t)len;
}

/* Exactly len bytes while the loop runs on; false at the end of the stream or of the time. */
static inline bool bus_raw_recv(sd_event *loop, int fd, void *out, size_t len, uint64_t timeout_ms)
{
	uint64_t end = clock_boot_ns() + timeout_ms * NSEC_PER_MSEC;
	size_t got = 0;

	while (got < len && clock_boot_ns() < end) {
		ssize_t n = recv(fd, (char *)out + got, len - got, MSG_DONTWAIT);

		if (n > 0) {
			got += (size_t)n;
		} else if (n == 0 || errno != EAGAIN) {
			return false;
		} else {
			sd_event_run(loop, 1000);
		}
	}
	return got == len;
}

/* Send our handshake and read theirs. */
static inline bool bus_raw_handshake(sd_event *loop, int fd, uint8_t protocol)
{
	const uint8_t hello[8] = { 0, 'S', 'P', 0, 0, protocol, 0, 0 };
	uint8_t theirs[8];

	return bus_raw_send(fd, hello, sizeof(hello)) &&
	       bus_raw_recv(loop, fd, theirs, sizeof(theirs), 5000) &&
	       memcmp(theirs, "\0SP\0", 4) == 0;
}

/* One ipc frame: type 1, length, then `head` and `body`. */
static inline bool bus_raw_frame(int fd, const void *head, size_t head_len, const void *body,
				 size_t len)
{
	uint64_t total = head_len + len;
	uint8_t frame[9] = { 1 };

	for (int i = 0; i < 8; i++) {
		frame[1 + i] = (uint8_t)(total >> (56 - 8 * i));
	}
	return bus_raw_send(fd, frame, sizeof(frame)) &&
	       (head_len == 0 || bus_raw_send(fd, head, head_len)) &&
	       (len == 0 || bus_raw_send(fd, body, len));
}
