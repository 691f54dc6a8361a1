/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Invariant: (n - head) waiting notices and n_pipes ends to come fit into size.
 */
#include "bus/pipe_queue.h"

#include <sys/eventfd.h>

#include "libcommon/err.h"

#define WAITING_PER_PIPE 4 /* bounds the queue while the loop is busy and peers come and go */

int pipe_queue_init(struct pipe_queue *q, size_t max_pipes, bool only_one)
{
	*q = (struct pipe_queue){ .max_pipes = max_pipes, .only_one = only_one };
	pthread_mutex_init(&q->lock, NULL);
	q->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return q->eventfd < 0 ? err_errno() : 0;
}

void pipe_queue_deinit(struct pipe_queue *q)
{
	free(q->entries);
	q->entries = NULL;
	q->eventfd = xclose(q->eventfd);
	pthread_mutex_destroy(&q->lock);
}

void pipe_queue_renew(struct pipe_queue *q)
{
	pthread_mutex_lock(&q->lock);
	q->has_had_one = false;
	pthread_mutex_unlock(&q->lock);
}

/* Room for one more pipe's beginning and end. */
static bool reserve(struct pipe_queue *q)
{
	struct pipe_notice *more;
	size_t want;

	if (q->head > 0) {
		q->n -= q->head;
		memmove(q->entries, q->entries + q->head, q->n * sizeof(*q->entries));
		q->head = 0;
	}
	want = q->n + q->n_pipes + 2;
	if (want <= q->size) {
		return true;
	}
	more = realloc(q->entries, 2 * want * sizeof(*more));
	if (!more) {
		return false;
	}
	q->entries = more;
	q->size = 2 * want;
	return true;
}

bool pipe_queue_push(struct pipe_queue *q, const struct pipe_notice *notice)
{
	const uint64_t one = 1;
	bool ok;

	pthread_mutex_lock(&q->lock);
	if (notice->is_up) {
		ok = reserve(q);
		q->n_pipes += ok ? 1 : 0;
		ok = ok && q->n < WAITING_PER_PIPE * q->max_pipes && q->n_pipes <= q->max_pipes &&
		     !(q->only_one && q->has_had_one);
		q->has_had_one = true;
	} else {
		q->n_pipes -= q->n_pipes > 0 ? 1 : 0;
		ok = q->n < q->size;
	}
	if (ok) {
		q->entries[q->n++] = *notice;
	}
	pthread_mutex_unlock(&q->lock);
	while (ok && write(q->eventfd, &one, sizeof(one)) < 0 && errno == EINTR) {
	}
	return ok;
}

bool pipe_queue_take(struct pipe_queue *q, struct pipe_notice *out)
{
	bool is_some;

	pthread_mutex_lock(&q->lock);
	is_some = q->head < q->n;
	if (is_some) {
		*out = q->entries[q->head++];
	}
	pthread_mutex_unlock(&q->lock);
	return is_some;
}

void pipe_queue_quiet(struct pipe_queue *q)
{
	uint64_t count;

	while (read(q->eventfd, &count, sizeof(count)) < 0 && errno == EINTR) {
	}
}
