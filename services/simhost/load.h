/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What simulated domains do with CPU, network and disks: counters that grow
 * plausibly, at rates drawn from a seed.  Pure: time is an argument.
 *
 * Promises: counters never go back; a vCPU never runs longer than the wall
 * time; the pCPUs' idle time and all vCPUs' running time add up exactly to
 * pCPUs times wall time; a domain that does not run uses nothing.
 *
 * Each look is load_demand() for every domain, load_share() once, then
 * load_grant() for every domain.
 */
#include "libcommon/base.h"

/* A stream of pseudo-random numbers (splitmix64): the same seed, the same numbers. */
struct load_random {
	uint64_t state;
};
uint64_t load_random_next(struct load_random *r);
/* In [low, high). */
double load_random_between(struct load_random *r, double low, double high);

/* Cumulative; doubles, because rates are below one a look: whole up to 2^53. */
struct load_vif {
	double rx_bytes, tx_bytes; /* as the guest sees it */
	double rx_packets, tx_packets;
};

struct load_vbd {
	double rd_req, wr_req;
	double rd_sect, wr_sect; /* of 512 bytes */
	double f_req;
};

/* Averages; the momentary rate swings around them. */
struct load_profile {
	double cpu; /* of each vCPU, 0..1 */
	double swing;
	double period_s;
	double phase;
	double rx_rate, tx_rate; /* bytes/s, each vif */
	double packet_bytes;
	double rd_rate, wr_rate; /* sectors/s, each vbd */
	double request_sectors;
};

struct load {
	struct load_profile profile;
	struct load_random random;
	uint32_t n_vcpus;
	uint64_t *vcpu_ns;
	uint64_t *wanted_ns; /* of this look */
	size_t n_vifs;
	struct load_vif *vifs;
	size_t n_vbds;
	struct load_vbd *vbds;
	uint64_t since_ns; /* counted up to here */
	uint64_t ran_ns;   /* before since_ns, not yet granted */
	bool is_running;
	bool is_busy; /* works as hard as it can, as in booting */
	bool has_io;
	double factor; /* of the averages, in this look */
	double run_s;  /* in this look */
};

int load_init(struct load *l, uint64_t seed, uint32_t n_vcpus, size_t n_vifs, size_t n_vbds);
void load_deinit(struct load *l);
/* The domain runs from now on, or does not. */
void load_set_running(struct load *l, bool is_running, uint64_t now_ns);
/* As if it had run age_ns already. */
void load_age(struct load *l, uint64_t age_ns);

/* What it wants of the time since the last look, all vCPUs, ns. */
uint64_t load_demand(struct load *l, uint64_t now_ns);
uint64_t load_cpu_ns(const struct load *l);
/* What a vCPU used between the last two looks, 0..1 of a look of dt_ns. */
double load_vcpu_usage(const struct load *l, uint32_t vcpu, uint64_t dt_ns);

struct load_pcpus {
	uint32_t n;
	uint64_t *idle_ns;
	uint64_t *busy_ns; /* of this look */
	uint64_t since_ns;
	uint64_t dt_ns; /* length of the last look */
	double scale;	/* of all wishes, so that they fit */
};

int load_pcpus_init(struct load_pcpus *p, uint32_t n, uint64_t now_ns);
void load_pcpus_deinit(struct load_pcpus *p);
/* A new look: all domains together want wanted_ns. */
void load_share(struct load_pcpus *p, uint64_t wanted_ns, uint64_t now_ns);
/* Let the domain's counters grow by its share; first: the pCPU its vCPU 0 likes. */
void load_grant(struct load *l, struct load_pcpus *p, uint32_t first);
/* After the last domain: what was not used was idle. */
void load_settle(struct load_pcpus *p);
