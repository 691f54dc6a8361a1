/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "services/simhost/load.h"

#include "tests/unit/unit.h"

#define N_DOMAINS 40
#define N_PCPUS	  4
#define START_NS  (1000 * NSEC_PER_SEC)

struct host {
	struct load loads[N_DOMAINS];
	struct load_pcpus pcpus;
	uint64_t now_ns;
};

static void host_init(struct host *h)
{
	h->now_ns = START_NS;
	CU_ASSERT_EQUAL(load_pcpus_init(&h->pcpus, N_PCPUS, h->now_ns), 0);
	for (uint32_t i = 0; i < N_DOMAINS; i++) {
		CU_ASSERT_EQUAL(load_init(&h->loads[i], i, 1 + i % 5, i % 3, i % 4), 0);
		load_set_running(&h->loads[i], true, h->now_ns);
		h->loads[i].has_io = true;
	}
}

static void host_deinit(struct host *h)
{
	for (uint32_t i = 0; i < N_DOMAINS; i++) {
		load_deinit(&h->loads[i]);
	}
	load_pcpus_deinit(&h->pcpus);
}

static void look(struct host *h, uint64_t dt_ns)
{
	uint64_t wanted_ns = 0;

	h->now_ns += dt_ns;
	for (uint32_t i = 0; i < N_DOMAINS; i++) {
		wanted_ns += load_demand(&h->loads[i], h->now_ns);
	}
	load_share(&h->pcpus, wanted_ns, h->now_ns);
	for (uint32_t i = 0; i < N_DOMAINS; i++) {
		load_grant(&h->loads[i], &h->pcpus, i);
	}
	load_settle(&h->pcpus);
}

static uint64_t used_ns(const struct host *h)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < N_DOMAINS; i++) {
		sum += load_cpu_ns(&h->loads[i]);
	}
	return sum;
}

static uint64_t idle_ns(const struct host *h)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < N_PCPUS; i++) {
		sum += h->pcpus.idle_ns[i];
	}
	return sum;
}

/* 40 domains want more than 4 pCPUs have. */
static void test_time_adds_up(void)
{
	static const uint64_t steps_ns[] = { NSEC_PER_SEC, 1, 7 * NSEC_PER_MSEC, 30 * NSEC_PER_SEC,
					     0 };
	struct host h;

	host_init(&h);
	for (uint32_t i = 0; i < 200; i++) {
		uint64_t dt_ns = steps_ns[i % ARRAY_LEN(steps_ns)];
		uint64_t used = used_ns(&h), idle = idle_ns(&h);

		for (uint32_t d = 0; d < N_DOMAINS; d++) {
			h.loads[d].is_busy = i > 100;
		}
		look(&h, dt_ns);
		CU_ASSERT_EQUAL(used_ns(&h) - used + idle_ns(&h) - idle, dt_ns * N_PCPUS);
	}
	host_deinit(&h);
}

static void test_no_vcpu_runs_longer_than_the_clock(void)
{
	struct host h;

	host_init(&h);
	for (uint32_t i = 0; i < 100; i++) {
		uint64_t before[8];

		memcpy(before, h.loads[4].vcpu_ns, 5 * sizeof(before[0]));
		look(&h, NSEC_PER_SEC);
		for (uint32_t v = 0; v < 5; v++) {
			CU_ASSERT(h.loads[4].vcpu_ns[v] >= before[v]);
			CU_ASSERT(h.loads[4].vcpu_ns[v] - before[v] <= NSEC_PER_SEC);
		}
	}
	CU_ASSERT(load_cpu_ns(&h.loads[4]) > 0);
	host_deinit(&h);
}

static void test_only_running_ones_use_anything(void)
{
	struct load *l;
	struct host h;
	double rx;
	uint64_t cpu_ns;

	host_init(&h);
	l = &h.loads[5]; /* with a vbd and two vifs */
	look(&h, NSEC_PER_SEC);
	CU_ASSERT(load_cpu_ns(l) > 0);
	CU_ASSERT(l->vifs[0].rx_bytes > 0);
	CU_ASSERT(l->vbds[0].wr_sect > 0);
	load_set_running(l, false, h.now_ns);
	rx = l->vifs[0].rx_bytes;
	cpu_ns = load_cpu_ns(l);
	look(&h, 10 * NSEC_PER_SEC);
	CU_ASSERT_EQUAL(load_cpu_ns(l), cpu_ns);
	CU_ASSERT(l->vifs[0].rx_bytes == rx);
	load_set_running(l, true, h.now_ns);
	look(&h, NSEC_PER_SEC);
	CU_ASSERT(load_cpu_ns(l) > cpu_ns);
	CU_ASSERT(l->vifs[0].rx_bytes > rx);
	host_deinit(&h);
}

/* Paused for most of the time between two looks: only the rest counts. */
static void test_a_part_of_a_look_counts(void)
{
	struct host h;

	host_init(&h);
	h.loads[0].is_busy = true; /* 90 % of its vCPU */
	load_set_running(&h.loads[0], false, h.now_ns + 100 * NSEC_PER_MSEC);
	look(&h, NSEC_PER_SEC);
	CU_ASSERT(load_cpu_ns(&h.loads[0]) > 10 * NSEC_PER_MSEC);
	CU_ASSERT(load_cpu_ns(&h.loads[0]) <= 100 * NSEC_PER_MSEC);
	host_deinit(&h);
}

static void test_no_io_before_devices_are_connected(void)
{
	struct host h;

	host_init(&h);
	h.loads[5].has_io = false;
	look(&h, NSEC_PER_SEC);
	CU_ASSERT(h.loads[5].vifs[0].tx_bytes == 0);
	CU_ASSERT(h.loads[5].vbds[0].rd_req == 0);
	host_deinit(&h);
}

static void test_same_seed_same_load(void)
{
	struct host a, b;

	host_init(&a);
	host_init(&b);
	for (uint32_t i = 0; i < 20; i++) {
		look(&a, NSEC_PER_SEC);
		look(&b, NSEC_PER_SEC);
	}
	for (uint32_t i = 0; i < N_DOMAINS; i++) {
		CU_ASSERT_EQUAL(load_cpu_ns(&a.loads[i]), load_cpu_ns(&b.loads[i]));
	}
	CU_ASSERT(load_cpu_ns(&a.loads[1]) != load_cpu_ns(&a.loads[6])); /* both have two vCPUs */
	host_deinit(&a);
	host_deinit(&b);
}

static void test_age(void)
{
	struct load l;

	CU_ASSERT_EQUAL(load_init(&l, 1, 2, 1, 1), 0);
	load_age(&l, 3600 * NSEC_PER_SEC);
	CU_ASSERT(load_cpu_ns(&l) > 0);
	CU_ASSERT(load_cpu_ns(&l) < 2 * 3600 * NSEC_PER_SEC);
	CU_ASSERT(l.vifs[0].rx_bytes > 1);
	CU_ASSERT(l.vbds[0].rd_sect >= l.vbds[0].rd_req);
	load_deinit(&l);
}

UNIT_MAIN("simhost_load", UNIT_TEST(test_time_adds_up),
	  UNIT_TEST(test_no_vcpu_runs_longer_than_the_clock),
	  UNIT_TEST(test_only_running_ones_use_anything), UNIT_TEST(test_a_part_of_a_look_counts),
	  UNIT_TEST(test_no_io_before_devices_are_connected), UNIT_TEST(test_same_seed_same_load),
	  UNIT_TEST(test_age))
