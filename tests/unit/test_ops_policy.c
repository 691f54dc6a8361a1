/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is decided, and what memory is left: both without a loop.
 */
#include "services/ops/core/memory.h"
#include "services/ops/core/policy.h"
#include "services/ops/core/vmconfig.h"
#include "tests/unit/ops_events.h"
#include "tests/unit/unit.h"

#define UUID_A "aaaaaaaa-0000-4000-8000-000000000001"
#define NOW    (1000000 * NSEC_PER_SEC)

struct fixture {
	struct topic_table topics;
	struct vms vms;
	struct vm *vm;
};

static void set_up(struct fixture *f)
{
	Xenmesh__V1__VmConfig *c = vmconfig_new();
	struct events events = topics_events(&f->topics);

	*f = (struct fixture){ 0 };
	vms_init(&f->vms, &events, NULL, NULL);
	pb_set(&c->uuid, UUID_A);
	pb_set(&c->name, "web");
	CU_ASSERT_EQUAL(vms_define(&f->vms, c, STORE_DESIRED_RUNNING), 0);
	f->vm = vms_get(&f->vms, UUID_A);
}

static void tear_down(struct fixture *f)
{
	vms_deinit(&f->vms);
	topics_deinit(&f->topics);
}

#define WITH_FIXTURE(f)                        \
	_cleanup_(tear_down) struct fixture f; \
	set_up(&f)

static struct policy_decision decide(struct fixture *f, int state, int reason, uint64_t age_s)
{
	Xenmesh__Host__Domain d = XENMESH__HOST__DOMAIN__INIT;
	Xenmesh__Host__DomainGone gone = XENMESH__HOST__DOMAIN_GONE__INIT;

	gone.domid = d.domid = 7;
	vms_merge_gone(&f->vms, &gone);
	d.uuid = (char *)UUID_A;
	d.power_state = (Xenmesh__V1__PowerState)state;
	d.shutdown_reason = (Xenmesh__V1__ShutdownReason)reason;
	d.started_ns = NOW - age_s * NSEC_PER_SEC;
	CU_ASSERT_EQUAL(vms_merge_domain(&f->vms, &d), 0);
	return policy_decide(f->vm, NOW);
}

static void test_policy__defaults(void)
{
	static const struct {
		int reason;
		enum policy_action action;
	} cases[] = {
		{ REASON_NONE, POLICY_DESTROY },       { REASON_POWEROFF, POLICY_DESTROY },
		{ REASON_REBOOT, POLICY_RESTART },     { REASON_SUSPEND, POLICY_NONE },
		{ REASON_CRASH, POLICY_DESTROY },      { REASON_WATCHDOG, POLICY_DESTROY },
		{ REASON_SOFT_RESET, POLICY_RESTART },
	};
	WITH_FIXTURE(f);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct policy_decision d = decide(&f, POWER_SHUTDOWN, cases[i].reason, 1000);

		CU_ASSERT_EQUAL(d.action, cases[i].action);
		CU_ASSERT_EQUAL(d.delay_ms, 0);
		CU_ASSERT_STRING_EQUAL(d.note, "");
	}
}

static void test_policy__only_for_what_has_shut_down(void)
{
	WITH_FIXTURE(f);

	CU_ASSERT_EQUAL(policy_decide(f.vm, NOW).action, POLICY_NONE);
	CU_ASSERT_EQUAL(decide(&f, POWER_RUNNING, REASON_NONE, 9).action, POLICY_NONE);
	CU_ASSERT_EQUAL(decide(&f, POWER_PAUSED, REASON_NONE, 9).action, POLICY_NONE);
	CU_ASSERT_EQUAL(decide(&f, POWER_DYING, REASON_POWEROFF, 9).action, POLICY_NONE);
	CU_ASSERT_EQUAL(decide(&f, POWER_SHUTDOWN, REASON_POWEROFF, 9).action, POLICY_DESTROY);
	f.vm->policy_domid = 7; /* was seen to */
	CU_ASSERT_EQUAL(policy_decide(f.vm, NOW).action, POLICY_NONE);
	f.vm->policy_domid = 6;
	CU_ASSERT_EQUAL(policy_decide(f.vm, NOW).action, POLICY_DESTROY);
	vms_undefine(f.vm);
	CU_ASSERT_EQUAL(policy_decide(f.vm, NOW).action, POLICY_NONE);
}

static void test_policy__as_configured(void)
{
	WITH_FIXTURE(f);

	f.vm->config->on_poweroff = ACTION_RESTART;
	f.vm->config->on_reboot = ACTION_PRESERVE;
	f.vm->config->on_crash = ACTION_RESTART;
	CU_ASSERT_EQUAL(decide(&f, POWER_SHUTDOWN, REASON_POWEROFF, 5).action, POLICY_RESTART);
	CU_ASSERT_EQUAL(decide(&f, POWER_SHUTDOWN, REASON_REBOOT, 500).action, POLICY_NONE);
	CU_ASSERT_EQUAL(decide(&f, POWER_SHUTDOWN, REASON_CRASH, 500).action, POLICY_RESTART);
	f.vm->config->on_reboot = ACTION_DESTROY;
	CU_ASSERT_EQUAL(decide(&f, POWER_SHUTDOWN, REASON_REBOOT, 500).action, POLICY_DESTROY);
}

static void test_policy__guards_against_loops(void)
{
	WITH_FIXTURE(f);
	struct policy_decision d;

	f.vm->config->on_crash = ACTION_RESTART;
	d = decide(&f, POWER_SHUTDOWN, REASON_CRASH, 119);
	CU_ASSERT_EQUAL(d.action, POLICY_DESTROY);
	CU_ASSERT_PTR_NOT_NULL(strstr(d.note, "crashed 119 s after its start"));
	CU_ASSERT_EQUAL(decide(&f, POWER_SHUTDOWN, REASON_CRASH, 120).action, POLICY_RESTART);
	d = decide(&f, POWER_SHUTDOWN, REASON_WATCHDOG, 3);
	CU_ASSERT_EQUAL(d.action, POLICY_DESTROY);

	d = decide(&f, POWER_SHUTDOWN, REASON_REBOOT, 14);
	CU_ASSERT_EQUAL(d.action, POLICY_RESTART);
	CU_ASSERT_EQUAL(d.delay_ms, 15000);
	CU_ASSERT_EQUAL(decide(&f, POWER_SHUTDOWN, REASON_REBOOT, 15).delay_ms, 0);
	/* started in the future: the clock was put back */
	d = decide(&f, POWER_SHUTDOWN, REASON_CRASH, (uint64_t)-100);
	CU_ASSERT_EQUAL(d.action, POLICY_DESTROY);
}

static void test_policy__halts_what_should_be_halted(void)
{
	WITH_FIXTURE(f);

	f.vm->config->on_poweroff = ACTION_RESTART;
	f.vm->desired = STORE_DESIRED_HALTED;
	CU_ASSERT_EQUAL(decide(&f, POWER_SHUTDOWN, REASON_POWEROFF, 500).action, POLICY_DESTROY);
	CU_ASSERT_EQUAL(decide(&f, POWER_SHUTDOWN, REASON_REBOOT, 500).action, POLICY_RESTART);
	f.vm->desired = STORE_DESIRED_UNKNOWN;
	CU_ASSERT_EQUAL(decide(&f, POWER_SHUTDOWN, REASON_POWEROFF, 500).action, POLICY_RESTART);
}

/* ---- memory ---- */

static void sample(struct memory *m, uint64_t ns, uint64_t free_kib, uint64_t claimed_kib,
		   uint64_t taken_kib)
{
	Xenmesh__V1__HostSample s = XENMESH__V1__HOST_SAMPLE__INIT;
	Xenmesh__V1__DomainSample d = XENMESH__V1__DOMAIN_SAMPLE__INIT, *domains[] = { &d };

	s.monotonic_ns = ns;
	s.free_memory_kib = free_kib;
	s.claimed_memory_kib = claimed_kib;
	d.uuid = (char *)UUID_A;
	d.memory_kib = taken_kib;
	s.domains = domains;
	s.n_domains = 1;
	memory_take_sample(m, &s);
}

static void test_memory__is_unlimited_when_unknown(void)
{
	_cleanup_(memory_deinit) struct memory m;

	memory_init(&m);
	CU_ASSERT_EQUAL(memory_available(&m), UINT64_MAX);
	CU_ASSERT_PTR_NOT_NULL(memory_reserve(&m, UUID_A, 1 << 30));
}

static void test_memory__counts_what_is_under_way(void)
{
	_cleanup_(memory_deinit) struct memory m;
	struct reservation *r;

	memory_init(&m);
	sample(&m, 100, 1000, 0, 0);
	r = memory_reserve(&m, UUID_A, 600);
	CU_ASSERT_PTR_NOT_NULL(r);
	CU_ASSERT_EQUAL(memory_available(&m), 400);
	CU_ASSERT_PTR_NULL(memory_reserve(&m, "b", 401));
	sample(&m, 200, 700, 0, 300); /* half of it is taken */
	CU_ASSERT_EQUAL(memory_available(&m), 400);
	sample(&m, 300, 700, 300, 300); /* the rest is claimed: not counted twice */
	CU_ASSERT_EQUAL(memory_available(&m), 400);
	sample(&m, 350, 700, 500, 300); /* somebody else claims, too */
	CU_ASSERT_EQUAL(memory_available(&m), 200);
	sample(&m, 400, 300, 0, 700); /* it takes more than it said */
	CU_ASSERT_EQUAL(memory_available(&m), 300);
	memory_release(r, 450);
	sample(&m, 440, 300, 0, 0); /* read before the end */
	CU_ASSERT_EQUAL(memory_available(&m), 0);
	sample(&m, 460, 300, 0, 0);
	CU_ASSERT_EQUAL(memory_available(&m), 300);
	CU_ASSERT(list_is_empty(&m.reservations));
	memory_forget_sample(&m);
	CU_ASSERT_EQUAL(memory_available(&m), UINT64_MAX);
}

UNIT_MAIN("ops_policy", UNIT_TEST(test_policy__defaults),
	  UNIT_TEST(test_policy__only_for_what_has_shut_down),
	  UNIT_TEST(test_policy__as_configured), UNIT_TEST(test_policy__guards_against_loops),
	  UNIT_TEST(test_policy__halts_what_should_be_halted),
	  UNIT_TEST(test_memory__is_unlimited_when_unknown),
	  UNIT_TEST(test_memory__counts_what_is_under_way))
