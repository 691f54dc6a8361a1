/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Limits of the bus, each with its reason.
 */
#define BUS_TOPIC_MAX	       128	  /* "vm/<36>/metrics" is 47; twice and a half of it */
#define BUS_PREFIXES_MAX       64	  /* of one subscription or request */
#define BUS_CALL_MAX	       (1U << 20) /* a request; an xl.cfg has 64 KiB at most */
#define BUS_REPLY_MAX	       (4U << 20) /* a page of BUS_PAGE_BYTES and one large event */
#define BUS_EVENT_MAX	       (4U << 20) /* host/sample of 5,000 domains is below 3 MiB */
#define BUS_PAGE_BYTES	       (1U << 20) /* of events in one ChangesReply */
#define BUS_ARENA_FACTOR       8 /* decoded size / wire size of honest messages is below 6 */
#define BUS_ARENA_BASE	       (64U << 10) /* so that small messages always fit */
#define BUS_TOMBSTONES_MAX     4096	   /* removed topics remembered for Changes */
#define BUS_SUB_PENDING_MAX    65536	   /* events held while a snapshot is being fetched */
#define BUS_SUB_PENDING_BYTES  (32U << 20)
#define BUS_INFLIGHT_PER_PEER  64 /* what nng holds a pipe over tcp; more would be lost silently */
#define BUS_INFLIGHT_MAX       1024 /* of one server */
#define BUS_TIMEOUT_DEFAULT_MS 30000
#define BUS_TIMEOUT_MAX_MS     3600000
#define BUS_HEARTBEAT_US       1000000ULL
#define BUS_SILENCE_US	       3500000ULL /* three heartbeats missed: the publisher is away */
#define BUS_DEDUP_SECONDS      600	  /* a repeat of a request id finds its answer that long */
#define BUS_DEDUP_MAX	       10000	  /* answers remembered in memory */
#define BUS_CLIENT_NAME_MAX    128
