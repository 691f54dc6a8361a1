/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The table of VMs: stored definitions merged with the domains that the host
 * process sees.  Publishes vm/<uuid>/state whenever the state differs from what
 * was published last.
 *
 * A VM is there while it has a definition, a domain or an operation.  More than
 * one domain may have the same UUID for a moment (a dying one and its
 * successor); dom0 is a VM like others, with the all-zero UUID unless it got one.
 */
#include "libcommon/list.h"
#include "libcommon/map.h"
#include "libcommon/strbuf.h"
#include "services/ops/core/events.h"
#include "services/ops/core/names.h"
#include "services/ops/core/store.h"

struct vm_domain {
	struct list list;
	struct vm *vm;
	Xenmesh__Host__Domain *facts; /* started_ns is the earliest one told */
	uint64_t clock_ns; /* CLOCK_REALTIME less CLOCK_BOOTTIME when it was first told */
	uint64_t ended_ns; /* CLOCK_BOOTTIME when it was seen to have shut down; 0 = it has not */
	bool is_seen;	   /* while a table is merged */
};

struct vm {
	char uuid[37];
	Xenmesh__V1__VmConfig *config; /* NULL = unmanaged */
	enum store_desired desired;
	struct list domains;  /* struct vm_domain */
	char task_id[37];     /* in flight; "" = none */
	char *last_error;     /* NULL = none */
	int32_t policy_domid; /* the domain that policy has acted on; -1 = none */
	void *queue;	      /* the engine's; keeps the VM in the table while not NULL */

	/* private */
	struct vms *vms;
	uint8_t *published;
	size_t published_len;
	bool is_changed;
};

struct vms {
	struct map by_uuid;
	struct map by_domid; /* struct vm_domain, key uint32_t */
	struct events events;
	bool is_known; /* a table of the host was merged: a VM without domain is halted */
	/* The domains of vm have changed, or their facts. It may leave the table right after. */
	void (*on_change)(struct vm *vm, void *userdata);
	void *userdata;
};

void vms_init(struct vms *vms, const struct events *events,
	      void (*on_change)(struct vm *vm, void *userdata), void *userdata);
void vms_deinit(struct vms *vms);

/* NULL when unknown. */
struct vm *vms_get(const struct vms *vms, const char *uuid);
/* By UUID, name or domid (decimal). 0; 1 = there is none; 2 = there are several. error gets a
 * sentence for 1 and 2. */
int vms_find(const struct vms *vms, const char *ref, struct vm **out, struct strbuf *error);
/* All, ascending UUID, *out malloc'ed. */
int vms_sorted(const struct vms *vms, struct vm ***out, size_t *n);
size_t vms_n_defined(const struct vms *vms);
size_t vms_n_domains(const struct vms *vms);
/* A defined VM of that name, NULL if none. */
struct vm *vms_defined_by_name(const struct vms *vms, const char *name);

/* config is consumed also on failure; its uuid names the VM, which is made if need be. */
int vms_define(struct vms *vms, Xenmesh__V1__VmConfig *config, enum store_desired desired);
/* The VM may be gone afterwards, as after the following ones. */
void vms_undefine(struct vm *vm);
/* What of operations is seen in the state: queue keeps the VM, task_id "" = none in flight,
 * last_error NULL = none (vm->last_error keeps it). */
void vms_set_operation(struct vm *vm, void *queue, const char *task_id, const char *last_error);
/* The VM of that UUID, made if need be; it goes with the next change unless it got a queue. */
struct vm *vms_hold(struct vms *vms, const char *uuid);

/* What the host process says. -ENOMEM: the table may be behind, ask for everything again. */
int vms_merge_table(struct vms *vms, const Xenmesh__Host__DomainTable *table);
int vms_merge_domain(struct vms *vms, const Xenmesh__Host__Domain *domain);
void vms_merge_gone(struct vms *vms, const Xenmesh__Host__DomainGone *gone);

/* The domain that stands for the VM: the newest that is not dying, else a dying one; or NULL. */
const Xenmesh__Host__Domain *vm_domain(const struct vm *vm);
/* One of its domains that is dying, NULL if none is. */
const Xenmesh__Host__Domain *vm_dying(const struct vm *vm);
/* A certain one, NULL if the VM has it no more. */
const Xenmesh__Host__Domain *vm_domain_by_id(const struct vm *vm, int32_t domid);
int vm_power_state(const struct vm *vm);
/* What its domain's started_ns is to be compared with: CLOCK_REALTIME as if nobody had set it since
 * the domain was first told, of now or of the moment when the domain was seen to have shut down. */
uint64_t vm_clock_ns(const struct vm *vm);
/* -1 = no domain. */
int32_t vm_domid(const struct vm *vm);
const char *vm_name(const struct vm *vm);
bool vm_is_dom0(const struct vm *vm);
/* out points into vm and config (NULL = the VM's own). */
void vm_fill_state(const struct vm *vm, const Xenmesh__V1__VmConfig *config,
		   Xenmesh__V1__VmState *out);
