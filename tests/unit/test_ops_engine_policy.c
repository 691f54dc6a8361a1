/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the engine does on its own with guests that end: policies, and a journal that fails.
 */
#include <sqlite3.h>

#include "tests/unit/log_util.h"
#include "tests/unit/ops_fixture.h"

/* ---- policy ---- */

static void age(struct ops_fixture *f, uint32_t domid, uint64_t seconds)
{
	const struct vm_domain *d = map_get(&f->core->vms.by_domid, &domid, sizeof(domid));

	CU_ASSERT_PTR_NOT_NULL(d);
	if (d) {
		d->facts->started_ns = clock_real_ns() - seconds * NSEC_PER_SEC;
	}
}

static void test_engine__follows_on_poweroff(void)
{
	WITH_OPS(f);

	ops_define_running(&f);
	fakehost_end_guest(&f.host, 1, REASON_POWEROFF);
	WAIT(&f, ops_vm(&f, UUID_A)->power_state == POWER_HALTED);
	CU_ASSERT_EQUAL(f.host.n_destroys, 1);
	CU_ASSERT_EQUAL(f.core->engine.n_policy, 1);
}

static void test_engine__follows_on_reboot(void)
{
	WITH_OPS(f);

	ops_define_running(&f);
	age(&f, 1, 60);
	fakehost_end_guest(&f.host, 1, REASON_REBOOT);
	WAIT(&f, ops_vm(&f, UUID_A)->domid == 2 && !vms_get(&f.core->vms, UUID_A)->queue);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_RUNNING);
	CU_ASSERT_EQUAL(f.host.n_creates, 2);
	fakehost_end_guest(&f.host, 2, REASON_REBOOT); /* so soon: delayed */
	WAIT(&f, ops_vm(&f, UUID_A)->task[0]);
	CU_ASSERT_EQUAL(f.host.n_creates, 2);
	WAIT(&f, ops_vm(&f, UUID_A)->domid == 3);
}

static void test_engine__breaks_a_boot_loop(void)
{
	WITH_OPS(f);
	Xenmesh__V1__VmConfig *c = ops_config(UUID_A, "web");

	c->on_crash = ACTION_RESTART;
	ops_define(&f, c);
	ops_power_on(&f, UUID_A);
	age(&f, 1, 121);
	fakehost_end_guest(&f.host, 1, REASON_CRASH);
	WAIT(&f, ops_vm(&f, UUID_A)->domid == 2 && !vms_get(&f.core->vms, UUID_A)->queue);
	fakehost_end_guest(&f.host, 2, REASON_CRASH);
	WAIT(&f, ops_vm(&f, UUID_A)->power_state == POWER_HALTED);
	WAIT(&f, strstr(ops_vm(&f, UUID_A)->last_error, "after its start and is not restarted"));
	CU_ASSERT_EQUAL(f.host.n_creates, 2);
}

/* Since the domain was told the clock has been put forward, or back if by < 0. */
static void set_clock(struct ops_fixture *f, uint32_t domid, int64_t by_s)
{
	struct vm_domain *d = map_get(&f->core->vms.by_domid, &domid, sizeof(domid));

	CU_ASSERT_PTR_NOT_NULL(d);
	if (d) {
		d->facts->started_ns -= (uint64_t)by_s * NSEC_PER_SEC;
		d->clock_ns -= (uint64_t)by_s * NSEC_PER_SEC;
	}
}

static void test_engine__boot_loops_are_measured_by_no_clock_that_is_set(void)
{
	WITH_OPS(f);
	Xenmesh__V1__VmConfig *c = ops_config(UUID_A, "web");

	c->on_crash = ACTION_RESTART;
	ops_define(&f, c);
	ops_power_on(&f, UUID_A);
	age(&f, 1, 121);
	set_clock(&f, 1, -3600);
	fakehost_end_guest(&f.host, 1, REASON_CRASH);
	WAIT(&f, ops_vm(&f, UUID_A)->domid == 2 && !vms_get(&f.core->vms, UUID_A)->queue);
	set_clock(&f, 2, 3600);
	fakehost_end_guest(&f.host, 2, REASON_CRASH);
	WAIT(&f, f.host.n_destroys == 2 && !vms_get(&f.core->vms, UUID_A)->queue);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_HALTED);
	CU_ASSERT_EQUAL(f.host.n_creates, 2);
}

/* However long the policy had to wait. */
static void test_engine__boot_loops_are_measured_to_the_end(void)
{
	WITH_OPS(f);
	Xenmesh__V1__VmConfig *c = ops_config(UUID_A, "web");
	struct vm_domain *d;
	uint32_t domid = 1;

	c->on_crash = ACTION_RESTART;
	ops_define(&f, c);
	ops_power_on(&f, UUID_A);
	f.host.is_holding = true;
	ops_order(&f, TASK_PAUSE, UUID_A);
	WAIT(&f, fakehost_worker(&f.host));
	fakehost_end_guest(&f.host, 1, REASON_CRASH);
	WAIT(&f, ops_vm(&f, UUID_A)->power_state == POWER_SHUTDOWN);
	age(&f, 1, 200); /* so long it had to wait */
	d = map_get(&f.core->vms.by_domid, &domid, sizeof(domid));
	d->ended_ns -= 200 * NSEC_PER_SEC;
	f.host.is_holding = false;
	f.host.fail_code = CODE_FAILED_PRECONDITION;
	CU_ASSERT(fakehost_release(&f.host));
	f.host.fail_code = 0;
	WAIT(&f, f.host.n_destroys == 1 && !vms_get(&f.core->vms, UUID_A)->queue);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_HALTED);
	CU_ASSERT_EQUAL(f.host.n_creates, 1);
}

/* A restart of ops neither shortens the delay nor begins it anew. */
static void test_engine__delay_outlives_a_restart(void)
{
	WITH_OPS(f);
	uint64_t began_ns;

	ops_define_running(&f);
	f.core->engine.waits.reboot_delay_ms = 1500;
	began_ns = clock_boot_ns();
	fakehost_end_guest(&f.host, 1, REASON_REBOOT);
	for (int i = 0; i < 3; i++) {
		WAIT(&f, ops_vm(&f, UUID_A)->task[0]);
		ops_run_for(&f, 100);
		CU_ASSERT_EQUAL(f.host.n_creates, 1);
		ops_stop(&f);
		ops_start(&f);
		f.core->engine.waits.reboot_delay_ms = 60000; /* of others; this one has its own */
	}
	WAIT(&f, ops_vm(&f, UUID_A)->domid == 2);
	CU_ASSERT(clock_boot_ns() - began_ns >= 1500 * NSEC_PER_MSEC);
	CU_ASSERT_EQUAL(f.host.n_creates, 2);
	CU_ASSERT_EQUAL(f.core->engine.n_policy, 0);
}

static void test_engine__reason_outlives_a_restart(void)
{
	WITH_OPS(f);
	Xenmesh__V1__VmConfig *c = ops_config(UUID_A, "web");

	c->on_crash = ACTION_RESTART;
	ops_define(&f, c);
	ops_power_on(&f, UUID_A);
	f.host.is_holding = true;
	fakehost_end_guest(&f.host, 1, REASON_CRASH);
	WAIT(&f, fakehost_worker(&f.host));
	ops_stop(&f); /* in the middle of the destroy */
	f.host.is_holding = false;
	CU_ASSERT(fakehost_release(&f.host));
	ops_start(&f);
	WAIT(&f, strstr(ops_vm(&f, UUID_A)->last_error, "and is not restarted"));
	WAIT(&f, !vms_get(&f.core->vms, UUID_A)->queue);
	ops_stop(&f); /* and after it */
	ops_start(&f);
	CU_ASSERT_PTR_NOT_NULL(strstr(ops_vm(&f, UUID_A)->last_error, "and is not restarted"));
}

/* What could not even be begun is done when the host process is back. */
static void test_engine__policy_waits_for_the_host(void)
{
	WITH_OPS(f);

	ops_define_running(&f);
	fakehost_end_guest(&f.host, 1, REASON_REBOOT); /* so soon: after a delay */
	WAIT(&f, ops_vm(&f, UUID_A)->task[0]);
	f.core->engine.waits.host_ms = 100;
	fakehost_hang_up(&f.host);
	WAIT(&f, f.core->tasks.n_failed == 1);
	CU_ASSERT_EQUAL(f.host.n_destroys, 0);
	CU_ASSERT_EQUAL(fakehost_listen(&f.host), 0);
	WAIT(&f, ops_vm(&f, UUID_A)->domid == 2);
	CU_ASSERT_EQUAL(f.host.n_destroys, 1);
}

/* Somebody was faster, and did not remove the domain that had shut down. */
static void test_engine__policy_does_not_hit_a_successor(void)
{
	WITH_OPS(f);

	ops_define_running(&f);
	f.core->engine.waits.reboot_delay_ms = 300;
	fakehost_end_guest(&f.host, 1, REASON_REBOOT);
	WAIT(&f, ops_vm(&f, UUID_A)->task[0]);
	fakehost_add(&f.host, UUID_A, "web", POWER_RUNNING);
	WAIT(&f, !vms_get(&f.core->vms, UUID_A)->queue);
	CU_ASSERT(f.host.domains[2].exists);
	CU_ASSERT_EQUAL(f.host.n_creates, 1);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->domid, 2);
}

static void test_engine__ignores_unmanaged_and_suspended(void)
{
	WITH_OPS(f);

	fakehost_add(&f.host, UUID_B, "xl", POWER_RUNNING);
	ops_define_running(&f);
	fakehost_end_guest(&f.host, 1, REASON_CRASH);	/* the unmanaged one */
	fakehost_end_guest(&f.host, 2, REASON_SUSPEND); /* ours */
	WAIT(&f, ops_vm(&f, UUID_A)->power_state == POWER_SHUTDOWN);
	WAIT(&f, ops_vm(&f, UUID_B)->power_state == POWER_SHUTDOWN);
	ops_run_for(&f, 100);
	CU_ASSERT_EQUAL(f.host.n_destroys, 0);
	CU_ASSERT_EQUAL(f.core->engine.n_policy, 0);
}

static void test_engine__late_shutdown_is_not_restarted(void)
{
	WITH_OPS(f);
	Xenmesh__V1__VmConfig *c = ops_config(UUID_A, "web");

	c->on_poweroff = ACTION_RESTART;
	ops_define(&f, c);
	ops_power_on(&f, UUID_A);
	vms_get(&f.core->vms, UUID_A)->desired = STORE_DESIRED_HALTED;
	fakehost_end_guest(&f.host, 1, REASON_POWEROFF);
	WAIT(&f, ops_vm(&f, UUID_A)->power_state == POWER_HALTED);
	CU_ASSERT_EQUAL(f.host.n_creates, 1);
	vms_get(&f.core->vms, UUID_A)->desired = STORE_DESIRED_RUNNING;
	ops_power_on(&f, UUID_A);
	fakehost_end_guest(&f.host, 2, REASON_POWEROFF);
	WAIT(&f, ops_vm(&f, UUID_A)->domid == 3);
}

static void test_engine__policy_does_not_hammer(void)
{
	WITH_OPS(f);

	ops_define_running(&f);
	f.host.fail_code = CODE_INTERNAL;
	fakehost_end_guest(&f.host, 1, REASON_POWEROFF);
	WAIT(&f, ops_vm(&f, UUID_A)->last_error[0]);
	fakehost_tell(&f.host, 1);
	ops_run_for(&f, 100);
	CU_ASSERT_EQUAL(f.host.n_destroys, 1);
}

/* A domid that comes again is another domain. */
static void test_engine__policy_knows_a_successor(void)
{
	WITH_OPS(f);

	ops_define_running(&f);
	fakehost_end_guest(&f.host, 1, REASON_POWEROFF);
	WAIT(&f, ops_vm(&f, UUID_A)->power_state == POWER_HALTED);
	f.host.next_domid = 1;
	ops_power_on(&f, UUID_A);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->domid, 1);
	fakehost_end_guest(&f.host, 1, REASON_POWEROFF);
	WAIT(&f, ops_vm(&f, UUID_A)->power_state == POWER_HALTED);
	CU_ASSERT_EQUAL(f.core->engine.n_policy, 2);
}

static void test_engine__missed_shutdowns_are_caught_up(void)
{
	WITH_OPS(f);

	ops_define_running(&f);
	fakehost_hang_up(&f.host);
	WAIT(&f, !f.core->host.is_connected);
	fakehost_end_guest(&f.host, 1, REASON_POWEROFF);
	CU_ASSERT_EQUAL(fakehost_listen(&f.host), 0);
	WAIT(&f, ops_vm(&f, UUID_A)->power_state == POWER_HALTED);
}

/* ---- a journal that cannot be written ---- */

/* Another program holds the file. */
static sqlite3 *lock_store(const struct ops_fixture *f)
{
	sqlite3 *other;
	char path[96];

	snprintf(path, sizeof(path), "%s/ops.db", f->dir);
	CU_ASSERT_EQUAL(sqlite3_open(path, &other), SQLITE_OK);
	CU_ASSERT_EQUAL(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	return other;
}

static void test_engine__policy_needs_no_journal(void)
{
	WITH_OPS(f);
	sqlite3 *other;

	ops_define_running(&f);
	other = lock_store(&f);
	fakehost_end_guest(&f.host, 1, REASON_REBOOT);
	WAIT(&f, ops_vm(&f, UUID_A)->domid == 2 && !ops_vm(&f, UUID_A)->task[0]);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_RUNNING);
	CU_ASSERT_PTR_NOT_NULL(strstr(ops_vm(&f, UUID_A)->last_error, "the store "));
	CU_ASSERT_EQUAL(f.core->engine.n_policy, 1);
	CU_ASSERT_EQUAL(f.core->tasks.n_unsaved, 1);
	sqlite3_close(other);
	WAIT(&f, f.core->tasks.n_unsaved == 0);
}

static void test_engine__waits_for_the_journal_not_for_ever(void)
{
	WITH_OPS(f);
	struct ops_id id;
	sqlite3 *other;

	ops_define(&f, ops_config(UUID_A, "web"));
	id = ops_order(&f, TASK_START, UUID_A);
	other = lock_store(&f);
	RUN_TO_END(&f, id, TASK_FAILED);
	CU_ASSERT_EQUAL(ops_task(&f, id)->code, CODE_UNAVAILABLE);
	CU_ASSERT(ops_has_message(&f, id, "the journal cannot be written: the store"));
	CU_ASSERT_EQUAL(f.host.n_spawned, 1);
	CU_ASSERT_EQUAL(f.host.n_creates, 0);
	sqlite3_close(other);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_engine__follows_on_poweroff),
		UNIT_TEST(test_engine__follows_on_reboot),
		UNIT_TEST(test_engine__breaks_a_boot_loop),
		UNIT_TEST(test_engine__boot_loops_are_measured_by_no_clock_that_is_set),
		UNIT_TEST(test_engine__boot_loops_are_measured_to_the_end),
		UNIT_TEST(test_engine__delay_outlives_a_restart),
		UNIT_TEST(test_engine__reason_outlives_a_restart),
		UNIT_TEST(test_engine__policy_waits_for_the_host),
		UNIT_TEST(test_engine__policy_does_not_hit_a_successor),
		UNIT_TEST(test_engine__ignores_unmanaged_and_suspended),
		UNIT_TEST(test_engine__late_shutdown_is_not_restarted),
		UNIT_TEST(test_engine__policy_does_not_hammer),
		UNIT_TEST(test_engine__policy_knows_a_successor),
		UNIT_TEST(test_engine__missed_shutdowns_are_caught_up),
		UNIT_TEST(test_engine__policy_needs_no_journal),
		UNIT_TEST(test_engine__waits_for_the_journal_not_for_ever),
	};

	log_set_sink(log_swallow);
	return unit_run("ops_engine", tests, ARRAY_LEN(tests));
}
