/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Counters of all vbds that the kernel's block backend serves in dom0, from
 * sysfs: bus/xen-backend/devices/vbd-<domid>-<devid>/statistics.  Disks that
 * qemu or a driver domain serves have none there.
 *
 * Holds up to seven file descriptors a vbd, so that a look is one pread() a
 * counter; the owner raises RLIMIT_NOFILE.
 */
#include "services/ops/host/counters.h"

struct host_vbds;

/* Cumulative since the vbd was made; sectors are of 512 bytes whatever the device's sector size is.
 */
struct host_vbd_counters {
	struct host_device_key device;
	uint64_t rd_req, wr_req;
	uint64_t rd_sect, wr_sect;
	uint64_t oo_req; /* times the backend had no request slot */
	uint64_t f_req;	 /* flushes */
	uint64_t ds_req; /* discards */
};

/* sysfs_root: "/sys", copied. */
int host_vbds_new(struct host_vbds **out, const char *sysfs_root);
struct host_vbds *host_vbds_free(struct host_vbds *v);
/* One look; about ten microseconds a vbd. On <0 it found none. */
int host_vbds_read(struct host_vbds *v);
/* A domain's vbds of the last look, ascending devid; valid until the next. */
const struct host_vbd_counters *host_vbds_of(const struct host_vbds *v, uint32_t domid, size_t *n);
