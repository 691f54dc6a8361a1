/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "clients/cli/cli.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "bus/methods.h"
#include "clients/cli/pbjson.h"
#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"
#include "libcommon/parse.h"
#include "xenmesh/v1/ops.pb-c.h"

#define CALL_TIMEOUT_MS 5000 /* answers come in milliseconds; a restart takes a second */
#define NAMED_MAX	16   /* services in a message, of the many that a topology can have */

/* Each line of it with our name before and `after` behind. What services, files and arguments have
 * in it must not reach the terminal as it is. */
_printf_(1, 0) static void complain(const char *format, va_list ap, const char *after)
{
	_cleanup_(xfreep) char *text = NULL;

	fflush(stdout);
	if (vasprintf(&text, format, ap) < 0) {
		text = NULL;
		fputs("xenmesh: out of memory\n", stderr);
		return;
	}
	for (const char *p = text; *p;) {
		size_t len = strcspn(p, "\n");
		size_t size = len * 4 + 1; /* every byte as \xHH */
		_cleanup_(xfreep) char *line = len ? malloc(size) : NULL;

		if (line) {
			log_escape(line, size, p, len);
			fprintf(stderr, "xenmesh: %s%s\n", line, after);
		}
		p += len + (p[len] == '\n');
	}
}

void cli_error(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	complain(format, ap, "");
	va_end(ap);
}

int cli_usage(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	complain(format, ap, " (see xenmesh COMMAND --help)");
	va_end(ap);
	return CLI_USAGE;
}

/* ---- options ---- */

static const struct cli_option *find_option(const char *arg, const struct cli_option *options,
					    size_t n, const char **value)
{
	*value = NULL;
	for (size_t i = 0; i < n; i++) {
		const struct cli_option *o = &options[i];
		size_t len = strlen(o->name);

		if (arg[1] != '-') {
			if (o->letter && arg[1] == o->letter) {
				*value = arg[2] ? arg + 2 : NULL;
				return o;
			}
		} else if (!strncmp(arg + 2, o->name, len) &&
			   (!arg[2 + len] || arg[2 + len] == '=')) {
			*value = arg[2 + len] ? arg + 3 + len : NULL;
			return o;
		}
	}
	return NULL;
}

int cli_options(int *argc, char **argv, const struct cli_option *options, size_t n_options)
{
	int kept = 0;

	for (int i = 0; i < *argc; i++) {
		const struct cli_option *o;
		const char *value;
		int64_t number;

		if (streq(argv[i], "--")) {
			while (++i < *argc) {
				argv[kept++] = argv[i];
			}
			break;
		}
		/* "-600" is a number, "-" is standard input. */
		if (argv[i][0] != '-' || !argv[i][1] ||
		    !parse_i64(argv[i], strlen(argv[i]), &number)) {
			argv[kept++] = argv[i];
			continue;
		}
		o = find_option(argv[i], options, n_options, &value);
		if (!o) {
			return cli_usage("unknown option %s", argv[i]);
		}
		if (o->flag) {
			if (value) {
				return cli_usage("--%s takes no value", o->name);
			}
			*o->flag = true;
		} else if (value) {
			*o->value = value;
		} else if (++i < *argc) {
			*o->value = argv[i];
		} else {
			return cli_usage("--%s wants a value", o->name);
		}
	}
	*argc = kept;
	return CLI_OK;
}

/* ---- calls ---- */

int cli_check_service(struct cli *cli, const char *service)
{
	const size_t n = topology_n_services(cli->topology);
	const char *names = "";

	if (topology_service(cli->topology, service)) {
		return CLI_OK;
	}
	for (size_t i = 0; names && i < MIN(n, NAMED_MAX); i++) {
		names = arena_printf(&cli->arena, "%s%s%s", names, i ? ", " : "",
				     topology_service_at(cli->topology, i)->name);
	}
	cli_error("no service \"%s\" in the topology (%s); it has: %s%s", service,
		  topology_origin(cli->topology), names ? names : "",
		  n > NAMED_MAX ? " ..., all of them: xenmesh bus ls" : "");
	return CLI_USAGE;
}

struct bus_client *cli_client(struct cli *cli, const char *service)
{
	struct cli_client *c;

	for (c = cli->clients; c; c = c->next) {
		if (streq(c->name, service)) {
			return c->bus;
		}
	}
	c = calloc(1, sizeof(*c) + strlen(service) + 1);
	if (!c || bus_client_new(&c->bus, cli->loop, cli->topology, service, CLI_NAME) < 0) {
		free(c);
		return NULL;
	}
	memcpy(c->name, service, strlen(service) + 1);
	c->next = cli->clients;
	cli->clients = c;
	return c->bus;
}

struct waiting {
	struct cli *cli;
	struct cli_reply *reply;
	uint64_t begin_ns;
	size_t *n_left;
};

static const char *details_text(struct cli *cli, const Xenmesh__V1__Reply *reply)
{
	const char *text = "";

	for (size_t i = 0; reply && text && i < reply->n_details; i++) {
		text = arena_printf(&cli->arena, "%s%s%s=%s", text, i ? " " : "",
				    reply->details[i]->name, reply->details[i]->value);
	}
	return text ? text : "";
}

/* The payload dies with the callback, so it is decoded once more into the command's arena. */
static void on_result(struct bus_client *c, const struct bus_result *result, void *userdata)
{
	struct waiting *w = userdata;

	--*w->n_left;
	w->reply->code = result->code;
	w->reply->took_ns = clock_boot_ns() - w->begin_ns;
	w->reply->is_connected = bus_client_is_connected(c);
	w->reply->may_be_done |= result->was_sent;
	w->reply->details = details_text(w->cli, result->reply);
	w->reply->message = arena_strndup(&w->cli->arena, result->message, strlen(result->message));
	if (result->payload && result->reply) {
		w->reply->payload = arena_unpack(&w->cli->arena, result->payload->descriptor,
						 result->reply->payload.data,
						 result->reply->payload.len);
	}
	if (result->code == CODE_OK && !w->reply->payload) {
		w->reply->code = CODE_INTERNAL;
		w->reply->message = "the answer cannot be decoded";
	}
}

static const char *uuid_text(struct cli *cli, const struct uuid *id)
{
	char *text = arena_alloc(&cli->arena, 37);

	if (text) {
		uuid_format(id, text);
	}
	return text;
}

/* A directory or socket that is closed to this user looks like a service that is away. */
static void look_for_denial(struct cli *cli, const char *service, struct cli_reply *reply)
{
	const struct topology_service *s = topology_service(cli->topology, service);
	const char *path = s && s->rpc.n_urls ? topology_url_path(s->rpc.urls[0]) : NULL;

	if (reply->code != CODE_UNAVAILABLE || !path || access(path, W_OK) == 0 ||
	    errno != EACCES) {
		return;
	}
	reply->code = CODE_PERMISSION_DENIED;
	reply->message = arena_printf(&cli->arena,
				      "%s: uid %u may not connect to %s; who may: namei -l %s",
				      service, (unsigned int)geteuid(), path, path);
}

/* 0 when on_result will be called; otherwise the reply says why not. */
static int begin_call(struct cli *cli, struct cli_pending *call,
		      const struct bus_call_options *given, struct waiting *w)
{
	const struct bus_method *m = bus_method_find(call->method);
	struct bus_client *client = cli_client(cli, call->service);
	struct cli_reply *reply = &call->reply;
	struct bus_call_options options = *given;
	struct uuid id;
	int r;

	*reply = (struct cli_reply){ .code = CODE_UNKNOWN,
				     .message = "",
				     .details = "",
				     .may_be_done = cli->has_request_id };
	if (!client) {
		reply->code = CODE_UNAVAILABLE;
		reply->message = arena_printf(
			&cli->arena, "%s: no connection can be made; is all of [tls] in order?",
			call->service);
		return 1;
	}
	if (m && m->mutating) {
		if (cli->has_request_id) {
			id = cli->request_id;
		} else {
			uuid_random(&id);
		}
		options.request_id = &id;
		reply->repeat_id = uuid_text(cli, &id);
	}
	w->begin_ns = clock_boot_ns();
	r = bus_client_call(client, call->method, call->request, &options, on_result, w, NULL);
	if (r < 0) {
		reply->code = CODE_INTERNAL;
		reply->message = arena_printf(&cli->arena, "%s: %s", call->method, err_text(r));
	}
	return r;
}

/* Until all have ended. An event that ends the loop is an interruption: the callbacks' targets are
 * on the callers' stacks, so there is no way back. */
static void wait_for_calls(struct cli *cli, const size_t *n_left)
{
	while (*n_left) {
		int r = sd_event_run(cli->loop, UINT64_MAX);

		if (r < 0 || sd_event_get_state(cli->loop) == SD_EVENT_FINISHED) {
			exit(CLI_INTERRUPTED);
		}
	}
}

static void run_calls(struct cli *cli, struct cli_pending *calls, size_t n,
		      const struct bus_call_options *options)
{
	struct waiting *waiting = calloc(MAX(n, 1), sizeof(*waiting));
	size_t n_left = n;

	for (size_t i = 0; i < n; i++) {
		if (!waiting) {
			calls[i].reply = (struct cli_reply){ .code = CODE_RESOURCE_EXHAUSTED,
							     .message = "out of memory",
							     .details = "" };
			continue;
		}
		waiting[i] = (struct waiting){ cli, &calls[i].reply, 0, &n_left };
		n_left -= begin_call(cli, &calls[i], options, &waiting[i]) != 0;
	}
	if (waiting) {
		wait_for_calls(cli, &n_left);
	}
	for (size_t i = 0; i < n; i++) {
		look_for_denial(cli, calls[i].service, &calls[i].reply);
	}
	free(waiting);
}

void cli_call_all(struct cli *cli, struct cli_pending *calls, size_t n, uint32_t timeout_ms)
{
	const struct bus_call_options options = {
		.timeout_ms = timeout_ms,
		.no_retry = true,
	};

	run_calls(cli, calls, n, &options);
}

void cli_call(struct cli *cli, const char *service, const char *method,
	      const ProtobufCMessage *request, uint32_t timeout_ms, struct cli_reply *reply)
{
	struct cli_pending call = { .service = service, .method = method, .request = request };
	const struct bus_call_options options = {
		.timeout_ms = cli_timeout_ms(cli, timeout_ms ? timeout_ms : CALL_TIMEOUT_MS),
	};

	run_calls(cli, &call, 1, &options);
	*reply = call.reply;
}

uint32_t cli_timeout_ms(const struct cli *cli, uint32_t default_ms)
{
	return cli->timeout_ms ? cli->timeout_ms : default_ms;
}

static int on_pause_over(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
	*(bool *)userdata = true;
	return 0;
}

int cli_pause(struct cli *cli, uint64_t ms)
{
	_cleanup_(loop_source_unrefp) sd_event_source *timer = NULL;
	bool is_over = false;
	int r = loop_after(cli->loop, &timer, ms * 1000, on_pause_over, &is_over);

	while (r >= 0 && !is_over) {
		r = sd_event_run(cli->loop, UINT64_MAX);
	}
	return r < 0 ? r : 0;
}

int cli_exit_code(int bus_code)
{
	switch (bus_code) {
	case CODE_OK:
		return CLI_OK;
	case CODE_DEADLINE_EXCEEDED:
		return CLI_TIMEOUT;
	case CODE_UNAVAILABLE:
		return CLI_UNREACHABLE;
	case CODE_PERMISSION_DENIED:
	case CODE_UNAUTHENTICATED:
		return CLI_DENIED;
	default:
		return CLI_FAILURE;
	}
}

const char *cli_bare_message(const char *service, const char *message)
{
	size_t len = strlen(service);

	return str_starts(message, service) && str_starts(message + len, ": ") ? message + len + 2
									       : message;
}

int cli_fail(const struct cli_reply *reply)
{
	if (reply->code == CODE_OK) {
		return CLI_OK;
	}
	cli_error("%s",
		  reply->message && *reply->message ? reply->message : bus_code_name(reply->code));
	if (reply->repeat_id && reply->may_be_done &&
	    (reply->code == CODE_UNAVAILABLE || reply->code == CODE_DEADLINE_EXCEEDED)) {
		cli_error("it may have been accepted all the same; repeat it safely with "
			  "--request-id %s",
			  reply->repeat_id);
	}
	return cli_exit_code(reply->code);
}

int cli_call_ok(struct cli *cli, const char *service, const char *method,
		const ProtobufCMessage *request, void *payload_out)
{
	struct cli_reply reply;

	cli_call(cli, service, method, request, 0, &reply);
	*(const ProtobufCMessage **)payload_out = reply.payload;
	return cli_fail(&reply);
}

int cli_resolve_vm(struct cli *cli, const char *vm, const char **uuid)
{
	Xenmesh__V1__GetVmRequest request = XENMESH__V1__GET_VM_REQUEST__INIT;
	const Xenmesh__V1__VmState *state;
	struct uuid u;
	int r;

	if (!uuid_parse(vm, &u)) {
		*uuid = uuid_text(cli, &u);
		return *uuid ? CLI_OK : CLI_FAILURE;
	}
	request.vm = (char *)vm;
	r = cli_call_ok(cli, "ops", "xenmesh.v1.Ops/GetVm", &request.base, &state);
	if (!r) {
		*uuid = state->uuid;
	}
	return r;
}

/* ---- output ---- */

void cli_print_json(struct json_object *object)
{
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN |
							    JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(object);
}

void cli_print_message(const ProtobufCMessage *message)
{
	cli_print_json(pbjson_from(message));
}

struct json_object *cli_json_double(double value)
{
	struct json_object *o = isfinite(value) ? json_object_new_double(value) : NULL;

	if (o) {
		json_object_set_serializer(o, json_object_double_to_json_string, (void *)"%.3f",
					   NULL);
	}
	return o;
}

const char *cli_enum(struct cli *cli, const ProtobufCEnumDescriptor *type, int value,
		     const char *prefix)
{
	const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(type, value);
	char *text;

	if (!v) {
		return arena_printf(&cli->arena, "%d", value);
	}
	text = arena_printf(&cli->arena, "%s",
			    str_starts(v->name, prefix) ? v->name + strlen(prefix) : v->name);
	for (char *c = text; c && *c; c++) {
		*c = (char)(*c >= 'A' && *c <= 'Z' ? *c + 'a' - 'A' : *c);
	}
	return text ? text : "";
}

const char *cli_text(struct cli *cli, const void *data, size_t len)
{
	size_t size = len * 4 + 1; /* every byte as \xHH */
	char *out = arena_alloc(&cli->arena, size);

	if (!out) {
		return "";
	}
	log_escape(out, size, len ? data : "", len);
	return out;
}

const char *cli_plain(struct cli *cli, const char *text)
{
	return cli_text(cli, text, strlen(text));
}

const char *cli_time(struct cli *cli, uint64_t real_ns)
{
	time_t t = (time_t)(real_ns / NSEC_PER_SEC);
	char text[64], zone[8];
	struct tm tm;

	/* RFC 3339 wants a colon in the zone, which strftime does not write. */
	if (!real_ns || !localtime_r(&t, &tm) ||
	    !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm) ||
	    strftime(zone, sizeof(zone), "%z", &tm) != 5) {
		return "-";
	}
	return arena_printf(&cli->arena, "%s%.3s:%s", text, zone, zone + 3);
}

const char *cli_age(struct cli *cli, uint64_t since_real_ns)
{
	static const struct {
		uint64_t seconds;
		char letter;
	} units[] = { { 86400, 'd' }, { 3600, 'h' }, { 60, 'm' }, { 1, 's' } };
	uint64_t now = clock_real_ns();
	uint64_t s = since_real_ns && now > since_real_ns ? (now - since_real_ns) / NSEC_PER_SEC
							  : 0;

	if (!since_real_ns) {
		return "-";
	}
	for (size_t i = 0; i + 1 < ARRAY_LEN(units); i++) {
		if (s >= units[i].seconds) {
			return arena_printf(&cli->arena, "%" PRIu64 "%c %" PRIu64 "%c",
					    s / units[i].seconds, units[i].letter,
					    s % units[i].seconds / units[i + 1].seconds,
					    units[i + 1].letter);
		}
	}
	return arena_printf(&cli->arena, "%" PRIu64 "s", s);
}

const char *cli_kib(struct cli *cli, uint64_t kib)
{
	if (kib >= 10ULL << 20) {
		return arena_printf(&cli->arena, "%.1f GiB", (double)kib / (1 << 20));
	}
	if (kib >= 1024) {
		return arena_printf(&cli->arena, "%" PRIu64 " MiB", kib / 1024);
	}
	return arena_printf(&cli->arena, "%" PRIu64 " KiB", kib);
}
