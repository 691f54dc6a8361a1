/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Intrusive doubly linked list.  A head or an unlinked node points to itself
 * or is zeroed; list_unlink() is idempotent.
 */
#include "libcommon/base.h"

struct list {
	struct list *prev;
	struct list *next;
};

static inline void list_init(struct list *head)
{
	head->prev = head->next = head;
}

static inline bool list_is_linked(const struct list *node)
{
	return node->next && node->next != node;
}

static inline bool list_is_empty(const struct list *head)
{
	return !list_is_linked(head);
}

static inline void list_append(struct list *head, struct list *node)
{
	node->prev = head->prev;
	node->next = head;
	head->prev->next = node;
	head->prev = node;
}

static inline void list_unlink(struct list *node)
{
	if (node->next) {
		node->prev->next = node->next;
		node->next->prev = node->prev;
	}
	list_init(node);
}

/* Unlink and return the first node; NULL when the list is empty. */
static inline struct list *list_pop(struct list *head)
{
	struct list *node = head->next;

	if (list_is_empty(head)) {
		return NULL;
	}
	head->next = node->next;
	head->next->prev = head;
	list_init(node);
	return node;
}

#define list_entry(node, type, member) container_of(node, type, member)
#define list_first(head, type, member) \
	(list_is_empty(head) ? NULL : list_entry((head)->next, type, member))
#define list_for_each(i, head) for (struct list *i = (head)->next; i && i != (head); i = i->next)
/* `i` may be unlinked in the body. */
#define list_for_each_safe(i, head)                                                        \
	for (struct list *i = (head)->next, *i##_n = i ? i->next : NULL; i && i != (head); \
	     i = i##_n, i##_n = i##_n->next)
