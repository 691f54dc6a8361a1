/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any method of any service.  The request is checked here, against the
 * descriptors that are compiled in, before anything is sent.
 */
#include <inttypes.h>
#include <stdio.h>

#include "clients/cli/callargs.h"
#include "clients/cli/cli.h"
#include "clients/cli/pbjson.h"
#include "clients/cli/schema.h"

#define REQUEST_MAX (4U << 20) /* JSON of the largest request, 1 MiB, with room for its escapes */

/* ---- the request ---- */

/* The whole of it, to be freed; NULL after saying what is wrong. */
static bool read_all(FILE *f, const char *name, struct strbuf *text)
{
	char buffer[65536];
	size_t n;

	while ((n = fread(buffer, 1, sizeof(buffer), f)) > 0 && text->len <= REQUEST_MAX) {
		strbuf_append(text, buffer, n);
	}
	if (ferror(f) || text->len > REQUEST_MAX) {
		cli_error("%s: %s", name, ferror(f) ? strerror(errno) : "more than 4 MiB");
		return false;
	}
	return true;
}

static bool read_path(const char *path, struct strbuf *text)
{
	FILE *f = fopen(path, "re");
	bool is_read;

	if (!f) {
		cli_error("%s: %s", path, strerror(errno));
		return false;
	}
	is_read = read_all(f, path, text);
	fclose(f);
	return is_read;
}

static bool read_text(const char *data, struct strbuf *text)
{
	if (streq(data, "-")) {
		return read_all(stdin, "standard input", text);
	}
	if (data[0] == '@') {
		return read_path(data + 1, text);
	}
	strbuf_puts(text, data);
	return true;
}

/* JSON, @FILE or - for standard input. NULL after saying what is wrong. */
static struct json_object *read_data(const char *data)
{
	_cleanup_(strbuf_deinit) struct strbuf text = STRBUF_NULL, error = STRBUF_NULL;
	struct json_object *o;

	if (!read_text(data, &text)) {
		return NULL;
	}
	o = pbjson_parse(strbuf_str(&text), text.len, &error);
	if (!o) {
		cli_error("the request is no JSON: %s", strbuf_str(&error));
	} else if (!json_object_is_type(o, json_type_object)) {
		cli_error("the request must be a JSON object, {...}");
		json_object_put(o);
		o = NULL;
	}
	return o;
}

static int build_request(struct cli *cli, const struct bus_method *m, const char *data, int argc,
			 char **argv, ProtobufCMessage **request)
{
	_cleanup_(strbuf_deinit) struct strbuf error = STRBUF_NULL;
	struct json_object *o;
	int r = 0;

	if (argc > 0 && (argv[0][0] == '@' || streq(argv[0], "-"))) {
		if (data) {
			return cli_usage("the request is given twice, by --data and by \"%s\"",
					 argv[0]);
		}
		data = argv[0];
		argc--;
		argv++;
	}
	o = data ? read_data(data) : json_object_new_object();
	if (!o) {
		return CLI_USAGE;
	}
	for (int i = 0; !r && i < argc; i++) {
		r = callargs_add(o, m->input, argv[i], &error);
	}
	if (!r) {
		r = pbjson_to(&cli->arena, m->input, o, request, &error);
	}
	if (r < 0) {
		cli_error("%s: %s", m->name, error.len ? strbuf_str(&error) : "out of memory");
	}
	json_object_put(o);
	return r < 0 ? CLI_USAGE : CLI_OK;
}

/* ---- what is told ---- */

/* Whether and how the call may be made again after this result. */
static const char *retry_kind(const struct cli_reply *reply)
{
	switch (reply->code) {
	case CODE_OK:
	case CODE_INVALID_ARGUMENT:
	case CODE_NOT_FOUND:
	case CODE_ALREADY_EXISTS:
	case CODE_PERMISSION_DENIED:
	case CODE_UNAUTHENTICATED:
	case CODE_UNIMPLEMENTED:
	case CODE_OUT_OF_RANGE:
		return "useless";
	case CODE_RESOURCE_EXHAUSTED:
		return "later";
	case CODE_FAILED_PRECONDITION:
	case CODE_ABORTED:
	case CODE_CANCELLED:
		return "new";
	default:
		return reply->repeat_id && reply->may_be_done ? "same-id" : "safe";
	}
}

static const char *retry_text(struct cli *cli, const char *kind, const struct bus_method *m,
			      const struct cli_reply *reply)
{
	if (streq(kind, "useless")) {
		return "the same call would fail again; change it first";
	}
	if (streq(kind, "later")) {
		return "nothing was done; a retry is safe, after a while";
	}
	if (streq(kind, "new")) {
		return "a retry is safe, as a new call, when the state has changed";
	}
	if (streq(kind, "safe")) {
		return m->mutating ? "nothing was sent; a retry is safe"
				   : "a retry is safe, the method changes nothing";
	}
	return arena_printf(&cli->arena,
			    "it may have been done; a retry is safe with --request-id %s",
			    reply->repeat_id);
}

static int fail(struct cli *cli, const char *service, const struct bus_method *m,
		const struct cli_reply *reply)
{
	const char *kind = retry_kind(reply);

	if (cli->json) {
		struct json_object *o = json_object_new_object();

		json_object_object_add(o, "service", json_object_new_string(service));
		json_object_object_add(o, "method", json_object_new_string(m->name));
		json_object_object_add(o, "code",
				       json_object_new_string(bus_code_name(reply->code)));
		json_object_object_add(o, "message", json_object_new_string(reply->message));
		json_object_object_add(o, "details", json_object_new_string(reply->details));
		json_object_object_add(o, "retry", json_object_new_string(kind));
		json_object_object_add(o, "request_id",
				       reply->repeat_id ? json_object_new_string(reply->repeat_id)
							: NULL);
		cli_print_json(o);
	}
	cli_error("%s: %s: %s", service, bus_code_name(reply->code),
		  cli_bare_message(service, reply->message));
	if (*reply->details) {
		cli_error("  %s", cli_text(cli, reply->details, strlen(reply->details)));
	}
	cli_error("  %s", retry_text(cli, kind, m, reply));
	return cli_exit_code(reply->code);
}

static int dry_run(struct cli *cli, const char *service, const struct bus_method *m,
		   const ProtobufCMessage *request)
{
	size_t size = protobuf_c_message_get_packed_size(request);
	struct json_object *o;

	if (!cli->json) {
		cli_print_message(request);
		fprintf(stderr, "%s to %s, role %s%s, request of %zu bytes; nothing was sent\n",
			m->name, service, bus_role_name(m->role), m->mutating ? ", mutating" : "",
			size);
		return CLI_OK;
	}
	o = json_object_new_object();
	json_object_object_add(o, "service", json_object_new_string(service));
	json_object_object_add(o, "method", json_object_new_string(m->name));
	json_object_object_add(o, "role", json_object_new_string(bus_role_name(m->role)));
	json_object_object_add(o, "mutating", json_object_new_boolean(m->mutating));
	json_object_object_add(o, "bytes", json_object_new_uint64(size));
	json_object_object_add(o, "request", pbjson_from(request));
	cli_print_json(o);
	return CLI_OK;
}

/* ---- the command ---- */

/* Who is called: --service, SERVICE.METHOD, or who offers it. NULL after saying what is wrong. */
static const char *choose_service(struct cli *cli, const struct bus_method *m, const char *option,
				  const char *prefix, size_t prefix_len)
{
	const char *service = option;

	if (!service && prefix_len) {
		service = arena_strndup(&cli->arena, prefix, prefix_len);
	}
	if (!service) {
		service = schema_method_service(m);
	}
	if (!service) {
		cli_usage("every service has %s: write SERVICE.%s, or --service", m->name,
			  strrchr(m->name, '/') + 1);
		return NULL;
	}
	return cli_check_service(cli, service) ? NULL : service;
}

int cmd_bus_call(struct cli *cli, int argc, char **argv)
{
	const char *data = NULL, *option = NULL, *prefix, *service;
	bool is_dry = false;
	const struct cli_option options[] = {
		{ "data", 'j', &data, NULL },
		{ "service", 's', &option, NULL },
		{ "dry-run", 0, NULL, &is_dry },
	};
	const struct bus_method *m;
	struct cli_reply reply;
	ProtobufCMessage *request = NULL;
	size_t prefix_len;
	int r = cli_options(&argc, argv, options, ARRAY_LEN(options));

	if (r || argc < 1) {
		return r ? r : cli_usage("bus call wants a method; bus describe lists them");
	}
	m = schema_method(argv[0], &prefix, &prefix_len);
	if (!m) {
		cli_error("no method \"%s\" (or more than one); see: xenmesh bus describe",
			  argv[0]);
		return CLI_USAGE;
	}
	service = choose_service(cli, m, option, prefix, prefix_len);
	r = service ? build_request(cli, m, data, argc - 1, argv + 1, &request) : CLI_USAGE;
	if (r || is_dry) {
		return r ? r : dry_run(cli, service, m, request);
	}
	cli_call(cli, service, m->name, request, 0, &reply);
	if (reply.code != CODE_OK) {
		return fail(cli, service, m, &reply);
	}
	cli_print_message(reply.payload);
	return CLI_OK;
}
