/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The stream of an SP peer, over ipc or tcp, in any pieces: the same frames come out as when it
 * comes in one piece, or the same error, and no more memory is held than twice
 * what has come.  Input: one byte for the size of the pieces, one for the
 * limit, the stream.
 */
#include "bus/sp_frame.h"

#define CAPACITY_MIN 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
	size_t n_frames;
	uint64_t hash; /* of lengths and bytes */
	int error;
	bool is_partial;
};

static void require(bool is_true)
{
	if (!is_true) {
		abort();
	}
}

static void add(struct outcome *o, const uint8_t *bytes, size_t len)
{
	o->n_frames++;
	o->hash = (o->hash ^ len) * 0x100000001b3ULL;
	for (size_t i = 0; i < len; i++) {
		o->hash = (o->hash ^ bytes[i]) * 0x100000001b3ULL;
	}
}

/* Each piece in a block of its own, so that reading beyond it is noticed. */
static void feed_piece(struct sp_decoder *d, const uint8_t *data, size_t len, struct outcome *o)
{
	_cleanup_(xfreep) uint8_t *piece = malloc(MAX(len, 1));
	const uint8_t *at = piece, *frame;
	size_t left = len, frame_len;
	int r;

	require(piece != NULL);
	memcpy(piece, data, len);
	while ((r = sp_decoder_feed(d, &at, &left, &frame, &frame_len)) == 1) {
		require(frame_len <= d->max);
		require(at + left == piece + len);
		add(o, frame, frame_len);
	}
	require(r == 0 || r == -EPROTO || r == -EMSGSIZE);
	require(r < 0 || left == 0);
	o->error = r;
}

static struct outcome decode(const uint8_t *data, size_t size, size_t step, uint64_t max,
			     bool is_bare)
{
	struct sp_decoder d = { .max = max, .is_bare = is_bare };
	struct outcome o = { .hash = 0xcbf29ce484222325ULL };

	for (size_t at = 0; at < size && o.error == 0; at += step) {
		size_t len = MIN(step, size - at);

		feed_piece(&d, data + at, len, &o);
		require(d.capacity <= MAX(2 * (at + len), (size_t)CAPACITY_MIN));
	}
	o.is_partial = sp_decoder_is_partial(&d);
	sp_decoder_deinit(&d);
	require(d.capacity == 0 && !sp_decoder_is_partial(&d));
	return o;
}

static void compare(const uint8_t *data, size_t size, bool is_bare)
{
	const uint64_t max = (uint64_t)data[1] << 6;
	struct outcome whole = decode(data + 2, size - 2, size, max, is_bare);
	struct outcome pieces = decode(data + 2, size - 2, (size_t)data[0] + 1, max, is_bare);

	require(whole.n_frames == pieces.n_frames && whole.hash == pieces.hash);
	require(whole.error == pieces.error && whole.is_partial == pieces.is_partial);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size >= 2) {
		compare(data, size, false); /* of ipc */
		compare(data, size, true);  /* of tcp */
	}
	return 0;
}
