/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * How often guests are looked at.  Pure; all times in ns of one clock.
 *
 * A guest decides when something changes, and can do so at full speed.  What
 * follows from it is bounded for each guest and for all together.
 */
#include "libcommon/base.h"

/* After the first change: an agent writes its keys one after the other. */
#define BRIDGE_SETTLE_NS (100 * NSEC_PER_MSEC)
/* Between two looks at one guest: at most two a second. */
#define BRIDGE_PAUSE_NS (500 * NSEC_PER_MSEC)
/* One guest gets at most a twentieth of the time, after a burst of this much work: a full tree
 * costs some 60 ms, and what an agent writes at a guest's start three or four looks. */
#define BRIDGE_GUEST_SHARE    20
#define BRIDGE_GUEST_BURST_NS NSEC_PER_SEC
/* All guests together a half, after a burst of this much work: a thousand of them that are there
 * when the bridge starts cost 2 to 5 s. */
#define BRIDGE_TOTAL_SHARE    2
#define BRIDGE_TOTAL_BURST_NS (5 * NSEC_PER_SEC)
/* Publications of all guests: a host of a thousand that starts, then 200 a second. */
#define BRIDGE_PUBLISH_BURST	 1000
#define BRIDGE_PUBLISH_PERIOD_NS (NSEC_PER_SEC / 200)

/* Buckets below are kept as the time at which they were empty, if filled at a fixed rate since. */

/* Of one guest. Zeroed: never looked at. */
struct bridge_pace {
	uint64_t looked_ns; /* end of the last look; 0 = never */
	uint64_t work_ns;   /* bucket */
};

/* When to look, after a change at changed_ns. */
uint64_t bridge_pace_due(const struct bridge_pace *pace, uint64_t changed_ns);
/* A look took place from start_ns to end_ns. */
void bridge_pace_use(struct bridge_pace *pace, uint64_t start_ns, uint64_t end_ns);

/* Of all guests. Zeroed: nothing used. */
struct bridge_budget {
	uint64_t work_ns;    /* bucket */
	uint64_t publish_ns; /* bucket */
};

/* When the next look is allowed; <= now_ns: at once. */
uint64_t bridge_budget_due(const struct bridge_budget *budget, uint64_t now_ns);
/* A look took place from start_ns to end_ns, and published something or not. */
void bridge_budget_use(struct bridge_budget *budget, uint64_t start_ns, uint64_t end_ns,
		       bool has_published);
