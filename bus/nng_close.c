/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nng_close() runs in a thread of its own, which may be left behind.
 *
 * Invariant: `closer` is freed by who is the last to need it: the thread when
 * it was left behind, else who waited for it.
 */
#include "bus/nng_close.h"

#include <pthread.h>
#include <time.h>

#include "libcommon/log.h"

#define CLOSE_SECONDS 2 /* an honest close takes milliseconds */

struct closer {
	nng_socket nng;
	pthread_mutex_t lock;
	pthread_cond_t done;
	bool is_done, is_left;
};

static void closer_free(struct closer *c)
{
	pthread_cond_destroy(&c->done);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static void *run_closer(void *arg)
{
	struct closer *c = arg;
	bool is_left;

	nng_close(c->nng);
	pthread_mutex_lock(&c->lock);
	c->is_done = true;
	is_left = c->is_left;
	pthread_cond_signal(&c->done);
	pthread_mutex_unlock(&c->lock);
	if (is_left) {
		closer_free(c);
	}
	return NULL;
}

static struct closer *closer_start(nng_socket nng)
{
	struct closer *c = calloc(1, sizeof(*c));
	pthread_condattr_t attributes;
	pthread_t thread;

	if (!c) {
		return NULL;
	}
	c->nng = nng;
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&c->done, &attributes);
	pthread_condattr_destroy(&attributes);
	if (pthread_create(&thread, NULL, run_closer, c) != 0) {
		closer_free(c);
		return NULL;
	}
	pthread_detach(thread);
	return c;
}

void nng_close_bounded(nng_socket nng)
{
	struct closer *c = closer_start(nng);
	struct timespec until;
	bool is_done;

	if (!c) {
		nng_close(nng);
		return;
	}
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += CLOSE_SECONDS;
	pthread_mutex_lock(&c->lock);
	while (!c->is_done && pthread_cond_timedwait(&c->done, &c->lock, &until) == 0) {
	}
	is_done = c->is_done;
	c->is_left = !is_done;
	pthread_mutex_unlock(&c->lock);
	if (is_done) {
		closer_free(c);
	} else {
		log_warning("%s", NNG_CLOSE_LEFT);
	}
}
