/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Which topics somebody asks for: byte prefixes ("vm/", "vm/<uuid>/state"), or
 * all when there are none.
 */
#include "bus/limits.h"
#include "libcommon/base.h"

struct interest {
	char *prefixes[BUS_PREFIXES_MAX];
	size_t n;
};

/* Copies the prefixes into a zeroed one. 0; -EINVAL: too many, or one longer than a topic;
 * -ENOMEM. To be deinited in any case. */
int interest_init(struct interest *i, const char *const *prefixes, size_t n);
/* Idempotent. */
void interest_deinit(struct interest *i);

bool interest_has(const struct interest *i, const char *topic);
/* Whether some topic below the first segment may be asked for. */
bool interest_has_segment(const struct interest *i, const char *segment);

/* A prefix cut behind its first segment, as the transport is asked for it: only who hears whole
 * segments can see the continuity of prev_seq. */
struct interest_segment {
	char prefix[BUS_TOPIC_MAX + 1];
};
void interest_segment_of(const struct interest *i, size_t index, struct interest_segment *out);

/* Length of the first segment. */
size_t topic_segment_len(const char *topic);
/* The same as interest_has(), for prefixes of a request. */
bool topic_matches(const char *topic, char *const *prefixes, size_t n);
