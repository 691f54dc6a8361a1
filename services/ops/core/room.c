/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room for a domain, before a worker is asked to make it: the one before is
 * gone, and there is memory.  Each wait has its own end, however often it is
 * looked whether it is over.
 */
#include <stdio.h>

#include "libcommon/clock.h"
#include "services/ops/core/engine.h"
#include "services/ops/core/operation.h"
#include "services/ops/core/vmconfig.h"

bool operation_is_predecessor_gone(struct operation *op)
{
	const Xenmesh__Host__Domain *d = vm_dying(op->vm);
	uint64_t now = clock_boot_ns();
	char text[96];

	if (!d) {
		return true;
	}
	if (!op->dying_until_ns) {
		op->dying_until_ns = now + op->engine->waits.dying_ms * NSEC_PER_MSEC;
	}
	if (now >= op->dying_until_ns) {
		operation_end(op, TASK_FAILED, CODE_FAILED_PRECONDITION,
			      "domain %u of the VM was destroyed but is still dying: something "
			      "holds its memory, often a backend or another domain; look for "
			      "that, and start the VM when the domain is gone",
			      d->domid);
		return false;
	}
	snprintf(text, sizeof(text), "waiting for domain %u to be gone", d->domid);
	operation_set_step(op, STEP_DYING, 1 + (op->dying_until_ns - now) / NSEC_PER_MSEC, text);
	return false;
}

bool operation_has_memory(struct operation *op)
{
	struct memory *m = op->engine->memory;
	uint64_t need_kib = vmconfig_need_kib(op->vm->config);
	uint64_t now = clock_boot_ns();
	char text[128];

	if (op->reservation) {
		return true;
	}
	op->reservation = memory_reserve(m, op->vm->uuid, need_kib);
	if (op->reservation) {
		op->until_ns = 0;
		return true;
	}
	if (op->until_ns && now >= op->until_ns) {
		operation_end(op, TASK_FAILED, CODE_RESOURCE_EXHAUSTED,
			      "not enough free memory: the domain needs %llu KiB, %llu KiB are "
			      "free; shut down another VM or give dom0 less",
			      (unsigned long long)need_kib,
			      (unsigned long long)memory_available(m));
		return false;
	}
	if (!op->until_ns) { /* memory that was just freed is not in the newest sample */
		op->until_ns = now + op->engine->waits.memory_ms * NSEC_PER_MSEC;
		snprintf(text, sizeof(text),
			 "waiting for memory: needs %llu KiB, %llu KiB are free",
			 (unsigned long long)need_kib, (unsigned long long)memory_available(m));
		operation_set_step(op, STEP_MEMORY, 1 + op->engine->waits.memory_ms, text);
	}
	return false;
}
