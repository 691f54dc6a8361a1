/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any bytes as a capture file, after its head: whatever is read is within
 * bounds, clean, and is written again as it was.
 */
#include "bus/limits.h"
#include "clients/cli/capture_file.h"
#include "libcommon/arena.h"
#include "xenmesh/v1/bus.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true)
{
	if (!is_true) {
		abort();
	}
}

static void check_publication(const struct capture_record *r)
{
	struct arena arena;
	size_t head = strlen((const char *)r->data) + 1;

	require(head <= r->len);
	arena_init(&arena, r->len * BUS_ARENA_FACTOR + BUS_ARENA_BASE);
	arena_unpack(&arena, &xenmesh__v1__event__descriptor, r->data + head, r->len - head);
	arena_deinit(&arena);
}

static void check_record(const uint8_t *bytes, size_t len)
{
	struct capture_record r;
	struct strbuf again = STRBUF_NULL;
	const char *why;
	int e = capture_get(bytes, len, &r, &why);

	require((e < 0) == (why != NULL));
	if (e == 0) {
		require(strlen(r.service) >= 1 && strlen(r.service) <= CAPTURE_SERVICE_MAX);
		require(r.kind >= CAPTURE_LIVE && r.kind <= CAPTURE_LOST);
		require((r.data != NULL) == (r.kind <= CAPTURE_REPLAYED));
		if (r.data) {
			check_publication(&r);
		}
		/* Bytes of a kind that carries nothing are not kept. */
		if (capture_put(&again, &r) == 0 && again.len == len) {
			require(memcmp(again.data + 12, bytes + 12, len - 12) == 0);
		}
	}
	strbuf_deinit(&again);
}

/* The first byte says whether checksums are put right, so that the search gets behind them. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t at = 1;

	while (size > 1 && at + CAPTURE_RECORD_HEAD <= size) {
		size_t body = capture_body_size(data + at);
		size_t len = CAPTURE_RECORD_HEAD + body;
		uint8_t *copy;

		if (body == 0 || len > size - at) {
			check_record(data + at, size - at);
			break;
		}
		copy = malloc(len); /* of its own, so that reading beyond it is seen */
		if (!copy) {
			break;
		}
		memcpy(copy, data + at, len);
		if (data[0] & 1) {
			capture_seal(copy, len);
		}
		check_record(copy, len);
		free(copy);
		at += len;
	}
	return 0;
}
