/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The inside of one simulated domain: a kernel that boots, connects its
 * devices and obeys control/shutdown, and the guest agent, all with the
 * domain's own permissions through its own ring.
 */
#include "services/guest-agent/logic/tree.h"
#include "services/simhost/machine.h"

struct sim_guest_plan {
	uint32_t boot_ms;	 /* from the first unpause to a working system */
	uint32_t stop_ms;	 /* from the acknowledgement to the end */
	uint32_t crash_after_ms; /* of running; 0 = does not crash */
	bool is_up;		 /* has booted long ago, its keys are in xenstore */
	bool ignores_shutdown;	 /* reads the request, does nothing */
	bool never_ends;	 /* acknowledges it, then does nothing */
	bool has_no_agent;
};

/* Starts to run at once. */
int sim_guest_new(struct sim_guest **out, struct machine_domain *d,
		  const struct sim_guest_plan *plan);
/* As pulling the plug. Allowed in its own callbacks. NULL is fine; returns NULL. */
struct sim_guest *sim_guest_free(struct sim_guest *g);
/* Time stands still for it, or goes on. */
void sim_guest_pause(struct sim_guest *g);
void sim_guest_resume(struct sim_guest *g);
/* It decides by itself to power off or to reboot; takes stop_ms. */
void sim_guest_end(struct sim_guest *g, Xenmesh__V1__ShutdownReason reason);
void sim_guest_set_ignores_shutdown(struct sim_guest *g, bool ignores);
/* What its agent tells first, relative to the domain's home, without what libxl gives the guest no
 * right to make. 0 or -ENOMEM. */
int sim_guest_keys(const struct machine_domain *d, struct guest_tree *out);
/* True when its agent has told everything. */
bool sim_guest_has_reported(const struct sim_guest *g);
/* The agent looks at its memory; call about once a minute. */
void sim_guest_tick(struct sim_guest *g);
