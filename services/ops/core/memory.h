/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Whether a domain fits into the host's free memory, before libxl tries: two
 * creates at the same time would both see the same free memory.  The newest
 * sample tells what is free; what creates under way will still take is
 * subtracted.
 */
#include "libcommon/list.h"
#include "services/ops/core/names.h"

struct memory {
	bool is_known; /* a sample was seen since the host process came */
	uint64_t free_kib;
	uint64_t claimed_kib; /* by domains being built; part of free */
	uint64_t sample_ns;   /* CLOCK_BOOTTIME */
	struct list reservations;
};

struct reservation {
	struct list list;
	char uuid[37];
	uint64_t need_kib;
	uint64_t taken_kib;   /* by the domain, in the newest sample */
	uint64_t released_ns; /* 0 = the create goes on */
};

void memory_init(struct memory *m);
void memory_deinit(struct memory *m);
/* The host process is gone: what it told is no longer true. */
void memory_forget_sample(struct memory *m);
void memory_take_sample(struct memory *m, const Xenmesh__V1__HostSample *sample);
/* KiB that a new domain may take now. UINT64_MAX when nothing is known. */
uint64_t memory_available(const struct memory *m);
/* NULL when it does not fit, or out of memory. */
struct reservation *memory_reserve(struct memory *m, const char *uuid, uint64_t need_kib);
/* The create ended: the next sample that was read after now tells the truth. Returns NULL. */
struct reservation *memory_release(struct reservation *r, uint64_t now_ns);
