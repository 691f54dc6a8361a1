/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A private bus with one service, "bench", in a process and a temporary
 * directory of its own.  It publishes an event for each one that is allowed,
 * so nothing is lost for want of speed.
 */
#include <systemd/sd-event.h>

#include "bus/topology.h"

#define BENCH_SERVICE "bench"
#define BENCH_TOPIC   "task/bench"

struct bench_bus {
	char dir[64]; /* empty: not opened */
	struct topology *topology;
	pid_t pid;
	int fd; /* a byte each for an event that may be published */
};

/* Events carry CLOCK_MONOTONIC in ns as decimal text in Task.step, filled up to about `size`
 * bytes. 0; -errno, after saying why. */
int bench_bus_open(struct bench_bus *b, size_t size);
/* Allows n more events. 0 or -errno: the publisher is gone. */
int bench_bus_allow(struct bench_bus *b, size_t n);
/* Ends the publisher and removes the directory. Idempotent. */
void bench_bus_close(struct bench_bus *b);
