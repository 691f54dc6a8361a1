/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Counters of all vifs, from one netlink dump (RTM_GETSTATS, Linux 4.7 and
 * newer).  An interface is a vif when sysfs says so, whatever its name:
 * class/net/<name>/device/nodename = "backend/vif/<domid>/<devid>".
 */
#include "services/ops/host/counters.h"

struct host_vifs;

/* As the guest sees it: rx is what it received. Cumulative since the vif was made. */
struct host_vif_counters {
	struct host_device_key device;
	uint64_t rx_bytes, tx_bytes;
	uint64_t rx_packets, tx_packets;
	uint64_t rx_errors, tx_errors;
	uint64_t rx_dropped, tx_dropped;
};

/* sysfs_root: "/sys", copied. */
int host_vifs_new(struct host_vifs **out, const char *sysfs_root);
struct host_vifs *host_vifs_free(struct host_vifs *v);
/* One look; about a microsecond an interface. On <0 it found none. */
int host_vifs_read(struct host_vifs *v);
/* A domain's vifs of the last look, ascending devid; valid until the next. */
const struct host_vif_counters *host_vifs_of(const struct host_vifs *v, uint32_t domid, size_t *n);
