/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Chunks double from 1 KiB to 256 KiB, so a small request costs one malloc and
 * a big one few.  Invariant: `used` is the sum of the rounded sizes handed out,
 * which is what the limit is about: no allocation takes it beyond the limit,
 * and one that fits exactly succeeds.
 */
#include "libcommon/arena.h"

#include <stdarg.h>
#include <stdio.h>

#define ALIGNMENT      16
#define CHUNK_SIZE_MIN 1024
#define CHUNK_SIZE_MAX (256 * 1024)

struct arena_chunk {
	struct arena_chunk *next;
	size_t size; /* of data */
	size_t used;
	_Alignas(ALIGNMENT) char data[];
};

static void *allocator_alloc(void *allocator_data, size_t size)
{
	return arena_alloc(allocator_data, size);
}

static void allocator_free(void *allocator_data _unused_, void *pointer _unused_)
{
}

void arena_init(struct arena *a, size_t limit)
{
	*a = (struct arena){
		.limit = MIN(limit, (size_t)PTRDIFF_MAX / 2), /* sums cannot wrap */
		.allocator = {
			.alloc = allocator_alloc,
			.free = allocator_free,
			.allocator_data = a,
		},
	};
}

void arena_reset(struct arena *a)
{
	for (struct arena_chunk *c = a->chunks, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	a->chunks = NULL;
	a->used = 0;
}

void arena_deinit(struct arena *a)
{
	arena_reset(a);
}

/* A new first chunk with room for `need` bytes. */
static struct arena_chunk *add_chunk(struct arena *a, size_t need)
{
	size_t size = a->chunks ? MIN(a->chunks->size * 2, CHUNK_SIZE_MAX) : CHUNK_SIZE_MIN;
	struct arena_chunk *c;

	size = MAX(MIN(size, a->limit - a->used), need);
	c = calloc(1, sizeof(*c) + size);
	if (!c) {
		return NULL;
	}
	c->size = size;
	c->next = a->chunks;
	a->chunks = c;
	return c;
}

void *arena_alloc(struct arena *a, size_t size)
{
	struct arena_chunk *c = a->chunks;
	void *p;

	if (size > a->limit) {
		return NULL;
	}
	size = (MAX(size, 1) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	if (size > a->limit - a->used) {
		return NULL;
	}
	if (!c || size > c->size - c->used) {
		c = add_chunk(a, size);
		if (!c) {
			return NULL;
		}
	}
	p = c->data + c->used;
	c->used += size;
	a->used += size;
	return p;
}

char *arena_strndup(struct arena *a, const char *s, size_t len)
{
	char *copy = len < SIZE_MAX ? arena_alloc(a, len + 1) : NULL;

	if (copy && len > 0) {
		memcpy(copy, s, len);
	}
	return copy;
}

char *arena_printf(struct arena *a, const char *format, ...)
{
	char *text = NULL;
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (len >= 0) {
		text = arena_alloc(a, (size_t)len + 1);
	}
	if (text) {
		va_start(args, format);
		vsnprintf(text, (size_t)len + 1, format, args);
		va_end(args);
	}
	return text;
}

ProtobufCMessage *arena_unpack(struct arena *a, const ProtobufCMessageDescriptor *type,
			       const void *data, size_t len)
{
	return protobuf_c_message_unpack(type, &a->allocator, len, data);
}
