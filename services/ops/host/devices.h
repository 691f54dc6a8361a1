/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The vifs and vbds of a domain, from the toolstack's own records below
 * /libxl/<domid>/device.  Nothing here reads a node that the guest can write.
 * The backend's state is read when the backend is in dom0; another backend
 * domain could write anything there, so its devices show state 0.
 *
 * Devices made by a toolstack other than libxl are not recorded there and not seen.
 */
#include "libcommon/arena.h"
#include "xenmesh/v1/ops.pb-c.h"

struct xenstore;

/* More a domain does not have: libxl itself stops far earlier. */
#define HOST_DEVICES_MAX 256

struct host_devices {
	struct arena arena;	      /* everything below */
	Xenmesh__V1__VifState **vifs; /* ascending devid */
	size_t n_vifs;
	Xenmesh__V1__VbdState **vbds; /* ascending devid */
	size_t n_vbds;
	const char **vif_state_paths; /* NULL entries: backend not in dom0 */
	const char **vbd_state_paths;
};

/* For a zeroed one too; idempotent. */
void host_devices_deinit(struct host_devices *d);
/* Reads all. On <0 what was there before stays. Blocks for about 60 us a node. */
int host_devices_read(struct host_devices *d, struct xenstore *xs, uint32_t domid);
/* Reads only the states of the known backends. */
int host_devices_read_states(struct host_devices *d, struct xenstore *xs);
