/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The whole simulated host on one loop: what happens to its domains is told to
 * the cores, a sample each second, workers on request.
 */
#include <systemd/sd-event.h>

#include "services/simhost/faults.h"
#include "services/simhost/xenstored/sim_xenstored.h"

struct sim_service;

struct sim_service_options {
	struct sim_xenstored *xenstored; /* borrowed; $XENSTORED_PATH names its socket */
	const char *link;		 /* path of the socket for cores */
	const char *control;		 /* path of the socket for commands */
	uint32_t vms;			 /* unmanaged ones that are there at first */
	uint32_t pcpus;			 /* 0 = enough for them */
	uint64_t memory_kib;		 /* 0 = enough for them and some more */
	uint64_t seed;
	uint32_t boot_ms;      /* of a guest */
	struct faults *faults; /* borrowed */
};

/* `why` gets a sentence on failure. */
int sim_service_new(struct sim_service **out, sd_event *loop,
		    const struct sim_service_options *options, char *why, size_t why_size);
struct sim_service *sim_service_free(struct sim_service *s);

/* For people and tests: "name value" lines. */
struct strbuf;
void sim_service_stats(const struct sim_service *s, struct strbuf *out);
