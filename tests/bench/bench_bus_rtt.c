/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Round trip of a small request between two processes on one core: a raw
 * AF_UNIX stream with epoll on both sides, nng's own req/rep, and a Bus.Ping of
 * our library with envelopes, decoding and access checks.  64 bytes and 1 KiB.
 */
#include <fcntl.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "bus/client.h"
#include "bus/service.h"
#include "libcommon/clock.h"
#include "libcommon/link.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"
#include "tests/bench/bench.h"

#define N_TRIPS	  10000
#define N_WARM_UP 1000
#define SIZE_MAX_ 1024

static char dir[] = "/tmp/xenmesh-bench-XXXXXX";

static const char *in_dir(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void die(const char *what)
{
	fprintf(stderr, "bench_bus_rtt: %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

/* ---- raw AF_UNIX with epoll ---- */

static void wait_readable(int epoll_fd)
{
	struct epoll_event e;

	while (epoll_wait(epoll_fd, &e, 1, -1) != 1) {
	}
}

static int watch(int fd)
{
	struct epoll_event e = { .events = EPOLLIN };
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

	if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0) {
		die("epoll");
	}
	return epoll_fd;
}

static void raw_server(int ready)
{
	char buffer[SIZE_MAX_];
	int listener = link_listen(in_dir("raw"));
	int epoll_fd;
	int fd;

	close(ready);
	do {
		fd = accept(listener, NULL, NULL);
	} while (fd < 0 && (errno == EAGAIN || errno == EINTR));
	epoll_fd = watch(fd);
	for (;;) {
		ssize_t n;

		wait_readable(epoll_fd);
		n = recv(fd, buffer, sizeof(buffer), 0);
		if (n <= 0 || send(fd, buffer, (size_t)n, MSG_NOSIGNAL) != n) {
			_exit(0);
		}
	}
}

static void raw_client(size_t size, struct bench_times *times)
{
	static int fd = -1;
	static int epoll_fd;
	char buffer[SIZE_MAX_] = { 0 };

	if (fd < 0) {
		fd = link_connect(in_dir("raw"));
		epoll_fd = watch(fd);
	}
	for (size_t i = 0; i < N_WARM_UP + N_TRIPS; i++) {
		uint64_t begin = clock_boot_ns();

		if (send(fd, buffer, size, MSG_NOSIGNAL) != (ssize_t)size) {
			die("send");
		}
		wait_readable(epoll_fd);
		if (recv(fd, buffer, size, MSG_WAITALL) != (ssize_t)size) {
			die("recv");
		}
		if (i >= N_WARM_UP) {
			bench_times_add(times, clock_boot_ns() - begin);
		}
	}
}

/* ---- nng ---- */

static void check_nng(int rv, const char *what)
{
	if (rv != 0) {
		fprintf(stderr, "bench_bus_rtt: %s: %s\n", what, nng_strerror(rv));
		exit(EXIT_FAILURE);
	}
}

static void nng_server(int ready)
{
	nng_socket s;
	char url[160];

	snprintf(url, sizeof(url), "ipc://%s", in_dir("nng"));
	check_nng(nng_rep0_open(&s), "nng_rep0_open");
	check_nng(nng_listen(s, url, NULL, 0), url);
	close(ready);
	for (;;) {
		nng_msg *m;

		check_nng(nng_recvmsg(s, &m, 0), "nng_recvmsg");
		check_nng(nng_sendmsg(s, m, 0), "nng_sendmsg");
	}
}

static void nng_client(size_t size, struct bench_times *times)
{
	nng_socket s;
	char url[160];

	snprintf(url, sizeof(url), "ipc://%s", in_dir("nng"));
	check_nng(nng_req0_open(&s), "nng_req0_open");
	check_nng(nng_dial(s, url, NULL, 0), url);
	for (size_t i = 0; i < N_WARM_UP + N_TRIPS; i++) {
		uint64_t begin = clock_boot_ns();
		nng_msg *m;

		check_nng(nng_msg_alloc(&m, size), "nng_msg_alloc");
		check_nng(nng_sendmsg(s, m, 0), "nng_sendmsg");
		check_nng(nng_recvmsg(s, &m, 0), "nng_recvmsg");
		nng_msg_free(m);
		if (i >= N_WARM_UP) {
			bench_times_add(times, clock_boot_ns() - begin);
		}
	}
	nng_close(s);
}

/* ---- our bus ---- */

static struct topology *load_topology(void)
{
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	struct topology *t = NULL;

	if (topology_load(&t, in_dir("topology.conf"), &errors) < 0) {
		fprintf(stderr, "%s\n", strbuf_str(&errors));
		exit(EXIT_FAILURE);
	}
	return t;
}

static void write_topology(void)
{
	FILE *f = fopen(in_dir("topology.conf"), "we");

	if (!f) {
		die("topology.conf");
	}
	fprintf(f,
		"[bus]\nrun_dir = %s\n\n[service bench]\npub = ipc://@run@/pub\n"
		"rpc = ipc://@run@/rpc\n",
		dir);
	fclose(f);
}

static void bus_server(int ready)
{
	struct bus_service *service = NULL;
	sd_event *loop = NULL;
	const struct bus_service_config config = { .topology = load_topology(),
						   .name = "bench",
						   .version = "0" };

	if (loop_new(&loop) < 0 || bus_service_new(&service, loop, &config) < 0) {
		die("bus_service_new");
	}
	close(ready);
	loop_run(loop);
	_exit(0);
}

static void on_pong(struct bus_client *c _unused_, const struct bus_result *result, void *userdata)
{
	bool *done = userdata;

	if (result->code != CODE_OK) {
		fprintf(stderr, "bench_bus_rtt: ping: %s\n", result->message);
		exit(EXIT_FAILURE);
	}
	*done = true;
}

static void bus_client_run(size_t size, struct bench_times *times)
{
	static struct topology *topology;
	static struct bus_client *client;
	static sd_event *loop;
	Xenmesh__V1__PingRequest request = XENMESH__V1__PING_REQUEST__INIT;
	uint8_t buffer[SIZE_MAX_] = { 0 };

	if (!client) {
		topology = load_topology();
		if (sd_event_new(&loop) < 0 ||
		    bus_client_new(&client, loop, topology, "bench", "bench") < 0) {
			die("bus_client_new");
		}
	}
	request.echo.data = buffer;
	request.echo.len = size;
	for (size_t i = 0; i < N_WARM_UP + N_TRIPS; i++) {
		uint64_t begin = clock_boot_ns();
		bool done = false;

		if (bus_client_call(client, "xenmesh.v1.Bus/Ping", &request.base, NULL, on_pong,
				    &done, NULL) < 0) {
			die("bus_client_call");
		}
		while (!done) {
			sd_event_run(loop, UINT64_MAX);
		}
		if (i >= N_WARM_UP) {
			bench_times_add(times, clock_boot_ns() - begin);
		}
	}
}

/* ---- main ---- */

/* nng cannot be used on both sides of a fork, so all servers start before any client. */
static pid_t start(void (*server)(int ready))
{
	char byte;
	int ready[2];
	pid_t pid;

	if (pipe2(ready, O_CLOEXEC) < 0) {
		die("pipe");
	}
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ready[0]);
		server(ready[1]);
		_exit(0);
	}
	close(ready[1]);
	if (pid < 0 || read(ready[0], &byte, 1) != 0) {
		die("server");
	}
	close(ready[0]);
	return pid;
}

static void pin(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0) {
		puts("(not pinned to one core)");
	}
}

int main(void)
{
	static const size_t sizes[] = { 64, SIZE_MAX_ };
	pid_t servers[3];

	log_init("bench_bus_rtt");
	log_set_level(LOG_LEVEL_ERROR);
	if (!mkdtemp(dir)) {
		die(dir);
	}
	pin();
	write_topology();
	servers[0] = start(raw_server);
	servers[1] = start(nng_server);
	servers[2] = start(bus_server);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct bench_times raw, nng, bus;

		bench_times_init(&raw, N_TRIPS);
		bench_times_init(&nng, N_TRIPS);
		bench_times_init(&bus, N_TRIPS);
		raw_client(sizes[i], &raw);
		nng_client(sizes[i], &nng);
		bus_client_run(sizes[i], &bus);
		printf("round trip of %zu bytes, one core:\n", sizes[i]);
		bench_print("  raw AF_UNIX stream, epoll", &raw, NULL, NULL);
		bench_print("  nng req/rep", &nng, "raw", &raw);
		bench_print("  xenmesh Bus.Ping", &bus, "raw", &raw);
		bench_print("  xenmesh Bus.Ping", &bus, "nng", &nng);
		bench_times_deinit(&raw);
		bench_times_deinit(&nng);
		bench_times_deinit(&bus);
	}
	for (size_t i = 0; i < ARRAY_LEN(servers); i++) {
		kill(servers[i], SIGKILL);
		waitpid(servers[i], NULL, 0);
	}
	for (size_t i = 0; i < 5; i++) {
		static const char *const names[] = { "raw", "nng", "pub", "rpc", "topology.conf" };

		unlink(in_dir(names[i]));
	}
	rmdir(dir);
	return EXIT_SUCCESS;
}
