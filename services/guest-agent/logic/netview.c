/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Devices are walked upwards from each vif, breadth first, so a loop in what
 * the kernel says (veth pairs name each other) cannot trap us, and a trunk with
 * thousands of vlans costs a bounded walk.
 */
#include "services/guest-agent/logic/netview.h"

#include <stdio.h>

/* A vif and all that is stacked on it. An address at most is taken from each
 * of GUEST_VIF_ADDRESSES_MAX of them, so twice that is generous. */
#define STACK_MAX 64

/* Addresses of a family over all vifs: keeps the whole below 500 nodes. */
#define FAMILY_TOTAL 64

struct stack {
	int32_t index[STACK_MAX];
	uint8_t distance[STACK_MAX];
	size_t n;
};

static bool stack_has(const struct stack *stack, int32_t index)
{
	for (size_t i = 0; i < stack->n; i++) {
		if (stack->index[i] == index) {
			return true;
		}
	}
	return false;
}

static void stack_add(struct stack *stack, int32_t index, uint8_t distance)
{
	if (stack->n < STACK_MAX && index > 0 && !stack_has(stack, index)) {
		stack->index[stack->n] = index;
		stack->distance[stack->n++] = distance;
	}
}

static void climb(const struct guest_netview *view, int32_t vif_index, struct stack *stack)
{
	stack->n = 0;
	stack_add(stack, vif_index, 0);
	for (size_t at = 0; at < stack->n; at++) {
		int32_t index = stack->index[at];
		uint8_t distance = (uint8_t)(stack->distance[at] + 1);

		for (size_t i = 0; i < view->n_links; i++) {
			const struct guest_link *link = &view->links[i];

			if (link->index == index) {
				stack_add(stack, link->master, distance);
			}
			if (link->lower == index) {
				stack_add(stack, link->index, distance);
			}
		}
	}
}

/* scratch has room for all addresses of the view. */
static void collect(const struct guest_netview *view, const struct guest_link *link, size_t cap,
		    struct guest_candidate *scratch, struct guest_vif *vif)
{
	struct stack stack;
	size_t n = 0;

	climb(view, link->index, &stack);
	for (size_t i = 0; i < view->n_addresses; i++) {
		for (size_t k = 0; k < stack.n; k++) {
			if (view->addresses[i].link_index == stack.index[k]) {
				scratch[n] = view->addresses[i].candidate;
				scratch[n++].distance = stack.distance[k];
			}
		}
	}
	guest_address_select(scratch, n, cap, vif);
}

static void describe(const struct guest_link *link, struct guest_vif *vif)
{
	const uint8_t *m = link->mac;

	*vif = (struct guest_vif){ .devid = link->devid };
	memcpy(vif->name, link->name, sizeof(vif->name));
	if (link->has_mac) {
		snprintf(vif->mac, sizeof(vif->mac), "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1],
			 m[2], m[3], m[4], m[5]);
	}
}

/* The vif with the lowest devid that is >= from; of equal ones the first of the view. */
static const struct guest_link *next_vif(const struct guest_netview *view, uint64_t from)
{
	const struct guest_link *best = NULL;

	for (size_t i = 0; i < view->n_links; i++) {
		const struct guest_link *link = &view->links[i];

		if (link->is_vif && link->devid >= from && (!best || link->devid < best->devid)) {
			best = link;
		}
	}
	return best;
}

static const struct guest_vif *find_vif(const struct guest_vif *vifs, size_t n, uint32_t devid)
{
	for (size_t i = 0; i < n; i++) {
		if (vifs[i].devid == devid) {
			return &vifs[i];
		}
	}
	return NULL;
}

int guest_netview_vifs(const struct guest_netview *view, struct guest_facts *facts)
{
	_cleanup_(xfreep) struct guest_candidate *scratch = NULL;
	_cleanup_(xfreep) struct guest_vif *previous = NULL;
	const struct guest_link *links[GUEST_VIFS_MAX];
	size_t n = 0, n_previous = facts->n_vifs, cap;
	uint64_t from = 0;

	scratch = calloc(view->n_addresses + 1, sizeof(*scratch));
	previous = calloc(GUEST_VIFS_MAX, sizeof(*previous));
	if (!scratch || !previous) {
		return -ENOMEM;
	}
	memcpy(previous, facts->vifs, n_previous * sizeof(*previous));
	while (n < GUEST_VIFS_MAX && (links[n] = next_vif(view, from))) {
		from = (uint64_t)links[n++]->devid + 1;
	}
	cap = n <= FAMILY_TOTAL / GUEST_FAMILY_ADDRESSES_MAX ? GUEST_FAMILY_ADDRESSES_MAX
							     : FAMILY_TOTAL / n;
	for (size_t i = 0; i < n; i++) {
		struct guest_vif *vif = &facts->vifs[i];

		describe(links[i], vif);
		collect(view, links[i], cap, scratch, vif);
		guest_address_assign(find_vif(previous, n_previous, vif->devid), vif);
	}
	facts->n_vifs = n;
	return 0;
}
