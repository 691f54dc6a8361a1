/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What is told of a list of durations: `bus ping` and `bus bench`.
 */
#include <json-c/json.h>

#include "libcommon/base.h"

struct summary {
	size_t n; /* all others are 0 when it is */
	double min_us, avg_us, max_us, p50_us, p99_us;
};

/* Sorts the times. A percentile is the smallest time that so many of them do not exceed. */
struct summary summary_of(uint64_t *times_ns, size_t n);
/* Adds min_us, avg_us, max_us, p50_us, p99_us; null when there were none. */
void summary_to_json(const struct summary *s, struct json_object *o);
