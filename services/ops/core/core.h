/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The whole of ops behind its API: all modules, connected.
 */
#include "services/ops/core/engine.h"

struct core_config {
	const char *state_dir; /* of the store */
	const char *host_link; /* socket of the host process */
	uid_t host_uid;	       /* may listen there, beside root and our own */
	unsigned int max_workers;
};

struct core {
	sd_event *loop;
	struct core_config config; /* strings by pointer */
	struct store *store;
	struct vms vms;
	struct tasks tasks;
	struct memory memory;
	struct host host;
	struct engine engine;
	struct hostlink *hostlink;
};

/* Opens the store. config's strings must outlive the core. */
int core_new(struct core **out, sd_event *loop, const struct core_config *config);
/* Loads what is stored, publishes it, goes on with what was under way, and connects to the host
 * process. */
int core_start(struct core *c, const struct events *events);
/* What serves calls must be gone before. */
struct core *core_free(struct core *c);
static inline void core_freep(struct core **c)
{
	*c = core_free(*c);
}
/* For bus_service_config; userdata is the core. */
void core_stats(void *userdata, bus_stat_fn fn, void *fn_userdata);
