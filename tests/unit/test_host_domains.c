/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "services/ops/host/domains.h"

#include "libcommon/clock.h"
#include "tests/unit/host_fixture.h"

#include <sys/syscall.h>

#define ALL_DAY_US (86400 * USEC_PER_SEC)

#define RUNNING	 XENMESH__V1__POWER_STATE__POWER_STATE_RUNNING
#define PAUSED	 XENMESH__V1__POWER_STATE__POWER_STATE_PAUSED
#define SHUTDOWN XENMESH__V1__POWER_STATE__POWER_STATE_SHUTDOWN
#define DYING	 XENMESH__V1__POWER_STATE__POWER_STATE_DYING

/* Time stands still here while it is not 0. */
static time_t frozen_s;

int clock_gettime(clockid_t id, struct timespec *t)
{
	if (frozen_s) {
		*t = (struct timespec){ .tv_sec = frozen_s };
		return 0;
	}
	return (int)syscall(SYS_clock_gettime, id, t);
}

struct fixture {
	struct fake_hv *hv;
	struct xenstore *xs;
	struct host_domains *domains;
	char log[4096]; /* "+1 -2 " for changed and gone domids */
	size_t n_marked;
	Xenmesh__Host__Domain last; /* changed; only its numbers are used later */
	char last_name[64];
};

static void on_changed(const struct host_domain *domain, void *userdata)
{
	struct fixture *f = userdata;
	size_t len = strlen(f->log);

	snprintf(f->log + len, sizeof(f->log) - len, "+%u ", domain->domid);
	host_domain_message(domain, &f->last);
	snprintf(f->last_name, sizeof(f->last_name), "%s", domain->name);
}

static void on_gone(const struct host_domain *domain, void *userdata)
{
	struct fixture *f = userdata;
	size_t len = strlen(f->log);

	snprintf(f->log + len, sizeof(f->log) - len, "-%u ", domain->domid);
}

static void on_marked(void *userdata)
{
	struct fixture *f = userdata;

	f->n_marked++;
}

static const struct host_domains_events events = {
	.changed = on_changed,
	.gone = on_gone,
	.marked = on_marked,
};

static void setup(struct fixture *f)
{
	*f = (struct fixture){ .hv = fake_hv_new(), .xs = calloc(1, sizeof(struct xenstore)) };
	CU_ASSERT_EQUAL(host_domains_new(&f->domains, &f->hv->hv, f->xs, &events, f), 0);
}

static void teardown(struct fixture *f)
{
	host_domains_free(f->domains);
	CU_ASSERT_EQUAL(f->xs->n_watches, 0);
	free(f->xs);
	free(f->hv);
}

static void mark_dir_remove(struct fixture_dir *dir)
{
	fixture_dir_remove(dir, "");
}

/* Scan and refresh; what was told since the last time. */
static const char *look(struct fixture *f)
{
	static char told[sizeof(f->log)];

	CU_ASSERT_EQUAL(host_domains_scan(f->domains), 0);
	host_domains_refresh(f->domains, ALL_DAY_US);
	memcpy(told, f->log, sizeof(told));
	f->log[0] = '\0';
	return told;
}

static void test_come_and_go(void)
{
	struct fixture f;

	setup(&f);
	fake_add(f.hv, 0, 0);
	fake_add(f.hv, 3, 103);
	fake_guest(f.xs, 3, "three");
	CU_ASSERT_STRING_EQUAL(look(&f), "+0 +3 ");
	CU_ASSERT_STRING_EQUAL(f.last_name, "three");
	CU_ASSERT_EQUAL(f.last.n_vifs, 1);
	CU_ASSERT_EQUAL(f.last.n_vbds, 1);
	CU_ASSERT_STRING_EQUAL(look(&f), "");
	fake_add(f.hv, 2, 102);
	CU_ASSERT_STRING_EQUAL(look(&f), "+2 ");
	CU_ASSERT_STRING_EQUAL(f.last_name, "");
	fake_drop(f.hv, 3);
	CU_ASSERT_STRING_EQUAL(look(&f), "-3 ");
	fake_drop(f.hv, 2);
	fake_drop(f.hv, 0);
	CU_ASSERT_STRING_EQUAL(look(&f), "-0 -2 ");
	CU_ASSERT_EQUAL(host_domains_count(f.domains), 0);
	teardown(&f);
}

/* Whether a paused domain is all there, only the mark of its worker says. */
static void test_mark_of_a_complete_domain(void)
{
	_cleanup_(mark_dir_remove) struct fixture_dir dir;
	struct fixture f;

	setup(&f);
	fixture_dir_make(&dir);
	host_domains_set_userdata_dir(f.domains, dir.path);
	fake_add(f.hv, 3, 5)->flags |= XEN_DOMINF_paused;
	CU_ASSERT_STRING_EQUAL(look(&f), "+3 ");
	CU_ASSERT_FALSE(f.last.complete);
	fixture_write(&dir, "userdata-d.3.00000000-0000-0000-0000-000000000006.xenmesh", "");
	fixture_write(&dir, "userdata-d.3.00000000-0000-0000-0000-000000000005.libxl-json", "");
	CU_ASSERT_STRING_EQUAL(look(&f), "");
	fixture_write(&dir, "userdata-d.3.00000000-0000-0000-0000-000000000005.xenmesh", "");
	CU_ASSERT_STRING_EQUAL(look(&f), "+3 ");
	CU_ASSERT(f.last.complete);
	CU_ASSERT_STRING_EQUAL(look(&f), "");
	fake_find(f.hv, 3)->flags &= ~(uint32_t)XEN_DOMINF_paused;
	CU_ASSERT_STRING_EQUAL(look(&f), "+3 ");
	CU_ASSERT(f.last.complete);
	teardown(&f);
}

/* The same domid with another UUID is another domain. */
static void test_domid_used_again(void)
{
	struct fixture f;

	setup(&f);
	fake_add(f.hv, 5, 1);
	fake_add(f.hv, 6, 2);
	CU_ASSERT_STRING_EQUAL(look(&f), "+5 +6 ");
	fake_drop(f.hv, 5);
	fake_add(f.hv, 5, 3);
	CU_ASSERT_STRING_EQUAL(look(&f), "-5 +5 ");
	CU_ASSERT_STRING_EQUAL(host_domains_at(f.domains, 0)->uuid,
			       "00000000-0000-0000-0000-000000000003");
	teardown(&f);
}

/* One that came and went before it was read was never there. */
static void test_gone_before_told(void)
{
	struct fixture f;

	setup(&f);
	fake_add(f.hv, 5, 1);
	CU_ASSERT_EQUAL(host_domains_scan(f.domains), 0);
	CU_ASSERT_STRING_EQUAL(f.log, "");
	CU_ASSERT(f.n_marked > 0);
	fake_drop(f.hv, 5);
	CU_ASSERT_STRING_EQUAL(look(&f), "");
	teardown(&f);
}

static void test_states(void)
{
	struct fixture f;
	xc_domaininfo_t *info;

	setup(&f);
	info = fake_add(f.hv, 1, 1);
	look(&f);
	CU_ASSERT_EQUAL(f.last.power_state, RUNNING);
	info->flags = XEN_DOMINF_blocked;
	info->cpu_time += 1000;
	CU_ASSERT_STRING_EQUAL(look(&f), "");
	info->flags = XEN_DOMINF_paused | XEN_DOMINF_blocked;
	CU_ASSERT_STRING_EQUAL(look(&f), "+1 ");
	CU_ASSERT_EQUAL(f.last.power_state, PAUSED);
	for (uint32_t code = 0; code <= SHUTDOWN_soft_reset; code++) {
		info->flags = XEN_DOMINF_shutdown | code << XEN_DOMINF_shutdownshift;
		CU_ASSERT_STRING_EQUAL(look(&f), "+1 ");
		CU_ASSERT_EQUAL(f.last.power_state, SHUTDOWN);
		CU_ASSERT_EQUAL(f.last.shutdown_reason, code + 1);
	}
	info->flags = XEN_DOMINF_shutdown | 200U << XEN_DOMINF_shutdownshift;
	CU_ASSERT_STRING_EQUAL(look(&f), "+1 ");
	CU_ASSERT_EQUAL(f.last.shutdown_reason, 0);
	info->flags = XEN_DOMINF_dying | XEN_DOMINF_shutdown;
	CU_ASSERT_STRING_EQUAL(look(&f), "+1 ");
	CU_ASSERT_EQUAL(f.last.power_state, DYING);
	teardown(&f);
}

static void test_numbers(void)
{
	struct fixture f;
	xc_domaininfo_t *info;

	setup(&f);
	info = fake_add(f.hv, 1, 1);
	look(&f);
	CU_ASSERT_EQUAL(f.last.type, XENMESH__V1__VM_TYPE__VM_TYPE_PV);
	CU_ASSERT_EQUAL(f.last.memory_kib, 131072);
	CU_ASSERT_EQUAL(f.last.max_memory_kib, 132096);
	CU_ASSERT_EQUAL(f.last.vcpus_online, 1);
	CU_ASSERT_EQUAL(f.last.max_vcpus, 2);
	info->tot_pages++;
	info->max_pages = UINT32_MAX;
	info->max_vcpu_id = XEN_INVALID_MAX_VCPU_ID;
	info->nr_online_vcpus = 0;
	CU_ASSERT_STRING_EQUAL(look(&f), "+1 ");
	CU_ASSERT_EQUAL(f.last.memory_kib, 131076);
	CU_ASSERT_EQUAL(f.last.max_memory_kib, 0);
	CU_ASSERT_EQUAL(f.last.max_vcpus, 0);
	info->max_pages = UINT64_MAX;
	CU_ASSERT_STRING_EQUAL(look(&f), ""); /* no limit either: nothing to tell */
	fake_add(f.hv, 2, 2)->flags |= XEN_DOMINF_hvm_guest;
	look(&f);
	CU_ASSERT_EQUAL(f.last.type, XENMESH__V1__VM_TYPE__VM_TYPE_PVH);
	info = fake_add(f.hv, 3, 3);
	info->flags |= XEN_DOMINF_hvm_guest;
	info->arch_config.emulation_flags = XEN_X86_EMU_ALL;
	look(&f);
	CU_ASSERT_EQUAL(f.last.type, XENMESH__V1__VM_TYPE__VM_TYPE_HVM);
	teardown(&f);
}

/* More than fit one hypercall, with holes; xentop goes wrong here. */
static void test_many(void)
{
	struct fixture f;

	setup(&f);
	for (unsigned int i = 0; i < 1000; i++) {
		fake_add(f.hv, i * 7, i);
	}
	look(&f);
	CU_ASSERT_EQUAL(host_domains_count(f.domains), 1000);
	for (size_t i = 0; i < host_domains_count(f.domains); i++) {
		CU_ASSERT_EQUAL(host_domains_at(f.domains, i)->domid, i * 7);
	}
	f.hv->n_list_calls = 0;
	CU_ASSERT_STRING_EQUAL(look(&f), "");
	CU_ASSERT_EQUAL(f.hv->n_list_calls, 28);
	fake_drop(f.hv, 7 * 500);
	CU_ASSERT_STRING_EQUAL(look(&f), "-3500 ");
	/* Exactly full chunks. */
	f.hv->n = 72;
	look(&f);
	CU_ASSERT_EQUAL(host_domains_count(f.domains), 72);
	teardown(&f);
}

static void test_start_time(void)
{
	const struct host_domain *domain;
	struct fixture f;
	uint64_t before_ns = clock_real_ns();

	setup(&f);
	fake_add(f.hv, 0, 0);
	fake_add(f.hv, 1, 1);
	fake_add(f.hv, 2, 2);
	fake_add(f.hv, 3, 3);
	fake_set(f.xs, "/vm/00000000-0000-0000-0000-000000000001/start_time", "1795333363.76");
	fake_set(f.xs, "/vm/00000000-0000-0000-0000-000000000002/start_time", "1795333363.76x");
	look(&f);
	domain = host_domains_at(f.domains, 0);
	CU_ASSERT(domain->started_ns <= before_ns);
	CU_ASSERT(domain->started_ns > before_ns - clock_boot_ns() - NSEC_PER_SEC);
	domain = host_domains_at(f.domains, 1);
	CU_ASSERT_EQUAL(domain->started_ns, 1795333363760000000);
	domain = host_domains_at(f.domains, 2);
	CU_ASSERT(domain->started_ns >= before_ns && domain->started_ns <= clock_real_ns());
	/* libxl writes it a while after the domain appears. */
	fake_set(f.xs, "/vm/00000000-0000-0000-0000-000000000003/start_time", "5");
	host_domains_mark(f.domains, 3, HOST_DIRTY_DEVICES);
	CU_ASSERT_STRING_EQUAL(look(&f), "+3 ");
	CU_ASSERT_EQUAL(host_domains_at(f.domains, 3)->started_ns, 5000000000);
	teardown(&f);
}

static void test_renamed(void)
{
	struct fixture f;

	setup(&f);
	fake_add(f.hv, 1, 1);
	fake_guest(f.xs, 1, "old");
	look(&f);
	CU_ASSERT_STRING_EQUAL(f.last_name, "old");
	f.n_marked = 0;
	fake_set(f.xs, "/local/domain/1/name", "new\x02");
	CU_ASSERT_EQUAL(f.n_marked, 1);
	CU_ASSERT_STRING_EQUAL(look(&f), "+1 ");
	CU_ASSERT_STRING_EQUAL(f.last_name, "new\\x02");
	fake_set(f.xs, "/local/domain/1/name", "new\x02");
	CU_ASSERT_STRING_EQUAL(look(&f), "");
	fake_drop(f.hv, 1);
	look(&f);
	fake_set(f.xs, "/local/domain/1/name", "late"); /* nobody is watching any more */
	CU_ASSERT_STRING_EQUAL(look(&f), "");
	teardown(&f);
}

static void test_marks(void)
{
	struct fixture f;

	setup(&f);
	fake_add(f.hv, 1, 1);
	fake_guest(f.xs, 1, "g1");
	look(&f);
	CU_ASSERT_FALSE(host_domains_mark(f.domains, 2, HOST_DIRTY_ALL));
	fake_set(f.xs, "/local/domain/0/backend/vif/1/0/state", "4");
	CU_ASSERT_STRING_EQUAL(look(&f), ""); /* nobody said so */
	CU_ASSERT(host_domains_mark(f.domains, 1, HOST_DIRTY_STATES));
	CU_ASSERT_STRING_EQUAL(look(&f), "+1 ");
	fake_unset(f.xs, "/libxl/1/device/vif");
	host_domains_mark_all(f.domains, HOST_DIRTY_ALL);
	CU_ASSERT_STRING_EQUAL(look(&f), "+1 ");
	CU_ASSERT_EQUAL(f.last.n_vifs, 0);
	CU_ASSERT_EQUAL(f.last.n_vbds, 1);
	teardown(&f);
}

/* A guest can make its backends' states change without end. */
static void test_reads_are_limited(void)
{
	struct fixture f;
	bool is_left = false;
	int n = 0;

	setup(&f);
	fake_add(f.hv, 1, 1);
	fake_guest(f.xs, 1, "g1");
	frozen_s = 1000;
	look(&f);
	for (; n < 100 && !is_left; n++) {
		host_domains_mark(f.domains, 1, HOST_DIRTY_STATES);
		is_left = host_domains_refresh(f.domains, ALL_DAY_US);
	}
	CU_ASSERT(is_left);
	CU_ASSERT_EQUAL(n, 8); /* one with the name and all, seven like this, then none */
	f.xs->n_reads = 0;
	CU_ASSERT(host_domains_refresh(f.domains, ALL_DAY_US));
	CU_ASSERT_EQUAL(f.xs->n_reads, 0);
	frozen_s++;
	CU_ASSERT_FALSE(host_domains_refresh(f.domains, ALL_DAY_US));
	CU_ASSERT(f.xs->n_reads > 0);
	frozen_s = 0;
	teardown(&f);
}

static void test_budget(void)
{
	struct fixture f;

	setup(&f);
	for (unsigned int i = 1; i <= 10; i++) {
		fake_add(f.hv, i, i);
	}
	CU_ASSERT_EQUAL(host_domains_scan(f.domains), 0);
	CU_ASSERT(host_domains_refresh(f.domains, 0));
	CU_ASSERT_STRING_EQUAL(f.log, "");
	CU_ASSERT_FALSE(host_domains_refresh(f.domains, ALL_DAY_US));
	CU_ASSERT_STRING_EQUAL(f.log, "+1 +2 +3 +4 +5 +6 +7 +8 +9 +10 ");
	teardown(&f);
}

static void test_failures(void)
{
	struct fixture f;

	setup(&f);
	fake_add(f.hv, 1, 1);
	fake_guest(f.xs, 1, "g1");
	look(&f);
	/* No list: all stays. */
	f.hv->error = -EPERM;
	CU_ASSERT_EQUAL(host_domains_scan(f.domains), -EPERM);
	CU_ASSERT_EQUAL(host_domains_count(f.domains), 1);
	CU_ASSERT_STRING_EQUAL(f.log, "");
	f.hv->error = 0;
	/* No xenstore: domains are seen all the same, what is known stays. */
	f.xs->error = -ENOTCONN;
	fake_add(f.hv, 2, 2);
	host_domains_mark(f.domains, 1, HOST_DIRTY_ALL);
	CU_ASSERT_STRING_EQUAL(look(&f), "+2 ");
	CU_ASSERT_STRING_EQUAL(host_domains_at(f.domains, 0)->name, "g1");
	CU_ASSERT_EQUAL(host_domains_at(f.domains, 0)->devices.n_vifs, 1);
	f.xs->error = 0;
	fake_guest(f.xs, 2, "g2");
	host_domains_mark_all(f.domains, HOST_DIRTY_ALL);
	CU_ASSERT_STRING_EQUAL(look(&f), "+2 ");
	CU_ASSERT_STRING_EQUAL(f.last_name, "g2");
	teardown(&f);
}

UNIT_MAIN("host_domains", UNIT_TEST(test_come_and_go), UNIT_TEST(test_mark_of_a_complete_domain),
	  UNIT_TEST(test_domid_used_again), UNIT_TEST(test_gone_before_told),
	  UNIT_TEST(test_states), UNIT_TEST(test_numbers), UNIT_TEST(test_many),
	  UNIT_TEST(test_start_time), UNIT_TEST(test_renamed), UNIT_TEST(test_marks),
	  UNIT_TEST(test_reads_are_limited), UNIT_TEST(test_budget), UNIT_TEST(test_failures))
