/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ZeroMQ: REQ to ROUTER for single calls, DEALER for many at once, PUB and SUB.
 * Their queues are ten times the usual ones: a publisher learns only every 3 ms
 * what was read, and in that time takes more than 1,000 for too many.
 */
#include "tests/bench/bus_peer.h"

#if __has_include(<zmq.h>)
#include <stdio.h>
#include <zmq.h>

#define QUEUE 10000

struct zmq_client {
	void *req, *dealer;
};

struct zmq_publisher {
	void *socket;
	struct bench_fan *fan;
};

static const char *url_of(const char *dir, const char *name)
{
	static char url[192];

	snprintf(url, sizeof(url), "ipc://%s", bench_path(dir, name));
	return url;
}

static void *make(int type)
{
	static void *context;
	void *socket;

	context = context ? context : zmq_ctx_new();
	socket = context ? zmq_socket(context, type) : NULL;
	bench_expect(socket, "zmq_socket");
	return socket;
}

/* ---- calls ---- */

static void zmq_serve(const char *dir, int ready)
{
	void *s = make(ZMQ_ROUTER);

	bench_expect(zmq_bind(s, url_of(dir, "zmq")) == 0, "zmq_bind");
	close(ready);
	for (;;) {
		zmq_msg_t part;
		int has_more;

		zmq_msg_init(&part);
		bench_expect(zmq_msg_recv(&part, s, 0) >= 0, "zmq_msg_recv");
		has_more = zmq_msg_more(&part);
		bench_expect(zmq_msg_send(&part, s, has_more ? ZMQ_SNDMORE : 0) >= 0,
			     "zmq_msg_send");
	}
}

static void *zmq_connect_both(const char *dir)
{
	static struct zmq_client c;

	c.req = make(ZMQ_REQ);
	c.dealer = make(ZMQ_DEALER);
	bench_expect(zmq_connect(c.req, url_of(dir, "zmq")) == 0 &&
			     zmq_connect(c.dealer, url_of(dir, "zmq")) == 0,
		     "zmq_connect");
	return &c;
}

static void send_one(void *socket, size_t size)
{
	static const uint8_t data[BENCH_MESSAGE_MAX];

	bench_expect(zmq_send(socket, data, size, 0) == (int)size, "zmq_send");
}

static void receive_one(void *socket, size_t size)
{
	zmq_msg_t part;

	zmq_msg_init(&part);
	bench_expect(zmq_msg_recv(&part, socket, 0) == (int)size, "zmq_msg_recv");
	zmq_msg_close(&part);
}

static void zmq_call(void *client, size_t size)
{
	struct zmq_client *c = client;

	send_one(c->req, size);
	receive_one(c->req, size);
}

static void zmq_call_many(void *client, size_t size, size_t n)
{
	struct zmq_client *c = client;
	size_t n_sent = 0;

	for (size_t n_received = 0; n_received < n; n_received++) {
		for (; n_sent < n && n_sent - n_received < BENCH_WINDOW; n_sent++) {
			send_one(c->dealer, size);
		}
		receive_one(c->dealer, size);
	}
}

/* ---- publications ---- */

static void set_queue(void *socket, int option)
{
	const int n = QUEUE;

	bench_expect(zmq_setsockopt(socket, option, &n, sizeof(n)) == 0, "zmq_setsockopt");
}

static void *zmq_publisher(const char *dir, struct bench_fan *fan)
{
	static struct zmq_publisher p;

	p.fan = fan;
	p.socket = make(ZMQ_PUB);
	set_queue(p.socket, ZMQ_SNDHWM);
	bench_expect(zmq_bind(p.socket, url_of(dir, "zmq-pub")) == 0, "zmq_bind");
	return &p;
}

static void zmq_publish(void *publisher, const void *data, size_t len)
{
	struct zmq_publisher *p = publisher;

	bench_expect(zmq_send(p->socket, data, len, 0) == (int)len, "zmq_send");
}

static void zmq_wait(void *publisher, int timeout_ms)
{
	struct zmq_publisher *p = publisher;

	bench_fan_poll(p->fan, timeout_ms);
}

static void zmq_subscribe(const char *dir, struct bench_fan *fan, size_t i)
{
	void *s = make(ZMQ_SUB);

	set_queue(s, ZMQ_RCVHWM);
	bench_expect(zmq_setsockopt(s, ZMQ_SUBSCRIBE, "", 0) == 0 &&
			     zmq_connect(s, url_of(dir, "zmq-pub")) == 0,
		     "zmq subscribe");
	for (;;) {
		zmq_msg_t part;

		zmq_msg_init(&part);
		bench_expect(zmq_msg_recv(&part, s, 0) >= 0, "zmq_msg_recv");
		bench_fan_take(fan, i, zmq_msg_data(&part), zmq_msg_size(&part));
		zmq_msg_close(&part);
	}
}

const struct bench_peer peer_zmq = {
	.name = "ZeroMQ",
	.package = "libzmq3-dev",
	.serve = zmq_serve,
	.connect = zmq_connect_both,
	.call = zmq_call,
	.call_many = zmq_call_many,
	.publisher = zmq_publisher,
	.publish = zmq_publish,
	.wait = zmq_wait,
	.subscribe = zmq_subscribe,
};

#else

static bool is_installed(void)
{
	return false;
}

const struct bench_peer peer_zmq = {
	.name = "ZeroMQ",
	.package = "libzmq3-dev",
	.is_installed = is_installed,
};

#endif
