/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * One operation on one VM, from its turn to its end.  It is a short program of
 * phases; those that change the host are each one worker.  Before a worker gets
 * its request the phase is written to the journal: what the journal does not
 * know was not begun, and what it knows is never begun again.
 *
 *   StartVm                 CREATE
 *   ShutdownVm              ASK GUEST DESTROY
 *   RebootVm                ASK GUEST DESTROY CREATE
 *   DestroyVm, PolicyDestroy     DESTROY
 *   PolicyRestart                DESTROY CREATE
 *   PauseVm, UnpauseVm      ACT
 */
#include <systemd/sd-event.h>

#include "libcommon/list.h"
#include "services/ops/core/host.h"
#include "services/ops/core/memory.h"
#include "services/ops/core/tasks.h"
#include "services/ops/core/vms.h"
#include "services/ops/core/workerlink.h"

struct engine;
struct lane;

/* Numbers are in the journal. */
enum operation_phase {
	PHASE_NONE = 0,
	PHASE_ASK = 1,	 /* the guest is asked to shut down or reboot */
	PHASE_GUEST = 2, /* it does */
	PHASE_DESTROY = 3,
	PHASE_CREATE = 4,
	PHASE_ACT = 5, /* pause or unpause */
};

/* What it waits for. */
enum operation_step {
	STEP_QUEUED,  /* its turn */
	STEP_DELAY,   /* time, for the boot-loop guard */
	STEP_HOST,    /* the host process */
	STEP_DYING,   /* the VM's domain before to be gone */
	STEP_MEMORY,  /* free memory */
	STEP_PLACE,   /* a place for a worker */
	STEP_STORE,   /* the journal to be writable */
	STEP_SPAWN,   /* the worker to be there */
	STEP_WORKER,  /* the worker to end */
	STEP_AGAIN,   /* a pause before the guest is asked again */
	STEP_REFUSED, /* it was not asked: to be seen that it has not just ended */
	STEP_GUEST,   /* the guest to end */
	STEP_SETTLE,  /* the change to be seen */
	STEP_RECOVER, /* something to be seen of what was done before a restart */
};

struct operation {
	struct engine *engine;
	struct task *task;
	struct vm *vm;
	struct list in_queue;
	struct list in_line; /* for a worker's place */
	enum operation_phase phase;
	enum operation_step step;
	sd_event_source *timer; /* of the step */
	uint64_t until_ns;	/* of a wait that spans steps, CLOCK_BOOTTIME; 0 = none yet */
	bool is_begun, is_recovered;
	struct lane *lane;	 /* where it has a worker's place; NULL = it has none */
	bool is_force_due;	 /* the guest had its time: destroy it */
	bool is_asked_again;	 /* in SETTLE: the host process was asked for everything */
	bool is_stopping;	 /* in WORKER: it was told to, and has a limited time for it */
	uint64_t dying_until_ns; /* 0 = none yet */
	uint64_t store_until_ns; /* 0 = the journal was writable the last time */
	char ask_error[160];	 /* why the guest could not be asked the last time; "" = it could */
	uint64_t settle_ns;	 /* in SETTLE and REFUSED: older facts do not tell */
	struct workerlink *worker;
	struct reservation *reservation;
	bool is_cancelled;
	int cancel_code;
	char cancel_reason[160];
};

enum operation_verdict { VERDICT_GO, VERDICT_DONE, VERDICT_REFUSED };
/* What can come of an operation of this kind on vm as it is now. text: why. */
enum operation_verdict operation_judge(const struct vm *vm, enum task_kind kind, bool is_forced,
				       int32_t target_domid, int *code, char *text, size_t size);

/* Its turn has come. May end and free it, as each of the following. */
void operation_begin(struct operation *op);
/* There may be a worker's place for it now. */
void operation_go_on(struct operation *op);
/* Facts have changed; HOST_NEWS_DOMAIN: those of its VM. */
void operation_look(struct operation *op, enum host_news news);
#define OPERATION_NEWS_VM ((enum host_news) - 1)
/* See engine_cancel(). must_end: give up waiting for a worker that does not obey. */
void operation_cancel(struct operation *op, int code, const char *reason, bool must_end);
void operation_free(struct operation *op);

/* ---- between operation.c, recover.c and room.c ---- */

void operation_enter(struct operation *op, enum operation_phase phase);
void operation_next(struct operation *op);
void operation_end(struct operation *op, int state, int code, const char *format, ...)
	_printf_(4, 5);
/* text NULL leaves the task's step as it is; wait_ms 0 = without end. */
void operation_set_step(struct operation *op, enum operation_step step, uint64_t wait_ms,
			const char *text);
/* Both: else it waits, or has ended and is freed. */
/* A domain that dies still has the VM's UUID, name and memory. */
bool operation_is_predecessor_gone(struct operation *op);
/* Reserves it. */
bool operation_has_memory(struct operation *op);
/* Whether the facts show what the phase is to bring about. */
bool operation_is_reached(const struct operation *op);
/* First look after a restart; the phase is the journal's. */
void operation_recover(struct operation *op);
/* The wait of STEP_RECOVER is over, or something has changed. */
void operation_recover_look(struct operation *op, bool is_time_over);
