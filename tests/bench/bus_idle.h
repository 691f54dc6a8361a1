/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What a service of ours takes when it has nothing to do: xenmesh-ops with
 * the simulated host behind it and xenmesh-metrics, both on ipc only.
 */
#include "libcommon/base.h"

struct bench_idle {
	const char *name;
	uint64_t threads, rss_kib, private_kib;
	const char *trouble; /* NULL: the figures are there */
};

#define BENCH_N_IDLE 2

/* The programs are in bin_dir; files and sockets go to dir. */
void bench_idle_measure(const char *bin_dir, const char *dir, struct bench_idle out[BENCH_N_IDLE]);
