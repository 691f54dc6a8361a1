/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The VMs that are there when the host comes up: made by the simulated xl, up
 * for some time already.  Number i of a seed is always the same VM.
 */
#include "services/simhost/machine.h"

struct population;

/* Brings them up from the loop, a few at a time so that it stays responsive. */
int population_new(struct population **out, struct machine *machine, uint32_t n, uint64_t seed,
		   uint64_t uptime_ns);
struct population *population_free(struct population *p);
/* VMs still to come. */
uint32_t population_left(const struct population *p);

/* What n VMs of a seed take, KiB. */
uint64_t population_memory_kib(uint32_t n, uint64_t seed);

/* A definition of the given size with a MAC for each vif and a target for each disk; strings and
 * all in the arena.  NULL when out of memory. */
struct population_shape {
	const char *name;
	const char *uuid;
	Xenmesh__V1__VmType type;
	uint32_t vcpus;
	uint64_t memory_kib;
	uint32_t vifs;
	uint32_t vbds;
};
Xenmesh__V1__VmConfig *population_config(struct arena *a, const struct population_shape *shape);
