/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sqlite3.h>

#include "tests/unit/log_util.h"
#include "tests/unit/ops_fixture.h"

/* ---- the plain operations ---- */

static void test_engine__starts(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define(&f, ops_config(UUID_A, "web"));
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_HALTED);
	id = ops_order(&f, TASK_START, UUID_A);
	CU_ASSERT_EQUAL(ops_state(&f, id), TASK_PENDING);
	RUN_TO_END(&f, id, TASK_DONE);
	CU_ASSERT_EQUAL(ops_task(&f, id)->domid, 1);
	CU_ASSERT(ops_task(&f, id)->progress == 1.0);
	CU_ASSERT(ops_task(&f, id)->started_ns > 0 && ops_task(&f, id)->finished_ns > 0);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_RUNNING);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->domid, 1);
	CU_ASSERT_STRING_EQUAL(ops_vm(&f, UUID_A)->task, "");
	CU_ASSERT_EQUAL(f.host.n_creates, 1);
	CU_ASSERT_EQUAL(f.core->engine.acting.n, 0);
}

static void test_engine__starts_paused(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define(&f, ops_config(UUID_A, "web"));
	id = ops_submit(&f, TASK_START, UUID_A, 0, false, true);
	RUN_TO_END(&f, id, TASK_DONE);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_PAUSED);
}

static void test_engine__refuses_a_second_start(void)
{
	WITH_OPS(f);
	struct ops_id first, second;

	ops_define(&f, ops_config(UUID_A, "web"));
	first = ops_order(&f, TASK_START, UUID_A);
	second = ops_order(&f, TASK_START, UUID_A);
	WAIT(&f, ops_is_ended(&f, second));
	CU_ASSERT_EQUAL(ops_state(&f, first), TASK_DONE);
	CU_ASSERT_EQUAL(ops_state(&f, second), TASK_FAILED);
	CU_ASSERT_EQUAL(ops_task(&f, second)->code, CODE_FAILED_PRECONDITION);
	CU_ASSERT(ops_has_message(&f, second, "running already, as domain 1"));
	CU_ASSERT_PTR_NOT_NULL(strstr(ops_vm(&f, UUID_A)->last_error, "running already"));
	CU_ASSERT_EQUAL(f.host.n_creates, 1);
}

static void test_engine__shuts_down(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define_running(&f);
	id = ops_order(&f, TASK_SHUTDOWN, UUID_A);
	RUN_TO_END(&f, id, TASK_DONE);
	CU_ASSERT_EQUAL(ops_task(&f, id)->domid, -1);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_HALTED);
	CU_ASSERT_EQUAL(f.host.n_asks, 1);
	CU_ASSERT_EQUAL(f.host.n_destroys, 1);
	id = ops_order(&f, TASK_SHUTDOWN, UUID_A); /* is halted: that is what was wanted */
	RUN_TO_END(&f, id, TASK_DONE);
	CU_ASSERT_EQUAL(f.host.n_asks, 1);
}

static void test_engine__gives_deaf_guests_up(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define_running(&f);
	f.host.is_guest_deaf = true;
	id = ops_shut_down(&f, TASK_SHUTDOWN, 1, false);
	RUN_TO_END(&f, id, TASK_FAILED);
	CU_ASSERT_EQUAL(ops_task(&f, id)->code, CODE_DEADLINE_EXCEEDED);
	CU_ASSERT(ops_has_message(&f, id, "did not end within 1 s"));
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_RUNNING);

	id = ops_shut_down(&f, TASK_SHUTDOWN, 1, true);
	RUN_TO_END(&f, id, TASK_DONE);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_HALTED);
}

static void test_engine__gives_up_when_not_even_acknowledged(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define_running(&f);
	f.host.is_holding = true;
	id = ops_shut_down(&f, TASK_SHUTDOWN, 1, false);
	WAIT(&f, ops_is_ended(&f, id));
	CU_ASSERT_EQUAL(ops_task(&f, id)->code, CODE_DEADLINE_EXCEEDED);
	CU_ASSERT_EQUAL(f.host.n_cancels, 1);

	f.host.is_worker_stubborn = true; /* nor does the worker stop */
	id = ops_shut_down(&f, TASK_SHUTDOWN, 1, true);
	WAIT(&f, f.host.n_destroys == 1);
	while (fakehost_release(&f.host)) {
	}
	RUN_TO_END(&f, id, TASK_DONE);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_HALTED);
}

/* Only time that is over leads to force. */
static void test_engine__asks_again_when_asking_fails(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define_running(&f);
	f.host.is_worker_dying = true;
	id = ops_shut_down(&f, TASK_SHUTDOWN, 60, true);
	WAIT(&f, f.host.n_asks >= 2);
	f.host.is_worker_dying = false;
	f.host.has_no_workers = true;
	WAIT(&f, ops_has_step(&f, id, "asked again"));
	f.host.has_no_workers = false;
	f.host.fail_code = CODE_DEADLINE_EXCEEDED; /* libxl's own time for the acknowledgement */
	WAIT(&f, f.host.n_asks >= 4);
	CU_ASSERT_EQUAL(f.host.n_destroys, 0);
	CU_ASSERT_EQUAL(ops_state(&f, id), TASK_RUNNING);
	WAIT(&f, f.core->engine.asking.n == 0); /* the pause holds no place */
	f.host.fail_code = 0;
	RUN_TO_END(&f, id, TASK_DONE);
	CU_ASSERT_EQUAL(f.host.n_destroys, 1);
}

static void test_engine__asking_that_fails_lasts_its_time(void)
{
	WITH_OPS(f);
	uint64_t began_ns = clock_boot_ns();
	struct ops_id id;

	ops_define_running(&f);
	f.host.fail_code = CODE_INTERNAL;
	id = ops_shut_down(&f, TASK_SHUTDOWN, 1, false);
	WAIT(&f, ops_is_ended(&f, id));
	CU_ASSERT(clock_boot_ns() - began_ns >= NSEC_PER_SEC);
	CU_ASSERT_EQUAL(ops_task(&f, id)->code, CODE_DEADLINE_EXCEEDED);
	CU_ASSERT(ops_has_message(&f, id, "could not be asked the last time: it does not work"));
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_RUNNING);
}

/* Waiting is of no use then. */
static void test_engine__guest_that_does_not_listen(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define_running(&f);
	f.host.fail_code = CODE_FAILED_PRECONDITION;
	id = ops_shut_down(&f, TASK_SHUTDOWN, 3600, false);
	WAIT(&f, ops_is_ended(&f, id));
	CU_ASSERT_EQUAL(ops_task(&f, id)->code, CODE_FAILED_PRECONDITION);

	f.host.is_holding = true;
	id = ops_shut_down(&f, TASK_SHUTDOWN, 3600, true);
	WAIT(&f, fakehost_worker(&f.host));
	CU_ASSERT(fakehost_release(&f.host));
	f.host.fail_code = 0;
	WAIT(&f, f.host.n_destroys == 1);
	CU_ASSERT(fakehost_release(&f.host));
	RUN_TO_END(&f, id, TASK_DONE);
}

/* It ends by itself just before it is asked, and the worker is the first who sees it. */
static void test_engine__guest_that_has_ended_already(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define_running(&f);
	f.host.is_holding = f.host.is_silent = true;
	id = ops_shut_down(&f, TASK_REBOOT, 60, false);
	WAIT(&f, fakehost_worker(&f.host));
	fakehost_end_guest(&f.host, 1, REASON_POWEROFF);
	f.host.fail_code = CODE_FAILED_PRECONDITION;
	f.host.is_holding = false;
	CU_ASSERT(fakehost_release(&f.host));
	f.host.fail_code = 0;
	RUN_TO_END(&f, id, TASK_DONE);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->domid, 2);
	CU_ASSERT_EQUAL(f.core->engine.n_policy, 0);
}

static void test_engine__preserves_when_told_so(void)
{
	WITH_OPS(f);
	Xenmesh__V1__VmConfig *c = ops_config(UUID_A, "web");
	struct ops_id id;

	c->on_poweroff = ACTION_PRESERVE;
	ops_define(&f, c);
	ops_power_on(&f, UUID_A);
	id = ops_order(&f, TASK_SHUTDOWN, UUID_A);
	RUN_TO_END(&f, id, TASK_DONE);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_SHUTDOWN);
	CU_ASSERT_EQUAL(f.host.n_destroys, 0);
	id = ops_order(&f, TASK_START, UUID_A);
	WAIT(&f, ops_is_ended(&f, id));
	CU_ASSERT(ops_has_message(&f, id, "has shut down and is kept; destroy it first"));
}

static void test_engine__reboots(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define_running(&f);
	id = ops_order(&f, TASK_REBOOT, UUID_A);
	RUN_TO_END(&f, id, TASK_DONE);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_RUNNING);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->domid, 2);
	CU_ASSERT_EQUAL(f.host.n_asks, 1);
	CU_ASSERT_EQUAL(f.host.n_destroys, 1);
	CU_ASSERT_EQUAL(f.host.n_creates, 2);
}

/* A domain that is dying has not given back its name and UUID. */
static void test_engine__creates_when_the_old_one_is_gone(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define_running(&f);
	f.host.is_destroy_slow = true;
	f.core->engine.waits.dying_ms = 60000;
	id = ops_shut_down(&f, TASK_REBOOT, 60, false);
	WAIT(&f, ops_has_step(&f, id, "waiting for domain 1 to be gone"));
	CU_ASSERT_EQUAL(f.host.n_creates, 1);
	fakehost_remove(&f.host, 1);
	RUN_TO_END(&f, id, TASK_DONE);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->domid, 2);

	f.core->engine.waits.dying_ms = 100;
	id = ops_shut_down(&f, TASK_REBOOT, 60, false);
	WAIT(&f, ops_is_ended(&f, id));
	CU_ASSERT_EQUAL(ops_task(&f, id)->code, CODE_FAILED_PRECONDITION);
	CU_ASSERT(ops_has_message(&f, id, "domain 2 of the VM was destroyed but is still dying"));
	CU_ASSERT_EQUAL(f.host.n_creates, 2);
}

static void test_engine__reboot_of_a_halted_vm_is_refused(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define(&f, ops_config(UUID_A, "web"));
	id = ops_order(&f, TASK_REBOOT, UUID_A);
	WAIT(&f, ops_is_ended(&f, id));
	CU_ASSERT_EQUAL(ops_task(&f, id)->code, CODE_FAILED_PRECONDITION);
}

static void test_engine__pauses_and_unpauses(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define_running(&f);
	f.host.is_silent = true;		  /* nothing tells of it: ops has to ask */
	for (int round = 0; round < 2; round++) { /* the second time is no work */
		id = ops_order(&f, TASK_PAUSE, UUID_A);
		RUN_TO_END(&f, id, TASK_DONE);
		CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_PAUSED);
	}
	CU_ASSERT_EQUAL(f.host.n_acts, 1);
	id = ops_order(&f, TASK_SHUTDOWN, UUID_A);
	WAIT(&f, ops_is_ended(&f, id));
	CU_ASSERT(ops_has_message(&f, id, "is paused and cannot shut down by itself"));
	id = ops_order(&f, TASK_UNPAUSE, UUID_A);
	WAIT(&f, ops_is_ended(&f, id));
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_RUNNING);
}

static void test_engine__forced_shutdown_of_a_paused_vm_destroys(void)
{
	WITH_OPS(f);
	uint32_t domid = fakehost_add(&f.host, UUID_A, "xl", POWER_PAUSED);
	struct ops_id id;

	WAIT(&f, vms_get(&f.core->vms, UUID_A));
	id = ops_shut_down(&f, TASK_SHUTDOWN, 60, true);
	RUN_TO_END(&f, id, TASK_DONE);
	CU_ASSERT(!f.host.domains[domid].exists);
	CU_ASSERT_EQUAL(f.host.n_asks, 0);
}

static void test_engine__destroys(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define_running(&f);
	for (int round = 0; round < 2; round++) { /* the second time is no work */
		id = ops_order(&f, TASK_DESTROY, UUID_A);
		RUN_TO_END(&f, id, TASK_DONE);
		CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_HALTED);
	}
	CU_ASSERT_EQUAL(f.host.n_destroys, 1);
}

static void test_engine__leaves_dom0_alone(void)
{
	WITH_OPS(f);
	char buffer[128];
	int code;

	for (int kind = TASK_START; kind <= TASK_UNPAUSE; kind++) {
		const char *why = engine_refuse(&f.core->engine,
						vms_get(&f.core->vms, OPS_ZERO_UUID), kind, true,
						&code, buffer, sizeof(buffer));

		CU_ASSERT_PTR_NOT_NULL(why);
		CU_ASSERT_EQUAL(code, CODE_FAILED_PRECONDITION);
	}
}

/* ---- unmanaged ---- */

static void test_engine__unmanaged_are_controlled_but_not_kept(void)
{
	WITH_OPS(f);
	uint32_t domid = fakehost_add(&f.host, UUID_A, "xl", POWER_RUNNING);
	struct ops_id id;

	WAIT(&f, vms_get(&f.core->vms, UUID_A));
	id = ops_order(&f, TASK_SHUTDOWN, UUID_A);
	RUN_TO_END(&f, id, TASK_DONE);
	CU_ASSERT_EQUAL(f.host.n_destroys, 0); /* whoever made it has to */
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_SHUTDOWN);
	id = ops_order(&f, TASK_DESTROY, UUID_A);
	WAIT(&f, ops_is_ended(&f, id));
	CU_ASSERT(!f.host.domains[domid].exists);
	CU_ASSERT_PTR_NULL(vms_get(&f.core->vms, UUID_A));
	CU_ASSERT_STRING_EQUAL(ops_vm(&f, UUID_A)->uuid, "");
	CU_ASSERT_EQUAL(ops_state(&f, id), TASK_DONE);
}

static void test_engine__unmanaged_cannot_be_started(void)
{
	WITH_OPS(f);
	struct ops_id id;

	fakehost_add(&f.host, UUID_A, "xl", POWER_SHUTDOWN);
	WAIT(&f, vms_get(&f.core->vms, UUID_A));
	id = ops_order(&f, TASK_START, UUID_A);
	WAIT(&f, ops_is_ended(&f, id));
	CU_ASSERT(ops_has_message(&f, id, "no definition"));
}

/* ---- failures ---- */

static void test_engine__failure_has_the_log(void)
{
	WITH_OPS(f);
	struct ops_id id;
	const struct task *task;

	ops_define(&f, ops_config(UUID_A, "web"));
	f.host.fail_code = CODE_INTERNAL;
	f.host.fail_line = "libxl: no such kernel\n\xff";
	id = ops_order(&f, TASK_START, UUID_A);
	WAIT(&f, ops_is_ended(&f, id));
	task = ops_task(&f, id);
	CU_ASSERT_EQUAL(task->state, TASK_FAILED);
	CU_ASSERT_EQUAL(task->code, CODE_INTERNAL);
	CU_ASSERT_STRING_EQUAL(task->message, "it does not work");
	CU_ASSERT_EQUAL(task->n_log, 1); /* chatter is left out */
	CU_ASSERT_STRING_EQUAL(task->n_log ? task->log[0] : "", "libxl: no such kernel\\x0a\\xff");
	CU_ASSERT_STRING_EQUAL(ops_vm(&f, UUID_A)->last_error, "it does not work");
	WAIT(&f, f.host.n_resyncs > 0);

	f.host.fail_code = 0;
	ops_power_on(&f, UUID_A);
	CU_ASSERT_STRING_EQUAL(ops_vm(&f, UUID_A)->last_error, "");
}

static void test_engine__dead_worker_fails_the_operation(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define(&f, ops_config(UUID_A, "web"));
	f.host.is_worker_dying = true;
	id = ops_order(&f, TASK_START, UUID_A);
	WAIT(&f, ops_is_ended(&f, id));
	CU_ASSERT_EQUAL(ops_task(&f, id)->code, CODE_INTERNAL);
	CU_ASSERT(ops_has_message(&f, id, "worker died"));
	WAIT(&f, f.host.n_resyncs > 0);
	CU_ASSERT_EQUAL(f.core->engine.acting.n, 0);
}

static void test_engine__no_worker_fails_the_operation(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define(&f, ops_config(UUID_A, "web"));
	f.host.has_no_workers = true;
	id = ops_order(&f, TASK_START, UUID_A);
	WAIT(&f, ops_is_ended(&f, id));
	CU_ASSERT_EQUAL(ops_task(&f, id)->code, CODE_UNAVAILABLE);
	CU_ASSERT(ops_has_message(&f, id, "no worker program"));
	CU_ASSERT_EQUAL(f.core->engine.acting.n, 0);
}

/* ---- the host process comes and goes ---- */

static void test_engine__waits_for_the_host(void)
{
	_cleanup_(ops_tear_down) struct ops_fixture f;
	struct ops_id id;

	ops_set_up_stopped(&f);
	fakehost_hang_up(&f.host);
	ops_start(&f);
	ops_define(&f, ops_config(UUID_A, "web"));
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_UNKNOWN);
	id = ops_order(&f, TASK_START, UUID_A);
	WAIT(&f, ops_has_step(&f, id, "waiting for the host process"));
	CU_ASSERT_EQUAL(fakehost_listen(&f.host), 0);
	RUN_TO_END(&f, id, TASK_DONE);
}

static void test_engine__gives_an_absent_host_up(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define(&f, ops_config(UUID_A, "web"));
	fakehost_hang_up(&f.host);
	WAIT(&f, !f.core->host.is_connected);
	CU_ASSERT(!topics_get(&f.topics, "host/state")->event->host_state->connected);
	f.core->engine.waits.host_ms = 100;
	id = ops_order(&f, TASK_START, UUID_A);
	WAIT(&f, ops_is_ended(&f, id));
	CU_ASSERT_EQUAL(ops_task(&f, id)->code, CODE_UNAVAILABLE);
	CU_ASSERT(ops_has_message(&f, id, "start xenmesh-ops-host"));
}

static void test_engine__keeps_facts_and_converges(void)
{
	WITH_OPS(f);
	uint32_t a = fakehost_add(&f.host, UUID_A, "one", POWER_RUNNING);

	fakehost_add(&f.host, UUID_B, "two", POWER_RUNNING);
	WAIT(&f, vms_get(&f.core->vms, UUID_B));
	fakehost_hang_up(&f.host);
	WAIT(&f, !f.core->host.is_connected);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_RUNNING);
	fakehost_remove(&f.host, a);
	fakehost_add(&f.host, UUID_C, "three", POWER_RUNNING);
	CU_ASSERT_EQUAL(fakehost_listen(&f.host), 0);
	WAIT(&f, f.core->host.is_connected);
	CU_ASSERT(topics_get(&f.topics, "host/state")->event->host_state->connected);
	CU_ASSERT_PTR_NULL(vms_get(&f.core->vms, UUID_A));
	CU_ASSERT_PTR_NOT_NULL(vms_get(&f.core->vms, UUID_B));
	CU_ASSERT_PTR_NOT_NULL(vms_get(&f.core->vms, UUID_C));
}

static void test_engine__worker_survives_the_host_link(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define(&f, ops_config(UUID_A, "web"));
	f.host.is_holding = true;
	id = ops_order(&f, TASK_START, UUID_A);
	WAIT(&f, fakehost_worker(&f.host));
	fakehost_hang_up(&f.host);
	WAIT(&f, !f.core->host.is_connected);
	CU_ASSERT(fakehost_release(&f.host));
	RUN_TO_END(&f, id, TASK_DONE);
	CU_ASSERT_EQUAL(fakehost_listen(&f.host), 0);
	WAIT(&f, ops_vm(&f, UUID_A)->power_state == POWER_RUNNING);
}

/* ---- order, parallelism ---- */

static void test_engine__one_at_a_time_on_a_vm(void)
{
	WITH_OPS(f);
	struct ops_id a, b, c;

	ops_define(&f, ops_config(UUID_A, "web"));
	f.host.is_holding = true;
	a = ops_order(&f, TASK_START, UUID_A);
	b = ops_order(&f, TASK_PAUSE, UUID_A);
	c = ops_order(&f, TASK_UNPAUSE, UUID_A);
	WAIT(&f, fakehost_worker(&f.host));
	ops_run_for(&f, 50);
	CU_ASSERT_EQUAL(f.host.n_at_work, 1);
	CU_ASSERT_EQUAL(ops_state(&f, a), TASK_RUNNING);
	CU_ASSERT_EQUAL(ops_state(&f, b), TASK_PENDING);
	CU_ASSERT_STRING_EQUAL(ops_vm(&f, UUID_A)->task, a.text);
	for (int i = 0; i < 3; i++) {
		WAIT(&f, fakehost_worker(&f.host));
		CU_ASSERT(fakehost_release(&f.host));
	}
	WAIT(&f, ops_is_ended(&f, c));
	CU_ASSERT_EQUAL(ops_state(&f, b), TASK_DONE);
	CU_ASSERT_EQUAL(ops_state(&f, c), TASK_DONE);
	CU_ASSERT_EQUAL(f.host.n_max_at_work, 1);
	CU_ASSERT_EQUAL(ops_vm(&f, UUID_A)->power_state, POWER_RUNNING);
}

static void many_uuid(int i, char out[static 37])
{
	snprintf(out, 37, "aaaaaaaa-0000-4000-8000-%012d", i);
}

static void test_engine__different_vms_in_parallel_but_bounded(void)
{
	enum { N = 10 };
	WITH_OPS(f);
	struct ops_id ids[N];
	char uuid[37], name[16];

	f.host.is_holding = true;
	for (int i = 0; i < N; i++) {
		many_uuid(i, uuid);
		snprintf(name, sizeof(name), "vm%d", i);
		ops_define(&f, ops_config(uuid, name));
		ids[i] = ops_order(&f, TASK_START, uuid);
	}
	WAIT(&f, f.host.n_at_work == 4);
	ops_run_for(&f, 50);
	CU_ASSERT_EQUAL(f.host.n_at_work, 4);
	CU_ASSERT(ops_has_step(&f, ids[N - 1], "waiting for other operations"));
	for (int i = 0; i < N; i++) {
		WAIT(&f, fakehost_worker(&f.host));
		fakehost_release(&f.host);
	}
	for (int i = 0; i < N; i++) {
		RUN_TO_END(&f, ids[i], TASK_DONE);
	}
	CU_ASSERT_EQUAL(f.host.n_max_at_work, 4);
	CU_ASSERT_EQUAL(f.core->engine.acting.n, 0);
}

static void test_engine__guests_ending_hold_no_places(void)
{
	_cleanup_(ops_tear_down) struct ops_fixture f;
	struct ops_id shutdown, other;

	ops_set_up_stopped(&f);
	f.max_workers = 1;
	ops_start(&f);
	WAIT(&f, f.core->host.is_connected);
	ops_define(&f, ops_config(UUID_A, "web"));
	ops_define(&f, ops_config(UUID_B, "db"));
	ops_power_on(&f, UUID_A);
	f.host.is_guest_deaf = true;
	shutdown = ops_shut_down(&f, TASK_SHUTDOWN, 60, false);
	WAIT(&f, ops_has_step(&f, shutdown, "waiting for the guest"));
	other = ops_order(&f, TASK_START, UUID_B);
	RUN_TO_END(&f, other, TASK_DONE);
	fakehost_end_guest(&f.host, 1, REASON_POWEROFF);
	RUN_TO_END(&f, shutdown, TASK_DONE);
}

/* The guests do not even acknowledge: their workers wait for a minute. */
static void test_engine__deaf_guests_delay_nobody(void)
{
	enum { N = 100 };
	_cleanup_(ops_tear_down) struct ops_fixture f;
	struct ops_id asked[N], other;
	char uuid[37], name[16];

	ops_set_up_stopped(&f);
	f.max_workers = 1;
	for (int i = 0; i < N; i++) {
		many_uuid(i, uuid);
		snprintf(name, sizeof(name), "vm%d", i);
		fakehost_add(&f.host, uuid, name, POWER_RUNNING);
	}
	ops_start(&f);
	WAIT(&f, f.core->host.is_connected);
	f.host.is_ask_holding = true;
	for (int i = 0; i < N; i++) {
		many_uuid(i, uuid);
		asked[i] = ops_submit(&f, TASK_SHUTDOWN, uuid, 3600, false, false);
	}
	WAIT(&f, f.host.n_asks == OPS_ASKING_MAX);
	ops_define(&f, ops_config(UUID_B, "db"));
	other = ops_order(&f, TASK_START, UUID_B);
	RUN_TO_END(&f, other, TASK_DONE);
	CU_ASSERT_EQUAL(f.host.n_asks, OPS_ASKING_MAX); /* the others wait in line for that ... */
	CU_ASSERT(ops_has_step(&f, asked[N - 1], "waiting for other operations"));
	CU_ASSERT_EQUAL(ops_task(&f, asked[N - 1])->until_ns, 0); /* ... and their time does, too */
	CU_ASSERT(ops_task(&f, asked[0])->until_ns > 0);
	for (int i = 0; i < N; i++) {
		WAIT(&f, fakehost_worker(&f.host));
		fakehost_release(&f.host);
	}
	for (int i = 0; i < N; i++) {
		RUN_TO_END(&f, asked[i], TASK_DONE);
	}
	CU_ASSERT_EQUAL(f.host.n_asks, N);
	CU_ASSERT_EQUAL(f.core->engine.asking.n, 0);
}

static void test_engine__queue_is_bounded(void)
{
	WITH_OPS(f);
	struct ops_id destroy;
	char buffer[256];
	int code = 0;
	struct vm *vm;

	ops_define(&f, ops_config(UUID_A, "web"));
	vm = vms_get(&f.core->vms, UUID_A);
	f.host.is_holding = true;
	for (int i = 0; i < OPS_QUEUE_MAX; i++) {
		CU_ASSERT_PTR_NULL(engine_refuse(&f.core->engine, vm, TASK_START, false, &code,
						 buffer, sizeof(buffer)));
		ops_order(&f, TASK_START, UUID_A);
	}
	CU_ASSERT_PTR_NOT_NULL(engine_refuse(&f.core->engine, vm, TASK_START, false, &code, buffer,
					     sizeof(buffer)));
	CU_ASSERT_EQUAL(code, CODE_RESOURCE_EXHAUSTED);
	CU_ASSERT_PTR_NOT_NULL(strstr(buffer, "cancel some, or destroy the VM"));

	/* There is always room for one destroy, whatever waits on all VMs. */
	f.core->tasks.n_active += OPS_ACTIVE_MAX;
	CU_ASSERT_PTR_NULL(engine_refuse(&f.core->engine, vm, TASK_DESTROY, false, &code, buffer,
					 sizeof(buffer)));
	f.core->tasks.n_active -= OPS_ACTIVE_MAX;
	destroy = ops_order(&f, TASK_DESTROY, UUID_A);
	CU_ASSERT_PTR_NOT_NULL(engine_refuse(&f.core->engine, vm, TASK_DESTROY, false, &code,
					     buffer, sizeof(buffer)));
	CU_ASSERT_EQUAL(code, CODE_ALREADY_EXISTS);
	CU_ASSERT_PTR_NOT_NULL(strstr(buffer, destroy.text));
	ops_order(&f, TASK_START, UUID_A); /* that one would come after the destroy */
	CU_ASSERT_PTR_NULL(engine_refuse(&f.core->engine, vm, TASK_DESTROY, false, &code, buffer,
					 sizeof(buffer)));
}

/* ---- memory ---- */

static void test_engine__refuses_what_does_not_fit(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define(&f, ops_config(UUID_A, "web"));
	fakehost_sample(&f.host, 30000);
	WAIT(&f, f.core->memory.is_known);
	id = ops_order(&f, TASK_START, UUID_A);
	WAIT(&f, ops_is_ended(&f, id));
	CU_ASSERT_EQUAL(ops_task(&f, id)->code, CODE_RESOURCE_EXHAUSTED);
	CU_ASSERT(ops_has_message(&f, id, "needs 66560 KiB, 30000 KiB are free"));
	CU_ASSERT_EQUAL(f.host.n_spawned, 0);
}

static void test_engine__waits_for_memory_being_freed(void)
{
	WITH_OPS(f);
	struct ops_id id;

	ops_define(&f, ops_config(UUID_A, "web"));
	fakehost_sample(&f.host, 30000);
	WAIT(&f, f.core->memory.is_known);
	id = ops_order(&f, TASK_START, UUID_A);
	WAIT(&f, ops_has_step(&f, id, "waiting for memory"));
	fakehost_sample(&f.host, 40000); /* not yet */
	fakehost_sample(&f.host, 70000);
	RUN_TO_END(&f, id, TASK_DONE);
}

static void test_engine__two_creates_do_not_share_memory(void)
{
	WITH_OPS(f);
	struct ops_id a, b;

	ops_define(&f, ops_config(UUID_A, "web"));
	ops_define(&f, ops_config(UUID_B, "db"));
	fakehost_sample(&f.host, 100000); /* enough for one */
	WAIT(&f, f.core->memory.is_known);
	f.host.is_holding = true;
	a = ops_order(&f, TASK_START, UUID_A);
	b = ops_order(&f, TASK_START, UUID_B);
	WAIT(&f, ops_is_ended(&f, b));
	CU_ASSERT_EQUAL(ops_task(&f, b)->code, CODE_RESOURCE_EXHAUSTED);
	CU_ASSERT(ops_has_message(&f, b, "33440 KiB are free"));
	CU_ASSERT(fakehost_release(&f.host));
	RUN_TO_END(&f, a, TASK_DONE);
	CU_ASSERT_EQUAL(memory_available(&f.core->memory), 33440); /* until the next sample */
	fakehost_sample(&f.host, 40000);
	WAIT(&f, memory_available(&f.core->memory) == 40000);
}

/* ---- samples ---- */

static void test_host__samples_get_names(void)
{
	WITH_OPS(f);
	const Xenmesh__V1__HostSample *sample;
	Xenmesh__V1__HostSample *copy;

	ops_define_running(&f);
	fakehost_sample(&f.host, 12345);
	WAIT(&f, topics_get(&f.topics, "host/sample")->event);
	sample = topics_get(&f.topics, "host/sample")->event->host_sample;
	CU_ASSERT_EQUAL(sample->n_domains, 2);
	CU_ASSERT_STRING_EQUAL(sample->domains[0]->uuid, OPS_ZERO_UUID);
	CU_ASSERT_STRING_EQUAL(sample->domains[0]->name, "Domain-0");
	CU_ASSERT_STRING_EQUAL(sample->domains[1]->uuid, UUID_A);
	CU_ASSERT_STRING_EQUAL(sample->domains[1]->name, "web");
	copy = host_copy_sample(&f.core->host);
	CU_ASSERT_PTR_NOT_NULL(copy);
	CU_ASSERT_EQUAL(copy ? copy->free_memory_kib : 0, 12345);
	pb_free((ProtobufCMessage *)copy);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_engine__starts),
		UNIT_TEST(test_engine__starts_paused),
		UNIT_TEST(test_engine__refuses_a_second_start),
		UNIT_TEST(test_engine__shuts_down),
		UNIT_TEST(test_engine__gives_deaf_guests_up),
		UNIT_TEST(test_engine__gives_up_when_not_even_acknowledged),
		UNIT_TEST(test_engine__asks_again_when_asking_fails),
		UNIT_TEST(test_engine__asking_that_fails_lasts_its_time),
		UNIT_TEST(test_engine__guest_that_does_not_listen),
		UNIT_TEST(test_engine__guest_that_has_ended_already),
		UNIT_TEST(test_engine__preserves_when_told_so),
		UNIT_TEST(test_engine__reboots),
		UNIT_TEST(test_engine__creates_when_the_old_one_is_gone),
		UNIT_TEST(test_engine__reboot_of_a_halted_vm_is_refused),
		UNIT_TEST(test_engine__pauses_and_unpauses),
		UNIT_TEST(test_engine__forced_shutdown_of_a_paused_vm_destroys),
		UNIT_TEST(test_engine__destroys),
		UNIT_TEST(test_engine__leaves_dom0_alone),
		UNIT_TEST(test_engine__unmanaged_are_controlled_but_not_kept),
		UNIT_TEST(test_engine__unmanaged_cannot_be_started),
		UNIT_TEST(test_engine__failure_has_the_log),
		UNIT_TEST(test_engine__dead_worker_fails_the_operation),
		UNIT_TEST(test_engine__no_worker_fails_the_operation),
		UNIT_TEST(test_engine__waits_for_the_host),
		UNIT_TEST(test_engine__gives_an_absent_host_up),
		UNIT_TEST(test_engine__keeps_facts_and_converges),
		UNIT_TEST(test_engine__worker_survives_the_host_link),
		UNIT_TEST(test_engine__one_at_a_time_on_a_vm),
		UNIT_TEST(test_engine__different_vms_in_parallel_but_bounded),
		UNIT_TEST(test_engine__guests_ending_hold_no_places),
		UNIT_TEST(test_engine__deaf_guests_delay_nobody),
		UNIT_TEST(test_engine__queue_is_bounded),
		UNIT_TEST(test_engine__refuses_what_does_not_fit),
		UNIT_TEST(test_engine__waits_for_memory_being_freed),
		UNIT_TEST(test_engine__two_creates_do_not_share_memory),
		UNIT_TEST(test_host__samples_get_names),
	};

	log_set_sink(log_swallow);
	return unit_run("ops_engine", tests, ARRAY_LEN(tests));
}
