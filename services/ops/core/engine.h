/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Runs operations: one at a time on a VM, in the order of the calls; different
 * VMs in parallel, with a bound on workers.  Those that ask a guest to end do
 * nothing but wait for its answer, up to a minute: they are bounded apart, so
 * that guests which do not answer delay nobody else.  Also decides what happens to
 * managed domains that shut down by themselves (policy.h) and what became of
 * operations that were under way when ops was killed.
 *
 * What runs was stored before (task_save(), committed): submit after the commit
 * only.  Operations start from the loop, never within a call of this module.
 */
#include <systemd/sd-event.h>

#include "services/ops/core/host.h"
#include "services/ops/core/hostlink.h"
#include "services/ops/core/memory.h"
#include "services/ops/core/operation.h"
#include "services/ops/core/store.h"
#include "services/ops/core/tasks.h"
#include "services/ops/core/vms.h"

/* The waits of operation.c, changeable for tests; from limits.h otherwise. */
struct engine_waits {
	uint64_t host_ms, cancel_ms, memory_ms, settle_ms, recover_none_ms, recover_half_ms;
	uint64_t ask_again_ms, dying_ms, store_ms;
	uint64_t reboot_delay_ms; /* replaces the policy's when not 0 */
};

/* Workers at work at once, and the operations that wait for one's place. */
struct lane {
	unsigned int n, max;
	struct list waiting;
};

struct engine {
	sd_event *loop;
	struct store *store;
	struct vms *vms;
	struct tasks *tasks;
	struct host *host;
	struct hostlink *hostlink; /* set before the loop runs */
	struct memory *memory;
	unsigned int max_workers; /* beside those that ask */
	struct engine_waits waits;

	/* private */
	struct lane acting, asking;
	struct list queues; /* struct queue */
	sd_event_source *kick;
	struct loop_ticker *ticker;
	bool is_policy_due; /* there was no memory for a policy; try again */
	uint64_t n_operations, n_policy, n_recovered;
};

int engine_init(struct engine *e);
/* Workers go on by themselves; the journal knows of their operations. */
void engine_deinit(struct engine *e);

/* NULL = a new operation of this kind may be tried on vm now; else why not, with *code. */
const char *engine_refuse(struct engine *e, const struct vm *vm, enum task_kind kind,
			  bool is_forced, int *code, char *buffer, size_t size);
/* Queue a task that is shown already; a DestroyVm ends what waits and stops what is under way.
 * -ENOMEM: it was ended as failed. */
int engine_submit(struct engine *e, struct task *task);
/* Of a task that had not ended when ops was stopped: queue it again, or find out what became of
 * it once the host process is there. */
int engine_recover(struct engine *e, struct task *task);

/* For DestroyVm: write the ends of waiting operations into the open transaction. */
int engine_save_overtaken(struct engine *e, struct vm *vm);

/* Whether a task can be cancelled now; false with a reason otherwise. */
bool engine_can_cancel(const struct task *task, const char **why);
/* Stop it: ends at once when nothing was done yet, else when its worker obeys. */
void engine_cancel(struct engine *e, struct task *task, const char *reason);

/* From vms.on_change and host.on_news. */
void engine_on_vm(struct engine *e, struct vm *vm);
void engine_on_news(struct engine *e, enum host_news news);

void engine_stats(const struct engine *e, bus_stat_fn fn, void *userdata);

/* ---- for operation.c ---- */

/* A worker's place; false: the operation waits in line and operation_go_on() is called later. */
bool engine_take_place(struct engine *e, struct operation *op);
void engine_leave_place(struct engine *e, struct operation *op);
/* op has ended: it is freed, and the next of its queue has its turn. */
void engine_operation_ended(struct engine *e, struct operation *op, const char *last_error);
/* If nothing is under way on that VM: see what its definition says about a domain that has shut
 * down. */
void engine_consider_policy(struct engine *e, const char *uuid);
