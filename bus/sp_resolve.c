/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * getaddrinfo() blocks for as long as name servers are silent, so a thread
 * calls it.
 *
 * Invariant: the thread owns its question and the writing end of a pipe, and
 * shares nothing; its answer is smaller than PIPE_BUF, so it comes whole, also
 * to nobody.
 */
#include "bus/sp_resolve.h"

#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#include "libcommon/err.h"

struct question {
	struct sp_address where;
	int fd;
};

struct answer {
	int error; /* of getaddrinfo() */
	struct sp_addresses found;
};

_Static_assert(sizeof(struct answer) <= PIPE_BUF, "an answer is written at once");

struct sp_resolve {
	sd_event_source *io;
	int fd;
	void (*fn)(const struct sp_addresses *found, const char *why, void *userdata);
	void *userdata;
};

static int look_up(const struct sp_address *where, int flags, struct sp_addresses *out)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
					.ai_flags = flags | AI_NUMERICSERV };
	struct addrinfo *list = NULL;
	int r = getaddrinfo(where->host, where->port, &hints, &list);

	out->n = 0;
	if (r != 0) {
		return r;
	}
	for (const struct addrinfo *i = list; i && out->n < SP_ADDRESSES_MAX; i = i->ai_next) {
		if (i->ai_addrlen <= sizeof(out->list[0])) {
			memcpy(&out->list[out->n++], i->ai_addr, i->ai_addrlen);
		}
	}
	freeaddrinfo(list);
	return 0;
}

int sp_resolve_literal(const struct sp_address *where, struct sp_addresses *out)
{
	return look_up(where, AI_NUMERICHOST, out) == 0 ? 0 : 1;
}

static void *run(void *arg)
{
	struct question *q = arg;
	struct answer a = { 0 };

	a.error = look_up(&q->where, 0, &a.found);
	if (write(q->fd, &a, sizeof(a)) < 0) {
		a.error = errno; /* nobody waits any more */
	}
	close(q->fd);
	free(q);
	return NULL;
}

static int on_answer(sd_event_source *source _unused_, int fd, uint32_t events _unused_,
		     void *userdata)
{
	struct sp_resolve *r = userdata;
	struct answer a;

	sd_event_source_set_enabled(r->io, SD_EVENT_OFF);
	if (read(fd, &a, sizeof(a)) != sizeof(a)) {
		a = (struct answer){ .error = EAI_AGAIN };
	}
	r->fn(&a.found, a.error ? gai_strerror(a.error) : NULL, r->userdata);
	return 0;
}

/* With no signals: those are the loop's. Takes fd. */
static int start(const struct sp_address *where, int fd)
{
	struct question *q = malloc(sizeof(*q));
	sigset_t all, before;
	pthread_t thread;
	int r;

	if (!q) {
		close(fd);
		return -ENOMEM;
	}
	*q = (struct question){ *where, fd };
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&thread, NULL, run, q);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0) {
		close(fd);
		free(q);
		return -r;
	}
	pthread_detach(thread);
	return 0;
}

int sp_resolve_new(struct sp_resolve **out, sd_event *loop, const struct sp_address *where,
		   void (*fn)(const struct sp_addresses *found, const char *why, void *userdata),
		   void *userdata)
{
	struct sp_resolve *q = calloc(1, sizeof(*q));
	int fds[2];
	int r;

	if (!q) {
		return -ENOMEM;
	}
	if (pipe2(fds, O_CLOEXEC) < 0) {
		r = err_errno();
		free(q);
		return r;
	}
	q->fd = fds[0];
	q->fn = fn;
	q->userdata = userdata;
	r = start(where, fds[1]);
	if (r == 0) {
		r = sd_event_add_io(loop, &q->io, q->fd, EPOLLIN, on_answer, q);
	}
	if (r < 0) {
		sp_resolve_free(q);
		return r;
	}
	*out = q;
	return 0;
}

struct sp_resolve *sp_resolve_free(struct sp_resolve *r)
{
	if (r) {
		sd_event_source_disable_unref(r->io);
		xclose(r->fd);
		free(r);
	}
	return NULL;
}
