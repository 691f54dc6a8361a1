/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Services that are played: this process listens where the topology says that
 * they do, and publishes in their name.  For `bus replay` and `bus pub`.
 *
 * There is no way to put an event among those of a running service, and this
 * does not make one: where the real service runs its addresses are taken.
 */
#include "bus/pub.h"
#include "clients/cli/cli.h"

#define STAGE_SERVICES_MAX 32

struct bus_service;

struct stage {
	const char *names[STAGE_SERVICES_MAX];
	struct bus_service *services[STAGE_SERVICES_MAX];
	size_t n;
};

/* Whether an address of the service is one that /etc/xenmesh/topology.conf (or what stands for it
 * when it is missing) gives to any service: then this is no test bus. */
bool stage_is_live(const struct cli *cli, const char *service);
/* Play this service too. Refuses a live one unless i_know. The exit code, after saying why. */
int stage_add(struct stage *s, struct cli *cli, const char *service, bool i_know);
/* NULL when it is not played. */
struct bus_pub *stage_pub(const struct stage *s, const char *service);
/* Subscribers of all of them, now. */
uint64_t stage_subscribers(const struct stage *s);
void stage_close(struct stage *s);
