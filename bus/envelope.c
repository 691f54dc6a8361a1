/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * protobuf-c decodes bytes of any kind into `string`, and passes them on; other
 * languages refuse such messages.  So text is checked here, once, for all.
 */
#include "bus/envelope.h"

#include <stdio.h>

#include "bus/limits.h"
#include "bus/wire.h"
#include "libcommon/log.h"
#include "libcommon/parse.h"
#include "libcommon/traceparent.h"

#define FIELD_PAYLOAD 5 /* of Reply */

/* ---- Call ---- */

/* Text cut to max bytes, with '?' for what is not printable ASCII; in the arena. */
static const char *clean(struct arena *arena, const char *text, size_t max)
{
	char *out = arena_strndup(arena, text, strnlen(text, max));

	for (char *p = out; p && *p; p++) {
		if (*p < ' ' || *p > '~') {
			*p = '?';
		}
	}
	return out;
}

/* What the call belongs to; a mistake in it does not fail the call. NULL: the arena is full. */
static const char *read_traceparent(struct arena *arena, const char *text,
				    const struct bus_method *m)
{
	char *own;

	if (traceparent_is_valid(text)) {
		return text;
	}
	if (text[0]) {
		log_debug("the traceparent of a call of %s is ignored: '%.64s'", m->name, text);
	}
	if (!bus_method_is_audited(m)) {
		return "";
	}
	own = arena_alloc(arena, TRACEPARENT_SIZE);
	if (own) {
		traceparent_new(own);
	}
	return own;
}

static const struct bus_method *find_method(const char *name)
{
	const struct bus_method *m = bus_method_find(name);

	return m && streq(m->name, name) ? m : NULL;
}

static int refuse_size(char why[static ENVELOPE_WHY_MAX])
{
	snprintf(why, ENVELOPE_WHY_MAX, "the call unfolds to more than is allowed");
	return CODE_INVALID_ARGUMENT;
}

int envelope_open(struct envelope *out, struct arena *arena, const void *data, size_t len,
		  char why[static ENVELOPE_WHY_MAX])
{
	const Xenmesh__V1__Call *call = (const Xenmesh__V1__Call *)arena_unpack(
		arena, &xenmesh__v1__call__descriptor, data, len);
	char name[128];

	*out = (struct envelope){ 0 };
	if (!call) {
		snprintf(why, ENVELOPE_WHY_MAX, "these %zu bytes are no xenmesh.v1.Call", len);
		return CODE_INVALID_ARGUMENT;
	}
	if (call->request_id.len != ENVELOPE_ID_LEN) {
		snprintf(why, ENVELOPE_WHY_MAX,
			 "request_id has %zu bytes; it must be %d random ones",
			 call->request_id.len, ENVELOPE_ID_LEN);
		return CODE_INVALID_ARGUMENT;
	}
	out->request_id = call->request_id.data;
	out->payload = call->payload.data;
	out->payload_len = call->payload.len;
	out->timeout_ms = call->timeout_ms ? MIN(call->timeout_ms, BUS_TIMEOUT_MAX_MS)
					   : BUS_TIMEOUT_DEFAULT_MS;
	out->client = clean(arena, call->client[0] ? call->client : "?", BUS_CLIENT_NAME_MAX);
	out->traceparent = "";
	if (!out->client) {
		return refuse_size(why);
	}
	out->method = find_method(call->method);
	if (!out->method) {
		log_escape(name, sizeof(name), call->method, strlen(call->method));
		snprintf(why, ENVELOPE_WHY_MAX,
			 "unknown method '%s'; xenmesh.v1.Bus/Describe lists those there are",
			 name);
		return CODE_UNIMPLEMENTED;
	}
	out->traceparent = read_traceparent(arena, call->traceparent, out->method);
	return out->traceparent ? CODE_OK : refuse_size(why);
}

static bool is_text_valid(const ProtobufCMessage *message);

static bool is_value_valid(const ProtobufCFieldDescriptor *field, const void *value)
{
	const char *text = *(const char *const *)value;

	if (!text) {
		return true; /* absent */
	}
	if (field->type == PROTOBUF_C_TYPE_STRING) {
		return utf8_is_valid(text, strlen(text));
	}
	return is_text_valid(*(const ProtobufCMessage *const *)value);
}

static bool is_field_valid(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	const char *base = (const char *)message;
	const void *value = base + field->offset;
	const void *quantifier = base + field->quantifier_offset;
	size_t n;

	if (field->type != PROTOBUF_C_TYPE_STRING && field->type != PROTOBUF_C_TYPE_MESSAGE) {
		return true;
	}
	if (field->label != PROTOBUF_C_LABEL_REPEATED) {
		return ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) &&
			*(const uint32_t *)quantifier != field->id) ||
		       is_value_valid(field, value);
	}
	n = *(const size_t *)quantifier;
	for (size_t i = 0; i < n; i++) {
		if (!is_value_valid(field, *(const char *const *const *)value + i)) {
			return false;
		}
	}
	return true;
}

/* No message type is recursive, so neither is this without end. */
static bool is_text_valid(const ProtobufCMessage *message)
{
	for (unsigned int i = 0; i < message->descriptor->n_fields; i++) {
		if (!is_field_valid(message, &message->descriptor->fields[i])) {
			return false;
		}
	}
	return true;
}

const ProtobufCMessage *envelope_request(const struct envelope *e, struct arena *arena)
{
	const ProtobufCMessage *request = arena_unpack(arena, e->method->input, e->payload,
						       e->payload_len);

	return request && is_text_valid(request) ? request : NULL;
}

/* ---- Reply ---- */

static Xenmesh__V1__Reply head_of(const uint8_t *request_id)
{
	Xenmesh__V1__Reply head = XENMESH__V1__REPLY__INIT;

	if (request_id) {
		head.request_id.data = (uint8_t *)request_id;
		head.request_id.len = ENVELOPE_ID_LEN;
	}
	return head;
}

int envelope_fail(const uint8_t *request_id, int code, const char *message, uint8_t **out,
		  size_t *len)
{
	Xenmesh__V1__Reply head = head_of(request_id);

	head.code = (Xenmesh__V1__Code)code;
	head.message = (char *)message;
	*len = xenmesh__v1__reply__get_packed_size(&head);
	if (*len > BUS_REPLY_MAX) {
		return -EMSGSIZE;
	}
	*out = malloc(MAX(*len, 1U));
	if (!*out) {
		return -ENOMEM;
	}
	xenmesh__v1__reply__pack(&head, *out);
	return 0;
}

/* The bytes of a Reply up to the payload, which *room is for. */
static int begin_reply(const uint8_t *request_id, size_t payload_len, uint8_t **out, size_t *len,
		       uint8_t **room)
{
	Xenmesh__V1__Reply head = head_of(request_id);
	size_t head_len = xenmesh__v1__reply__get_packed_size(&head);
	uint8_t field[WIRE_HEAD_MAX];
	size_t field_len = wire_put_head(field, FIELD_PAYLOAD, payload_len);

	*len = head_len + field_len + payload_len;
	if (payload_len > BUS_REPLY_MAX || *len > BUS_REPLY_MAX) {
		return -EMSGSIZE;
	}
	*out = malloc(*len);
	if (!*out) {
		return -ENOMEM;
	}
	xenmesh__v1__reply__pack(&head, *out);
	memcpy(*out + head_len, field, field_len);
	*room = *out + head_len + field_len;
	return 0;
}

int envelope_reply(const uint8_t *request_id, const void *payload, size_t payload_len,
		   uint8_t **out, size_t *len)
{
	uint8_t *room;
	int r = begin_reply(request_id, payload_len, out, len, &room);

	if (r == 0 && payload_len > 0) {
		memcpy(room, payload, payload_len);
	}
	return r;
}

int envelope_reply_message(const uint8_t *request_id, const ProtobufCMessage *payload,
			   uint8_t **out, size_t *len)
{
	uint8_t *room;
	int r = begin_reply(request_id, protobuf_c_message_get_packed_size(payload), out, len,
			    &room);

	if (r == 0) {
		protobuf_c_message_pack(payload, room);
	}
	return r;
}

int envelope_reply_code(const uint8_t *reply, size_t len)
{
	_cleanup_(arena_deinit) struct arena arena = { 0 };
	const Xenmesh__V1__Reply *r;

	arena_init(&arena, envelope_memory_max(len));
	r = (const Xenmesh__V1__Reply *)arena_unpack(&arena, &xenmesh__v1__reply__descriptor, reply,
						     len);
	return r ? (int)r->code : CODE_INTERNAL;
}
