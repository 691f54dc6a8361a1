/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Bump allocator with a hard limit, for everything that lives as long as one
 * request.  Its ProtobufCAllocator makes decoding of foreign bytes bounded: a
 * message that unfolds to more than the limit decodes to NULL instead of
 * filling the host (1 MiB of hostile bytes can ask protobuf-c for 124 MiB).
 */
#include <protobuf-c/protobuf-c.h>

#include "libcommon/base.h"

struct arena_chunk;

struct arena {
	struct arena_chunk *chunks;
	size_t used;
	size_t limit; /* bytes handed out at most */
	ProtobufCAllocator allocator;
};

/* Does not allocate. The allocator points back: an arena must not be moved. */
void arena_init(struct arena *a, size_t limit);
/* Frees all; the arena can be used again with the same limit. */
void arena_reset(struct arena *a);
/* Same as reset; idempotent, also for a zeroed arena. */
void arena_deinit(struct arena *a);
/* 16-byte aligned, zeroed; NULL over the limit or out of memory. Sizes are rounded up to a
 * multiple of 16 (0 counts as 1), and the limit is about the rounded ones. */
void *arena_alloc(struct arena *a, size_t size);
char *arena_strndup(struct arena *a, const char *s, size_t len);
char *arena_printf(struct arena *a, const char *format, ...) _printf_(2, 3);
/* Decode; the result lives in the arena, never protobuf_c_message_free_unpacked() it.
 * NULL when the bytes are no such message or the limit is reached. */
ProtobufCMessage *arena_unpack(struct arena *a, const ProtobufCMessageDescriptor *type,
			       const void *data, size_t len);
