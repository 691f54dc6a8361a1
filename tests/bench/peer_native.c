/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bus's own engine for ipc://, without envelopes: what the transport costs.
 */
#include <stdio.h>

#include "bus/engine.h"
#include "libcommon/loop.h"
#include "tests/bench/bus_peer.h"

struct native_client {
	sd_event *loop;
	struct bus_socket *socket;
	bool is_up;
	size_t size;
	size_t n_received;
};

struct native_publisher {
	sd_event *loop;
	struct bus_socket *socket;
	struct bench_fan *fan;
};

struct native_subscriber {
	struct bench_fan *fan;
	size_t i;
};

static const struct bus_engine *const engine = &bus_engine_sp;

static const struct bus_socket_options options = { .max_message = 1U << 20, .queue = 1024 };

static const char *url_of(const char *dir, const char *name)
{
	static char url[192];

	snprintf(url, sizeof(url), "ipc://%s", bench_path(dir, name));
	return url;
}

static struct bus_socket *make(sd_event **loop, enum bus_kind kind,
			       const struct bus_socket_handler *handler, void *userdata)
{
	struct bus_socket *s = NULL;

	bench_expect(loop_new(loop) == 0, "native: loop");
	bench_expect(engine->open(&s, *loop, kind, &options, handler, userdata) == 0,
		     "native: socket");
	return s;
}

/* ---- calls ---- */

static void on_request(struct bus_socket *s, const struct bus_peer *peer _unused_,
		       const struct bus_route *route, const void *data, size_t len,
		       void *userdata _unused_)
{
	struct bus_route copy = *route;

	bench_expect(engine->send(s, &copy, data, len) == 0, "native: answer");
}

static void native_serve(const char *dir, int ready)
{
	static const struct bus_socket_handler handler = { .on_message = on_request };
	sd_event *loop;
	struct bus_socket *s = make(&loop, BUS_REP, &handler, NULL);

	bench_expect(engine->listen(s, url_of(dir, "native")) == 0, "native: listen");
	close(ready);
	loop_run(loop);
	_exit(0);
}

static void on_answer(struct bus_socket *s _unused_, const struct bus_peer *peer _unused_,
		      const struct bus_route *route _unused_, const void *data _unused_, size_t len,
		      void *userdata)
{
	struct native_client *c = userdata;

	bench_expect(len == c->size, "native: the answer has another size");
	c->n_received++;
}

static void on_link(struct bus_socket *s _unused_, const struct bus_peer *peer _unused_, bool up,
		    void *userdata)
{
	struct native_client *c = userdata;

	c->is_up = up;
}

static void *native_connect(const char *dir)
{
	static const struct bus_socket_handler handler = { .on_message = on_answer,
							   .on_link = on_link };
	static struct native_client c;

	c.socket = make(&c.loop, BUS_REQ, &handler, &c);
	bench_expect(engine->dial(c.socket, url_of(dir, "native")) == 0, "native: dial");
	while (!c.is_up) {
		sd_event_run(c.loop, UINT64_MAX);
	}
	return &c;
}

/* True unless it has to wait. */
static bool request(struct native_client *c)
{
	static const uint8_t data[BENCH_MESSAGE_MAX];
	struct bus_route route;
	int r = engine->send(c->socket, &route, data, c->size);

	bench_expect(r == 0 || r == -EAGAIN, "native: send");
	return r == 0;
}

static void native_call_many(void *client, size_t size, size_t n)
{
	struct native_client *c = client;
	size_t n_sent = 0;

	c->size = size;
	c->n_received = 0;
	while (c->n_received < n) {
		while (n_sent < n && n_sent - c->n_received < BENCH_WINDOW && request(c)) {
			n_sent++;
		}
		sd_event_run(c->loop, UINT64_MAX);
	}
}

static void native_call(void *client, size_t size)
{
	native_call_many(client, size, 1);
}

/* ---- publications ---- */

static void *native_publisher(const char *dir, struct bench_fan *fan)
{
	static const struct bus_socket_handler handler;
	static struct native_publisher p;

	p.fan = fan;
	p.socket = make(&p.loop, BUS_PUB, &handler, &p);
	bench_expect(engine->listen(p.socket, url_of(dir, "native-pub")) == 0, "native: listen");
	bench_fan_watch(fan, p.loop);
	return &p;
}

static void native_publish(void *publisher, const void *data, size_t len)
{
	struct native_publisher *p = publisher;

	bench_expect(engine->send(p->socket, NULL, data, len) == 0, "native: publish");
}

static void native_wait(void *publisher, int timeout_ms)
{
	struct native_publisher *p = publisher;

	bench_fan_run(p->fan, p->loop, timeout_ms);
}

static uint64_t native_drops(void *publisher)
{
	struct native_publisher *p = publisher;
	struct bus_socket_stats stats;

	engine->stats(p->socket, &stats);
	return stats.drops;
}

static void on_publication(struct bus_socket *s _unused_, const struct bus_peer *peer _unused_,
			   const struct bus_route *route _unused_, const void *data, size_t len,
			   void *userdata)
{
	struct native_subscriber *sub = userdata;

	bench_fan_take(sub->fan, sub->i, data, len);
}

static void native_subscribe(const char *dir, struct bench_fan *fan, size_t i)
{
	static const struct bus_socket_handler handler = { .on_message = on_publication };
	struct native_subscriber sub = { fan, i };
	sd_event *loop;
	struct bus_socket *s = make(&loop, BUS_SUB, &handler, &sub);

	bench_expect(engine->dial(s, url_of(dir, "native-pub")) == 0, "native: dial");
	loop_run(loop);
	_exit(0);
}

const struct bench_peer peer_native = {
	.name = "xenmesh engine",
	.serve = native_serve,
	.connect = native_connect,
	.call = native_call,
	.call_many = native_call_many,
	.publisher = native_publisher,
	.publish = native_publish,
	.wait = native_wait,
	.drops = native_drops,
	.subscribe = native_subscribe,
};
