/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The methods that make a task for a VM.
 */
#include <stdio.h>

#include "libcommon/log.h"
#include "services/ops/core/api.h"
#include "services/ops/core/limits.h"

struct order {
	enum task_kind kind;
	uint32_t timeout_s;
	bool is_forced, is_paused;
	enum store_desired desired; /* UNKNOWN = as before */
};

/* What hangs on the commit. */
struct accepted {
	struct core *core;
	struct task *task;
	struct vm *vm;
	enum store_desired desired;
};

static void on_end(bool is_committed, void *userdata)
{
	struct accepted *a = userdata;
	struct engine *e = &a->core->engine;

	if (!is_committed) {
		a->task = tasks_discard(a->task);
		return;
	}
	if (a->desired != STORE_DESIRED_UNKNOWN) {
		a->vm->desired = a->desired;
	}
	tasks_show(a->task);
	if (engine_submit(e, a->task) < 0) {
		log_error("out of memory: task %s was ended", a->task->id);
	}
}

static int write_rows(struct accepted *a)
{
	struct core *c = a->core;
	int r = task_save(a->task);

	if (r == 0 && a->desired != STORE_DESIRED_UNKNOWN) {
		r = store_vm_set_desired(c->store, a->vm->uuid, a->desired);
	}
	if (r == 0 && a->task->kind == TASK_DESTROY) {
		r = engine_save_overtaken(&c->engine, a->vm);
	}
	return r;
}

static struct task *make_task(struct core *c, struct bus_call *call, const struct vm *vm,
			      const struct order *order)
{
	const struct task_origin origin = {
		.client = bus_call_client(call),
		.request_id = bus_call_request_id(call),
		.traceparent = bus_call_traceparent(call),
	};
	struct task *task = tasks_new(&c->tasks, order->kind, vm->uuid, vm_name(vm), &origin);

	if (task) {
		task->timeout_s = order->timeout_s;
		task->is_forced = order->is_forced;
		task->is_paused = order->is_paused;
	}
	return task;
}

static void operate(struct bus_call *call, struct core *c, const char *ref,
		    const struct order *order)
{
	struct vm *vm = api_find_vm(c, call, ref);
	struct accepted a = { .core = c, .vm = vm };
	Xenmesh__V1__TaskError error;
	Xenmesh__V1__Task reply;
	char buffer[512];
	const char *why;
	int code, r;

	if (!vm) {
		return;
	}
	why = engine_refuse(&c->engine, vm, order->kind, order->is_forced, &code, buffer,
			    sizeof(buffer));
	if (why) {
		bus_call_fail(call, (enum bus_code)code, "%s: %s", vm_name(vm), why);
		return;
	}
	if (!api_begin(c, call)) {
		return;
	}
	a.desired = vm->config ? order->desired : STORE_DESIRED_UNKNOWN;
	a.task = make_task(c, call, vm, order);
	r = a.task ? store_on_end(c->store, on_end, &a) : -ENOMEM;
	if (r < 0) {
		a.task = tasks_discard(a.task);
		api_finish(c, call, r, NULL);
		return;
	}
	r = write_rows(&a);
	task_fill(a.task, &reply, &error);
	api_finish(c, call, r, &reply.base);
}

void api_start_vm(struct bus_call *call, const ProtobufCMessage *request, void *userdata)
{
	const Xenmesh__V1__StartVmRequest *q = (const void *)request;
	const struct order order = {
		.kind = TASK_START,
		.is_paused = q->paused,
		.desired = STORE_DESIRED_RUNNING,
	};

	operate(call, userdata, q->vm, &order);
}

/* Shutdown and reboot. */
static void end_guest(struct bus_call *call, struct core *c, const char *ref, uint32_t timeout_s,
		      struct order *order)
{
	if (timeout_s > OPS_SHUTDOWN_MAX_S) {
		bus_call_fail(call, CODE_INVALID_ARGUMENT, "timeout_s: %u is more than %d",
			      timeout_s, OPS_SHUTDOWN_MAX_S);
		return;
	}
	order->timeout_s = timeout_s ? timeout_s : OPS_SHUTDOWN_DEFAULT_S;
	operate(call, c, ref, order);
}

void api_shutdown_vm(struct bus_call *call, const ProtobufCMessage *request, void *userdata)
{
	const Xenmesh__V1__ShutdownVmRequest *q = (const void *)request;
	struct order order = {
		.kind = TASK_SHUTDOWN,
		.is_forced = q->force,
		.desired = STORE_DESIRED_HALTED,
	};

	end_guest(call, userdata, q->vm, q->timeout_s, &order);
}

void api_reboot_vm(struct bus_call *call, const ProtobufCMessage *request, void *userdata)
{
	const Xenmesh__V1__RebootVmRequest *q = (const void *)request;
	struct order order = {
		.kind = TASK_REBOOT,
		.is_forced = q->force,
		.desired = STORE_DESIRED_RUNNING,
	};

	end_guest(call, userdata, q->vm, q->timeout_s, &order);
}

void api_destroy_vm(struct bus_call *call, const ProtobufCMessage *request, void *userdata)
{
	const Xenmesh__V1__DestroyVmRequest *q = (const void *)request;
	const struct order order = { .kind = TASK_DESTROY, .desired = STORE_DESIRED_HALTED };

	operate(call, userdata, q->vm, &order);
}

void api_pause_vm(struct bus_call *call, const ProtobufCMessage *request, void *userdata)
{
	const Xenmesh__V1__PauseVmRequest *q = (const void *)request;
	const struct order order = { .kind = TASK_PAUSE };

	operate(call, userdata, q->vm, &order);
}

void api_unpause_vm(struct bus_call *call, const ProtobufCMessage *request, void *userdata)
{
	const Xenmesh__V1__UnpauseVmRequest *q = (const void *)request;
	const struct order order = { .kind = TASK_UNPAUSE };

	operate(call, userdata, q->vm, &order);
}
