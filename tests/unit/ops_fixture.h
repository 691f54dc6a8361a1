/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The core of ops with a fake host process and a table instead of the bus, in
 * one process and one loop.
 */
#include <ftw.h>
#include <stdio.h>

#include "services/ops/core/core.h"
#include "services/ops/core/limits.h"
#include "services/ops/core/vmconfig.h"
#include "tests/unit/ops_events.h"
#include "tests/unit/ops_fakehost.h"
#include "tests/unit/unit.h"

#define UUID_A "aaaaaaaa-0000-4000-8000-000000000001"
#define UUID_B "bbbbbbbb-0000-4000-8000-000000000002"
#define UUID_C "cccccccc-0000-4000-8000-000000000003"

#define WAIT_LIMIT_NS (20 * NSEC_PER_SEC) /* of a test that fails */

struct ops_fixture {
	char dir[64];
	char link[96];
	sd_event *loop;
	struct fakehost host;
	struct core *core;
	struct topic_table topics;
	unsigned int max_workers;
};

/* Run the loop until the condition holds. */
#define WAIT(f, condition)                                         \
	do {                                                       \
		uint64_t until_ = clock_boot_ns() + WAIT_LIMIT_NS; \
		while (!(condition) && clock_boot_ns() < until_) { \
			sd_event_run((f)->loop, 20000);            \
		}                                                  \
		CU_ASSERT(!!(condition));                          \
	} while (0)

/* Run what is due, for things that must not happen. */
static inline void ops_run_for(struct ops_fixture *f, uint64_t ms)
{
	uint64_t until = clock_boot_ns() + ms * NSEC_PER_MSEC;

	while (clock_boot_ns() < until) {
		sd_event_run(f->loop, 5000);
	}
}

static inline void ops_start(struct ops_fixture *f)
{
	const struct core_config config = {
		.state_dir = f->dir,
		.host_link = f->link,
		.max_workers = f->max_workers,
	};
	struct events events = topics_events(&f->topics);

	CU_ASSERT_EQUAL(core_new(&f->core, f->loop, &config), 0);
	CU_ASSERT_EQUAL(core_start(f->core, &events), 0);
	f->core->engine.waits = (struct engine_waits){
		.host_ms = 15000, /* no test fails because the machine is slow */
		.cancel_ms = 200,
		.memory_ms = 300,
		.settle_ms = 2000,
		.recover_none_ms = 150,
		.recover_half_ms = 400,
		.ask_again_ms = 50,
		.dying_ms = 300,
		.store_ms = 500,
		.reboot_delay_ms = 100,
	};
}

/* As SIGKILL would: nothing is written that was not written before. */
static inline void ops_stop(struct ops_fixture *f)
{
	f->core = core_free(f->core);
}

static inline void ops_set_up_stopped(struct ops_fixture *f)
{
	*f = (struct ops_fixture){ .dir = "/tmp/xenmesh-ops-XXXXXX", .max_workers = 4 };
	if (!mkdtemp(f->dir)) {
		abort();
	}
	snprintf(f->link, sizeof(f->link), "%s/link", f->dir);
	CU_ASSERT_EQUAL(sd_event_new(&f->loop), 0);
	CU_ASSERT_EQUAL(fakehost_init(&f->host, f->loop, f->link), 0);
}

static inline void ops_set_up(struct ops_fixture *f)
{
	ops_set_up_stopped(f);
	ops_start(f);
	WAIT(f, f->core->host.is_connected);
}

static inline int ops_remove(const char *path, const struct stat *st _unused_, int flag _unused_,
			     struct FTW *ftw _unused_)
{
	return remove(path);
}

static inline void ops_tear_down(struct ops_fixture *f)
{
	ops_stop(f);
	fakehost_deinit(&f->host);
	topics_deinit(&f->topics);
	sd_event_unref(f->loop);
	nftw(f->dir, ops_remove, 8, FTW_DEPTH | FTW_PHYS);
}

#define WITH_OPS(f)                                    \
	_cleanup_(ops_tear_down) struct ops_fixture f; \
	ops_set_up(&f)

static inline Xenmesh__V1__VmConfig *ops_config(const char *uuid, const char *name)
{
	Xenmesh__V1__VmConfig *c = vmconfig_new();

	pb_set(&c->uuid, uuid);
	pb_set(&c->name, name);
	pb_set(&c->kernel, "/boot/vmlinuz");
	c->type = VM_TYPE_PV;
	c->vcpus = 1;
	c->memory_kib = 65536;
	return c;
}

/* Stored and in the table. */
static inline void ops_define(struct ops_fixture *f, Xenmesh__V1__VmConfig *config)
{
	_cleanup_(xfreep) uint8_t *bytes = NULL;
	size_t len;

	CU_ASSERT_EQUAL(pb_pack(&config->base, &bytes, &len), 0);
	CU_ASSERT_EQUAL(store_vm_put(f->core->store, config->uuid, bytes, len, 0), 0);
	CU_ASSERT_EQUAL(vms_define(&f->core->vms, config, STORE_DESIRED_UNKNOWN), 0);
}

/* The id must not point into a task that a restart frees. */
struct ops_id {
	char text[37];
};

/* As a call would: stored, shown, queued. */
static inline struct ops_id ops_submit(struct ops_fixture *f, enum task_kind kind, const char *uuid,
				       uint32_t timeout_s, bool is_forced, bool is_paused)
{
	struct vm *vm = vms_get(&f->core->vms, uuid);
	static const uint8_t request_id[16] = "request";
	const struct task_origin origin = { .client = "test", .request_id = request_id };
	struct task *task = tasks_new(&f->core->tasks, kind, uuid, vm ? vm_name(vm) : "?", &origin);
	struct ops_id id;

	task->timeout_s = timeout_s;
	task->is_forced = is_forced;
	task->is_paused = is_paused;
	CU_ASSERT_EQUAL(task_save(task), 0);
	if (kind == TASK_DESTROY) {
		CU_ASSERT_EQUAL(engine_save_overtaken(&f->core->engine, vm), 0);
	}
	tasks_show(task);
	CU_ASSERT_EQUAL(engine_submit(&f->core->engine, task), 0);
	snprintf(id.text, sizeof(id.text), "%s", task->id);
	return id;
}

static inline struct ops_id ops_order(struct ops_fixture *f, enum task_kind kind, const char *uuid)
{
	return ops_submit(f, kind, uuid, 60, false, false);
}

static inline const struct task *ops_task(struct ops_fixture *f, struct ops_id id)
{
	static const struct task none = {
		.state = -1,
		.client = (char *)"",
		.message = (char *)"",
		.step = (char *)"",
	};
	struct task *task = map_get_str(&f->core->tasks.by_id, id.text);

	return task ? task : &none;
}

static inline int ops_state(struct ops_fixture *f, struct ops_id id)
{
	return ops_task(f, id)->state;
}

static inline bool ops_is_ended(struct ops_fixture *f, struct ops_id id)
{
	int state = ops_state(f, id);

	return state == TASK_DONE || state == TASK_FAILED || state == TASK_CANCELLED;
}

/* Run the loop until the task has ended, and with that state. */
#define RUN_TO_END(f, id, want)                          \
	do {                                             \
		WAIT(f, ops_is_ended(f, id));            \
		CU_ASSERT_EQUAL(ops_state(f, id), want); \
	} while (0)

/* Until it runs. */
static inline void ops_power_on(struct ops_fixture *f, const char *uuid)
{
	struct ops_id id = ops_order(f, TASK_START, uuid);

	RUN_TO_END(f, id, TASK_DONE);
}

/* UUID_A, the VM most tests are about, is "web" and runs. */
static inline void ops_define_running(struct ops_fixture *f)
{
	ops_define(f, ops_config(UUID_A, "web"));
	ops_power_on(f, UUID_A);
}

/* TASK_SHUTDOWN or TASK_REBOOT of UUID_A. */
static inline struct ops_id ops_shut_down(struct ops_fixture *f, enum task_kind kind,
					  uint32_t timeout_s, bool is_forced)
{
	return ops_submit(f, kind, UUID_A, timeout_s, is_forced, false);
}

/* What is published of a VM. */
static inline const Xenmesh__V1__VmState *ops_vm(struct ops_fixture *f, const char *uuid)
{
	static const Xenmesh__V1__VmState none = XENMESH__V1__VM_STATE__INIT;
	struct topic_record *r;
	char topic[64];

	snprintf(topic, sizeof(topic), "vm/%s/state", uuid);
	r = topics_get(&f->topics, topic);
	return r->event ? r->event->vm_state : &none;
}

static inline bool ops_has_step(struct ops_fixture *f, struct ops_id id, const char *part)
{
	const struct task *task = ops_task(f, id);

	return task->step && strstr(task->step, part);
}

static inline bool ops_has_message(struct ops_fixture *f, struct ops_id id, const char *part)
{
	const struct task *task = ops_task(f, id);

	return task->message && strstr(task->message, part);
}
