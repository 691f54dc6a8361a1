/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Quantiles of durations in a few hundred bytes, without keeping the values.
 *
 * Log-linear: each power of two is divided into 8 buckets, so a quantile is at
 * most 12.5 % above the true one and never below it; below 8 it is exact.  When
 * HISTOGRAM_MAX values are in it all counts are halved, so it is of the newest
 * 30,000 to 60,000 values, the newest counting most.
 */
#include "libcommon/base.h"

#define HISTOGRAM_BUCKETS 240 /* up to 2^32, over an hour in us; longer ones count as that */
#define HISTOGRAM_MAX	  60000

struct histogram {
	uint32_t n; /* sum of counts */
	uint16_t counts[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *h, uint64_t value);
/* The least upper bound such that at least `percent` (1..100) of the values are not above it; 0
 * when there are none. */
uint64_t histogram_quantile(const struct histogram *h, unsigned int percent);
