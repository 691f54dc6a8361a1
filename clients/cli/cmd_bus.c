/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdio.h>

#include "bus/methods.h"
#include "clients/cli/cli.h"
#include "clients/cli/pbjson.h"
#include "clients/cli/table.h"
#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/parse.h"
#include "xenmesh/v1/bus.pb-c.h"

#define LS_TIMEOUT_MS 2000 /* a service that is up answers in milliseconds */

/* ---- ls ---- */

static uint64_t stat_value(const Xenmesh__V1__StatsReply *stats, const char *name)
{
	for (size_t i = 0; stats && i < stats->n_stats; i++) {
		if (streq(stats->stats[i]->name, name)) {
			return stats->stats[i]->value;
		}
	}
	return 0;
}

static struct json_object *service_json(const char *name, const struct cli_reply *reply,
					const Xenmesh__V1__DescribeReply *d,
					const Xenmesh__V1__StatsReply *stats)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "service", json_object_new_string(name));
	json_object_object_add(o, "up", json_object_new_boolean(d != NULL));
	if (!d) {
		json_object_object_add(o, "error", json_object_new_string(reply->message));
		return o;
	}
	json_object_object_add(o, "version", json_object_new_string(d->version));
	json_object_object_add(o, "pid", json_object_new_int64(d->pid));
	json_object_object_add(o, "started_ns", json_object_new_uint64(d->started_ns));
	json_object_object_add(o, "calls", json_object_new_uint64(stat_value(stats, "rpc.calls")));
	json_object_object_add(o, "events",
			       json_object_new_uint64(stat_value(stats, "pub.events")));
	json_object_object_add(o, "topics",
			       json_object_new_uint64(stat_value(stats, "pub.topics")));
	return o;
}

static void service_row(struct cli *cli, struct table *table, const char *name,
			const struct cli_reply *reply, const Xenmesh__V1__DescribeReply *d,
			const Xenmesh__V1__StatsReply *stats)
{
	table_cell(table, "%s", name);
	if (!d) {
		table_cell(table, "down");
		for (int i = 0; i < 6; i++) {
			table_cell(table, "-");
		}
		table_cell(table, "%s", reply->message);
		return;
	}
	table_cell(table, "up");
	table_cell(table, "%" PRIu32, d->pid);
	table_cell(table, "%s", d->version);
	table_cell(table, "%s", cli_age(cli, d->started_ns));
	table_cell(table, "%" PRIu64, stat_value(stats, "rpc.calls"));
	table_cell(table, "%" PRIu64, stat_value(stats, "pub.events"));
	table_cell(table, "%" PRIu64, stat_value(stats, "pub.topics"));
	table_cell(table, "%s", "");
}

int cmd_bus_ls(struct cli *cli, int argc, char **argv)
{
	static const char *const titles[] = { "SERVICE", "STATE",   ">PID",    "VERSION", "UP",
					      ">CALLS",	 ">EVENTS", ">TOPICS", "" };
	_cleanup_(table_freep) struct table *table = table_new(titles, ARRAY_LEN(titles));
	Xenmesh__V1__DescribeRequest describe = XENMESH__V1__DESCRIBE_REQUEST__INIT;
	Xenmesh__V1__StatsRequest stats = XENMESH__V1__STATS_REQUEST__INIT;
	int status = CLI_OK;
	int r = cli_options(&argc, argv, NULL, 0);

	if (r || argc) {
		return r ? r : cli_usage("bus ls takes no arguments");
	}
	for (size_t i = 0; i < topology_n_services(cli->topology); i++) {
		const char *name = topology_service_at(cli->topology, i)->name;
		struct cli_reply about;
		struct cli_reply counters = { .payload = NULL };

		cli_call(cli, name, "xenmesh.v1.Bus/Describe", &describe.base, LS_TIMEOUT_MS,
			 &about);
		if (about.payload) {
			cli_call(cli, name, "xenmesh.v1.Bus/Stats", &stats.base, LS_TIMEOUT_MS,
				 &counters);
		} else {
			status = CLI_UNREACHABLE;
		}
		if (cli->json) {
			cli_print_json(service_json(name, &about, (const void *)about.payload,
						    (const void *)counters.payload));
		} else {
			service_row(cli, table, name, &about, (const void *)about.payload,
				    (const void *)counters.payload);
		}
	}
	if (!cli->json) {
		table_print(table);
	}
	return status;
}

/* ---- ping ---- */

struct ping_times {
	uint32_t sent;
	uint32_t received;
	uint64_t min_ns, max_ns, sum_ns;
};

static int ping_once(struct cli *cli, const char *service, struct ping_times *times)
{
	Xenmesh__V1__PingRequest request = XENMESH__V1__PING_REQUEST__INIT;
	uint8_t echo[8] = "xenmesh";
	const Xenmesh__V1__PingReply *pong;
	struct cli_reply reply;
	uint64_t start = clock_boot_ns();
	uint64_t ns;

	request.echo.data = echo;
	request.echo.len = sizeof(echo);
	times->sent++;
	cli_call(cli, service, "xenmesh.v1.Bus/Ping", &request.base, LS_TIMEOUT_MS, &reply);
	ns = clock_boot_ns() - start;
	if (reply.code != CODE_OK) {
		cli_error("%s", reply.message);
		return cli_exit_code(reply.code);
	}
	pong = (const Xenmesh__V1__PingReply *)(const void *)reply.payload;
	if (pong->echo.len != sizeof(echo) || memcmp(pong->echo.data, echo, sizeof(echo)) != 0) {
		cli_error("%s: the answer is not what was sent", service);
		return CLI_FAILURE;
	}
	times->received++;
	times->min_ns = times->min_ns ? MIN(times->min_ns, ns) : ns;
	times->max_ns = MAX(times->max_ns, ns);
	times->sum_ns += ns;
	return CLI_OK;
}

static int ping_service(struct cli *cli, const char *service, uint32_t count)
{
	struct ping_times t = { 0 };
	int status = CLI_OK;

	/* A service that is away is said to be away once, not count times. */
	for (uint32_t i = 0; i < count && status != CLI_UNREACHABLE; i++) {
		int r = ping_once(cli, service, &t);

		status = r ? r : status;
		if (i % 256 == 255) {
			arena_reset(&cli->arena); /* nothing of a finished ping is kept */
		}
	}
	if (cli->json) {
		struct json_object *o = json_object_new_object();

		json_object_object_add(o, "service", json_object_new_string(service));
		json_object_object_add(o, "sent", json_object_new_int64(t.sent));
		json_object_object_add(o, "received", json_object_new_int64(t.received));
		json_object_object_add(o, "min_us", json_object_new_uint64(t.min_ns / 1000));
		json_object_object_add(
			o, "avg_us",
			json_object_new_uint64(t.received ? t.sum_ns / t.received / 1000 : 0));
		json_object_object_add(o, "max_us", json_object_new_uint64(t.max_ns / 1000));
		cli_print_json(o);
	} else if (t.received) {
		printf("%s: %" PRIu32 " of %" PRIu32 " answered, min/avg/max %" PRIu64 "/%" PRIu64
		       "/%" PRIu64 " us\n",
		       service, t.received, t.sent, t.min_ns / 1000, t.sum_ns / t.received / 1000,
		       t.max_ns / 1000);
	}
	return status;
}

int cmd_bus_ping(struct cli *cli, int argc, char **argv)
{
	const char *count_text = "1";
	const struct cli_option options[] = { { "count", 'c', &count_text, NULL } };
	uint32_t count;
	int status = CLI_OK;
	int r = cli_options(&argc, argv, options, ARRAY_LEN(options));

	if (r) {
		return r;
	}
	if (parse_u32(count_text, strlen(count_text), 1000000, &count) || !count) {
		return cli_usage("--count wants 1 to 1000000, got \"%s\"", count_text);
	}
	for (int i = 0; i < argc; i++) {
		r = ping_service(cli, argv[i], count);
		status = r ? r : status;
	}
	for (size_t i = 0; !argc && i < topology_n_services(cli->topology); i++) {
		r = ping_service(cli, topology_service_at(cli->topology, i)->name, count);
		status = r ? r : status;
	}
	return status;
}

/* ---- describe ---- */

static const char *field_type(const ProtobufCFieldDescriptor *f)
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

static void print_message_type(const ProtobufCMessageDescriptor *m)
{
	printf("message %s\n", m->name);
	for (unsigned int i = 0; i < m->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &m->fields[i];

		printf("  %s%s %s = %" PRIu32 "%s\n",
		       f->label == PROTOBUF_C_LABEL_REPEATED ? "repeated " : "", field_type(f),
		       f->name, f->id, f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF ? " (oneof)" : "");
	}
}

static void print_enum_type(const ProtobufCEnumDescriptor *e)
{
	printf("enum %s\n", e->name);
	for (unsigned int i = 0; i < e->n_values; i++) {
		printf("  %s = %d\n", e->values[i].name, e->values[i].value);
	}
}

static bool name_is(const char *full, const char *wanted)
{
	size_t len = strlen(full);
	size_t n = strlen(wanted);

	return streq(full, wanted) ||
	       (len > n && full[len - n - 1] == '.' && streq(full + len - n, wanted));
}

/* Prints the type of that name if it is in m or below; the schema is not recursive. */
static bool print_type_below(const ProtobufCMessageDescriptor *m, const char *name)
{
	if (name_is(m->name, name)) {
		print_message_type(m);
		return true;
	}
	for (unsigned int i = 0; i < m->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &m->fields[i];

		if (f->type == PROTOBUF_C_TYPE_ENUM &&
		    name_is(((const ProtobufCEnumDescriptor *)f->descriptor)->name, name)) {
			print_enum_type(f->descriptor);
			return true;
		}
		if (f->type == PROTOBUF_C_TYPE_MESSAGE && print_type_below(f->descriptor, name)) {
			return true;
		}
	}
	return false;
}

static bool describe_type(const char *name)
{
	for (size_t i = 0; i < bus_n_methods; i++) {
		if (print_type_below(bus_methods[i].input, name) ||
		    print_type_below(bus_methods[i].output, name)) {
			return true;
		}
	}
	return print_type_below(&xenmesh__v1__event__descriptor, name) ||
	       print_type_below(&xenmesh__v1__call__descriptor, name) ||
	       print_type_below(&xenmesh__v1__reply__descriptor, name);
}

static void print_method(const struct bus_method *m)
{
	printf("%s  role %s%s\n", m->name, bus_role_name(m->role), m->mutating ? ", mutating" : "");
	if (*m->doc) {
		printf("  %s\n", m->doc);
	}
}

static struct json_object *method_json(const struct bus_method *m)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "name", json_object_new_string(m->name));
	json_object_object_add(o, "role", json_object_new_string(bus_role_name(m->role)));
	json_object_object_add(o, "mutating", json_object_new_boolean(m->mutating));
	json_object_object_add(o, "input", json_object_new_string(m->input->name));
	json_object_object_add(o, "output", json_object_new_string(m->output->name));
	json_object_object_add(o, "doc", json_object_new_string(m->doc));
	return o;
}

static int describe_service(struct cli *cli, const char *service)
{
	Xenmesh__V1__DescribeRequest request = XENMESH__V1__DESCRIBE_REQUEST__INIT;
	const Xenmesh__V1__DescribeReply *d;
	int r = cli_call_ok(cli, service, "xenmesh.v1.Bus/Describe", &request.base, &d);

	if (r) {
		return r;
	}
	if (cli->json) {
		cli_print_message(&d->base);
		return CLI_OK;
	}
	printf("%s %s, pid %" PRIu32 ", started %s\n", d->service, d->version, d->pid,
	       cli_time(cli, d->started_ns));
	for (size_t i = 0; i < d->n_methods; i++) {
		const Xenmesh__V1__MethodInfo *m = d->methods[i];

		printf("%s(%s) -> %s  role %s%s\n", m->name, m->input, m->output,
		       bus_role_name((int)m->role), m->mutating ? ", mutating" : "");
	}
	return CLI_OK;
}

int cmd_bus_describe(struct cli *cli, int argc, char **argv)
{
	const struct bus_method *m;
	int r = cli_options(&argc, argv, NULL, 0);

	if (r || argc > 1) {
		return r ? r : cli_usage("bus describe takes one name");
	}
	if (!argc) {
		for (size_t i = 0; i < bus_n_methods; i++) {
			if (cli->json) {
				cli_print_json(method_json(&bus_methods[i]));
			} else {
				print_method(&bus_methods[i]);
			}
		}
		return CLI_OK;
	}
	if (topology_service(cli->topology, argv[0])) {
		return describe_service(cli, argv[0]);
	}
	m = bus_method_find(argv[0]);
	if (m && cli->json) {
		cli_print_json(method_json(m));
		return CLI_OK;
	}
	if (m) {
		print_method(m);
		print_message_type(m->input);
		print_message_type(m->output);
		return CLI_OK;
	}
	if (describe_type(argv[0])) {
		return CLI_OK;
	}
	cli_error("no service, method, message or enum is called \"%s\"; see: xenmesh bus describe",
		  argv[0]);
	return CLI_FAILURE;
}

/* ---- call ---- */

/* Puts FIELD=VALUE into the object; a dotted field makes objects on its way. */
static int add_argument(struct json_object *o, const char *argument)
{
	const char *equals = strchr(argument, '=');
	const char *p = argument;

	if (!equals || equals == argument) {
		return cli_usage("\"%s\" is not FIELD=VALUE", argument);
	}
	for (;;) {
		size_t len = strcspn(p, ".=");
		_cleanup_(xfreep) char *name = strndup(p, len);
		struct json_object *next = NULL;

		if (!name) {
			return CLI_FAILURE;
		}
		if (p[len] == '=') {
			json_object_object_add(o, name, json_object_new_string(equals + 1));
			return CLI_OK;
		}
		if (!json_object_object_get_ex(o, name, &next)) {
			next = json_object_new_object();
			json_object_object_add(o, name, next);
		}
		if (!json_object_is_type(next, json_type_object)) {
			return cli_usage("\"%s\": %s is a value already", argument, name);
		}
		o = next;
		p += len + 1;
	}
}

static struct json_object *read_data(const char *data)
{
	enum json_tokener_error e = json_tokener_success;
	struct json_object *o;

	if (!data) {
		return json_object_new_object();
	}
	o = data[0] == '@' ? json_object_from_file(data + 1) : json_tokener_parse_verbose(data, &e);
	if (!o && data[0] == '@') {
		cli_error("--data: %s", json_util_get_last_err());
	} else if (!o && e != json_tokener_success) {
		cli_error("--data: %s", json_tokener_error_desc(e));
	} else if (!json_object_is_type(o, json_type_object)) {
		cli_error("--data wants a JSON object, {...}");
		json_object_put(o);
		o = NULL;
	}
	return o;
}

/* The service that offers the method: by the proto service's name. */
static const char *default_service(const struct bus_method *m)
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

static int build_request(struct cli *cli, const struct bus_method *m, const char *data, int argc,
			 char **argv, ProtobufCMessage **request)
{
	_cleanup_(strbuf_deinit) struct strbuf error = STRBUF_NULL;
	struct json_object *o = read_data(data);
	int r = o ? CLI_OK : CLI_USAGE;

	for (int i = 0; !r && i < argc; i++) {
		r = add_argument(o, argv[i]);
	}
	if (!r && pbjson_to(&cli->arena, m->input, o, request, &error) < 0) {
		cli_error("%s: %s", m->name, error.len ? strbuf_str(&error) : "out of memory");
		r = CLI_USAGE;
	}
	json_object_put(o);
	return r;
}

int cmd_bus_call(struct cli *cli, int argc, char **argv)
{
	const char *data = NULL;
	const char *service = NULL;
	bool dry_run = false;
	const struct cli_option options[] = {
		{ "data", 'j', &data, NULL },
		{ "service", 's', &service, NULL },
		{ "dry-run", 0, NULL, &dry_run },
	};
	const struct bus_method *m;
	const ProtobufCMessage *reply;
	ProtobufCMessage *request;
	int r = cli_options(&argc, argv, options, ARRAY_LEN(options));

	if (r || argc < 1) {
		return r ? r : cli_usage("bus call wants a method; see: xenmesh bus describe");
	}
	m = bus_method_find(argv[0]);
	if (!m) {
		cli_error("no method \"%s\" (or more than one); see: xenmesh bus describe",
			  argv[0]);
		return CLI_USAGE;
	}
	service = service ? service : default_service(m);
	if (!service) {
		return cli_usage("every service has %s: choose one with --service", m->name);
	}
	r = build_request(cli, m, data, argc - 1, argv + 1, &request);
	if (r) {
		return r;
	}
	if (dry_run) {
		cli_print_message(request);
		return CLI_OK;
	}
	r = cli_call_ok(cli, service, m->name, request, &reply);
	if (!r) {
		cli_print_message(reply);
	}
	return r;
}

/* ---- stats, log-level ---- */

int cmd_bus_stats(struct cli *cli, int argc, char **argv)
{
	Xenmesh__V1__StatsRequest request = XENMESH__V1__STATS_REQUEST__INIT;
	const Xenmesh__V1__StatsReply *reply;
	int r = cli_options(&argc, argv, NULL, 0);

	if (r || argc < 1 || argc > 2) {
		return r ? r : cli_usage("bus stats wants a service and perhaps a prefix");
	}
	request.prefix = (char *)(argc > 1 ? argv[1] : "");
	r = cli_call_ok(cli, argv[0], "xenmesh.v1.Bus/Stats", &request.base, &reply);
	if (r) {
		return r;
	}
	if (cli->json) {
		struct json_object *o = json_object_new_object();

		for (size_t i = 0; i < reply->n_stats; i++) {
			json_object_object_add(o, reply->stats[i]->name,
					       json_object_new_uint64(reply->stats[i]->value));
		}
		cli_print_json(o);
		return CLI_OK;
	}
	for (size_t i = 0; i < reply->n_stats; i++) {
		printf("%-32s %" PRIu64 "\n", reply->stats[i]->name, reply->stats[i]->value);
	}
	return CLI_OK;
}

int cmd_bus_log_level(struct cli *cli, int argc, char **argv)
{
	Xenmesh__V1__SetLogLevelRequest request = XENMESH__V1__SET_LOG_LEVEL_REQUEST__INIT;
	const Xenmesh__V1__SetLogLevelReply *reply;
	int r = cli_options(&argc, argv, NULL, 0);

	if (r || argc != 2) {
		return r ? r : cli_usage("bus log-level wants a service and a level");
	}
	request.level = argv[1];
	r = cli_call_ok(cli, argv[0], "xenmesh.v1.Bus/SetLogLevel", &request.base, &reply);
	if (r) {
		return r;
	}
	if (cli->json) {
		cli_print_message(&reply->base);
	} else {
		printf("%s: %s, was %s\n", argv[0], argv[1], reply->previous);
	}
	return CLI_OK;
}
