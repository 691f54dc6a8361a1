/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A word is followed through object and descriptor side by side; the types of
 * values are left to pbjson_to(), which says what a field wants.
 */
#include "clients/cli/callargs.h"

#include "clients/cli/pbjson.h"
#include "clients/cli/schema.h"
#include "libcommon/parse.h"

#define NAME_LEN_MAX 64 /* the longest field has 24 */
#define NEAR_MAX     3	/* edits */

/* One segment of a path: NAME, NAME[], NAME[N]. */
struct segment {
	char name[NAME_LEN_MAX];
	bool has_index;
	bool is_append;
	uint32_t index;
	const ProtobufCFieldDescriptor *field;
};

void callargs_no_field(struct strbuf *error, const ProtobufCMessageDescriptor *type,
		       const char *name)
{
	const char *before = "; did you mean ";
	bool is_near = false;

	strbuf_printf(error, "%s has no field \"%s\"", type->name, name);
	for (unsigned int i = 0; i < type->n_fields; i++) {
		const char *field = type->fields[i].name;

		if (schema_distance(name, field, NEAR_MAX) <= MIN(NEAR_MAX, strlen(field) / 2)) {
			strbuf_printf(error, "%s%s", before, field);
			before = " or ";
			is_near = true;
		}
	}
	if (is_near) {
		strbuf_puts(error, "?");
		return;
	}
	strbuf_puts(error, type->n_fields ? "; it has" : "; it has none");
	for (unsigned int i = 0; i < type->n_fields; i++) {
		strbuf_printf(error, " %s", type->fields[i].name);
	}
}

/* Reads a segment at p and finds its field. *end: behind it. */
static int read_segment(const ProtobufCMessageDescriptor *type, const char *p, struct segment *s,
			const char **end, struct strbuf *error)
{
	size_t len = strcspn(p, ".=[+");
	size_t digits;

	*s = (struct segment){ .index = 0 };
	if (len == 0 || len >= sizeof(s->name)) {
		strbuf_printf(error, "\"%s\" is not FIELD=VALUE", p);
		return -EINVAL;
	}
	memcpy(s->name, p, len);
	p += len;
	s->field = protobuf_c_message_descriptor_get_field_by_name(type, s->name);
	if (!s->field) {
		callargs_no_field(error, type, s->name);
		return -EINVAL;
	}
	if (*p == '[') {
		digits = strcspn(p + 1, "]");
		s->is_append = digits == 0;
		s->has_index = !s->is_append;
		if (p[1 + digits] != ']' ||
		    (digits && parse_u32(p + 1, digits, UINT32_MAX, &s->index))) {
			strbuf_printf(error, "%s%s: an index is [] or a number", s->name, p);
			return -EINVAL;
		}
		p += digits + 2;
	} else if (p[0] == '+' && p[1] == '=') {
		s->is_append = true;
		p++;
	}
	if ((s->is_append || s->has_index) && s->field->label != PROTOBUF_C_LABEL_REPEATED) {
		strbuf_printf(error, "%s is not repeated: write %s=VALUE", s->name, s->name);
		return -EINVAL;
	}
	*end = p;
	return 0;
}

static struct json_object *bytes_object(const char *kind, const char *value)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, kind, json_object_new_string(value));
	return o;
}

/* JSON for what text cannot say: messages, lists; bytes by their prefix; everything else text. */
static int read_value(const struct segment *s, const char *value, struct json_object **out,
		      struct strbuf *error)
{
	static const char *const kinds[] = { "text", "hex", "base64" };
	bool is_list = s->field->label == PROTOBUF_C_LABEL_REPEATED && !s->is_append &&
		       !s->has_index;

	if (is_list || s->field->type == PROTOBUF_C_TYPE_MESSAGE) {
		_cleanup_(strbuf_deinit) struct strbuf why = STRBUF_NULL;

		*out = pbjson_parse(value, strlen(value), &why);
		if (*out) {
			return 0;
		}
		if (is_list) {
			strbuf_printf(error,
				      "%s is repeated: add elements by %s+=VALUE, or give "
				      "a JSON array (as such, %s)",
				      s->name, s->name, strbuf_str(&why));
		} else {
			strbuf_printf(error,
				      "%s is a %s: give its fields as %s.FIELD=VALUE, or "
				      "a JSON object (as such, %s)",
				      s->name, schema_field_type(s->field), s->name,
				      strbuf_str(&why));
		}
		return -EINVAL;
	}
	for (size_t i = 0; s->field->type == PROTOBUF_C_TYPE_BYTES && i < ARRAY_LEN(kinds); i++) {
		size_t len = strlen(kinds[i]);

		if (str_starts(value, kinds[i]) && value[len] == ':') {
			*out = bytes_object(kinds[i], value + len + 1);
			return 0;
		}
	}
	*out = json_object_new_string(value);
	return *out ? 0 : -ENOMEM;
}

/* The array of a repeated field, made if need be. */
static struct json_object *array_of(struct json_object *o, const struct segment *s,
				    struct strbuf *error)
{
	struct json_object *array = NULL;

	if (!json_object_object_get_ex(o, s->name, &array)) {
		array = json_object_new_array();
		json_object_object_add(o, s->name, array);
	}
	if (!json_object_is_type(array, json_type_array)) {
		strbuf_printf(error, "%s is no list already", s->name);
		return NULL;
	}
	return array;
}

/* The object that the path goes on in. */
static int descend(struct json_object **o, const struct segment *s, struct strbuf *error)
{
	struct json_object *next = NULL, *array;

	if (s->field->type != PROTOBUF_C_TYPE_MESSAGE) {
		strbuf_printf(error, "%s is a %s and has no fields", s->name,
			      schema_field_type(s->field));
		return -EINVAL;
	}
	if (s->field->label == PROTOBUF_C_LABEL_REPEATED) {
		if (!s->is_append && !s->has_index) {
			strbuf_printf(error,
				      "%s is repeated: write %s[].FIELD=VALUE or %s[0].FIELD=VALUE",
				      s->name, s->name, s->name);
			return -EINVAL;
		}
		array = array_of(*o, s, error);
		if (!array) {
			return -EINVAL;
		}
		if (s->is_append) {
			next = json_object_new_object();
			json_object_array_add(array, next);
		} else {
			next = json_object_array_get_idx(array, s->index);
		}
	} else if (!json_object_object_get_ex(*o, s->name, &next)) {
		next = json_object_new_object();
		json_object_object_add(*o, s->name, next);
	}
	if (!json_object_is_type(next, json_type_object)) {
		strbuf_printf(error,
			      s->has_index ? "%1$s has no element %2$u; %1$s[] adds one"
					   : "%s has a value already",
			      s->name, s->index);
		return -EINVAL;
	}
	*o = next;
	return 0;
}

static int put(struct json_object *o, const struct segment *s, struct json_object *value,
	       struct strbuf *error)
{
	struct json_object *array;

	if (!s->is_append && !s->has_index) {
		json_object_object_add(o, s->name, value);
		return 0;
	}
	array = array_of(o, s, error);
	if (array && s->has_index && s->index >= json_object_array_length(array)) {
		strbuf_printf(error, "%s has no element %u; add one by %s+=VALUE", s->name,
			      s->index, s->name);
		array = NULL;
	}
	if (!array) {
		json_object_put(value);
		return -EINVAL;
	}
	if (s->is_append) {
		json_object_array_add(array, value);
	} else {
		json_object_array_put_idx(array, s->index, value);
	}
	return 0;
}

int callargs_add(struct json_object *o, const ProtobufCMessageDescriptor *type, const char *word,
		 struct strbuf *error)
{
	struct json_object *value = NULL;
	const char *p = word;
	struct segment s;
	int r;

	for (;;) {
		r = read_segment(type, p, &s, &p, error);
		if (r < 0) {
			return r;
		}
		if (*p != '.') {
			break;
		}
		r = descend(&o, &s, error);
		if (r < 0) {
			return r;
		}
		type = s.field->descriptor;
		p++;
	}
	if (*p != '=') {
		strbuf_printf(error, "\"%s\" is not FIELD=VALUE", word);
		return -EINVAL;
	}
	r = read_value(&s, p + 1, &value, error);
	return r < 0 ? r : put(o, &s, value, error);
}
