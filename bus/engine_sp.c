/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The engine of ipc://: PUB, SUB, REP and REQ as nng speaks them, in the
 * loop's own thread.
 *
 * Invariants:
 *  - REP: a route is the id of the connection and the words of the request up
 *    to its number; an answer to a connection that went is dropped;
 *  - REQ: what was not written when its connection goes is gone with it.
 */
#include <sys/socket.h>
#include <sys/un.h>

#include "bus/engine.h"
#include "bus/sp_listener.h"
#include "bus/sp_pool.h"
#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/uuid.h"

#define SEND_MAX	 (16U << 20) /* four times the largest message of the bus */
#define QUEUE_MAX	 8192U
#define WORD		 4
#define HOPS_MAX	 12 /* words of a route; with the id it is 56 bytes */
#define RECONNECT_MIN_MS 100
#define RECONNECT_MAX_MS 1000
#define REDIAL_FIRST_MS	 10 /* after a connection that had lasted */

struct dialer {
	struct list link;
	struct bus_socket *socket;
	char *path;
	struct sp_conn *conn; /* NULL: none at the moment */
	uint64_t up_since_ns; /* 0 = not up */
	uint64_t delay_ms;
	sd_event_source *timer;
};

struct topic {
	char *prefix;
	size_t len;
};

struct bus_socket {
	enum bus_kind kind;
	struct bus_socket_handler handler;
	void *userdata;
	size_t max_message; /* without the header */
	struct sp_pool pool;
	struct list listeners;
	struct list dialers;
	struct topic *topics; /* SUB */
	size_t n_topics;
	uint32_t next_request;
	struct bus_socket_stats stats;
	unsigned int depth; /* of callbacks under way */
	bool is_closed;
};

/* ---- callbacks of the user ---- */

static void enter(struct bus_socket *s)
{
	s->depth++;
}

/* False when the socket is closed; then it may be freed. */
static bool leave(struct bus_socket *s)
{
	s->depth--;
	if (!s->is_closed) {
		return true;
	}
	if (s->depth == 0) {
		free(s);
	}
	return false;
}

static void tell_link(struct bus_socket *s, const struct bus_peer *info, bool is_up)
{
	struct bus_peer copy = *info;

	if (s->handler.on_link && !s->is_closed) {
		s->handler.on_link(s, &copy, is_up, s->userdata);
	}
}

static void tell_message(struct bus_socket *s, const struct bus_peer *info,
			 const struct bus_route *route, const uint8_t *data, size_t len)
{
	if (s->is_closed || !s->handler.on_message) {
		return;
	}
	s->stats.messages_in++;
	s->stats.bytes_in += len;
	s->handler.on_message(s, info, route, data, len, s->userdata);
}

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
		tell_link(s, &info, true);
	}
	tell_message(s, &info, &route, data + n, len - n);
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
	tell_message(s, &info, &route, data + WORD, len - WORD);
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
		tell_message(s, &info, &route, data, len);
	}
	return 0;
}

static int on_frame(struct sp_conn *c, const uint8_t *data, size_t len, void *userdata)
{
	struct bus_socket *s = userdata;
	int r = 0;

	enter(s);
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
	leave(s);
	return r;
}

/* ---- dialling ---- */

static void redial_later(struct dialer *d);

static int try_connect(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int r;

	if (fd < 0) {
		return err_errno();
	}
	memcpy(address.sun_path, path, strlen(path) + 1);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		r = err_errno();
		close(fd);
		return r;
	}
	return fd;
}

static void connect_now(struct dialer *d)
{
	int r = try_connect(d->path);

	if (r >= 0) {
		r = sp_pool_add(&d->socket->pool, r, false, &d->conn);
	}
	if (r < 0) {
		log_debug("cannot connect to %s: %s", d->path, err_text(r));
		d->conn = NULL;
		redial_later(d);
		return;
	}
	d->conn->owner = d;
}

static int on_redial(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
	connect_now(userdata);
	return 0;
}

/* With a quarter more or less, so that the clients of a service do not come all at once. */
static void redial_later(struct dialer *d)
{
	uint64_t now = clock_boot_ns();
	uint64_t delay_us;
	uint32_t dice;
	int r;

	if (d->up_since_ns && now - d->up_since_ns >= RECONNECT_MAX_MS * NSEC_PER_MSEC) {
		d->delay_ms = REDIAL_FIRST_MS;
	} else {
		d->delay_ms = MIN(MAX(2 * d->delay_ms, RECONNECT_MIN_MS), RECONNECT_MAX_MS);
	}
	d->up_since_ns = 0;
	random_bytes(&dice, sizeof(dice));
	delay_us = d->delay_ms * USEC_PER_MSEC * (75 + dice % 51) / 100;
	r = loop_after(d->socket->pool.loop, &d->timer, MIN(delay_us, USEC_PER_SEC), on_redial, d);
	if (r < 0) {
		log_error("cannot arm the timer to connect to %s again: %s", d->path, err_text(r));
	}
}

static void on_up(struct sp_conn *c, void *userdata)
{
	struct bus_socket *s = userdata;
	struct dialer *d = c->owner;

	enter(s);
	if (d) {
		struct bus_peer info = c->info;

		d->up_since_ns = clock_boot_ns();
		tell_link(s, &info, true);
	}
	leave(s);
}

static void on_down(struct sp_conn *c, bool was_up, void *userdata)
{
	struct bus_socket *s = userdata;
	struct bus_peer info = c->info;
	struct dialer *d = c->owner;

	enter(s);
	if (d) {
		d->conn = NULL;
		redial_later(d);
	}
	if (d ? was_up : c->is_announced) {
		tell_link(s, &info, false);
	}
	leave(s);
}

static void dialer_free(struct dialer *d)
{
	list_unlink(&d->link);
	sd_event_source_disable_unref(d->timer);
	free(d->path);
	free(d);
}

static const char *path_of(const char *url)
{
	return str_starts(url, "ipc://") ? url + strlen("ipc://") : NULL;
}

static int engine_dial(struct bus_socket *s, const char *url)
{
	const char *path = path_of(url);
	struct dialer *d;

	if (!path) {
		return -EPROTONOSUPPORT;
	}
	if (strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
		return -ENAMETOOLONG;
	}
	if (s->kind == BUS_REQ && !list_is_empty(&s->dialers)) {
		return -EALREADY; /* a request goes to one place */
	}
	d = calloc(1, sizeof(*d));
	if (!d) {
		return -ENOMEM;
	}
	d->socket = s;
	d->path = strdup(path);
	if (!d->path) {
		free(d);
		return -ENOMEM;
	}
	list_append(&s->dialers, &d->link);
	connect_now(d);
	return 0;
}

/* ---- listening ---- */

static bool on_admit(struct bus_peer *peer, void *userdata)
{
	struct bus_socket *s = userdata;

	return !s->handler.admit || s->handler.admit(peer, s->userdata);
}

static void on_accept(struct sp_listener *l, int fd, void *userdata)
{
	struct bus_socket *s = userdata;
	int r = sp_pool_add(&s->pool, fd, true, NULL);

	if (r < 0) {
		log_debug("%s: a connection was turned away: %s", l->path, err_text(r));
	}
}

static int engine_listen(struct bus_socket *s, const char *url)
{
	const char *path = path_of(url);
	struct sp_listener *l;
	int r;

	if (!path) {
		return -EPROTONOSUPPORT;
	}
	r = sp_listener_new(&l, s->pool.loop, path, s->pool.peer_protocol, on_accept, s);
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
	const struct dialer *d = list_first(&s->dialers, struct dialer, link);
	uint32_t id = ++s->next_request | 0x80000000U;
	const uint8_t bytes[WORD] = { (uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8),
				      (uint8_t)id };
	struct sp_outgoing o;
	int r;

	if (!d || !d->conn || !d->conn->is_up) {
		return -EAGAIN;
	}
	memcpy(route->bytes, bytes, sizeof(bytes));
	route->len = sizeof(bytes);
	sp_outgoing_init(&o, bytes, sizeof(bytes), data, len);
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
		s->stats.messages_out++;
		s->stats.bytes_out += len;
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
	if (!s || s->is_closed) {
		return;
	}
	s->is_closed = true;
	list_for_each_safe (i, &s->listeners) {
		sp_listener_free(list_entry(i, struct sp_listener, link));
	}
	list_for_each_safe (j, &s->dialers) {
		dialer_free(list_entry(j, struct dialer, link));
	}
	sp_pool_deinit(&s->pool);
	for (size_t i = 0; i < s->n_topics; i++) {
		free(s->topics[i].prefix);
	}
	free(s->topics);
	if (s->depth == 0) {
		free(s);
	}
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
	s->kind = kind;
	s->max_message = options->max_message;
	s->handler = *handler;
	s->userdata = userdata;
	random_bytes(&s->next_request, sizeof(s->next_request));
	list_init(&s->listeners);
	list_init(&s->dialers);
	s->pool = (struct sp_pool){
		.loop = loop,
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
	*out = s->stats;
	out->peers = s->pool.n_up;
	out->drops = s->pool.n_dropped;
	list_for_each (i, &s->listeners) {
		out->relistens += list_entry(i, struct sp_listener, link)->n_relistens;
	}
}

const struct bus_engine bus_engine_sp = {
	.name = "sp",
	.open = engine_open,
	.listen = engine_listen,
	.dial = engine_dial,
	.send = engine_send,
	.stats = engine_stats,
	.close = engine_close,
};
