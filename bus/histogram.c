/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bucket of a value: the position of its highest bit and the three bits after
 * it.  Adding costs a few instructions, so every call can be counted.
 */
#include "bus/histogram.h"

#define SUB_BITS 3
#define SUB	 (1U << SUB_BITS)

static size_t bucket_of(uint64_t value)
{
	unsigned int top;
	uint32_t v = (uint32_t)MIN(value, UINT32_MAX);

	if (v < SUB) {
		return v;
	}
	top = 31 - (unsigned int)__builtin_clz(v);
	return (top - SUB_BITS + 1) * SUB + ((v >> (top - SUB_BITS)) & (SUB - 1));
}

/* The highest value of a bucket. */
static uint64_t upper_bound(size_t bucket)
{
	size_t shift;

	if (bucket < SUB) {
		return bucket;
	}
	shift = bucket / SUB - 1;
	return ((SUB + bucket % SUB + 1ULL) << shift) - 1;
}

static void halve(struct histogram *h)
{
	h->n = 0;
	for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		h->counts[i] /= 2;
		h->n += h->counts[i];
	}
}

void histogram_add(struct histogram *h, uint64_t value)
{
	h->counts[bucket_of(value)]++;
	h->n++;
	if (h->n >= HISTOGRAM_MAX) {
		halve(h);
	}
}

uint64_t histogram_quantile(const struct histogram *h, unsigned int percent)
{
	uint64_t rank = ((uint64_t)h->n * percent + 99) / 100;
	uint64_t seen = 0;

	for (size_t i = 0; i < HISTOGRAM_BUCKETS && rank > 0; i++) {
		seen += h->counts[i];
		if (seen >= rank) {
			return upper_bound(i);
		}
	}
	return 0;
}
