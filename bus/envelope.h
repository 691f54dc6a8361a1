/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Call and Reply as bytes.  Everything of a Call comes from a stranger: what
 * leaves here is bounded, printable where people read it, and valid UTF-8.
 */
#include "bus/codes.h"
#include "bus/limits.h"
#include "bus/methods.h"
#include "libcommon/arena.h"
#include "xenmesh/v1/bus.pb-c.h"

#define ENVELOPE_ID_LEN	 16
#define ENVELOPE_WHY_MAX 512

struct envelope {
	const uint8_t *request_id; /* ENVELOPE_ID_LEN bytes; NULL when it is unknown */
	const struct bus_method *method;
	uint32_t timeout_ms; /* 1..BUS_TIMEOUT_MAX_MS */
	const char *client;  /* "?" when empty */
	/* Valid; "" when the call had none, or none that is valid, and is not audited. An audited
	 * one gets a new one then. */
	const char *traceparent;
	const void *payload;
	size_t payload_len;
};

/* What an event or a reply of len bytes may take when decoded; a publication or an envelope adds
 * little to it. */
static inline size_t envelope_memory_max(size_t len)
{
	return MIN(BUS_ARENA_BASE + BUS_ARENA_REPLY_FACTOR * len, (size_t)BUS_ARENA_MAX);
}

/* CODE_OK; else the code to answer with and the reason in `why`. All of *out lives in the arena. */
int envelope_open(struct envelope *out, struct arena *arena, const void *data, size_t len,
		  char why[static ENVELOPE_WHY_MAX]);
/* The decoded payload, in the arena; NULL when it is not of the method's input type, unfolds
 * to more than the arena may hold, or has text that is not UTF-8. */
const ProtobufCMessage *envelope_request(const struct envelope *e, struct arena *arena);

/* A serialized Reply, malloc'ed. request_id may be NULL. 0, -EMSGSIZE (over BUS_REPLY_MAX) or
 * -ENOMEM. */
int envelope_fail(const uint8_t *request_id, int code, const char *message, uint8_t **out,
		  size_t *len);
int envelope_reply(const uint8_t *request_id, const void *payload, size_t payload_len,
		   uint8_t **out, size_t *len);
int envelope_reply_message(const uint8_t *request_id, const ProtobufCMessage *payload,
			   uint8_t **out, size_t *len);
/* Code of a serialized Reply made by the above. */
int envelope_reply_code(const uint8_t *reply, size_t len);
