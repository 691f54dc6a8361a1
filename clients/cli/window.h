/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The last so many of a series of numbers, and what they are like.  Pure.
 */
#include "libcommon/base.h"

struct window {
	double *values;
	size_t size; /* how many it keeps */
	size_t n;    /* how many it has */
	size_t at;   /* where the next goes */
	double *sorted;
};

struct window_stats {
	size_t n;
	double sum, min, avg, max, stddev, p50, p99; /* all 0 without a value */
};

/* 0, -EINVAL for a size of 0, -ENOMEM. */
int window_init(struct window *w, size_t size);
/* Idempotent. */
void window_deinit(struct window *w);
void window_add(struct window *w, double value);
/* Of a window of n: the smallest value that at least 50 % and 99 % of all do not exceed. */
void window_stats(struct window *w, struct window_stats *out);
