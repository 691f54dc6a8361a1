/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What is compiled in about the public protos: messages, enums, methods, topics
 * and their comments.  Nothing is asked of anybody.
 */
#include <protobuf-c/protobuf-c.h>

#include "bus/methods.h"
#include "libcommon/base.h"

/* Generated from the comments of the .proto files, sorted by name. */
struct schema_doc {
	const char *name; /* "xenmesh.v1.Task.id" */
	const char *text; /* lines end in \n but the last */
};
extern const struct schema_doc schema_docs[];
extern const size_t schema_n_docs;

/* Comment of a message, MESSAGE.field, enum, ENUM.VALUE, service or SERVICE/Method by full name;
 * never NULL. */
const char *schema_doc(const char *name);

/* What is published where. */
struct schema_topic {
	const char *pattern; /* "vm/<uuid>/state" */
	const char *service; /* publisher; "*" = every one */
	const char *body;    /* field of Event; NULL = not compiled in */
	const char *note;    /* how often */
	const char *reader;  /* the service that subscribes to it; may be empty */
};
extern const struct schema_topic schema_topics[];
extern const size_t schema_n_topics;

/* Whether the topic, its beginning or its pattern fits: "vm/", "vm/68df.../state". */
bool schema_topic_matches(const struct schema_topic *t, const char *text);
/* The message that Event.`body` is; NULL when there is none of that name. */
const ProtobufCMessageDescriptor *schema_body(const char *body);

/* Types by full name or its last part; NULL when unknown. */
const ProtobufCMessageDescriptor *schema_message(const char *name);
const ProtobufCEnumDescriptor *schema_enum(const char *name);
/* Each type once. Exactly one of the two is not NULL. */
typedef void (*schema_type_fn)(const ProtobufCMessageDescriptor *message,
			       const ProtobufCEnumDescriptor *enumeration, void *userdata);
void schema_each_type(schema_type_fn fn, void *userdata);

/* "uint32", "xenmesh.v1.Task". */
const char *schema_field_type(const ProtobufCFieldDescriptor *f);

/* The service of the topology that offers a method: by its proto service ("ops"); NULL = every
 * service does. */
const char *schema_method_service(const struct bus_method *m);
/* StartVm, Ops/StartVm, the full name, or SERVICE.METHOD with a service of the topology
 * ("ops.StartVm", "blue/metrics.Ping"). Then *service is it, up to its dot, else *service_len is
 * 0. NULL when no or more than one method is called so. */
const struct bus_method *schema_method(const char *name, const char **service, size_t *service_len);

/* Edits between two words, at most `max`; max + 1 when there are more. Case does not count. */
unsigned int schema_distance(const char *a, const char *b, unsigned int max);
