/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A domain's running time is kept apart from the looks, so that a pause or a
 * start between two of them counts to the nanosecond.
 */
#include "services/simhost/load.h"

#include <math.h>

#define CPU_MOST      0.98 /* of a vCPU: there is always a little idle time */
#define CPU_LEAST     0.001
#define CPU_BUSY      0.9
#define BUSY_SECTORS  20000.0 /* a second, read: a boot from disk */
#define HOST_MOST     0.97    /* of all pCPUs, dom0 included */
#define FLUSHES	      0.05    /* of all writes */
#define EXPONENT_BITS 11      /* of 64: what a double's mantissa has no room for */

uint64_t load_random_next(struct load_random *r)
{
	uint64_t z = r->state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

double load_random_between(struct load_random *r, double low, double high)
{
	double unit = (double)(load_random_next(r) >> EXPONENT_BITS) * 0x1p-53;

	return low + unit * (high - low);
}

/* Rates are spread over orders of magnitude: most VMs do little, few do much. */
static double spread(struct load_random *r, double low, double high)
{
	return exp(load_random_between(r, log(low), log(high)));
}

static void draw_profile(struct load_profile *p, struct load_random *r)
{
	p->cpu = spread(r, 0.005, 0.5);
	p->swing = load_random_between(r, 0.1, 0.8);
	p->period_s = load_random_between(r, 60, 900);
	p->phase = load_random_between(r, 0, 1);
	p->rx_rate = spread(r, 200, 2e6);
	p->tx_rate = p->rx_rate * load_random_between(r, 0.2, 3);
	p->packet_bytes = load_random_between(r, 200, 1300);
	p->rd_rate = spread(r, 1, 4000);
	p->wr_rate = spread(r, 1, 4000);
	p->request_sectors = load_random_between(r, 8, 64);
}

int load_init(struct load *l, uint64_t seed, uint32_t n_vcpus, size_t n_vifs, size_t n_vbds)
{
	*l = (struct load){ .random = { seed }, .n_vcpus = n_vcpus, .factor = 1 };
	l->n_vifs = n_vifs;
	l->n_vbds = n_vbds;
	l->vcpu_ns = calloc(MAX(n_vcpus, 1), sizeof(*l->vcpu_ns));
	l->wanted_ns = calloc(MAX(n_vcpus, 1), sizeof(*l->wanted_ns));
	l->vifs = calloc(MAX(n_vifs, 1), sizeof(*l->vifs));
	l->vbds = calloc(MAX(n_vbds, 1), sizeof(*l->vbds));
	if (!l->vcpu_ns || !l->wanted_ns || !l->vifs || !l->vbds) {
		load_deinit(l);
		return -ENOMEM;
	}
	draw_profile(&l->profile, &l->random);
	return 0;
}

void load_deinit(struct load *l)
{
	free(l->vcpu_ns);
	free(l->wanted_ns);
	free(l->vifs);
	free(l->vbds);
	*l = (struct load){ 0 };
}

static void count_time(struct load *l, uint64_t now_ns)
{
	if (l->is_running && now_ns > l->since_ns) {
		l->ran_ns += now_ns - l->since_ns;
	}
	l->since_ns = MAX(now_ns, l->since_ns);
}

void load_set_running(struct load *l, bool is_running, uint64_t now_ns)
{
	count_time(l, now_ns);
	l->is_running = is_running;
}

/* One counter a device: the second vif moves half of what the first does. */
static void move_io(struct load *l, double seconds, double factor)
{
	const struct load_profile *p = &l->profile;

	for (size_t i = 0; i < l->n_vifs; i++) {
		double rx = p->rx_rate * factor * seconds / (double)(i + 1);
		double tx = p->tx_rate * factor * seconds / (double)(i + 1);

		l->vifs[i].rx_bytes += rx;
		l->vifs[i].tx_bytes += tx;
		l->vifs[i].rx_packets += rx / p->packet_bytes;
		l->vifs[i].tx_packets += tx / p->packet_bytes;
	}
	for (size_t i = 0; i < l->n_vbds; i++) {
		double rd = p->rd_rate * factor * seconds / (double)(i + 1);
		double wr = p->wr_rate * factor * seconds / (double)(i + 1);

		if (i == 0 && l->is_busy) {
			rd += BUSY_SECTORS * seconds;
		}
		l->vbds[i].rd_sect += rd;
		l->vbds[i].wr_sect += wr;
		l->vbds[i].rd_req += rd / p->request_sectors;
		l->vbds[i].wr_req += wr / p->request_sectors;
		l->vbds[i].f_req += wr / p->request_sectors * FLUSHES;
	}
}

void load_age(struct load *l, uint64_t age_ns)
{
	double seconds = (double)age_ns / (double)NSEC_PER_SEC;

	for (uint32_t i = 0; i < l->n_vcpus; i++) {
		l->vcpu_ns[i] += (uint64_t)((double)age_ns * l->profile.cpu / (i + 1.0));
	}
	move_io(l, seconds, 1);
}

uint64_t load_demand(struct load *l, uint64_t now_ns)
{
	const struct load_profile *p = &l->profile;
	double turns = (double)now_ns / (double)NSEC_PER_SEC / p->period_s + p->phase;
	double noise = load_random_between(&l->random, 0.8, 1.2);
	uint64_t sum = 0;

	count_time(l, now_ns);
	l->run_s = (double)l->ran_ns / (double)NSEC_PER_SEC;
	l->factor = noise * (1 + p->swing * sin(2 * M_PI * (turns - floor(turns))));
	for (uint32_t i = 0; i < l->n_vcpus; i++) {
		/* The first vCPU works hardest. */
		double usage = l->is_busy && i == 0 ? CPU_BUSY : p->cpu * l->factor / (i + 1.0);

		usage = fmin(fmax(usage, CPU_LEAST), CPU_MOST);
		l->wanted_ns[i] = (uint64_t)((double)l->ran_ns * usage);
		sum += l->wanted_ns[i];
	}
	l->ran_ns = 0;
	return sum;
}

uint64_t load_cpu_ns(const struct load *l)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < l->n_vcpus; i++) {
		sum += l->vcpu_ns[i];
	}
	return sum;
}

double load_vcpu_usage(const struct load *l, uint32_t vcpu, uint64_t dt_ns)
{
	return dt_ns == 0 ? 0 : (double)l->wanted_ns[vcpu] / (double)dt_ns;
}

int load_pcpus_init(struct load_pcpus *p, uint32_t n, uint64_t now_ns)
{
	*p = (struct load_pcpus){ .n = n, .since_ns = now_ns, .scale = 1 };
	p->idle_ns = calloc(n, sizeof(*p->idle_ns));
	p->busy_ns = calloc(n, sizeof(*p->busy_ns));
	if (!p->idle_ns || !p->busy_ns) {
		load_pcpus_deinit(p);
		return -ENOMEM;
	}
	return 0;
}

void load_pcpus_deinit(struct load_pcpus *p)
{
	free(p->idle_ns);
	free(p->busy_ns);
	*p = (struct load_pcpus){ 0 };
}

void load_share(struct load_pcpus *p, uint64_t wanted_ns, uint64_t now_ns)
{
	double room;

	p->dt_ns = now_ns > p->since_ns ? now_ns - p->since_ns : 0;
	p->since_ns = MAX(now_ns, p->since_ns);
	room = (double)p->dt_ns * p->n * HOST_MOST;
	p->scale = (double)wanted_ns > room ? room / (double)wanted_ns : 1;
	memset(p->busy_ns, 0, p->n * sizeof(*p->busy_ns));
}

/* What pCPU `first` has no time for goes to the next. */
static uint64_t place(struct load_pcpus *p, uint32_t first, uint64_t ns)
{
	uint64_t left = ns;

	for (uint32_t i = 0; left > 0 && i < p->n; i++) {
		uint32_t at = (first + i) % p->n;
		uint64_t part = MIN(left, p->dt_ns - p->busy_ns[at]);

		p->busy_ns[at] += part;
		left -= part;
	}
	return ns - left;
}

void load_grant(struct load *l, struct load_pcpus *p, uint32_t first)
{
	for (uint32_t i = 0; i < l->n_vcpus; i++) {
		uint64_t ns = (uint64_t)((double)l->wanted_ns[i] * p->scale);

		l->wanted_ns[i] = place(p, (first + i) % p->n, ns);
		l->vcpu_ns[i] += l->wanted_ns[i];
	}
	if (l->has_io) {
		move_io(l, l->run_s, l->factor);
	}
	l->run_s = 0;
}

void load_settle(struct load_pcpus *p)
{
	for (uint32_t i = 0; i < p->n; i++) {
		p->idle_ns[i] += p->dt_ns - p->busy_ns[i];
	}
}
