/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The newest of what ops and the guests say: one sample of the host, its facts,
 * and what each guest reports.
 */
#include "bus/sub.h"
#include "libcommon/map.h"
#include "services/metrics/objects.h"
#include "xenmesh/v1/bus.pb-c.h"

struct view_guest {
	uint64_t memory_free_kib;
	uint64_t memory_total_kib;
};

struct view {
	struct objects *objects;	 /* not owned */
	Xenmesh__V1__HostSample *sample; /* NULL = none yet */
	Xenmesh__V1__HostState *state;	 /* NULL = none yet */
	struct map guests;		 /* uuid -> struct view_guest */
	bool ops_down;			 /* told in the log */
	uint64_t sample_ns;		 /* CLOCK_BOOTTIME when `sample` came; 0 = none */
	uint64_t n_samples;
	uint64_t tick_ns; /* work of the last sample */
	uint64_t tick_max_ns;
};

#define VIEW_FRESH_NS (5 * NSEC_PER_SEC) /* of a sample; they come once a second */

/* Whether the newest sample is of now rather than of a host that is not heard any more. */
bool view_is_fresh(const struct view *v);
/* objects must outlive the view. */
void view_init(struct view *v, struct objects *objects);
void view_deinit(struct view *v);
/* An event of ops ("host/"): a sample is also read into the objects and ticks them. */
void view_take_ops(struct view *v, const struct bus_sub_event *e);
/* An event of agent-bridge ("vm/"). */
void view_take_guest(struct view *v, const struct bus_sub_event *e);
