/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The simulated hypervisor: its domains with their xenstore trees, its memory
 * and its pCPUs.  What a function here does is done and visible in xenstore
 * when it returns; how long things take is the business of its callers.
 *
 * Domains are keyed by domid and may vanish in any call that ends one, and
 * from one event of the loop to the next: keep (domid, UUID), not pointers.
 */
#include <systemd/sd-event.h>

#include "libcommon/arena.h"
#include "libcommon/uuid.h"
#include "services/simhost/load.h"
#include "services/simhost/xenstored/guest_ring.h"
#include "services/simhost/xenstored/sim_xenstored.h"
#include "services/simhost/xstree.h"
#include "xenmesh/host/host.pb-c.h"

#define MACHINE_VCPUS_MAX 512
#define MACHINE_DOM0_UUID "00000000-0000-0000-0000-000000000000"

struct machine;
struct sim_guest;
struct sim_guest_plan;

struct machine_domain {
	struct machine *machine;
	struct arena arena;	       /* everything below points into it */
	Xenmesh__Host__Domain state;   /* what a core is told */
	Xenmesh__V1__VmConfig *config; /* what it was made from; NULL for dom0 */
	struct load load;
	struct sim_guest *guest; /* NULL: not made yet, or dom0 */
	bool is_xl;		 /* made by no core: the simulated xl looks after it */
	bool is_aged;		 /* has been up for long: its guest has booted */
	bool is_paused;
	bool is_stopped;
	bool is_dying;
};

/* Called when the change is complete. */
struct machine_events {
	void (*changed)(struct machine_domain *d, void *userdata);
	/* Still in memory, no longer in the table. */
	void (*gone)(struct machine_domain *d, void *userdata);
	/* The guest has stopped by itself or on request, d->state.shutdown_reason says why. */
	void (*stopped)(struct machine_domain *d, void *userdata);
	/* The guest is about to boot: how shall it behave? */
	void (*plan)(struct machine_domain *d, struct sim_guest_plan *plan, void *userdata);
};

struct machine_options {
	struct sim_xenstored *xenstored; /* borrowed */
	struct guest_ring_hub *hub;	 /* borrowed */
	sd_event *loop;
	uint32_t pcpus;
	uint64_t memory_kib;
	uint64_t dom0_memory_kib;
	uint64_t seed;
	uint64_t uptime_ns; /* since the host "booted" */
	double cpu_share;   /* of what a VM would use alone; 1 = all */
	const struct machine_events *events;
	void *userdata;
};

/* With domain 0 only. */
int machine_new(struct machine **out, const struct machine_options *options);
/* Ends the guests; leaves xenstore as it is. NULL is fine; returns NULL. */
struct machine *machine_free(struct machine *m);

sd_event *machine_loop(const struct machine *m);
struct guest_ring_hub *machine_hub(const struct machine *m);
size_t machine_count(const struct machine *m);
/* Ascending domid, dom0 first. */
struct machine_domain *machine_at(const struct machine *m, size_t i);
struct machine_domain *machine_find(const struct machine *m, uint32_t domid);
/* The same, if it (still) has this UUID. */
struct machine_domain *machine_find_exactly(const struct machine *m, uint32_t domid,
					    const char *uuid);
/* By name, UUID or domid in decimal, in this order; never dom0. */
struct machine_domain *machine_find_named(const struct machine *m, const char *text);
/* Domains that were made since the start, dom0 aside. */
uint64_t machine_made(const struct machine *m);
uint64_t machine_free_kib(const struct machine *m);

/*
 * Make a domain: its memory is taken, its tree written as libxl does, and it is
 * introduced, paused and without devices.  -EEXIST: name or UUID is in use;
 * -ENOMEM: not enough free memory; -ENOSPC: no domid is free; others from
 * xenstore.  `why` gets a line for people on failure.
 */
int machine_build(struct machine *m, const Xenmesh__V1__VmConfig *config, bool is_xl, char *why,
		  size_t why_size, struct machine_domain **out);
/* Its devices appear, backends waiting for the guest. */
int machine_attach(struct machine_domain *d);
/* A worker has made all of it. */
void machine_set_complete(struct machine_domain *d);
/* The backends connect; for the guest, which has just connected its frontends. */
int machine_connect(struct machine_domain *d);
/*
 * In two steps a domain of xl's that has been up for age_ns: devices connected, agent's keys
 * told, counters grown.  Prepared ones are in xenstore, but no domains yet and not in the table:
 * xenstored is fast as long as there are few domains.  Errors as machine_build().
 */
int machine_prepare(struct machine *m, const Xenmesh__V1__VmConfig *config, uint64_t age_ns,
		    enum xstree_detail detail, char *why, size_t why_size,
		    struct machine_domain **out);
/* On <0 it is discarded. */
int machine_appear(struct machine_domain *d);
/* Of a prepared one that shall not appear; NULL is fine. */
void machine_discard(struct machine_domain *d);
/* Idempotent. The first unpause boots the guest. */
void machine_pause(struct machine_domain *d);
int machine_unpause(struct machine_domain *d);
/* Nothing when it has stopped already or is dying. */
void machine_stop(struct machine_domain *d, Xenmesh__V1__ShutdownReason reason);
/* Being torn down: the guest is gone, the domain is still there. */
void machine_set_dying(struct machine_domain *d);
/* Gone, with everything of it in xenstore; d is freed. */
void machine_remove(struct machine_domain *d);

/* Let all counters grow up to now. */
void machine_advance(struct machine *m);
const struct load_pcpus *machine_pcpus(const struct machine *m);

/* Ask the guest: control/shutdown gets `what`, "poweroff" or "reboot". 0 or <0. */
int machine_request_shutdown(struct machine_domain *d, const char *what);
/* Path of that node. */
void machine_shutdown_path(uint32_t domid, char out[static 64]);
