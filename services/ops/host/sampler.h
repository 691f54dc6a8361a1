/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * One look at everything that counts: domains, vCPUs, pCPUs, memory, vifs and
 * vbds.  All vCPUs are read in each look as long as the host has at most 256;
 * beyond, they take turns so that each domain's come every fifth look, because
 * each vCPU is a hypercall.
 */
#include "libcommon/arena.h"
#include "services/ops/host/domains.h"
#include "services/ops/host/vbds.h"
#include "services/ops/host/vifs.h"

struct host_sampler;

/* All borrowed. */
struct host_sampler_sources {
	struct hypervisor *hv;
	struct host_domains *domains;
	struct host_vifs *vifs;
	struct host_vbds *vbds;
};

int host_sampler_new(struct host_sampler **out, const struct host_sampler_sources *sources);
struct host_sampler *host_sampler_free(struct host_sampler *s);
/* Scans the domains (which may call their events) and makes a sample in the arena, of the domains
 * that were told.  It also points into them: use it before the next scan or refresh. */
int host_sampler_take(struct host_sampler *s, struct arena *a, Xenmesh__V1__HostSample **out);
