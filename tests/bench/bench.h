/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Timing of benchmarks: many single times, their percentiles, and a peer's
 * beside them as a ratio. Absolute figures of shared machines mean little.
 */
#include "libcommon/base.h"

struct bench_times {
	uint64_t *ns;
	size_t n;
	size_t size;
};

/* Room for n times; exits when out of memory. */
void bench_times_init(struct bench_times *t, size_t n);
void bench_times_deinit(struct bench_times *t);
void bench_times_add(struct bench_times *t, uint64_t ns);
/* 0..100; sorts. */
uint64_t bench_percentile(struct bench_times *t, double percent);
/* "name   p50 12.3 us  p99 ...  [1.30 x NAME]"; peer NULL = no ratio. */
void bench_print(const char *name, struct bench_times *t, const char *peer_name,
		 struct bench_times *peer);
