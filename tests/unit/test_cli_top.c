/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "clients/cli/top_view.h"

#include <math.h>

#include "tests/unit/unit.h"

struct sample {
	Xenmesh__V1__HostSample host;
	Xenmesh__V1__DomainSample domains[3];
	Xenmesh__V1__DomainSample *list[3];
	Xenmesh__V1__PcpuSample pcpus[2];
	Xenmesh__V1__PcpuSample *pcpu_list[2];
	Xenmesh__V1__VifSample vif;
	Xenmesh__V1__VifSample *vif_list[1];
};

static void sample_init(struct sample *s, uint64_t second)
{
	static char *const names[] = { (char *)"Domain-0", (char *)"web", (char *)"db" };
	static char *const uuids[] = { (char *)"0", (char *)"1", (char *)"2" };

	memset(s, 0, sizeof(*s));
	xenmesh__v1__host_sample__init(&s->host);
	s->host.monotonic_ns = second * NSEC_PER_SEC;
	for (size_t i = 0; i < 3; i++) {
		xenmesh__v1__domain_sample__init(&s->domains[i]);
		s->domains[i].domid = (uint32_t)i;
		s->domains[i].name = names[i];
		s->domains[i].uuid = uuids[i];
		s->domains[i].memory_kib = 1024 * (i + 1);
		s->list[i] = &s->domains[i];
	}
	for (size_t i = 0; i < 2; i++) {
		xenmesh__v1__pcpu_sample__init(&s->pcpus[i]);
		s->pcpus[i].idle_ns = second * NSEC_PER_SEC / 2;
		s->pcpu_list[i] = &s->pcpus[i];
	}
	xenmesh__v1__vif_sample__init(&s->vif);
	s->vif_list[0] = &s->vif;
	s->domains[1].vifs = s->vif_list;
	s->domains[1].n_vifs = 1;
	s->host.domains = s->list;
	s->host.n_domains = 3;
	s->host.pcpus = s->pcpu_list;
	s->host.n_pcpus = 2;
}

static const struct top_row *row(const struct top_view *v, const char *name)
{
	static const struct top_row none;

	for (size_t i = 0; i < v->n_rows; i++) {
		if (streq(v->rows[i].name, name)) {
			return &v->rows[i];
		}
	}
	CU_FAIL("no such row");
	return &none;
}

static void test_top__rates(void)
{
	struct sample before, now;
	struct top_view v;
	struct arena arena;

	arena_init(&arena, 1 << 20);
	sample_init(&before, 10);
	sample_init(&now, 12);
	before.vif.rx_bytes = 1000;
	now.vif.rx_bytes = 5000;
	now.domains[1].cpu_ns = 3 * NSEC_PER_SEC; /* 3 s in 2 s: one and a half pCPUs */
	CU_ASSERT_EQUAL(top_view_make(&arena, &before.host, &now.host, 8192, TOP_SORT_CPU, &v), 0);
	CU_ASSERT_EQUAL(v.n_rows, 3);
	CU_ASSERT_STRING_EQUAL(v.rows[0].name, "web");
	CU_ASSERT_DOUBLE_EQUAL(v.rows[0].cpu_percent, 150, 1e-9);
	CU_ASSERT_DOUBLE_EQUAL(v.rows[0].net_rx_rate, 2000, 1e-9);
	CU_ASSERT_DOUBLE_EQUAL(v.rows[0].memory_percent, 25, 1e-9);
	CU_ASSERT_DOUBLE_EQUAL(v.cpu_percent, 50, 1e-9);
	arena_deinit(&arena);
}

static void test_top__unknown_is_not_zero(void)
{
	struct sample before, now;
	struct top_view v;
	struct arena arena;

	arena_init(&arena, 1 << 20);
	sample_init(&before, 10);
	sample_init(&now, 12);
	before.domains[1].uuid = (char *)"another"; /* the domid was used again */
	before.domains[2].cpu_ns = 5;
	CU_ASSERT_EQUAL(top_view_make(&arena, &before.host, &now.host, 0, TOP_SORT_CPU, &v), 0);
	CU_ASSERT(isnan(row(&v, "web")->cpu_percent));
	CU_ASSERT(isnan(row(&v, "db")->cpu_percent));
	CU_ASSERT_EQUAL(row(&v, "Domain-0")->cpu_percent, 0);
	CU_ASSERT_STRING_EQUAL(v.rows[0].name, "Domain-0"); /* unknown sorts last */
	CU_ASSERT_EQUAL(top_view_make(&arena, NULL, &now.host, 0, TOP_SORT_CPU, &v), 0);
	CU_ASSERT(isnan(v.cpu_percent));
	CU_ASSERT_EQUAL(top_view_make(&arena, &now.host, &now.host, 0, TOP_SORT_CPU, &v), 0);
	CU_ASSERT(isnan(v.cpu_percent)); /* no time has passed */
	before.pcpus[1].idle_ns = now.pcpus[1].idle_ns + 1;
	CU_ASSERT_EQUAL(top_view_make(&arena, &before.host, &now.host, 0, TOP_SORT_CPU, &v), 0);
	CU_ASSERT(isnan(v.cpu_percent));
	arena_deinit(&arena);
}

static void test_top__state_and_sorting(void)
{
	struct sample now;
	struct top_view v;
	struct arena arena;

	arena_init(&arena, 1 << 20);
	sample_init(&now, 12);
	now.domains[0].running = true;
	now.domains[1].power_state = XENMESH__V1__POWER_STATE__POWER_STATE_PAUSED;
	now.domains[2].blocked = true;
	CU_ASSERT_EQUAL(top_view_make(&arena, NULL, &now.host, 0, TOP_SORT_MEM, &v), 0);
	CU_ASSERT_STRING_EQUAL(v.rows[0].name, "db");
	CU_ASSERT_STRING_EQUAL(row(&v, "Domain-0")->state, "-----r");
	CU_ASSERT_STRING_EQUAL(row(&v, "web")->state, "----p-");
	CU_ASSERT_STRING_EQUAL(row(&v, "db")->state, "--b---");
	CU_ASSERT_EQUAL(top_view_make(&arena, NULL, &now.host, 0, TOP_SORT_NAME, &v), 0);
	CU_ASSERT_STRING_EQUAL(v.rows[1].name, "db");
	CU_ASSERT_STRING_EQUAL(top_sort_names[TOP_SORT_VBD], "vbd");
	CU_ASSERT_STRING_EQUAL(top_sort_names[TOP_SORT_DOMID], "domid");
	CU_ASSERT_PTR_NULL(top_sort_names[TOP_SORT_DOMID + 1]);
	arena_deinit(&arena);
}

UNIT_MAIN("top", UNIT_TEST(test_top__rates), UNIT_TEST(test_top__unknown_is_not_zero),
	  UNIT_TEST(test_top__state_and_sorting))
