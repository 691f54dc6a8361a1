/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The host as the host process tells it: publishes host/state when it differs
 * and host/sample as it comes, and hands domains to the table of VMs and free
 * memory to its keeper.  While the host process is away the last facts stay;
 * host/state says connected = false, and host_stale_ms() how old they are.
 */
#include "services/ops/core/events.h"
#include "services/ops/core/hostlink.h"
#include "services/ops/core/memory.h"
#include "services/ops/core/names.h"
#include "services/ops/core/vms.h"

enum host_news {
	HOST_NEWS_DOMAIN, /* of a single VM; told by vms.on_change, not by on_news */
	HOST_NEWS_LINK,	  /* is_connected changed */
	HOST_NEWS_TABLE,  /* everything was told anew; table_ns says as of when */
	HOST_NEWS_SAMPLE, /* of free memory, among others */
};

struct host {
	struct vms *vms;
	struct memory *memory;
	struct events events;
	Xenmesh__V1__HostState *state; /* never NULL after init */
	uint8_t *published;	       /* serialized host/state */
	size_t published_len;
	uint8_t *sample; /* the newest, serialized; NULL = none */
	size_t sample_len;
	uint64_t table_ns; /* CLOCK_BOOTTIME of the reading of the newest table */
	uint64_t heard_ns; /* CLOCK_BOOTTIME of its last message, or of our start */
	bool is_connected; /* up, and a table was merged since */
	uint64_t n_samples, n_domain_messages, n_tables;
	void (*on_news)(enum host_news news, void *userdata);
	void *userdata;
};

int host_init(struct host *h, struct vms *vms, struct memory *memory, const struct events *events,
	      void (*on_news)(enum host_news news, void *userdata), void *userdata);
void host_deinit(struct host *h);
/* For hostlink_handler. */
int host_on_message(struct host *h, Xenmesh__Host__FromHost *message);
void host_on_link(struct host *h, bool is_up);
/* 0 = the facts are those of now; else how long ago the host process was last heard of, which tells
 * something each second. */
uint64_t host_stale_ms(const struct host *h);
/* The newest sample on the heap; NULL = none (or out of memory). */
Xenmesh__V1__HostSample *host_copy_sample(const struct host *h);
void host_stats(const struct host *h, bus_stat_fn fn, void *userdata);
