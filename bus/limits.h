/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Limits of the bus, each with its reason.
 */
#define BUS_TOPIC_MAX	 128	    /* "vm/<36>/metrics" is 47; twice and a half of it */
#define BUS_PREFIXES_MAX 64	    /* of one subscription or request */
#define BUS_CALL_MAX	 (1U << 20) /* a request; an xl.cfg has 64 KiB at most */
#define BUS_REPLY_MAX	 (4U << 20) /* a page of BUS_PAGE_BYTES and one large event */
#define BUS_EVENT_MAX	 (4U << 20) /* host/sample of 5,000 domains is below 3 MiB */
#define BUS_PAGE_BYTES	 (1U << 20) /* of events in one ChangesReply */
/*
 * Decoded size / wire size. Of honest calls it is below 6. Events and replies come from services
 * and have samples in them: 5 to 17 with busy domains, 29 with vCPUs that never ran, as a field of
 * 0 has no byte on the wire and 8 in memory (tests/unit/test_protobuf.c measures both).
 */
#define BUS_ARENA_FACTOR       8
#define BUS_ARENA_REPLY_FACTOR 64
#define BUS_ARENA_BASE	       (64U << 10)  /* so that small messages always fit */
#define BUS_ARENA_MAX	       (256U << 20) /* BUS_REPLY_MAX times the factor */
#define BUS_TOMBSTONES_MAX     4096	    /* removed topics remembered for Changes */
#define BUS_SUB_PENDING_MAX    65536	    /* events held while a snapshot is being fetched */
#define BUS_SUB_PENDING_BYTES  (32U << 20)
#define BUS_TIMEOUT_DEFAULT_MS 30000
#define BUS_TIMEOUT_MAX_MS     3600000
#define BUS_HEARTBEAT_US       1000000ULL
#define BUS_SILENCE_US	       3500000ULL /* three heartbeats missed: the publisher is away */
#define BUS_DEDUP_SECONDS      600	  /* a repeat of a request id finds its answer that long */
#define BUS_DEDUP_MAX	       10000	  /* answers remembered in memory */
#define BUS_CLIENT_NAME_MAX    128

/*
 * Shared out among the users (bus/quota.h has the rule): one user alone gets
 * half of it, a second one a quarter, a third one an eighth.
 */
#define BUS_CONNECTIONS_MAX 4096 /* of a socket, or a quarter of RLIMIT_NOFILE if that is less */
/* Of a socket: messages that have come in part, answers that wait to be read. A user alone may have
 * 64 MiB: sixteen of the largest answers. */
#define BUS_BYTES_MAX (128U << 20)
/* Of a server: what calls in flight take in memory when decoded, of those that take more than
 * BUS_ARENA_BASE. A user alone may have 64 MiB: 8 of the largest. */
#define BUS_CALLS_BYTES_MAX (128U << 20)
#define BUS_INFLIGHT_MAX    1024 /* calls of a server; 8 connections full of WaitTask a user */
/* Further calls of the methods that the protos mark as essential, when the others have used up
 * what there is: 32 for a user alone, 16 for a second one. They are answered at once. */
#define BUS_INFLIGHT_RESERVE 64

/* Of one connection. What nng holds of a pipe over tcp; more would be lost silently. */
#define BUS_INFLIGHT_PER_PEER 64
/* Further ones of essential methods, over ipc:// only. */
#define BUS_INFLIGHT_PEER_RESERVE 8

/*
 * Of one subscriber. What is beyond is dropped, oldest first, and counted; the
 * subscribers of a publisher share the bytes of a message that waits.
 */
#define BUS_SUBSCRIBER_QUEUE 1024	 /* messages; more than a burst of all VMs of a host */
#define BUS_SUBSCRIBER_BYTES (64U << 20) /* 16 of the largest events */
#define BUS_STATS_PEERS	     64		 /* subscribers that Bus.Stats has by name */
