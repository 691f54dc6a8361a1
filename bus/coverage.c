/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A few segments in an array: it is emptied once a second, and a scan of it
 * costs less than a hash.
 */
#include "bus/coverage.h"

/* Its index, or n when it is not there. */
static size_t find(const struct coverage *c, const char *topic, size_t len)
{
	size_t i = 0;

	while (i < c->n &&
	       (strncmp(c->segments[i].name, topic, len) != 0 || c->segments[i].name[len])) {
		i++;
	}
	return i;
}

void coverage_reset(struct coverage *c, uint64_t seq)
{
	c->complete = seq;
	c->n = 0;
}

uint64_t coverage_of(const struct coverage *c, const char *topic, size_t len)
{
	size_t i = len <= BUS_TOPIC_MAX ? find(c, topic, len) : c->n;

	return i < c->n ? MAX(c->segments[i].seq, c->complete) : c->complete;
}

bool coverage_add(struct coverage *c, const char *topic, size_t len, uint64_t seq)
{
	size_t i = len <= BUS_TOPIC_MAX ? find(c, topic, len) : COVERAGE_SEGMENTS_MAX;

	if (i == COVERAGE_SEGMENTS_MAX) {
		return false;
	}
	if (i == c->n) {
		c->n++;
		memcpy(c->segments[i].name, topic, len);
		c->segments[i].name[len] = '\0';
		c->segments[i].seq = 0;
	}
	c->segments[i].seq = MAX(c->segments[i].seq, seq);
	return true;
}

uint64_t coverage_highest(const struct coverage *c)
{
	uint64_t seq = c->complete;

	for (size_t i = 0; i < c->n; i++) {
		seq = MAX(seq, c->segments[i].seq);
	}
	return seq;
}
