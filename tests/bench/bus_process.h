/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The processes of the benchmark of the bus: forked from a driver that uses no
 * messaging library, one for each role, killed at the end (also when the
 * driver dies).
 */
#include "tests/bench/bus_peer.h"

/* A peer's broker (if it has one), echo server and client. */
struct bench_pair {
	const struct bench_peer *peer;
	const char *dir;
	pid_t broker, server, client;
	int control;	     /* of the client */
	const char *trouble; /* NULL; else why there are no figures */
};

struct bench_calls {
	double p50_us, p99_us;
	double per_second;
	double switches; /* voluntary context switches of all its processes, per call */
};

struct bench_fan_out {
	double per_second; /* delivered to all subscribers together */
	uint64_t n_expected, n_delivered, n_dropped, n_disordered;
};

/* One measure of a fan-out. */
struct bench_fan_case {
	size_t size;
	size_t n_bursts;
	size_t burst;  /* messages */
	bool is_flood; /* do not wait between bursts until all have got all */
};

/* Pin this process, and so all that it forks, to one core. The core, -1 if it cannot. */
int bench_pin(void);
void bench_pair_start(struct bench_pair *p, const struct bench_peer *peer, const char *dir);
void bench_pair_stop(struct bench_pair *p);
/* n calls one by one, or with BENCH_WINDOW under way. False with p->trouble. */
bool bench_pair_call(struct bench_pair *p, size_t size, size_t n, bool is_many,
		     struct bench_calls *out);
/* A publisher and its subscribers, for as many measures. */
bool bench_pair_fan_out(struct bench_pair *p, size_t n_subscribers,
			const struct bench_fan_case *cases, size_t n_cases,
			struct bench_fan_out *out);

/* ---- what the driver asks a client or publisher to do ---- */

enum bench_kind { BENCH_CALL_ONE, BENCH_CALL_MANY, BENCH_BURSTS, BENCH_FLOOD };

struct bench_command {
	enum bench_kind kind;
	size_t size, n, burst;
};

struct bench_answer {
	uint64_t p50_ns, p99_ns, wall_ns;
	struct bench_fan_out fan;
};

/* By the driver; false when the process has ended or takes too long. */
bool bench_ask(int control, const struct bench_command *command, struct bench_answer *answer);
/* By the process; false: the driver has closed. */
bool bench_next(int control, struct bench_command *command);
void bench_answer(int control, const struct bench_answer *answer);

/* ---- processes ---- */

/* Of /proc/PID/status: "VmRSS:", "Threads:"; 0 = not there. */
uint64_t bench_status(pid_t pid, const char *key);
/* Forks; the child dies with its parent. */
pid_t bench_fork(void);
void bench_kill(pid_t *pid);
