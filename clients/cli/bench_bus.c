/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The publisher is forked before anything of the bus runs in this process, has
 * a loop of its own, and ends when the socket to its parent does.
 */
#include "clients/cli/bench_bus.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "bus/service.h"
#include "clients/cli/cli.h"
#include "libcommon/clock.h"
#include "libcommon/err.h"

#define BATCH_MAX 256 /* events allowed by one read */

struct publisher {
	struct bus_service *service;
	char *text; /* size bytes */
	size_t size;
};

static int publish_one(struct publisher *p)
{
	Xenmesh__V1__Event event = XENMESH__V1__EVENT__INIT;
	Xenmesh__V1__Task task = XENMESH__V1__TASK__INIT;
	int n = snprintf(p->text, p->size, "%" PRIu64, clock_ns(CLOCK_MONOTONIC));

	if ((size_t)n + 1 < p->size) {
		memset(p->text + n, ' ', p->size - (size_t)n - 1);
		p->text[p->size - 1] = '\0';
	}
	task.step = p->text;
	event.body_case = XENMESH__V1__EVENT__BODY_TASK;
	event.task = &task;
	return bus_pub_publish(bus_service_pub(p->service), BENCH_TOPIC, &event);
}

static int on_allowed(sd_event_source *source, int fd, uint32_t events _unused_, void *userdata)
{
	char bytes[BATCH_MAX];
	ssize_t n = read(fd, bytes, sizeof(bytes));

	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		return 0;
	}
	for (ssize_t i = 0; i < n; i++) {
		if (publish_one(userdata) < 0) {
			n = 0;
		}
	}
	if (n <= 0) {
		return sd_event_exit(sd_event_source_get_event(source), 0);
	}
	return 0;
}

/* In the child. Says by a byte that it listens. */
static int run_publisher(struct topology *topology, int fd, size_t size)
{
	const struct bus_service_config config = {
		.topology = topology,
		.name = BENCH_SERVICE,
		.version = XENMESH_VERSION,
	};
	struct publisher p = { .size = MAX(size, 32) };
	sd_event *loop = NULL;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	p.text = malloc(p.size);
	if (!p.text || sd_event_new(&loop) < 0 || bus_service_new(&p.service, loop, &config) < 0 ||
	    sd_event_add_io(loop, NULL, fd, EPOLLIN, on_allowed, &p) < 0 ||
	    write(fd, "r", 1) != 1) {
		return 1;
	}
	return sd_event_loop(loop);
}

static int write_topology(struct bench_bus *b)
{
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	char path[96];
	FILE *f;
	int r;

	snprintf(path, sizeof(path), "%s/topology.conf", b->dir);
	f = fopen(path, "we");
	if (!f) {
		return err_errno();
	}
	fprintf(f,
		"[bus]\nrun_dir = %s\n[service " BENCH_SERVICE "]\n"
		"pub = ipc://@run@/pub\nrpc = ipc://@run@/rpc\n",
		b->dir);
	if (fclose(f)) {
		return err_errno();
	}
	r = topology_load(&b->topology, path, &errors);
	if (r < 0) {
		cli_error("%s", strbuf_str(&errors));
	}
	return r;
}

static int start(struct bench_bus *b, size_t size)
{
	int fds[2];
	char ready;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
		return err_errno();
	}
	fflush(stdout);
	b->pid = fork();
	if (b->pid < 0) {
		close(fds[0]);
		close(fds[1]);
		return err_errno();
	}
	if (b->pid == 0) {
		close(fds[0]);
		_exit(run_publisher(b->topology, fds[1], size) < 0);
	}
	close(fds[1]);
	b->fd = fds[0];
	return read(b->fd, &ready, 1) == 1 ? 0 : -EIO;
}

int bench_bus_open(struct bench_bus *b, size_t size)
{
	const char *tmp = secure_getenv("TMPDIR");
	int r;

	*b = (struct bench_bus){ .fd = -1, .pid = -1 };
	/* A path of a socket has 107 bytes at most. */
	snprintf(b->dir, sizeof(b->dir), "%s/xenmesh-bench-XXXXXX",
		 tmp && tmp[0] == '/' && strlen(tmp) < 32 ? tmp : "/tmp");
	if (!mkdtemp(b->dir)) {
		r = err_errno();
		cli_error("%s: %s", b->dir, err_text(r));
		b->dir[0] = '\0';
		return r;
	}
	r = write_topology(b);
	if (!r) {
		r = start(b, size);
	}
	if (r < 0) {
		cli_error("no private bus: %s", err_text(r));
		bench_bus_close(b);
	}
	return r;
}

int bench_bus_allow(struct bench_bus *b, size_t n)
{
	static const char bytes[BATCH_MAX];

	while (n > 0) {
		ssize_t written = send(b->fd, bytes, MIN(n, sizeof(bytes)), MSG_NOSIGNAL);

		if (written < 0) {
			return err_errno();
		}
		n -= (size_t)written;
	}
	return 0;
}

void bench_bus_close(struct bench_bus *b)
{
	static const char *const files[] = { "topology.conf", "pub", "rpc" };

	if (b->fd >= 0) {
		close(b->fd);
		b->fd = -1;
	}
	if (b->pid > 0) {
		waitpid(b->pid, NULL, 0);
		b->pid = -1;
	}
	b->topology = topology_free(b->topology);
	for (size_t i = 0; b->dir[0] && i < ARRAY_LEN(files); i++) {
		char path[96];

		snprintf(path, sizeof(path), "%s/%s", b->dir, files[i]);
		unlink(path);
	}
	if (b->dir[0]) {
		rmdir(b->dir);
		b->dir[0] = '\0';
	}
}
