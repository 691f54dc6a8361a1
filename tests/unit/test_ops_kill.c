/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * SIGKILL of xenmesh-ops at every step of a call and of its operation; the
 * caller repeats the call with the same request id.  Whatever the moment:
 * executed once, and nothing acknowledged is lost.
 */
#include "libcommon/log.h"
#include "tests/unit/ops_process.h"

#define WITH_RESULT(r) _cleanup_(result_deinit) struct ops_result r = { 0 }

static struct uuid new_id(void)
{
	struct uuid id;

	uuid_random(&id);
	return id;
}

static void restart(struct ops_process *p)
{
	process_kill(p);
	process_start(p);
}

static void define(struct ops_process *p)
{
	WITH_RESULT(r);

	CU_ASSERT_EQUAL(process_define(p, UUID_A, "web", NULL, &r), CODE_OK);
}

/* StartVm with that id; the id of the task. */
static void order(struct ops_process *p, const char *method, const struct uuid *id,
		  char task[static 37])
{
	WITH_RESULT(r);

	CU_ASSERT_EQUAL(process_vm_call(p, method, "web", id, &r), CODE_OK);
	snprintf(task, 37, "%s", result_task(&r)->id);
}

static void ends_as(struct ops_process *p, const char *task, int state)
{
	WITH_RESULT(r);
	const Xenmesh__V1__Task *t;

	CU_ASSERT_EQUAL(process_wait(p, task, &r, &t), state);
}

static bool is_running(struct ops_process *p)
{
	int domid = fakehost_find(&p->host, UUID_A);

	return domid >= 0 && p->host.domains[domid].state == POWER_RUNNING;
}

/* StartVm once more, with the id of the call that made `task`: the VM was started, once. */
static void repeat_is_the_same(struct ops_process *p, const struct uuid *id, const char *task)
{
	char again[37];

	order(p, "StartVm", id, again);
	CU_ASSERT_STRING_EQUAL(task, again);
	ends_as(p, task, TASK_DONE);
	CU_ASSERT_EQUAL(p->host.n_creates, 1);
	CU_ASSERT(is_running(p));
}

static void test_kill__definition_is_made_once(void)
{
	WITH_PROCESS(p);
	struct uuid id = new_id();
	WITH_RESULT(first);
	WITH_RESULT(again);
	WITH_RESULT(other);
	const Xenmesh__V1__DefineVmReply *a, *b;

	/* No uuid: executed twice it would be another VM. */
	CU_ASSERT_EQUAL(process_define(&p, "", "web", &id, &first), CODE_OK);
	restart(&p);
	CU_ASSERT_EQUAL(process_define(&p, "", "web", &id, &again), CODE_OK);
	a = (const Xenmesh__V1__DefineVmReply *)first.payload;
	b = (const Xenmesh__V1__DefineVmReply *)again.payload;
	if (a && b) {
		CU_ASSERT_STRING_EQUAL(a->vm->uuid, b->vm->uuid);
	}
	id = new_id();
	CU_ASSERT_EQUAL(process_define(&p, "", "web", &id, &other), CODE_ALREADY_EXISTS);
}

static void test_kill__after_the_answer(void)
{
	WITH_PROCESS(p);
	struct uuid id = new_id();
	char task[37];

	define(&p);
	fakehost_hang_up(&p.host); /* so that it gets no further */
	order(&p, "StartVm", &id, task);
	restart(&p);
	CU_ASSERT_EQUAL(fakehost_listen(&p.host), 0);
	repeat_is_the_same(&p, &id, task);
}

static void test_kill__while_a_worker_is_being_started(void)
{
	WITH_PROCESS(p);
	struct uuid id = new_id();
	char task[37];

	define(&p);
	WAIT(&p, p.host.core);
	p.host.is_not_spawning = true;
	order(&p, "StartVm", &id, task);
	WAIT(&p, p.host.n_spawn_requests == 1);
	process_kill(&p);
	p.host.is_not_spawning = false;
	process_start(&p);
	repeat_is_the_same(&p, &id, task);
}

static void test_kill__while_the_worker_works(void)
{
	WITH_PROCESS(p);
	struct uuid id = new_id();
	char task[37];

	define(&p);
	p.host.is_holding = true;
	order(&p, "StartVm", &id, task);
	WAIT(&p, fakehost_worker(&p.host));
	process_kill(&p);
	p.host.is_holding = false;
	CU_ASSERT(fakehost_release(&p.host));
	process_start(&p);
	repeat_is_the_same(&p, &id, task);
}

static void test_kill__and_the_worker_dies_too(void)
{
	WITH_PROCESS(p);
	struct uuid id = new_id();
	char task[37];
	WITH_RESULT(r);
	const Xenmesh__V1__Task *t;

	define(&p);
	p.host.is_holding = true;
	order(&p, "StartVm", &id, task);
	WAIT(&p, fakehost_worker(&p.host));
	restart(&p);
	order(&p, "StartVm", &id, task);
	CU_ASSERT_EQUAL(process_wait(&p, task, &r, &t), TASK_FAILED);
	if (t) {
		CU_ASSERT_EQUAL(t->error->code, CODE_ABORTED);
		CU_ASSERT_PTR_NOT_NULL(strstr(t->error->message, "ops was restarted"));
	}
	CU_ASSERT_EQUAL(p.host.n_creates, 1);
}

static void test_kill__after_the_end(void)
{
	WITH_PROCESS(p);
	struct uuid id = new_id();
	char task[37];

	define(&p);
	order(&p, "StartVm", &id, task);
	ends_as(&p, task, TASK_DONE);
	restart(&p);
	repeat_is_the_same(&p, &id, task);
}

/* Domains that were ever made for a VM. */
static unsigned int count_creates(const struct ops_process *p, const char *uuid)
{
	unsigned int n = 0;

	for (int i = 0; i < FAKE_DOMAINS; i++) {
		n += streq(p->host.domains[i].uuid, uuid) ? 1 : 0;
	}
	return n;
}

/* The task has ended, as DONE after `wanted` creates; or it says that it was cut off, and then
 * its worker was never given anything. */
static bool ends_well(struct ops_process *p, const char *task, const char *uuid,
		      unsigned int before, unsigned int wanted)
{
	WITH_RESULT(r);
	const Xenmesh__V1__Task *t;
	int state = process_wait(p, task, &r, &t);
	unsigned int creates = count_creates(p, uuid) - before;

	if (state == TASK_DONE) {
		CU_ASSERT_EQUAL(creates, wanted);
		return true;
	}
	CU_ASSERT_EQUAL(state, TASK_FAILED);
	CU_ASSERT_EQUAL(t && t->error ? t->error->code : CODE_OK, CODE_ABORTED);
	CU_ASSERT_EQUAL(creates, 0);
	return false;
}

/* No step in particular: anywhere between the call and the end. */
static void test_kill__at_any_moment(void)
{
	static const struct {
		const char *method;
		unsigned int creates;
	} calls[] = { { "StartVm", 1 }, { "RebootVm", 1 }, { "PauseVm", 0 }, { "DestroyVm", 0 } };
	enum { ROUNDS = 5 };
	WITH_PROCESS(p);
	unsigned int n_done = 0;

	define(&p);
	for (size_t i = 0; i < ROUNDS * ARRAY_LEN(calls); i++) {
		const char *method = calls[i % ARRAY_LEN(calls)].method;
		unsigned int before = count_creates(&p, UUID_A);
		struct uuid id = new_id();
		char task[37];
		WITH_RESULT(r);
		uint16_t random;
		uint64_t call;

		random_bytes(&random, sizeof(random));
		call = process_begin_vm_call(&p, method, "web", &id, &r);
		process_run_for(&p, random % 20000);
		restart(&p);
		process_end_call(&p, call, &r); /* the client repeats it by itself */
		if (r.code != CODE_OK) {	/* the operation before was cut off */
			CU_ASSERT_EQUAL(r.code, CODE_FAILED_PRECONDITION);
			continue;
		}
		order(&p, method, &id, task);
		CU_ASSERT_STRING_EQUAL(task, result_task(&r)->id);
		n_done += ends_well(&p, task, UUID_A, before, calls[i % ARRAY_LEN(calls)].creates);
	}
	CU_ASSERT(n_done > 0);
}

static void test_kill__nothing_is_lost_in_a_crowd(void)
{
	enum { N = 24 };
	WITH_PROCESS(p);
	struct ops_result r[N] = { 0 };
	char uuids[N][37], name[16];
	unsigned int n_done = 0;
	struct uuid ids[N];

	for (int i = 0; i < N; i++) {
		WITH_RESULT(defined);

		snprintf(uuids[i], sizeof(uuids[i]), "aaaaaaaa-0000-4000-8000-%012d", i);
		snprintf(name, sizeof(name), "vm%d", i);
		CU_ASSERT_EQUAL(process_define(&p, uuids[i], name, NULL, &defined), CODE_OK);
	}
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "vm%d", i);
		ids[i] = new_id();
		process_begin_vm_call(&p, "StartVm", name, &ids[i], &r[i]);
	}
	for (int i = 0; i < 5; i++) {
		process_run_for(&p, 15000);
		restart(&p);
	}
	for (int i = 0; i < N; i++) {
		WAIT(&p, r[i].is_there);
		CU_ASSERT_EQUAL(r[i].code, CODE_OK);
		n_done += ends_well(&p, result_task(&r[i])->id, uuids[i], 0, 1);
		result_deinit(&r[i]);
	}
	CU_ASSERT(n_done > N / 2);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_kill__definition_is_made_once),
		UNIT_TEST(test_kill__after_the_answer),
		UNIT_TEST(test_kill__while_a_worker_is_being_started),
		UNIT_TEST(test_kill__while_the_worker_works),
		UNIT_TEST(test_kill__and_the_worker_dies_too),
		UNIT_TEST(test_kill__after_the_end),
		UNIT_TEST(test_kill__at_any_moment),
		UNIT_TEST(test_kill__nothing_is_lost_in_a_crowd),
	};

	return unit_run("ops_kill", tests, ARRAY_LEN(tests));
}
