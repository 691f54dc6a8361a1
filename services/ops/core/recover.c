/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What became of an operation that had a worker when ops was killed.  The
 * worker goes on without us, so the host is given time to show the outcome.
 *
 * Nothing is begun a second time, except asking a guest to end and destroying:
 * the domain is named by domid and UUID, so that doing it again is the same as
 * doing it once.
 */
#include "libcommon/clock.h"
#include "services/ops/core/engine.h"
#include "services/ops/core/operation.h"

static void lost(struct operation *op)
{
	const char *text =
		"ops was restarted during the operation, and the host does not show what "
		"was wanted; look at the VM and try again";

	if (op->phase == PHASE_CREATE && vm_domain(op->vm)) {
		text = vm_domain(op->vm)->complete
			       ? "ops was restarted while the domain was being created; it is "
				 "complete but still paused; unpause it"
			       : "ops was restarted while the domain was being created, and it is "
				 "half built; destroy it and start the VM again";
	} else if (op->phase == PHASE_CREATE) {
		text = "ops was restarted while the domain was being created, and there is none; "
		       "start the VM again";
	}
	operation_end(op, TASK_FAILED, CODE_ABORTED, "%s", text);
}

static void found(struct operation *op)
{
	if (op->phase == PHASE_CREATE) {
		op->task->target_domid = vm_domid(op->vm);
	}
	op->is_recovered = false;
	operation_next(op);
}

void operation_recover(struct operation *op)
{
	op->phase = (enum operation_phase)op->task->phase;
	if (op->phase == PHASE_GUEST) {
		op->is_recovered = false;
		operation_enter(op, PHASE_GUEST);
	} else if (operation_is_reached(op)) {
		found(op);
	} else {
		operation_set_step(op, STEP_RECOVER, op->engine->waits.recover_none_ms,
				   "ops was restarted: looking at the host");
	}
}

void operation_recover_look(struct operation *op, bool is_time_over)
{
	uint64_t now = clock_boot_ns();

	if (!op->engine->host->is_connected) {
		if (is_time_over) { /* facts are old: wait for new ones */
			operation_set_step(op, STEP_RECOVER, op->engine->waits.recover_none_ms,
					   NULL);
		}
		return;
	}
	if (operation_is_reached(op)) {
		found(op);
		return;
	}
	if (op->is_cancelled && vm_domain(op->vm)) { /* there is something to destroy now */
		operation_end(op, TASK_CANCELLED, op->cancel_code, "%s", op->cancel_reason);
		return;
	}
	if (!is_time_over) {
		return;
	}
	if (op->phase == PHASE_ASK || op->phase == PHASE_DESTROY) {
		op->is_recovered = false;
		operation_enter(op, op->phase);
	} else if (op->phase == PHASE_CREATE && vm_domain(op->vm) && op->until_ns == 0) {
		/* Half of it is there: the worker is still at it. */
		op->until_ns = now;
		operation_set_step(op, STEP_RECOVER, op->engine->waits.recover_half_ms, NULL);
	} else {
		lost(op);
	}
}
