/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The few read-only hypercalls of the host process, behind a table so that
 * tests and benchmarks can stand in for a hypervisor.  All calls are
 * synchronous and take about a microsecond on hardware; none sleeps.
 */
#include <xenctrl.h>

#include "libcommon/base.h"

/* xc_domaininfo_t is 112 bytes: so many fit the one-page hypercall buffer that libxenctrl keeps.
 * More makes it map and unmap memory at each call, which is over ten times slower. */
#define HYPERVISOR_LIST_MAX 36

struct hypervisor_identity {
	char version[32]; /* "4.17.7" */
	char caps[1024];  /* "xen-3.0-x86_64 hvm-3.0-x86_64" */
	char commandline[1024];
	int scheduler; /* XEN_SCHEDULER_* */
};

/* All return <0 = -errno. */
struct hypervisor_ops {
	/* Domains with domid >= first, ascending, at most max <= HYPERVISOR_LIST_MAX: how many. */
	int (*list)(void *userdata, uint32_t first, unsigned int max, xc_domaininfo_t *out);
	int (*physinfo)(void *userdata, xc_physinfo_t *out);
	/* Idle time of pCPU 0 and up: how many were written, at most max. */
	int (*pcpus)(void *userdata, unsigned int max, xc_cpuinfo_t *out);
	int (*vcpu)(void *userdata, uint32_t domid, uint32_t vcpu, xc_vcpuinfo_t *out);
	int (*identity)(void *userdata, struct hypervisor_identity *out);
	void (*close)(void *userdata); /* may be NULL */
};

struct hypervisor {
	const struct hypervisor_ops *ops;
	void *userdata;
};

/* Opens libxenctrl.  -ENOENT: no Xen here; -EPERM: Xen, but not its control domain;
 * -EACCES: not root, or a Xen whose interface is of another version. */
int hypervisor_open(struct hypervisor *hv);
/* Idempotent, also for a zeroed one. */
void hypervisor_close(struct hypervisor *hv);

/* Xen's running time of a domain or vCPU without the flag that some versions leak into bit 63. */
static inline uint64_t hypervisor_cpu_ns(uint64_t cpu_time)
{
	return cpu_time & ~(1ULL << 63);
}

static inline uint64_t hypervisor_pages_kib(uint64_t pages)
{
	return pages * (XC_PAGE_SIZE / 1024);
}
