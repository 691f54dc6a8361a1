/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The connections of one socket of the SP engine: their limits, and the
 * deadlines of those that keep others waiting.
 */
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "bus/quota.h"
#include "bus/sp_address.h"
#include "bus/sp_conn.h"
#include "libcommon/list.h"
#include "libcommon/map.h"

#define SP_SCRATCH (128U << 10) /* read at once: most messages are in it whole */

struct sp_pool_handler {
	/* Of a connection that was accepted: its credentials, or its certificate, are known. False
	 * ends it at once. */
	bool (*admit)(struct bus_peer *peer, void *userdata);
	/* Shaken hands. */
	void (*on_up)(struct sp_conn *c, void *userdata);
	/* < 0 ends the connection. Closing everything in it is allowed; data lives on until it
	 * returns. */
	int (*on_frame)(struct sp_conn *c, const uint8_t *data, size_t len, void *userdata);
	/* It is over, for whatever reason, was_up or not; the connection is freed afterwards. */
	void (*on_down)(struct sp_conn *c, bool was_up, void *userdata);
};

struct sp_pool {
	sd_event *loop;
	struct bus_tls *tls;   /* or NULL; the owner's */
	uint8_t protocol;      /* ours */
	uint8_t peer_protocol; /* the only one that may connect */
	size_t max_message;    /* of incoming ones */
	size_t queue;	       /* messages of a peer that wait */
	bool drop_oldest;      /* when they are too many; else the newest is refused */
	const struct sp_pool_handler *handler;
	void *userdata;

	struct list conns;
	size_t n_up;
	uint64_t n_dropped; /* messages that subscribers were too slow for */
	uint64_t last_id;
	struct map by_id;	      /* uint64_t -> struct sp_conn */
	struct quota_book quota;      /* QUOTA_CONNECTIONS, QUOTA_BYTES */
	struct list shaking, partial; /* by ascending deadline */
	sd_event_source *timer;
	uint64_t armed_ns;	   /* 0 = not armed */
	struct loop_ticker *audit; /* of TLS peers, while there may be any */
	uint8_t *scratch;
	struct list batches; /* connections with something to write, by the next turn */
	sd_event_source *flush;
};

/* The fields above the gap are set. */
void sp_pool_init(struct sp_pool *p);
/* Closes all connections without a callback. Idempotent. */
void sp_pool_deinit(struct sp_pool *p);
/* What is to become of a socket. */
struct sp_pool_join {
	enum sp_scheme scheme;
	bool is_accepted;	 /* by a listener */
	bool is_connecting;	 /* connect() goes on */
	const char *server_name; /* TLS, dialled: whose certificate it has to be */
};

/* Takes fd, also when it fails. 0; -EUSERS: the user has its share of the connections; -EACCES: not
 * admitted; -errno. Only `admit` is called from here. */
int sp_pool_add(struct sp_pool *p, int fd, const struct sp_pool_join *join, struct sp_conn **out);
/* Before TLS is used: the files are read, and peers are looked at again when those change. 0;
 * -ENOKEY (logged); -errno. */
int sp_pool_prepare_tls(struct sp_pool *p, const char *url);
struct sp_conn *sp_pool_find(const struct sp_pool *p, uint64_t id);

/* ---- for sp_conn.c ---- */

/* TLS may have told who it is. 0; -EACCES: it is not admitted; -EUSERS: the share is used up;
 * -ENOMEM. */
int sp_pool_on_open(struct sp_pool *p, struct sp_conn *c);
/* Forget the connection. */
void sp_pool_leave(struct sp_pool *p, struct sp_conn *c);
/* Write what waits before the loop sleeps. */
void sp_pool_flush_later(struct sp_pool *p, struct sp_conn *c);
/* Which deadline it has now, from now on. */
void sp_pool_await_nothing(struct sp_pool *p, struct sp_conn *c);
void sp_pool_await_progress(struct sp_pool *p, struct sp_conn *c);
