/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A growing array of records that begin with the device they are of, sorted
 * once a look so that a domain's are found together.
 */
#include "libcommon/base.h"

struct host_device_key {
	uint32_t domid;
	uint32_t devid;
};

struct host_counters {
	void *items; /* each begins with a struct host_device_key */
	size_t item_size;
	size_t n;
	size_t size;
};

void host_counters_deinit(struct host_counters *c);
/* One more at the end, not initialised; NULL when out of memory. */
void *host_counters_add(struct host_counters *c);
/* By (domid, devid). */
void host_counters_sort(struct host_counters *c);
/* Those of a domain after sorting, ascending devid. */
const void *host_counters_of(const struct host_counters *c, uint32_t domid, size_t *n);
