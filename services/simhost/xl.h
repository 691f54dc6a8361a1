/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The simulated xl: makes and destroys domains beside all cores, and looks
 * after those it made as each `xl create` does: a guest that powers off or
 * crashes is destroyed, one that reboots is made anew with another domid.
 */
#include "services/simhost/machine.h"

struct sim_xl;

int sim_xl_new(struct sim_xl **out, struct machine *machine);
struct sim_xl *sim_xl_free(struct sim_xl *x);
/* Made, with its devices, and let run; it is done on return. Errors as machine_build(). */
int sim_xl_create(struct sim_xl *x, const Xenmesh__V1__VmConfig *config, char *why, size_t why_size,
		  struct machine_domain **out);
/* For machine_events.stopped: something is done soon if it is one of xl's. */
void sim_xl_on_stopped(struct sim_xl *x, const struct machine_domain *d);
