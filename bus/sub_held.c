/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A list of copies and what it amounts to.
 */
#include "bus/sub_held.h"

#include "bus/limits.h"

void sub_held_init(struct sub_held *h)
{
	*h = (struct sub_held){ 0 };
	list_init(&h->list);
}

void sub_held_clear(struct sub_held *h)
{
	list_for_each_safe (i, &h->list) {
		list_unlink(i);
		free(list_entry(i, struct sub_held_message, node));
	}
	h->n = 0;
	h->bytes = 0;
}

void sub_held_add(struct sub_held *h, const void *data, size_t len, bool at_front)
{
	struct sub_held_message *m;

	if (h->n >= BUS_SUB_PENDING_MAX || h->bytes + len > BUS_SUB_PENDING_BYTES) {
		sub_held_clear(h);
	}
	m = malloc(sizeof(*m) + len);
	if (!m) {
		return;
	}
	m->len = len;
	memcpy(m->data, data, len);
	list_append(at_front ? h->list.next : &h->list, &m->node);
	h->n++;
	h->bytes += len;
}

struct sub_held_message *sub_held_take(struct sub_held *h)
{
	struct sub_held_message *m = list_first(&h->list, struct sub_held_message, node);

	if (m) {
		list_unlink(&m->node);
		h->n--;
		h->bytes -= m->len;
	}
	return m;
}
