/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ops ends in the middle of an operation and comes back.
 */
#include "tests/unit/log_util.h"
#include "tests/unit/ops_fixture.h"

/* An order is given to a worker, which holds; ops ends. */
static struct ops_id stop_at_worker(struct ops_fixture *f, enum task_kind kind)
{
	struct ops_id id;

	f->host.is_holding = true;
	id = ops_order(f, kind, UUID_A);
	WAIT(f, fakehost_worker(&f->host));
	ops_stop(f);
	f->host.is_holding = false;
	return id;
}

/* ops ends while a worker starts the VM paused, and comes back; the host goes on holding. */
static struct ops_id restart_while_starting_paused(struct ops_fixture *f)
{
	struct ops_id id;

	ops_define(f, ops_config(UUID_A, "web"));
	f->host.is_holding = true;
	id = ops_submit(f, TASK_START, UUID_A, 0, false, true);
	WAIT(f, fakehost_worker(&f->host));
	ops_stop(f);
	CU_ASSERT(fakehost_release(&f->host));
	ops_start(f);
	return id;
}

static void test_recover__definitions_and_ended_tasks_stay(void)
{
	WITH_OPS(f);
	struct ops_id done, failed;

	ops_define_running(&f);
	done = ops_order(&f, TASK_PAUSE, UUID_A);
	RUN_TO_END(&f, done, TASK_DONE);
	failed = ops_order(&f, TASK_START, UUID_A);
	RUN_TO_END(&f, failed, TASK_FAILED);
	ops_stop(&f);
	ops_start(&f);
	CU_ASSERT_EQUAL(ops_state(&f, done), TASK_DONE);
	CU_ASSERT_EQUAL(ops_state(&f, failed), TASK_FAILED);
	CU_ASSERT(ops_has_message(&f, failed, "is paused, as domain 1"));
	CU_ASSERT_EQUAL(ops_task(&f, failed)->code, CODE_FAILED_PRECONDITION);
	CU_ASSERT_STRING_EQUAL(ops_task(&f, failed)->client, "test");
	CU_ASSERT_EQUAL(ops_task(&f, failed)->request_id[0], 'r');
	CU_ASSERT_PTR_NOT_NULL(strstr(ops_vm(&f, UUID_A)->last_error, "is paused"));
	WAIT(&f, ops_vm(&f, UUID_A)->power_state == POWER_PAUSED);
	CU_ASSERT_PTR_NOT_NULL(ops_vm(&f, UUID_A)->config);
	CU_ASSERT_STRING_EQUAL(ops_vm(&f, UUID_A)->name, "web");
}

/* What was cancelled before it began has said nothing of the VM. */
static void test_recover__last_error_stays(void)
{
	WITH_OPS(f);
	struct ops_id failed, waiting;

	ops_define_running(&f);
	f.host.is_holding = true;
	failed = ops_order(&f, TASK_PAUSE, UUID_A);
	waiting = ops_order(&f, TASK_UNPAUSE, UUID_A);
	WAIT(&f, fakehost_worker(&f.host));
	engine_cancel(&f.core->engine, (struct task *)ops_task(&f, waiting), "not needed");
	CU_ASSERT_EQUAL(ops_state(&f, waiting), TASK_CANCELLED);
	f.host.fail_code = CODE_INTERNAL;
	CU_ASSERT(fakehost_release(&f.host));
	RUN_TO_END(&f, failed, TASK_FAILED);
	CU_ASSERT_STRING_EQUAL(ops_vm(&f, UUID_A)->last_error, "it does not work");
	ops_stop(&f);
	ops_start(&f);
	CU_ASSERT_STRING_EQUAL(ops_vm(&f, UUID_A)->last_error, "it does not work");
}

static void test_recover__queued_is_executed_once(void)
{
	WITH_OPS(f);
	struct ops_id first, second;

	ops_define(&f, ops_config(UUID_A, "web"));
	f.host.is_holding = true;
	first = ops_order(&f, TASK_START, UUID_A);
	second = ops_order(&f, TASK_PAUSE, UUID_A);
	WAIT(&f, fakehost_worker(&f.host));
	ops_stop(&f);
	f.host.is_holding = false;
	CU_ASSERT(fakehost_release(&f.host)); /* the worker goes on by itself */
	ops_start(&f);
	RUN_TO_END(&f, second, TASK_DONE);
	CU_ASSERT_EQUAL(ops_state(&f, first), TASK_DONE);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_PAUSED);
	CU_ASSERT_EQUAL(f.host.n_creates, 1);
	CU_ASSERT_EQUAL(f.host.n_acts, 1);
	ops_stop(&f);
	ops_start(&f);
	WAIT(&f, f.core->host.is_connected);
	ops_run_for(&f, 50);
	CU_ASSERT_EQUAL(f.host.n_creates, 1);
	CU_ASSERT_EQUAL(f.host.n_acts, 1);
}

static void test_recover__not_yet_given_to_a_worker_is_begun(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define(&f, ops_config(UUID_A, "web"));
	fakehost_hang_up(&f.host);
	WAIT(&f, !f.core->host.is_connected);
	id = ops_order(&f, TASK_START, UUID_A);
	WAIT(&f, ops_state(&f, id) == TASK_RUNNING);
	ops_stop(&f);
	CU_ASSERT_EQUAL(fakehost_listen(&f.host), 0);
	ops_start(&f);
	RUN_TO_END(&f, id, TASK_DONE);
	CU_ASSERT_EQUAL(f.host.n_creates, 1);
}

static void test_recover__start_that_worked(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define(&f, ops_config(UUID_A, "web"));
	id = stop_at_worker(&f, TASK_START);
	CU_ASSERT(fakehost_release(&f.host));
	ops_start(&f);
	RUN_TO_END(&f, id, TASK_DONE);
	CU_ASSERT_EQUAL(ops_task(&f, id)->domid, 1);
	CU_ASSERT_EQUAL(f.host.n_creates, 1);
}

static void test_recover__start_whose_worker_still_works(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define(&f, ops_config(UUID_A, "web"));
	id = stop_at_worker(&f, TASK_START);
	ops_start(&f);
	WAIT(&f, ops_has_step(&f, id, "looking at the host"));
	CU_ASSERT_STRING_EQUAL(ops_vm(&f, UUID_A)->task, id.text);
	CU_ASSERT(fakehost_release(&f.host));
	RUN_TO_END(&f, id, TASK_DONE);
	CU_ASSERT_EQUAL(f.host.n_creates, 1);
}

static void test_recover__start_that_was_lost(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define(&f, ops_config(UUID_A, "web"));
	id = stop_at_worker(&f, TASK_START);
	ops_start(&f);
	RUN_TO_END(&f, id, TASK_FAILED);
	CU_ASSERT_EQUAL(ops_task(&f, id)->code, CODE_ABORTED);
	CU_ASSERT(ops_has_message(&f, id,
				  "ops was restarted while the domain was being created, "
				  "and there is none"));
	CU_ASSERT_EQUAL(f.host.n_creates, 1);
}

static void test_recover__start_that_stays_half_way(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define(&f, ops_config(UUID_A, "web"));
	f.host.is_create_paused = true;
	id = stop_at_worker(&f, TASK_START);
	CU_ASSERT(fakehost_release(&f.host));
	ops_start(&f);
	RUN_TO_END(&f, id, TASK_FAILED);
	CU_ASSERT_EQUAL(ops_task(&f, id)->code, CODE_ABORTED);
	CU_ASSERT(ops_has_message(&f, id, "it is half built; destroy it"));
}

/* The worker died just before it let the domain run. */
static void test_recover__start_that_stays_paused(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define(&f, ops_config(UUID_A, "web"));
	f.host.is_create_paused = f.host.is_marking = true;
	id = stop_at_worker(&f, TASK_START);
	CU_ASSERT(fakehost_release(&f.host));
	ops_start(&f);
	RUN_TO_END(&f, id, TASK_FAILED);
	CU_ASSERT(ops_has_message(&f, id, "complete but still paused; unpause it"));
}

/* A half built domain is paused, too. */
static void test_recover__start_paused_that_stays_half_way(void)
{
	WITH_OPS(f);
	struct ops_id id;

	f.host.is_create_paused = true;
	id = restart_while_starting_paused(&f);
	RUN_TO_END(&f, id, TASK_FAILED);
	CU_ASSERT_EQUAL(ops_task(&f, id)->code, CODE_ABORTED);
	CU_ASSERT(ops_has_message(&f, id, "it is half built; destroy it"));
}

/* The worker goes on after the restart. */
static void test_recover__start_paused_is_done_with_its_mark(void)
{
	WITH_OPS(f);
	struct ops_id id;

	f.host.is_create_paused = true;
	id = restart_while_starting_paused(&f);
	f.core->engine.waits.recover_half_ms = 15000;
	WAIT(&f, ops_vm(&f, UUID_A)->power_state == POWER_PAUSED);
	ops_run_for(&f, 200);
	CU_ASSERT_EQUAL(ops_state(&f, id), TASK_RUNNING);
	f.host.domains[1].is_complete = true;
	fakehost_tell(&f.host, 1);
	RUN_TO_END(&f, id, TASK_DONE);
}

static void test_recover__start_paused(void)
{
	WITH_OPS(f);
	struct ops_id id;

	id = restart_while_starting_paused(&f);
	RUN_TO_END(&f, id, TASK_DONE);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_PAUSED);
}

static void test_recover__shutdown_goes_on(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define_running(&f);
	f.host.is_guest_deaf = true;
	id = ops_shut_down(&f, TASK_SHUTDOWN, 60, false);
	WAIT(&f, ops_has_step(&f, id, "waiting for the guest"));
	ops_stop(&f);
	ops_start(&f);
	WAIT(&f, ops_has_step(&f, id, "waiting for the guest"));
	fakehost_end_guest(&f.host, 1, REASON_POWEROFF);
	RUN_TO_END(&f, id, TASK_DONE);
	CU_ASSERT_EQUAL(f.host.n_asks, 1); /* not asked again */
	CU_ASSERT_EQUAL(f.host.n_destroys, 1);
}

static void test_recover__asks_again_when_it_is_not_known(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define_running(&f);
	id = stop_at_worker(&f, TASK_REBOOT); /* and the worker never comes to it */
	ops_start(&f);
	RUN_TO_END(&f, id, TASK_DONE);
	CU_ASSERT_EQUAL(f.host.n_asks, 2);
	CU_ASSERT_EQUAL(f.host.n_creates, 2);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_RUNNING);
}

static void test_recover__shutdown_that_happened_meanwhile(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define_running(&f);
	f.host.is_guest_deaf = true;
	id = ops_shut_down(&f, TASK_SHUTDOWN, 60, false);
	WAIT(&f, ops_has_step(&f, id, "waiting for the guest"));
	ops_stop(&f);
	fakehost_end_guest(&f.host, 1, REASON_POWEROFF);
	ops_start(&f);
	RUN_TO_END(&f, id, TASK_DONE);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_HALTED);
	CU_ASSERT_EQUAL(f.host.n_destroys, 1); /* by this task, not by policy */
	CU_ASSERT_EQUAL(f.core->engine.n_policy, 0);
}

static void test_recover__shutdown_keeps_its_time(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define_running(&f);
	f.host.is_guest_deaf = true;
	id = ops_shut_down(&f, TASK_SHUTDOWN, 1, true);
	WAIT(&f, ops_has_step(&f, id, "waiting for the guest"));
	ops_stop(&f);
	ops_start(&f);
	RUN_TO_END(&f, id, TASK_DONE); /* by force */
	CU_ASSERT_EQUAL(f.host.n_asks, 1);
	CU_ASSERT_EQUAL(f.host.n_destroys, 1);
}

static void test_recover__destroy_that_worked(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define_running(&f);
	id = stop_at_worker(&f, TASK_DESTROY);
	CU_ASSERT(fakehost_release(&f.host));
	ops_start(&f);
	RUN_TO_END(&f, id, TASK_DONE);
	CU_ASSERT_EQUAL(f.host.n_destroys, 1);
}

static void test_recover__destroy_is_done_again(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define_running(&f);
	id = stop_at_worker(&f, TASK_DESTROY); /* and the worker never comes to it */
	ops_start(&f);
	RUN_TO_END(&f, id, TASK_DONE);
	CU_ASSERT_EQUAL(f.host.n_destroys, 2);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_HALTED);
}

static void test_recover__destroy_does_not_hit_a_successor(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define_running(&f);
	id = stop_at_worker(&f, TASK_DESTROY);
	CU_ASSERT(fakehost_release(&f.host));
	fakehost_add(&f.host, UUID_A, "web", POWER_RUNNING); /* somebody started it anew */
	ops_start(&f);
	RUN_TO_END(&f, id, TASK_DONE);
	ops_run_for(&f, 50);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->domid, 2);
	CU_ASSERT_EQUAL(f.host.n_destroys, 1);
}

static void test_recover__reboot_between_destroy_and_create(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define_running(&f);
	id = ops_shut_down(&f, TASK_REBOOT, 60, false);
	WAIT(&f, f.host.n_asks == 1);
	f.host.is_holding = true;
	WAIT(&f, f.host.n_destroys == 1);
	ops_stop(&f);
	f.host.is_holding = false;
	CU_ASSERT(fakehost_release(&f.host));
	ops_start(&f);
	RUN_TO_END(&f, id, TASK_DONE);
	CU_ASSERT_EQUAL(f.host.n_creates, 2);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->domid, 2);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_RUNNING);
}

static void test_recover__pause(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define_running(&f);
	id = stop_at_worker(&f, TASK_PAUSE);
	ops_start(&f);
	RUN_TO_END(&f, id, TASK_FAILED);
	CU_ASSERT_EQUAL(ops_task(&f, id)->code, CODE_ABORTED);
	CU_ASSERT(fakehost_release(&f.host));
	WAIT(&f, ops_vm(&f, UUID_A)->power_state == POWER_PAUSED);
	id = stop_at_worker(&f, TASK_UNPAUSE);
	CU_ASSERT(fakehost_release(&f.host));
	ops_start(&f);
	RUN_TO_END(&f, id, TASK_DONE);
}

static void test_recover__without_a_host(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define(&f, ops_config(UUID_A, "web"));
	id = stop_at_worker(&f, TASK_START);
	fakehost_hang_up(&f.host);
	ops_start(&f);
	f.core->engine.waits.host_ms = 100;
	RUN_TO_END(&f, id, TASK_FAILED);
	CU_ASSERT_EQUAL(ops_task(&f, id)->code, CODE_UNKNOWN);
}

static void test_recover__operation_on_a_vanished_vm(void)
{
	WITH_OPS(f);
	uint32_t domid = fakehost_add(&f.host, UUID_A, "xl", POWER_RUNNING);
	struct ops_id id;

	WAIT(&f, vms_get(&f.core->vms, UUID_A));
	id = stop_at_worker(&f, TASK_PAUSE);
	fakehost_remove(&f.host, domid);
	ops_start(&f);
	RUN_TO_END(&f, id, TASK_DONE); /* nothing is there to be paused any more */
	CU_ASSERT_PTR_NULL(vms_get(&f.core->vms, UUID_A));
}

static void test_recover__destroy_overtakes_the_undecided(void)
{
	WITH_OPS(f);
	struct ops_id start, destroy;

	ops_define(&f, ops_config(UUID_A, "web"));
	f.host.is_create_paused = true;
	start = stop_at_worker(&f, TASK_START);
	CU_ASSERT(fakehost_release(&f.host));
	ops_start(&f);
	WAIT(&f, ops_has_step(&f, start, "looking at the host"));
	destroy = ops_order(&f, TASK_DESTROY, UUID_A);
	CU_ASSERT_EQUAL(ops_state(&f, start), TASK_CANCELLED);
	RUN_TO_END(&f, destroy, TASK_DONE);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_HALTED);
}

/* The host process is away, too: the worker goes on, and what it makes is to be destroyed. */
static void test_recover__destroy_overtakes_without_a_host(void)
{
	WITH_OPS(f);
	struct ops_id start, destroy;
	const char *why;

	ops_define(&f, ops_config(UUID_A, "web"));
	start = stop_at_worker(&f, TASK_START);
	fakehost_hang_up(&f.host);
	ops_start(&f);
	f.core->engine.waits.recover_none_ms = 15000;
	WAIT(&f, ops_has_step(&f, start, "waiting for the host process"));
	CU_ASSERT(!engine_can_cancel(ops_task(&f, start), &why));
	destroy = ops_order(&f, TASK_DESTROY, UUID_A);
	CU_ASSERT_EQUAL(ops_state(&f, start), TASK_RUNNING);
	CU_ASSERT_EQUAL(fakehost_listen(&f.host), 0);
	WAIT(&f, f.core->host.is_connected);
	ops_run_for(&f, 50);
	CU_ASSERT(fakehost_release(&f.host));
	RUN_TO_END(&f, destroy, TASK_DONE);
	CU_ASSERT(ops_is_ended(&f, start));
	CU_ASSERT_EQUAL(f.host.n_destroys, 1);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_HALTED);
}

/* A destroy that was accepted does not wait for what it had overtaken. */
static void test_recover__destroy_overtakes_again(void)
{
	WITH_OPS(f);
	struct ops_id ask, destroy;

	ops_define_running(&f);
	f.host.is_guest_deaf = f.host.is_worker_stubborn = true;
	f.host.is_holding = true;
	ask = ops_shut_down(&f, TASK_SHUTDOWN, 3600, false);
	WAIT(&f, fakehost_worker(&f.host));
	destroy = ops_order(&f, TASK_DESTROY, UUID_A);
	CU_ASSERT_EQUAL(ops_state(&f, ask), TASK_RUNNING);
	ops_stop(&f);
	f.host.is_holding = false;
	ops_start(&f);
	RUN_TO_END(&f, destroy, TASK_DONE);
	CU_ASSERT_EQUAL(ops_state(&f, ask), TASK_CANCELLED);
	CU_ASSERT(ops_has_message(&f, ask, "overtaken by the destroy"));
	CU_ASSERT_EQUAL(f.host.n_asks, 1);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_HALTED);
}

static void test_recover__policy_goes_on(void)
{
	WITH_OPS(f);

	ops_define_running(&f);
	f.host.is_holding = true;
	fakehost_end_guest(&f.host, 1, REASON_REBOOT); /* so soon: after a delay */
	WAIT(&f, f.host.n_destroys == 1);
	ops_stop(&f);
	f.host.is_holding = false;
	CU_ASSERT(fakehost_release(&f.host));
	ops_start(&f);
	WAIT(&f, ops_vm(&f, UUID_A)->power_state == POWER_RUNNING);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->domid, 2);
	CU_ASSERT_EQUAL(f.host.n_creates, 2);
}

static void test_recover__unreadable_rows_are_left_out(void)
{
	WITH_OPS(f);
	struct ops_id id;
	const struct store_task junk = {
		.id = "junk",
		.task = (const uint8_t *)"\xff\xff",
		.task_len = 2,
	};

	ops_define_running(&f);
	id = ops_order(&f, TASK_PAUSE, UUID_A);
	RUN_TO_END(&f, id, TASK_DONE);
	CU_ASSERT_EQUAL(store_task_put(f.core->store, &junk), 0);
	CU_ASSERT_EQUAL(store_vm_put(f.core->store, UUID_B, "\xff\xff", 2, 0), 0);
	CU_ASSERT_EQUAL(store_vm_put(f.core->store, "not a uuid", "", 0, 0), 0);
	ops_stop(&f);
	ops_start(&f);
	CU_ASSERT_EQUAL(ops_state(&f, id), TASK_DONE);
	CU_ASSERT_PTR_NULL(vms_get(&f.core->vms, UUID_B));
	CU_ASSERT_PTR_NOT_NULL(vms_get(&f.core->vms, UUID_A));
	WAIT(&f, f.core->host.is_connected);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_recover__definitions_and_ended_tasks_stay),
		UNIT_TEST(test_recover__last_error_stays),
		UNIT_TEST(test_recover__queued_is_executed_once),
		UNIT_TEST(test_recover__not_yet_given_to_a_worker_is_begun),
		UNIT_TEST(test_recover__start_that_worked),
		UNIT_TEST(test_recover__start_whose_worker_still_works),
		UNIT_TEST(test_recover__start_that_was_lost),
		UNIT_TEST(test_recover__start_that_stays_half_way),
		UNIT_TEST(test_recover__start_that_stays_paused),
		UNIT_TEST(test_recover__start_paused_that_stays_half_way),
		UNIT_TEST(test_recover__start_paused_is_done_with_its_mark),
		UNIT_TEST(test_recover__start_paused),
		UNIT_TEST(test_recover__shutdown_goes_on),
		UNIT_TEST(test_recover__asks_again_when_it_is_not_known),
		UNIT_TEST(test_recover__shutdown_that_happened_meanwhile),
		UNIT_TEST(test_recover__shutdown_keeps_its_time),
		UNIT_TEST(test_recover__destroy_that_worked),
		UNIT_TEST(test_recover__destroy_is_done_again),
		UNIT_TEST(test_recover__destroy_does_not_hit_a_successor),
		UNIT_TEST(test_recover__reboot_between_destroy_and_create),
		UNIT_TEST(test_recover__pause),
		UNIT_TEST(test_recover__without_a_host),
		UNIT_TEST(test_recover__operation_on_a_vanished_vm),
		UNIT_TEST(test_recover__destroy_overtakes_the_undecided),
		UNIT_TEST(test_recover__destroy_overtakes_without_a_host),
		UNIT_TEST(test_recover__destroy_overtakes_again),
		UNIT_TEST(test_recover__policy_goes_on),
		UNIT_TEST(test_recover__unreadable_rows_are_left_out),
	};

	log_set_sink(log_swallow);
	return unit_run("ops_recover", tests, ARRAY_LEN(tests));
}
