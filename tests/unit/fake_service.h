/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A service made by hand at the level of the engine, for tests of the client
 * and the subscriber: it can misbehave as no real service does.  Sockets are in
 * a directory of its own; everything runs on one loop.
 */
#include <stdio.h>

#include "bus/codes.h"
#include "bus/engine.h"
#include "bus/limits.h"
#include "bus/topology.h"
#include "libcommon/base.h"
#include "libcommon/clock.h"
#include "xenmesh/v1/bus.pb-c.h"

struct fake_service {
	sd_event *loop;
	char dir[32];
	char rpc_url[64], pub_url[64];
	struct topology *topology; /* knows the service as "fake" */
	struct bus_socket *rep, *pub;
	/* A call came. Answer with fake_reply(), now or later. */
	void (*on_call)(struct fake_service *f, const struct bus_route *route,
			const Xenmesh__V1__Call *call);
	void *userdata;
	unsigned int n_calls;
};

static inline void fake_on_message(struct bus_socket *s _unused_,
				   const struct bus_peer *peer _unused_,
				   const struct bus_route *route, const void *data, size_t len,
				   void *userdata)
{
	struct fake_service *f = userdata;
	Xenmesh__V1__Call *call = xenmesh__v1__call__unpack(NULL, len, data);

	f->n_calls++;
	if (call && f->on_call) {
		f->on_call(f, route, call);
	}
	if (call) {
		xenmesh__v1__call__free_unpacked(call, NULL);
	}
}

static inline int fake_listen_rpc(struct fake_service *f)
{
	static const struct bus_socket_handler handler = { .on_message = fake_on_message };
	const struct bus_socket_options options = { .max_message = BUS_CALL_MAX, .queue = 128 };
	int r = bus_engine_sp.open(&f->rep, f->loop, BUS_REP, &options, &handler, f);

	return r < 0 ? r : bus_engine_sp.listen(f->rep, f->rpc_url);
}

static inline int fake_listen_pub(struct fake_service *f)
{
	static const struct bus_socket_handler handler = { 0 };
	const struct bus_socket_options options = { .max_message = 1024, .queue = 1024 };
	int r = bus_engine_sp.open(&f->pub, f->loop, BUS_PUB, &options, &handler, f);

	return r < 0 ? r : bus_engine_sp.listen(f->pub, f->pub_url);
}

static inline void fake_close_rpc(struct fake_service *f)
{
	bus_engine_sp.close(STEAL(f->rep));
}

static inline void fake_close_pub(struct fake_service *f)
{
	bus_engine_sp.close(STEAL(f->pub));
}

static inline int fake_write_topology(struct fake_service *f)
{
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	char path[64];
	FILE *file;
	int r;

	snprintf(path, sizeof(path), "%s/topology.conf", f->dir);
	file = fopen(path, "w");
	if (!file) {
		return -errno;
	}
	fprintf(file,
		"[bus]\nrun_dir = %s\n[service fake]\npub = ipc://@run@/pub\nrpc = "
		"ipc://@run@/rpc\n",
		f->dir);
	fclose(file);
	r = topology_load(&f->topology, path, &errors);
	if (r < 0) {
		printf("%s", strbuf_str(&errors));
	}
	return r;
}

/* Does not listen yet. 0 or <0. */
static inline int fake_init(struct fake_service *f)
{
	*f = (struct fake_service){ .dir = "/tmp/xenmesh-unit-XXXXXX" };
	if (!mkdtemp(f->dir)) {
		return -errno;
	}
	snprintf(f->rpc_url, sizeof(f->rpc_url), "ipc://%s/rpc", f->dir);
	snprintf(f->pub_url, sizeof(f->pub_url), "ipc://%s/pub", f->dir);
	if (sd_event_new(&f->loop) < 0) {
		return -ENOMEM;
	}
	return fake_write_topology(f);
}

static inline void fake_deinit(struct fake_service *f)
{
	char path[64];

	fake_close_rpc(f);
	fake_close_pub(f);
	f->topology = topology_free(f->topology);
	f->loop = sd_event_unref(f->loop);
	snprintf(path, sizeof(path), "%s/topology.conf", f->dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/rpc", f->dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/pub", f->dir);
	unlink(path);
	rmdir(f->dir);
}

/* Serialized, then sent; payload may be NULL. */
static inline int fake_reply(struct fake_service *f, const struct bus_route *route,
			     const ProtobufCBinaryData *request_id, int code, const char *message,
			     const ProtobufCMessage *payload)
{
	Xenmesh__V1__Reply reply = XENMESH__V1__REPLY__INIT;
	_cleanup_(xfreep) uint8_t *body = NULL, *data = NULL;
	struct bus_route to = *route;
	size_t len;

	reply.request_id = *request_id;
	reply.code = (Xenmesh__V1__Code)code;
	reply.message = (char *)message;
	if (payload) {
		reply.payload.len = protobuf_c_message_get_packed_size(payload);
		reply.payload.data = body = malloc(reply.payload.len + 1);
		protobuf_c_message_pack(payload, body);
	}
	len = xenmesh__v1__reply__get_packed_size(&reply);
	data = malloc(len + 1);
	xenmesh__v1__reply__pack(&reply, data);
	return bus_engine_sp.send(f->rep, &to, data, len);
}

/* The loop runs until *done or the time is over; returns *done. */
static inline bool fake_run(struct fake_service *f, const bool *done, unsigned int timeout_ms)
{
	uint64_t end_ns = clock_boot_ns() + timeout_ms * NSEC_PER_MSEC;

	while (!*done && clock_boot_ns() < end_ns) {
		uint64_t left_us = (end_ns - clock_boot_ns()) / 1000;

		if (sd_event_run(f->loop, MIN(left_us, 50000)) < 0) {
			return false;
		}
	}
	return *done;
}
