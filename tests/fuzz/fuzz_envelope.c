/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any bytes as a Call: what is let through is bounded and clean, what is not
 * gets a Reply that can be decoded; memory stays within the arena's limit.
 */
#include <stdio.h>

#include "bus/dedup.h"
#include "bus/envelope.h"
#include "bus/limits.h"
#include "libcommon/parse.h"
#include "libcommon/traceparent.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true)
{
	if (!is_true) {
		abort();
	}
}

static bool is_printable(const char *text)
{
	for (; *text; text++) {
		if (*text < ' ' || *text > '~') {
			return false;
		}
	}
	return true;
}

static void check_envelope(const struct envelope *e)
{
	require(e->request_id && e->method && e->client && e->traceparent);
	require(e->timeout_ms >= 1 && e->timeout_ms <= BUS_TIMEOUT_MAX_MS);
	require(strlen(e->client) <= BUS_CLIENT_NAME_MAX && is_printable(e->client));
	require(!e->traceparent[0] || traceparent_is_valid(e->traceparent));
	require(e->traceparent[0] || !bus_method_is_audited(e->method));
}

/* The refusal, as the caller will see it. */
static void check_reply(const uint8_t *request_id, int code, const char *why)
{
	uint8_t *bytes;
	size_t len;
	Xenmesh__V1__Reply *reply;

	require(envelope_fail(request_id, code, why, &bytes, &len) == 0);
	reply = xenmesh__v1__reply__unpack(NULL, len, bytes);
	require(reply && (int)reply->code == code && streq(reply->message, why));
	require(reply->request_id.len == (request_id ? ENVELOPE_ID_LEN : 0U));
	require(envelope_reply_code(bytes, len) == code);
	require(utf8_is_valid(reply->message, strlen(reply->message)));
	xenmesh__v1__reply__free_unpacked(reply, NULL);
	free(bytes);
}

/* A request that was let through survives the way back. */
static void check_request(const struct envelope *e, const ProtobufCMessage *request)
{
	uint8_t fingerprint[DEDUP_FINGERPRINT_LEN], *bytes = NULL;
	size_t len;

	dedup_fingerprint(e->method->name, e->payload, e->payload_len, 1000, fingerprint);
	require(request->descriptor == e->method->input && protobuf_c_message_check(request));
	require(envelope_reply_message(e->request_id, request, &bytes, &len) == 0);
	require(envelope_reply_code(bytes, len) == CODE_OK);
	free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(arena_deinit) struct arena arena = { 0 };
	char why[ENVELOPE_WHY_MAX] = "";
	const ProtobufCMessage *request;
	struct envelope e;
	int code;

	if (size > BUS_CALL_MAX) {
		return 0;
	}
	arena_init(&arena, BUS_ARENA_BASE + BUS_ARENA_FACTOR * size);
	code = envelope_open(&e, &arena, data, size, why);
	if (code != CODE_OK) {
		require(why[0] != '\0');
		check_reply(e.request_id, code, why);
	} else {
		check_envelope(&e);
		request = envelope_request(&e, &arena);
		if (request) {
			check_request(&e, request);
		}
	}
	require(arena.used <= arena.limit);
	envelope_reply_code(data, size);
	return 0;
}
