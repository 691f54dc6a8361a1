/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Transport engines.  The rest of bus/ sees sockets of four kinds on an
 * sd-event loop; how SP bytes move is the engine's business: engine_sp.c does
 * it in the loop's own thread, engine_nng.c with nng's.  Both do ipc://,
 * tcp:// and tls+tcp://.  All callbacks come from the loop.
 *
 * What an engine promises:
 *  - a message larger than max_message never reaches anybody and costs no memory to speak of;
 *  - REQ sends a message at most once. When the connection it went over is lost, on_link(false)
 *    tells, and nothing of before is sent again;
 *  - a listener accepts whatever its peers do; an ipc one whose file was removed makes it anew
 *    within 3 s;
 *  - send never blocks: -EAGAIN when the peer is too slow or there is none.
 */
#include <systemd/sd-event.h>

#include "libcommon/base.h"

#define BUS_PEER_NAME_SIZE (64 + 1) /* X.520 has no longer names */

enum bus_kind { BUS_PUB, BUS_SUB, BUS_REP, BUS_REQ };

/* The sender of a message, as the transport tells it. */
struct bus_peer {
	uint64_t id;	/* of the connection, never reused in a process */
	bool has_creds; /* local: the kernel vouches for the rest */
	uid_t uid;
	gid_t gid;
	pid_t pid;
	const gid_t *gids; /* all supplementary groups; the engine's, until the connection ends */
	size_t n_gids;
	int role;	   /* enum bus_role, as `admit` has set it; ROLE_NONE without one */
	bool is_plain_tcp; /* unauthenticated network: no mutating call */
	/* TLS: the authority of [tls] vouches for the name and, before `admit`, for the role. nng
	 * does not show the certificate: then it is an observer without a name. */
	bool has_cert;
	/* CN of the certificate, printable; the address of plain tcp; or empty */
	char name[BUS_PEER_NAME_SIZE];
};

/* Where an answer goes (REP), or what it answers (REQ): opaque bytes of the engine. */
struct bus_route {
	uint8_t bytes[56];
	uint8_t len;
};

struct bus_socket;
struct bus_tls;

struct bus_socket_handler {
	/* Listening: asked once for each connection, as soon as it is known who it is. Sets
	 * peer->role; false = hang up. NULL = anybody may, without a role. Must not close the
	 * socket. */
	bool (*admit)(struct bus_peer *peer, void *userdata);
	/* data lives until the callback returns. Closing the socket in it is allowed. */
	void (*on_message)(struct bus_socket *s, const struct bus_peer *peer,
			   const struct bus_route *route, const void *data, size_t len,
			   void *userdata);
	/* SUB, REQ: connected or lost. REP: a peer (peer->id) came or went. May be NULL. */
	void (*on_link)(struct bus_socket *s, const struct bus_peer *peer, bool up, void *userdata);
};

struct bus_socket_options {
	size_t max_message;	   /* of incoming messages, bytes */
	unsigned int queue;	   /* messages held per peer before dropping (PUB) or EAGAIN */
	const char *const *topics; /* SUB: byte prefixes */
	size_t n_topics;
	struct bus_tls *tls; /* for tls+tcp://, or NULL; the socket takes a reference */
};

struct bus_socket_stats {
	uint64_t messages_in, messages_out, bytes_in, bytes_out;
	uint64_t relistens; /* times a lost socket file was made anew */
	uint64_t peers;	    /* now */
	uint64_t drops;	    /* PUB: messages that subscribers were too slow for, one each */
};

/* How one peer keeps up. */
struct bus_peer_stats {
	struct bus_peer peer;
	uint64_t dropped; /* publications it was too slow for */
	size_t queued, queued_bytes;
	size_t high_bytes; /* most that ever waited */
};

struct bus_engine {
	const char *name;
	int (*open)(struct bus_socket **out, sd_event *loop, enum bus_kind kind,
		    const struct bus_socket_options *options,
		    const struct bus_socket_handler *handler, void *userdata);
	/* May be called for several URLs. -EADDRINUSE when another live process has it; -ENOKEY:
	 * tls+tcp:// without usable files of [tls] (logged). ipc socket
	 * files get mode 0666: the directory's mode and [access] decide, not the file. */
	int (*listen)(struct bus_socket *s, const char *url);
	/* Non-blocking; reconnects for ever (100 ms .. 1 s). */
	int (*dial)(struct bus_socket *s, const char *url);
	/* REP: route of the request. REQ: *route is filled. PUB: route NULL. 0, -EAGAIN, -EMSGSIZE.
	 */
	int (*send)(struct bus_socket *s, struct bus_route *route, const void *data, size_t len);
	void (*stats)(const struct bus_socket *s, struct bus_socket_stats *out);
	/* Of each peer that is connected; NULL for an engine that does not know. */
	void (*peers)(const struct bus_socket *s,
		      void (*fn)(const struct bus_peer_stats *p, void *userdata), void *userdata);
	/* NULL is allowed; no callback comes after it. */
	void (*close)(struct bus_socket *s);
};

extern const struct bus_engine bus_engine_nng;
extern const struct bus_engine bus_engine_sp;
