/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The whole host process: what it sees goes to the cores as it happens, a
 * sample each second, and workers are started on request.
 */
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "services/ops/host/hypervisor.h"

struct host_service;
struct xenstore;

struct host_service_config {
	struct hypervisor *hv;	/* borrowed */
	struct xenstore *xs;	/* borrowed; attached to the loop by the caller */
	const char *link;	/* path of the socket for cores */
	gid_t link_group;	/* (gid_t)-1 = as it is */
	const char *worker;	/* path of the worker program */
	const char *sysfs_root; /* "/sys" */
};

/* Reads everything once before the first core can connect. */
int host_service_new(struct host_service **out, sd_event *loop,
		     const struct host_service_config *config);
struct host_service *host_service_free(struct host_service *s);
