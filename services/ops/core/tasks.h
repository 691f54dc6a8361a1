/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Tasks: what callers and watchers see of operations, and their journal.
 *
 * A new task is invisible until tasks_show(): its row is written in the
 * transaction of the call that makes it, and only after the commit it becomes
 * visible and may run.  A task whose end cannot be written (disk full) is ended
 * all the same; the row is written as soon as that is possible.
 */
#include <systemd/sd-event.h>

#include "libcommon/list.h"
#include "libcommon/loop.h"
#include "libcommon/map.h"
#include "libcommon/strbuf.h"
#include "libcommon/traceparent.h"
#include "services/ops/core/events.h"
#include "services/ops/core/names.h"
#include "services/ops/core/store.h"

enum task_kind {
	TASK_START,
	TASK_SHUTDOWN,
	TASK_REBOOT,
	TASK_DESTROY,
	TASK_PAUSE,
	TASK_UNPAUSE,
	TASK_POLICY_DESTROY, /* on_poweroff, on_reboot, on_crash */
	TASK_POLICY_RESTART,
	N_TASK_KINDS,
};

struct task {
	char id[37];
	enum task_kind kind;
	char vm[37];
	char *vm_name;
	char *client;
	uint8_t request_id[16]; /* all zero = made by ops itself */
	char traceparent[TRACEPARENT_SIZE];

	int state; /* TASK_PENDING ... */
	double progress;
	char *step; /* NULL = "" */
	uint64_t created_ns, started_ns, finished_ns;
	int code; /* of the failure */
	char *message;
	char **log;
	size_t n_log;
	int32_t domid; /* after the operation */
	bool is_cancellable;

	/* What to do and how far it is; see operation.h. */
	uint32_t timeout_s;
	bool is_forced, is_paused;
	bool is_cancelled; /* a call that cancels it was accepted; for a restart of ops */
	int phase;
	int32_t target_domid; /* -1 = none */
	uint64_t until_ns; /* CLOCK_BOOTTIME of the guest's last moment, or of the end of a delay; 0
			      = none */
	char note[160]; /* becomes the VM's last error although the operation is done; "" = none */

	void *operation; /* the engine's while it has not ended */

	/* private */
	struct tasks *tasks;
	struct list by_age;
	struct list waiters;
	bool is_shown, is_unsaved;
	int64_t ended_boot_ns; /* CLOCK_BOOTTIME of finished_ns; <0 = before the boot */
	uint64_t published_ns; /* CLOCK_BOOTTIME */
	sd_event_source *publish_timer;
};

/* Is told when its task has ended; unlinked before. */
struct task_waiter {
	struct list list;
	void (*fn)(struct task_waiter *w, struct task *task);
};

struct tasks {
	sd_event *loop;
	struct store *store;
	struct events events;
	struct map by_id;
	struct list by_age; /* oldest first */
	size_t n_active, n_ended, n_unsaved;
	struct loop_ticker *ticker;
	uint64_t n_done, n_failed, n_cancelled; /* since the start, for stats */
	uint64_t purged_ns;
};

int tasks_init(struct tasks *t, sd_event *loop, struct store *store, const struct events *events);
/* Waiters are not told. */
void tasks_deinit(struct tasks *t);
/* The journal into an empty table; those that have not ended are left to the caller, oldest
 * first, by on_active. 0 or <0. */
int tasks_load(struct tasks *t, void (*on_active)(struct task *task, void *userdata),
	       void *userdata);

/* Who makes a task. */
struct task_origin {
	const char *client;
	const uint8_t *request_id; /* NULL = ops itself */
	const char *traceparent;   /* one that is not valid: a new trace */
};

/* Invisible and PENDING; NULL when out of memory. */
struct task *tasks_new(struct tasks *t, enum task_kind kind, const char *vm, const char *vm_name,
		       const struct task_origin *origin);
struct task *tasks_discard(struct task *task);
void tasks_show(struct task *task);
/* Write the row as the task is. */
int task_save(struct task *task);
/* Write it now or, when that fails, as soon as it is possible. Whether it was now. */
bool task_save_soon(struct task *task);
/* Write the row as if it had ended so; the task itself stays as it is. */
int task_save_ended(struct task *task, int state, int code, const char *message);

/* Each of these publishes, at most every 200 ms unless the state changes. */
void task_set_running(struct task *task);
void task_set_step(struct task *task, const char *step);
void task_set_progress(struct task *task, double progress);
/* A line for the error's log; the first 50 count. */
void task_add_log(struct task *task, const char *line);
/* DONE, FAILED or CANCELLED; saves, tells the waiters and writes the line of the audit. The task
 * stays for a while but may be freed by any later call of this module. */
void task_end(struct task *task, int state, int code, const char *message);
/* Until trace_leave() the lines of the log are those of the task. */
void task_enter(const struct task *task, struct trace_scope *scope);
static inline bool task_is_ended(const struct task *task)
{
	return task->state != TASK_PENDING && task->state != TASK_RUNNING;
}
void task_wait(struct task *task, struct task_waiter *w);

/* "StartVm" */
const char *task_method(const struct task *task);
/* By id, or a prefix of at least 4 characters that only it has. 0; 1 = none, 2 = several; error
 * gets a sentence then. */
int tasks_find(const struct tasks *t, const char *ref, struct task **out, struct strbuf *error);
/* out and error point into the task. */
void task_fill(const struct task *task, Xenmesh__V1__Task *out, Xenmesh__V1__TaskError *error);
void tasks_stats(const struct tasks *t, bus_stat_fn fn, void *userdata);
