/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/bench/bus_peer.h"

#include <poll.h>
#include <stdio.h>

#include "libcommon/clock.h"

void bench_die(const char *what)
{
	bench_fail(what, strerror(errno));
}

void bench_fail(const char *what, const char *why)
{
	fprintf(stderr, "bench_bus: %s: %s\n", what, why);
	_exit(EXIT_FAILURE);
}

const char *bench_path(const char *dir, const char *name)
{
	static char paths[4][160];
	static size_t next;
	char *path = paths[next++ % ARRAY_LEN(paths)];

	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

bool bench_has_program(const char *name)
{
	static const char *const dirs[] = { "/usr/bin", "/usr/sbin", "/usr/local/bin",
					    "/usr/local/sbin" };

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		if (access(bench_path(dirs[i], name), X_OK) == 0) {
			return true;
		}
	}
	return false;
}

/* ---- fan-out ---- */

static void notify(const struct bench_fan *fan)
{
	const uint64_t one = 1;

	bench_expect(write(fan->done_fd, &one, sizeof(one)) == sizeof(one), "eventfd");
}

void bench_fan_take(struct bench_fan *fan, size_t i, const void *data, size_t len)
{
	struct bench_slot *slot = &fan->slots[i];
	struct bench_message m;

	bench_expect(len >= sizeof(m), "a published message has lost bytes");
	memcpy(&m, data, sizeof(m));
	if (m.seq == 0) {
		if (!slot->is_ready) {
			slot->is_ready = true;
			if (atomic_fetch_add(&fan->n_ready, 1) + 1 == fan->n) {
				notify(fan);
			}
		}
		return;
	}
	slot->n_disordered += m.seq <= slot->last_seq;
	slot->last_seq = m.seq;
	atomic_store_explicit(&slot->last_ns, clock_boot_ns(), memory_order_relaxed);
	atomic_fetch_add_explicit(&slot->n_received, 1, memory_order_relaxed);
	if (m.is_end && m.burst == fan->burst && atomic_fetch_add(&fan->n_done, 1) + 1 == fan->n) {
		notify(fan);
	}
}

bool bench_fan_is_done(const struct bench_fan *fan)
{
	uint64_t n;

	return read(fan->done_fd, &n, sizeof(n)) == sizeof(n);
}

void bench_fan_poll(const struct bench_fan *fan, int timeout_ms)
{
	struct pollfd p = { .fd = fan->done_fd, .events = POLLIN };

	poll(&p, 1, timeout_ms);
}

static int on_done(sd_event_source *s _unused_, int fd _unused_, uint32_t events _unused_,
		   void *userdata _unused_)
{
	return 0; /* it is level-triggered: whoever runs the loop sees it */
}

void bench_fan_watch(struct bench_fan *fan, sd_event *loop)
{
	bench_expect(sd_event_add_io(loop, NULL, fan->done_fd, POLLIN, on_done, NULL) >= 0,
		     "sd_event_add_io");
}

void bench_fan_run(const struct bench_fan *fan, sd_event *loop, int timeout_ms)
{
	uint64_t deadline_ns = clock_boot_ns() + (uint64_t)timeout_ms * NSEC_PER_MSEC;
	uint64_t now_ns;

	do {
		struct pollfd p = { .fd = fan->done_fd, .events = POLLIN };

		now_ns = clock_boot_ns();
		sd_event_run(loop, now_ns < deadline_ns ? (deadline_ns - now_ns) / 1000 : 0);
		if (poll(&p, 1, 0) > 0) {
			break;
		}
	} while (now_ns < deadline_ns);
}
