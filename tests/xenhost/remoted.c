/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The control channel into the emulated dom0: one TCP connection is one request.
 *
 * Forking is what costs most in an emulated PV dom0, so everything a test driver does often
 * (copying files, waiting for a line in a log, talking to a service's socket) is done here without
 * starting a program. Each connection is served by a child that dies with it: a driver that gives
 * up simply closes, and the program it had started is killed with its process group.
 *
 * Request: one line, then its payload.
 *
 * - "run LEN": the payload is a shell script; VALUE is its exit code, 128 + signal if it was killed
 * - "spawn LEN": the same, detached; VALUE is its pid, which is also its process group
 * - "put MODE LEN PATH": write a file (octal mode), replacing it; VALUE is 0 or -errno
 * - "get OFFSET PATH": the file from OFFSET to its present end; VALUE is 0 or -errno
 * - "expect OFFSET LEN PATH": the payload is a string; VALUE is the offset after its first place in
 *   PATH at or behind OFFSET, answered as soon as it is there
 * - "unix PATH": connect to a stream socket; VALUE is 0 or -errno, after 0 come plain bytes
 *
 * Answer: any number of "o LENGTH" lines, each with that many bytes after it, then "x VALUE".
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define REMOTED_PORT	  7000
#define LINE_MAX_BYTES	  4096
#define PAYLOAD_MAX_BYTES (64u << 20)
#define CHUNK_BYTES	  65536

static bool write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static bool read_all(int fd, void *data, size_t len)
{
	char *p = data;

	while (len > 0) {
		ssize_t n = read(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static void answer(int conn, long long value)
{
	char line[32];
	int n = snprintf(line, sizeof(line), "x %lld\n", value);

	write_all(conn, line, (size_t)n);
}

static bool send_chunk(int conn, const void *data, size_t len)
{
	char line[32];
	int n = snprintf(line, sizeof(line), "o %zu\n", len);

	return write_all(conn, line, (size_t)n) && write_all(conn, data, len);
}

static void exec_shell(const char *script, int out_fd)
{
	int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	signal(SIGCHLD, SIG_DFL);
	signal(SIGPIPE, SIG_DFL);
	dup2(null_fd, STDIN_FILENO);
	dup2(out_fd, STDOUT_FILENO);
	dup2(out_fd, STDERR_FILENO);
	execl("/bin/sh", "sh", "-c", script, (char *)NULL);
	_exit(127);
}

/* Returns false when the reader has gone. */
static bool pump_output(int conn, int out_fd)
{
	static char buf[CHUNK_BYTES];
	ssize_t n;

	while ((n = read(out_fd, buf, sizeof(buf))) > 0) {
		if (!send_chunk(conn, buf, (size_t)n))
			return false;
	}
	return true;
}

static void do_run(int conn, const char *script)
{
	int pipe_fds[2];
	siginfo_t info = { 0 };

	if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
		answer(conn, -errno);
		return;
	}
	pid_t pid = fork();
	if (pid == 0) {
		setsid();
		exec_shell(script, pipe_fds[1]);
	}
	close(pipe_fds[1]);
	fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK);
	int pid_fd = pid < 0 ? -1 : pidfd_open(pid, 0);
	if (pid_fd < 0) {
		answer(conn, -errno);
		return;
	}
	struct pollfd fds[3] = {
		{ .fd = pipe_fds[0], .events = POLLIN },
		{ .fd = pid_fd, .events = POLLIN },
		{ .fd = conn, .events = POLLRDHUP },
	};
	while (fds[1].revents == 0) {
		if (poll(fds, 3, -1) < 0)
			continue;
		if (!pump_output(conn, pipe_fds[0]) || fds[2].revents != 0) {
			kill(-pid, SIGKILL);
			return;
		}
		if ((fds[0].revents & POLLHUP) != 0)
			fds[0].fd = -1;
	}
	waitid(P_PID, (id_t)pid, &info, WEXITED);
	pump_output(conn, pipe_fds[0]);
	answer(conn, info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status);
}

static void do_spawn(int conn, const char *script)
{
	pid_t pid = fork();

	if (pid == 0) {
		setsid();
		close(conn);
		exec_shell(script, open("/dev/null", O_WRONLY));
	}
	answer(conn, pid < 0 ? -errno : pid);
}

static void do_put(int conn, const char *path, unsigned mode, const void *data, size_t len)
{
	char temp[LINE_MAX_BYTES + 8];
	int ret = 0;

	snprintf(temp, sizeof(temp), "%s.put", path);
	int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0) {
		answer(conn, -errno);
		return;
	}
	if (!write_all(fd, data, len) || fchmod(fd, mode) < 0)
		ret = -errno;
	close(fd);
	if (ret == 0 && rename(temp, path) < 0)
		ret = -errno;
	answer(conn, ret);
}

static void do_get(int conn, const char *path, long long offset)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || lseek(fd, offset, SEEK_SET) < 0) {
		answer(conn, -errno);
		return;
	}
	if (pump_output(conn, fd))
		answer(conn, 0);
}

/* Reads what the file has behind *offset and looks for the needle, also across read boundaries. */
static long long find_in_file(const char *path, long long *offset, const char *needle, size_t len)
{
	static char buf[CHUNK_BYTES];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	long long found = -1;
	ssize_t n;

	if (fd < 0)
		return -1;
	while (found < 0 && (n = pread(fd, buf, sizeof(buf), *offset)) >= (ssize_t)len) {
		const char *hit = memmem(buf, (size_t)n, needle, len);

		if (hit != NULL)
			found = *offset + (hit - buf) + (long long)len;
		else
			*offset += n - (ssize_t)len + 1;
	}
	close(fd);
	return found;
}

/* The directory is watched, not the file: it may not exist yet, or be replaced. */
static void do_expect(int conn, const char *path, long long offset, const char *needle, size_t len)
{
	char dir[LINE_MAX_BYTES];
	char events[CHUNK_BYTES];
	long long found;

	snprintf(dir, sizeof(dir), "%s", path);
	char *slash = strrchr(dir, '/');
	int watch_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

	if (slash == NULL || slash == dir || len == 0 || watch_fd < 0) {
		answer(conn, -EINVAL);
		return;
	}
	*slash = '\0';
	if (inotify_add_watch(watch_fd, dir, IN_CREATE | IN_MODIFY | IN_MOVED_TO) < 0) {
		answer(conn, -errno);
		return;
	}
	while ((found = find_in_file(path, &offset, needle, len)) < 0) {
		struct pollfd fds[2] = {
			{ .fd = watch_fd, .events = POLLIN },
			{ .fd = conn, .events = POLLRDHUP },
		};

		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[1].revents != 0)
			return;
		while (read(watch_fd, events, sizeof(events)) > 0)
			;
	}
	answer(conn, found);
}

/* Moves what there is; a closed direction is passed on as a half close. */
static bool relay_some(struct pollfd *from, int to_fd)
{
	static char buf[CHUNK_BYTES];

	if (from->fd < 0 || (from->revents & (POLLIN | POLLHUP | POLLERR)) == 0)
		return true;
	ssize_t n = read(from->fd, buf, sizeof(buf));
	if (n > 0)
		return write_all(to_fd, buf, (size_t)n);
	if (n < 0 && errno == EINTR)
		return true;
	shutdown(to_fd, SHUT_WR);
	from->fd = -1;
	return n == 0;
}

static void do_unix(int conn, const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(addr.sun_path)) {
		answer(conn, -ENAMETOOLONG);
		return;
	}
	memcpy(addr.sun_path, path, strlen(path) + 1);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		answer(conn, -errno);
		return;
	}
	answer(conn, 0);
	struct pollfd fds[2] = {
		{ .fd = conn, .events = POLLIN },
		{ .fd = fd, .events = POLLIN },
	};
	while (fds[0].fd >= 0 || fds[1].fd >= 0) {
		if (poll(fds, 2, -1) < 0)
			continue;
		if (!relay_some(&fds[0], fd) || !relay_some(&fds[1], conn))
			return;
	}
}

static bool read_line(int conn, char *line, size_t size)
{
	for (size_t i = 0; i + 1 < size; i++) {
		if (!read_all(conn, &line[i], 1))
			return false;
		if (line[i] == '\n') {
			line[i] = '\0';
			return true;
		}
	}
	return false;
}

static char *read_payload(int conn, size_t len)
{
	char *payload = len <= PAYLOAD_MAX_BYTES ? malloc(len + 1) : NULL;

	if (payload == NULL || !read_all(conn, payload, len)) {
		free(payload);
		return NULL;
	}
	payload[len] = '\0';
	return payload;
}

static void serve(int conn)
{
	char line[LINE_MAX_BYTES];
	char *payload = NULL;
	unsigned mode = 0;
	size_t len = 0;
	long long offset = 0;
	int at = 0;

	if (!read_line(conn, line, sizeof(line)))
		return;
	if (sscanf(line, "run %zu", &len) == 1 && (payload = read_payload(conn, len)) != NULL)
		do_run(conn, payload);
	else if (sscanf(line, "spawn %zu", &len) == 1 &&
		 (payload = read_payload(conn, len)) != NULL)
		do_spawn(conn, payload);
	else if (sscanf(line, "put %o %zu %n", &mode, &len, &at) == 2 && at > 0 &&
		 (payload = read_payload(conn, len)) != NULL)
		do_put(conn, line + at, mode, payload, len);
	else if (sscanf(line, "get %lld %n", &offset, &at) == 1 && at > 0)
		do_get(conn, line + at, offset);
	else if (sscanf(line, "expect %lld %zu %n", &offset, &len, &at) == 2 && at > 0 &&
		 (payload = read_payload(conn, len)) != NULL)
		do_expect(conn, line + at, offset, payload, len);
	else if (sscanf(line, "unix %n", &at) == 0 && at > 0)
		do_unix(conn, line + at);
	else
		answer(conn, -EBADMSG);
	free(payload);
}

int main(void)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons(REMOTED_PORT),
		.sin_addr.s_addr = htonl(INADDR_ANY),
	};
	int one = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	signal(SIGCHLD, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 64) < 0) {
		perror("remoted: cannot listen");
		return 1;
	}
	/* Said only once it listens: the driver waits for this line on the serial console. */
	puts("XENHOST-READY");
	fflush(stdout);
	for (;;) {
		int conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (conn < 0)
			continue;
		if (fork() == 0) {
			close(fd);
			signal(SIGCHLD, SIG_DFL);
			setsockopt(conn, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
			serve(conn);
			_exit(0);
		}
		close(conn);
	}
}
