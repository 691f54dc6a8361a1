/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * One connection that speaks SP over a stream: handshake, frames in, frames
 * out.  Nothing blocks.
 */
#include <systemd/sd-event.h>

#include "bus/engine.h"
#include "bus/sp_frame.h"
#include "bus/sp_stream.h"
#include "libcommon/list.h"

#define SP_WHO_SIZE (BUS_PEER_NAME_SIZE + 16) /* of sp_conn_describe() */

struct sp_pool;
struct quota_user;

struct sp_conn {
	struct sp_pool *pool; /* NULL: closed, freed by whoever is still at work with it */
	struct list by_pool;
	struct bus_peer info;
	struct quota_user *user;
	gid_t *gids; /* of info */
	void *owner; /* of the pool's owner */
	bool is_announced;
	bool is_accepted; /* by a listener; else dialled */

	struct sp_stream stream;
	bool is_open; /* the stream takes bytes */
	bool is_bare; /* frames have no type byte: tcp */
	sd_event_source *io, *kick;
	uint32_t events; /* of io */
	unsigned int depth;
	bool is_up;
	bool is_broken; /* ends at the next turn of the loop */

	struct list by_deadline;
	uint64_t deadline_ns;
	uint8_t hello[SP_HANDSHAKE_LEN];
	size_t n_hello;
	struct sp_decoder decoder;
	size_t charged_in; /* to user, for the decoder and the stash */
	uint8_t *stash;	   /* read, but left for the next turn */
	size_t stash_len, stash_at;

	struct list queue; /* of struct sp_queued */
	size_t n_queued, bytes_queued;
	size_t n_written;     /* of the first of them */
	size_t bytes_high;    /* most that ever waited */
	size_t charged_out;   /* to user: a publication that has been written in part */
	struct list by_batch; /* of those that the pool flushes later */
	bool is_batch;	      /* the queue has not been refused by the socket yet */
	bool is_corked;	      /* in a turn that has more to deliver, and flushes at its end */
	uint64_t sent_in;     /* iteration of the loop of the last direct write */
	uint64_t n_dropped;
	/* The time in which a subscriber has to be dropped for, until it has read all. */
	struct {
		uint64_t since_ns; /* 0: it keeps up */
		uint64_t n_dropped;
		bool is_told;
	} stall;
};

/* A message on its way to one or many connections. */
struct sp_outgoing {
	uint8_t head[SP_FRAME_HEAD + sizeof(((struct bus_route *)NULL)->bytes)];
	size_t head_len;
	const void *body;
	size_t len;
	struct sp_message *message; /* made when the first has to wait */
};

/* route may be NULL. */
void sp_outgoing_init(struct sp_outgoing *o, const void *route, size_t route_len, const void *body,
		      size_t len);
void sp_outgoing_deinit(struct sp_outgoing *o);

/* "pid 7 of uid 1000", or the name of a network peer. Returns out. */
const char *sp_conn_describe(const struct sp_conn *c, char *out, size_t size);
/* For the pool: takes the fd, begins the handshake. 0 or -errno, with nothing freed. */
int sp_conn_start(struct sp_conn *c);
/* Closes and, when nobody is at work with it, frees. */
void sp_conn_free(struct sp_conn *c);
/* Let it end at the next turn of the loop, with the callback. */
void sp_conn_break(struct sp_conn *c);
/* Write what waits as far as there is room. 0 or -EPIPE. */
int sp_conn_flush(struct sp_conn *c);
/* 0 = sent or waiting; -EAGAIN: too much waits; -EPIPE: the peer is going; -ENOMEM. */
int sp_conn_send(struct sp_conn *c, struct sp_outgoing *o);
