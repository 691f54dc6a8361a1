/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tasks: listing, waiting, cancelling.
 */
#include <stdio.h>

#include "bus/limits.h"
#include "libcommon/uuid.h"
#include "services/ops/core/api.h"
#include "services/ops/core/limits.h"

/* NULL after the call was failed. */
static struct task *find_task(struct core *c, struct bus_call *call, const char *ref)
{
	_cleanup_(strbuf_deinit) struct strbuf error = STRBUF_NULL;
	struct task *task;
	int r = tasks_find(&c->tasks, ref, &task, &error);

	if (r != 0) {
		bus_call_fail(call, r == 2 ? CODE_INVALID_ARGUMENT : CODE_NOT_FOUND, "%s",
			      strbuf_str(&error));
	}
	return task;
}

static void reply_task(struct bus_call *call, const struct task *task)
{
	Xenmesh__V1__TaskError error;
	Xenmesh__V1__Task reply;

	task_fill(task, &reply, &error);
	bus_call_reply(call, &reply.base);
}

void api_get_task(struct bus_call *call, const ProtobufCMessage *request, void *userdata)
{
	const Xenmesh__V1__GetTaskRequest *q = (const void *)request;
	struct task *task = find_task(userdata, call, q->id);

	if (task) {
		reply_task(call, task);
	}
}

/* ---- list ---- */

struct page {
	struct {
		Xenmesh__V1__Task task;
		Xenmesh__V1__TaskError error;
	} * items;
	Xenmesh__V1__Task **pointers;
	size_t n;
};

static int fill_page(struct core *c, const char *vm, bool is_active_only, size_t limit,
		     struct page *page)
{
	const struct list *all = &c->tasks.by_age;
	size_t bytes = 0;

	page->items = calloc(limit, sizeof(*page->items));
	page->pointers = calloc(limit, sizeof(Xenmesh__V1__Task *));
	if (!page->items || !page->pointers) {
		return -ENOMEM;
	}
	for (struct list *i = all->prev; i != all && page->n < limit && bytes < BUS_PAGE_BYTES;
	     i = i->prev) {
		const struct task *task = list_entry(i, struct task, by_age);

		if ((vm && !streq(task->vm, vm)) || (is_active_only && task_is_ended(task))) {
			continue;
		}
		task_fill(task, &page->items[page->n].task, &page->items[page->n].error);
		page->pointers[page->n] = &page->items[page->n].task;
		bytes += protobuf_c_message_get_packed_size(&page->pointers[page->n]->base);
		page->n++;
	}
	return 0;
}

void api_list_tasks(struct bus_call *call, const ProtobufCMessage *request, void *userdata)
{
	const Xenmesh__V1__ListTasksRequest *q = (const void *)request;
	Xenmesh__V1__ListTasksReply reply = XENMESH__V1__LIST_TASKS_REPLY__INIT;
	size_t limit = api_page_limit(call, q->limit);
	struct page page = { 0 };
	const char *uuid = NULL;

	if (limit == 0) {
		return;
	}
	if (uuid_is_canonical(q->vm)) { /* perhaps of a VM that is no more */
		uuid = q->vm;
	} else if (q->vm[0]) {
		const struct vm *vm = api_find_vm(userdata, call, q->vm);

		if (!vm) {
			return;
		}
		uuid = vm->uuid;
	}
	if (fill_page(userdata, uuid, q->active_only, limit, &page) < 0) {
		bus_call_fail(call, CODE_RESOURCE_EXHAUSTED, "out of memory");
	} else {
		reply.tasks = page.pointers;
		reply.n_tasks = page.n;
		bus_call_reply(call, &reply.base);
	}
	free(page.items);
	free(page.pointers);
}

/* ---- wait ---- */

/* Lives in the call's arena. */
struct wait {
	struct task_waiter waiter;
	struct bus_call *call;
};

static void on_task_ended(struct task_waiter *w, struct task *task)
{
	struct wait *wait = container_of(w, struct wait, waiter);

	reply_task(wait->call, task);
}

static void on_caller_gone(struct bus_call *call _unused_, void *userdata)
{
	struct wait *wait = userdata;

	list_unlink(&wait->waiter.list);
}

void api_wait_task(struct bus_call *call, const ProtobufCMessage *request, void *userdata)
{
	const Xenmesh__V1__WaitTaskRequest *q = (const void *)request;
	struct task *task = find_task(userdata, call, q->id);
	struct wait *wait;

	if (!task) {
		return;
	}
	if (task_is_ended(task)) {
		reply_task(call, task);
		return;
	}
	wait = arena_alloc(bus_call_arena(call), sizeof(*wait));
	if (!wait) {
		bus_call_fail(call, CODE_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	wait->call = call;
	wait->waiter.fn = on_task_ended;
	bus_call_on_cancel(call, on_caller_gone, wait);
	task_wait(task, &wait->waiter);
}

/* ---- cancel ---- */

struct cancelled {
	struct core *core;
	struct task *task;
	bool was_cancelled;
	char reason[160];
};

static void on_end(bool is_committed, void *userdata)
{
	struct cancelled *c = userdata;

	if (is_committed) {
		engine_cancel(&c->core->engine, c->task, c->reason);
	} else {
		c->task->is_cancelled = c->was_cancelled;
	}
}

void api_cancel_task(struct bus_call *call, const ProtobufCMessage *request, void *userdata)
{
	const Xenmesh__V1__CancelTaskRequest *q = (const void *)request;
	struct cancelled d = { .core = userdata };
	Xenmesh__V1__TaskError error;
	Xenmesh__V1__Task reply;
	const char *why;
	int r;

	d.task = find_task(d.core, call, q->id);
	if (!d.task) {
		return;
	}
	if (!engine_can_cancel(d.task, &why)) {
		bus_call_fail(call, CODE_FAILED_PRECONDITION, "task %s cannot be cancelled: %s",
			      d.task->id, why);
		return;
	}
	if (!api_begin(d.core, call)) {
		return;
	}
	snprintf(d.reason, sizeof(d.reason), "cancelled by %s", bus_call_client(call));
	d.was_cancelled = d.task->is_cancelled;
	task_fill(d.task, &reply, &error);
	r = store_on_end(d.core->store, on_end, &d);
	if (r == 0 && d.task->state != TASK_PENDING) { /* what a restart has to remember */
		d.task->is_cancelled = true;
		r = task_save(d.task);
	} else if (r == 0) { /* nothing was done: it ends with this */
		r = task_save_ended(d.task, TASK_CANCELLED, CODE_CANCELLED, d.reason);
		reply.state = TASK_CANCELLED;
		reply.error = &error;
		error.code = (Xenmesh__V1__Code)CODE_CANCELLED;
		error.message = d.reason;
	}
	api_finish(d.core, call, r, &reply.base);
}
