/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Turns xenstore's watch events into work on the table of domains.  Events
 * only mark; the work is done at most every 50 ms, so a storm of events costs
 * no more than a quiet host does.
 *
 * Watched: @introduceDomain, @releaseDomain, /libxl (the toolstack's records)
 * and dom0's backends.  None is below what a guest owns.
 */
#include <systemd/sd-event.h>

#include "services/ops/host/domains.h"

#define HOST_WATCHER_PAUSE_MS 50

struct host_watcher;

/* Registers the watches; each fires once soon. All borrowed. */
int host_watcher_new(struct host_watcher **out, sd_event *loop, struct xenstore *xs,
		     struct host_domains *domains);
struct host_watcher *host_watcher_free(struct host_watcher *w);
/* For host_domains_events.marked: the marked are read within 50 ms. */
void host_watcher_wake(struct host_watcher *w);
/* Something may have happened that xenstore does not tell: compare with Xen's list soon. */
void host_watcher_scan(struct host_watcher *w);
/* xenstored was away: scan, and read everything again. */
void host_watcher_reset(struct host_watcher *w);
