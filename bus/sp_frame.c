/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A frame that is whole in the bytes given is handed out where it lies; only
 * one that comes in pieces is copied.  Its buffer is at most twice what has
 * come, so who announces much and sends little costs little.
 */
#include "bus/sp_frame.h"

#define TYPE_MESSAGE 1
#define CAPACITY_MIN 4096

void sp_handshake(uint8_t out[static SP_HANDSHAKE_LEN], enum sp_protocol protocol)
{
	const uint8_t bytes[SP_HANDSHAKE_LEN] = { 0, 'S', 'P', 0, 0, (uint8_t)protocol, 0, 0 };

	memcpy(out, bytes, sizeof(bytes));
}

static void reset(struct sp_decoder *d)
{
	free(d->body);
	*d = (struct sp_decoder){ .max = d->max, .is_bare = d->is_bare };
}

void sp_decoder_deinit(struct sp_decoder *d)
{
	reset(d);
}

static void take(const uint8_t **data, size_t *len, size_t n)
{
	*data += n;
	*len -= n;
}

/* 0 or -errno; n_head tells whether it is complete. */
static int feed_head(struct sp_decoder *d, const uint8_t **data, size_t *len)
{
	size_t n;
	uint64_t size = 0;

	if (d->n_head == 0 && d->is_bare && *len > 0) {
		d->head[d->n_head++] = TYPE_MESSAGE;
	}
	n = MIN(SP_FRAME_HEAD - (size_t)d->n_head, *len);
	memcpy(d->head + d->n_head, *data, n);
	d->n_head = (uint8_t)(d->n_head + n);
	take(data, len, n);
	if (d->n_head > 0 && d->head[0] != TYPE_MESSAGE) {
		return -EPROTO;
	}
	if (d->n_head < SP_FRAME_HEAD) {
		return 0;
	}
	for (size_t i = 1; i < SP_FRAME_HEAD; i++) {
		size = size << 8 | d->head[i];
	}
	if (size > d->max) {
		return -EMSGSIZE;
	}
	d->len = (size_t)size;
	return 0;
}

static int ensure_capacity(struct sp_decoder *d, size_t need)
{
	size_t capacity = MIN(MAX(need, MAX(2 * d->n_body, (size_t)CAPACITY_MIN)), d->len);
	uint8_t *body;

	if (need <= d->capacity) {
		return 0;
	}
	body = realloc(d->body, capacity);
	if (!body) {
		return -ENOMEM;
	}
	d->body = body;
	d->capacity = capacity;
	return 0;
}

int sp_decoder_feed(struct sp_decoder *d, const uint8_t **data, size_t *len, const uint8_t **frame,
		    size_t *frame_len)
{
	size_t n;
	int r;

	if (d->is_delivered) {
		reset(d);
	}
	if (d->n_head < SP_FRAME_HEAD) {
		r = feed_head(d, data, len);
		if (r < 0 || d->n_head < SP_FRAME_HEAD) {
			return r;
		}
	}
	if (d->n_body == 0 && *len >= d->len) {
		*frame = *data;
		*frame_len = d->len;
		take(data, len, d->len);
		d->n_head = 0;
		return 1;
	}
	n = MIN(d->len - d->n_body, *len);
	r = ensure_capacity(d, d->n_body + n);
	if (r < 0) {
		return r;
	}
	if (n > 0) {
		memcpy(d->body + d->n_body, *data, n);
	}
	d->n_body += n;
	take(data, len, n);
	if (d->n_body < d->len) {
		return 0;
	}
	*frame = d->body;
	*frame_len = d->len;
	d->n_head = 0;
	d->is_delivered = true;
	return 1;
}

void sp_frame_head(uint8_t out[static SP_FRAME_HEAD], uint64_t len)
{
	out[0] = TYPE_MESSAGE;
	for (size_t i = 1; i < SP_FRAME_HEAD; i++) {
		out[i] = (uint8_t)(len >> (64 - 8 * i));
	}
}

struct sp_message *sp_message_new(const void *head, size_t head_len, const void *body, size_t len)
{
	struct sp_message *m = malloc(sizeof(*m) + head_len + len);

	if (!m) {
		return NULL;
	}
	m->n_refs = 1;
	m->len = head_len + len;
	memcpy(m->bytes, head, head_len);
	if (len > 0) {
		memcpy(m->bytes + head_len, body, len);
	}
	return m;
}

struct sp_message *sp_message_unref(struct sp_message *m)
{
	if (m && --m->n_refs == 0) {
		free(m);
	}
	return NULL;
}
