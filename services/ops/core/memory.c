/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "services/ops/core/memory.h"

#include <stdio.h>

void memory_init(struct memory *m)
{
	*m = (struct memory){ 0 };
	list_init(&m->reservations);
}

static void drop(struct reservation *r)
{
	list_unlink(&r->list);
	free(r);
}

void memory_deinit(struct memory *m)
{
	for (struct reservation *r; (r = list_first(&m->reservations, struct reservation, list));) {
		drop(r);
	}
	m->is_known = false;
}

void memory_forget_sample(struct memory *m)
{
	m->is_known = false;
}

void memory_take_sample(struct memory *m, const Xenmesh__V1__HostSample *sample)
{
	m->is_known = true;
	m->free_kib = sample->free_memory_kib;
	m->claimed_kib = sample->claimed_memory_kib;
	m->sample_ns = sample->monotonic_ns;
	list_for_each_safe (i, &m->reservations) {
		struct reservation *r = list_entry(i, struct reservation, list);

		if (r->released_ns && sample->monotonic_ns > r->released_ns) {
			drop(r);
			continue;
		}
		r->taken_kib = 0;
		for (size_t k = 0; k < sample->n_domains; k++) {
			if (streq(sample->domains[k]->uuid, r->uuid)) {
				r->taken_kib += sample->domains[k]->memory_kib;
			}
		}
	}
}

uint64_t memory_available(const struct memory *m)
{
	uint64_t reserved = 0;

	if (!m->is_known) {
		return UINT64_MAX;
	}
	list_for_each (i, &m->reservations) {
		const struct reservation *r = list_entry(i, struct reservation, list);

		reserved += r->need_kib - MIN(r->need_kib, r->taken_kib);
	}
	/* What libxl has claimed for our creates is in both. */
	reserved = MAX(reserved, m->claimed_kib);
	return m->free_kib - MIN(m->free_kib, reserved);
}

struct reservation *memory_reserve(struct memory *m, const char *uuid, uint64_t need_kib)
{
	struct reservation *r;

	if (need_kib > memory_available(m)) {
		return NULL;
	}
	r = calloc(1, sizeof(*r));
	if (r) {
		snprintf(r->uuid, sizeof(r->uuid), "%s", uuid);
		r->need_kib = need_kib;
		list_append(&m->reservations, &r->list);
	}
	return r;
}

struct reservation *memory_release(struct reservation *r, uint64_t now_ns)
{
	if (r) {
		r->released_ns = now_ns;
	}
	return NULL;
}
