/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What ops must remember: definitions of VMs, the journal of tasks, and the
 * answers to mutating calls.  One SQLite file (WAL, synchronous=FULL): what a
 * committed transaction wrote survives SIGKILL and power loss.
 *
 * An accepted mutating call is one transaction: its handler begins, changes and
 * answers; store_dedup()'s save() adds the answer and commits before the answer
 * is sent.  What must follow the commit, or be undone without it, hangs on
 * store_on_end().
 *
 * Writing may fail at any time (disk full, read-only, damaged); nothing is
 * changed then, store_error() tells why in a sentence, and reading goes on.
 * Calls block for as long as the disk takes to sync.
 */
#include "bus/server.h"
#include "libcommon/base.h"

struct store;

enum store_desired {
	STORE_DESIRED_UNKNOWN = 0, /* never started or ended through ops */
	STORE_DESIRED_RUNNING = 1,
	STORE_DESIRED_HALTED = 2,
};

/* Opens or makes DIR/ops.db; DIR is made if only its last part is missing. A file that
 * cannot be used for writing is not an error here: see store_fault().
 * -EBUSY: another process uses DIR. Others: DIR itself is unusable. */
int store_open(struct store **out, const char *dir);
/* Rolls back what is open. */
struct store *store_close(struct store *s);
static inline void store_closep(struct store **s)
{
	*s = store_close(*s);
}
/* Why nothing can be written until somebody acts; NULL = all is well. */
const char *store_fault(const struct store *s);
/* Why the last call failed, one sentence with what to do. */
const char *store_error(const struct store *s);
/* The canonical result code (enum bus_code) for a negative result of this module. */
int store_error_code(int r);

/* ---- transactions: one at a time ---- */

int store_begin(struct store *s);
/* Runs the end hooks, in the order in which they were added; <0 = it was rolled back instead. */
int store_commit(struct store *s);
void store_rollback(struct store *s);
/* Bring what the open transaction wrote to the disk, without ending it: a full disk shows here,
 * where the caller can still say so, not only in the commit. */
int store_flush(struct store *s);
bool store_is_in_transaction(const struct store *s);
/* fn is called once, after the end of the open transaction; it may begin the next one. */
typedef void (*store_end_fn)(bool is_committed, void *userdata);
int store_on_end(struct store *s, store_end_fn fn, void *userdata);

/* ---- definitions; outside of a transaction each is one by itself ---- */

int store_vm_put(struct store *s, const char *uuid, const void *config, size_t len,
		 enum store_desired desired);
/* Nothing for an unknown uuid. */
int store_vm_set_desired(struct store *s, const char *uuid, enum store_desired desired);
int store_vm_delete(struct store *s, const char *uuid);
/* Return <0 to stop. */
typedef int (*store_vm_fn)(const char *uuid, const void *config, size_t len,
			   enum store_desired desired, void *userdata);
int store_vm_each(struct store *s, store_vm_fn fn, void *userdata);

/* ---- journal of tasks ---- */

struct store_task {
	const char *id;
	int phase; /* enum operation_phase */
	uint32_t timeout_s;
	bool is_forced;
	bool is_paused;
	bool is_cancelled; /* somebody was told that it will be stopped */
	int32_t domid;	   /* it acts on; -1 = none */
	uint64_t until_ns; /* of what it waits for, CLOCK_BOOTTIME; 0 = none, or of another boot */
	const char *note;  /* see struct task */
	const uint8_t *task; /* serialized Task */
	size_t task_len;
};

/* Inserts or replaces; the place in the order stays. */
int store_task_put(struct store *s, const struct store_task *task);
int store_task_delete(struct store *s, const char *id);
typedef int (*store_task_fn)(const struct store_task *task, void *userdata);
/* Oldest first. */
int store_task_each(struct store *s, store_task_fn fn, void *userdata);

/* ---- answers ---- */

/* For bus_service_config; valid as long as s. Only answers that a repeat must not change are
 * kept: an UNAVAILABLE or RESOURCE_EXHAUSTED may be tried again with the same id. */
struct bus_dedup store_dedup(struct store *s);
/* Forget answers older than OPS_ANSWER_SECONDS. now_ns: CLOCK_BOOTTIME, which no step of the wall
 * clock changes; what was answered before the host was booted counts from the first purge after. */
int store_purge_answers(struct store *s, uint64_t now_ns);

/* "store.commits", "store.failures" */
void store_stats(const struct store *s, bus_stat_fn fn, void *userdata);
