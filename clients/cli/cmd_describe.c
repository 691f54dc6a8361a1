/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What there is to call and to receive.  All but a service's own list of
 * methods is compiled in, so no .proto files are needed on the host.
 */
#include <inttypes.h>
#include <stdio.h>

#include "clients/cli/cli.h"
#include "clients/cli/schema.h"
#include "xenmesh/v1/bus.pb-c.h"

/* ---- text ---- */

static void print_doc(const char *doc, const char *indent)
{
	while (*doc) {
		size_t len;

		doc += strspn(doc, " ");
		len = strcspn(doc, "\n");
		printf("%s%.*s\n", indent, (int)len, doc);
		doc += len + (doc[len] == '\n');
	}
}

static const char *member_doc(struct cli *cli, const char *type, const char *member)
{
	const char *name = arena_printf(&cli->arena, "%s.%s", type, member);

	return name ? schema_doc(name) : "";
}

static void print_message_type(struct cli *cli, const ProtobufCMessageDescriptor *m)
{
	printf("message %s\n", m->name);
	print_doc(schema_doc(m->name), "  ");
	for (unsigned int i = 0; i < m->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &m->fields[i];

		printf("  %s%s %s = %" PRIu32 "%s\n",
		       f->label == PROTOBUF_C_LABEL_REPEATED ? "repeated " : "",
		       schema_field_type(f), f->name, f->id,
		       f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF ? " (oneof)" : "");
		print_doc(member_doc(cli, m->name, f->name), "      ");
	}
}

static void print_enum_type(struct cli *cli, const ProtobufCEnumDescriptor *e)
{
	printf("enum %s\n", e->name);
	print_doc(schema_doc(e->name), "  ");
	for (unsigned int i = 0; i < e->n_values; i++) {
		printf("  %s = %d\n", e->values[i].name, e->values[i].value);
		print_doc(member_doc(cli, e->name, e->values[i].name), "      ");
	}
}

static void print_method(const struct bus_method *m)
{
	printf("%s  role %s%s\n", m->name, bus_role_name(m->role), m->mutating ? ", mutating" : "");
	printf("    %s -> %s\n", m->input->name, m->output->name);
	print_doc(m->doc, "    ");
}

static void print_topic(struct cli *cli, const struct schema_topic *t)
{
	const ProtobufCMessageDescriptor *m = schema_body(t->body);

	printf("%s  from %s, %s\n", t->pattern,
	       streq(t->service, "*") ? "every service" : t->service, t->note);
	if (m) {
		printf("    %s %s\n", t->body, m->name);
		print_doc(schema_doc(m->name), "    ");
	}
	arena_reset(&cli->arena);
}

/* ---- JSON ---- */

static void add_text(struct json_object *o, const char *key, const char *text)
{
	json_object_object_add(o, key, json_object_new_string(text));
}

static struct json_object *method_json(const struct bus_method *m)
{
	struct json_object *o = json_object_new_object();

	add_text(o, "kind", "method");
	add_text(o, "name", m->name);
	add_text(o, "role", bus_role_name(m->role));
	json_object_object_add(o, "mutating", json_object_new_boolean(m->mutating));
	add_text(o, "input", m->input->name);
	add_text(o, "output", m->output->name);
	add_text(o, "doc", m->doc);
	return o;
}

static struct json_object *topic_json(const struct schema_topic *t)
{
	struct json_object *o = json_object_new_object();
	const ProtobufCMessageDescriptor *m = schema_body(t->body);

	add_text(o, "kind", "topic");
	add_text(o, "name", t->pattern);
	add_text(o, "service", t->service);
	add_text(o, "body", t->body);
	add_text(o, "message", m ? m->name : "");
	add_text(o, "note", t->note);
	return o;
}

static struct json_object *message_json(struct cli *cli, const ProtobufCMessageDescriptor *m)
{
	struct json_object *o = json_object_new_object();
	struct json_object *fields = json_object_new_array();

	add_text(o, "kind", "message");
	add_text(o, "name", m->name);
	add_text(o, "doc", schema_doc(m->name));
	for (unsigned int i = 0; i < m->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &m->fields[i];
		struct json_object *field = json_object_new_object();

		add_text(field, "name", f->name);
		add_text(field, "type", schema_field_type(f));
		json_object_object_add(field, "number", json_object_new_int64(f->id));
		json_object_object_add(
			field, "repeated",
			json_object_new_boolean(f->label == PROTOBUF_C_LABEL_REPEATED));
		json_object_object_add(
			field, "oneof",
			json_object_new_boolean((f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0));
		add_text(field, "doc", member_doc(cli, m->name, f->name));
		json_object_array_add(fields, field);
	}
	json_object_object_add(o, "fields", fields);
	return o;
}

static struct json_object *enum_json(struct cli *cli, const ProtobufCEnumDescriptor *e)
{
	struct json_object *o = json_object_new_object();
	struct json_object *values = json_object_new_array();

	add_text(o, "kind", "enum");
	add_text(o, "name", e->name);
	add_text(o, "doc", schema_doc(e->name));
	for (unsigned int i = 0; i < e->n_values; i++) {
		struct json_object *value = json_object_new_object();

		add_text(value, "name", e->values[i].name);
		json_object_object_add(value, "number", json_object_new_int(e->values[i].value));
		add_text(value, "doc", member_doc(cli, e->name, e->values[i].name));
		json_object_array_add(values, value);
	}
	json_object_object_add(o, "values", values);
	return o;
}

/* ---- one thing ---- */

static void show_method(struct cli *cli, const struct bus_method *m)
{
	if (cli->json) {
		cli_print_json(method_json(m));
		return;
	}
	print_method(m);
	putchar('\n');
	print_message_type(cli, m->input);
	putchar('\n');
	print_message_type(cli, m->output);
}

static void show_topic(struct cli *cli, const struct schema_topic *t)
{
	if (cli->json) {
		cli_print_json(topic_json(t));
	} else {
		print_topic(cli, t);
	}
}

static void print_methods_of(struct cli *cli, const Xenmesh__V1__DescribeReply *d)
{
	for (size_t i = 0; i < d->n_methods; i++) {
		const Xenmesh__V1__MethodInfo *m = d->methods[i];
		const struct bus_method *known = bus_method_find(m->name);

		printf("%s  role %s%s%s\n    %s -> %s\n", cli_plain(cli, m->name),
		       bus_role_name((int)m->role), m->mutating ? ", mutating" : "",
		       known ? "" : "  (not known to this xenmesh)", cli_plain(cli, m->input),
		       cli_plain(cli, m->output));
		print_doc(known ? known->doc : cli_plain(cli, m->doc), "    ");
	}
}

static int show_service(struct cli *cli, const char *service)
{
	Xenmesh__V1__DescribeRequest request = XENMESH__V1__DESCRIBE_REQUEST__INIT;
	const char *slash = strrchr(service, '/');
	const Xenmesh__V1__DescribeReply *d;
	int r = cli_call_ok(cli, service, "xenmesh.v1.Bus/Describe", &request.base, &d);

	if (r) {
		return r;
	}
	if (cli->json) {
		cli_print_message(&d->base);
		return CLI_OK;
	}
	printf("%s %s, pid %" PRIu32 ", started %s\n", cli_plain(cli, d->service),
	       cli_plain(cli, d->version), d->pid, cli_time(cli, d->started_ns));
	print_methods_of(cli, d);
	for (size_t i = 0; i < schema_n_topics; i++) {
		const struct schema_topic *t = &schema_topics[i];

		if (streq(t->service, "*") || streq(t->service, slash ? slash + 1 : service)) {
			printf("topic %s  %s\n", t->pattern, t->body);
		}
	}
	return CLI_OK;
}

static bool show_topics(struct cli *cli, const char *name)
{
	bool is_found = false;

	for (size_t i = 0; i < schema_n_topics; i++) {
		if (schema_topic_matches(&schema_topics[i], name)) {
			show_topic(cli, &schema_topics[i]);
			is_found = true;
		}
	}
	return is_found;
}

static bool show_type(struct cli *cli, const char *name)
{
	const ProtobufCMessageDescriptor *m = schema_message(name);
	const ProtobufCEnumDescriptor *e = m ? NULL : schema_enum(name);

	if (cli->json && (m || e)) {
		cli_print_json(m ? message_json(cli, m) : enum_json(cli, e));
	} else if (m) {
		print_message_type(cli, m);
	} else if (e) {
		print_enum_type(cli, e);
	}
	return m || e;
}

/* ---- the command ---- */

static int show_all(struct cli *cli)
{
	for (size_t i = 0; i < bus_n_methods; i++) {
		if (cli->json) {
			cli_print_json(method_json(&bus_methods[i]));
		} else {
			print_method(&bus_methods[i]);
		}
	}
	for (size_t i = 0; i < schema_n_topics; i++) {
		show_topic(cli, &schema_topics[i]);
	}
	return CLI_OK;
}

/* The nearest of all names there are; NULL when none is near. */
struct nearest {
	const char *wanted;
	const char *name;
	unsigned int distance;
};

static void consider(struct nearest *n, const char *name)
{
	const char *last = strrchr(name, '/');
	unsigned int d;

	last = last ? last : strrchr(name, '.');
	d = schema_distance(n->wanted, last ? last + 1 : name, n->distance);
	if (d < n->distance) {
		n->distance = d;
		n->name = last ? last + 1 : name;
	}
}

static void consider_type(const ProtobufCMessageDescriptor *message,
			  const ProtobufCEnumDescriptor *enumeration, void *userdata)
{
	consider(userdata, message ? message->name : enumeration->name);
}

static int unknown(const char *name)
{
	struct nearest n = { .wanted = name, .distance = (unsigned int)MIN(strlen(name) / 2, 4) };

	for (size_t i = 0; i < bus_n_methods; i++) {
		consider(&n, bus_methods[i].name);
	}
	schema_each_type(consider_type, &n);
	if (n.name) {
		cli_error("no service, method, message, enum or topic is called \"%s\"; did you "
			  "mean %s?",
			  name, n.name);
	} else {
		cli_error("no service, method, message, enum or topic is called \"%s\"; see: "
			  "xenmesh bus describe",
			  name);
	}
	return CLI_FAILURE;
}

int cmd_bus_describe(struct cli *cli, int argc, char **argv)
{
	const struct bus_method *m;
	const char *service;
	size_t service_len;
	int r = cli_options(&argc, argv, NULL, 0);

	if (r || argc > 1) {
		return r ? r : cli_usage("bus describe takes one name");
	}
	if (!argc) {
		return show_all(cli);
	}
	if (topology_service(cli->topology, argv[0])) {
		return show_service(cli, argv[0]);
	}
	m = schema_method(argv[0], &service, &service_len);
	if (m) {
		show_method(cli, m);
		return CLI_OK;
	}
	if (show_type(cli, argv[0]) || show_topics(cli, argv[0])) {
		return CLI_OK;
	}
	return unknown(argv[0]);
}
