/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The engine over nng 1.5.2: raw REQ and REP, PUB and SUB, over tcp.
 *
 * Invariants:
 *  - nng's threads touch nothing but the pipe_queue. All else belongs to the
 *    loop's thread.
 *  - A peer exists from its pipe's ADD_PRE to its REM_POST. A message of a pipe
 *    without a peer is dropped: whoever sent it is gone.
 *  - REQ: an nng socket serves one pipe in its life. What nng still holds when
 *    the pipe goes is closed away with it, so nothing is sent over another one.
 *
 * It is there for who asks for it (engine = nng), and as a peer of the tests:
 * nng 1.5.2 may go deaf or hang on ipc://, and tells nothing of a peer's
 * certificate but that it is in order (decision 16).
 */
#include "bus/engine_base.h"

#include "bus/codes.h"
#include "bus/nng_close.h"
#include "bus/nng_fix.h"
#include "bus/nng_lib.h"
#include "bus/nng_tls.h"
#include "bus/pipe_queue.h"
#include "bus/send_window.h"
#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/list.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"
#include "libcommon/map.h"

#define WORD		 4	     /* of the header of a request */
#define HEADER_MAX	 (8 * WORD)  /* as many hops as nng lets pass */
#define RECV_BATCH	 64	     /* messages a wake-up, so that timers live */
#define RPC_RECV_QUEUE	 64	     /* the rest waits in the peers' sockets, which costs them */
#define PIPES_MAX	 4096	     /* of one socket: each may hold one message of max_message */
#define SEND_MAX	 (16U << 20) /* four times the largest message of the bus */
#define RECONNECT_MIN_MS 100
#define RECONNECT_MAX_MS 1000
#define REOPEN_FIRST_US	 (10 * USEC_PER_MSEC) /* after a connection that had lasted */
#define QUEUE_MAX	 8192U		      /* of nng */
#define PUB_QUEUE_MAX	 1000
#define PUB_BYTES_MAX	 (64U << 20) /* held for subscribers that hang, all together */

struct peer {
	struct bus_peer info;
	bool is_announced; /* REP: on_link(true) was called */
};

struct pending {
	struct list link;
	nng_msg *msg;
};

struct bus_socket {
	struct engine_base base;
	sd_event *loop;
	enum bus_kind kind;
	size_t max_message;
	int queue;
	nng_socket nng;
	bool is_open; /* nng is a socket */
	struct pipe_queue notices;
	struct map peers; /* uint32_t pipe -> struct peer */
	uint32_t next_peer_id;
	struct list pending; /* REP: answers that nng had no room for */
	size_t n_pending;
	char *dial_url; /* REQ */
	struct bus_tls *tls;
	uint64_t up_since_ns;
	uint64_t reopen_us;
	struct send_window window; /* PUB */
	int queue_now;		   /* PUB: what nng has */
	sd_event_source *notify_source, *recv_source, *send_source, *reopen_source;
};

/* nng's error as -errno. */
static int from_nng(int rv)
{
	static const struct {
		int rv;
		int error;
	} table[] = {
		{ NNG_EINTR, EINTR },
		{ NNG_ENOMEM, ENOMEM },
		{ NNG_EINVAL, EINVAL },
		{ NNG_EBUSY, EBUSY },
		{ NNG_ETIMEDOUT, ETIMEDOUT },
		{ NNG_ECONNREFUSED, ECONNREFUSED },
		{ NNG_ECLOSED, EBADF },
		{ NNG_EAGAIN, EAGAIN },
		{ NNG_ENOTSUP, EOPNOTSUPP },
		{ NNG_EADDRINUSE, EADDRINUSE },
		{ NNG_ENOENT, ENOENT },
		{ NNG_EPROTO, EPROTO },
		{ NNG_EUNREACHABLE, EHOSTUNREACH },
		{ NNG_EADDRINVAL, EADDRNOTAVAIL },
		{ NNG_EPERM, EACCES },
		{ NNG_EMSGSIZE, EMSGSIZE },
		{ NNG_ENOFILES, EMFILE },
		{ NNG_ENOSPC, ENOSPC },
		{ NNG_EEXIST, EEXIST },
		{ NNG_EREADONLY, EROFS },
	};

	if (rv == 0) {
		return 0;
	}
	if (rv & NNG_ESYSERR) {
		return -(rv & ~NNG_ESYSERR);
	}
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		if (table[i].rv == rv) {
			return -table[i].error;
		}
	}
	return -EIO;
}

/* ---- what nng's threads do ---- */

static void on_pipe(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
	struct pipe_notice notice = {
		.pipe = (uint32_t)nng_pipe_id(pipe),
		.socket = nng_socket_id(nng_pipe_socket(pipe)),
		.is_up = event == NNG_PIPE_EV_ADD_PRE,
	};

	if (notice.is_up) {
		notice.has_creds = nng_pipe_get_uint64(pipe, NNG_OPT_IPC_PEER_UID, &notice.uid) ==
					   0 &&
				   nng_pipe_get_uint64(pipe, NNG_OPT_IPC_PEER_GID, &notice.gid) ==
					   0 &&
				   nng_pipe_get_uint64(pipe, NNG_OPT_IPC_PEER_PID, &notice.pid) ==
					   0;
		if (nng_pipe_get_bool(pipe, NNG_OPT_TLS_VERIFIED, &notice.has_cert) != 0) {
			notice.has_cert = false;
		}
	}
	if (!pipe_queue_push(arg, &notice) && notice.is_up) {
		nng_pipe_close(pipe);
	}
}

/* ---- messages ---- */

static void drain_notices(struct bus_socket *s);

static struct peer *find_peer(struct bus_socket *s, uint32_t pipe)
{
	return map_get(&s->peers, &pipe, sizeof(pipe));
}

static void deliver(struct bus_socket *s, nng_msg *msg)
{
	uint32_t pipe = (uint32_t)nng_pipe_id(nng_msg_get_pipe(msg));
	struct peer *peer = find_peer(s, pipe);
	struct bus_route route = { .len = 0 };
	struct bus_peer info;

	if (!peer) {
		drain_notices(s); /* its ADD was told before the message */
		peer = s->base.is_closed ? NULL : find_peer(s, pipe);
	}
	if (!peer || nng_msg_header_len(msg) > sizeof(route.bytes)) {
		return;
	}
	if (nng_msg_len(msg) > s->max_message) {
		nng_pipe_close(nng_msg_get_pipe(msg));
		return;
	}
	if (nng_msg_header_len(msg) > 0) {
		route.len = (uint8_t)nng_msg_header_len(msg);
		memcpy(route.bytes, nng_msg_header(msg), route.len);
	}
	info = peer->info;
	if (s->kind == BUS_REP && !peer->is_announced) {
		peer->is_announced = true;
		engine_base_tell_link(&s->base, &info, true);
	}
	engine_base_tell_message(&s->base, &info, &route, nng_msg_body(msg), nng_msg_len(msg));
}

/* At most `max` messages. */
static void receive(struct bus_socket *s, size_t max)
{
	for (size_t i = 0; i < max && !s->base.is_closed && s->is_open; i++) {
		nng_msg *msg = NULL;

		if (nng_recvmsg(s->nng, &msg, NNG_FLAG_NONBLOCK) != 0) {
			break;
		}
		deliver(s, msg);
		nng_msg_free(msg);
	}
}

static int on_recv(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct bus_socket *s = userdata;

	(void)source;
	(void)fd;
	(void)events;
	engine_base_enter(&s->base);
	receive(s, RECV_BATCH);
	engine_base_leave(&s->base);
	return 0;
}

/* ---- the nng socket ---- */

static int set_options(nng_socket nng, const struct bus_socket *s, bool is_receiver)
{
	int recv_queue = s->kind == BUS_SUB ? s->queue : MIN(s->queue, RPC_RECV_QUEUE);
	/* nng counts the words of a request as a part of it. */
	size_t header = s->kind == BUS_REP ? HEADER_MAX : s->kind == BUS_REQ ? WORD : 0;
	int rv = nng_socket_set_size(nng, NNG_OPT_RECVMAXSZ, s->max_message + header);

	rv = rv ? rv : nng_socket_set_ms(nng, NNG_OPT_RECONNMINT, RECONNECT_MIN_MS);
	rv = rv ? rv : nng_socket_set_ms(nng, NNG_OPT_RECONNMAXT, RECONNECT_MAX_MS);
	if (is_receiver) {
		rv = rv ? rv : nng_socket_set_int(nng, NNG_OPT_RECVBUF, recv_queue);
	}
	if (s->kind != BUS_SUB) {
		rv = rv ? rv : nng_socket_set_int(nng, NNG_OPT_SENDBUF, s->queue);
	}
	return from_nng(rv);
}

static int attach_loop(struct bus_socket *s, bool is_receiver)
{
	int fd, rv, r;

	if (is_receiver) {
		rv = nng_socket_get_int(s->nng, NNG_OPT_RECVFD, &fd);
		if (rv != 0) {
			return from_nng(rv);
		}
		r = sd_event_add_io(s->loop, &s->recv_source, fd, EPOLLIN, on_recv, s);
		if (r < 0) {
			return r;
		}
	}
	rv = nng_pipe_notify(s->nng, NNG_PIPE_EV_ADD_PRE, on_pipe, &s->notices);
	rv = rv ? rv : nng_pipe_notify(s->nng, NNG_PIPE_EV_REM_POST, on_pipe, &s->notices);
	return from_nng(rv);
}

static void close_nng(struct bus_socket *s)
{
	s->recv_source = sd_event_source_disable_unref(s->recv_source);
	s->send_source = sd_event_source_disable_unref(s->send_source);
	if (s->is_open) {
		s->is_open = false;
		/* Should it be left behind, it must not call back into what is freed. */
		nng_pipe_notify(s->nng, NNG_PIPE_EV_ADD_PRE, NULL, NULL);
		nng_pipe_notify(s->nng, NNG_PIPE_EV_REM_POST, NULL, NULL);
		nng_close_bounded(s->nng);
	}
}

static int open_nng(struct bus_socket *s)
{
	int (*const open_fn[])(nng_socket *) = {
		[BUS_PUB] = nng_pub0_open,
		[BUS_SUB] = nng_sub0_open,
		[BUS_REP] = nng_rep0_open_raw,
		[BUS_REQ] = nng_req0_open_raw,
	};
	bool is_receiver = s->kind != BUS_PUB;
	int r;

	r = from_nng(open_fn[s->kind](&s->nng));
	if (r < 0) {
		return err_trace(r);
	}
	s->is_open = true;
	pipe_queue_renew(&s->notices); /* the callbacks of the socket before are over */
	r = set_options(s->nng, s, is_receiver);
	if (r == 0) {
		r = attach_loop(s, is_receiver);
	}
	if (r < 0) {
		close_nng(s);
		return err_trace(r);
	}
	return 0;
}

/* ---- REQ: a fresh nng socket for each connection ---- */

static int on_reopen(sd_event_source *source, uint64_t usec, void *userdata);
static int dial_nng(struct bus_socket *s, const char *url);

static void reopen_later(struct bus_socket *s)
{
	int r = loop_after(s->loop, &s->reopen_source, s->reopen_us, on_reopen, s);

	if (r < 0) {
		log_error("cannot arm the timer to dial %s again: %s", s->dial_url, err_text(r));
	}
}

static int on_reopen(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct bus_socket *s = userdata;
	int r;

	(void)source;
	(void)usec;
	r = open_nng(s);
	if (r == 0) {
		r = dial_nng(s, s->dial_url);
	}
	if (r < 0) {
		log_error("cannot dial %s: %s; trying again", s->dial_url, err_text(r));
		close_nng(s);
		s->reopen_us = RECONNECT_MAX_MS * USEC_PER_MSEC;
		reopen_later(s);
	}
	return 0;
}

static void lose_request_link(struct bus_socket *s)
{
	uint64_t lasted_ns = clock_boot_ns() - s->up_since_ns;

	close_nng(s);
	if (lasted_ns >= RECONNECT_MAX_MS * NSEC_PER_MSEC) {
		s->reopen_us = REOPEN_FIRST_US;
	} else {
		s->reopen_us = MIN(MAX(s->reopen_us * 2, RECONNECT_MIN_MS * USEC_PER_MSEC),
				   RECONNECT_MAX_MS * USEC_PER_MSEC);
	}
	reopen_later(s);
}

/* ---- peers come and go ---- */

static void add_peer(struct bus_socket *s, const struct pipe_notice *n)
{
	struct peer *peer = calloc(1, sizeof(*peer));
	struct bus_peer info;

	if (!peer || map_set(&s->peers, &n->pipe, sizeof(n->pipe), peer, NULL) != 0) {
		free(peer); /* its messages will be dropped */
		return;
	}
	peer->info = (struct bus_peer){
		.id = (uint64_t)n->socket << 32 | ++s->next_peer_id,
		.has_creds = n->has_creds,
		.uid = (uid_t)n->uid,
		.gid = (gid_t)n->gid,
		.pid = (pid_t)n->pid,
		.is_plain_tcp = !n->has_creds && !n->has_cert,
		.has_cert = n->has_cert,
		.role = n->has_cert ? ROLE_OBSERVER : ROLE_NONE,
	};
	if (!engine_base_admits(&s->base, &peer->info)) {
		nng_pipe pipe = { .id = n->pipe };

		free(map_remove(&s->peers, &n->pipe, sizeof(n->pipe)));
		nng_pipe_close(pipe);
		return;
	}
	info = peer->info;
	if (s->kind == BUS_SUB || s->kind == BUS_REQ) {
		s->up_since_ns = clock_boot_ns();
		engine_base_tell_link(&s->base, &info, true);
	}
}

static void remove_peer(struct bus_socket *s, const struct pipe_notice *n)
{
	struct peer *peer = find_peer(s, n->pipe);
	struct bus_peer info;
	bool tell;

	if (!peer) {
		return;
	}
	if (s->kind == BUS_REQ) {
		receive(s, 2 * RPC_RECV_QUEUE); /* what it had answered before it went */
		if (s->base.is_closed) {
			return;
		}
	}
	info = peer->info;
	tell = s->kind == BUS_SUB || s->kind == BUS_REQ || peer->is_announced;
	free(map_remove(&s->peers, &n->pipe, sizeof(n->pipe)));
	if (s->kind == BUS_REQ) {
		lose_request_link(s);
	}
	if (tell) {
		engine_base_tell_link(&s->base, &info, false);
	}
}

static void drain_notices(struct bus_socket *s)
{
	struct pipe_notice notice;

	while (!s->base.is_closed && pipe_queue_take(&s->notices, &notice)) {
		if (!s->is_open || notice.socket != nng_socket_id(s->nng)) {
			continue; /* of an nng socket that was closed */
		}
		if (notice.is_up) {
			add_peer(s, &notice);
		} else {
			remove_peer(s, &notice);
		}
	}
}

static int on_notify(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct bus_socket *s = userdata;

	(void)source;
	(void)fd;
	(void)events;
	pipe_queue_quiet(&s->notices);
	engine_base_enter(&s->base);
	drain_notices(s);
	engine_base_leave(&s->base);
	return 0;
}

/* ---- addresses ---- */

static int listen_with(struct bus_socket *s, const char *url, nng_tls_config *tls)
{
	nng_listener l;
	int rv = nng_listener_create(&l, s->nng, url);

	if (rv == 0 && tls) {
		log_warning("%s: with engine = nng every peer is an observer only, whatever its "
			    "certificate says",
			    url);
		rv = nng_listener_set_ptr(l, NNG_OPT_TLS_CONFIG, tls);
	}
	return from_nng(rv ? rv : nng_listener_start(l, 0));
}

static int engine_listen(struct bus_socket *s, const char *url)
{
	nng_tls_config *tls;
	int r = nng_tls_prepare(s->tls, url, NNG_TLS_MODE_SERVER, &tls);

	if (r == 0) {
		r = listen_with(s, url, tls);
	}
	if (tls) {
		nng_tls_config_free(tls);
	}
	if (r < 0) {
		log_error("cannot listen on %s: %s", url, err_text(r));
	}
	return r;
}

static int dial_nng(struct bus_socket *s, const char *url)
{
	nng_tls_config *tls;
	nng_dialer d;
	int r = nng_tls_prepare(s->tls, url, NNG_TLS_MODE_CLIENT, &tls);
	int rv;

	if (r == 0) {
		rv = nng_dialer_create(&d, s->nng, url);
		if (rv == 0 && tls) {
			rv = nng_dialer_set_ptr(d, NNG_OPT_TLS_CONFIG, tls);
		}
		r = from_nng(rv ? rv : nng_dialer_start(d, NNG_FLAG_NONBLOCK));
	}
	if (tls) {
		nng_tls_config_free(tls);
	}
	return r;
}

static int engine_dial(struct bus_socket *s, const char *url)
{
	if (s->kind == BUS_REQ) {
		if (s->dial_url) {
			return -EALREADY; /* a request goes to one place */
		}
		s->dial_url = strdup(url);
		if (!s->dial_url) {
			return -ENOMEM;
		}
	}
	return dial_nng(s, url);
}

/* ---- sending ---- */

static void pending_free(struct bus_socket *s, struct pending *p)
{
	list_unlink(&p->link);
	s->n_pending--;
	if (p->msg) {
		nng_msg_free(p->msg);
	}
	free(p);
}

static int on_sendable(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct bus_socket *s = userdata;

	(void)fd;
	(void)events;
	list_for_each_safe (i, &s->pending) {
		struct pending *p = list_entry(i, struct pending, link);

		if (nng_sendmsg(s->nng, p->msg, NNG_FLAG_NONBLOCK) == NNG_EAGAIN) {
			return 0;
		}
		p->msg = NULL;
		pending_free(s, p);
	}
	sd_event_source_set_enabled(source, SD_EVENT_OFF);
	return 0;
}

/* Keep an answer until nng has room. Takes msg when it returns 0. */
static int keep_pending(struct bus_socket *s, nng_msg *msg)
{
	struct pending *p;
	int fd, rv, r;

	if (s->n_pending >= (size_t)s->queue) {
		return -EAGAIN;
	}
	if (!s->send_source) {
		rv = nng_socket_get_int(s->nng, NNG_OPT_SENDFD, &fd);
		if (rv != 0) {
			return from_nng(rv);
		}
		r = sd_event_add_io(s->loop, &s->send_source, fd, EPOLLIN, on_sendable, s);
		if (r < 0) {
			return r;
		}
	}
	p = calloc(1, sizeof(*p));
	if (!p) {
		return -ENOMEM;
	}
	p->msg = msg;
	list_append(&s->pending, &p->link);
	s->n_pending++;
	return sd_event_source_set_enabled(s->send_source, SD_EVENT_ON);
}

static int make_message(struct bus_socket *s, struct bus_route *route, const void *data, size_t len,
			nng_msg **out)
{
	nng_msg *msg;
	int rv;

	if (s->kind == BUS_REQ) {
		engine_base_next_request(&s->base, route);
	}
	rv = nng_msg_alloc(&msg, 0);
	if (rv != 0) {
		return from_nng(rv);
	}
	rv = len > 0 ? nng_msg_append(msg, data, len) : 0;
	if (rv == 0 && route) {
		rv = nng_msg_header_append(msg, route->bytes, route->len);
	}
	if (rv != 0) {
		nng_msg_free(msg);
		return from_nng(rv);
	}
	*out = msg;
	return 0;
}

/* nng 1.5.2 writes beyond a queue that a change of length left full, if the length is a power of
 * two: none of those here is. */
static int init_pub_queue(struct bus_socket *s)
{
	s->queue = MIN(s->queue, PUB_QUEUE_MAX);
	if ((s->queue & (s->queue - 1)) == 0) {
		s->queue = MAX(s->queue - 1, 3);
	}
	s->queue_now = s->queue;
	return send_window_init(&s->window, (size_t)s->queue, PUB_BYTES_MAX);
}

static void fit_pub_queue(struct bus_socket *s, size_t len)
{
	static const int steps[] = { 500, 200, 100, 50, 20, 6, 3 };
	int n_fit = (int)send_window_push(&s->window, len);
	int queue = n_fit == s->queue ? s->queue : 0;

	for (size_t i = 0; i < ARRAY_LEN(steps) && queue == 0; i++) {
		queue = steps[i] <= n_fit ? steps[i] : 0;
	}
	if (queue != 0 && queue != s->queue_now &&
	    nng_socket_set_int(s->nng, NNG_OPT_SENDBUF, queue) == 0) {
		s->queue_now = queue;
	}
}

static int engine_send(struct bus_socket *s, struct bus_route *route, const void *data, size_t len)
{
	nng_msg *msg = NULL;
	int r;

	if (len > SEND_MAX) {
		return -EMSGSIZE;
	}
	if (!s->is_open || (s->kind == BUS_REQ && map_size(&s->peers) == 0)) {
		return -EAGAIN;
	}
	r = make_message(s, route, data, len, &msg);
	if (r < 0) {
		return r;
	}
	if (s->kind == BUS_PUB) {
		fit_pub_queue(s, len);
	}
	/* Answers keep their order also past a full queue. */
	r = s->n_pending > 0 ? -EAGAIN : from_nng(nng_sendmsg(s->nng, msg, NNG_FLAG_NONBLOCK));
	if (r == -EAGAIN && s->kind == BUS_REP) {
		r = keep_pending(s, msg);
	}
	if (r < 0) {
		nng_msg_free(msg);
		return r;
	}
	s->base.stats.messages_out++;
	s->base.stats.bytes_out += len;
	return 0;
}

/* ---- the socket ---- */

static int subscribe(struct bus_socket *s, const struct bus_socket_options *options)
{
	int rv = 0;

	for (size_t i = 0; i < options->n_topics && rv == 0; i++) {
		const char *topic = options->topics[i];

		rv = nng_socket_set(s->nng, NNG_OPT_SUB_SUBSCRIBE, topic, strlen(topic));
	}
	if (options->n_topics == 0) {
		rv = nng_socket_set(s->nng, NNG_OPT_SUB_SUBSCRIBE, "", 0);
	}
	return from_nng(rv);
}

static void engine_close(struct bus_socket *s)
{
	if (!s || !engine_base_close(&s->base)) {
		return;
	}
	s->notify_source = sd_event_source_disable_unref(s->notify_source);
	s->reopen_source = sd_event_source_disable_unref(s->reopen_source);
	close_nng(s);
	list_for_each_safe (j, &s->pending) {
		pending_free(s, list_entry(j, struct pending, link));
	}
	for (struct map_iter i = map_begin(&s->peers); map_next(&s->peers, &i);) {
		free(i.value);
	}
	map_deinit(&s->peers);
	pipe_queue_deinit(&s->notices);
	send_window_deinit(&s->window);
	free(s->dial_url);
	s->tls = bus_tls_unref(s->tls);
	s->loop = sd_event_unref(s->loop);
	engine_base_leave(&s->base);
}

static int engine_open(struct bus_socket **out, sd_event *loop, enum bus_kind kind,
		       const struct bus_socket_options *options,
		       const struct bus_socket_handler *handler, void *userdata)
{
	struct bus_socket *s;
	int r = nng_lib_load();

	if (r < 0) {
		return r;
	}
	s = calloc(1, sizeof(*s));
	if (!s) {
		return -ENOMEM;
	}
	if (!nng_fix_is_active()) {
		log_warning("nng may go deaf: this program was linked without bus/nng_fix.c");
	}
	engine_base_init(&s->base, s, handler, userdata);
	s->loop = sd_event_ref(loop);
	s->kind = kind;
	s->max_message = options->max_message;
	s->tls = bus_tls_ref(options->tls);
	s->queue = (int)MIN(MAX(options->queue, 1U), QUEUE_MAX);
	list_init(&s->pending);
	r = pipe_queue_init(&s->notices, PIPES_MAX, kind == BUS_REQ);
	if (r == 0 && kind == BUS_PUB) {
		r = init_pub_queue(s);
	}
	if (r == 0) {
		r = open_nng(s);
	}
	if (r == 0) {
		r = sd_event_add_io(loop, &s->notify_source, s->notices.eventfd, EPOLLIN, on_notify,
				    s);
	}
	if (r >= 0) {
		r = sd_event_source_set_priority(s->notify_source, SD_EVENT_PRIORITY_NORMAL - 1);
	}
	if (r >= 0 && kind == BUS_SUB) {
		r = subscribe(s, options);
	}
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
	out->peers = map_size(&s->peers);
}

const struct bus_engine bus_engine_nng = {
	.name = "nng",
	.open = engine_open,
	.listen = engine_listen,
	.dial = engine_dial,
	.send = engine_send,
	.stats = engine_stats,
	.close = engine_close,
};
