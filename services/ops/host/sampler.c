/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A source that fails leaves its part of the sample empty; only without the
 * list of domains there is no sample.  Nothing here is kept from one look to
 * the next but whose turn it is to have its vCPUs read.
 */
#include "services/ops/host/sampler.h"

#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"

/* Read in every look; beyond, a fifth of all. */
#define VCPUS_ALWAYS 256
#define VCPU_TURNS   5
/* Xen's own limit is 4096 on x86. */
#define PCPUS_MAX 4096
#define VCPUS_MAX 8192U /* of a domain; Xen's HVM_MAX_VCPUS and PV limit are below */

struct host_sampler {
	struct host_sampler_sources sources;
	xc_cpuinfo_t *pcpus;
	uint32_t next_domid; /* whose vCPUs come next */
};

int host_sampler_new(struct host_sampler **out, const struct host_sampler_sources *sources)
{
	struct host_sampler *s = calloc(1, sizeof(*s));

	if (!s) {
		return -ENOMEM;
	}
	s->sources = *sources;
	s->pcpus = calloc(PCPUS_MAX, sizeof(*s->pcpus));
	if (!s->pcpus) {
		host_sampler_free(s);
		return -ENOMEM;
	}
	*out = s;
	return 0;
}

struct host_sampler *host_sampler_free(struct host_sampler *s)
{
	if (s) {
		free(s->pcpus);
		free(s);
	}
	return NULL;
}

/* n messages in one block with the array of pointers to them that protobuf-c wants. */
static void *alloc_messages(struct arena *a, size_t n, size_t size, void *pointers_out)
{
	void **pointers = arena_alloc(a, n * sizeof(*pointers));
	char *block = arena_alloc(a, n * size);

	if (!pointers || !block) {
		return NULL;
	}
	for (size_t i = 0; i < n; i++) {
		pointers[i] = block + i * size;
	}
	memcpy(pointers_out, &pointers, sizeof(pointers));
	return block;
}

static int add_memory(struct host_sampler *s, Xenmesh__V1__HostSample *sample, uint32_t *n_pcpus)
{
	struct hypervisor *hv = s->sources.hv;
	xc_physinfo_t info;
	int r = hv->ops->physinfo(hv->userdata, &info);

	*n_pcpus = 0;
	if (r < 0) {
		return err_trace(r);
	}
	sample->free_memory_kib = hypervisor_pages_kib(info.free_pages);
	sample->claimed_memory_kib = hypervisor_pages_kib(info.outstanding_pages);
	*n_pcpus = MIN(info.max_cpu_id, PCPUS_MAX - 1) + 1;
	return 0;
}

static int add_pcpus(struct host_sampler *s, struct arena *a, Xenmesh__V1__HostSample *sample,
		     uint32_t max)
{
	struct hypervisor *hv = s->sources.hv;
	Xenmesh__V1__PcpuSample *pcpu;
	int n = hv->ops->pcpus(hv->userdata, max, s->pcpus);

	if (n <= 0) {
		return err_trace(n);
	}
	pcpu = alloc_messages(a, (size_t)n, sizeof(*pcpu), &sample->pcpus);
	if (!pcpu) {
		return -ENOMEM;
	}
	for (int i = 0; i < n; i++) {
		xenmesh__v1__pcpu_sample__init(&pcpu[i]);
		pcpu[i].pcpu = (uint32_t)i;
		pcpu[i].idle_ns = s->pcpus[i].idletime;
	}
	sample->n_pcpus = (size_t)n;
	return 0;
}

static int add_vifs(struct host_sampler *s, struct arena *a, Xenmesh__V1__DomainSample *sample)
{
	const struct host_vif_counters *c;
	Xenmesh__V1__VifSample *vif;
	size_t n;

	c = host_vifs_of(s->sources.vifs, sample->domid, &n);
	if (n == 0) {
		return 0;
	}
	vif = alloc_messages(a, n, sizeof(*vif), &sample->vifs);
	if (!vif) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++) {
		xenmesh__v1__vif_sample__init(&vif[i]);
		vif[i].devid = c[i].device.devid;
		vif[i].rx_bytes = c[i].rx_bytes;
		vif[i].tx_bytes = c[i].tx_bytes;
		vif[i].rx_packets = c[i].rx_packets;
		vif[i].tx_packets = c[i].tx_packets;
		vif[i].rx_errors = c[i].rx_errors;
		vif[i].tx_errors = c[i].tx_errors;
		vif[i].rx_dropped = c[i].rx_dropped;
		vif[i].tx_dropped = c[i].tx_dropped;
	}
	sample->n_vifs = n;
	return 0;
}

static char *vdev_of(const struct host_domain *domain, uint32_t devid)
{
	const struct host_devices *d = &domain->devices;

	for (size_t i = 0; i < d->n_vbds; i++) {
		if (d->vbds[i]->devid == devid) {
			return d->vbds[i]->vdev;
		}
	}
	return (char *)protobuf_c_empty_string;
}

static int add_vbds(struct host_sampler *s, struct arena *a, const struct host_domain *domain,
		    Xenmesh__V1__DomainSample *sample)
{
	const struct host_vbd_counters *c;
	Xenmesh__V1__VbdSample *vbd;
	size_t n;

	c = host_vbds_of(s->sources.vbds, sample->domid, &n);
	if (n == 0) {
		return 0;
	}
	vbd = alloc_messages(a, n, sizeof(*vbd), &sample->vbds);
	if (!vbd) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++) {
		xenmesh__v1__vbd_sample__init(&vbd[i]);
		vbd[i].devid = c[i].device.devid;
		vbd[i].vdev = vdev_of(domain, vbd[i].devid);
		vbd[i].rd_req = c[i].rd_req;
		vbd[i].wr_req = c[i].wr_req;
		vbd[i].rd_sect = c[i].rd_sect;
		vbd[i].wr_sect = c[i].wr_sect;
		vbd[i].oo_req = c[i].oo_req;
		vbd[i].f_req = c[i].f_req;
		vbd[i].ds_req = c[i].ds_req;
	}
	sample->n_vbds = n;
	return 0;
}

static size_t count_vcpus(const struct host_domain *domain)
{
	uint32_t max = domain->info.max_vcpu_id;

	return max == XEN_INVALID_MAX_VCPU_ID ? 0 : MIN(max, VCPUS_MAX - 1) + 1;
}

static int add_vcpus(struct host_sampler *s, struct arena *a, const struct host_domain *domain,
		     Xenmesh__V1__DomainSample *sample)
{
	struct hypervisor *hv = s->sources.hv;
	size_t n = count_vcpus(domain);
	Xenmesh__V1__VcpuSample *vcpu;

	if (n == 0) {
		return 0;
	}
	vcpu = alloc_messages(a, n, sizeof(*vcpu), &sample->vcpus);
	if (!vcpu) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++) {
		xc_vcpuinfo_t info;

		if (hv->ops->vcpu(hv->userdata, domain->domid, (uint32_t)i, &info) < 0) {
			continue; /* never brought up, or the domain just went */
		}
		vcpu = sample->vcpus[sample->n_vcpus++];
		xenmesh__v1__vcpu_sample__init(vcpu);
		vcpu->vcpu = (uint32_t)i;
		vcpu->online = info.online;
		vcpu->running = info.running;
		vcpu->blocked = info.blocked;
		vcpu->pcpu = info.cpu;
		vcpu->cpu_ns = hypervisor_cpu_ns(info.cpu_time);
	}
	return 0;
}

/* The vCPUs of as many domains as the budget allows, from the one whose turn it is, around. */
static int add_all_vcpus(struct host_sampler *s, struct arena *a, Xenmesh__V1__HostSample *sample,
			 const struct host_domain **seen)
{
	size_t n_vcpus = 0, budget, start = 0;
	int r = 0;

	for (size_t i = 0; i < sample->n_domains; i++) {
		n_vcpus += count_vcpus(seen[i]);
		start += seen[i]->domid < s->next_domid;
	}
	budget = MAX(VCPUS_ALWAYS, (n_vcpus + VCPU_TURNS - 1) / VCPU_TURNS);
	for (size_t i = 0; r == 0 && i < sample->n_domains; i++) {
		size_t at = (start + i) % sample->n_domains, n = count_vcpus(seen[at]);

		s->next_domid = seen[at]->domid;
		if (i > 0 && n > budget) {
			break;
		}
		r = add_vcpus(s, a, seen[at], sample->domains[at]);
		budget -= MIN(n, budget);
	}
	return r;
}

static int add_domain(struct host_sampler *s, struct arena *a, const struct host_domain *domain,
		      Xenmesh__V1__DomainSample *sample)
{
	const xc_domaininfo_t *info = &domain->info;
	int r;

	xenmesh__v1__domain_sample__init(sample);
	sample->uuid = (char *)domain->uuid;
	sample->domid = domain->domid;
	sample->name = domain->name;
	sample->cpu_ns = hypervisor_cpu_ns(info->cpu_time);
	sample->vcpus_online = info->nr_online_vcpus;
	sample->memory_kib = hypervisor_pages_kib(info->tot_pages);
	sample->max_memory_kib = host_domain_max_memory_kib(domain);
	sample->power_state = host_domain_power_state(domain);
	sample->blocked = (info->flags & XEN_DOMINF_blocked) != 0;
	sample->running = (info->flags & XEN_DOMINF_running) != 0;
	r = add_vifs(s, a, sample);
	return r < 0 ? r : add_vbds(s, a, domain, sample);
}

static int add_domains(struct host_sampler *s, struct arena *a, Xenmesh__V1__HostSample *sample)
{
	size_t n = host_domains_count(s->sources.domains);
	const struct host_domain **seen = arena_alloc(a, n * sizeof(struct host_domain *));
	Xenmesh__V1__DomainSample *domain;
	int r = 0;

	domain = alloc_messages(a, n, sizeof(*domain), &sample->domains);
	if (!domain || !seen) {
		return -ENOMEM;
	}
	for (size_t i = 0; r == 0 && i < n; i++) {
		const struct host_domain *one = host_domains_at(s->sources.domains, i);

		if (one->is_told) {
			seen[sample->n_domains] = one;
			r = add_domain(s, a, one, &domain[sample->n_domains++]);
		}
	}
	return r < 0 ? r : add_all_vcpus(s, a, sample, seen);
}

static void complain(const char *what, int r)
{
	if (r < 0) {
		log_warning("sample without %s: %s", what, err_text(r));
	}
}

int host_sampler_take(struct host_sampler *s, struct arena *a, Xenmesh__V1__HostSample **out)
{
	Xenmesh__V1__HostSample *sample = arena_alloc(a, sizeof(*sample));
	uint32_t n_pcpus;
	int r;

	if (!sample) {
		return -ENOMEM;
	}
	xenmesh__v1__host_sample__init(sample);
	sample->monotonic_ns = clock_boot_ns();
	sample->realtime_ns = clock_real_ns();
	r = host_domains_scan(s->sources.domains);
	if (r < 0) {
		return err_trace(r);
	}
	complain("memory", add_memory(s, sample, &n_pcpus));
	if (n_pcpus > 0) {
		complain("pCPUs", add_pcpus(s, a, sample, n_pcpus));
	}
	complain("vifs", host_vifs_read(s->sources.vifs));
	complain("vbds", host_vbds_read(s->sources.vbds));
	r = add_domains(s, a, sample);
	if (r < 0) {
		return err_trace(r);
	}
	if (getloadavg(&sample->load_average, 1) < 1) {
		sample->load_average = 0;
	}
	*out = sample;
	return 0;
}
