/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/bench/bus_process.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "libcommon/clock.h"
#include "tests/bench/bench.h"

#define ANSWER_MS	120000
#define WARM_UP_DIVISOR 10

/* ---- processes ---- */

int bench_pin(void)
{
	cpu_set_t set;
	int cpu;

	if (sched_getaffinity(0, sizeof(set), &set) < 0) {
		return -1;
	}
	for (cpu = CPU_SETSIZE - 1; cpu >= 0 && !CPU_ISSET(cpu, &set); cpu--) {
	}
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) < 0 ? -1 : cpu;
}

pid_t bench_fork(void)
{
	pid_t pid = fork();

	bench_expect(pid >= 0, "fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	}
	return pid;
}

void bench_kill(pid_t *pid)
{
	if (*pid > 0) {
		kill(*pid, SIGKILL);
		waitpid(*pid, NULL, 0);
	}
	*pid = 0;
}

/* 0 when it ended before it was ready. */
static pid_t start(void (*fn)(const char *dir, int ready), const char *dir)
{
	int ready[2], status;
	char byte;
	pid_t pid;

	bench_expect(pipe2(ready, O_CLOEXEC) == 0, "pipe");
	pid = bench_fork();
	if (pid == 0) {
		close(ready[0]);
		fn(dir, ready[1]);
		_exit(EXIT_FAILURE);
	}
	close(ready[1]);
	bench_expect(read(ready[0], &byte, 1) == 0, "ready");
	close(ready[0]);
	return waitpid(pid, &status, WNOHANG) == pid ? 0 : pid;
}

static uint64_t number_in(const char *path, const char *key)
{
	FILE *f = fopen(path, "re");
	uint64_t value = 0;
	char line[256];

	while (f && fgets(line, sizeof(line), f)) {
		if (str_starts(line, key)) {
			value = strtoull(line + strlen(key), NULL, 10);
		}
	}
	if (f) {
		fclose(f);
	}
	return value;
}

uint64_t bench_status(pid_t pid, const char *key)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	return number_in(path, key);
}

/* Of all threads. */
static uint64_t switches_of(pid_t pid)
{
	char path[96];
	uint64_t sum = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = pid > 0 ? opendir(path) : NULL;
	for (const struct dirent *d = dir ? readdir(dir) : NULL; d; d = readdir(dir)) {
		if (d->d_name[0] != '.') {
			snprintf(path, sizeof(path), "/proc/%d/task/%.16s/status", (int)pid,
				 d->d_name);
			sum += number_in(path, "voluntary_ctxt_switches:");
		}
	}
	if (dir) {
		closedir(dir);
	}
	return sum;
}

static uint64_t pair_switches(const struct bench_pair *p)
{
	return switches_of(p->broker) + switches_of(p->server) + switches_of(p->client);
}

/* ---- commands ---- */

bool bench_ask(int control, const struct bench_command *command, struct bench_answer *answer)
{
	struct pollfd p = { .fd = control, .events = POLLIN };

	return send(control, command, sizeof(*command), MSG_NOSIGNAL) == sizeof(*command) &&
	       poll(&p, 1, ANSWER_MS) == 1 &&
	       recv(control, answer, sizeof(*answer), 0) == sizeof(*answer);
}

bool bench_next(int control, struct bench_command *command)
{
	return recv(control, command, sizeof(*command), 0) == sizeof(*command);
}

void bench_answer(int control, const struct bench_answer *answer)
{
	bench_expect(send(control, answer, sizeof(*answer), MSG_NOSIGNAL) == sizeof(*answer),
		     "answer");
}

/* ---- the client ---- */

static void measure_calls(const struct bench_peer *peer, void *client,
			  const struct bench_command *command, struct bench_answer *answer)
{
	uint64_t begin = clock_boot_ns();
	struct bench_times times;

	if (command->kind == BENCH_CALL_MANY) {
		peer->call_many(client, command->size, command->n);
		answer->wall_ns = clock_boot_ns() - begin;
		return;
	}
	bench_times_init(&times, command->n);
	for (size_t i = 0; i < command->n; i++) {
		uint64_t at = clock_boot_ns();

		peer->call(client, command->size);
		bench_times_add(&times, clock_boot_ns() - at);
	}
	answer->wall_ns = clock_boot_ns() - begin;
	answer->p50_ns = bench_percentile(&times, 50);
	answer->p99_ns = bench_percentile(&times, 99);
	bench_times_deinit(&times);
}

static void run_client(const struct bench_peer *peer, const char *dir, int control)
{
	void *client = peer->connect(dir);
	struct bench_command command;

	while (bench_next(control, &command)) {
		struct bench_answer answer = { 0 };

		measure_calls(peer, client, &command, &answer);
		bench_answer(control, &answer);
	}
	_exit(0);
}

void bench_pair_start(struct bench_pair *p, const struct bench_peer *peer, const char *dir)
{
	int control[2];

	*p = (struct bench_pair){ .peer = peer, .dir = dir, .control = -1 };
	if (peer->is_installed && !peer->is_installed()) {
		p->trouble = "not installed: make deps-bench";
		return;
	}
	p->broker = peer->broker ? start(peer->broker, dir) : 0;
	p->server = peer->broker && !p->broker ? 0 : start(peer->serve, dir);
	if (!p->server) {
		p->trouble = "failed to start";
		return;
	}
	bench_expect(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) == 0,
		     "socketpair");
	p->client = bench_fork();
	if (p->client == 0) {
		close(control[0]);
		run_client(peer, dir, control[1]);
	}
	close(control[1]);
	p->control = control[0];
}

void bench_pair_stop(struct bench_pair *p)
{
	p->control = xclose(p->control);
	bench_kill(&p->client);
	bench_kill(&p->server);
	bench_kill(&p->broker);
}

bool bench_pair_call(struct bench_pair *p, size_t size, size_t n, bool is_many,
		     struct bench_calls *out)
{
	struct bench_command command = { .kind = is_many ? BENCH_CALL_MANY : BENCH_CALL_ONE,
					 .size = size,
					 .n = n / WARM_UP_DIVISOR };
	struct bench_answer answer = { 0 };
	uint64_t before = 0;

	if (!p->trouble && bench_ask(p->control, &command, &answer)) {
		command.n = n;
		before = pair_switches(p);
		if (bench_ask(p->control, &command, &answer)) {
			out->switches = (double)(pair_switches(p) - before) / (double)n;
			out->p50_us = (double)answer.p50_ns / 1000;
			out->p99_us = (double)answer.p99_ns / 1000;
			out->per_second = (double)n * 1e9 / (double)answer.wall_ns;
			return true;
		}
	}
	p->trouble = p->trouble ? p->trouble : "failed";
	return false;
}
