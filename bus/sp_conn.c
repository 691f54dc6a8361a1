/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Invariants:
 *  - callbacks come from pump() only, hence from the loop. Any of them may
 *    free the connection: then c->pool is NULL, and pump() frees the rest;
 *  - what is written goes out in the order of sp_conn_send(): directly while
 *    the queue is empty, else through it. A queue waits for the socket, or is
 *    a batch, which is written before the loop sleeps;
 *  - a frame of which a byte was written is written whole, or the connection
 *    ends;
 *  - messages are shared by ipc and tcp: the type byte is there, and tcp
 *    leaves it out when it writes.
 */
#include "bus/sp_conn.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "bus/limits.h"
#include "bus/sp_pool.h"
#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"

#define FRAMES_A_TURN 64 /* so that the others live */
#define WRITES_A_TURN 4
#define IOVS	      64
#define BATCH_MAX     IOVS		  /* messages to be written together */
#define BATCH_BYTES   (64U << 10)	  /* of them */
#define STALL_TOLD_NS (10 * NSEC_PER_SEC) /* one that goes on is told by then */
#define ANSWERS_BYTES (16U << 20)	  /* of one peer: four of the largest */

struct sp_queued {
	struct list link;
	struct sp_message *message;
};

/* ---- messages ---- */

void sp_outgoing_init(struct sp_outgoing *o, const void *route, size_t route_len, const void *body,
		      size_t len)
{
	*o = (struct sp_outgoing){ .body = body, .len = len };
	sp_frame_head(o->head, route_len + len);
	if (route_len > 0) {
		memcpy(o->head + SP_FRAME_HEAD, route, route_len);
	}
	o->head_len = SP_FRAME_HEAD + route_len;
}

void sp_outgoing_deinit(struct sp_outgoing *o)
{
	o->message = sp_message_unref(o->message);
}

/* ---- the queue ---- */

static void discharge(struct sp_conn *c, size_t n)
{
	if (!c->pool->drop_oldest) {
		quota_give(&c->pool->quota, c->user, QUOTA_BYTES, n);
	}
}

static void unqueue(struct sp_conn *c, struct sp_queued *q)
{
	discharge(c, q->message->len);
	c->n_queued--;
	c->bytes_queued -= q->message->len;
	list_unlink(&q->link);
	sp_message_unref(q->message);
	free(q);
}

/* ---- subscribers that are too slow ---- */

const char *sp_conn_describe(const struct sp_conn *c, char *out, size_t size)
{
	const struct bus_peer *peer = &c->info;

	if (peer->has_creds) {
		snprintf(out, size, "pid %d of uid %u", (int)peer->pid, (unsigned int)peer->uid);
	} else {
		snprintf(out, size, "%s", peer->name[0] ? peer->name : "?");
	}
	return out;
}

static void tell_stall(struct sp_conn *c, uint64_t now)
{
	char who[SP_WHO_SIZE];

	c->stall.is_told = true;
	log_warning("the subscriber %s reads too slowly: %llu events dropped for it within %llu "
		    "ms; it notices the gap and asks for what it missed",
		    sp_conn_describe(c, who, sizeof(who)), (unsigned long long)c->stall.n_dropped,
		    (unsigned long long)((now - c->stall.since_ns) / NSEC_PER_MSEC));
}

/* A message was dropped. Told once, at the end, or when it lasts. */
static void note_drop(struct sp_conn *c)
{
	uint64_t now = clock_boot_ns();

	if (c->stall.since_ns == 0) {
		c->stall.since_ns = now;
	}
	c->n_dropped++;
	c->stall.n_dropped++;
	c->pool->n_dropped++;
	if (!c->stall.is_told && now - c->stall.since_ns > STALL_TOLD_NS) {
		tell_stall(c, now);
	}
}

static void end_stall(struct sp_conn *c)
{
	if (c->stall.since_ns != 0 && !c->stall.is_told) {
		tell_stall(c, clock_boot_ns());
	}
	memset(&c->stall, 0, sizeof(c->stall));
}

/* Subscribers share what waits, but one that is dropped for keeps the message alive of which it has
 * a part: that one is charged to its user. 0; -ENOBUFS: more than the share of the user. */
static int settle_out(struct sp_conn *c)
{
	const struct sp_queued *first = list_first(&c->queue, struct sp_queued, link);
	bool is_pinned = c->stall.since_ns != 0 && first && c->n_written > 0;
	size_t held = is_pinned ? first->message->len : 0;

	if (held > c->charged_out &&
	    !quota_take(&c->pool->quota, c->user, QUOTA_BYTES, held - c->charged_out)) {
		return -ENOBUFS;
	}
	if (held < c->charged_out) {
		quota_give(&c->pool->quota, c->user, QUOTA_BYTES, c->charged_out - held);
	}
	c->charged_out = held;
	return 0;
}

static bool is_full(const struct sp_conn *c, size_t len)
{
	size_t bytes = c->pool->drop_oldest ? BUS_SUBSCRIBER_BYTES : ANSWERS_BYTES;

	return c->n_queued >= c->pool->queue || c->bytes_queued + len > bytes;
}

/* A peer that asks faster than it reads is not read from until there is room for its answers
 * again: two of the largest, or those to all the calls it may have under way. */
static bool is_clogged(const struct sp_conn *c)
{
	return c->pool->protocol == SP_REP && !c->is_broken &&
	       (c->bytes_queued > ANSWERS_BYTES / 2 || c->n_queued > c->pool->queue / 2);
}

static void watch(struct sp_conn *c)
{
	bool has_output = (c->n_queued > 0 && !c->is_batch) || c->stream.is_connecting ||
			  sp_stream_holds_output(&c->stream);
	/* What is in the stash comes first, and until then there is no use in being told of more.
	 */
	uint32_t events = (c->stash || is_clogged(c) ? 0 : EPOLLIN) | (has_output ? EPOLLOUT : 0);

	if (c->events != events && sd_event_source_set_io_events(c->io, events) >= 0) {
		c->events = events;
	}
}

/* False when there is no room for a message that may be refused. */
static bool make_room(struct sp_conn *c, size_t len)
{
	if (!c->pool->drop_oldest) {
		return c->n_queued == 0 || !is_full(c, len);
	}
	while (is_full(c, len)) {
		struct list *oldest = c->queue.next;

		if (oldest != &c->queue && c->n_written > 0) {
			oldest = oldest->next; /* the first is under way */
		}
		if (oldest == &c->queue) {
			break;
		}
		unqueue(c, list_entry(oldest, struct sp_queued, link));
		note_drop(c);
	}
	return true;
}

static int enqueue(struct sp_conn *c, struct sp_outgoing *o)
{
	size_t total = o->head_len + o->len;
	struct sp_queued *q;

	if (!make_room(c, total)) {
		return -EAGAIN;
	}
	if (!o->message) {
		o->message = sp_message_new(o->head, o->head_len, o->body, o->len);
	}
	q = o->message ? calloc(1, sizeof(*q)) : NULL;
	if (!q) {
		return -ENOMEM;
	}
	if (!c->pool->drop_oldest && !quota_take(&c->pool->quota, c->user, QUOTA_BYTES, total)) {
		free(q);
		return -EAGAIN;
	}
	q->message = sp_message_ref(o->message);
	list_append(&c->queue, &q->link);
	c->n_queued++;
	c->bytes_queued += total;
	c->bytes_high = MAX(c->bytes_high, c->bytes_queued);
	watch(c);
	return 0;
}

/* ---- writing ---- */

static size_t gather(const struct sp_conn *c, struct iovec iov[static IOVS])
{
	size_t skip = c->n_written, n = 0;

	list_for_each (i, &c->queue) {
		struct sp_message *m = list_entry(i, struct sp_queued, link)->message;

		if (n == IOVS) {
			break;
		}
		skip += c->is_bare;
		iov[n++] = (struct iovec){ m->bytes + skip, m->len - skip };
		skip = 0;
	}
	return n;
}

/* 0 or -errno: the connection is of no use any more. */
static int flush(struct sp_conn *c)
{
	int r = sp_stream_flush(&c->stream);

	list_unlink(&c->by_batch);
	c->is_batch = false;
	for (int i = 0; i < WRITES_A_TURN && c->n_queued > 0 && r == 0; i++) {
		struct iovec iov[IOVS];
		ssize_t n = sp_stream_write(&c->stream, iov, gather(c, iov));
		struct sp_queued *q;

		if (n < 0) {
			return (int)n;
		}
		if (n == 0) {
			break;
		}
		c->n_written += (size_t)n;
		while ((q = list_first(&c->queue, struct sp_queued, link)) &&
		       c->n_written >= q->message->len - c->is_bare) {
			c->n_written -= q->message->len - c->is_bare;
			unqueue(c, q);
		}
	}
	watch(c);
	if (c->n_queued == 0) {
		end_stall(c);
	}
	return r < 0 ? r : settle_out(c);
}

int sp_conn_flush(struct sp_conn *c)
{
	if (c->is_broken || flush(c) < 0) {
		sp_conn_break(c);
		return -EPIPE;
	}
	return 0;
}

static int send_directly(struct sp_conn *c, struct sp_outgoing *o)
{
	const struct iovec iov[] = { { o->head + c->is_bare, o->head_len - c->is_bare },
				     { (void *)o->body, o->len } };
	ssize_t n = sp_stream_write(&c->stream, iov, o->len > 0 ? 2 : 1);
	int r = (int)MIN(n, 0);

	if (n == (ssize_t)(o->head_len + o->len - c->is_bare)) {
		watch(c);
		return 0;
	}
	if (r == 0) {
		r = enqueue(c, o);
		if (r < 0 && n == 0) {
			return r; /* as if it had not been tried */
		}
	}
	if (r == 0) {
		c->n_written = (size_t)n;
		r = settle_out(c);
	}
	if (r < 0) {
		sp_conn_break(c);
		return -EPIPE;
	}
	return 0;
}

static int send_queued(struct sp_conn *c, struct sp_outgoing *o)
{
	int r;

	c->is_batch = c->is_batch || c->n_queued == 0;
	r = enqueue(c, o);
	c->is_batch = c->is_batch && c->n_queued > 0;
	if (r < 0 || !c->is_batch) {
		return r;
	}
	if (c->n_queued >= BATCH_MAX || c->bytes_queued >= BATCH_BYTES) {
		return sp_conn_flush(c);
	}
	if (!c->is_corked) {
		sp_pool_flush_later(c->pool, c);
	}
	return 0;
}

/* Whether more goes to this peer at the same time, as far as can be told: answers to what came
 * together, or a second message within one turn of the loop. */
static bool has_company(struct sp_conn *c)
{
	uint64_t turn = 0;

	sd_event_get_iteration(c->pool->loop, &turn);
	if (c->is_corked || c->sent_in == turn) {
		return true;
	}
	c->sent_in = turn;
	return false;
}

int sp_conn_send(struct sp_conn *c, struct sp_outgoing *o)
{
	bool is_large = o->len >= BATCH_BYTES / 2; /* not worth a copy */

	if (c->is_broken) {
		return -EPIPE;
	}
	if (c->is_batch && (is_large || is_full(c, o->head_len + o->len)) && sp_conn_flush(c) < 0) {
		return -EPIPE;
	}
	if (c->n_queued == 0 && (is_large || !has_company(c))) {
		return send_directly(c, o);
	}
	return send_queued(c, o);
}

/* ---- reading ---- */

static int shake(struct sp_conn *c, const uint8_t **data, size_t *len)
{
	size_t n = MIN(SP_HANDSHAKE_LEN - c->n_hello, *len);
	uint8_t want[SP_HANDSHAKE_LEN];

	sp_handshake(want, c->pool->peer_protocol);
	memcpy(c->hello + c->n_hello, *data, n);
	c->n_hello += n;
	*data += n;
	*len -= n;
	if (memcmp(c->hello, want, c->n_hello) != 0) {
		return -EPROTO;
	}
	if (c->n_hello == SP_HANDSHAKE_LEN) {
		c->is_up = true;
		c->pool->n_up++;
		sp_pool_await_nothing(c->pool, c);
		c->pool->handler->on_up(c, c->pool->userdata);
	}
	return 0;
}

/* Deliver what is whole, at most *budget frames. 0, -errno. */
static int consume(struct sp_conn *c, const uint8_t **data, size_t *len, size_t *budget)
{
	int r = c->is_up ? 0 : shake(c, data, len);

	while (r == 0 && c->pool && c->is_up && *budget > 0 && !is_clogged(c)) {
		const uint8_t *frame;
		size_t frame_len;

		r = sp_decoder_feed(&c->decoder, data, len, &frame, &frame_len);
		if (r <= 0) {
			return r;
		}
		--*budget;
		c->is_corked = *len > 0;
		r = c->pool->handler->on_frame(c, frame, frame_len, c->pool->userdata);
	}
	return c->pool ? r : 0;
}

static int consume_stash(struct sp_conn *c, size_t *budget)
{
	const uint8_t *data = c->stash + c->stash_at;
	size_t len = c->stash_len - c->stash_at;
	int r = consume(c, &data, &len, budget);

	c->stash_at = c->stash_len - len;
	if (len == 0) {
		free(c->stash);
		c->stash = NULL;
		c->stash_len = c->stash_at = 0;
	}
	return r;
}

static int keep(struct sp_conn *c, const uint8_t *data, size_t len)
{
	c->stash = malloc(len);
	if (!c->stash) {
		return -ENOMEM;
	}
	memcpy(c->stash, data, len);
	c->stash_len = len;
	c->stash_at = 0;
	return 0;
}

/* 1 = there may be more; 0; -errno. The scratch is the connection's meanwhile: a handler may close
 * the socket, and the message must live on. */
static int receive(struct sp_conn *c, size_t *budget)
{
	_cleanup_(xfreep) uint8_t *scratch = STEAL(c->pool->scratch);
	const uint8_t *data;
	ssize_t n;
	size_t len;
	int r;

	if (!scratch) {
		scratch = malloc(SP_SCRATCH);
		if (!scratch) {
			return -ENOMEM;
		}
	}
	n = sp_stream_read(&c->stream, scratch, SP_SCRATCH);
	r = (int)n;
	if (n > 0) {
		data = scratch;
		len = (size_t)n;
		r = consume(c, &data, &len, budget);
		if (r == 0 && c->pool && len > 0) {
			r = keep(c, data, len);
		}
		r = r < 0 ? r : 1;
	}
	if (c->pool) {
		c->pool->scratch = STEAL(scratch);
	}
	return r;
}

/* Account for what is held, and say when it is expected to go on. 0; -ENOBUFS: more than the share
 * of the user. */
static int settle(struct sp_conn *c)
{
	size_t held;

	if (!sp_decoder_is_partial(&c->decoder)) {
		sp_decoder_deinit(&c->decoder); /* the memory of the last one */
	}
	held = c->decoder.capacity + c->stash_len;
	if (held > c->charged_in &&
	    !quota_take(&c->pool->quota, c->user, QUOTA_BYTES, held - c->charged_in)) {
		return -ENOBUFS;
	}
	if (held < c->charged_in) {
		quota_give(&c->pool->quota, c->user, QUOTA_BYTES, c->charged_in - held);
	}
	c->charged_in = held;
	if (c->is_up) {
		if (sp_decoder_is_partial(&c->decoder) && !is_clogged(c)) {
			sp_pool_await_progress(c->pool, c);
		} else {
			sp_pool_await_nothing(c->pool, c);
		}
	}
	return 0;
}

/* ---- the turn of a connection ---- */

static int on_kick(sd_event_source *source, void *userdata);

/* Have a turn though the peer does nothing. 0 or -errno. A new source each time: one that is
 * enabled again keeps its old place in sd-event's queue, in front of all others. */
static int kick(struct sp_conn *c)
{
	return loop_defer(c->pool->loop, &c->kick, on_kick, c);
}

/* The connections of a user share what one may have: a thousand of them delay others no more than
 * one does, but for the turns themselves. */
static size_t frames_of_turn(const struct sp_conn *c)
{
	return MAX(FRAMES_A_TURN / c->user->used[QUOTA_CONNECTIONS], 1);
}

static void tell_why(const struct sp_conn *c, int error)
{
	const char *why = c->stream.tls ? sp_tls_failure(c->stream.tls) : NULL;
	char who[SP_WHO_SIZE];

	if (why && c->is_accepted) {
		log_warning("a TLS connection of %s was refused: %s",
			    sp_conn_describe(c, who, sizeof(who)), why);
	} else if (error != -EPIPE && error != -ECONNRESET) {
		log_debug("closing the connection of %s: %s", sp_conn_describe(c, who, sizeof(who)),
			  err_text(error));
	}
}

static void end(struct sp_conn *c, int error)
{
	tell_why(c, error);
	c->is_broken = true; /* nothing is sent any more */
	c->pool->handler->on_down(c, c->is_up, c->pool->userdata);
	if (c->pool) {
		sp_conn_free(c);
	}
}

static int say_hello(struct sp_conn *c)
{
	uint8_t hello[SP_HANDSHAKE_LEN];
	const struct iovec iov = { hello, sizeof(hello) };
	ssize_t n;

	sp_handshake(hello, c->pool->protocol);
	n = sp_stream_write(&c->stream, &iov, 1);
	return n == sizeof(hello) ? 0 : n < 0 ? (int)n : -EAGAIN;
}

/* 1 = open; 0 = not yet; -errno. */
static int go_on_opening(struct sp_conn *c)
{
	int r = sp_stream_open(&c->stream);

	if (r == 1) {
		c->is_open = true;
		r = sp_pool_on_open(c->pool, c);
		r = r == 0 ? say_hello(c) : r;
	} else if (r == 0) {
		r = c->is_broken ? -ETIMEDOUT : 0;
	}
	if (r < 0) {
		return r;
	}
	watch(c);
	return c->is_open;
}

/* A broken one is read to its end first: the last answers may be there. */
static int turn(struct sp_conn *c, uint32_t events)
{
	size_t budget = frames_of_turn(c);
	int r = c->is_open ? 1 : go_on_opening(c);

	if (r <= 0) {
		return r;
	}
	r = 0;
	if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP) && !c->is_broken && flush(c) < 0) {
		c->is_broken = true;
	}
	if (c->stash) {
		r = consume_stash(c, &budget);
	}
	if (r == 0 && c->pool && !c->stash && !is_clogged(c)) {
		r = receive(c, &budget);
	}
	if (r < 0 || !c->pool) {
		return r;
	}
	if (c->is_broken && (r == 0 || !c->is_up) && !c->stash) {
		return -EPIPE;
	}
	c->is_corked = false;
	if (c->is_batch && !c->is_broken && flush(c) < 0) {
		c->is_broken = true;
	}
	r = settle(c);
	watch(c);
	if (r == 0 && !is_clogged(c) &&
	    (c->stash || c->is_broken || sp_stream_holds_input(&c->stream))) {
		r = kick(c);
	}
	return r;
}

static void pump(struct sp_conn *c, uint32_t events)
{
	int r;

	c->depth++;
	r = turn(c, events);
	if (r < 0 && c->pool) {
		end(c, r);
	}
	c->depth--;
	if (!c->pool) {
		sp_conn_free(c);
	}
}

static int on_io(sd_event_source *source _unused_, int fd _unused_, uint32_t events, void *userdata)
{
	pump(userdata, events);
	return 0;
}

static int on_kick(sd_event_source *source _unused_, void *userdata)
{
	pump(userdata, 0);
	return 0;
}

/* ---- beginning and end ---- */

int sp_conn_start(struct sp_conn *c)
{
	int r = 0;

	c->is_open = !c->stream.is_connecting && !c->stream.tls;
	if (c->is_open) {
		r = say_hello(c);
	}
	c->events = c->stream.is_connecting || c->stream.tls ? EPOLLIN | EPOLLOUT : EPOLLIN;
	if (r == 0) {
		r = sd_event_add_io(c->pool->loop, &c->io, c->stream.fd, c->events, on_io, c);
	}
	return r < 0 ? r : 0;
}

void sp_conn_break(struct sp_conn *c)
{
	if (!c->is_broken) {
		c->is_broken = true;
		if (kick(c) < 0) {
			shutdown(c->stream.fd, SHUT_RDWR); /* which wakes io */
		}
	}
}

void sp_conn_free(struct sp_conn *c)
{
	if (c->pool && c->is_batch && !c->is_broken) {
		flush(c); /* as far as there is room */
	}
	list_unlink(&c->by_batch);
	c->io = sd_event_source_disable_unref(c->io);
	c->kick = sd_event_source_disable_unref(c->kick);
	sp_stream_close(&c->stream);
	if (c->pool) {
		list_for_each_safe (i, &c->queue) {
			unqueue(c, list_entry(i, struct sp_queued, link));
		}
		quota_give(&c->pool->quota, c->user, QUOTA_BYTES, c->charged_in + c->charged_out);
		c->charged_in = c->charged_out = 0;
		end_stall(c);
		sp_pool_leave(c->pool, c);
	}
	if (c->depth == 0) {
		sp_decoder_deinit(&c->decoder);
		free(c->stash);
		free(c->gids);
		free(c);
	}
}
