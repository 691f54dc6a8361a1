/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One publisher and many subscribers.  The publisher does not begin before a
 * probe has reached all of them.  In bursts it waits for all to have all
 * before the next burst; a flood goes on regardless, and what is lost counts.
 */
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "libcommon/clock.h"
#include "tests/bench/bus_process.h"

#define PROBE_MS       10
#define PROBES_MAX     3000
#define BURST_LOST_MS  200 /* the end of a burst that is that late is lost */
#define FLOOD_QUIET_MS 200 /* without a further message: the rest is lost */

/* ---- the publisher ---- */

struct publishing {
	const struct bench_peer *peer;
	void *publisher;
	struct bench_fan *fan;
	uint64_t seq;
};

static void wait_subscribers(const struct publishing *p)
{
	const struct bench_message probe[4] = { { 0 } };

	for (int i = 0; i < PROBES_MAX && p->fan->n_ready < p->fan->n; i++) {
		p->peer->wait(p->publisher, PROBE_MS);
		bench_fan_is_done(p->fan);
		if (p->fan->n_ready < p->fan->n) {
			p->peer->publish(p->publisher, probe, sizeof(probe));
		}
	}
	if (p->fan->n_ready < p->fan->n) {
		bench_fail(p->peer->name, "not all subscribers get messages");
	}
	p->peer->wait(p->publisher, PROBE_MS); /* stray probes */
	bench_fan_is_done(p->fan);
}

static uint64_t n_received(const struct bench_fan *fan)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < fan->n; i++) {
		sum += fan->slots[i].n_received;
	}
	return sum;
}

static uint64_t last_ns(const struct bench_fan *fan)
{
	uint64_t last = 0;

	for (size_t i = 0; i < fan->n; i++) {
		last = MAX(last, fan->slots[i].last_ns);
	}
	return last;
}

static void publish_burst(struct publishing *p, uint8_t *data, const struct bench_command *c,
			  uint32_t burst)
{
	struct bench_message m = { .burst = burst };

	p->fan->burst = burst;
	p->fan->n_done = 0;
	for (size_t i = 0; i < c->burst; i++) {
		m.seq = ++p->seq;
		m.is_end = i + 1 == c->burst;
		memcpy(data, &m, sizeof(m));
		p->peer->publish(p->publisher, data, c->size);
	}
}

static void wait_quiet(const struct publishing *p)
{
	uint64_t before;

	do {
		before = n_received(p->fan);
		p->peer->wait(p->publisher, FLOOD_QUIET_MS);
		bench_fan_is_done(p->fan);
	} while (n_received(p->fan) != before);
}

static void measure_fan_out(struct publishing *p, const struct bench_command *c,
			    struct bench_answer *answer)
{
	static uint8_t data[BENCH_MESSAGE_MAX];
	uint64_t received = n_received(p->fan), begin = clock_boot_ns();
	uint64_t drops = p->peer->drops ? p->peer->drops(p->publisher) : 0;
	struct bench_fan_out *out = &answer->fan;

	for (uint32_t i = 1; i <= c->n; i++) {
		publish_burst(p, data, c, i);
		p->peer->wait(p->publisher, c->kind == BENCH_FLOOD ? 0 : BURST_LOST_MS);
		bench_fan_is_done(p->fan);
	}
	if (n_received(p->fan) - received < c->n * c->burst * p->fan->n) {
		wait_quiet(p);
	}
	out->n_expected = c->n * c->burst * p->fan->n;
	out->n_delivered = n_received(p->fan) - received;
	out->n_dropped = p->peer->drops ? p->peer->drops(p->publisher) - drops : 0;
	for (size_t i = 0; i < p->fan->n; i++) {
		out->n_disordered += p->fan->slots[i].n_disordered;
	}
	answer->wall_ns = last_ns(p->fan) - begin;
	out->per_second = (double)out->n_delivered * 1e9 / (double)answer->wall_ns;
}

static void run_publisher(const struct bench_pair *pair, struct bench_fan *fan, int control)
{
	struct publishing p = { .peer = pair->peer, .fan = fan };
	struct bench_answer answer = { 0 };
	struct bench_command command;

	p.publisher = p.peer->publisher(pair->dir, fan);
	bench_answer(control, &answer);
	while (bench_next(control, &command)) {
		answer = (struct bench_answer){ 0 };
		wait_subscribers(&p);
		measure_fan_out(&p, &command, &answer);
		bench_answer(control, &answer);
	}
	_exit(0);
}

static pid_t start_publisher(const struct bench_pair *pair, struct bench_fan *fan, int *control)
{
	struct bench_answer answer;
	int pair_fds[2];
	pid_t pid;

	bench_expect(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair_fds) == 0,
		     "socketpair");
	pid = bench_fork();
	if (pid == 0) {
		close(pair_fds[0]);
		run_publisher(pair, fan, pair_fds[1]);
	}
	close(pair_fds[1]);
	*control = pair_fds[0];
	if (recv(*control, &answer, sizeof(answer), 0) != sizeof(answer)) {
		bench_kill(&pid);
	}
	return pid;
}

static bool measure_cases(int control, const struct bench_fan_case *cases, size_t n_cases,
			  struct bench_fan_out *out)
{
	for (size_t i = 0; i < n_cases; i++) {
		const struct bench_command command = { .kind = cases[i].is_flood ? BENCH_FLOOD
										 : BENCH_BURSTS,
						       .size = cases[i].size,
						       .n = cases[i].n_bursts,
						       .burst = cases[i].burst };
		struct bench_answer answer;

		if (!bench_ask(control, &command, &answer)) {
			return false;
		}
		out[i] = answer.fan;
	}
	return true;
}

bool bench_pair_fan_out(struct bench_pair *p, size_t n_subscribers,
			const struct bench_fan_case *cases, size_t n_cases,
			struct bench_fan_out *out)
{
	size_t size = sizeof(struct bench_fan) + n_subscribers * sizeof(struct bench_slot);
	pid_t *subscribers = calloc(n_subscribers, sizeof(*subscribers));
	struct bench_fan *fan = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
				     -1, 0);
	bool is_good = false;
	pid_t publisher;
	int control = -1;

	bench_expect(subscribers && fan != MAP_FAILED, "memory");
	fan->n = (uint32_t)n_subscribers;
	fan->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	publisher = p->trouble ? 0 : start_publisher(p, fan, &control);
	for (size_t i = 0; publisher && i < n_subscribers; i++) {
		subscribers[i] = bench_fork();
		if (subscribers[i] == 0) {
			p->peer->subscribe(p->dir, fan, i);
			_exit(EXIT_FAILURE);
		}
	}
	is_good = publisher && measure_cases(control, cases, n_cases, out);
	for (size_t i = 0; i < n_subscribers; i++) {
		bench_kill(&subscribers[i]);
	}
	bench_kill(&publisher);
	xclose(control);
	xclose(fan->done_fd);
	munmap(fan, size);
	free(subscribers);
	if (!is_good && !p->trouble) {
		p->trouble = "failed";
	}
	return is_good;
}
