/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `xenmesh __complete -- WORD... CURRENT`: what may stand in place of the last
 * word, for the completion of shells.
 *
 * A line each: the word, and perhaps a tab and a description.  `:files` asks
 * for names of files, `:nospace` says that the word goes on.  Says nothing else,
 * whatever is wrong, and waits for nobody who is away.
 */
#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "clients/cli/cli.h"
#include "clients/cli/optspec.h"
#include "clients/cli/schema.h"
#include "libcommon/clock.h"

#define CONNECT_MS  50	/* one that lives is connected to within a millisecond */
#define ANSWER_MS   400 /* people wait no longer for a tab */
#define PLAIN_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-"

struct completion {
	struct cli *cli;
	const char *current;
	const char *offer_prefix; /* in front of what is offered: "--service=", "vm=" */
	const char *part;	  /* what current has behind that */
	const struct cli_command *command;
	const char *method; /* first argument of the command, for fields */
	struct optspec options;
	bool is_nospace;
};

/* ---- offering ---- */

static void offer(struct completion *c, const char *word, const char *about)
{
	if (!str_starts(word, c->part)) {
		return;
	}
	printf("%s%s", c->offer_prefix, word);
	printf(*about ? "\t%s\n" : "\n", about);
	if (*word && strchr("=/", word[strlen(word) - 1])) {
		c->is_nospace = true;
	}
}

static void offer_len(struct completion *c, const char *word, size_t len)
{
	const char *text = arena_strndup(&c->cli->arena, word, len);

	if (text) {
		offer(c, text, "");
	}
}

/* ---- what services know ---- */

/* Whether a call of it has a prospect. */
static bool is_there(struct completion *c, const char *name)
{
	const struct topology_service *s = c->cli->topology
						   ? topology_service(c->cli->topology, name)
						   : NULL;
	const char *path = s && s->rpc.n_urls ? topology_url_path(s->rpc.urls[0]) : NULL;
	uint64_t end_ns = clock_boot_ns() + CONNECT_MS * NSEC_PER_MSEC;
	const struct bus_client *client;
	struct stat st;

	if (!path || stat(path, &st) < 0) {
		return false;
	}
	client = cli_client(c->cli, name);
	while (client && !bus_client_is_connected(client) && clock_boot_ns() < end_ns) {
		sd_event_run(c->cli->loop, CONNECT_MS * 100);
	}
	return client && bus_client_is_connected(client);
}

static const void *ask(struct completion *c, const char *service, const char *method,
		       const ProtobufCMessage *request)
{
	struct cli_pending call = { .service = service, .method = method, .request = request };

	if (!is_there(c, service)) {
		return NULL;
	}
	cli_call_all(c->cli, &call, 1, ANSWER_MS);
	return call.reply.payload;
}

static void offer_services(struct completion *c)
{
	for (size_t i = 0; c->cli->topology && i < topology_n_services(c->cli->topology); i++) {
		offer(c, topology_service_at(c->cli->topology, i)->name, "");
	}
}

/* A name that is no plain word is not one for the shell either: then the UUID. */
static void offer_vms(struct completion *c)
{
	Xenmesh__V1__ListVmsRequest request = XENMESH__V1__LIST_VMS_REQUEST__INIT;
	const Xenmesh__V1__ListVmsReply *reply = ask(c, "ops", "xenmesh.v1.Ops/ListVms",
						     &request.base);

	for (size_t i = 0; reply && i < reply->n_vms; i++) {
		const Xenmesh__V1__VmState *vm = reply->vms[i];
		bool is_plain = *vm->name && vm->name[0] != '-' &&
				!vm->name[strspn(vm->name, PLAIN_CHARS)];

		if (is_plain || uuid_is_canonical(vm->uuid)) {
			offer(c, is_plain ? vm->name : vm->uuid,
			      cli_enum(c->cli, &xenmesh__v1__power_state__descriptor,
				       (int)vm->power_state, "POWER_STATE_"));
		}
	}
}

static void offer_tasks(struct completion *c)
{
	Xenmesh__V1__ListTasksRequest request = XENMESH__V1__LIST_TASKS_REQUEST__INIT;
	const Xenmesh__V1__ListTasksReply *reply = ask(c, "ops", "xenmesh.v1.Ops/ListTasks",
						       &request.base);

	for (size_t i = 0; reply && i < reply->n_tasks; i++) {
		const Xenmesh__V1__Task *t = reply->tasks[i];

		if (!t->id[strspn(t->id, PLAIN_CHARS)]) {
			offer(c, t->id,
			      arena_printf(&c->cli->arena, "%s %s",
					   cli_text(c->cli, t->vm_name, strlen(t->vm_name)),
					   cli_text(c->cli, t->method, strlen(t->method))));
		}
	}
}

/* ---- topics ---- */

/* Topics up to the next slash behind what is there: "vm/", "vm/68df.../", each once. */
struct steps {
	struct completion *c;
	const char *last;
};

static void offer_step(struct steps *s, const char *topic)
{
	size_t len = strlen(s->c->part);
	const char *slash;

	if (!str_starts(topic, s->c->part) || topic[strspn(topic, PLAIN_CHARS "/")]) {
		return;
	}
	slash = strchr(topic + len, '/');
	topic = arena_strndup(&s->c->cli->arena, topic,
			      slash ? (size_t)(slash + 1 - topic) : strlen(topic));
	if (topic && !streq(topic, s->last)) {
		offer(s->c, topic, "");
		s->last = topic;
	}
}

static int compare_topics(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The topics of all local services that begin with what is there; NULL-terminated, sorted. */
static const char **live_topics(struct completion *c, size_t *n)
{
	Xenmesh__V1__SnapshotRequest request = XENMESH__V1__SNAPSHOT_REQUEST__INIT;
	size_t n_services = c->cli->topology ? topology_n_services(c->cli->topology) : 0;
	char *prefix = (char *)c->part;
	const char **topics = NULL;

	request.prefixes = &prefix;
	request.n_prefixes = 1;
	*n = 0;
	for (size_t i = 0; i < n_services; i++) {
		const Xenmesh__V1__ChangesReply *reply = ask(
			c, topology_service_at(c->cli->topology, i)->name,
			"xenmesh.v1.Bus/Snapshot", &request.base);
		const char **more = reply ? reallocarray(topics, *n + reply->n_events + 1,
							 sizeof(*topics))
					  : NULL;

		for (size_t k = 0; more && k < reply->n_events; k++) {
			more[(*n)++] = reply->events[k]->topic;
		}
		topics = more ? more : topics;
	}
	if (topics) {
		qsort(topics, *n, sizeof(*topics), compare_topics);
	}
	return topics;
}

static void offer_topics(struct completion *c)
{
	struct steps s = { .c = c, .last = "" };
	const char **topics;
	size_t n;

	/* The first segments are known without asking. */
	if (!strchr(c->part, '/')) {
		for (size_t i = 0; i < schema_n_topics; i++) {
			offer_step(&s, arena_strndup(&c->cli->arena, schema_topics[i].pattern,
						     strcspn(schema_topics[i].pattern, "/") + 1));
		}
		return;
	}
	topics = live_topics(c, &n);
	for (size_t i = 0; topics && i < n; i++) {
		offer_step(&s, topics[i]);
	}
	free(topics);
}

/* ---- what is compiled in ---- */

/* StartVm, Ops/StartVm, xenmesh.v1.Ops/StartVm or ops.StartVm: the form of what is there. */
static void offer_methods(struct completion *c)
{
	const char *dot = strrchr(c->part, '.');
	const char *service = dot ? arena_strndup(&c->cli->arena, c->part, (size_t)(dot - c->part))
				  : "";
	bool is_service = c->cli->topology && *service &&
			  topology_service(c->cli->topology, service);
	const char *host_end = strrchr(service, '/');
	const char *kind = host_end ? host_end + 1 : service;

	for (size_t i = 0; i < bus_n_methods; i++) {
		const struct bus_method *m = &bus_methods[i];
		const char *name = m->name;
		const char *owner = schema_method_service(m);

		if (is_service) {
			if (owner && !streq(owner, kind)) {
				continue;
			}
			name = arena_printf(&c->cli->arena, "%s.%s", service,
					    strrchr(name, '/') + 1);
		} else if (!strchr(c->part, '.')) {
			name = strrchr(name, strchr(c->part, '/') ? '.' : '/') + 1;
		}
		if (name) {
			offer(c, name, m->mutating ? "changes something" : "");
		}
	}
}

static void offer_type(const ProtobufCMessageDescriptor *message,
		       const ProtobufCEnumDescriptor *enumeration, void *userdata)
{
	struct completion *c = userdata;
	const char *name = message ? message->name : enumeration->name;

	offer(c, strchr(c->part, '.') ? name : strrchr(name, '.') + 1,
	      message ? "message" : "enum");
}

/* Values that a field can have: VMs, enums, booleans. */
static void offer_field_values(struct completion *c, const ProtobufCFieldDescriptor *f)
{
	if (f->type == PROTOBUF_C_TYPE_BOOL) {
		offer(c, "true", "");
		offer(c, "false", "");
	} else if (f->type == PROTOBUF_C_TYPE_ENUM) {
		const ProtobufCEnumDescriptor *e = f->descriptor;

		for (unsigned int i = 0; i < e->n_values; i++) {
			offer(c, e->values[i].name, "");
		}
	} else if (streq(f->name, "vm") || streq(f->name, "uuid")) {
		offer_vms(c);
	} else if (streq(f->name, "prefixes") || streq(f->name, "prefix")) {
		offer_topics(c);
	}
}

/* config.vcpus= and the like: fields of the message that the dots lead to, or a field's values. */
static void offer_fields(struct completion *c)
{
	const char *service, *p = c->current;
	size_t service_len;
	const struct bus_method *m = c->method ? schema_method(c->method, &service, &service_len)
					       : NULL;
	const ProtobufCMessageDescriptor *type = m ? m->input : NULL;

	while (type) {
		size_t len = strcspn(p, ".=[+");
		const char *name = arena_strndup(&c->cli->arena, p, len);
		const ProtobufCFieldDescriptor *f = NULL;

		if (!p[len] || !name) {
			break;
		}
		f = protobuf_c_message_descriptor_get_field_by_name(type, name);
		p += len;
		p += *p == '[' ? strcspn(p, "]") + (strchr(p, ']') != NULL) : 0;
		p += p[0] == '+' && p[1] == '=';
		if (!f || (*p != '.' && *p != '=')) {
			return;
		}
		p++;
		c->offer_prefix = arena_strndup(&c->cli->arena, c->current,
						(size_t)(p - c->current));
		c->part = p;
		if (p[-1] == '=') {
			offer_field_values(c, f);
			return;
		}
		type = f->type == PROTOBUF_C_TYPE_MESSAGE ? f->descriptor : NULL;
	}
	for (unsigned int i = 0; type && c->offer_prefix && i < type->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &type->fields[i];
		bool is_repeated = f->label == PROTOBUF_C_LABEL_REPEATED;
		const char *end = f->type == PROTOBUF_C_TYPE_MESSAGE ? (is_repeated ? "[]." : ".")
								     : (is_repeated ? "+=" : "=");
		const char *word = arena_printf(&c->cli->arena, "%s%s", f->name, end);

		if (word) {
			offer(c, word, schema_field_type(f));
			c->is_nospace = true;
		}
	}
}

/* ---- what may stand there ---- */

static void offer_kind(struct completion *c, struct optspec_word kind)
{
	if (optspec_is(kind, "VM")) {
		offer_vms(c);
	} else if (optspec_is(kind, "SERVICE")) {
		offer_services(c);
	} else if (optspec_is(kind, "METHOD")) {
		offer_methods(c);
	} else if (optspec_is(kind, "MESSAGE")) {
		schema_each_type(offer_type, c); /* and enums, which stand beside it */
	} else if (optspec_is(kind, "TOPIC") || optspec_is(kind, "PREFIX")) {
		offer_topics(c);
	} else if (optspec_is(kind, "ID") || optspec_is(kind, "TASK")) {
		offer_tasks(c);
	} else if (optspec_is(kind, "FILE") || optspec_is(kind, "DIR")) {
		puts(":files");
	} else if (optspec_is(kind, "@FILE")) {
		if (c->part[0] == '@') {
			puts(":files");
		}
	} else if (optspec_is(kind, "FIELD=VALUE")) {
		offer_fields(c);
	} else if (kind.len &&
		   (islower((unsigned char)kind.text[0]) || isdigit((unsigned char)kind.text[0]))) {
		offer_len(c, kind.text, kind.len);
	}
}

static void offer_alternatives(struct completion *c, struct optspec_word kinds)
{
	while (kinds.len) {
		offer_kind(c, optspec_next(&kinds));
	}
}

static void offer_options(struct completion *c)
{
	for (size_t i = 0; i < c->options.n; i++) {
		const struct optspec_word *name = &c->options.options[i].name;
		const char *word = name->len ? arena_printf(&c->cli->arena, "--%.*s",
							    (int)name->len, name->text)
					     : NULL;

		if (word) {
			offer(c, word, "");
		}
	}
}

/* The words that may follow these, each once; commands of a group stand together. */
static void offer_commands(struct completion *c, const char *typed)
{
	size_t len = strlen(typed);
	const char *last = "";

	for (const struct cli_command *k = cli_commands; k->words; k++) {
		const char *next = k->words + len + (len > 0);
		const char *word;

		if (!k->summary || strncmp(k->words, typed, len) != 0 ||
		    (len && k->words[len] != ' ')) {
			continue;
		}
		word = arena_strndup(&c->cli->arena, next, strcspn(next, " "));
		if (word && !streq(word, last)) {
			offer(c, word, next[strlen(word)] ? "" : k->summary);
			last = word;
		}
	}
}

/* ---- the command line so far ---- */

struct line {
	const char *typed;		      /* words of the command so far: "bus topology" */
	size_t n_arguments;		      /* behind the command */
	const struct optspec_option *pending; /* the option that wants the current word */
};

static void find_command(struct completion *c, const char *typed)
{
	for (const struct cli_command *k = cli_commands; k->words && *typed; k++) {
		if (k->summary && streq(k->words, typed)) {
			c->command = k;
			optspec_add(&c->options, k->args);
			optspec_add(&c->options, k->help ? k->help : "");
			return;
		}
	}
}

static void take_option(struct completion *c, const struct optspec_option *o, const char *value)
{
	if (optspec_is(o->name, "topology")) {
		c->cli->topology_path = value;
	} else if (optspec_is(o->name, "socket-dir")) {
		c->cli->socket_dir = value;
	}
}

static void scan(struct completion *c, int n, char **words, struct line *line)
{
	for (int i = 0; i < n; i++) {
		const char *value;
		const struct optspec_option *o = optspec_find(&c->options, words[i], &value);

		line->pending = NULL;
		if (o && o->value.len && !value) {
			if (i + 1 < n) {
				take_option(c, o, words[++i]);
			} else {
				line->pending = o;
			}
		} else if (o && value) {
			take_option(c, o, value);
		} else if (words[i][0] == '-' && words[i][1]) {
			continue;
		} else if (c->command) {
			c->method = line->n_arguments++ ? c->method : words[i];
		} else {
			line->typed = arena_printf(&c->cli->arena, "%s%s%s", line->typed,
						   *line->typed ? " " : "", words[i]);
			if (!line->typed) {
				line->typed = "";
			}
			find_command(c, line->typed);
		}
	}
}

/* Of a broken topology nothing is known; the user is told by the command itself. */
static void load_topology(struct cli *cli)
{
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;

	if (topology_load_in(&cli->topology, cli->topology_path, cli->socket_dir, &errors) < 0) {
		cli->topology = NULL;
	}
}

static void complete(struct completion *c, const struct line *line)
{
	const char *value;
	const struct optspec_option *o = optspec_find(&c->options, c->current, &value);

	if (line->pending) {
		offer_alternatives(c, line->pending->value);
	} else if (o && value && c->current[1] == '-') {
		c->offer_prefix = arena_strndup(&c->cli->arena, c->current,
						(size_t)(value - c->current));
		c->part = value;
		if (c->offer_prefix) {
			offer_alternatives(c, o->value);
		}
	} else if (c->current[0] == '-') {
		offer_options(c);
	} else if (c->command) {
		offer_alternatives(c, optspec_argument(c->command->args, line->n_arguments));
	} else {
		offer_commands(c, line->typed);
	}
	if (c->is_nospace) {
		puts(":nospace");
	}
}

int cmd_complete(struct cli *cli, int argc, char **argv)
{
	struct completion c = { .cli = cli, .offer_prefix = "" };
	struct line line = { .typed = "" };
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	if (null >= 0) {
		dup2(null, STDERR_FILENO);
		close(null);
	}
	if (argc < 2 || !streq(argv[0], "--")) {
		return CLI_USAGE;
	}
	c.current = argv[argc - 1];
	c.part = c.current;
	optspec_add(&c.options, cli_global_options);
	scan(&c, argc - 2, argv + 1, &line);
	load_topology(cli);
	complete(&c, &line);
	return CLI_OK;
}
