/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bucket is one time: a token is there for every period that has passed
 * since drained_ns, at most a burst of them.
 */
#include "services/agent-bridge/pace.h"

#define BURST_NS (BRIDGE_PUBLISH_BURST * BRIDGE_PUBLISH_PERIOD_NS)

uint64_t bridge_pace_due(const struct bridge_pace *pace, uint64_t changed_ns)
{
	uint64_t settled_ns = changed_ns + BRIDGE_SETTLE_NS;
	uint64_t pause_ns = MAX(BRIDGE_PAUSE_NS, pace->cost_ns * BRIDGE_GUEST_SHARE);

	return pace->looked_ns == 0 ? settled_ns : MAX(settled_ns, pace->looked_ns + pause_ns);
}

/* A bucket holds a burst and no more, however long nothing was taken. */
static uint64_t drained_ns(const struct bridge_budget *budget, uint64_t now_ns)
{
	uint64_t full_ns = now_ns > BURST_NS ? now_ns - BURST_NS : 0;

	return MAX(budget->drained_ns, full_ns);
}

uint64_t bridge_budget_due(const struct bridge_budget *budget, uint64_t now_ns)
{
	return MAX(budget->free_ns, drained_ns(budget, now_ns) + BRIDGE_PUBLISH_PERIOD_NS);
}

void bridge_budget_use(struct bridge_budget *budget, uint64_t start_ns, uint64_t end_ns,
		       bool has_published)
{
	budget->free_ns = end_ns + (end_ns - start_ns) * (BRIDGE_TOTAL_SHARE - 1);
	if (has_published) {
		budget->drained_ns = drained_ns(budget, end_ns) + BRIDGE_PUBLISH_PERIOD_NS;
	}
}
