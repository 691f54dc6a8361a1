/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What to do with a managed domain that has shut down by itself.
 *
 *   reason                 key           default
 *   poweroff, unknown      on_poweroff   destroy
 *   reboot, soft reset     on_reboot     restart
 *   crash, watchdog        on_crash      destroy
 *   suspend                -             nothing: somebody saves it
 *
 * A VM that was asked through ops to shut down is not restarted by on_poweroff.
 * Boot-loop guard: after a crash within 120 s of the start a restart becomes a
 * destroy; a reboot within 15 s of the start is delayed by 15 s.
 */
#include "services/ops/core/vms.h"

enum policy_action { POLICY_NONE, POLICY_DESTROY, POLICY_RESTART };

struct policy_decision {
	enum policy_action action;
	uint64_t delay_ms;
	char note[160]; /* for people: why not what the definition says; "" = it is */
};

/* now_ns: vm_clock_ns(). */
struct policy_decision policy_decide(const struct vm *vm, uint64_t now_ns);
