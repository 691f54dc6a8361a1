/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The types are found by walking from the methods and the envelopes, which
 * reach every public message; the schema is not recursive, so plain recursion
 * ends.
 */
#include "clients/cli/schema.h"

#include <ctype.h>
#include <stdlib.h>

#include "xenmesh/v1/bus.pb-c.h"

#define TYPES_MAX 256 /* the schema has about a hundred; a test counts them */
#define WORD_MAX  64  /* of words that are compared */

const struct schema_topic schema_topics[] = {
	{ "vm/<uuid>/state", "ops", "vm_state", "at each change", "" },
	{ "vm/<uuid>/guest", "agent-bridge", "guest_info", "at each change, held back under load",
	  "metrics" },
	{ "host/state", "ops", "host_state", "at each change", "metrics" },
	{ "host/sample", "ops", "host_sample", "once a second", "metrics" },
	{ "task/<id>", "ops", "task", "at each step", "" },
	{ "trace/rpc/<service>", "*", "rpc_trace", "each call, while tracing is on", "" },
	{ "bus/heartbeat", "*", "heartbeat", "once a second", "" },
};
const size_t schema_n_topics = ARRAY_LEN(schema_topics);

static int compare_docs(const void *key, const void *element)
{
	return strcmp(key, ((const struct schema_doc *)element)->name);
}

const char *schema_doc(const char *name)
{
	const struct schema_doc *d = bsearch(name, schema_docs, schema_n_docs, sizeof(*d),
					     compare_docs);

	return d ? d->text : "";
}

/* ---- topics ---- */

bool schema_topic_matches(const struct schema_topic *t, const char *text)
{
	const char *p = t->pattern;

	if (!*text) {
		return false;
	}
	while (*text && *p) {
		/* A placeholder stands for one segment. */
		if (*p == '<' && *text != '<') {
			p += strcspn(p, "/");
			text += strcspn(text, "/");
			continue;
		}
		if (*p != *text) {
			return false;
		}
		p++;
		text++;
	}
	return !*text;
}

const ProtobufCMessageDescriptor *schema_body(const char *body)
{
	const ProtobufCFieldDescriptor *f = body ? protobuf_c_message_descriptor_get_field_by_name(
							   &xenmesh__v1__event__descriptor, body)
						 : NULL;

	return f && f->type == PROTOBUF_C_TYPE_MESSAGE ? f->descriptor : NULL;
}

/* ---- types ---- */

/* Each type that was told already. */
struct walk {
	const void *seen[TYPES_MAX];
	size_t n;
	schema_type_fn fn;
	void *userdata;
};

static bool is_new(struct walk *w, const void *type)
{
	for (size_t i = 0; i < w->n; i++) {
		if (w->seen[i] == type) {
			return false;
		}
	}
	if (w->n == TYPES_MAX) {
		return false;
	}
	w->seen[w->n++] = type;
	return true;
}

static void walk_message(struct walk *w, const ProtobufCMessageDescriptor *m)
{
	if (!is_new(w, m)) {
		return;
	}
	w->fn(m, NULL, w->userdata);
	for (unsigned int i = 0; i < m->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &m->fields[i];

		if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
			walk_message(w, f->descriptor);
		} else if (f->type == PROTOBUF_C_TYPE_ENUM && is_new(w, f->descriptor)) {
			w->fn(NULL, f->descriptor, w->userdata);
		}
	}
}

void schema_each_type(schema_type_fn fn, void *userdata)
{
	struct walk w = { .fn = fn, .userdata = userdata };

	for (size_t i = 0; i < bus_n_methods; i++) {
		walk_message(&w, bus_methods[i].input);
		walk_message(&w, bus_methods[i].output);
	}
	walk_message(&w, &xenmesh__v1__event__descriptor);
	walk_message(&w, &xenmesh__v1__call__descriptor);
	walk_message(&w, &xenmesh__v1__reply__descriptor);
}

static bool name_is(const char *full, const char *wanted)
{
	size_t len = strlen(full);
	size_t n = strlen(wanted);

	return streq(full, wanted) ||
	       (len > n && full[len - n - 1] == '.' && streq(full + len - n, wanted));
}

struct search {
	const char *name;
	const ProtobufCMessageDescriptor *message;
	const ProtobufCEnumDescriptor *enumeration;
};

static void on_type(const ProtobufCMessageDescriptor *message,
		    const ProtobufCEnumDescriptor *enumeration, void *userdata)
{
	struct search *s = userdata;

	if (message && name_is(message->name, s->name)) {
		s->message = message;
	} else if (enumeration && name_is(enumeration->name, s->name)) {
		s->enumeration = enumeration;
	}
}

const ProtobufCMessageDescriptor *schema_message(const char *name)
{
	struct search s = { .name = name };

	schema_each_type(on_type, &s);
	return s.message;
}

const ProtobufCEnumDescriptor *schema_enum(const char *name)
{
	struct search s = { .name = name };

	schema_each_type(on_type, &s);
	return s.enumeration;
}

const char *schema_field_type(const ProtobufCFieldDescriptor *f)
{
	static const char *const names[] = {
		[PROTOBUF_C_TYPE_INT32] = "int32",	 [PROTOBUF_C_TYPE_SINT32] = "sint32",
		[PROTOBUF_C_TYPE_SFIXED32] = "sfixed32", [PROTOBUF_C_TYPE_INT64] = "int64",
		[PROTOBUF_C_TYPE_SINT64] = "sint64",	 [PROTOBUF_C_TYPE_SFIXED64] = "sfixed64",
		[PROTOBUF_C_TYPE_UINT32] = "uint32",	 [PROTOBUF_C_TYPE_FIXED32] = "fixed32",
		[PROTOBUF_C_TYPE_UINT64] = "uint64",	 [PROTOBUF_C_TYPE_FIXED64] = "fixed64",
		[PROTOBUF_C_TYPE_FLOAT] = "float",	 [PROTOBUF_C_TYPE_DOUBLE] = "double",
		[PROTOBUF_C_TYPE_BOOL] = "bool",	 [PROTOBUF_C_TYPE_STRING] = "string",
		[PROTOBUF_C_TYPE_BYTES] = "bytes",
	};

	if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
		return ((const ProtobufCMessageDescriptor *)f->descriptor)->name;
	}
	if (f->type == PROTOBUF_C_TYPE_ENUM) {
		return ((const ProtobufCEnumDescriptor *)f->descriptor)->name;
	}
	return names[f->type];
}

/* ---- methods ---- */

const char *schema_method_service(const struct bus_method *m)
{
	static const struct {
		const char *prefix;
		const char *service;
	} owners[] = {
		{ "xenmesh.v1.Ops/", "ops" },
		{ "xenmesh.v1.Guest/", "agent-bridge" },
		{ "xenmesh.v1.Metrics/", "metrics" },
	};

	for (size_t i = 0; i < ARRAY_LEN(owners); i++) {
		if (str_starts(m->name, owners[i].prefix)) {
			return owners[i].service;
		}
	}
	return NULL;
}

const struct bus_method *schema_method(const char *name, const char **service, size_t *service_len)
{
	const struct bus_method *m = bus_method_find(name);
	const char *dot = strrchr(name, '.');

	*service = name;
	*service_len = 0;
	/* A full name has dots too, but is found as it is. */
	if (m || !dot || dot == name) {
		return m;
	}
	m = bus_method_find(dot + 1);
	if (m) {
		*service_len = (size_t)(dot - name);
	}
	return m;
}

/* ---- near names ---- */

unsigned int schema_distance(const char *a, const char *b, unsigned int max)
{
	size_t len_a = strlen(a), len_b = strlen(b);
	unsigned int row[WORD_MAX + 1];

	if (len_a > WORD_MAX || len_b > WORD_MAX) {
		return max + 1;
	}
	for (unsigned int j = 0; j <= len_b; j++) {
		row[j] = j;
	}
	for (unsigned int i = 1; i <= len_a; i++) {
		unsigned int diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= len_b; j++) {
			unsigned int above = row[j];
			bool is_same = tolower((unsigned char)a[i - 1]) ==
				       tolower((unsigned char)b[j - 1]);

			row[j] = MIN(diagonal + !is_same, MIN(above, row[j - 1]) + 1);
			diagonal = above;
		}
	}
	return MIN(row[len_b], max + 1);
}
