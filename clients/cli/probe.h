/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * How a service is, found out by asking it: `bus ls` and `bus doctor`.
 *
 * The question is a whole call.  A bare connect() would tell less, and one that
 * says nothing makes a listener of nng 1.5.2 deaf.
 */
#include "clients/cli/cli.h"

enum probe_state {
	PROBE_UP,
	PROBE_MISSING,	   /* its socket does not exist */
	PROBE_DOWN,	   /* the socket is left, nobody listens */
	PROBE_DEAF,	   /* connected, but no answer in time */
	PROBE_DENIED,	   /* this user may not ask, or not reach the socket */
	PROBE_UNREACHABLE, /* of another host */
	PROBE_ERROR,	   /* answers with an error */
};

struct probe {
	const struct topology_service *service;
	enum probe_state state;
	struct cli_reply reply;			 /* to Describe; in cli->arena */
	const Xenmesh__V1__DescribeReply *about; /* NULL unless up */
	const Xenmesh__V1__StatsReply *stats;	 /* may be NULL */
	const char *path;			 /* of the rpc socket, NULL unless ipc:// */
	uint64_t answered_real_ns;		 /* 0 when it did not */
	bool has_uid;				 /* only known of this host's */
	uid_t uid;
};

/* All services of the topology at once, each for timeout_ms at most. malloc'ed array of
 * topology_n_services(), NULL when out of memory. */
struct probe *probe_all(struct cli *cli, uint32_t timeout_ms);
/* Ask those that are up for their counters again. */
void probe_stats(struct cli *cli, struct probe *probes, size_t n, uint32_t timeout_ms);
/* "up", "deaf". */
const char *probe_state_name(enum probe_state state);
/* The command that mends it, in cli->arena; "" when up. */
const char *probe_advice(struct cli *cli, const struct probe *p);
uint64_t probe_stat(const Xenmesh__V1__StatsReply *stats, const char *name);
