/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Up to which sequence number the events of each first topic segment are known
 * to a subscriber.  All are up to `complete`; live events take single segments
 * further, and the next heartbeat or sync takes `complete` there.
 */
#include "bus/limits.h"
#include "libcommon/base.h"

#define COVERAGE_SEGMENTS_MAX 64 /* as many as a publisher may have (docs/protocol.md) */

struct coverage_segment {
	char name[BUS_TOPIC_MAX + 1];
	uint64_t seq;
};

struct coverage {
	uint64_t complete;
	struct coverage_segment segments[COVERAGE_SEGMENTS_MAX]; /* those beyond complete */
	size_t n;
};

/* Everything up to seq is known, and nothing is known beyond. */
void coverage_reset(struct coverage *c, uint64_t seq);
/* The first segment is the first `len` bytes of `topic`; so for both below. */
uint64_t coverage_of(const struct coverage *c, const char *topic, size_t len);
/* The events of the segment up to seq were seen. false: no room to remember it. */
bool coverage_add(struct coverage *c, const char *topic, size_t len, uint64_t seq);
/* The highest seq of all that were seen. */
uint64_t coverage_highest(const struct coverage *c);
