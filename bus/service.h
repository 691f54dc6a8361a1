/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What a service's main.c puts on the bus: a publisher, an RPC server with the
 * service's handlers, and the methods every service answers (Bus.Ping,
 * Describe, Snapshot, Changes, Stats, SetLogLevel, SetTrace).
 */
#include "bus/pub.h"
#include "bus/server.h"
#include "bus/topology.h"

struct bus_service;

struct bus_service_config {
	struct topology *topology;
	const char *name;    /* section in the topology: "ops" */
	const char *version; /* of the program */
	const struct bus_handler *handlers;
	size_t n_handlers;
	const struct bus_dedup *dedup; /* or NULL */
	void *userdata;
	/* More counters for Bus.Stats, or NULL. */
	void (*stats)(void *userdata, bus_stat_fn fn, void *fn_userdata);
};

/* Reads who has which role, and asks NSS for it: the only part that may block. Listening sockets
 * that systemd passed (LISTEN_FDS) are used for the ipc:// addresses they are bound to, and left
 * at the end, so that no connection is refused while the service is restarted: see
 * deploy/systemd/. Raises the soft limit of descriptors as far as the limits of the bus need.
 * -EADDRINUSE: another process serves it (logged, with its address). */
int bus_service_new(struct bus_service **out, sd_event *loop,
		    const struct bus_service_config *config);
struct bus_service *bus_service_free(struct bus_service *s);
struct bus_pub *bus_service_pub(struct bus_service *s);

/* Common command line of all services: --topology FILE, --log-level L, --help, --version.
 * Returns 0, or 1 when the program should exit with *status. `extra`, if given, gets the
 * options it does not know ("--name"; value NULL when nothing follows): return 0 = consumed one
 * argument, 1 = consumed with its value, <0 = unknown. */
struct bus_args {
	const char *program;
	const char *usage; /* lines about the program's own options, for --help */
	const char *topology_path;
	int (*extra)(const char *name, const char *value, void *userdata);
	void *userdata;
};
int bus_args_parse(struct bus_args *args, int argc, char **argv, int *status);
