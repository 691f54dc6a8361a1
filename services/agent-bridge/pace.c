/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A bucket is one time.  Taking from it moves the time forward by as long as
 * the refill needs; something is in it while the time lies in the past; and it
 * holds no more than a burst, so the time never lies further back than that.
 */
#include "services/agent-bridge/pace.h"

#define GUEST_DEPTH_NS	 (BRIDGE_GUEST_BURST_NS * BRIDGE_GUEST_SHARE)
#define TOTAL_DEPTH_NS	 (BRIDGE_TOTAL_BURST_NS * BRIDGE_TOTAL_SHARE)
#define PUBLISH_DEPTH_NS (BRIDGE_PUBLISH_BURST * BRIDGE_PUBLISH_PERIOD_NS)

static uint64_t bucket(uint64_t empty_ns, uint64_t depth_ns, uint64_t now_ns)
{
	return MAX(empty_ns, now_ns > depth_ns ? now_ns - depth_ns : 0);
}

uint64_t bridge_pace_due(const struct bridge_pace *pace, uint64_t changed_ns)
{
	uint64_t due_ns = changed_ns + BRIDGE_SETTLE_NS;

	if (pace->looked_ns != 0) {
		due_ns = MAX(due_ns, pace->looked_ns + BRIDGE_PAUSE_NS);
	}
	return MAX(due_ns, pace->work_ns);
}

void bridge_pace_use(struct bridge_pace *pace, uint64_t start_ns, uint64_t end_ns)
{
	pace->looked_ns = end_ns;
	pace->work_ns = bucket(pace->work_ns, GUEST_DEPTH_NS, start_ns) +
			(end_ns - start_ns) * BRIDGE_GUEST_SHARE;
}

uint64_t bridge_budget_due(const struct bridge_budget *budget, uint64_t now_ns)
{
	return MAX(bucket(budget->work_ns, TOTAL_DEPTH_NS, now_ns),
		   bucket(budget->publish_ns, PUBLISH_DEPTH_NS, now_ns) + BRIDGE_PUBLISH_PERIOD_NS);
}

void bridge_budget_use(struct bridge_budget *budget, uint64_t start_ns, uint64_t end_ns,
		       bool has_published)
{
	budget->work_ns = bucket(budget->work_ns, TOTAL_DEPTH_NS, start_ns) +
			  (end_ns - start_ns) * BRIDGE_TOTAL_SHARE;
	if (has_published) {
		budget->publish_ns = bucket(budget->publish_ns, PUBLISH_DEPTH_NS, end_ns) +
				     BRIDGE_PUBLISH_PERIOD_NS;
	}
}
