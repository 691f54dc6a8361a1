/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * protobuf-c has no copy and no setters.  A message is copied over its wire
 * form, so that no field can be forgotten when the proto grows.
 */
#include "services/ops/core/pb.h"

#include "libcommon/log.h"
#include "libcommon/parse.h"

int pb_pack(const ProtobufCMessage *message, uint8_t **out, size_t *len)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	uint8_t *data = malloc(size ? size : 1);

	if (!data) {
		return -ENOMEM;
	}
	*len = protobuf_c_message_pack(message, data);
	*out = data;
	return 0;
}

ProtobufCMessage *pb_copy(const ProtobufCMessage *message)
{
	_cleanup_(xfreep) uint8_t *data = NULL;
	size_t len;

	if (pb_pack(message, &data, &len) < 0) {
		return NULL;
	}
	return protobuf_c_message_unpack(message->descriptor, NULL, len, data);
}

void *pb_free(ProtobufCMessage *message)
{
	if (message) {
		protobuf_c_message_free_unpacked(message, NULL);
	}
	return NULL;
}

int pb_set_n(char **field, const char *value, size_t len)
{
	char *copy = strndup(value, len);

	if (!copy) {
		return -ENOMEM;
	}
	if (*field != (const char *)protobuf_c_empty_string) {
		free(*field);
	}
	*field = copy;
	return 0;
}

int pb_set(char **field, const char *value)
{
	return pb_set_n(field, value, strlen(value));
}

int pb_append(void *array_field, size_t *n, ProtobufCMessage *message)
{
	void **array, **grown;

	memcpy(&array, array_field, sizeof(array)); /* its type is unknown here */
	grown = message ? reallocarray(array, *n + 1, sizeof(*grown)) : NULL;
	if (!grown) {
		pb_free(message);
		return -ENOMEM;
	}
	grown[(*n)++] = message;
	memcpy(array_field, &grown, sizeof(grown));
	return 0;
}

char *text_clean(const char *text, size_t len, size_t max)
{
	char *out = malloc(max + 1);

	if (out) {
		log_escape(out, max + 1, text, len);
	}
	return out;
}

struct text_short text_quote(const char *text)
{
	struct text_short out = { .text = "" };

	log_escape(out.text, sizeof(out.text), text, strlen(text));
	return out;
}

static void scrub_text(char *text)
{
	size_t len = strlen(text);

	if (utf8_is_valid(text, len)) {
		return;
	}
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)text[i] >= 0x80) {
			text[i] = '?';
		}
	}
}

static void scrub_value(const ProtobufCFieldDescriptor *f, void *value)
{
	if (!value) {
		return;
	}
	if (f->type == PROTOBUF_C_TYPE_STRING) {
		scrub_text(value);
	} else {
		pb_scrub(value);
	}
}

/* Recursion ends: no message of the protos is recursive. */
void pb_scrub(ProtobufCMessage *message)
{
	const ProtobufCMessageDescriptor *d = message->descriptor;
	char *base = (char *)message;

	for (unsigned int i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		uint32_t which;
		size_t n = 0;
		void **array, *value;

		if (f->type != PROTOBUF_C_TYPE_STRING && f->type != PROTOBUF_C_TYPE_MESSAGE) {
			continue;
		}
		memcpy(&value, base + f->offset, sizeof(value));
		if (f->label == PROTOBUF_C_LABEL_REPEATED) {
			memcpy(&n, base + f->quantifier_offset, sizeof(n));
			array = value;
			for (size_t k = 0; k < n; k++) {
				scrub_value(f, array[k]);
			}
			continue;
		}
		memcpy(&which, base + f->quantifier_offset, sizeof(which));
		if (!(f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) || which == f->id) {
			scrub_value(f, value);
		}
	}
}
