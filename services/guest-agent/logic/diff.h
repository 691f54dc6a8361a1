/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The least that must be written and removed to get from what is published to
 * what is wanted.
 */
#include "services/guest-agent/logic/tree.h"

struct guest_op {
	char *path;
	const char *value; /* NULL: remove path and all below it. Borrowed from `wanted` or `now` */
};

struct guest_ops {
	struct guest_op *ops;
	size_t n;
	size_t size;
	bool is_news; /* more than memory figures: GUEST_KEY_UPDATED and GUEST_KEY_LAST are in it */
	int error;
};

#define GUEST_OPS_NULL ((struct guest_ops){ 0 })

void guest_ops_deinit(struct guest_ops *ops);

/* Append the operations to out, in order: writes outside attr/, removals, writes in attr/.  News
 * also write `now` (any text, the time for people) to GUEST_KEY_UPDATED and, last of all, again
 * GUEST_KEY_LAST.  A removal takes the highest node that holds nothing wanted, but never less
 * than two levels deep, never all of GUEST_KEY_VIFS and never GUEST_KEY_UPDATED.  A published key
 * whose value is not known is written again.  0 or -ENOMEM. */
int guest_diff(const struct guest_tree *published, const struct guest_tree *wanted, const char *now,
	       struct guest_ops *out);
