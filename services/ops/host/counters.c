/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shared by the readers of vif and vbd counters.
 */
#include "services/ops/host/counters.h"

void host_counters_deinit(struct host_counters *c)
{
	free(c->items);
	c->items = NULL;
	c->n = c->size = 0;
}

void *host_counters_add(struct host_counters *c)
{
	if (c->n == c->size) {
		size_t size = MAX(c->size * 2, 64);
		void *bigger = reallocarray(c->items, size, c->item_size);

		if (!bigger) {
			return NULL;
		}
		c->items = bigger;
		c->size = size;
	}
	return (char *)c->items + c->n++ * c->item_size;
}

static int compare(const void *a, const void *b)
{
	const struct host_device_key *x = a, *y = b;

	if (x->domid != y->domid) {
		return x->domid < y->domid ? -1 : 1;
	}
	return (x->devid > y->devid) - (x->devid < y->devid);
}

void host_counters_sort(struct host_counters *c)
{
	if (c->n > 0) {
		qsort(c->items, c->n, c->item_size, compare);
	}
}

static const struct host_device_key *item(const struct host_counters *c, size_t i)
{
	return (const void *)((const char *)c->items + i * c->item_size);
}

const void *host_counters_of(const struct host_counters *c, uint32_t domid, size_t *n)
{
	size_t low = 0, high = c->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (item(c, middle)->domid < domid) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	*n = 0;
	while (low + *n < c->n && item(c, low + *n)->domid == domid) {
		++*n;
	}
	return *n > 0 ? item(c, low) : NULL;
}
