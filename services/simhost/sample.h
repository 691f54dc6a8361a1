/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What the host tells: its state, and a sample of all counters.  As the real
 * host process, a sample has all vCPUs as long as there are at most 256; beyond,
 * the domains take turns so that each one's come every fifth sample.
 */
#include "services/simhost/machine.h"
#include "xenmesh/v1/ops.pb-c.h"

struct sample_turns {
	uint32_t next_domid; /* whose vCPUs come next */
};

struct sample_host {
	uint32_t pcpus;
	uint64_t memory_kib;
	char hostname[65];
};

void sample_state(const struct sample_host *host, Xenmesh__V1__HostState *out);
/* After machine_advance(). In the arena, pointing into the domains: use it before the loop goes
 * on. 0 or -ENOMEM. */
int sample_take(const struct machine *m, struct sample_turns *turns, struct arena *a,
		Xenmesh__V1__HostSample **out);
