/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Rules for what shall go wrong, for tests of what stands above a host.
 *
 *	OPERATION VM WORD...
 *
 * OPERATION: create destroy shutdown reboot pause unpause any | spawn | guest
 * VM: name, UUID or *
 * WORD: count=N (how often; default 1, 0 = always) and
 *   for an operation: fail | die (the worker ends without a word) | hang (it
 *     neither ends nor obeys a cancellation), delay=DURATION (takes so much longer)
 *   for spawn: fail (no worker can be started; VM is *)
 *   for guest, when one boots: ignore-shutdown | never-ends (acknowledges, then
 *     goes on) | no-agent, boot=DURATION, stop=DURATION, crash-after=DURATION
 */
#include "libcommon/list.h"

enum fault_operation {
	FAULT_ANY, /* of those of a worker */
	FAULT_CREATE,
	FAULT_DESTROY,
	FAULT_SHUTDOWN,
	FAULT_REBOOT,
	FAULT_PAUSE,
	FAULT_UNPAUSE,
	FAULT_SPAWN,
	FAULT_GUEST,
};

enum fault_effect {
	FAULT_NONE,
	FAULT_FAIL,
	FAULT_DIE,
	FAULT_HANG,
};

#define FAULT_UNSET UINT64_MAX

struct fault {
	enum fault_effect effect;
	uint64_t delay_ms;
	bool ignores_shutdown;
	bool never_ends;
	bool has_no_agent;
	uint64_t boot_ms; /* FAULT_UNSET: as usual; so the next two */
	uint64_t stop_ms;
	uint64_t crash_after_ms;
};

#define FAULT_NULL       \
	((struct fault){ \
		.boot_ms = FAULT_UNSET, .stop_ms = FAULT_UNSET, .crash_after_ms = FAULT_UNSET })

struct faults {
	struct list rules;
};

void faults_init(struct faults *f);
void faults_clear(struct faults *f);
/* 0; 1 with a sentence in `why`: no rule; -ENOMEM. */
int faults_add(struct faults *f, const char *rule, char *why, size_t why_size);
/* The first rule that fits is used up by one; FAULT_NULL when none does. */
struct fault faults_take(struct faults *f, enum fault_operation operation, const char *name,
			 const char *uuid);
