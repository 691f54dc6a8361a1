/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One walk over the descriptor in each direction; the schema has neither
 * recursive messages nor maps, so plain recursion is bounded by it.
 */
#include "clients/cli/pbjson.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>

#include "clients/cli/callargs.h"
#include "libcommon/err.h"
#include "libcommon/parse.h"

static const void *member(const ProtobufCMessage *m, unsigned int offset)
{
	return (const char *)m + offset;
}

static bool is_id(const char *name)
{
	size_t len = strlen(name);

	return streq(name, "instance") || (len >= 10 && streq(name + len - 10, "request_id"));
}

static struct json_object *from_hex(const ProtobufCBinaryData *b)
{
	struct strbuf s = STRBUF_NULL;
	struct json_object *o;

	for (size_t i = 0; i < b->len; i++) {
		strbuf_printf(&s, "%02x", b->data[i]);
	}
	o = json_object_new_string(strbuf_str(&s));
	strbuf_deinit(&s);
	return o;
}

static struct json_object *from_base64(const ProtobufCBinaryData *b)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	struct json_object *o = json_object_new_object();
	struct strbuf s = STRBUF_NULL;

	for (size_t i = 0; i < b->len; i += 3) {
		size_t n = MIN(3, b->len - i);
		uint32_t v = (uint32_t)b->data[i] << 16 |
			     (n > 1 ? (uint32_t)b->data[i + 1] << 8 : 0) |
			     (n > 2 ? b->data[i + 2] : 0);

		strbuf_putc(&s, digits[v >> 18]);
		strbuf_putc(&s, digits[v >> 12 & 63]);
		strbuf_putc(&s, n > 1 ? digits[v >> 6 & 63] : '=');
		strbuf_putc(&s, n > 2 ? digits[v & 63] : '=');
	}
	json_object_object_add(o, "base64", json_object_new_string(strbuf_str(&s)));
	strbuf_deinit(&s);
	return o;
}

static struct json_object *from_bytes(const char *name, const ProtobufCBinaryData *b)
{
	if (is_id(name)) {
		return from_hex(b);
	}
	if (utf8_is_valid((const char *)b->data, b->len)) {
		return json_object_new_string_len(b->len ? (const char *)b->data : "", (int)b->len);
	}
	return from_base64(b);
}

static struct json_object *from_double(double d)
{
	return isfinite(d) ? json_object_new_double(d) : NULL;
}

static struct json_object *from_enum(const ProtobufCEnumDescriptor *type, int value)
{
	const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(type, value);

	return v ? json_object_new_string(v->name) : json_object_new_int(value);
}

/* The value of one field (or array element) at p. */
static struct json_object *from_value(const ProtobufCFieldDescriptor *f, const void *p)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		return json_object_new_int(*(const int32_t *)p);
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		return json_object_new_int64(*(const uint32_t *)p);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		return json_object_new_int64(*(const int64_t *)p);
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		return json_object_new_uint64(*(const uint64_t *)p);
	case PROTOBUF_C_TYPE_FLOAT:
		return from_double((double)*(const float *)p);
	case PROTOBUF_C_TYPE_DOUBLE:
		return from_double(*(const double *)p);
	case PROTOBUF_C_TYPE_BOOL:
		return json_object_new_boolean(*(const protobuf_c_boolean *)p);
	case PROTOBUF_C_TYPE_ENUM:
		return from_enum(f->descriptor, *(const int *)p);
	case PROTOBUF_C_TYPE_STRING:
		return json_object_new_string(*(char *const *)p ? *(char *const *)p : "");
	case PROTOBUF_C_TYPE_BYTES:
		return from_bytes(f->name, p);
	case PROTOBUF_C_TYPE_MESSAGE:
		return pbjson_from(*(const ProtobufCMessage *const *)p);
	}
	return NULL;
}

static size_t value_size(ProtobufCType type)
{
	switch (type) {
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return 8;
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	default:
		return 4;
	}
}

static struct json_object *from_array(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	size_t n = *(const size_t *)member(m, f->quantifier_offset);
	const char *items = *(const char *const *)member(m, f->offset);
	struct json_object *array = json_object_new_array();

	for (size_t i = 0; i < n; i++) {
		json_object_array_add(array, from_value(f, items + i * value_size(f->type)));
	}
	return array;
}

struct json_object *pbjson_from(const ProtobufCMessage *m)
{
	struct json_object *o = json_object_new_object();

	for (unsigned int i = 0; o && i < m->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
		const void *p = member(m, f->offset);

		if (f->label == PROTOBUF_C_LABEL_REPEATED) {
			json_object_object_add(o, f->name, from_array(m, f));
			continue;
		}
		if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF &&
		    *(const uint32_t *)member(m, f->quantifier_offset) != f->id) {
			continue;
		}
		if (f->type == PROTOBUF_C_TYPE_MESSAGE && !*(void *const *)p) {
			continue;
		}
		json_object_object_add(o, f->name, from_value(f, p));
	}
	return o;
}

/* ---- JSON to message ---- */

struct reading {
	struct arena *arena;
	struct strbuf *error;
	struct strbuf path;
};

static int complain(struct reading *r, const char *what, struct json_object *o)
{
	strbuf_printf(r->error, "%s%s%s, got %s", strbuf_str(&r->path), r->path.len ? ": " : "",
		      what, o ? json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN) : "null");
	return -EINVAL;
}

static void path_cut(struct reading *r, size_t len)
{
	if (r->path.data) {
		r->path.len = len;
		r->path.data[len] = 0;
	}
}

static int to_signed(struct reading *r, struct json_object *o, int64_t min, int64_t max,
		     int64_t *out)
{
	if (json_object_is_type(o, json_type_int)) {
		*out = json_object_get_int64(o);
		if (*out == INT64_MAX && json_object_get_uint64(o) > INT64_MAX) {
			return complain(r, "number is too large", o);
		}
	} else if (!json_object_is_type(o, json_type_string) ||
		   parse_i64(json_object_get_string(o), (size_t)json_object_get_string_len(o),
			     out)) {
		return complain(r, "wants an integer", o);
	}
	if (*out < min || *out > max) {
		return complain(r, "number is out of range", o);
	}
	return 0;
}

static int to_unsigned(struct reading *r, struct json_object *o, uint64_t max, uint64_t *out)
{
	if (json_object_is_type(o, json_type_int)) {
		if (json_object_get_int64(o) < 0) {
			return complain(r, "wants a number >= 0", o);
		}
		*out = json_object_get_uint64(o);
	} else if (!json_object_is_type(o, json_type_string) ||
		   parse_u64(json_object_get_string(o), (size_t)json_object_get_string_len(o),
			     UINT64_MAX, out)) {
		return complain(r, "wants a number >= 0", o);
	}
	return *out > max ? complain(r, "number is too large", o) : 0;
}

static int to_bool(struct reading *r, struct json_object *o, void *p)
{
	bool value = false;

	if (json_object_is_type(o, json_type_boolean)) {
		value = json_object_get_boolean(o);
	} else if (!json_object_is_type(o, json_type_string) ||
		   parse_bool(json_object_get_string(o), &value)) {
		return complain(r, "wants true or false", o);
	}
	*(protobuf_c_boolean *)p = value;
	return 0;
}

static int to_double(struct reading *r, struct json_object *o, double *out)
{
	char *end;

	if (json_object_is_type(o, json_type_double) || json_object_is_type(o, json_type_int)) {
		*out = json_object_get_double(o);
		return 0;
	}
	if (json_object_is_type(o, json_type_string) && json_object_get_string_len(o) > 0) {
		*out = strtod(json_object_get_string(o), &end);
		if (!*end) {
			return 0;
		}
	}
	return complain(r, "wants a number", o);
}

/* POWER_STATE_RUNNING by its name or what follows the type's prefix, in either case: "running". */
static const ProtobufCEnumValue *find_enum_value(const ProtobufCEnumDescriptor *type,
						 const char *name)
{
	const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value_by_name(type, name);
	size_t len = strlen(name);

	for (unsigned int i = 0; !v && i < type->n_values; i++) {
		size_t full = strlen(type->values[i].name);
		const char *end = type->values[i].name + full - MIN(full, len);

		if (!strcasecmp(end, name) && (full == len || (full > len && end[-1] == '_'))) {
			v = &type->values[i];
		}
	}
	return v;
}

static int to_enum(struct reading *r, const ProtobufCEnumDescriptor *type, struct json_object *o,
		   int *out)
{
	int64_t number = 0;

	if (json_object_is_type(o, json_type_string)) {
		const ProtobufCEnumValue *v = find_enum_value(type, json_object_get_string(o));

		if (v) {
			*out = v->value;
			return 0;
		}
	} else if (json_object_is_type(o, json_type_int) &&
		   !to_signed(r, o, INT32_MIN, INT32_MAX, &number)) {
		*out = (int)number;
		return 0;
	}
	strbuf_printf(r->error, "%s: wants one of", strbuf_str(&r->path));
	for (unsigned int i = 0; i < type->n_values; i++) {
		strbuf_printf(r->error, " %s", type->values[i].name);
	}
	return -EINVAL;
}

static int to_text(struct reading *r, struct json_object *o, char **out)
{
	size_t len;

	if (!json_object_is_type(o, json_type_string)) {
		return complain(r, "wants a string", o);
	}
	len = (size_t)json_object_get_string_len(o);
	if (memchr(json_object_get_string(o), 0, len)) {
		return complain(r, "must not contain NUL", o);
	}
	if (!utf8_is_valid(json_object_get_string(o), len)) {
		return complain(r, "must be UTF-8", o);
	}
	*out = arena_strndup(r->arena, json_object_get_string(o), len);
	return *out ? 0 : -ENOMEM;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9') {
		return c - '0';
	}
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z') {
		return c - 'A';
	}
	if (c >= 'a' && c <= 'z') {
		return c - 'a' + 26;
	}
	if (c >= '0' && c <= '9') {
		return c - '0' + 52;
	}
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* out->data has room for as many bytes as text has. */
static int to_bytes_from_base64(struct reading *r, struct json_object *o, const char *text,
				size_t len, ProtobufCBinaryData *out)
{
	uint32_t bits = 0;
	unsigned int n_bits = 0;
	size_t n_pads = 0;

	while (n_pads < 2 && len > n_pads && text[len - 1 - n_pads] == '=') {
		n_pads++;
	}
	if (n_pads && len % 4) {
		return complain(r, "base64 is cut", o);
	}
	len -= n_pads;
	for (size_t i = 0; i < len; i++) {
		int digit = base64_digit(text[i]);

		if (digit < 0) {
			return complain(r, "wants base64", o);
		}
		bits = bits << 6 | (uint32_t)digit;
		n_bits += 6;
		if (n_bits >= 8) {
			n_bits -= 8;
			out->data[out->len++] = (uint8_t)(bits >> n_bits);
			bits &= (1U << n_bits) - 1;
		}
	}
	return n_bits < 6 && !bits ? 0 : complain(r, "base64 is cut", o);
}

static int to_bytes_from_hex(struct reading *r, struct json_object *o, const char *text, size_t len,
			     ProtobufCBinaryData *out)
{
	for (size_t i = 0; i < len; i += 2) {
		int high = hex_digit(text[i]);
		int low = i + 1 < len ? hex_digit(text[i + 1]) : -1;

		if (high < 0 || low < 0) {
			return complain(r, "wants an even number of hexadecimal digits", o);
		}
		out->data[out->len++] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

/* A string, or {"text": ...}, {"hex": ...}, {"base64": ...}. */
static int to_bytes(struct reading *r, const char *name, struct json_object *o,
		    ProtobufCBinaryData *out)
{
	static const char *const kinds[] = { "text", "hex", "base64" };
	const char *kind = is_id(name) ? "hex" : "text";
	struct json_object *value = o;
	const char *text;
	size_t len;

	for (size_t i = 0; i < ARRAY_LEN(kinds) && json_object_is_type(o, json_type_object); i++) {
		if (json_object_object_length(o) == 1 &&
		    json_object_object_get_ex(o, kinds[i], &value)) {
			kind = kinds[i];
			break;
		}
		value = o;
	}
	if (!json_object_is_type(value, json_type_string)) {
		return complain(r, "wants a string, or {\"hex\": ...} or {\"base64\": ...}", o);
	}
	text = json_object_get_string(value);
	len = (size_t)json_object_get_string_len(value);
	out->data = arena_alloc(r->arena, len + 1);
	if (!out->data) {
		return -ENOMEM;
	}
	if (streq(kind, "hex")) {
		return to_bytes_from_hex(r, o, text, len, out);
	}
	if (streq(kind, "base64")) {
		return to_bytes_from_base64(r, o, text, len, out);
	}
	memcpy(out->data, text, len);
	out->len = len;
	return 0;
}

static int to_message(struct reading *r, const ProtobufCMessageDescriptor *type,
		      struct json_object *o, ProtobufCMessage **out);

static int to_integer(struct reading *r, const ProtobufCFieldDescriptor *f, struct json_object *o,
		      void *p)
{
	uint64_t u = 0;
	int64_t i = 0;
	int e;

	switch (f->type) {
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		e = to_unsigned(r, o, UINT32_MAX, &u);
		*(uint32_t *)p = (uint32_t)u;
		return e;
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		return to_unsigned(r, o, UINT64_MAX, p);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		return to_signed(r, o, INT64_MIN, INT64_MAX, p);
	default:
		e = to_signed(r, o, INT32_MIN, INT32_MAX, &i);
		*(int32_t *)p = (int32_t)i;
		return e;
	}
}

static int to_value(struct reading *r, const ProtobufCFieldDescriptor *f, struct json_object *o,
		    void *p)
{
	double d = 0;
	int e;

	switch (f->type) {
	case PROTOBUF_C_TYPE_BOOL:
		return to_bool(r, o, p);
	case PROTOBUF_C_TYPE_DOUBLE:
		return to_double(r, o, p);
	case PROTOBUF_C_TYPE_FLOAT:
		e = to_double(r, o, &d);
		*(float *)p = (float)d;
		return e;
	case PROTOBUF_C_TYPE_ENUM:
		return to_enum(r, f->descriptor, o, p);
	case PROTOBUF_C_TYPE_STRING:
		return to_text(r, o, p);
	case PROTOBUF_C_TYPE_BYTES:
		return to_bytes(r, f->name, o, p);
	case PROTOBUF_C_TYPE_MESSAGE:
		return to_message(r, f->descriptor, o, p);
	default:
		return to_integer(r, f, o, p);
	}
}

static int to_array(struct reading *r, const ProtobufCFieldDescriptor *f, struct json_object *o,
		    ProtobufCMessage *m)
{
	size_t size = value_size(f->type);
	size_t base = r->path.len;
	size_t n;
	char *items;

	if (!json_object_is_type(o, json_type_array)) {
		return complain(r, "wants an array", o);
	}
	n = json_object_array_length(o);
	items = arena_alloc(r->arena, MAX(n, 1) * size);
	if (!items) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++) {
		int e;

		strbuf_printf(&r->path, "[%zu]", i);
		e = to_value(r, f, json_object_array_get_idx(o, i), items + i * size);
		if (e) {
			return e;
		}
		path_cut(r, base);
	}
	*(size_t *)(void *)((char *)m + f->quantifier_offset) = n;
	*(char **)(void *)((char *)m + f->offset) = items;
	return 0;
}

static int to_field(struct reading *r, ProtobufCMessage *m, const ProtobufCFieldDescriptor *f,
		    struct json_object *o)
{
	if (f->label == PROTOBUF_C_LABEL_REPEATED) {
		return to_array(r, f, o, m);
	}
	if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
		uint32_t *which = (uint32_t *)(void *)((char *)m + f->quantifier_offset);

		if (*which) {
			return complain(r, "only one of a oneof may be given", o);
		}
		*which = f->id;
	}
	return to_value(r, f, o, (char *)m + f->offset);
}

static int to_message(struct reading *r, const ProtobufCMessageDescriptor *type,
		      struct json_object *o, ProtobufCMessage **out)
{
	ProtobufCMessage *m = arena_alloc(r->arena, type->sizeof_message);
	size_t base = r->path.len;

	if (!m) {
		return -ENOMEM;
	}
	if (!json_object_is_type(o, json_type_object)) {
		return complain(r, "wants an object", o);
	}
	protobuf_c_message_init(type, m);
	json_object_object_foreach(o, key, value)
	{
		const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field_by_name(
			type, key);
		int e;

		if (!value) {
			continue; /* null = not given */
		}
		strbuf_printf(&r->path, "%s%s", base ? "." : "", key);
		if (!f) {
			strbuf_printf(r->error, "%s: ", strbuf_str(&r->path));
			callargs_no_field(r->error, type, key);
			return -EINVAL;
		}
		e = to_field(r, m, f, value);
		if (e) {
			return e;
		}
		path_cut(r, base);
	}
	*out = m;
	return 0;
}

int pbjson_to(struct arena *arena, const ProtobufCMessageDescriptor *type,
	      struct json_object *object, ProtobufCMessage **out, struct strbuf *error)
{
	struct reading r = { .arena = arena, .error = error };
	int e = to_message(&r, type, object, out);

	strbuf_deinit(&r.path);
	return e;
}

struct json_object *pbjson_parse(const char *text, size_t len, struct strbuf *error)
{
	struct json_tokener *tokener = len <= INT_MAX ? json_tokener_new() : NULL;
	enum json_tokener_error e;
	struct json_object *o;
	size_t end;
	bool is_cut;

	if (!tokener) {
		strbuf_puts(error, err_text(-ENOMEM));
		return NULL;
	}
	o = json_tokener_parse_ex(tokener, text, (int)len);
	end = json_tokener_get_parse_end(tokener);
	is_cut = json_tokener_get_error(tokener) == json_tokener_continue;
	if (is_cut) {
		o = json_tokener_parse_ex(tokener, "", 1); /* only what follows ends a number */
	}
	e = json_tokener_get_error(tokener);
	json_tokener_free(tokener);
	while (end < len && text[end] && strchr(" \t\r\n", text[end])) {
		end++;
	}
	if (e != json_tokener_success && is_cut) {
		strbuf_puts(error, "it ends within a value");
	} else if (e != json_tokener_success) {
		strbuf_printf(error, "%s at byte %zu", json_tokener_error_desc(e), end);
	} else if (end < len) {
		strbuf_printf(error, "there is more behind the value, at byte %zu", end);
		json_object_put(o);
		o = NULL;
	} else if (!o) {
		strbuf_puts(error, "it is null");
	}
	return o;
}

struct json_object *pbjson_at(struct json_object *object, const char *path)
{
	while (object && *path) {
		size_t len = strcspn(path, ".");
		struct json_object *next = NULL;
		char name[128];

		if (len >= sizeof(name)) {
			return NULL;
		}
		memcpy(name, path, len);
		name[len] = 0;
		if (json_object_is_type(object, json_type_array)) {
			uint32_t i;

			if (!parse_u32(name, len, UINT32_MAX, &i)) {
				next = json_object_array_get_idx(object, i);
			}
		} else if (json_object_is_type(object, json_type_object)) {
			json_object_object_get_ex(object, name, &next);
		}
		object = next;
		path += len + (path[len] == '.');
	}
	return object;
}
