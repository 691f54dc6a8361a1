/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The domains on the host.  Xen's list is the truth: a scan compares it with
 * the table by (domid, UUID), so a domid that is used again is another domain.
 * Names and devices come from xenstore when a domain is new or marked.
 *
 * The table is complete and ascending by domid at every moment outside its own
 * calls.  Without xenstore domains are still seen, with what was last known.
 */
#include <xenctrl.h>

#include "libcommon/uuid.h"
#include "services/ops/host/devices.h"
#include "services/ops/host/hypervisor.h"
#include "xenmesh/host/host.pb-c.h"

struct host_domains;
struct xenstore_watch;

/* What to read again. */
enum {
	HOST_DIRTY_NAME = 1 << 0,
	HOST_DIRTY_DEVICES = 1 << 1, /* all about the devices */
	HOST_DIRTY_STATES = 1 << 2,  /* only the states of their backends */
	HOST_DIRTY_ALL = HOST_DIRTY_NAME | HOST_DIRTY_DEVICES,
};

struct host_domain {
	uint32_t domid;
	char uuid[37];	      /* all zero for dom0, unless the administrator gave it one */
	char *name;	      /* safe text; "" until known */
	xc_domaininfo_t info; /* of the last scan */
	struct host_devices devices;
	uint64_t started_ns; /* CLOCK_REALTIME: libxl's record, else when first seen */

	struct host_domains *domains;
	struct xenstore_watch *name_watch;
	bool has_start_time;
	bool is_complete; /* a worker has left its mark; looked for while it is paused */
	bool is_changed;  /* by a scan, not yet told */
	bool is_told;	  /* changed() was called, or host_domains_tell(): gone() will be, too */
	unsigned int dirty;
	uint64_t window_ns; /* of the limit on reads that a guest can cause */
	unsigned int n_reads;
	uint8_t *told; /* the message last given to changed() */
	size_t told_len;
};

/* Called from scan and refresh; a domain is gone before another of its domid is changed. */
struct host_domains_events {
	/* New and read, or what host_domain_message() says of it is another. */
	void (*changed)(const struct host_domain *domain, void *userdata);
	void (*gone)(const struct host_domain *domain, void *userdata);
	/* Something is marked: call host_domains_refresh() soon. */
	void (*marked)(void *userdata);
};

/* hv and xs are borrowed. events is kept by pointer. */
int host_domains_new(struct host_domains **out, struct hypervisor *hv, struct xenstore *xs,
		     const struct host_domains_events *events, void *userdata);
/* Where libxl keeps its userdata, for tests; kept by pointer. */
void host_domains_set_userdata_dir(struct host_domains *d, const char *dir);
struct host_domains *host_domains_free(struct host_domains *d);
/* One hypercall for each 36 domains. New ones are marked, the first refresh tells of them. */
int host_domains_scan(struct host_domains *d);
/* Mark a domain; false when there is no such domain in the table. */
bool host_domains_mark(struct host_domains *d, uint32_t domid, unsigned int what);
void host_domains_mark_all(struct host_domains *d, unsigned int what);
/* Read what is marked again, for at most budget_us. A domain is read at most 8 times a second.
 * True when some are left for later. */
bool host_domains_refresh(struct host_domains *d, uint64_t budget_us);

size_t host_domains_count(const struct host_domains *d);
/* Ascending domid. */
const struct host_domain *host_domains_at(const struct host_domains *d, size_t i);
/* The i-th is told without changed(), also when it was not read yet. */
const struct host_domain *host_domains_tell(struct host_domains *d, size_t i);
/* What the core is told of it; points into the domain. */
void host_domain_message(const struct host_domain *domain, Xenmesh__Host__Domain *out);
Xenmesh__V1__PowerState host_domain_power_state(const struct host_domain *domain);
/* Hypervisor's memory limit, 0 = none. */
uint64_t host_domain_max_memory_kib(const struct host_domain *domain);
