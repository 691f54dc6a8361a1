/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The workers: each a socket on which one operation is asked for and answered,
 * as xenmesh-ops-worker does it with libxl.  They take small realistic times
 * and never block.
 *
 * When a worker's core goes away the operation goes on, as a process would; a
 * request to a guest, which waits for its answer, is given up.
 */
#include "services/simhost/faults.h"
#include "services/simhost/machine.h"

#define SIM_WORKERS_MAX 256 /* at one time */

struct sim_workers;
struct xenstore;

/* All borrowed. */
int sim_workers_new(struct sim_workers **out, struct machine *machine, struct xenstore *xs,
		    struct faults *faults);
struct sim_workers *sim_workers_free(struct sim_workers *w);
/* *fd: the core's end, for the caller. -EBUSY: as many as may be are at work; -EIO: a fault
 * that was asked for. */
int sim_workers_spawn(struct sim_workers *w, int *fd);
size_t sim_workers_count(const struct sim_workers *w);
/* A domain has stopped or is gone. */
void sim_workers_notice(struct sim_workers *w, const struct machine_domain *d);
