/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The engine of ours: PUB, SUB, REP and REQ as nng speaks them, in the loop's
 * own thread.  A name that has to be looked up gets a thread for that time.
 *
 * Invariants:
 *  - REP: a route is the id of the connection and the words of the request up
 *    to its number; an answer to a connection that went is dropped;
 *  - REQ: what was not written when its connection goes is gone with it.
 */
#include "bus/engine_base.h"
#include "bus/sp_dialer.h"
#include "bus/sp_listener.h"
#include "bus/sp_pool.h"
#include "bus/sp_tcp.h"
#include "libcommon/err.h"
#include "libcommon/log.h"

#define SEND_MAX  (16U << 20) /* four times the largest message of the bus */
#define QUEUE_MAX 8192U
#define WORD	  4
#define HOPS_MAX  12 /* words of a route; with the id it is 56 bytes */

struct topic {
	char *prefix;
	size_t len;
};

struct bus_socket {
	struct engine_base base;
	enum bus_kind kind;
	size_t max_message; /* without the header */
	struct sp_pool pool;
	struct list listeners, tcp_listeners;
	struct list dialers;
	struct topic *topics; /* SUB */
	size_t n_topics;
};

/* ---- what comes ---- */

/* Bytes of the words up to the one with the top bit; 0 = malformed. */
static size_t header_len(const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < HOPS_MAX && (i + 1) * WORD <= len; i++) {
		if (data[i * WORD] & 0x80) {
			return (i + 1) * WORD;
		}
	}
	return 0;
}

static int take_request(struct bus_socket *s, struct sp_conn *c, const uint8_t *data, size_t len)
{
	struct bus_route route = { .len = sizeof(c->info.id) };
	size_t n = header_len(data, len);
	struct bus_peer info = c->info;

	if (n == 0) {
		return -EPROTO;
	}
	if (len - n > s->max_message) {
		return -EMSGSIZE;
	}
	memcpy(route.bytes, &info.id, sizeof(info.id));
	memcpy(route.bytes + route.len, data, n);
	route.len = (uint8_t)(route.len + n);
	if (!c->is_announced) {
		c->is_announced = true;
		engine_base_tell_link(&s->base, &info, true);
	}
	engine_base_tell_message(&s->base, &info, &route, data + n, len - n);
	return 0;
}

static int take_answer(struct bus_socket *s, struct sp_conn *c, const uint8_t *data, size_t len)
{
	struct bus_route route = { .len = WORD };
	struct bus_peer info = c->info;

	if (len < WORD || !(data[0] & 0x80)) {
		return -EPROTO;
	}
	memcpy(route.bytes, data, WORD);
	engine_base_tell_message(&s->base, &info, &route, data + WORD, len - WORD);
	return 0;
}

static int take_publication(struct bus_socket *s, struct sp_conn *c, const uint8_t *data,
			    size_t len)
{
	struct bus_route route = { .len = 0 };
	struct bus_peer info = c->info;
	bool is_wanted = s->n_topics == 0;

	for (size_t i = 0; i < s->n_topics && !is_wanted; i++) {
		const struct topic *t = &s->topics[i];

		is_wanted = len >= t->len && memcmp(data, t->prefix, t->len) == 0;
	}
	if (is_wanted) {
		engine_base_tell_message(&s->base, &info, &route, data, len);
	}
	return 0;
}

static int on_frame(struct sp_conn *c, const uint8_t *data, size_t len, void *userdata)
{
	struct bus_socket *s = userdata;
	int r = 0;

	engine_base_enter(&s->base);
	switch (s->kind) {
	case BUS_PUB:
		break; /* subscribers have nothing to say */
	case BUS_SUB:
		r = take_publication(s, c, data, len);
		break;
	case BUS_REP:
		r = take_request(s, c, data, len);
		break;
	case BUS_REQ:
		r = take_answer(s, c, data, len);
		break;
	}
	engine_base_leave(&s->base);
	return r;
}

/* ---- dialling ---- */

static void on_up(struct sp_conn *c, void *userdata)
{
	struct bus_socket *s = userdata;
	struct sp_dialer *d = c->owner;

	engine_base_enter(&s->base);
	if (d) {
		struct bus_peer info = c->info;

		sp_dialer_on_up(d);
		engine_base_tell_link(&s->base, &info, true);
	}
	engine_base_leave(&s->base);
}

static void on_down(struct sp_conn *c, bool was_up, void *userdata)
{
	struct bus_socket *s = userdata;
	struct bus_peer info = c->info;
	struct sp_dialer *d = c->owner;

	engine_base_enter(&s->base);
	if (d) {
		sp_dialer_on_down(d);
	}
	if (d ? was_up : c->is_announced) {
		engine_base_tell_link(&s->base, &info, false);
	}
	engine_base_leave(&s->base);
}

static int engine_dial(struct bus_socket *s, const char *url)
{
	struct sp_dialer *d;
	int r;

	if (s->kind == BUS_REQ && !list_is_empty(&s->dialers)) {
		return -EALREADY; /* a request goes to one place */
	}
	r = sp_dialer_new(&d, &s->pool, url);
	if (r == 0) {
		list_append(&s->dialers, &d->link);
	}
	return r;
}

/* ---- listening ---- */

static bool on_admit(struct bus_peer *peer, void *userdata)
{
	struct bus_socket *s = userdata;

	return engine_base_admits(&s->base, peer);
}

static void join(struct bus_socket *s, int fd, enum sp_scheme scheme, const char *where)
{
	const struct sp_pool_join how = { .scheme = scheme, .is_accepted = true };
	int r = sp_pool_add(&s->pool, fd, &how, NULL);

	if (r < 0) {
		log_debug("%s: a connection was turned away: %s", where, err_text(r));
	}
}

static void on_accept(struct sp_listener *l, int fd, void *userdata)
{
	join(userdata, fd, SP_IPC, l->path);
}

static void on_tcp_accept(struct sp_tcp_listener *l, int fd, void *userdata)
{
	join(userdata, fd, l->where.scheme, l->url);
}

static int listen_tcp(struct bus_socket *s, const char *url, const struct sp_address *where)
{
	struct sp_tcp_listener *l;
	int r = where->scheme == SP_TLS ? sp_pool_prepare_tls(&s->pool, url) : 0;

	if (r == 0) {
		r = sp_tcp_listener_new(&l, s->pool.loop, url, where, on_tcp_accept, s);
	}
	if (r == 0) {
		list_append(&s->tcp_listeners, &l->link);
	}
	return r;
}

static int engine_listen(struct bus_socket *s, const char *url)
{
	struct sp_address where;
	struct sp_listener *l;
	int r = sp_address_parse(&where, url);

	if (r < 0 || where.scheme != SP_IPC) {
		return r < 0 ? r : listen_tcp(s, url, &where);
	}
	r = sp_listener_new(&l, s->pool.loop, where.path, s->pool.peer_protocol, on_accept, s);
	if (r == 0) {
		list_append(&s->listeners, &l->link);
	}
	return r;
}

/* ---- sending ---- */

/* Subscribers lose what they are too slow for, never the publisher. */
static int publish(struct bus_socket *s, const void *data, size_t len)
{
	struct sp_outgoing o;

	sp_outgoing_init(&o, NULL, 0, data, len);
	list_for_each (i, &s->pool.conns) {
		struct sp_conn *c = list_entry(i, struct sp_conn, by_pool);

		if (c->is_up && sp_conn_send(c, &o) == -ENOMEM) {
			s->pool.n_dropped++;
		}
	}
	sp_outgoing_deinit(&o);
	return 0;
}

static int send_answer(struct bus_socket *s, const struct bus_route *route, const void *data,
		       size_t len)
{
	struct sp_outgoing o;
	struct sp_conn *c;
	uint64_t id;
	int r;

	if (route->len < sizeof(id) + WORD || route->len > sizeof(route->bytes)) {
		return -EINVAL;
	}
	memcpy(&id, route->bytes, sizeof(id));
	c = sp_pool_find(&s->pool, id);
	if (!c) {
		return 0;
	}
	sp_outgoing_init(&o, route->bytes + sizeof(id), route->len - sizeof(id), data, len);
	r = sp_conn_send(c, &o);
	sp_outgoing_deinit(&o);
	return r == -EPIPE ? 0 : r;
}

static int send_request(struct bus_socket *s, struct bus_route *route, const void *data, size_t len)
{
	const struct sp_dialer *d = list_first(&s->dialers, struct sp_dialer, link);
	struct sp_outgoing o;
	int r;

	if (!d || !d->conn || !d->conn->is_up) {
		return -EAGAIN;
	}
	engine_base_next_request(&s->base, route);
	sp_outgoing_init(&o, route->bytes, route->len, data, len);
	r = sp_conn_send(d->conn, &o);
	sp_outgoing_deinit(&o);
	return r == -EPIPE ? -EAGAIN : r;
}

static int engine_send(struct bus_socket *s, struct bus_route *route, const void *data, size_t len)
{
	int r = -EOPNOTSUPP;

	if (len > SEND_MAX) {
		return -EMSGSIZE;
	}
	switch (s->kind) {
	case BUS_PUB:
		r = publish(s, data, len);
		break;
	case BUS_REP:
		r = send_answer(s, route, data, len);
		break;
	case BUS_REQ:
		r = send_request(s, route, data, len);
		break;
	case BUS_SUB:
		break;
	}
	if (r == 0) {
		s->base.stats.messages_out++;
		s->base.stats.bytes_out += len;
	}
	return r;
}

/* ---- the socket ---- */

/* What comes before the message in a frame. */
static size_t header_max(enum bus_kind kind)
{
	switch (kind) {
	case BUS_REP:
		return HOPS_MAX * WORD;
	case BUS_REQ:
		return WORD;
	default:
		return 0;
	}
}

static int copy_topics(struct bus_socket *s, const struct bus_socket_options *options)
{
	s->topics = calloc(MAX(options->n_topics, 1), sizeof(*s->topics));
	if (!s->topics) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < options->n_topics; i++) {
		s->topics[i].prefix = strdup(options->topics[i]);
		if (!s->topics[i].prefix) {
			return -ENOMEM;
		}
		s->topics[i].len = strlen(options->topics[i]);
		s->n_topics++;
	}
	return 0;
}

static void engine_close(struct bus_socket *s)
{
	if (!s || !engine_base_close(&s->base)) {
		return;
	}
	list_for_each_safe (i, &s->listeners) {
		sp_listener_free(list_entry(i, struct sp_listener, link));
	}
	list_for_each_safe (k, &s->tcp_listeners) {
		sp_tcp_listener_free(list_entry(k, struct sp_tcp_listener, link));
	}
	list_for_each_safe (j, &s->dialers) {
		sp_dialer_free(list_entry(j, struct sp_dialer, link));
	}
	sp_pool_deinit(&s->pool);
	s->pool.tls = bus_tls_unref(s->pool.tls);
	for (size_t i = 0; i < s->n_topics; i++) {
		free(s->topics[i].prefix);
	}
	free(s->topics);
	engine_base_leave(&s->base);
}

static int engine_open(struct bus_socket **out, sd_event *loop, enum bus_kind kind,
		       const struct bus_socket_options *options,
		       const struct bus_socket_handler *handler, void *userdata)
{
	static const struct sp_pool_handler pool_handler = { on_admit, on_up, on_frame, on_down };
	static const uint8_t protocols[][2] = {
		[BUS_PUB] = { SP_PUB, SP_SUB },
		[BUS_SUB] = { SP_SUB, SP_PUB },
		[BUS_REP] = { SP_REP, SP_REQ },
		[BUS_REQ] = { SP_REQ, SP_REP },
	};
	struct bus_socket *s = calloc(1, sizeof(*s));
	int r;

	if (!s) {
		return -ENOMEM;
	}
	engine_base_init(&s->base, s, handler, userdata);
	s->kind = kind;
	s->max_message = options->max_message;
	list_init(&s->listeners);
	list_init(&s->tcp_listeners);
	list_init(&s->dialers);
	s->pool = (struct sp_pool){
		.loop = loop,
		.tls = bus_tls_ref(options->tls),
		.protocol = protocols[kind][0],
		.peer_protocol = protocols[kind][1],
		.max_message = options->max_message + header_max(kind),
		.queue = MIN(MAX(options->queue, 1U), QUEUE_MAX),
		.drop_oldest = kind == BUS_PUB,
		.handler = &pool_handler,
		.userdata = s,
	};
	sp_pool_init(&s->pool);
	r = kind == BUS_SUB ? copy_topics(s, options) : 0;
	if (r < 0) {
		engine_close(s);
		return err_trace(r);
	}
	*out = s;
	return 0;
}

static void engine_stats(const struct bus_socket *s, struct bus_socket_stats *out)
{
	*out = s->base.stats;
	out->peers = s->pool.n_up;
	out->drops = s->pool.n_dropped;
	list_for_each (i, &s->listeners) {
		out->relistens += list_entry(i, struct sp_listener, link)->n_relistens;
	}
}

static void engine_peers(const struct bus_socket *s,
			 void (*fn)(const struct bus_peer_stats *p, void *userdata), void *userdata)
{
	list_for_each (i, &s->pool.conns) {
		const struct sp_conn *c = list_entry(i, struct sp_conn, by_pool);
		const struct bus_peer_stats stats = {
			.peer = c->info,
			.dropped = c->n_dropped,
			.queued = c->n_queued,
			.queued_bytes = c->bytes_queued,
			.high_bytes = c->bytes_high,
		};

		if (c->is_up) {
			fn(&stats, userdata);
		}
	}
}

const struct bus_engine bus_engine_sp = {
	.name = "sp",
	.open = engine_open,
	.listen = engine_listen,
	.dial = engine_dial,
	.send = engine_send,
	.stats = engine_stats,
	.peers = engine_peers,
	.close = engine_close,
};
