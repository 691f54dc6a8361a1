/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The topology as it was read: whether it is sound, where each value is from,
 * and a picture of it.
 */
#include "clients/cli/cmd_topology.h"

#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>

#include "clients/cli/cli.h"
#include "clients/cli/schema.h"
#include "libcommon/parse.h"

/* ---- check ---- */

/* What loading does not refuse, because a service starts all the same. */
struct findings {
	struct json_object *errors;
	struct json_object *warnings;
};

static void add_lines(struct json_object *list, const char *text)
{
	while (*text) {
		size_t len = strcspn(text, "\n");

		if (len) {
			json_object_array_add(list, json_object_new_string_len(text, (int)len));
		}
		text += len + (text[len] == '\n');
	}
}

static void add_finding(struct json_object *list, const char *format, ...) _printf_(2, 3);
static void add_finding(struct json_object *list, const char *format, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	json_object_array_add(list, json_object_new_string(text));
}

static bool user_exists(const char *name)
{
	uint32_t number;

	if (streq(name, "*")) {
		return true;
	}
	if (name[0] == '@') {
		return !parse_u32(name + 1, strlen(name + 1), UINT32_MAX, &number) ||
		       getgrnam(name + 1);
	}
	return !parse_u32(name, strlen(name), UINT32_MAX, &number) || getpwnam(name);
}

/* Names of [access] that nobody has match nobody, which is seldom what was meant. The groups of
 * the compiled-in defaults are only made by packages, so they are left in peace. */
static void check_setting(const char *section, const char *key, const char *value,
			  const struct conf_pos *pos, void *userdata)
{
	struct findings *f = userdata;

	if (!streq(section, "access") || pos->file[0] == '(') {
		return;
	}
	for (const char *p = value + strspn(value, " \t"); *p; p += strspn(p, " \t")) {
		size_t len = strcspn(p, " \t");
		char name[256];

		snprintf(name, sizeof(name), "%.*s", (int)len, p);
		if (!user_exists(name)) {
			add_finding(f->warnings, "%s:%u: %s: there is no %s %s on this host",
				    pos->file, pos->line, key, name[0] == '@' ? "group" : "user",
				    name + (name[0] == '@'));
		}
		p += len;
	}
}

static bool is_loopback(const char *url)
{
	return str_starts(url, "tcp://127.") || str_starts(url, "tcp://localhost:") ||
	       str_starts(url, "tcp://[::1]:");
}

/* One address of a service; `before` are the services already looked at. */
static void check_url(const struct topology *t, size_t before, const struct topology_service *s,
		      const char *url, struct findings *f)
{
	bool is_remote = strchr(s->name, '/') != NULL;

	for (size_t i = 0; i < before; i++) {
		const struct topology_service *other = topology_service_at(t, i);
		const struct topology_endpoint *both[] = { &other->pub, &other->rpc };

		for (size_t k = 0; k < 2 * TOPOLOGY_URLS_MAX; k++) {
			const struct topology_endpoint *e = both[k / TOPOLOGY_URLS_MAX];

			if (k % TOPOLOGY_URLS_MAX < e->n_urls &&
			    streq(e->urls[k % TOPOLOGY_URLS_MAX], url)) {
				add_finding(f->errors, "%s and %s have the same address %s",
					    other->name, s->name, url);
			}
		}
	}
	if (!is_remote && str_starts(url, "tcp://") && !is_loopback(url)) {
		add_finding(f->warnings,
			    "%s: whoever reaches %s reads everything, unencrypted; tls+tcp:// "
			    "asks for certificates",
			    s->name, url);
	}
}

static void check_service(const struct topology *t, size_t i, struct findings *f)
{
	const struct topology_service *s = topology_service_at(t, i);

	if (!s->pub.n_urls || !s->rpc.n_urls) {
		add_finding(f->warnings, "%s has no %s: it cannot be %s", s->name,
			    s->pub.n_urls ? "rpc" : "pub",
			    s->pub.n_urls ? "called" : "subscribed to");
	}
	for (size_t k = 0; k < s->pub.n_urls; k++) {
		check_url(t, i, s, s->pub.urls[k], f);
		for (size_t l = 0; l < s->rpc.n_urls; l++) {
			if (streq(s->pub.urls[k], s->rpc.urls[l])) {
				add_finding(f->errors,
					    "%s has the same address for pub and rpc: %s", s->name,
					    s->rpc.urls[l]);
			}
		}
	}
	for (size_t k = 0; k < s->rpc.n_urls; k++) {
		check_url(t, i, s, s->rpc.urls[k], f);
	}
}

void topology_find(const struct topology *t, struct json_object *errors,
		   struct json_object *warnings)
{
	struct findings f = { errors, warnings };

	topology_each_setting(t, check_setting, &f);
	for (size_t i = 0; i < topology_n_services(t); i++) {
		check_service(t, i, &f);
	}
}

/* t: NULL when `file` cannot be used; that may be NULL, too. */
static int report(struct cli *cli, const struct topology *t, const char *file, struct findings *f)
{
	size_t n_errors = json_object_array_length(f->errors);
	size_t n_warnings = json_object_array_length(f->warnings);

	if (cli->json) {
		struct json_object *o = json_object_new_object();

		file = t ? topology_origin(t) : file;
		json_object_object_add(o, "file", file ? json_object_new_string(file) : NULL);
		json_object_object_add(o, "ok", json_object_new_boolean(!n_errors));
		json_object_object_add(o, "errors", json_object_get(f->errors));
		json_object_object_add(o, "warnings", json_object_get(f->warnings));
		cli_print_json(o);
		return n_errors ? CLI_FAILURE : CLI_OK;
	}
	for (size_t i = 0; i < n_errors; i++) {
		cli_error("%s", json_object_get_string(json_object_array_get_idx(f->errors, i)));
	}
	for (size_t i = 0; i < n_warnings; i++) {
		cli_error("warning: %s",
			  json_object_get_string(json_object_array_get_idx(f->warnings, i)));
	}
	if (t && !n_errors) {
		printf("%s: %zu services, no errors, %zu warnings\n", topology_origin(t),
		       topology_n_services(t), n_warnings);
	}
	return n_errors ? CLI_FAILURE : CLI_OK;
}

/* Reads the topology itself: main() would end at the first mistake. */
int cmd_bus_topology_check(struct cli *cli, int argc, char **argv)
{
	_cleanup_(topology_freep) struct topology *t = NULL;
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	struct findings f;
	const char *file;
	int r = cli_options(&argc, argv, NULL, 0);

	if (r || argc > 1) {
		return r ? r : cli_usage("bus topology check takes one file at most");
	}
	file = argc ? argv[0] : cli->topology_path;
	f.errors = json_object_new_array();
	f.warnings = json_object_new_array();
	r = topology_load_in(&t, file, cli->socket_dir, &errors);
	if (r < 0) {
		add_lines(f.errors, errors.len ? strbuf_str(&errors) : strerror(-r));
	} else {
		topology_find(t, f.errors, f.warnings);
	}
	r = report(cli, t, file ? file : getenv("XENMESH_TOPOLOGY"), &f);
	json_object_put(f.errors);
	json_object_put(f.warnings);
	return r;
}

/* ---- show ---- */

struct showing {
	struct cli *cli;
	const char *section; /* that is being printed; in cli->arena */
	bool with_origin;
};

static void show_json(const char *section, const char *key, const char *value,
		      const struct conf_pos *pos)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "section", json_object_new_string(section));
	json_object_object_add(o, "key", json_object_new_string(key));
	json_object_object_add(o, "value", json_object_new_string(value));
	json_object_object_add(o, "file", json_object_new_string(pos->file));
	json_object_object_add(o, "line", json_object_new_int64(pos->line));
	cli_print_json(o);
}

static void show_setting(const char *section, const char *key, const char *value,
			 const struct conf_pos *pos, void *userdata)
{
	struct showing *s = userdata;

	if (s->cli->json) {
		show_json(section, key, value, pos);
		return;
	}
	if (!s->section || !streq(s->section, section)) {
		printf("%s[%s]\n", s->section ? "\n" : "", section);
		s->section = arena_strndup(&s->cli->arena, section, strlen(section));
	}
	/* A comment after a value is one only behind " ;", so the output is a topology still. */
	if (s->with_origin) {
		printf("%s = %-*s ; %s:%u\n", key, (int)(40 - MIN(strlen(key), 30)), value,
		       pos->file, pos->line);
	} else {
		printf("%s = %s\n", key, value);
	}
}

int cmd_bus_topology_show(struct cli *cli, int argc, char **argv)
{
	struct showing s = { .cli = cli };
	const struct cli_option options[] = { { "origin", 0, NULL, &s.with_origin } };
	int r = cli_options(&argc, argv, options, ARRAY_LEN(options));

	if (r || argc) {
		return r ? r : cli_usage("bus topology show takes no arguments");
	}
	topology_each_setting(cli->topology, show_setting, &s);
	return CLI_OK;
}

/* ---- dot ---- */

static size_t host_len(const char *name)
{
	const char *slash = strchr(name, '/');

	return slash ? (size_t)(slash - name) : 0;
}

static void dot_endpoint(const char *service, const char *kind, const struct topology_endpoint *e)
{
	if (!e->n_urls) {
		return;
	}
	printf("    \"%s.%s\" [shape=ellipse, label=\"%s", service, kind, kind);
	for (size_t i = 0; i < e->n_urls; i++) {
		printf("\\n%s", e->urls[i]);
	}
	printf("\"];\n");
	printf(kind[0] == 'p' ? "    \"%s\" -> \"%s.pub\";\n" : "    \"%s.rpc\" -> \"%s\";\n",
	       service, service);
}

static void dot_service(const struct topology_service *s)
{
	size_t host = host_len(s->name);

	printf("    \"%s\" [shape=box, style=bold, label=\"%s", s->name,
	       s->name + host + (host > 0));
	for (size_t i = 0; i < schema_n_topics; i++) {
		if (streq(schema_topics[i].service, s->name + host + (host > 0))) {
			printf("\\n%s", schema_topics[i].pattern);
		}
	}
	printf("\"];\n");
	dot_endpoint(s->name, "pub", &s->pub);
	dot_endpoint(s->name, "rpc", &s->rpc);
}

/* Who of the same host subscribes to whom. */
static void dot_readers(const struct topology *t, const struct topology_service *s)
{
	size_t host = host_len(s->name);
	const char *name = s->name + host + (host > 0);

	for (size_t i = 0; i < schema_n_topics; i++) {
		char reader[160];

		snprintf(reader, sizeof(reader), "%.*s%s", (int)(host + (host > 0)), s->name,
			 schema_topics[i].reader);
		if (streq(schema_topics[i].service, name) && schema_topics[i].reader[0] &&
		    s->pub.n_urls && topology_service(t, reader)) {
			printf("  \"%s.pub\" -> \"%s\" [style=dashed, label=\"%s\"];\n", s->name,
			       reader, schema_topics[i].pattern);
		}
	}
}

/* All services of the host that the i-th is the first of. */
static void dot_host(const struct topology *t, size_t first)
{
	const char *name = topology_service_at(t, first)->name;
	size_t len = host_len(name);

	printf("  subgraph \"cluster_%zu\" {\n    label=\"%.*s\";\n", first,
	       len ? (int)len : (int)strlen("this host"), len ? name : "this host");
	for (size_t i = first; i < topology_n_services(t); i++) {
		const struct topology_service *s = topology_service_at(t, i);

		if (host_len(s->name) == len && !strncmp(s->name, name, len)) {
			dot_service(s);
		}
	}
	printf("  }\n");
}

static bool is_first_of_host(const struct topology *t, size_t index)
{
	const char *name = topology_service_at(t, index)->name;
	size_t len = host_len(name);

	for (size_t i = 0; i < index; i++) {
		const char *other = topology_service_at(t, i)->name;

		if (host_len(other) == len && !strncmp(other, name, len)) {
			return false;
		}
	}
	return true;
}

static int dot_as_json(const struct topology *t)
{
	for (size_t i = 0; i < topology_n_services(t); i++) {
		const struct topology_service *s = topology_service_at(t, i);
		struct json_object *o = json_object_new_object();
		const struct topology_endpoint *both[] = { &s->pub, &s->rpc };
		size_t host = host_len(s->name);

		json_object_object_add(o, "service", json_object_new_string(s->name));
		json_object_object_add(
			o, "host", host ? json_object_new_string_len(s->name, (int)host) : NULL);
		for (size_t k = 0; k < ARRAY_LEN(both); k++) {
			struct json_object *urls = json_object_new_array();

			for (size_t u = 0; u < both[k]->n_urls; u++) {
				json_object_array_add(urls,
						      json_object_new_string(both[k]->urls[u]));
			}
			json_object_object_add(o, k ? "rpc" : "pub", urls);
		}
		cli_print_json(o);
	}
	return CLI_OK;
}

int cmd_bus_topology_dot(struct cli *cli, int argc, char **argv)
{
	const struct topology *t = cli->topology;
	int r = cli_options(&argc, argv, NULL, 0);

	if (r || argc) {
		return r ? r : cli_usage("bus topology dot takes no arguments");
	}
	if (cli->json) {
		return dot_as_json(t);
	}
	puts("digraph xenmesh {\n  rankdir=LR;");
	for (size_t i = 0; i < topology_n_services(t); i++) {
		if (is_first_of_host(t, i)) {
			dot_host(t, i);
		}
	}
	for (size_t i = 0; i < topology_n_services(t); i++) {
		dot_readers(t, topology_service_at(t, i));
	}
	puts("}");
	return CLI_OK;
}
