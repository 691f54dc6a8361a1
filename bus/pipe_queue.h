/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The one place where threads of a transport library meet the loop: they push
 * what happened to connections, an eventfd wakes the loop, it takes them out.
 * Bounded; the end of an admitted connection always has room.
 */
#include <pthread.h>

#include "libcommon/base.h"

struct pipe_notice {
	uint32_t pipe;
	int socket;
	bool is_up;
	bool has_creds;
	bool has_cert; /* TLS, with a certificate that was verified */
	uint64_t uid, gid, pid;
};

struct pipe_queue {
	pthread_mutex_t lock;
	int eventfd;		     /* readable while there is something */
	struct pipe_notice *entries; /* those from head to n wait */
	size_t head, n, size;
	size_t n_pipes; /* whose end is still to come */
	size_t max_pipes;
	bool only_one, has_had_one;
};

/* only_one: admit a single pipe until pipe_queue_renew(). */
int pipe_queue_init(struct pipe_queue *q, size_t max_pipes, bool only_one);
/* When no thread can push any more. */
void pipe_queue_deinit(struct pipe_queue *q);
void pipe_queue_renew(struct pipe_queue *q);

/* From any thread. False for an is_up: do not admit that pipe. Its end is told all the same. */
bool pipe_queue_push(struct pipe_queue *q, const struct pipe_notice *notice);

/* From the loop: false when empty. */
bool pipe_queue_take(struct pipe_queue *q, struct pipe_notice *out);
/* Make the eventfd unreadable, before taking all. */
void pipe_queue_quiet(struct pipe_queue *q);
