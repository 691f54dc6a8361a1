/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * topology.conf.  Values are kept as written until all files are read, because
 * a drop-in may still change run_dir; then `@run@` is filled in and every URL
 * is checked.
 */
#include "bus/topology.h"

#include <ctype.h>
#include <stdio.h>
#include <sys/un.h>

#include "bus/access.h"
#include "bus/engine.h"
#include "bus/sp_address.h"
#include "bus/tls.h"
#include "bus/topology_defaults.h"
#include "libcommon/conf.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/parse.h"

#define SERVICES_MAX 1024 /* 16 services of 64 hosts */
#define NAME_MAX_    64
#define URL_MAX	     512
#define RUN_MARK     "@run@"

/* A value as written, and where. */
struct raw {
	char *value;
	char *file;
	unsigned int line;
};

/* A value that holds, for people. */
struct setting {
	char *section;
	char *key;
	struct raw raw;
};

struct service {
	struct topology_service pub; /* what callers see */
	struct raw raw_pub;
	struct raw raw_rpc;
};

struct topology {
	struct service **services; /* by pointer: callers keep them */
	size_t n_services;
	struct access access;
	struct bus_tls *tls;
	const struct bus_engine *engine;
	struct raw run_dir;
	struct setting *settings;
	size_t n_settings;
	char *origin;
	bool has_file;
};

static void endpoint_deinit(struct topology_endpoint *e)
{
	for (size_t i = 0; i < e->n_urls; i++) {
		free(e->urls[i]);
	}
	*e = (struct topology_endpoint){ 0 };
}

static void raw_deinit(struct raw *r)
{
	free(r->value);
	free(r->file);
	*r = (struct raw){ 0 };
}

static int raw_set(struct raw *r, const char *value, const struct conf_pos *pos)
{
	struct raw fresh = { strdup(value), strdup(pos->file), pos->line };

	if (!fresh.value || !fresh.file) {
		raw_deinit(&fresh);
		return -ENOMEM;
	}
	raw_deinit(r);
	*r = fresh;
	return 0;
}

static struct service *service_free(struct service *s)
{
	if (s) {
		free(s->pub.name);
		endpoint_deinit(&s->pub.pub);
		endpoint_deinit(&s->pub.rpc);
		raw_deinit(&s->raw_pub);
		raw_deinit(&s->raw_rpc);
		free(s);
	}
	return NULL;
}

struct topology *topology_free(struct topology *t)
{
	if (t) {
		for (size_t i = 0; i < t->n_services; i++) {
			service_free(t->services[i]);
		}
		free(t->services);
		for (size_t i = 0; i < t->n_settings; i++) {
			free(t->settings[i].section);
			free(t->settings[i].key);
			raw_deinit(&t->settings[i].raw);
		}
		free(t->settings);
		access_deinit(&t->access);
		bus_tls_unref(t->tls);
		raw_deinit(&t->run_dir);
		free(t->origin);
		free(t);
	}
	return NULL;
}

static struct service *find(const struct topology *t, const char *name)
{
	for (size_t i = 0; i < t->n_services; i++) {
		if (streq(t->services[i]->pub.name, name)) {
			return t->services[i];
		}
	}
	return NULL;
}

/* The service of that name, made if need be; NULL when out of memory or over the limit. */
static struct service *ensure(struct topology *t, const char *name)
{
	struct service **more, *s = find(t, name);

	if (s || t->n_services >= SERVICES_MAX) {
		return s;
	}
	more = realloc(t->services, (t->n_services + 1) * sizeof(struct service *));
	if (!more) {
		return NULL;
	}
	t->services = more;
	s = calloc(1, sizeof(*s));
	if (!s) {
		return NULL;
	}
	s->pub.name = strdup(name);
	if (!s->pub.name) {
		return service_free(s);
	}
	t->services[t->n_services++] = s;
	return s;
}

static bool is_name(const char *text, size_t len, const char *also)
{
	if (len == 0 || len > NAME_MAX_ || !isalnum((unsigned char)text[0])) {
		return false;
	}
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)text[i]) && !strchr(also, text[i])) {
			return false;
		}
	}
	return true;
}

static int set_endpoint(struct topology *t, const char *service, const char *key, const char *value,
			const struct conf_pos *pos, struct strbuf *errors)
{
	struct service *s;

	if (!streq(key, "pub") && !streq(key, "rpc")) {
		conf_complain(errors, pos, "unknown key '%s'; known here are pub and rpc", key);
		return -EINVAL;
	}
	s = ensure(t, service);
	if (!s) {
		conf_complain(errors, pos, "more than %d services, or out of memory", SERVICES_MAX);
		return -EINVAL;
	}
	return raw_set(key[0] == 'p' ? &s->raw_pub : &s->raw_rpc, value, pos);
}

static int set_service(struct topology *t, const char *name, const char *key, const char *value,
		       const struct conf_pos *pos, struct strbuf *errors)
{
	if (!is_name(name, strlen(name), "-_")) {
		conf_complain(errors, pos, "[service %s]: a name has letters, digits, - and _",
			      name);
		return -EINVAL;
	}
	return set_endpoint(t, name, key, value, pos, errors);
}

static int set_host(struct topology *t, const char *host, const char *key, const char *value,
		    const struct conf_pos *pos, struct strbuf *errors)
{
	const char *dot = strrchr(key, '.');
	char name[2 * NAME_MAX_ + 2];

	if (!is_name(host, strlen(host), "-_.")) {
		conf_complain(errors, pos, "[host %s]: a name has letters, digits, -, _ and .",
			      host);
		return -EINVAL;
	}
	if (!dot || !is_name(key, (size_t)(dot - key), "-_")) {
		conf_complain(errors, pos, "key '%s' is not SERVICE.pub or SERVICE.rpc", key);
		return -EINVAL;
	}
	snprintf(name, sizeof(name), "%s/%.*s", host, (int)(dot - key), key);
	return set_endpoint(t, name, dot + 1, value, pos, errors);
}

static int set_access(struct topology *t, const char *key, const char *value,
		      const struct conf_pos *pos, struct strbuf *errors)
{
	for (int role = ROLE_OBSERVER; role <= ROLE_ADMIN; role++) {
		if (streq(key, bus_role_name(role))) {
			return access_set(&t->access, role, value, pos, errors);
		}
	}
	conf_complain(errors, pos, "unknown key '%s'; the roles are observer, operator and admin",
		      key);
	return -EINVAL;
}

static int set_tls(struct topology *t, const char *key, const char *value,
		   const struct conf_pos *pos, struct strbuf *errors)
{
	for (enum bus_tls_file file = 0; file < BUS_TLS_FILES; file++) {
		if (!streq(key, bus_tls_file_name(file))) {
			continue;
		}
		if (value[0] != '\0' && value[0] != '/') {
			conf_complain(errors, pos, "%s '%s' is not an absolute path", key, value);
			return -EINVAL;
		}
		return bus_tls_set(t->tls, file, value, pos->file, pos->line);
	}
	conf_complain(errors, pos, "unknown key '%s'; known here are ca, cert, key and crl", key);
	return -EINVAL;
}

static int set_bus(struct topology *t, const char *key, const char *value,
		   const struct conf_pos *pos, struct strbuf *errors)
{
	if (streq(key, "run_dir")) {
		return raw_set(&t->run_dir, value, pos);
	}
	if (!streq(key, "engine")) {
		conf_complain(errors, pos, "unknown key '%s'; known here are run_dir and engine",
			      key);
		return -EINVAL;
	}
	if (!streq(value, "native") && !streq(value, "nng")) {
		conf_complain(errors, pos, "unknown engine '%s'; there are native and nng", value);
		return -EINVAL;
	}
	t->engine = value[1] == 'a' ? &bus_engine_sp : &bus_engine_nng;
	return 0;
}

static int set_key(struct topology *t, const char *section, const char *key, const char *value,
		   const struct conf_pos *pos, struct strbuf *errors)
{
	t->has_file = true;
	if (str_starts(section, "service ")) {
		return set_service(t, section + strlen("service "), key, value, pos, errors);
	}
	if (str_starts(section, "host ")) {
		return set_host(t, section + strlen("host "), key, value, pos, errors);
	}
	if (streq(section, "access")) {
		return set_access(t, key, value, pos, errors);
	}
	if (streq(section, "tls")) {
		return set_tls(t, key, value, pos, errors);
	}
	if (streq(section, "bus")) {
		return set_bus(t, key, value, pos, errors);
	}
	conf_complain(errors, pos,
		      "unknown section [%s]; known are [bus], [access], [tls], [service NAME] and "
		      "[host NAME]",
		      section);
	return -EINVAL;
}

/* The later value of a key counts, and stands where the first one stood. */
static int remember(struct topology *t, const char *section, const char *key, const char *value,
		    const struct conf_pos *pos)
{
	struct setting *more, *s;

	for (size_t i = 0; i < t->n_settings; i++) {
		s = &t->settings[i];
		if (streq(s->section, section) && streq(s->key, key)) {
			return raw_set(&s->raw, value, pos);
		}
	}
	more = reallocarray(t->settings, t->n_settings + 1, sizeof(*more));
	if (!more) {
		return -ENOMEM;
	}
	t->settings = more;
	s = &more[t->n_settings];
	*s = (struct setting){ .section = strdup(section), .key = strdup(key) };
	if (!s->section || !s->key || raw_set(&s->raw, value, pos) < 0) {
		free(s->section);
		free(s->key);
		return -ENOMEM;
	}
	t->n_settings++;
	return 0;
}

static int on_key(const char *section, const char *key, const char *value,
		  const struct conf_pos *pos, struct strbuf *errors, void *userdata)
{
	struct topology *t = userdata;
	int r = set_key(t, section, key, value, pos, errors);

	return r < 0 ? r : remember(t, section, key, value, pos);
}

static bool is_plain(const char *text)
{
	for (const char *p = text; *p; p++) {
		if (*p <= ' ' || *p > '~') {
			return false;
		}
	}
	return true;
}

const char *topology_url_path(const char *url)
{
	return str_starts(url, "ipc://") ? url + strlen("ipc://") : NULL;
}

/* What is wrong with a URL, for people; NULL when nothing. */
static const char *url_fault(const char *url)
{
	const char *path = topology_url_path(url);
	struct sp_address address;
	const char *host;

	if (!is_plain(url)) {
		return "has characters that are not printable ASCII";
	}
	if (path) {
		if (path[0] != '/' || path[1] == '\0') {
			return "needs an absolute path, as ipc:///run/xenmesh/ops/rpc";
		}
		return strlen(path) < sizeof(((struct sockaddr_un *)0)->sun_path)
			       ? NULL
			       : "has a path of more than 107 bytes; choose a shorter run_dir";
	}
	host = strstr(url, "://");
	if (!str_starts(url, "tcp://") && !str_starts(url, "tls+tcp://")) {
		return "is none of ipc:///PATH, tcp://HOST:PORT and tls+tcp://HOST:PORT";
	}
	if (strchr(host + strlen("://"), '/')) {
		return "has a path, which only ipc:// takes";
	}
	return sp_address_parse(&address, url) < 0
		       ? "needs a host (an IPv6 address in brackets) and a port from 1 to 65535, "
			 "as tls+tcp://10.0.0.2:7101"
		       : NULL;
}

/* One URL with `@run@` filled in, malloc'ed. */
static char *expand(const struct topology *t, const char *text, size_t len)
{
	const char *end = text + len;
	struct strbuf out = STRBUF_NULL;

	while (text < end) {
		const char *mark = memmem(text, (size_t)(end - text), RUN_MARK, strlen(RUN_MARK));

		strbuf_append(&out, text, (size_t)((mark ? mark : end) - text));
		if (!mark) {
			break;
		}
		strbuf_puts(&out, t->run_dir.value);
		text = mark + strlen(RUN_MARK);
	}
	return strbuf_steal(&out);
}

static int resolve(const struct topology *t, const struct raw *raw, struct topology_endpoint *out,
		   struct strbuf *errors)
{
	const struct conf_pos pos = { raw->file, raw->line };
	int r = 0;

	out->engine = t->engine;
	out->tls = t->tls;
	if (!raw->value) {
		return 0;
	}
	for (const char *p = raw->value + strspn(raw->value, " \t"); *p; p += strspn(p, " \t")) {
		size_t len = strcspn(p, " \t");
		const char *fault;
		char *url;

		if (out->n_urls == TOPOLOGY_URLS_MAX || len > URL_MAX) {
			conf_complain(errors, &pos, "more than %d URLs or %d characters in one",
				      TOPOLOGY_URLS_MAX, URL_MAX);
			return -EINVAL;
		}
		url = expand(t, p, len);
		if (!url) {
			return -ENOMEM;
		}
		out->urls[out->n_urls++] = url;
		fault = url_fault(url);
		if (!fault && str_starts(url, "tls+tcp://") && !bus_tls_is_complete(t->tls)) {
			fault = "needs ca, cert and key in [tls]";
		}
		if (fault) {
			conf_complain(errors, &pos, "'%s' %s", url, fault);
			r = -EINVAL;
		}
		p += len;
	}
	return r;
}

static int resolve_all(struct topology *t, struct strbuf *errors)
{
	const char *dir = t->run_dir.value;
	int result = 0;
	int r;

	if (dir[0] != '/' || !is_plain(dir)) {
		const struct conf_pos pos = { t->run_dir.file, t->run_dir.line };

		conf_complain(errors, &pos, "run_dir '%s' is not an absolute path without blanks",
			      dir);
		return -EINVAL;
	}
	for (size_t i = 0; i < t->n_services; i++) {
		struct service *s = t->services[i];

		r = resolve(t, &s->raw_pub, &s->pub.pub, errors);
		result = r < 0 ? r : result;
		r = resolve(t, &s->raw_rpc, &s->pub.rpc, errors);
		result = r < 0 ? r : result;
	}
	return result;
}

static int load(struct topology *t, const char *path, const char *run_dir, struct strbuf *errors)
{
	const struct conf_pos by_caller = { "--socket-dir", 1 };
	const char *env = secure_getenv("XENMESH_TOPOLOGY");
	bool is_named = path || (env && env[0]);
	int r, parsed;

	r = conf_parse("(defaults)", TOPOLOGY_DEFAULTS, strlen(TOPOLOGY_DEFAULTS), on_key, t,
		       errors);
	if (r < 0) {
		return err_trace(r);
	}
	t->has_file = false;
	path = path ? path : is_named ? env : TOPOLOGY_DEFAULT_PATH;
	parsed = conf_load(path, true, on_key, t, errors);
	if (parsed == -ENOENT && is_named) {
		strbuf_printf(errors, "%s: no such file; create it or name another one\n", path);
		return -EINVAL;
	}
	if (parsed < 0 && parsed != -ENOENT) {
		return parsed;
	}
	t->origin = strdup(t->has_file || parsed == 0 ? path : "(defaults)");
	r = run_dir ? on_key("bus", "run_dir", run_dir, &by_caller, errors, t) : 0;
	if (r < 0 || !t->origin) {
		return r < 0 ? r : -ENOMEM;
	}
	return resolve_all(t, errors);
}

int topology_load_in(struct topology **out, const char *path, const char *run_dir,
		     struct strbuf *errors)
{
	_cleanup_(topology_freep) struct topology *t = calloc(1, sizeof(*t));
	int r;

	if (!t) {
		return -ENOMEM;
	}
	t->engine = &bus_engine_sp;
	t->tls = bus_tls_new();
	r = t->tls ? load(t, path, run_dir, errors) : -ENOMEM;
	if (r < 0) {
		return r;
	}
	*out = STEAL(t);
	return 0;
}

int topology_load(struct topology **out, const char *path, struct strbuf *errors)
{
	return topology_load_in(out, path, NULL, errors);
}

void topology_each_setting(const struct topology *t, topology_setting_fn fn, void *userdata)
{
	for (size_t i = 0; i < t->n_settings; i++) {
		const struct setting *s = &t->settings[i];
		const struct conf_pos pos = { s->raw.file, s->raw.line };

		fn(s->section, s->key, s->raw.value, &pos, userdata);
	}
}

const struct topology_service *topology_service(const struct topology *t, const char *name)
{
	const struct service *s = find(t, name);

	return s ? &s->pub : NULL;
}

size_t topology_n_services(const struct topology *t)
{
	return t->n_services;
}

const struct topology_service *topology_service_at(const struct topology *t, size_t i)
{
	return i < t->n_services ? &t->services[i]->pub : NULL;
}

const char *topology_run_dir(const struct topology *t)
{
	return t->run_dir.value;
}

const char *topology_origin(const struct topology *t)
{
	return t->origin;
}

struct bus_tls *topology_tls(const struct topology *t)
{
	return t->tls;
}

int topology_resolve_access(struct topology *t)
{
	return access_resolve(&t->access, topology_origin(t));
}

int topology_role(const struct topology *t, uid_t uid, gid_t gid, const gid_t *gids, size_t n_gids)
{
	return access_role(&t->access, uid, gid, gids, n_gids);
}
