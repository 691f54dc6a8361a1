/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * /proc/meminfo, and when a change of it is worth telling: dom0 wakes a
 * ballooning daemon at each write.
 */
#include "libcommon/base.h"

/* A smaller change of free memory is not told. */
#define GUEST_MEMINFO_CHANGE_PERCENT 5

struct guest_meminfo {
	uint64_t total_kib;
	uint64_t free_kib; /* MemAvailable; MemFree on kernels that lack it (before 3.14) */
};

/* 0, or -EINVAL when MemTotal or both of the others are missing or no numbers. */
int guest_meminfo_parse(const char *text, size_t len, struct guest_meminfo *out);

/* What was last told. */
struct guest_meminfo_gate {
	struct guest_meminfo told;
	uint64_t told_at_ns;
	bool has_told;
};

/* True when `now` should be told, and remembers it as told.  The first always; later when
 * interval_ns have passed and free memory changed by more than 5 % of what was told, or the
 * total changed at all. */
bool guest_meminfo_gate_pass(struct guest_meminfo_gate *gate, const struct guest_meminfo *now,
			     uint64_t now_ns, uint64_t interval_ns);
