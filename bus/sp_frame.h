/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The bytes of an SP stream: the handshake, then frames: a type byte 1 (over ipc only), a 64-bit
 * length, that many bytes.  A decoder without any I/O, and the message that is sent.
 */
#include "libcommon/base.h"

/* Numbers of the SP protocols, as in the handshake. */
enum sp_protocol { SP_PUB = 0x20, SP_SUB = 0x21, SP_REQ = 0x30, SP_REP = 0x31 };

#define SP_HANDSHAKE_LEN 8

void sp_handshake(uint8_t out[static SP_HANDSHAKE_LEN], enum sp_protocol protocol);

#define SP_FRAME_HEAD 9

/* Zeroed with max (and is_bare) set is a decoder at the beginning of a frame. */
struct sp_decoder {
	uint64_t max; /* bytes of a frame; a longer one is refused before memory is taken for it */
	bool is_bare; /* tcp: no type byte comes first */
	uint8_t head[SP_FRAME_HEAD];
	uint8_t n_head;
	bool is_delivered; /* the frame in `body` was handed out */
	size_t len, n_body;
	uint8_t *body; /* of a frame that came in pieces; grows with what has come */
	size_t capacity;
};

/* Consume from *data. 0 = all is consumed and no frame complete; 1 = *frame is one, valid until
 * the next call and while the bytes given live; -EPROTO, -EMSGSIZE, -ENOMEM: of no use any more. */
int sp_decoder_feed(struct sp_decoder *d, const uint8_t **data, size_t *len, const uint8_t **frame,
		    size_t *frame_len);
/* True in the midst of a frame. */
static inline bool sp_decoder_is_partial(const struct sp_decoder *d)
{
	return d->n_head > 0;
}
/* Back to the beginning of a frame, with no memory held. */
void sp_decoder_deinit(struct sp_decoder *d);

/* The head of a frame of len bytes. */
void sp_frame_head(uint8_t out[static SP_FRAME_HEAD], uint64_t len);

/* A frame that waits for its peers to read, shared by all of them. */
struct sp_message {
	unsigned int n_refs;
	size_t len;
	uint8_t bytes[];
};

/* With one reference; NULL when out of memory. */
struct sp_message *sp_message_new(const void *head, size_t head_len, const void *body, size_t len);
static inline struct sp_message *sp_message_ref(struct sp_message *m)
{
	m->n_refs++;
	return m;
}
/* NULL is allowed. Returns NULL. */
struct sp_message *sp_message_unref(struct sp_message *m);
