/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who is on a pCPU at the moment of a look is drawn from what each vCPU used
 * since the look before, never more of them than there are pCPUs.
 */
#include "services/simhost/sample.h"

#include "libcommon/clock.h"

#define VCPUS_ALWAYS 256
#define VCPU_TURNS   5
#define CPU_KHZ	     2400000

void sample_state(const struct sample_host *host, Xenmesh__V1__HostState *out)
{
	xenmesh__v1__host_state__init(out);
	out->hostname = (char *)host->hostname;
	out->xen_version = (char *)"4.17 (simulated)";
	out->xen_caps = (char *)"simhost";
	out->xen_commandline = (char *)"(simulated host: there is no Xen)";
	out->scheduler = (char *)"none";
	out->pcpus = host->pcpus;
	out->cores_per_socket = host->pcpus;
	out->threads_per_core = 1;
	out->nodes = 1;
	out->cpu_khz = CPU_KHZ;
	out->memory_kib = host->memory_kib;
	out->simulated = true;
	out->connected = true;
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

static int add_pcpus(const struct machine *m, struct arena *a, Xenmesh__V1__HostSample *sample)
{
	const struct load_pcpus *p = machine_pcpus(m);
	Xenmesh__V1__PcpuSample *pcpu = alloc_messages(a, p->n, sizeof(*pcpu), &sample->pcpus);

	if (!pcpu) {
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < p->n; i++) {
		xenmesh__v1__pcpu_sample__init(&pcpu[i]);
		pcpu[i].pcpu = i;
		pcpu[i].idle_ns = p->idle_ns[i];
	}
	sample->n_pcpus = p->n;
	return 0;
}

static int add_vifs(struct arena *a, const struct machine_domain *d,
		    Xenmesh__V1__DomainSample *sample)
{
	size_t n = d->state.n_vifs;
	Xenmesh__V1__VifSample *vif = alloc_messages(a, n, sizeof(*vif), &sample->vifs);

	if (!vif) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++) {
		xenmesh__v1__vif_sample__init(&vif[i]);
		vif[i].devid = d->state.vifs[i]->devid;
		vif[i].rx_bytes = (uint64_t)d->load.vifs[i].rx_bytes;
		vif[i].tx_bytes = (uint64_t)d->load.vifs[i].tx_bytes;
		vif[i].rx_packets = (uint64_t)d->load.vifs[i].rx_packets;
		vif[i].tx_packets = (uint64_t)d->load.vifs[i].tx_packets;
	}
	sample->n_vifs = n;
	return 0;
}

static int add_vbds(struct arena *a, const struct machine_domain *d,
		    Xenmesh__V1__DomainSample *sample)
{
	size_t n = d->state.n_vbds;
	Xenmesh__V1__VbdSample *vbd = alloc_messages(a, n, sizeof(*vbd), &sample->vbds);

	if (!vbd) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++) {
		xenmesh__v1__vbd_sample__init(&vbd[i]);
		vbd[i].devid = d->state.vbds[i]->devid;
		vbd[i].vdev = d->state.vbds[i]->vdev;
		vbd[i].rd_req = (uint64_t)d->load.vbds[i].rd_req;
		vbd[i].wr_req = (uint64_t)d->load.vbds[i].wr_req;
		vbd[i].rd_sect = (uint64_t)d->load.vbds[i].rd_sect;
		vbd[i].wr_sect = (uint64_t)d->load.vbds[i].wr_sect;
		vbd[i].f_req = (uint64_t)d->load.vbds[i].f_req;
	}
	sample->n_vbds = n;
	return 0;
}

static bool is_on_cpu(const struct machine *m, const struct machine_domain *d, uint32_t vcpu,
		      struct load_random *dice)
{
	double usage = load_vcpu_usage(&d->load, vcpu, machine_pcpus(m)->dt_ns);

	return load_random_between(dice, 0, 1) < usage;
}

/* n_running: vCPUs on a pCPU so far. */
static void add_flags(const struct machine *m, const struct machine_domain *d,
		      struct load_random *dice, uint32_t *n_running,
		      Xenmesh__V1__DomainSample *sample)
{
	for (uint32_t i = 0; i < d->load.n_vcpus && *n_running < machine_pcpus(m)->n; i++) {
		if (d->load.is_running && is_on_cpu(m, d, i, dice)) {
			sample->running = true;
			(*n_running)++;
		}
	}
	sample->blocked = d->load.is_running && !sample->running;
}

static int add_vcpus(const struct machine *m, struct arena *a, const struct machine_domain *d,
		     Xenmesh__V1__DomainSample *sample)
{
	size_t n = d->load.n_vcpus;
	Xenmesh__V1__VcpuSample *vcpu = alloc_messages(a, n, sizeof(*vcpu), &sample->vcpus);

	if (!vcpu) {
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < n; i++) {
		xenmesh__v1__vcpu_sample__init(&vcpu[i]);
		vcpu[i].vcpu = i;
		vcpu[i].online = true;
		vcpu[i].running = sample->running && i == 0;
		vcpu[i].blocked = d->load.is_running && !vcpu[i].running;
		vcpu[i].pcpu = (d->state.domid + i) % machine_pcpus(m)->n;
		vcpu[i].cpu_ns = d->load.vcpu_ns[i];
	}
	sample->n_vcpus = n;
	return 0;
}

/* The vCPUs of as many domains as the budget allows, from the one whose turn it is, around. */
static int add_all_vcpus(const struct machine *m, struct sample_turns *turns, struct arena *a,
			 Xenmesh__V1__HostSample *sample)
{
	size_t n_vcpus = 0, budget, start = 0;
	int r = 0;

	for (size_t i = 0; i < machine_count(m); i++) {
		n_vcpus += machine_at(m, i)->load.n_vcpus;
		start += machine_at(m, i)->state.domid < turns->next_domid;
	}
	budget = MAX(VCPUS_ALWAYS, (n_vcpus + VCPU_TURNS - 1) / VCPU_TURNS);
	for (size_t i = 0; r == 0 && i < machine_count(m); i++) {
		size_t at = (start + i) % machine_count(m);
		const struct machine_domain *d = machine_at(m, at);

		turns->next_domid = d->state.domid;
		if (i > 0 && d->load.n_vcpus > budget) {
			break;
		}
		r = add_vcpus(m, a, d, sample->domains[at]);
		budget -= MIN(d->load.n_vcpus, budget);
	}
	return r;
}

static int add_domain(const struct machine *m, struct arena *a, const struct machine_domain *d,
		      struct load_random *dice, uint32_t *n_running,
		      Xenmesh__V1__DomainSample *sample)
{
	int r;

	xenmesh__v1__domain_sample__init(sample);
	sample->uuid = d->state.uuid;
	sample->domid = d->state.domid;
	sample->name = d->state.name;
	sample->cpu_ns = load_cpu_ns(&d->load);
	sample->vcpus_online = d->state.vcpus_online;
	sample->memory_kib = d->state.memory_kib;
	sample->max_memory_kib = d->state.max_memory_kib;
	sample->power_state = d->state.power_state;
	add_flags(m, d, dice, n_running, sample);
	r = add_vifs(a, d, sample);
	return r < 0 ? r : add_vbds(a, d, sample);
}

int sample_take(const struct machine *m, struct sample_turns *turns, struct arena *a,
		Xenmesh__V1__HostSample **out)
{
	Xenmesh__V1__HostSample *sample = arena_alloc(a, sizeof(*sample));
	Xenmesh__V1__DomainSample *domains;
	struct load_random dice;
	uint32_t n_running = 0;
	int r;

	if (!sample) {
		return -ENOMEM;
	}
	xenmesh__v1__host_sample__init(sample);
	sample->monotonic_ns = machine_pcpus(m)->since_ns;
	sample->realtime_ns = clock_real_ns() - (clock_boot_ns() - sample->monotonic_ns);
	sample->free_memory_kib = machine_free_kib(m);
	dice.state = sample->monotonic_ns;
	r = add_pcpus(m, a, sample);
	domains = alloc_messages(a, machine_count(m), sizeof(*domains), &sample->domains);
	if (r < 0 || !domains) {
		return -ENOMEM;
	}
	for (size_t i = 0; r == 0 && i < machine_count(m); i++) {
		r = add_domain(m, a, machine_at(m, i), &dice, &n_running, &domains[i]);
	}
	sample->n_domains = machine_count(m);
	if (r == 0) {
		r = add_all_vcpus(m, turns, a, sample);
	}
	sample->load_average = (double)n_running / 4;
	*out = sample;
	return r;
}
