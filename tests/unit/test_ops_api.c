/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every method of xenmesh-ops, as a client sees it.
 */
#include <sys/resource.h>

#include "tests/unit/ops_process.h"

#define WITH_RESULT(r) _cleanup_(result_deinit) struct ops_result r = { 0 }

/* The fields of a message, or of an empty one. */
#define PAYLOAD(type, Type, r)                                                   \
	({                                                                       \
		static const Xenmesh__V1__##Type none_ = type;                   \
		(r).payload ? (const Xenmesh__V1__##Type *)(r).payload : &none_; \
	})

static const Xenmesh__V1__VmState *state_of(const struct ops_result *r)
{
	return PAYLOAD(XENMESH__V1__VM_STATE__INIT, VmState, *r);
}

static const Xenmesh__V1__HostState *host_of(const struct ops_result *r)
{
	static const Xenmesh__V1__HostState none = XENMESH__V1__HOST_STATE__INIT;
	const Xenmesh__V1__GetHostReply *reply = PAYLOAD(XENMESH__V1__GET_HOST_REPLY__INIT,
							 GetHostReply, *r);

	return reply->state ? reply->state : &none;
}

static void wait_for_host(struct ops_process *p)
{
	WAIT(p, p->host.core && p->host.n_hellos > 0);
	for (;;) { /* until ops knows the table */
		Xenmesh__V1__GetHostRequest q = XENMESH__V1__GET_HOST_REQUEST__INIT;
		WITH_RESULT(r);

		process_call(p, "GetHost", &q.base, NULL, &r);
		if (r.code != CODE_OK || !r.payload || host_of(&r)->connected) {
			CU_ASSERT_EQUAL(r.code, CODE_OK);
			return;
		}
	}
}

static int get(struct ops_process *p, const char *vm, struct ops_result *r)
{
	result_deinit(r);
	return process_vm_call(p, "GetVm", vm, NULL, r);
}

static void has_message(const struct ops_result *r, const char *part)
{
	if (!strstr(r->message, part)) {
		printf("no \"%s\" in \"%s\"\n", part, r->message);
	}
	CU_ASSERT_PTR_NOT_NULL(strstr(r->message, part));
}

static void runs(struct ops_process *p, const char *method, const char *vm)
{
	WITH_RESULT(r);
	WITH_RESULT(w);
	const Xenmesh__V1__Task *t;

	CU_ASSERT_EQUAL(process_vm_call(p, method, vm, NULL, &r), CODE_OK);
	CU_ASSERT_EQUAL(process_wait(p, result_task(&r)->id, &w, &t), TASK_DONE);
}

/* ---- define ---- */

static int define_text(struct ops_process *p, bool is_xl, const char *text, bool is_dry_run,
		       bool is_replacing, struct ops_result *r)
{
	Xenmesh__V1__DefineVmRequest q = XENMESH__V1__DEFINE_VM_REQUEST__INIT;
	ProtobufCBinaryData bytes = { .data = (uint8_t *)text, .len = strlen(text) };

	if (is_xl) {
		q.source_case = XENMESH__V1__DEFINE_VM_REQUEST__SOURCE_XL_CFG;
		q.xl_cfg = bytes;
	} else {
		q.source_case = XENMESH__V1__DEFINE_VM_REQUEST__SOURCE_VM_FILE;
		q.vm_file = bytes;
	}
	q.dry_run = is_dry_run;
	q.replace = is_replacing;
	result_deinit(r);
	process_call(p, "DefineVm", &q.base, NULL, r);
	return r->code;
}

static const Xenmesh__V1__DefineVmReply *defined(const struct ops_result *r)
{
	static Xenmesh__V1__VmState empty = XENMESH__V1__VM_STATE__INIT;
	static Xenmesh__V1__DefineVmReply none = XENMESH__V1__DEFINE_VM_REPLY__INIT;

	none.vm = &empty;
	return r->payload ? (const Xenmesh__V1__DefineVmReply *)r->payload : &none;
}

static const char vm_file[] = "[vm]\nname=web\ntype=pvh\nvcpus=2\nmemory=64M\nkernel=/k\n"
			      "[vif 0]\nbridge=xenbr0\n";

static void test_api__defines_from_files(void)
{
	WITH_PROCESS(p);
	WITH_RESULT(r);
	const Xenmesh__V1__VmConfig *c;
	char mac[32];

	CU_ASSERT_EQUAL(define_text(&p, false, vm_file, true, false, &r), CODE_OK);
	CU_ASSERT_STRING_EQUAL(defined(&r)->vm->name, "web");
	CU_ASSERT_EQUAL(get(&p, "web", &r), CODE_NOT_FOUND); /* that was a dry run */
	has_message(&r, "there is no VM \"web\"");

	CU_ASSERT_EQUAL(define_text(&p, false, vm_file, false, false, &r), CODE_OK);
	CU_ASSERT_EQUAL(strlen(defined(&r)->vm->uuid), 36);
	CU_ASSERT(defined(&r)->vm->managed);
	CU_ASSERT_EQUAL(defined(&r)->n_warnings, 0);
	CU_ASSERT_EQUAL(get(&p, "web", &r), CODE_OK);
	c = state_of(&r)->config;
	CU_ASSERT(c && c->vcpus == 2 && c->n_vifs == 1);
	snprintf(mac, sizeof(mac), "%s", c && c->n_vifs == 1 ? c->vifs[0]->mac : "");
	CU_ASSERT_NSTRING_EQUAL(mac, "00:16:3e:", 9);

	{
		char text[256];

		snprintf(text, sizeof(text),
			 "name='old'\nmemory=64\nkernel='/k'\nvnc=1\nvif=['mac=%s,model=e1000']\n",
			 mac);
		CU_ASSERT_EQUAL(define_text(&p, true, text, false, false, &r), CODE_OK);
	}
	CU_ASSERT_EQUAL(defined(&r)->n_warnings, 3);
	if (defined(&r)->n_warnings == 3) {
		CU_ASSERT_STRING_EQUAL(
			defined(&r)->warnings[0],
			"vif[0]: parameter model is not understood and has no effect");
		CU_ASSERT_STRING_EQUAL(defined(&r)->warnings[1],
				       "file key vnc is not understood and has no effect");
		CU_ASSERT_NSTRING_EQUAL(defined(&r)->warnings[2], "vifs[0].mac: VM web has 00:16",
					20);
	}
}

static void test_api__tells_everything_that_is_wrong(void)
{
	WITH_PROCESS(p);
	WITH_RESULT(r);

	CU_ASSERT_EQUAL(
		define_text(&p, false, "[vm]\nname=a b\nvcpus=0\nvif=3\n", false, false, &r),
		CODE_INVALID_ARGUMENT);
	has_message(&r, "vm_file:4: [vm] has no key vif");
	CU_ASSERT_EQUAL(define_text(&p, false, "[vm]\nname=a b\nvcpus=0\n[vif 0]\nmac=x\n", false,
				    false, &r),
			CODE_INVALID_ARGUMENT);
	has_message(&r, "name: \"a b\" has characters");
	has_message(&r, "vcpus: is missing");
	has_message(&r, "vifs[0].mac: ");
	has_message(&r, "kernel: is missing");
	CU_ASSERT_EQUAL(define_text(&p, true, "name='x'\nmemory=64\nbootloader='pygrub'\n", false,
				    false, &r),
			CODE_INVALID_ARGUMENT);
	has_message(&r, "kernel: is missing");
	has_message(&r, "bootloader is not understood");
	{
		Xenmesh__V1__DefineVmRequest q = XENMESH__V1__DEFINE_VM_REQUEST__INIT;

		q.dry_run = true;
		process_call(&p, "DefineVm", &q.base, NULL, &r);
	}
	CU_ASSERT_EQUAL(r.code, CODE_INVALID_ARGUMENT);
}

static void test_api__redefines_only_on_request(void)
{
	WITH_PROCESS(p);
	WITH_RESULT(r);
	char uuid[37];

	CU_ASSERT_EQUAL(define_text(&p, false, vm_file, false, false, &r), CODE_OK);
	snprintf(uuid, sizeof(uuid), "%s", defined(&r)->vm->uuid);
	CU_ASSERT_EQUAL(define_text(&p, false, vm_file, false, false, &r), CODE_ALREADY_EXISTS);
	wait_for_host(&p);
	CU_ASSERT_EQUAL(define_text(&p, false, vm_file, false, true, &r), CODE_OK);
	CU_ASSERT_STRING_EQUAL(defined(&r)->vm->uuid, uuid); /* by its name */

	result_deinit(&r);
	CU_ASSERT_EQUAL(process_define(&p, UUID_A, "web", NULL, &r), CODE_ALREADY_EXISTS);
	has_message(&r, "the name \"web\" belongs to VM");
	runs(&p, "StartVm", "web");
	CU_ASSERT_EQUAL(define_text(&p, false, vm_file, false, true, &r), CODE_FAILED_PRECONDITION);
	has_message(&r, "is not halted, it is domain 1");
	CU_ASSERT_EQUAL(process_vm_call(&p, "UndefineVm", "web", NULL, &r),
			CODE_FAILED_PRECONDITION);
	runs(&p, "DestroyVm", "web");
	CU_ASSERT_EQUAL(process_vm_call(&p, "UndefineVm", "web", NULL, &r), CODE_OK);
	result_deinit(&r);
	CU_ASSERT_EQUAL(process_vm_call(&p, "UndefineVm", "web", NULL, &r), CODE_NOT_FOUND);
}

static void test_api__uuid_in_capitals_is_the_same_vm(void)
{
	static const char cfg[] = "name='other'\nmemory=64\nkernel='/k'\n"
				  "uuid='AAAAAAAA-0000-4000-8000-000000000001'\n";
	WITH_PROCESS(p);
	WITH_RESULT(r);

	CU_ASSERT_EQUAL(process_define(&p, UUID_A, "web", NULL, &r), CODE_OK);
	wait_for_host(&p);
	runs(&p, "StartVm", "web");
	CU_ASSERT_EQUAL(define_text(&p, true, cfg, false, false, &r), CODE_ALREADY_EXISTS);
	CU_ASSERT_EQUAL(define_text(&p, true, cfg, false, true, &r), CODE_FAILED_PRECONDITION);
	has_message(&r, "is not halted, it is domain 1");
	runs(&p, "DestroyVm", "web");
	CU_ASSERT_EQUAL(define_text(&p, true, cfg, false, true, &r), CODE_OK);
	CU_ASSERT_STRING_EQUAL(defined(&r)->vm->uuid, UUID_A);
	CU_ASSERT_EQUAL(get(&p, UUID_A, &r), CODE_OK);
	CU_ASSERT_STRING_EQUAL(state_of(&r)->name, "other");
}

static void test_api__undefine_needs_the_host(void)
{
	WITH_PROCESS(p);
	WITH_RESULT(r);

	CU_ASSERT_EQUAL(define_text(&p, false, vm_file, false, false, &r), CODE_OK);
	wait_for_host(&p);
	fakehost_hang_up(&p.host);
	process_run_for(&p, 50000);
	result_deinit(&r);
	CU_ASSERT_EQUAL(process_vm_call(&p, "UndefineVm", "web", NULL, &r), CODE_UNAVAILABLE);
}

static void test_api__adopts_a_running_domain(void)
{
	WITH_PROCESS(p);
	WITH_RESULT(r);

	fakehost_add(&p.host, UUID_A, "web", POWER_RUNNING);
	wait_for_host(&p);
	CU_ASSERT_EQUAL(get(&p, "web", &r), CODE_OK);
	CU_ASSERT(!state_of(&r)->managed);
	result_deinit(&r);
	CU_ASSERT_EQUAL(process_vm_call(&p, "UndefineVm", "web", NULL, &r),
			CODE_FAILED_PRECONDITION);
	CU_ASSERT_EQUAL(process_define(&p, UUID_A, "web", NULL, &r), CODE_OK);
	CU_ASSERT_EQUAL(defined(&r)->vm->domid, 1);
	CU_ASSERT_EQUAL(defined(&r)->n_warnings, 1);
	if (defined(&r)->n_warnings == 1) {
		CU_ASSERT_NSTRING_EQUAL(defined(&r)->warnings[0],
					"the VM runs already, as domain 1", 32);
	}
	CU_ASSERT_EQUAL(get(&p, "1", &r), CODE_OK);
	CU_ASSERT(state_of(&r)->managed);
	CU_ASSERT_EQUAL(state_of(&r)->power_state, POWER_RUNNING);
}

/* ---- operations ---- */

static void test_api__runs_a_life(void)
{
	WITH_PROCESS(p);
	WITH_RESULT(r);

	CU_ASSERT_EQUAL(process_define(&p, UUID_A, "web", NULL, &r), CODE_OK);
	wait_for_host(&p);
	runs(&p, "StartVm", "web");
	CU_ASSERT_EQUAL(get(&p, "web", &r), CODE_OK);
	CU_ASSERT_EQUAL(state_of(&r)->power_state, POWER_RUNNING);
	result_deinit(&r);
	CU_ASSERT_EQUAL(process_vm_call(&p, "StartVm", "web", NULL, &r), CODE_FAILED_PRECONDITION);
	has_message(&r, "web: the VM is running already, as domain 1");
	runs(&p, "PauseVm", "web");
	CU_ASSERT_EQUAL(get(&p, "web", &r), CODE_OK);
	CU_ASSERT_EQUAL(state_of(&r)->power_state, POWER_PAUSED);
	runs(&p, "UnpauseVm", "web");
	runs(&p, "RebootVm", "web");
	CU_ASSERT_EQUAL(get(&p, "web", &r), CODE_OK);
	CU_ASSERT_EQUAL(state_of(&r)->domid, 2);
	runs(&p, "ShutdownVm", "web");
	CU_ASSERT_EQUAL(get(&p, "web", &r), CODE_OK);
	CU_ASSERT_EQUAL(state_of(&r)->power_state, POWER_HALTED);
	runs(&p, "StartVm", "web");
	runs(&p, "DestroyVm", UUID_A);
	CU_ASSERT_EQUAL(p.host.n_creates, 3);
}

static void test_api__refuses_early(void)
{
	WITH_PROCESS(p);
	WITH_RESULT(r);
	Xenmesh__V1__ShutdownVmRequest q = XENMESH__V1__SHUTDOWN_VM_REQUEST__INIT;
	char longest[400];

	CU_ASSERT_EQUAL(process_define(&p, UUID_A, "web", NULL, &r), CODE_OK);
	wait_for_host(&p);
	result_deinit(&r);
	CU_ASSERT_EQUAL(process_vm_call(&p, "DestroyVm", "0", NULL, &r), CODE_FAILED_PRECONDITION);
	has_message(&r, "dom0");
	CU_ASSERT_EQUAL(process_vm_call(&p, "PauseVm", "web", NULL, &r), CODE_FAILED_PRECONDITION);
	has_message(&r, "is halted");
	CU_ASSERT_EQUAL(process_vm_call(&p, "RebootVm", "web", NULL, &r), CODE_FAILED_PRECONDITION);
	CU_ASSERT_EQUAL(process_vm_call(&p, "StartVm", "", NULL, &r), CODE_INVALID_ARGUMENT);
	CU_ASSERT_EQUAL(process_vm_call(&p, "StartVm", "nobody", NULL, &r), CODE_NOT_FOUND);
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	CU_ASSERT_EQUAL(process_vm_call(&p, "StartVm", longest, NULL, &r), CODE_INVALID_ARGUMENT);
	q.vm = (char *)"web";
	q.timeout_s = 3601;
	process_call(&p, "ShutdownVm", &q.base, NULL, &r);
	CU_ASSERT_EQUAL(r.code, CODE_INVALID_ARGUMENT);
	has_message(&r, "timeout_s: 3601 is more than 3600");
	fakehost_add(&p.host, UUID_B, "web", POWER_RUNNING);
	WAIT(&p, get(&p, UUID_B, &r) == CODE_OK);
	CU_ASSERT_EQUAL(get(&p, "web", &r), CODE_INVALID_ARGUMENT);
	has_message(&r, "\"web\" stands for more than one VM");
	has_message(&r, UUID_B " (web, domid 1)");
}

/* ---- tasks ---- */

static void test_api__lists_waits_and_cancels(void)
{
	WITH_PROCESS(p);
	WITH_RESULT(start);
	WITH_RESULT(wait);
	WITH_RESULT(r);
	Xenmesh__V1__WaitTaskRequest w = XENMESH__V1__WAIT_TASK_REQUEST__INIT;
	Xenmesh__V1__CancelTaskRequest c = XENMESH__V1__CANCEL_TASK_REQUEST__INIT;
	Xenmesh__V1__GetTaskRequest g = XENMESH__V1__GET_TASK_REQUEST__INIT;
	Xenmesh__V1__ListTasksRequest l = XENMESH__V1__LIST_TASKS_REQUEST__INIT;
	const Xenmesh__V1__ListTasksReply *list;
	char prefix[9];

	CU_ASSERT_EQUAL(process_define(&p, UUID_A, "web", NULL, &r), CODE_OK);
	wait_for_host(&p);
	p.host.is_holding = true;
	CU_ASSERT_EQUAL(process_vm_call(&p, "StartVm", "web", NULL, &start), CODE_OK);
	CU_ASSERT_EQUAL(result_task(&start)->state, TASK_PENDING);
	CU_ASSERT_STRING_EQUAL(result_task(&start)->method, "StartVm");
	CU_ASSERT_EQUAL(result_task(&start)->request_id.len, 16);
	CU_ASSERT_NSTRING_EQUAL(result_task(&start)->client, "test/1 uid=", 11);
	WAIT(&p, fakehost_worker(&p.host));

	snprintf(prefix, sizeof(prefix), "%.8s", result_task(&start)->id);
	g.id = prefix;
	result_deinit(&r);
	process_call(&p, "GetTask", &g.base, NULL, &r);
	CU_ASSERT_EQUAL(result_task(&r)->state, TASK_RUNNING);
	CU_ASSERT(result_task(&r)->cancellable);
	g.id = (char *)"abc";
	result_deinit(&r);
	process_call(&p, "GetTask", &g.base, NULL, &r);
	CU_ASSERT_EQUAL(r.code, CODE_NOT_FOUND);

	l.active_only = true;
	l.vm = (char *)"web";
	process_call(&p, "ListTasks", &l.base, NULL, &r);
	list = PAYLOAD(XENMESH__V1__LIST_TASKS_REPLY__INIT, ListTasksReply, r);
	CU_ASSERT_EQUAL(list->n_tasks, 1);

	w.id = prefix;
	process_begin_call(&p, "WaitTask", &w.base, NULL, &wait);
	process_run_for(&p, 50000);
	CU_ASSERT(!wait.is_there);
	c.id = prefix;
	result_deinit(&r);
	process_call(&p, "CancelTask", &c.base, NULL, &r);
	CU_ASSERT_EQUAL(r.code, CODE_OK);
	WAIT(&p, wait.is_there);
	CU_ASSERT_EQUAL(result_task(&wait)->state, TASK_CANCELLED);
	CU_ASSERT_PTR_NOT_NULL(result_task(&wait)->error);
	if (result_task(&wait)->error) {
		CU_ASSERT_EQUAL(result_task(&wait)->error->code, CODE_CANCELLED);
		CU_ASSERT_NSTRING_EQUAL(result_task(&wait)->error->message,
					"cancelled by test/1 uid=", 24);
	}
	result_deinit(&r);
	process_call(&p, "CancelTask", &c.base, NULL, &r);
	CU_ASSERT_EQUAL(r.code, CODE_FAILED_PRECONDITION);
	has_message(&r, "has ended already");

	process_call(&p, "ListTasks", &l.base, NULL, &r);
	list = PAYLOAD(XENMESH__V1__LIST_TASKS_REPLY__INIT, ListTasksReply, r);
	CU_ASSERT_EQUAL(list->n_tasks, 0);
	l.limit = 501;
	result_deinit(&r);
	process_call(&p, "ListTasks", &l.base, NULL, &r);
	CU_ASSERT_EQUAL(r.code, CODE_INVALID_ARGUMENT);
}

static void wait_for_facts(struct ops_process *p, const char *vm)
{
	WITH_RESULT(r);

	do {
		fakehost_sample(&p->host, 1 << 20); /* it is heard of */
		CU_ASSERT_EQUAL(get(p, vm, &r), CODE_OK);
	} while (r.code == CODE_OK && state_of(&r)->stale_ms > 0);
}

/* What is known stays to be seen, and its age with it. */
static void test_api__tells_that_facts_are_old(void)
{
	Xenmesh__V1__ListVmsRequest list = XENMESH__V1__LIST_VMS_REQUEST__INIT;
	Xenmesh__V1__GetHostRequest host = XENMESH__V1__GET_HOST_REQUEST__INIT;
	WITH_PROCESS(p);
	WITH_RESULT(r);
	const Xenmesh__V1__ListVmsReply *vms;

	fakehost_add(&p.host, UUID_B, "xl", POWER_RUNNING);
	wait_for_host(&p);
	wait_for_facts(&p, "xl");
	fakehost_hang_up(&p.host);
	do {
		result_deinit(&r);
		process_call(&p, "GetHost", &host.base, NULL, &r);
	} while (r.code == CODE_OK && host_of(&r)->connected);
	CU_ASSERT(PAYLOAD(XENMESH__V1__GET_HOST_REPLY__INIT, GetHostReply, r)->stale_ms > 0);
	CU_ASSERT_STRING_EQUAL(host_of(&r)->hostname, "fake");
	CU_ASSERT_EQUAL(get(&p, "xl", &r), CODE_OK);
	CU_ASSERT_EQUAL(state_of(&r)->power_state, POWER_RUNNING);
	CU_ASSERT(state_of(&r)->stale_ms > 0);
	result_deinit(&r);
	process_call(&p, "ListVms", &list.base, NULL, &r);
	vms = PAYLOAD(XENMESH__V1__LIST_VMS_REPLY__INIT, ListVmsReply, r);
	CU_ASSERT_EQUAL(vms->n_vms, 2);
	for (size_t i = 0; i < vms->n_vms; i++) {
		CU_ASSERT(vms->vms[i]->stale_ms > 0);
	}
	CU_ASSERT_EQUAL(fakehost_listen(&p.host), 0);
	wait_for_facts(&p, "xl");
}

static void test_api__waiting_has_a_deadline(void)
{
	WITH_PROCESS(p);
	WITH_RESULT(start);
	WITH_RESULT(r);
	Xenmesh__V1__WaitTaskRequest w = XENMESH__V1__WAIT_TASK_REQUEST__INIT;
	const struct bus_call_options options = { .timeout_ms = 200 };

	CU_ASSERT_EQUAL(process_define(&p, UUID_A, "web", NULL, &r), CODE_OK);
	wait_for_host(&p);
	p.host.is_holding = true;
	CU_ASSERT_EQUAL(process_vm_call(&p, "StartVm", "web", NULL, &start), CODE_OK);
	w.id = result_task(&start)->id;
	result_deinit(&r);
	r = (struct ops_result){ 0 };
	CU_ASSERT_EQUAL(bus_client_call(p.client, "xenmesh.v1.Ops/WaitTask", &w.base, &options,
					process_on_result, &r, NULL),
			0);
	WAIT(&p, r.is_there);
	CU_ASSERT_EQUAL(r.code, CODE_DEADLINE_EXCEEDED);
	WAIT(&p, fakehost_worker(&p.host));
	CU_ASSERT(fakehost_release(&p.host)); /* its end finds no waiter any more */
	CU_ASSERT_EQUAL(process_wait(&p, w.id, &r, &(const Xenmesh__V1__Task *){ NULL }),
			TASK_DONE);
}

static void test_api__cancels_a_waiting_task_for_good(void)
{
	WITH_PROCESS(p);
	WITH_RESULT(first);
	WITH_RESULT(second);
	WITH_RESULT(r);
	Xenmesh__V1__CancelTaskRequest c = XENMESH__V1__CANCEL_TASK_REQUEST__INIT;
	const Xenmesh__V1__Task *t;

	CU_ASSERT_EQUAL(process_define(&p, UUID_A, "web", NULL, &r), CODE_OK);
	wait_for_host(&p);
	p.host.is_holding = true;
	CU_ASSERT_EQUAL(process_vm_call(&p, "StartVm", "web", NULL, &first), CODE_OK);
	WAIT(&p, fakehost_worker(&p.host));
	CU_ASSERT_EQUAL(process_vm_call(&p, "PauseVm", "web", NULL, &second), CODE_OK);
	c.id = result_task(&second)->id;
	result_deinit(&r);
	process_call(&p, "CancelTask", &c.base, NULL, &r);
	CU_ASSERT_EQUAL(result_task(&r)->state, TASK_CANCELLED);
	process_kill(&p);
	CU_ASSERT(fakehost_release(&p.host));
	process_start(&p);
	result_deinit(&r);
	CU_ASSERT_EQUAL(process_wait(&p, result_task(&first)->id, &r, &t), TASK_DONE);
	result_deinit(&r);
	CU_ASSERT_EQUAL(process_wait(&p, c.id, &r, &t), TASK_CANCELLED);
	CU_ASSERT_EQUAL(p.host.n_acts, 0);
}

static void test_api__remembers_that_it_cancels(void)
{
	WITH_PROCESS(p);
	WITH_RESULT(reboot);
	WITH_RESULT(r);
	Xenmesh__V1__CancelTaskRequest c = XENMESH__V1__CANCEL_TASK_REQUEST__INIT;
	const Xenmesh__V1__Task *t;

	CU_ASSERT_EQUAL(process_define(&p, UUID_A, "web", NULL, &r), CODE_OK);
	wait_for_host(&p);
	runs(&p, "StartVm", "web");
	p.host.is_holding = p.host.is_worker_stubborn = true;
	CU_ASSERT_EQUAL(process_vm_call(&p, "RebootVm", "web", NULL, &reboot), CODE_OK);
	WAIT(&p, fakehost_worker(&p.host));
	c.id = result_task(&reboot)->id;
	result_deinit(&r);
	process_call(&p, "CancelTask", &c.base, NULL, &r);
	CU_ASSERT_EQUAL(r.code, CODE_OK);
	CU_ASSERT_EQUAL(result_task(&r)->state, TASK_RUNNING); /* its worker has not obeyed */
	process_kill(&p);
	p.host.is_holding = false;
	process_start(&p);
	result_deinit(&r);
	CU_ASSERT_EQUAL(process_wait(&p, c.id, &r, &t), TASK_CANCELLED);
	CU_ASSERT_EQUAL(p.host.n_asks, 1);
	CU_ASSERT_EQUAL(p.host.n_destroys, 0);
}

/* ---- lists, host ---- */

static void test_api__lists_in_pages(void)
{
	WITH_PROCESS(p);
	WITH_RESULT(r);
	Xenmesh__V1__ListVmsRequest q = XENMESH__V1__LIST_VMS_REQUEST__INIT;
	const Xenmesh__V1__ListVmsReply *list;
	char uuid[37], name[16], last[37];
	size_t n = 0;

	for (int i = 0; i < 7; i++) {
		snprintf(uuid, sizeof(uuid), "aaaaaaaa-0000-4000-8000-%012d", i);
		snprintf(name, sizeof(name), "vm%d", i);
		result_deinit(&r);
		CU_ASSERT_EQUAL(process_define(&p, uuid, name, NULL, &r), CODE_OK);
	}
	wait_for_host(&p);
	q.limit = 3;
	do {
		result_deinit(&r);
		process_call(&p, "ListVms", &q.base, NULL, &r);
		list = PAYLOAD(XENMESH__V1__LIST_VMS_REPLY__INIT, ListVmsReply, r);
		CU_ASSERT(list->n_vms > 0);
		for (size_t i = 0; i < list->n_vms; i++, n++) {
			CU_ASSERT(strcmp(q.after_uuid, list->vms[i]->uuid) < 0);
			snprintf(last, sizeof(last), "%s", list->vms[i]->uuid);
			q.after_uuid = last;
		}
	} while (list->more);
	CU_ASSERT_EQUAL(n, 8); /* and dom0 */
	q.limit = 501;
	result_deinit(&r);
	process_call(&p, "ListVms", &q.base, NULL, &r);
	CU_ASSERT_EQUAL(r.code, CODE_INVALID_ARGUMENT);
}

static void test_api__tells_of_the_host(void)
{
	WITH_PROCESS(p);
	WITH_RESULT(r);
	Xenmesh__V1__GetHostRequest q = XENMESH__V1__GET_HOST_REQUEST__INIT;
	const Xenmesh__V1__GetHostReply *host;

	CU_ASSERT_EQUAL(process_define(&p, UUID_A, "web", NULL, &r), CODE_OK);
	wait_for_host(&p);
	fakehost_sample(&p.host, 4711);
	q.sample = true;
	do {
		result_deinit(&r);
		process_call(&p, "GetHost", &q.base, NULL, &r);
		host = PAYLOAD(XENMESH__V1__GET_HOST_REPLY__INIT, GetHostReply, r);
	} while (r.code == CODE_OK && !host->sample);
	CU_ASSERT_EQUAL(r.code, CODE_OK);
	if (host->sample) {
		CU_ASSERT_STRING_EQUAL(host->state->hostname, "fake");
		CU_ASSERT(host->state->connected);
		CU_ASSERT_EQUAL(host->vms_defined, 1);
		CU_ASSERT_EQUAL(host->domains, 1);
		CU_ASSERT_EQUAL(host->sample->free_memory_kib, 4711);
	}
}

/* ---- the process ---- */

static void test_api__a_request_id_is_for_one_request(void)
{
	WITH_PROCESS(p);
	WITH_RESULT(r);
	struct uuid id;

	uuid_random(&id);
	CU_ASSERT_EQUAL(process_define(&p, UUID_A, "web", &id, &r), CODE_OK);
	result_deinit(&r);
	CU_ASSERT_EQUAL(process_define(&p, UUID_A, "other", &id, &r), CODE_INVALID_ARGUMENT);
	CU_ASSERT_EQUAL(get(&p, "other", &r), CODE_NOT_FOUND);
	/* A refusal is repeated, too, although it could be done by now. */
	uuid_random(&id);
	CU_ASSERT_EQUAL(process_vm_call(&p, "StartVm", "new", &id, &r), CODE_NOT_FOUND);
	CU_ASSERT_EQUAL(process_define(&p, UUID_B, "new", NULL, &r), CODE_OK);
	result_deinit(&r);
	CU_ASSERT_EQUAL(process_vm_call(&p, "StartVm", "new", &id, &r), CODE_NOT_FOUND);
}

static void test_api__a_damaged_store_is_told_and_left(void)
{
	WITH_PROCESS(p);
	WITH_RESULT(r);
	char path[128];
	FILE *file;

	CU_ASSERT_EQUAL(process_define(&p, UUID_A, "web", NULL, &r), CODE_OK);
	CU_ASSERT_EQUAL(process_stop(&p), 0);
	snprintf(path, sizeof(path), "%s/ops.db", p.state);
	file = fopen(path, "w");
	CU_ASSERT_PTR_NOT_NULL(file);
	if (!file) {
		return;
	}
	fputs("this is no database at all, whatever its name says, and it is long enough for the "
	      "header of one, which has a hundred bytes",
	      file);
	fclose(file);
	fakehost_add(&p.host, UUID_B, "xl", POWER_RUNNING);
	process_start(&p);
	wait_for_host(&p);
	CU_ASSERT_EQUAL(get(&p, "xl", &r), CODE_OK); /* what is on the host is still seen */
	result_deinit(&r);
	CU_ASSERT_EQUAL(process_vm_call(&p, "PauseVm", "xl", NULL, &r), CODE_DATA_LOSS);
	has_message(&r, "nothing was done: the store");
	has_message(&r, "restore the file from a backup or move it away");
	CU_ASSERT_EQUAL(p.host.n_acts, 0);
}

/* RLIMIT_FSIZE stands for a disk that takes nothing more. */
static void limit_files(struct ops_process *p, rlim_t bytes)
{
	const struct rlimit limit = { .rlim_cur = bytes, .rlim_max = RLIM_INFINITY };

	/* Of process 0 it would be our own. */
	CU_ASSERT(p->pid > 0 && prlimit(p->pid, RLIMIT_FSIZE, &limit, NULL) == 0);
}

static void test_api__a_full_disk_refuses_changes_only(void)
{
	WITH_PROCESS(p);
	WITH_RESULT(r);
	struct uuid id;

	CU_ASSERT_EQUAL(process_define(&p, UUID_A, "web", NULL, &r), CODE_OK);
	wait_for_host(&p);
	limit_files(&p, 0);
	uuid_random(&id);
	result_deinit(&r);
	CU_ASSERT_EQUAL(process_vm_call(&p, "StartVm", "web", &id, &r), CODE_INTERNAL);
	has_message(&r, "nothing was done: the store");
	CU_ASSERT_EQUAL(process_define(&p, UUID_B, "db", NULL, &r), CODE_INTERNAL);
	CU_ASSERT_EQUAL(get(&p, "db", &r), CODE_NOT_FOUND);
	CU_ASSERT_EQUAL(get(&p, "web", &r), CODE_OK);
	CU_ASSERT_EQUAL(state_of(&r)->power_state, POWER_HALTED);
	CU_ASSERT_EQUAL(process_vm_call(&p, "StartVm", "nobody", NULL, &r), CODE_NOT_FOUND);
	CU_ASSERT_EQUAL(p.host.n_spawned, 0);

	limit_files(&p, RLIM_INFINITY); /* there is room again: the same request goes through */
	result_deinit(&r);
	CU_ASSERT_EQUAL(process_vm_call(&p, "StartVm", "web", &id, &r), CODE_OK);
	WAIT(&p, fakehost_find(&p.host, UUID_A) >= 0);
	CU_ASSERT_EQUAL(p.host.n_creates, 1);
}

/* What was accepted before the disk was full waits for the journal, and is not lost. */
static void test_api__an_accepted_operation_waits_for_the_journal(void)
{
	WITH_PROCESS(p);
	WITH_RESULT(start);
	WITH_RESULT(r);
	const Xenmesh__V1__Task *t;

	CU_ASSERT_EQUAL(process_define(&p, UUID_A, "web", NULL, &r), CODE_OK);
	wait_for_host(&p);
	p.host.is_not_spawning = true;
	CU_ASSERT_EQUAL(process_vm_call(&p, "StartVm", "web", NULL, &start), CODE_OK);
	WAIT(&p, p.host.n_spawn_requests == 1);
	limit_files(&p, 0);
	p.host.is_not_spawning = false;
	fakehost_hang_up(&p.host); /* it asks for a worker again, gets one, and cannot note it */
	CU_ASSERT_EQUAL(fakehost_listen(&p.host), 0);
	WAIT(&p, p.host.n_spawned == 1);
	process_run_for(&p, 1300000); /* it tries again each second, but without a worker */
	CU_ASSERT_EQUAL(p.host.n_spawned, 1);
	CU_ASSERT_EQUAL(p.host.n_creates, 0);
	limit_files(&p, RLIM_INFINITY);
	CU_ASSERT_EQUAL(process_wait(&p, result_task(&start)->id, &r, &t), TASK_DONE);
	CU_ASSERT_EQUAL(p.host.n_creates, 1);
}

static void test_api__one_process_owns_the_store(void)
{
	WITH_PROCESS(p);
	WITH_RESULT(r);
	pid_t first;
	int status;

	CU_ASSERT_EQUAL(process_define(&p, UUID_A, "web", NULL, &r), CODE_OK);
	first = p.pid;
	process_start(&p);
	waitpid(p.pid, &status, 0);
	CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	p.pid = first;
	CU_ASSERT_EQUAL(get(&p, "web", &r), CODE_OK);
	CU_ASSERT_EQUAL(process_stop(&p), 0);
}

static void test_api__wrong_options_are_refused(void)
{
	WITH_PROCESS(p);
	static const char *const wrong[][2] = {
		{ "--workers", "0" },	{ "--workers", "65" }, { "--workers", "x" },
		{ "--host-uid", "-1" }, { "--nonsense", "1" }, { "--state-dir", NULL },
	};

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		char *const argv[] = { p.program, (char *)wrong[i][0], (char *)wrong[i][1], NULL };
		posix_spawn_file_actions_t actions;
		pid_t pid = 0;
		int status = 0;

		posix_spawn_file_actions_init(&actions);
		posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
		CU_ASSERT_EQUAL(posix_spawn(&pid, p.program, &actions, NULL, argv, environ), 0);
		waitpid(pid, &status, 0);
		CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 2);
		posix_spawn_file_actions_destroy(&actions);
	}
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_api__defines_from_files),
		UNIT_TEST(test_api__tells_everything_that_is_wrong),
		UNIT_TEST(test_api__redefines_only_on_request),
		UNIT_TEST(test_api__uuid_in_capitals_is_the_same_vm),
		UNIT_TEST(test_api__undefine_needs_the_host),
		UNIT_TEST(test_api__adopts_a_running_domain),
		UNIT_TEST(test_api__runs_a_life),
		UNIT_TEST(test_api__refuses_early),
		UNIT_TEST(test_api__lists_waits_and_cancels),
		UNIT_TEST(test_api__tells_that_facts_are_old),
		UNIT_TEST(test_api__waiting_has_a_deadline),
		UNIT_TEST(test_api__cancels_a_waiting_task_for_good),
		UNIT_TEST(test_api__remembers_that_it_cancels),
		UNIT_TEST(test_api__lists_in_pages),
		UNIT_TEST(test_api__tells_of_the_host),
		UNIT_TEST(test_api__a_request_id_is_for_one_request),
		UNIT_TEST(test_api__a_damaged_store_is_told_and_left),
		UNIT_TEST(test_api__a_full_disk_refuses_changes_only),
		UNIT_TEST(test_api__an_accepted_operation_waits_for_the_journal),
		UNIT_TEST(test_api__one_process_owns_the_store),
		UNIT_TEST(test_api__wrong_options_are_refused),
	};

	signal(SIGXFSZ, SIG_IGN); /* also in the processes that are started */
	return unit_run("ops_api", tests, ARRAY_LEN(tests));
}
