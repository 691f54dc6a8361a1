/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Differences from xcp-rrdd, on purpose: cpu_usage does not depend on a patched
 * hypercall; iops are rates of counters instead of differences of 5 s; disks
 * are named by vdev whatever their backend is.
 */
#include "services/metrics/sources.h"

#include <math.h>

#define INF    ((double)INFINITY)
#define NS     1e-9 /* counters of ns are read as seconds */
#define KIB    1024.0
#define SECTOR 512.0

static const struct source_type host_cpu = {
	"cpu%u", "(fraction)", "Use of this pCPU", SOURCE_IDLE_RATE, NS, 0, 1
};
static const struct source_type host_cpu_avg = {
	"cpu_avg", "(fraction)", "Mean use of the pCPUs", SOURCE_IDLE_RATE, NS, 0, 1
};
static const struct source_type memory_total_kib = {
	"memory_total_kib", "KiB", "Memory of the host", SOURCE_GAUGE, 1, 0, INF
};
static const struct source_type memory_free_kib = {
	"memory_free_kib", "KiB", "Memory of no domain", SOURCE_GAUGE, 1, 0, INF
};
static const struct source_type loadavg = {
	"loadavg", "(fraction)", "Load of dom0, 1 minute", SOURCE_GAUGE, 1, 0, INF
};
static const struct source_type hostload = {
	"hostload", "(fraction)", "Runnable vCPUs of all domains for each pCPU", SOURCE_GAUGE, 1,
	0,	    INF
};
static const struct source_type running_domains = { "running_domains",
						    "count",
						    "Domains that are not paused, dom0 included",
						    SOURCE_GAUGE,
						    1,
						    0,
						    INF };
static const struct source_type running_vcpus = {
	"running_vcpus", "count", "vCPUs that are not blocked", SOURCE_GAUGE, 1, 0, INF
};

static const struct source_type vm_cpu = {
	"cpu%u", "(fraction)", "Use of this vCPU", SOURCE_RATE, NS, 0, 1
};
static const struct source_type cpu_usage = {
	"cpu_usage", "(fraction)", "Mean use of the vCPUs", SOURCE_RATE, NS, 0, 1
};
static const struct source_type memory = { "memory",	 "B", "Memory the domain has",
					   SOURCE_GAUGE, KIB, 0,
					   INF };
static const struct source_type memory_internal_free = { "memory_internal_free",
							 "KiB",
							 "Free memory as the guest reports it",
							 SOURCE_GAUGE,
							 1,
							 0,
							 INF };
static const struct source_type vif_rx = { "vif_%u_rx", "B/s", "Received by the guest",
					   SOURCE_RATE, 1,     0,
					   INF };
static const struct source_type vif_tx = { "vif_%u_tx", "B/s", "Sent by the guest", SOURCE_RATE, 1,
					   0,		INF };
static const struct source_type vif_rx_errors = {
	"vif_%u_rx_errors", "err/s", "Receive errors", SOURCE_RATE, 1, 0, INF
};
static const struct source_type vif_tx_errors = {
	"vif_%u_tx_errors", "err/s", "Send errors", SOURCE_RATE, 1, 0, INF
};
static const struct source_type vbd_read = {
	"vbd_%s_read", "B/s", "Read from this disk", SOURCE_RATE, SECTOR, 0, INF
};
static const struct source_type vbd_write = {
	"vbd_%s_write", "B/s", "Written to this disk", SOURCE_RATE, SECTOR, 0, INF
};
static const struct source_type vbd_iops_read = {
	"vbd_%s_iops_read", "requests/s", "Read requests", SOURCE_RATE, 1, 0, INF
};
static const struct source_type vbd_iops_write = {
	"vbd_%s_iops_write", "requests/s", "Write requests", SOURCE_RATE, 1, 0, INF
};

static bool is_paused(const Xenmesh__V1__DomainSample *d)
{
	return d->power_state == XENMESH__V1__POWER_STATE__POWER_STATE_PAUSED;
}

static void read_host(struct object *host, const Xenmesh__V1__HostSample *s, uint64_t total_kib)
{
	uint64_t now = s->monotonic_ns;
	double idle = 0;
	unsigned int domains = 0;
	unsigned int vcpus = 0;
	bool all_told = true; /* on large hosts the domains take turns with their vCPUs */

	for (size_t i = 0; i < s->n_pcpus; i++) {
		object_read(host, &host_cpu, NULL, s->pcpus[i]->pcpu, (double)s->pcpus[i]->idle_ns,
			    now);
		idle += (double)s->pcpus[i]->idle_ns;
	}
	for (size_t i = 0; i < s->n_domains; i++) {
		const Xenmesh__V1__DomainSample *d = s->domains[i];

		domains += !is_paused(d);
		all_told &= d->n_vcpus > 0 || d->vcpus_online == 0;
		for (size_t j = 0; j < d->n_vcpus; j++) {
			vcpus += d->vcpus[j]->online && !d->vcpus[j]->blocked && !is_paused(d);
		}
	}
	if (s->n_pcpus) {
		object_read(host, &host_cpu_avg, NULL, 0, idle / (double)s->n_pcpus, now);
	}
	if (s->n_pcpus && all_told) {
		object_read(host, &running_vcpus, NULL, 0, vcpus, now);
		object_read(host, &hostload, NULL, 0, (double)vcpus / (double)s->n_pcpus, now);
	}
	if (total_kib) {
		object_read(host, &memory_total_kib, NULL, 0, (double)total_kib, now);
	}
	object_read(host, &memory_free_kib, NULL, 0, (double)s->free_memory_kib, now);
	object_read(host, &loadavg, NULL, 0, s->load_average, now);
	object_read(host, &running_domains, NULL, 0, domains, now);
}

static void read_devices(struct object *vm, const Xenmesh__V1__DomainSample *d, uint64_t now)
{
	for (size_t i = 0; i < d->n_vifs; i++) {
		const Xenmesh__V1__VifSample *v = d->vifs[i];

		object_read(vm, &vif_rx, NULL, v->devid, (double)v->rx_bytes, now);
		object_read(vm, &vif_tx, NULL, v->devid, (double)v->tx_bytes, now);
		object_read(vm, &vif_rx_errors, NULL, v->devid, (double)v->rx_errors, now);
		object_read(vm, &vif_tx_errors, NULL, v->devid, (double)v->tx_errors, now);
	}
	for (size_t i = 0; i < d->n_vbds; i++) {
		const Xenmesh__V1__VbdSample *v = d->vbds[i];

		object_read(vm, &vbd_read, v->vdev, 0, (double)v->rd_sect, now);
		object_read(vm, &vbd_write, v->vdev, 0, (double)v->wr_sect, now);
		object_read(vm, &vbd_iops_read, v->vdev, 0, (double)v->rd_req, now);
		object_read(vm, &vbd_iops_write, v->vdev, 0, (double)v->wr_req, now);
	}
}

static void read_domain(struct object *vm, const Xenmesh__V1__DomainSample *d, uint64_t now)
{
	object_begin(vm, (uint64_t)d->domid + 1);
	if (vm->vcpus_online != d->vcpus_online) {
		object_restart(vm, &cpu_usage); /* its counter is divided by their number */
		vm->vcpus_online = d->vcpus_online;
	}
	if (d->vcpus_online) {
		object_read(vm, &cpu_usage, NULL, 0, (double)d->cpu_ns / d->vcpus_online, now);
	}
	for (size_t i = 0; i < d->n_vcpus; i++) {
		object_read(vm, &vm_cpu, NULL, d->vcpus[i]->vcpu, (double)d->vcpus[i]->cpu_ns, now);
	}
	if (!d->n_vcpus && d->vcpus_online) {
		object_hold(vm, &vm_cpu); /* its turn is another sample's, see read_host() */
	}
	object_read(vm, &memory, NULL, 0, (double)d->memory_kib, now);
	read_devices(vm, d, now);
}

void sources_from_sample(struct objects *o, const Xenmesh__V1__HostSample *s, uint64_t total_kib)
{
	struct object *host = objects_get(o, "");

	if (host) {
		read_host(host, s, total_kib);
	}
	for (size_t i = 0; i < s->n_domains; i++) {
		struct object *vm = objects_get(o, s->domains[i]->uuid);

		/* A paused domain reads as a standstill; its memory did not change either. */
		if (vm && *s->domains[i]->uuid) {
			read_domain(vm, s->domains[i], s->monotonic_ns);
		}
	}
}

void sources_from_guest(struct objects *o, const Xenmesh__V1__GuestInfo *g, uint64_t at_ns)
{
	struct object *vm = g->memory_free_kib ? objects_get(o, g->uuid) : NULL;

	if (vm) {
		object_read(vm, &memory_internal_free, NULL, 0, (double)g->memory_free_kib, at_ns);
	}
}
