/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "services/ops/core/policy.h"

#include <stdio.h>

#include "services/ops/core/limits.h"

static Xenmesh__V1__Action or_default(Xenmesh__V1__Action set, Xenmesh__V1__Action fallback)
{
	return set == ACTION_DEFAULT ? fallback : set;
}

static Xenmesh__V1__Action configured(const Xenmesh__V1__VmConfig *c,
				      Xenmesh__V1__ShutdownReason reason)
{
	switch (reason) {
	case REASON_SUSPEND:
		return ACTION_PRESERVE;
	case REASON_REBOOT:
	case REASON_SOFT_RESET:
		return or_default(c->on_reboot, ACTION_RESTART);
	case REASON_CRASH:
	case REASON_WATCHDOG:
		return or_default(c->on_crash, ACTION_DESTROY);
	default:
		return or_default(c->on_poweroff, ACTION_DESTROY);
	}
}

static bool is_crash(const Xenmesh__Host__Domain *d)
{
	return d->shutdown_reason == REASON_CRASH || d->shutdown_reason == REASON_WATCHDOG;
}

static bool is_reboot(const Xenmesh__Host__Domain *d)
{
	return d->shutdown_reason == REASON_REBOOT || d->shutdown_reason == REASON_SOFT_RESET;
}

/* A restart, unless the guards say otherwise. */
static void decide_restart(const struct vm *vm, const Xenmesh__Host__Domain *d, uint64_t now_ns,
			   struct policy_decision *out)
{
	uint64_t age_s = (now_ns - MIN(now_ns, d->started_ns)) / NSEC_PER_SEC;

	out->action = POLICY_RESTART;
	if (is_crash(d) && age_s < OPS_CRASH_LOOP_S) {
		out->action = POLICY_DESTROY;
		snprintf(out->note, sizeof(out->note),
			 "crashed %llu s after its start and is not restarted, because it would "
			 "crash again",
			 (unsigned long long)age_s);
	} else if (is_reboot(d) && age_s < OPS_REBOOT_LOOP_S) {
		out->delay_ms = OPS_REBOOT_DELAY_MS;
	} else if (!is_crash(d) && !is_reboot(d) && vm->desired == STORE_DESIRED_HALTED) {
		out->action = POLICY_DESTROY; /* that is what was asked for, if late */
	}
}

struct policy_decision policy_decide(const struct vm *vm, uint64_t now_ns)
{
	const Xenmesh__Host__Domain *d = vm_domain(vm);
	struct policy_decision out = { .action = POLICY_NONE };

	if (!vm->config || !d || d->domid == 0 || d->power_state != POWER_SHUTDOWN ||
	    vm->policy_domid == (int32_t)d->domid) {
		return out;
	}
	switch (configured(vm->config, d->shutdown_reason)) {
	case ACTION_RESTART:
		decide_restart(vm, d, now_ns, &out);
		break;
	case ACTION_DESTROY:
		out.action = POLICY_DESTROY;
		break;
	default:
		break;
	}
	return out;
}
