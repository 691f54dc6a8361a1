/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A domain's nodes in xenstore, with the names, values and permissions that
 * libxl 4.17 gives them, collected into a batch.
 */
#include "services/simhost/xsbatch.h"
#include "xenmesh/host/host.pb-c.h"

/* XSTREE_LEAN leaves out what no toolstack reads again, two thirds of the nodes: xenstored 4.17
 * gets slower with each node there is (40 us a change with none, 300 us with 200,000). */
enum xstree_detail {
	XSTREE_FULL,
	XSTREE_LEAN,
};

/* /vm/<uuid>, /libxl/<domid> and /local/domain/<domid>, without devices. */
void xstree_domain(struct xsbatch *b, const Xenmesh__Host__Domain *d,
		   const Xenmesh__V1__VmConfig *config, enum xstree_detail detail);
/* /vm/<uuid>/start_time, from d->started_ns. */
void xstree_start_time(struct xsbatch *b, const Xenmesh__Host__Domain *d);
/* vif or vbd: what libxl records below /libxl, the frontend, and the backend in dom0. */
void xstree_vif(struct xsbatch *b, uint32_t domid, const Xenmesh__V1__VifState *vif,
		const Xenmesh__V1__VifConfig *config, enum xstree_detail detail);
void xstree_vbd(struct xsbatch *b, uint32_t domid, const Xenmesh__V1__VbdState *vbd,
		const Xenmesh__V1__VbdConfig *config, enum xstree_detail detail);
/* What dom0's kernel writes when a backend is connected. */
void xstree_connect_vif(struct xsbatch *b, uint32_t domid, const Xenmesh__V1__VifState *vif,
			enum xstree_detail detail);
void xstree_connect_vbd(struct xsbatch *b, uint32_t domid, const Xenmesh__V1__VbdState *vbd,
			enum xstree_detail detail);
/* What the guest's kernel writes when it has booted. */
void xstree_guest_kernel(struct xsbatch *b, const Xenmesh__Host__Domain *d,
			 enum xstree_detail detail);
/* All of it. */
void xstree_remove(struct xsbatch *b, uint32_t domid, const char *uuid);

/* "xvda1" -> xenstore's number; -EINVAL. */
int xstree_vdev_number(const char *vdev, uint32_t *out);
