/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Keeps the guest's keys in xenstore as they are wanted, with the fewest
 * writes.  Knows what is published; nobody else writes these keys.
 *
 * A key that the host does not let us write (libxl gives a guest no new keys
 * in control/) is remembered and not tried again until the next forget.
 */
#include "libcommon/xenstore.h"
#include "services/guest-agent/logic/tree.h"

/* Some keys could not be written for now (quota): apply again later. */
#define AGENT_PUBLISHER_PARTIAL 1

struct agent_publisher;

/* home: what paths are relative to, "" for the connection's own domain. Borrows xs. */
int agent_publisher_new(struct agent_publisher **out, struct xenstore *xs, const char *home);
struct agent_publisher *agent_publisher_free(struct agent_publisher *p);
static inline void agent_publisher_freep(struct agent_publisher **p)
{
	*p = agent_publisher_free(*p);
}
/* The domain may be another one now (start, resume, reconnect): the next apply looks which keys
 * are there, writes all that are wanted and removes the agent's that are not. */
void agent_publisher_forget(struct agent_publisher *p);
/* now: for people, see guest_diff(). 0, AGENT_PUBLISHER_PARTIAL, or <0 when xenstore is away. */
int agent_publisher_apply(struct agent_publisher *p, const struct guest_tree *wanted,
			  const char *now);

struct agent_publisher_stats {
	uint64_t batches;
	uint64_t writes;
	uint64_t removals;
	uint64_t refused; /* keys the host does not let us write, now */
};
void agent_publisher_stats(const struct agent_publisher *p, struct agent_publisher_stats *out);
