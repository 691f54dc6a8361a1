/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nng at its best: callbacks and contexts on both sides, so that no thread of
 * ours has to be woken for each message, and queues as long as ours.
 */
#include <nng/nng.h>
#include <nng/protocol/pubsub0/pub.h>
#include <nng/protocol/pubsub0/sub.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <pthread.h>
#include <stdio.h>

#include "tests/bench/bus_peer.h"

#define QUEUE 1024

struct worker {
	nng_ctx ctx;
	nng_aio *aio;
	bool is_sending;
	struct nng_client *client;
};

struct nng_client {
	nng_socket socket; /* of single calls */
	struct worker workers[BENCH_WINDOW];
	pthread_mutex_t lock;
	pthread_cond_t done;
	size_t size, n_left, n_missing;
};

struct nng_publisher {
	nng_socket socket;
	struct bench_fan *fan;
};

static void check(int rv, const char *what)
{
	if (rv != 0) {
		bench_fail(what, nng_strerror(rv));
	}
}

static const char *url_of(const char *dir, const char *name)
{
	static char url[192];

	snprintf(url, sizeof(url), "ipc://%s", bench_path(dir, name));
	return url;
}

static nng_msg *new_message(size_t size)
{
	nng_msg *m;

	check(nng_msg_alloc(&m, size), "nng_msg_alloc");
	return m;
}

/* ---- calls ---- */

static void on_served(void *arg)
{
	struct worker *w = arg;

	if (nng_aio_result(w->aio) != 0) {
		_exit(0);
	}
	w->is_sending = !w->is_sending;
	if (w->is_sending) {
		nng_ctx_send(w->ctx, w->aio); /* the message received */
	} else {
		nng_ctx_recv(w->ctx, w->aio);
	}
}

static void nng_serve(const char *dir, int ready)
{
	static struct worker workers[BENCH_WINDOW];
	nng_socket s;

	check(nng_rep0_open(&s), "nng_rep0_open");
	for (size_t i = 0; i < ARRAY_LEN(workers); i++) {
		check(nng_ctx_open(&workers[i].ctx, s), "nng_ctx_open");
		check(nng_aio_alloc(&workers[i].aio, on_served, &workers[i]), "nng_aio_alloc");
		nng_ctx_recv(workers[i].ctx, workers[i].aio);
	}
	check(nng_listen(s, url_of(dir, "nng"), NULL, 0), "nng_listen");
	close(ready);
	for (;;) {
		pause();
	}
}

static void start(struct worker *w)
{
	w->is_sending = true;
	nng_aio_set_msg(w->aio, new_message(w->client->size));
	nng_ctx_send(w->ctx, w->aio);
}

static void on_called(void *arg)
{
	struct worker *w = arg;
	struct nng_client *c = w->client;
	nng_msg *m;
	bool goes_on;

	check(nng_aio_result(w->aio), "nng call");
	if (w->is_sending) {
		w->is_sending = false;
		nng_ctx_recv(w->ctx, w->aio);
		return;
	}
	m = nng_aio_get_msg(w->aio);
	bench_expect(nng_msg_len(m) == c->size, "nng: the answer has another size");
	nng_msg_free(m);
	pthread_mutex_lock(&c->lock);
	goes_on = c->n_left > 0;
	c->n_left -= goes_on;
	if (--c->n_missing == 0) {
		pthread_cond_signal(&c->done);
	}
	pthread_mutex_unlock(&c->lock);
	if (goes_on) {
		start(w);
	}
}

static void *nng_connect(const char *dir)
{
	static struct nng_client c = { .lock = PTHREAD_MUTEX_INITIALIZER,
				       .done = PTHREAD_COND_INITIALIZER };

	check(nng_req0_open(&c.socket), "nng_req0_open");
	for (size_t i = 0; i < BENCH_WINDOW; i++) {
		struct worker *w = &c.workers[i];

		w->client = &c;
		check(nng_ctx_open(&w->ctx, c.socket), "nng_ctx_open");
		check(nng_aio_alloc(&w->aio, on_called, w), "nng_aio_alloc");
	}
	check(nng_dial(c.socket, url_of(dir, "nng"), NULL, 0), "nng_dial");
	return &c;
}

static void nng_call(void *client, size_t size)
{
	struct nng_client *c = client;
	nng_msg *m = new_message(size);

	check(nng_sendmsg(c->socket, m, 0), "nng_sendmsg");
	check(nng_recvmsg(c->socket, &m, 0), "nng_recvmsg");
	bench_expect(nng_msg_len(m) == size, "nng: the answer has another size");
	nng_msg_free(m);
}

static void nng_call_many(void *client, size_t size, size_t n)
{
	struct nng_client *c = client;
	size_t first = MIN(n, (size_t)BENCH_WINDOW);

	pthread_mutex_lock(&c->lock);
	c->size = size;
	c->n_missing = n;
	c->n_left = n - first;
	pthread_mutex_unlock(&c->lock);
	for (size_t i = 0; i < first; i++) {
		start(&c->workers[i]);
	}
	pthread_mutex_lock(&c->lock);
	while (c->n_missing > 0) {
		pthread_cond_wait(&c->done, &c->lock);
	}
	pthread_mutex_unlock(&c->lock);
}

/* ---- publications ---- */

static void *nng_publisher(const char *dir, struct bench_fan *fan)
{
	static struct nng_publisher p;

	p.fan = fan;
	check(nng_pub0_open(&p.socket), "nng_pub0_open");
	check(nng_socket_set_int(p.socket, NNG_OPT_SENDBUF, QUEUE), "nng SENDBUF");
	check(nng_listen(p.socket, url_of(dir, "nng-pub"), NULL, 0), "nng_listen");
	return &p;
}

static void nng_publish(void *publisher, const void *data, size_t len)
{
	struct nng_publisher *p = publisher;
	nng_msg *m = new_message(len);

	memcpy(nng_msg_body(m), data, len);
	check(nng_sendmsg(p->socket, m, 0), "nng_sendmsg");
}

static void nng_wait(void *publisher, int timeout_ms)
{
	struct nng_publisher *p = publisher;

	bench_fan_poll(p->fan, timeout_ms);
}

static void nng_subscribe(const char *dir, struct bench_fan *fan, size_t i)
{
	nng_socket s;

	check(nng_sub0_open(&s), "nng_sub0_open");
	check(nng_socket_set_int(s, NNG_OPT_RECVBUF, QUEUE), "nng RECVBUF");
	check(nng_socket_set(s, NNG_OPT_SUB_SUBSCRIBE, "", 0), "nng subscribe");
	check(nng_dial(s, url_of(dir, "nng-pub"), NULL, 0), "nng_dial");
	for (;;) {
		nng_msg *m;

		check(nng_recvmsg(s, &m, 0), "nng_recvmsg");
		bench_fan_take(fan, i, nng_msg_body(m), nng_msg_len(m));
		nng_msg_free(m);
	}
}

const struct bench_peer peer_nng = {
	.name = "nng",
	.serve = nng_serve,
	.connect = nng_connect,
	.call = nng_call,
	.call_many = nng_call_many,
	.publisher = nng_publisher,
	.publish = nng_publish,
	.wait = nng_wait,
	.subscribe = nng_subscribe,
};
