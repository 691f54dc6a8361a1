/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A peer of our own asks whether somebody listens.  It sends its 8 bytes and
 * waits for the listener's: one that does not makes nng 1.5.2, should that be
 * it, stop accepting for ever.
 */
#include "bus/sp_path.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"

#define DIR_MODE     0755
#define LIVE_WAIT_MS 500 /* a healthy process answers within a millisecond */

/* A connection that has sent our half of the handshake: the fd or -errno. */
static int open_connection(const char *path, enum sp_protocol protocol)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	uint8_t hello[SP_HANDSHAKE_LEN];
	int fd, r;

	if (strlen(path) >= sizeof(address.sun_path)) {
		return -ENAMETOOLONG;
	}
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		return err_errno();
	}
	sp_handshake(hello, protocol);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    send(fd, hello, sizeof(hello), MSG_NOSIGNAL) < 0) {
		r = err_errno();
		close(fd);
		return r;
	}
	return fd;
}

/* 0 = more is to come; 1 = all bytes read; -errno, -EPIPE when the listener hung up. */
static int read_some(int fd, size_t *n_read)
{
	uint8_t bytes[SP_HANDSHAKE_LEN];
	ssize_t n = recv(fd, bytes, sizeof(bytes) - *n_read, MSG_DONTWAIT);

	if (n < 0) {
		return errno == EAGAIN || errno == EINTR ? 0 : err_errno();
	}
	if (n == 0) {
		return -EPIPE;
	}
	*n_read += (size_t)n;
	return *n_read == SP_HANDSHAKE_LEN;
}

/* Is somebody listening? 0 = nobody (no file, or a stale one); 1 = yes; -errno. */
static int is_live(const char *path, enum sp_protocol protocol)
{
	uint64_t end = clock_boot_ns() + LIVE_WAIT_MS * NSEC_PER_MSEC;
	_cleanup_(xclosep) int fd = open_connection(path, protocol);
	size_t n_read = 0;

	if (fd == -ENOENT || fd == -ECONNREFUSED) {
		return 0;
	}
	if (fd == -EAGAIN || fd == -EPIPE || fd == -ECONNRESET) {
		return 1; /* it accepts slowly, or not us */
	}
	if (fd < 0) {
		return fd;
	}
	for (uint64_t now = clock_boot_ns(); now < end; now = clock_boot_ns()) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		if (poll(&p, 1, (int)((end - now) / NSEC_PER_MSEC) + 1) > 0 &&
		    read_some(fd, &n_read) != 0) {
			break;
		}
	}
	return 1;
}

bool sp_path_is_reachable(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_(xclosep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || strlen(path) >= sizeof(address.sun_path)) {
		return false;
	}
	memcpy(address.sun_path, path, strlen(path) + 1);
	return connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 || errno == EAGAIN;
}

static int make_dir(const char *path)
{
	_cleanup_(xfreep) char *dir = strdup(path);
	char *slash;
	int r;

	if (!dir) {
		return -ENOMEM;
	}
	slash = strrchr(dir, '/');
	if (!slash || slash == dir) {
		return 0;
	}
	*slash = '\0';
	if (mkdir(dir, DIR_MODE) < 0 && errno != EEXIST) {
		r = err_errno();
		log_error("cannot make the directory %s: %s; create it or change run_dir", dir,
			  err_text(r));
		return r;
	}
	return 0;
}

int sp_path_prepare(const char *path, enum sp_protocol protocol)
{
	struct stat st;
	int r = make_dir(path);

	if (r < 0) {
		return r;
	}
	if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode)) {
		log_error("%s is not a socket; move it away or change the topology", path);
		return -EEXIST;
	}
	r = is_live(path, protocol);
	if (r > 0) {
		log_error("%s is served by another process; stop it, or give this one another "
			  "address in the topology",
			  path);
		return -EADDRINUSE;
	}
	if (r == 0 && unlink(path) < 0 && errno != ENOENT) {
		r = err_errno();
	}
	if (r < 0) {
		log_error("cannot use the socket %s: %s", path, err_text(r));
	}
	return r;
}
