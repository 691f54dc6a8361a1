/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What `xenmesh top` shows, computed from two samples of the host. Pure.
 */
#include "libcommon/arena.h"
#include "xenmesh/v1/ops.pb-c.h"

enum top_sort {
	TOP_SORT_CPU,
	TOP_SORT_MEM,
	TOP_SORT_NET,
	TOP_SORT_VBD,
	TOP_SORT_NAME,
	TOP_SORT_DOMID,
};

/* In their order, then NULL. */
extern const char *const top_sort_names[];

/* Totals since the domain's creation, as xentop has them, and rates since the older sample.
 * All seen from the guest: rx is what it received. Rates are NAN for a domain (or device) that
 * is not in the older sample, or whose counters went backwards. */
struct top_row {
	const char *name; /* of the newer sample */
	const char *uuid;
	uint32_t domid;
	char state[7]; /* xentop's "d s b c p r" with '-' */
	uint64_t cpu_ns;
	double cpu_percent; /* 100 = one pCPU */
	uint64_t memory_kib;
	double memory_percent;	 /* of the host's */
	uint64_t max_memory_kib; /* 0 = no limit */
	uint32_t vcpus;
	size_t n_vifs, n_vbds;
	uint64_t net_tx_bytes, net_rx_bytes;
	double net_tx_rate, net_rx_rate; /* bytes/s */
	uint64_t vbd_rd, vbd_wr, vbd_rsect, vbd_wsect, vbd_oo;
	double vbd_rd_rate, vbd_wr_rate; /* bytes/s */
};

struct top_view {
	struct top_row *rows;
	size_t n_rows;
	double cpu_percent;	      /* busy part of all pCPUs, 0..100; NAN without idle times */
	uint64_t free_kib, total_kib; /* total 0 = not known */
	size_t pcpus;
	double load_average;
	uint64_t realtime_ns;
};

/* Everything lives in the arena, names in `now`. before NULL: no rates. total_kib: host's memory.
 */
int top_view_make(struct arena *arena, const Xenmesh__V1__HostSample *before,
		  const Xenmesh__V1__HostSample *now, uint64_t total_kib, enum top_sort sort,
		  struct top_view *out);
