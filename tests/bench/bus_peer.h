/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What the benchmark of the bus asks of each messaging system: an echo server,
 * a client with one or many calls under way, a publisher and its subscribers.
 *
 * Every role has a process of its own, forked by a driver that has touched no
 * messaging library, and all of them share one core.  Nothing here returns an
 * error: what fails ends its process with a message, and the driver reports
 * the peer as failed.
 */
#include <stdatomic.h>
#include <systemd/sd-event.h>

#include "libcommon/base.h"

#define BENCH_MESSAGE_MAX (64U << 10)
#define BENCH_WINDOW	  64 /* calls outstanding */

/* The beginning of each published message. */
struct bench_message {
	uint64_t seq;	 /* from 1; 0 is a probe that is not counted */
	uint32_t burst;	 /* number of its burst */
	uint32_t is_end; /* the last one of the burst */
};

struct bench_slot {
	_Alignas(64) _Atomic uint64_t n_received;
	_Atomic uint64_t last_ns;
	uint64_t last_seq;
	uint64_t n_disordered;
	bool is_ready;
};

/* Shared memory of a publisher and its subscribers. */
struct bench_fan {
	int done_fd; /* eventfd, readable when all have what was waited for */
	uint32_t n;
	_Atomic uint32_t burst;
	_Atomic uint32_t n_ready, n_done;
	struct bench_slot slots[];
};

/* A subscriber, number i, has got a message. */
void bench_fan_take(struct bench_fan *fan, size_t i, const void *data, size_t len);

struct bench_peer {
	const char *name;
	const char *package; /* what to install; NULL: nothing */
	bool (*is_installed)(void);
	/* Runs (or becomes) what stands in the middle; NULL: nothing does. `ready` and all
	 * its copies are closed when it can be used. */
	void (*broker)(const char *dir, int ready);
	/* Echoes for ever; closes ready when it listens. */
	void (*serve)(const char *dir, int ready);
	void *(*connect)(const char *dir);
	/* A round trip of size bytes each way. */
	void (*call)(void *client, size_t size);
	/* n of them, never more than BENCH_WINDOW and mostly as many under way. */
	void (*call_many)(void *client, size_t size, size_t n);
	/* NULL: has no publications. */
	void *(*publisher)(const char *dir, struct bench_fan *fan);
	void (*publish)(void *publisher, const void *data, size_t len);
	/* Do what has to be done until fan->done_fd is readable or the time is over. */
	void (*wait)(void *publisher, int timeout_ms);
	/* Messages dropped so far as far as the publisher was told; NULL: it is not told. */
	uint64_t (*drops)(void *publisher);
	/* Gives each message to bench_fan_take(), for ever. */
	void (*subscribe)(const char *dir, struct bench_fan *fan, size_t i);
};

extern const struct bench_peer peer_raw, peer_native, peer_rpc, peer_nng, peer_zmq, peer_dbus,
	peer_nats;

/* ---- help for the peers ---- */

/* "bench_bus: WHAT: TEXT of errno" and the end of the process. */
_Noreturn void bench_die(const char *what);
/* The same with a text of one's own. */
_Noreturn void bench_fail(const char *what, const char *why);
static inline void bench_expect(bool ok, const char *what)
{
	if (!ok) {
		bench_die(what);
	}
}
/* DIR/NAME, valid until the next but three. */
const char *bench_path(const char *dir, const char *name);
/* True when the program is in PATH or where Debian puts daemons. */
bool bench_has_program(const char *name);
/* Whether done_fd was readable; takes what is there. */
bool bench_fan_is_done(const struct bench_fan *fan);
/* `wait` of who has nothing to do meanwhile. */
void bench_fan_poll(const struct bench_fan *fan, int timeout_ms);
/* `wait` of an sd-event loop, to which bench_fan_watch() has added done_fd. */
void bench_fan_watch(struct bench_fan *fan, sd_event *loop);
void bench_fan_run(const struct bench_fan *fan, sd_event *loop, int timeout_ms);
