/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A VM with operations has a queue; its first operation is the one under way.
 * Operations begin in on_kick(), from the loop.
 */
#include "services/ops/core/engine.h"

#include <stdio.h>

#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "services/ops/core/limits.h"
#include "services/ops/core/policy.h"

struct queue {
	struct list list; /* in engine.queues */
	struct list operations;
	struct vm *vm;
	size_t n;
};

static struct operation *head(const struct queue *q)
{
	return list_first(&q->operations, struct operation, in_queue);
}

/* The operation under way, NULL before its first one begins. */
static struct operation *current(const struct queue *q)
{
	struct operation *op = head(q);

	return op && op->is_begun ? op : NULL;
}

/* ---- turns and places ---- */

static void admit(struct lane *lane)
{
	struct operation *op;

	while (lane->n < lane->max &&
	       (op = list_first(&lane->waiting, struct operation, in_line))) {
		list_unlink(&op->in_line);
		operation_go_on(op);
	}
}

static int on_kick(sd_event_source *s _unused_, void *userdata)
{
	struct engine *e = userdata;
	struct operation *op;

	admit(&e->acting);
	admit(&e->asking);
	list_for_each_safe (i, &e->queues) {
		op = head(list_entry(i, struct queue, list));
		if (op && !op->is_begun) {
			vms_set_operation(op->vm, op->vm->queue, op->task->id, op->vm->last_error);
			e->n_operations++;
			operation_begin(op); /* may end it, and its queue */
		}
	}
	return 0;
}

static void kick(struct engine *e)
{
	if (loop_defer(e->loop, &e->kick, on_kick, e) < 0) {
		log_error("out of memory: operations are delayed");
	}
}

bool engine_take_place(struct engine *e, struct operation *op)
{
	struct lane *lane = op->phase == PHASE_ASK ? &e->asking : &e->acting;
	bool is_urgent = op->phase == PHASE_DESTROY; /* it frees what others wait for */

	list_unlink(&op->in_line);
	if (lane->n < lane->max) {
		op->lane = lane;
		lane->n++;
		return true;
	}
	list_append(is_urgent ? lane->waiting.next : &lane->waiting, &op->in_line);
	return false;
}

void engine_leave_place(struct engine *e, struct operation *op)
{
	list_unlink(&op->in_line);
	if (op->lane) {
		op->lane->n--;
		if (!list_is_empty(&op->lane->waiting)) {
			kick(e);
		}
		op->lane = NULL;
	}
}

/* ---- queues ---- */

static bool is_destroy(const struct operation *op)
{
	return op->task->kind == TASK_DESTROY || op->task->kind == TASK_POLICY_DESTROY;
}

static struct queue *queue_of(struct engine *e, struct vm *vm)
{
	struct queue *q = vm->queue;

	if (!q) {
		q = calloc(1, sizeof(*q));
		if (!q) {
			return NULL;
		}
		q->vm = vm;
		list_init(&q->operations);
		list_append(&e->queues, &q->list);
		vms_set_operation(vm, q, vm->task_id, vm->last_error);
	}
	return q;
}

static void free_queue(struct queue *q)
{
	list_unlink(&q->list);
	free(q);
}

/* NULL: out of memory, the task was ended. */
static struct operation *enqueue(struct engine *e, struct task *task)
{
	struct operation *op = calloc(1, sizeof(*op));
	struct vm *vm = op ? vms_hold(e->vms, task->vm) : NULL;
	struct queue *q = vm ? queue_of(e, vm) : NULL;

	if (!q) {
		free(op);
		task_end(task, TASK_FAILED, CODE_RESOURCE_EXHAUSTED, "out of memory");
		return NULL;
	}
	op->engine = e;
	op->task = task;
	op->vm = vm;
	task->operation = op;
	list_append(&q->operations, &op->in_queue);
	q->n++;
	kick(e);
	return op;
}

static void overtake(struct vm *vm, const struct operation *by);

int engine_submit(struct engine *e, struct task *task)
{
	struct operation *op = enqueue(e, task);

	if (!op) {
		return -ENOMEM;
	}
	if (task->kind == TASK_DESTROY) {
		overtake(op->vm, op);
	}
	return 0;
}

/* It is stopped as soon as its turn shows how far it came. */
static void mark_cancelled(struct operation *op, int code, const char *reason)
{
	op->is_cancelled = true;
	op->cancel_code = code;
	snprintf(op->cancel_reason, sizeof(op->cancel_reason), "%s", reason);
}

/* The destroy had overtaken them before ops was stopped. */
static void overtake_again(const struct operation *by)
{
	const struct queue *q = by->vm->queue;
	char reason[128];

	snprintf(reason, sizeof(reason), "overtaken by the destroy of task %.36s", by->task->id);
	list_for_each (i, &q->operations) {
		struct operation *op = list_entry(i, struct operation, in_queue);

		if (!is_destroy(op)) {
			mark_cancelled(op, CODE_ABORTED, reason);
		}
	}
}

int engine_recover(struct engine *e, struct task *task)
{
	struct operation *op = enqueue(e, task);

	if (!op) {
		return -ENOMEM;
	}
	op->is_recovered = task->state == TASK_RUNNING && task->phase != PHASE_NONE;
	if (task->is_cancelled) {
		mark_cancelled(op, CODE_CANCELLED, "cancelled before ops was restarted");
	}
	if (task->kind == TASK_DESTROY) {
		overtake_again(op);
	}
	e->n_recovered++;
	return 0;
}

void engine_operation_ended(struct engine *e, struct operation *op, const char *last_error)
{
	struct vm *vm = op->vm;
	struct queue *q = vm->queue;
	bool was_head = head(q) == op;

	engine_leave_place(e, op);
	operation_free(op);
	q->n--;
	if (q->n == 0) {
		free_queue(q);
		vms_set_operation(vm, NULL, "", last_error);
		return;
	}
	if (was_head) {
		vms_set_operation(vm, q, "", last_error);
		kick(e);
	}
}

/* ---- before a call is accepted ---- */

static bool is_full(const struct engine *e, const struct queue *q, int *code, char *buffer,
		    size_t size)
{
	*code = CODE_RESOURCE_EXHAUSTED;
	if (q && q->n >= OPS_QUEUE_MAX) {
		snprintf(buffer, size,
			 "%zu operations wait for this VM already; wait for them, cancel some, "
			 "or destroy the VM",
			 q->n);
		return true;
	}
	if (e->tasks->n_active >= OPS_ACTIVE_MAX) {
		snprintf(buffer, size,
			 "%zu operations are under way or waiting already; wait until some have "
			 "ended, or cancel some",
			 e->tasks->n_active);
		return true;
	}
	return false;
}

/* A destroy overtakes the rest, so it is never one too many; but one after another is of no use. */
static bool is_doubled(const struct queue *q, int *code, char *buffer, size_t size)
{
	const struct operation *last = q ? list_entry(q->operations.prev, struct operation,
						      in_queue)
					 : NULL;

	if (!last || last->task->kind != TASK_DESTROY) {
		return false;
	}
	*code = CODE_ALREADY_EXISTS;
	snprintf(buffer, size, "task %s destroys it already; wait for that one", last->task->id);
	return true;
}

const char *engine_refuse(struct engine *e, const struct vm *vm, enum task_kind kind,
			  bool is_forced, int *code, char *buffer, size_t size)
{
	const struct queue *q = vm->queue;

	if (kind == TASK_DESTROY ? is_doubled(q, code, buffer, size)
				 : is_full(e, q, code, buffer, size)) {
		return buffer;
	}
	if (vm_is_dom0(vm) || (!q && e->host->is_connected)) {
		if (operation_judge(vm, kind, is_forced, vm_domid(vm), code, buffer, size) ==
		    VERDICT_REFUSED) {
			return buffer;
		}
	}
	return NULL;
}

/* ---- cancelling ---- */

int engine_save_overtaken(struct engine *e _unused_, struct vm *vm)
{
	struct queue *q = vm->queue;
	int r = 0;

	if (!q) {
		return 0;
	}
	list_for_each (i, &q->operations) {
		struct operation *op = list_entry(i, struct operation, in_queue);

		if (r == 0 && !op->is_begun && !is_destroy(op)) {
			r = task_save_ended(op->task, TASK_CANCELLED, CODE_ABORTED,
					    "overtaken by a destroy");
		}
	}
	return r;
}

static struct operation *next_victim(const struct queue *q)
{
	list_for_each (i, &q->operations) {
		struct operation *op = list_entry(i, struct operation, in_queue);

		if (!is_destroy(op) && !op->is_cancelled) {
			return op;
		}
	}
	return NULL;
}

/* `by` is in the queue already, so that what ends here gives way to nothing else. */
static void overtake(struct vm *vm, const struct operation *by)
{
	struct operation *victim;
	char reason[128];

	snprintf(reason, sizeof(reason), "overtaken by the destroy of task %.36s", by->task->id);
	while ((victim = next_victim(vm->queue))) {
		operation_cancel(victim, CODE_ABORTED, reason, true);
	}
}

bool engine_can_cancel(const struct task *task, const char **why)
{
	if (task_is_ended(task)) {
		*why = "it has ended already";
	} else if (!task->is_cancellable && task->state == TASK_RUNNING) {
		*why = "what it does now cannot be stopped half-way";
	} else {
		return true;
	}
	return false;
}

void engine_cancel(struct engine *e _unused_, struct task *task, const char *reason)
{
	if (task->operation) {
		operation_cancel(task->operation, CODE_CANCELLED, reason, false);
	}
}

/* ---- policy ---- */

static void follow_policy(struct engine *e, struct vm *vm, const struct policy_decision *decision)
{
	const Xenmesh__Host__Domain *d = vm_domain(vm);
	enum task_kind kind = decision->action == POLICY_RESTART ? TASK_POLICY_RESTART
								 : TASK_POLICY_DESTROY;
	struct task *task = tasks_new(e->tasks, kind, vm->uuid, vm_name(vm),
				      &(struct task_origin){ .client = "policy" });
	_cleanup_(trace_leave) struct trace_scope scope;
	uint64_t delay_ms = decision->delay_ms;

	trace_enter(&scope, task ? task->traceparent : NULL, task ? task->id : NULL);
	if (!task) {
		e->is_policy_due = true;
		return;
	}
	task->target_domid = (int32_t)d->domid;
	if (delay_ms) {
		delay_ms = e->waits.reboot_delay_ms ? e->waits.reboot_delay_ms : delay_ms;
		task->until_ns = clock_boot_ns() + delay_ms * NSEC_PER_MSEC;
	}
	snprintf(task->note, sizeof(task->note), "%s", decision->note);
	if (!task_save_soon(task) && !task->note[0]) {
		/* After a restart the host shows the cause still. */
		snprintf(task->note, sizeof(task->note), "%.*s", (int)sizeof(task->note) - 1,
			 store_error(e->store));
	}
	log_fields(LOG_LEVEL_INFO, LOG_FIELDS({ "VM", vm->uuid }),
		   "domain %u of %s has shut down: %s", d->domid, vm_name(vm),
		   decision->note[0]		 ? decision->note
		   : kind == TASK_POLICY_RESTART ? "it is restarted"
						 : "it is destroyed");
	vm->policy_domid = (int32_t)d->domid;
	e->n_policy++;
	tasks_show(task);
	enqueue(e, task);
}

void engine_consider_policy(struct engine *e, const char *uuid)
{
	struct vm *vm = vms_get(e->vms, uuid);
	struct policy_decision decision;

	if (!vm || vm->queue || !e->host->is_connected) {
		return;
	}
	decision = policy_decide(vm, vm_clock_ns(vm));
	if (decision.action != POLICY_NONE) {
		follow_policy(e, vm, &decision);
	}
}

static void consider_all(struct engine *e)
{
	_cleanup_(xfreep) struct vm **all = NULL;
	size_t n;

	if (vms_sorted(e->vms, &all, &n) < 0) {
		e->is_policy_due = true;
		return;
	}
	for (size_t i = 0; i < n; i++) { /* only adds operations: no VM goes */
		engine_consider_policy(e, all[i]->uuid);
	}
}

static int on_tick(void *userdata)
{
	struct engine *e = userdata;

	if (e->is_policy_due) {
		e->is_policy_due = false;
		consider_all(e);
	}
	return 0;
}

/* ---- facts ---- */

void engine_on_vm(struct engine *e, struct vm *vm)
{
	struct operation *op = vm->queue ? current(vm->queue) : NULL;

	if (op) {
		operation_look(op, HOST_NEWS_DOMAIN);
	} else {
		engine_consider_policy(e, vm->uuid);
	}
}

void engine_on_news(struct engine *e, enum host_news news)
{
	list_for_each_safe (i, &e->queues) {
		struct operation *op = current(list_entry(i, struct queue, list));

		if (op) {
			operation_look(op, news); /* may end it, and its queue */
		}
	}
	if (news == HOST_NEWS_LINK && e->host->is_connected) {
		consider_all(e);
	}
}

/* ---- life ---- */

int engine_init(struct engine *e)
{
	static const struct engine_waits waits = {
		.host_ms = OPS_HOST_WAIT_MS,
		.cancel_ms = OPS_CANCEL_WAIT_MS,
		.memory_ms = OPS_MEMORY_WAIT_MS,
		.settle_ms = OPS_SETTLE_WAIT_MS,
		.recover_none_ms = OPS_RECOVER_NONE_MS,
		.recover_half_ms = OPS_RECOVER_HALF_MS,
		.ask_again_ms = OPS_ASK_AGAIN_MS,
		.dying_ms = OPS_DYING_WAIT_MS,
		.store_ms = OPS_STORE_WAIT_MS,
	};

	e->waits = waits;
	list_init(&e->queues);
	list_init(&e->acting.waiting);
	list_init(&e->asking.waiting);
	e->acting.max = e->max_workers;
	e->asking.max = OPS_ASKING_MAX;
	return loop_ticker_new(&e->ticker, e->loop, USEC_PER_SEC, on_tick, e);
}

void engine_deinit(struct engine *e)
{
	e->ticker = loop_ticker_free(e->ticker);
	e->kick = sd_event_source_disable_unref(e->kick);
	for (struct queue *q; (q = list_first(&e->queues, struct queue, list));) {
		for (struct operation *op; (op = head(q));) {
			operation_free(op);
		}
		q->vm->queue = NULL;
		free_queue(q);
	}
}

void engine_stats(const struct engine *e, bus_stat_fn fn, void *userdata)
{
	fn("operations.begun", e->n_operations, userdata);
	fn("operations.policy", e->n_policy, userdata);
	fn("operations.recovered", e->n_recovered, userdata);
	fn("operations.workers", e->acting.n, userdata);
	fn("operations.asking", e->asking.n, userdata);
}
