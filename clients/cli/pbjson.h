/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Any protobuf-c message to JSON and back, by its descriptor.
 *
 * Field names as in the proto.  Enums are their names; 64-bit integers are
 * numbers; NaN and infinities are null; every scalar field is written, also with its default.
 * bytes: hexadecimal for ids (field names ending in "request_id", "instance"),
 * a string when they are valid UTF-8, else {"base64": "..."}.  Read are also {"text": ...} and
 * {"hex": ...} for any bytes, and enums by their last words in either case ("running").
 */
#include <json-c/json.h>
#include <protobuf-c/protobuf-c.h>

#include "libcommon/arena.h"
#include "libcommon/strbuf.h"

/* NULL when out of memory. */
struct json_object *pbjson_from(const ProtobufCMessage *message);

/* All of the text is one value, blanks around it. NULL: what is wrong is in error. */
struct json_object *pbjson_parse(const char *text, size_t len, struct strbuf *error);

/* Checked against the descriptor: unknown fields, wrong types and ranges are errors, told in
 * `error` with the field's path. Numbers, booleans and enums may be strings ("5", "true").
 * The message lives in the arena. 0, -EINVAL, -ENOMEM. */
int pbjson_to(struct arena *arena, const ProtobufCMessageDescriptor *type,
	      struct json_object *object, ProtobufCMessage **out, struct strbuf *error);

/* The value at a dotted path ("vm_state.name", "vifs.0.mac"); NULL if there is none. Borrowed. */
struct json_object *pbjson_at(struct json_object *object, const char *path);
