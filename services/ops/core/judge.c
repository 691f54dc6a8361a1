/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether an operation fits a VM as it is now: asked before a call is accepted,
 * and again when its turn has come, because that may be much later.
 */
#include <stdarg.h>
#include <stdio.h>

#include "services/ops/core/operation.h"

static enum operation_verdict refuse(int *code, int why, char *text, size_t size,
				     const char *format, ...) _printf_(5, 6);
static enum operation_verdict refuse(int *code, int why, char *text, size_t size,
				     const char *format, ...)
{
	va_list args;

	*code = why;
	va_start(args, format);
	vsnprintf(text, size, format, args);
	va_end(args);
	return VERDICT_REFUSED;
}

static enum operation_verdict judge_start(const struct vm *vm, int *code, char *text, size_t size)
{
	int32_t domid = vm_domid(vm);

	if (!vm->config) {
		return refuse(code, CODE_FAILED_PRECONDITION, text, size,
			      "the VM has no definition here; define it first");
	}
	switch (vm_power_state(vm)) {
	case POWER_RUNNING:
		return refuse(code, CODE_FAILED_PRECONDITION, text, size,
			      "the VM is running already, as domain %d", domid);
	case POWER_PAUSED:
		return refuse(code, CODE_FAILED_PRECONDITION, text, size,
			      "the VM is paused, as domain %d; unpause it", domid);
	case POWER_SHUTDOWN:
		return refuse(code, CODE_FAILED_PRECONDITION, text, size,
			      "the VM's domain %d has shut down and is kept; destroy it first",
			      domid);
	default:
		return VERDICT_GO;
	}
}

/* Shutdown and reboot. */
static enum operation_verdict judge_end(const struct vm *vm, bool is_reboot, bool is_forced,
					int *code, char *text, size_t size)
{
	switch (vm_power_state(vm)) {
	case POWER_HALTED:
		if (!is_reboot) {
			return VERDICT_DONE;
		}
		return refuse(code, CODE_FAILED_PRECONDITION, text, size,
			      "the VM is halted; start it");
	case POWER_PAUSED:
		if (is_forced) {
			return VERDICT_GO;
		}
		return refuse(code, CODE_FAILED_PRECONDITION, text, size,
			      "the VM is paused and cannot shut down by itself; unpause it, or "
			      "destroy it");
	default:
		return VERDICT_GO;
	}
}

static enum operation_verdict judge_act(const struct vm *vm, enum task_kind kind, int *code,
					char *text, size_t size)
{
	int state = vm_power_state(vm);

	if (state == POWER_RUNNING || state == POWER_PAUSED) {
		return (state == POWER_PAUSED) == (kind == TASK_PAUSE) ? VERDICT_DONE : VERDICT_GO;
	}
	return refuse(code, CODE_FAILED_PRECONDITION, text, size,
		      state == POWER_SHUTDOWN ? "the VM's domain has shut down"
					      : "the VM is halted");
}

enum operation_verdict operation_judge(const struct vm *vm, enum task_kind kind, bool is_forced,
				       int32_t target_domid, int *code, char *text, size_t size)
{
	const Xenmesh__Host__Domain *d;

	if (vm_is_dom0(vm)) {
		return refuse(code, CODE_FAILED_PRECONDITION, text, size,
			      "this is dom0, the host itself");
	}
	switch (kind) {
	case TASK_START:
		return judge_start(vm, code, text, size);
	case TASK_SHUTDOWN:
	case TASK_REBOOT:
		return judge_end(vm, kind == TASK_REBOOT, is_forced, code, text, size);
	case TASK_DESTROY:
		return vm_power_state(vm) == POWER_HALTED || vm_power_state(vm) == POWER_DYING
			       ? VERDICT_DONE
			       : VERDICT_GO;
	case TASK_PAUSE:
	case TASK_UNPAUSE:
		return judge_act(vm, kind, code, text, size);
	default: /* policy: only what it was made for, and not when the VM has a newer domain */
		d = vm_domain(vm);
		return d && (int32_t)d->domid == target_domid && vm->config &&
				       d->power_state == POWER_SHUTDOWN
			       ? VERDICT_GO
			       : VERDICT_DONE;
	}
}
