/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Operations that are cancelled, or overtaken by a destroy.
 */
#include "tests/unit/log_util.h"
#include "tests/unit/ops_fixture.h"

static void cancel(struct ops_fixture *f, struct ops_id id)
{
	struct task *task = map_get_str(&f->core->tasks.by_id, id.text);
	const char *why;

	CU_ASSERT(engine_can_cancel(task, &why));
	engine_cancel(&f->core->engine, task, "cancelled by a test");
}

static void test_cancel__cancels_what_waits(void)
{
	WITH_OPS(f);
	struct ops_id a, b;
	const char *why;

	ops_define(&f, ops_config(UUID_A, "web"));
	f.host.is_holding = true;
	a = ops_order(&f, TASK_START, UUID_A);
	b = ops_order(&f, TASK_PAUSE, UUID_A);
	WAIT(&f, fakehost_worker(&f.host));
	cancel(&f, b);
	CU_ASSERT_EQUAL(ops_state(&f, b), TASK_CANCELLED);
	CU_ASSERT(ops_has_message(&f, b, "cancelled by a test"));
	CU_ASSERT(!engine_can_cancel(ops_task(&f, b), &why));
	CU_ASSERT(fakehost_release(&f.host));
	WAIT(&f, ops_is_ended(&f, a));
	CU_ASSERT_EQUAL(f.host.n_acts, 0);
}

static void test_cancel__cancels_a_worker(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define(&f, ops_config(UUID_A, "web"));
	f.host.is_holding = true;
	id = ops_order(&f, TASK_START, UUID_A);
	WAIT(&f, fakehost_worker(&f.host));
	cancel(&f, id);
	WAIT(&f, ops_is_ended(&f, id));
	CU_ASSERT_EQUAL(f.host.n_cancels, 1);
	CU_ASSERT_EQUAL(ops_state(&f, id), TASK_CANCELLED);
	CU_ASSERT_EQUAL(ops_task(&f, id)->code, CODE_CANCELLED);
}

static void test_cancel__cancel_that_comes_too_late_is_done(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define(&f, ops_config(UUID_A, "web"));
	f.host.is_holding = f.host.is_worker_stubborn = true;
	id = ops_order(&f, TASK_START, UUID_A);
	WAIT(&f, fakehost_worker(&f.host));
	cancel(&f, id);
	WAIT(&f, f.host.n_cancels == 1);
	CU_ASSERT(!ops_is_ended(&f, id));
	CU_ASSERT(fakehost_release(&f.host));
	RUN_TO_END(&f, id, TASK_DONE);
}

static void test_cancel__cancels_waiting_for_a_guest(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define_running(&f);
	f.host.is_guest_deaf = true;
	id = ops_shut_down(&f, TASK_REBOOT, 60, true);
	WAIT(&f, ops_has_step(&f, id, "waiting for the guest"));
	cancel(&f, id);
	CU_ASSERT_EQUAL(ops_state(&f, id), TASK_CANCELLED);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_RUNNING);
}

static void test_cancel__destroy_cannot_be_cancelled(void)
{
	WITH_OPS(f);
	struct ops_id id;
	const char *why;

	ops_define_running(&f);
	f.host.is_holding = true;
	id = ops_order(&f, TASK_DESTROY, UUID_A);
	WAIT(&f, fakehost_worker(&f.host));
	CU_ASSERT(!engine_can_cancel(ops_task(&f, id), &why));
	CU_ASSERT(fakehost_release(&f.host));
	WAIT(&f, ops_is_ended(&f, id));
}

static void test_cancel__destroy_overtakes(void)
{
	WITH_OPS(f);
	struct ops_id a, b, c;

	ops_define_running(&f);
	f.host.is_guest_deaf = true;
	a = ops_shut_down(&f, TASK_SHUTDOWN, 3600, false);
	b = ops_order(&f, TASK_START, UUID_A);
	WAIT(&f, ops_has_step(&f, a, "waiting for the guest"));
	c = ops_order(&f, TASK_DESTROY, UUID_A);
	CU_ASSERT_EQUAL(ops_state(&f, a), TASK_CANCELLED);
	CU_ASSERT_EQUAL(ops_task(&f, a)->code, CODE_ABORTED);
	CU_ASSERT(ops_has_message(&f, a, "overtaken by the destroy"));
	CU_ASSERT_EQUAL(ops_state(&f, b), TASK_CANCELLED);
	RUN_TO_END(&f, c, TASK_DONE);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_HALTED);
}

static void test_cancel__destroy_does_not_wait_for_ever(void)
{
	WITH_OPS(f);
	struct ops_id a, b;

	ops_define(&f, ops_config(UUID_A, "web"));
	f.host.is_holding = f.host.is_worker_stubborn = f.host.is_create_paused = true;
	a = ops_order(&f, TASK_START, UUID_A);
	WAIT(&f, fakehost_worker(&f.host));
	CU_ASSERT(fakehost_release(&f.host)); /* half-way, and no answer */
	WAIT(&f, ops_vm(&f, UUID_A)->power_state == POWER_PAUSED);
	f.host.is_holding = false;
	b = ops_order(&f, TASK_DESTROY, UUID_A);
	CU_ASSERT_EQUAL(ops_state(&f, a), TASK_RUNNING);
	RUN_TO_END(&f, a, TASK_CANCELLED);
	CU_ASSERT_EQUAL(f.host.n_cancels, 1);
	RUN_TO_END(&f, b, TASK_DONE);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_HALTED);
}

static void test_cancel__destroys_do_not_overtake_each_other(void)
{
	WITH_OPS(f);
	struct ops_id a, b;

	ops_define_running(&f);
	f.host.is_holding = true;
	a = ops_order(&f, TASK_DESTROY, UUID_A);
	WAIT(&f, fakehost_worker(&f.host));
	b = ops_order(&f, TASK_DESTROY, UUID_A);
	CU_ASSERT(fakehost_release(&f.host));
	WAIT(&f, ops_is_ended(&f, b));
	CU_ASSERT_EQUAL(ops_state(&f, a), TASK_DONE);
	CU_ASSERT_EQUAL(ops_state(&f, b), TASK_DONE);
	CU_ASSERT_EQUAL(f.host.n_destroys, 1);
}

/* The guest wants to reboot; what is overtaken ends and must not give way to the policy. */
static void test_cancel__destroy_comes_before_policy(void)
{
	WITH_OPS(f);
	struct ops_id a, b;

	ops_define_running(&f);
	f.host.is_not_spawning = true;
	a = ops_order(&f, TASK_PAUSE, UUID_A);
	WAIT(&f, f.host.n_spawn_requests == 2);
	fakehost_end_guest(&f.host, 1, REASON_REBOOT);
	WAIT(&f, ops_vm(&f, UUID_A)->power_state == POWER_SHUTDOWN);
	f.host.is_not_spawning = false;
	b = ops_order(&f, TASK_DESTROY, UUID_A);
	CU_ASSERT_EQUAL(ops_state(&f, a), TASK_CANCELLED);
	RUN_TO_END(&f, b, TASK_DONE);
	ops_run_for(&f, 50);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_HALTED);
	CU_ASSERT_EQUAL(f.core->engine.n_policy, 0);
	CU_ASSERT_EQUAL(f.host.n_creates, 1);
}

static void test_cancel__overtaken_reboot_does_not_create(void)
{
	WITH_OPS(f);
	struct ops_id a, b;

	ops_define_running(&f);
	a = ops_order(&f, TASK_REBOOT, UUID_A);
	WAIT(&f, f.host.n_asks == 1);
	f.host.is_holding = true;
	WAIT(&f, f.host.n_destroys == 1);
	b = ops_order(&f, TASK_DESTROY, UUID_A);
	CU_ASSERT(fakehost_release(&f.host));
	WAIT(&f, ops_is_ended(&f, b));
	CU_ASSERT_EQUAL(ops_state(&f, a), TASK_CANCELLED);
	CU_ASSERT_EQUAL(ops_state(&f, b), TASK_DONE);
	CU_ASSERT_EQUAL(f.host.n_creates, 1);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_HALTED);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_cancel__cancels_what_waits),
		UNIT_TEST(test_cancel__cancels_a_worker),
		UNIT_TEST(test_cancel__cancel_that_comes_too_late_is_done),
		UNIT_TEST(test_cancel__cancels_waiting_for_a_guest),
		UNIT_TEST(test_cancel__destroy_cannot_be_cancelled),
		UNIT_TEST(test_cancel__destroy_overtakes),
		UNIT_TEST(test_cancel__destroy_does_not_wait_for_ever),
		UNIT_TEST(test_cancel__destroys_do_not_overtake_each_other),
		UNIT_TEST(test_cancel__destroy_comes_before_policy),
		UNIT_TEST(test_cancel__overtaken_reboot_does_not_create),
	};

	log_set_sink(log_swallow);
	return unit_run("ops_cancel", tests, ARRAY_LEN(tests));
}
