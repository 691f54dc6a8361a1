/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Subscriber: a mirror of what one publisher says under some topic prefixes.
 *
 * subscribe -> snapshot -> newer events -> on a gap, or a heartbeat ahead of
 * us, Changes.  The user sees for each topic an ordered stream of whole
 * states, then RESYNCED once everything up to a point is known again.  A loss
 * is noticed within two seconds and repaired; a restarted publisher gives a
 * full snapshot, and topics that went away meanwhile are reported removed.
 * Events of transient topics come live only; their loss is told.
 */
#include <systemd/sd-event.h>

#include "bus/topology.h"
#include "xenmesh/v1/bus.pb-c.h"

struct bus_sub;

enum bus_sub_what {
	BUS_SUB_STATE,	  /* event: a topic's new state, or a transient event (bus/transient.h) */
	BUS_SUB_REMOVED,  /* topic is no more; event may be NULL */
	BUS_SUB_RESYNCED, /* all topics are as the publisher has them at `seq` */
	BUS_SUB_GAP,	  /* `missed` events (at least) were lost; repair is under way */
	BUS_SUB_DOWN,	  /* publisher not heard for 3.5 s or disconnected; states may be stale */
	BUS_SUB_LOST,	  /* `missed` transient events (at least) were lost; nothing repairs it */
};

struct bus_sub_event {
	enum bus_sub_what what;
	const char *topic; /* STATE, REMOVED */
	const Xenmesh__V1__Event *event;
	bool replayed; /* came with a snapshot or repair rather than live */
	uint64_t seq;
	uint64_t missed;
	size_t size; /* bytes on the wire */
	/* The publication as it came, `size` bytes: topic, NUL, Event. NULL when replayed. */
	const void *raw;
};

typedef void (*bus_sub_fn)(struct bus_sub *s, const struct bus_sub_event *e, void *userdata);

struct bus_sub_stats {
	uint64_t events, gaps, missed, resyncs, full_resyncs, bytes;
	uint64_t lost; /* transient events, at least */
};

/* prefixes: byte prefixes of topics ("vm/", "vm/<uuid>/state"); n_prefixes 0 = all.
 * client_name as in bus_client_new(). fn may free the subscriber. */
int bus_sub_new(struct bus_sub **out, sd_event *loop, const struct topology *topology,
		const char *service, const char *const *prefixes, size_t n_prefixes,
		const char *client_name, bus_sub_fn fn, void *userdata);
struct bus_sub *bus_sub_free(struct bus_sub *s);
static inline void bus_sub_freep(struct bus_sub **s)
{
	*s = bus_sub_free(*s);
}
bool bus_sub_is_synced(const struct bus_sub *s);
void bus_sub_stats(const struct bus_sub *s, struct bus_sub_stats *out);
