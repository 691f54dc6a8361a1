/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "services/ops/core/core.h"

#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/uuid.h"
#include "services/ops/core/vmconfig.h"

/* ---- connections between the modules ---- */

static void on_vm_change(struct vm *vm, void *userdata)
{
	struct core *c = userdata;

	engine_on_vm(&c->engine, vm);
}

static void on_news(enum host_news news, void *userdata)
{
	struct core *c = userdata;

	engine_on_news(&c->engine, news);
}

static int on_host_message(Xenmesh__Host__FromHost *message, void *userdata)
{
	struct core *c = userdata;

	return host_on_message(&c->host, message);
}

static void on_host_link(bool is_up, void *userdata)
{
	struct core *c = userdata;

	host_on_link(&c->host, is_up);
}

static const struct hostlink_handler host_handler = {
	.on_message = on_host_message,
	.on_link = on_host_link,
};

/* ---- loading ---- */

static int load_vm(const char *uuid, const void *bytes, size_t len, enum store_desired desired,
		   void *userdata)
{
	struct core *c = userdata;
	Xenmesh__V1__VmConfig *config = xenmesh__v1__vm_config__unpack(NULL, len, bytes);

	if (!config || !streq(config->uuid, uuid) || !uuid_is_canonical(uuid)) {
		log_error("the definition of VM %s cannot be read and is left out", uuid);
		vmconfig_free(config);
		return 0;
	}
	return vms_define(&c->vms, config, desired);
}

static void load_task(struct task *task, void *userdata)
{
	struct core *c = userdata;

	engine_recover(&c->engine, task);
}

/* What was wrong with VMs before the restart is still wrong. */
static void restore_errors(struct core *c)
{
	list_for_each (i, &c->tasks.by_age) {
		struct task *task = list_entry(i, struct task, by_age);
		struct vm *vm = vms_get(&c->vms, task->vm);
		const char *why = task->state == TASK_FAILED ? task->message
				  : task->note[0]	     ? task->note
							     : NULL;

		/* One that was cancelled while it waited says nothing of the VM. */
		if (vm && task_is_ended(task) && task->started_ns && (why || vm->last_error)) {
			vms_set_operation(vm, vm->queue, vm->task_id, why);
		}
	}
}

static int load(struct core *c)
{
	int r = store_vm_each(c->store, load_vm, c);

	if (r == 0) {
		r = tasks_load(&c->tasks, load_task, c);
	}
	if (r < 0 && !store_fault(c->store)) {
		return err_trace(r);
	}
	restore_errors(c);
	return 0; /* a damaged store was told of; what is on the host can still be seen */
}

int core_start(struct core *c, const struct events *events)
{
	const struct hostlink_config link = {
		.path = c->config.host_link,
		.uid = c->config.host_uid,
		.handler = &host_handler,
		.userdata = c,
	};
	int r;

	c->vms.events = *events;
	c->tasks.events = *events;
	r = host_init(&c->host, &c->vms, &c->memory, events, on_news, c);
	if (r == 0) {
		r = load(c);
	}
	if (r == 0) {
		r = hostlink_new(&c->hostlink, c->loop, &link);
		c->engine.hostlink = c->hostlink;
	}
	return r < 0 ? err_trace(r) : 0;
}

int core_new(struct core **out, sd_event *loop, const struct core_config *config)
{
	static const struct events none;
	_cleanup_(core_freep) struct core *c = calloc(1, sizeof(*c));
	int r;

	if (!c) {
		return -ENOMEM;
	}
	c->loop = loop;
	c->config = *config;
	memory_init(&c->memory);
	vms_init(&c->vms, &none, on_vm_change, c);
	c->engine = (struct engine){
		.loop = loop,
		.vms = &c->vms,
		.tasks = &c->tasks,
		.host = &c->host,
		.memory = &c->memory,
		.max_workers = config->max_workers,
	};
	r = engine_init(&c->engine);
	if (r == 0) {
		r = store_open(&c->store, config->state_dir);
	}
	if (r == 0) {
		c->engine.store = c->store;
		r = tasks_init(&c->tasks, loop, c->store, &none);
	}
	if (r < 0) {
		return r;
	}
	*out = STEAL(c);
	return 0;
}

struct core *core_free(struct core *c)
{
	if (c) {
		engine_deinit(&c->engine);
		c->hostlink = hostlink_free(c->hostlink);
		tasks_deinit(&c->tasks);
		host_deinit(&c->host);
		vms_deinit(&c->vms);
		memory_deinit(&c->memory);
		c->store = store_close(c->store);
		free(c);
	}
	return NULL;
}

void core_stats(void *userdata, bus_stat_fn fn, void *fn_userdata)
{
	const struct core *c = userdata;

	fn("vms.defined", vms_n_defined(&c->vms), fn_userdata);
	fn("vms.domains", vms_n_domains(&c->vms), fn_userdata);
	store_stats(c->store, fn, fn_userdata);
	tasks_stats(&c->tasks, fn, fn_userdata);
	engine_stats(&c->engine, fn, fn_userdata);
	host_stats(&c->host, fn, fn_userdata);
	hostlink_stats(c->hostlink, fn, fn_userdata);
}
