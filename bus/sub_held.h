/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Publications that wait until a subscriber is in step again, in their order.
 * At most BUS_SUB_PENDING_MAX, and BUS_SUB_PENDING_BYTES: when one more would
 * not fit, all that wait are dropped.  Who loses some finds that out by their
 * seq, as with those lost on the way.
 */
#include "libcommon/list.h"

struct sub_held {
	struct list list;
	size_t n, bytes;
};

struct sub_held_message {
	struct list node;
	size_t len;
	uint8_t data[];
};

void sub_held_init(struct sub_held *h);
void sub_held_clear(struct sub_held *h);
/* A copy of the publication. Without memory it is dropped. at_front: what was taken from there just
 * now, or nothing else is held. */
void sub_held_add(struct sub_held *h, const void *data, size_t len, bool at_front);
/* The first one, for the caller to free(); NULL: none is held. */
struct sub_held_message *sub_held_take(struct sub_held *h);
