/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What protobuf-c leaves to its users: copies, and strings that are replaced.
 */
#include <protobuf-c/protobuf-c.h>

#include "libcommon/base.h"
#include "libcommon/strbuf.h"

/* Serialize into *out (malloc'ed; a valid pointer also for an empty message). 0 or -ENOMEM. */
int pb_pack(const ProtobufCMessage *message, uint8_t **out, size_t *len);
/* A deep copy on the heap; NULL when out of memory. */
ProtobufCMessage *pb_copy(const ProtobufCMessage *message);
/* Free a message on the heap; accepts NULL, returns NULL. */
void *pb_free(ProtobufCMessage *message);
/* Replace a string field of a message on the heap. 0 or -ENOMEM. */
int pb_set(char **field, const char *value);
int pb_set_n(char **field, const char *value, size_t len);
/* Append a message to a repeated field on the heap; it is consumed also on failure. */
int pb_append(void *array_field, size_t *n, ProtobufCMessage *message);

/* text as something every client can decode and print: valid UTF-8 without control
 * characters, at most max bytes. malloc'ed; NULL when out of memory. */
char *text_clean(const char *text, size_t len, size_t max);
/* For messages: the same into a buffer. */
#define TEXT_SHORT 80
struct text_short {
	char text[TEXT_SHORT];
};
/* text_quote(name).text */
struct text_short text_quote(const char *text);
/* Put '?' for every byte that is not UTF-8 in string fields, at any depth: most other
 * languages refuse the whole message otherwise. */
void pb_scrub(ProtobufCMessage *message);
