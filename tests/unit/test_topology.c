/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * topology.conf: defaults, overrides, mistakes; roles of users; names of
 * methods, codes and roles.
 */
#include "bus/topology.h"

#include "bus/codes.h"
#include "bus/engine.h"
#include "bus/methods.h"
#include "bus/tls.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "tests/unit/bus_util.h"
#include "tests/unit/unit.h"

#define NOBODY 65534 /* of Debian: user nobody, group nogroup */

static int load_text(struct topology **t, const struct bus_dir *dir, const char *text,
		     struct strbuf *errors)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/topology.conf", dir->path);
	f = fopen(path, "we");
	if (!f) {
		return err_errno();
	}
	fputs(text, f);
	fclose(f);
	return topology_load(t, path, errors);
}

static void assert_same_endpoint(const struct topology_endpoint *a,
				 const struct topology_endpoint *b)
{
	CU_ASSERT_EQUAL(a->n_urls, b->n_urls);
	for (size_t i = 0; i < a->n_urls && i < b->n_urls; i++) {
		CU_ASSERT_STRING_EQUAL(a->urls[i], b->urls[i]);
	}
}

/* The last warning. */
static char kept_log[512];

static void keep_log(enum log_level level, const char *message,
		     const struct log_field *fields _unused_, size_t n_fields _unused_)
{
	if (level <= LOG_LEVEL_WARNING) {
		snprintf(kept_log, sizeof(kept_log), "%s", message);
	}
}

static int role_of(const struct topology *t, uid_t uid, gid_t gid)
{
	return topology_role(t, uid, gid, NULL, 0);
}

static void assert_roles(struct topology *t, int nobody, int daemon)
{
	CU_ASSERT_EQUAL(topology_resolve_access(t), 0);
	CU_ASSERT_EQUAL(role_of(t, 0, 0), ROLE_ADMIN);
	CU_ASSERT_EQUAL(role_of(t, geteuid(), getegid()), ROLE_ADMIN);
	CU_ASSERT_EQUAL(role_of(t, NOBODY, NOBODY), nobody);
	CU_ASSERT_EQUAL(role_of(t, 1, 1), daemon);
}

struct seen {
	const char *want_section, *want_key;
	char value[128];
	char place[256];
	int n;
};

static void on_setting(const char *section, const char *key, const char *value,
		       const struct conf_pos *pos, void *userdata)
{
	struct seen *s = userdata;

	if (!strcmp(section, s->want_section) && !strcmp(key, s->want_key)) {
		snprintf(s->value, sizeof(s->value), "%s", value);
		snprintf(s->place, sizeof(s->place), "%s:%u", pos->file, pos->line);
		s->n++;
	}
}

static void assert_setting(const struct topology *t, const char *section, const char *key,
			   const char *value, const char *place)
{
	struct seen seen = { .want_section = section, .want_key = key };

	topology_each_setting(t, on_setting, &seen);
	CU_ASSERT_EQUAL(seen.n, 1);
	CU_ASSERT_STRING_EQUAL(seen.value, value);
	CU_ASSERT_PTR_NOT_NULL(strstr(seen.place, place));
}

/* Each value is told once, with the place that it is from; the caller's run_dir beats the file's.
 */
static void test_origin_of_values(void)
{
	_cleanup_(topology_freep) struct topology *t = NULL, *moved = NULL;
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	struct bus_dir dir;
	char path[128];

	bus_dir_make(&dir);
	snprintf(path, sizeof(path), "%s/topology.conf", dir.path);
	CU_ASSERT_EQUAL(load_text(&t, &dir,
				  "[bus]\nrun_dir = /run/other\n\n[service ops]\n"
				  "rpc = ipc://@run@/o\nrpc = ipc://@run@/p\n",
				  &errors),
			0);
	assert_setting(t, "bus", "run_dir", "/run/other", "topology.conf:2");
	assert_setting(t, "service ops", "rpc", "ipc://@run@/p", "topology.conf:6");
	assert_setting(t, "access", "observer", "*", "(defaults):");
	CU_ASSERT_EQUAL(topology_load_in(&moved, path, "/run/moved", &errors), 0);
	assert_setting(moved, "bus", "run_dir", "/run/moved", "--socket-dir:1");
	CU_ASSERT_STRING_EQUAL(topology_run_dir(moved), "/run/moved");
	CU_ASSERT_STRING_EQUAL(topology_service(moved, "ops")->rpc.urls[0], "ipc:///run/moved/p");
	moved = topology_free(moved);
	CU_ASSERT_EQUAL(topology_load_in(&moved, path, "not/absolute", &errors), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(strbuf_str(&errors), "--socket-dir"));
	bus_dir_remove(&dir);
}

/* What is shipped is what is compiled in. */
static void test_shipped_file(void)
{
	_cleanup_(topology_freep) struct topology *shipped = NULL, *defaults = NULL;
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	struct bus_dir dir;

	CU_ASSERT_EQUAL(topology_load(&shipped, "deploy/topology.conf", &errors), 0);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&errors), "");
	bus_dir_make(&dir);
	CU_ASSERT_EQUAL(load_text(&defaults, &dir, "", &errors), 0);
	bus_dir_remove(&dir);
	if (!shipped || !defaults) {
		return;
	}
	CU_ASSERT_STRING_EQUAL(topology_run_dir(shipped), topology_run_dir(defaults));
	CU_ASSERT_EQUAL(topology_n_services(shipped), 3);
	CU_ASSERT_EQUAL(topology_n_services(defaults), 3);
	for (size_t i = 0; i < topology_n_services(defaults); i++) {
		const struct topology_service *d = topology_service_at(defaults, i);
		const struct topology_service *s = topology_service(shipped, d->name);

		CU_ASSERT_PTR_NOT_NULL(s);
		if (s) {
			assert_same_endpoint(&s->pub, &d->pub);
			assert_same_endpoint(&s->rpc, &d->rpc);
			CU_ASSERT_EQUAL(s->rpc.n_urls, 1);
		}
	}
	CU_ASSERT_STRING_EQUAL(topology_service(shipped, "agent-bridge")->rpc.urls[0],
			       "ipc:///run/xenmesh/agent-bridge/rpc");
	CU_ASSERT_PTR_NULL(topology_service(shipped, "nobody"));
	CU_ASSERT_PTR_NULL(topology_service_at(shipped, 3));
	assert_roles(shipped, ROLE_OBSERVER, ROLE_OBSERVER);
	assert_roles(defaults, ROLE_OBSERVER, ROLE_OBSERVER);
}

static void test_overrides(void)
{
	_cleanup_(topology_freep) struct topology *t = NULL;
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	const struct topology_service *s;
	char path[128];
	struct bus_dir dir;
	FILE *f;

	bus_dir_make(&dir);
	snprintf(path, sizeof(path), "%s/topology.d", dir.path);
	CU_ASSERT_EQUAL(mkdir(path, 0755), 0);
	snprintf(path, sizeof(path), "%s/topology.d/50-site.conf", dir.path);
	f = fopen(path, "we");
	fputs("[bus]\nrun_dir = /tmp/x\n"
	      "[service ops]\nrpc = ipc://@run@/ops/rpc tcp://[::1]:7102\n"
	      "[service metrics]\npub =\n",
	      f);
	fclose(f);
	CU_ASSERT_EQUAL(load_text(&t, &dir,
				  "[bus]\nrun_dir = /tmp/y\n"
				  "[service mine]\npub = ipc://@run@/@run@\n"
				  "[host blue.example]\nops.rpc = tcp://10.0.0.2:7102\n",
				  &errors),
			0);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&errors), "");
	bus_dir_remove(&dir);
	if (!t) {
		return;
	}
	CU_ASSERT_PTR_NOT_NULL(strstr(topology_origin(t), "/topology.conf"));
	CU_ASSERT_STRING_EQUAL(topology_run_dir(t), "/tmp/x");
	s = topology_service(t, "ops");
	CU_ASSERT_EQUAL(s->rpc.n_urls, 2);
	CU_ASSERT_STRING_EQUAL(s->rpc.urls[0], "ipc:///tmp/x/ops/rpc");
	CU_ASSERT_STRING_EQUAL(s->rpc.urls[1], "tcp://[::1]:7102");
	CU_ASSERT_STRING_EQUAL(s->pub.urls[0], "ipc:///tmp/x/ops/pub");
	CU_ASSERT_EQUAL(topology_service(t, "metrics")->pub.n_urls, 0);
	CU_ASSERT_EQUAL(topology_service(t, "metrics")->rpc.n_urls, 1);
	CU_ASSERT_STRING_EQUAL(topology_service(t, "mine")->pub.urls[0], "ipc:///tmp/x//tmp/x");
	CU_ASSERT_STRING_EQUAL(topology_service(t, "blue.example/ops")->rpc.urls[0],
			       "tcp://10.0.0.2:7102");
}

static void test_mistakes(void)
{
	static const struct {
		const char *text, *complaint;
	} table[] = {
		{ "[servce ops]\npub = x\n", "topology.conf:2: unknown section [servce ops]" },
		{ "pub = x\n", ":1: unknown section []" },
		{ "[service ops]\npob = x\n", ":2: unknown key 'pob'" },
		{ "[service o/s]\npub = x\n", "letters, digits" },
		{ "[service ]\npub = x\n", "letters, digits" },
		{ "[bus]\nrundir = /x\n", "known here are run_dir and engine" },
		{ "[bus]\nrun_dir = x\n", ":2: run_dir 'x' is not an absolute path" },
		{ "[bus]\nrun_dir =\n", "not an absolute path" },
		{ "[service ops]\npub = ipc://run\n", ":2: 'ipc://run' needs an absolute path" },
		{ "[service ops]\npub = ws://h:1\n",
		  "none of ipc:///PATH, tcp://HOST:PORT and tls" },
		{ "[service ops]\npub = tcp://h\n", "port from 1 to 65535" },
		{ "[service ops]\npub = tcp://h:0\n", "port from 1 to 65535" },
		{ "[service ops]\npub = tcp://h:65536\n", "port from 1 to 65535" },
		{ "[service ops]\npub = tcp://:1\n", "port from 1 to 65535" },
		{ "[service ops]\npub = tcp://h/x:1\n", "has a path" },
		{ "[service ops]\npub = tcp://a:1 tcp://a:2 tcp://a:3 tcp://a:4 tcp://a:5\n",
		  "more than 4 URLs" },
		{ "[service ops]\npub = tcp://::1:7\n", "IPv6 address in brackets" },
		{ "[service ops]\npub = tls+tcp://h:1\n",
		  ":2: 'tls+tcp://h:1' needs ca, cert and key" },
		{ "[host a]\nops.rpc = tls+tcp://h:1\n[tls]\nca = /a\ncert = /b\n",
		  ":2: 'tls+tcp://h:1' needs ca, cert and key in [tls]" },
		{ "[tls]\nca = ca.crt\n", ":2: ca 'ca.crt' is not an absolute path" },
		{ "[tls]\npassword = x\n", "known here are ca, cert, key and crl" },
		{ "[bus]\nengine = zmq\n", ":2: unknown engine 'zmq'; there are native and nng" },
		{ "[host blue]\nops = tcp://a:1\n", "SERVICE.pub or SERVICE.rpc" },
		{ "[host blue]\nops.sub = tcp://a:1\n", "unknown key 'sub'" },
		{ "[host a/b]\nops.pub = tcp://a:1\n", "letters, digits" },
		{ "[access]\nroot = *\n", "roles are observer, operator and admin" },
		{ "[access]\nadmin = @\n", "'@' is neither" },
		{ "[access]\nadmin = root,daemon\n", "separate names with blanks" },
		{ "[bus]\nrun_dir = /"
		  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
		  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n",
		  "more than 107 bytes" },
	};
	struct bus_dir dir;

	bus_dir_make(&dir);
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
		struct topology *t = NULL;

		CU_ASSERT_EQUAL(load_text(&t, &dir, table[i].text, &errors), -EINVAL);
		CU_ASSERT_PTR_NULL(t);
		if (!strstr(strbuf_str(&errors), table[i].complaint)) {
			printf("   %zu: %s", i, strbuf_str(&errors));
			CU_FAIL("complaint is missing");
		}
	}
	bus_dir_remove(&dir);
}

/* Which engine, and which files, without reading them. */
static void test_engine_and_tls(void)
{
	_cleanup_(topology_freep) struct topology *t = NULL;
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	const struct topology_service *s;
	struct bus_dir dir;

	bus_dir_make(&dir);
	CU_ASSERT_EQUAL(load_text(&t, &dir,
				  "[bus]\nengine = nng\n"
				  "[service ops]\nrpc = ipc://@run@/x tls+tcp://[::]:7102\n"
				  "[tls]\nca = /t/ca\ncert = /t/cert\nkey = /t/key\ncrl =\n",
				  &errors),
			0);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&errors), "");
	if (t) {
		s = topology_service(t, "ops");
		CU_ASSERT_PTR_EQUAL(s->rpc.engine, &bus_engine_nng);
		CU_ASSERT_PTR_EQUAL(s->rpc.tls, topology_tls(t));
		CU_ASSERT_STRING_EQUAL(s->rpc.urls[1], "tls+tcp://[::]:7102");
		CU_ASSERT_STRING_EQUAL(bus_tls_path(topology_tls(t), BUS_TLS_KEY), "/t/key");
		CU_ASSERT_PTR_NULL(bus_tls_path(topology_tls(t), BUS_TLS_CRL));
		CU_ASSERT(bus_tls_is_complete(topology_tls(t)));
	}
	t = topology_free(t);
	CU_ASSERT_EQUAL(load_text(&t, &dir, "[bus]\nengine = native\n", &errors), 0);
	if (t) {
		CU_ASSERT_PTR_EQUAL(topology_service(t, "ops")->rpc.engine, &bus_engine_sp);
		CU_ASSERT_FALSE(bus_tls_is_complete(topology_tls(t)));
	}
	bus_dir_remove(&dir);
}

static void test_where_it_is_read(void)
{
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	struct topology *t = NULL;
	struct bus_dir dir;
	char path[128];

	bus_dir_make(&dir);
	snprintf(path, sizeof(path), "%s/none.conf", dir.path);
	CU_ASSERT_EQUAL(topology_load(&t, path, &errors), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(strbuf_str(&errors), "no such file"));
	setenv("XENMESH_TOPOLOGY", path, 1);
	CU_ASSERT_EQUAL(topology_load(&t, NULL, &errors), -EINVAL);
	CU_ASSERT_EQUAL(load_text(&t, &dir, "[bus]\nrun_dir = /tmp/z\n", &errors), 0);
	t = topology_free(t);
	snprintf(path, sizeof(path), "%s/topology.conf", dir.path);
	setenv("XENMESH_TOPOLOGY", path, 1);
	CU_ASSERT_EQUAL(topology_load(&t, NULL, &errors), 0);
	if (t) {
		CU_ASSERT_STRING_EQUAL(topology_run_dir(t), "/tmp/z");
		CU_ASSERT_STRING_EQUAL(topology_origin(t), path);
	}
	t = topology_free(t);
	unsetenv("XENMESH_TOPOLOGY");
	if (access(TOPOLOGY_DEFAULT_PATH, F_OK) != 0) {
		CU_ASSERT_EQUAL(topology_load(&t, NULL, &errors), 0);
		CU_ASSERT_STRING_EQUAL(topology_origin(t), "(defaults)");
		topology_free(t);
	}
	bus_dir_remove(&dir);
}

static void test_roles(void)
{
	static const struct {
		const char *access;
		int nobody, daemon;
	} table[] = {
		{ "observer =\n", ROLE_NONE, ROLE_NONE },
		{ "observer = nobody\n", ROLE_OBSERVER, ROLE_NONE },
		{ "observer = 65534 1\n", ROLE_OBSERVER, ROLE_OBSERVER },
		{ "operator = @nogroup\n", ROLE_OPERATOR, ROLE_OBSERVER },
		{ "operator = @65534\nadmin = daemon\n", ROLE_OPERATOR, ROLE_ADMIN },
		{ "observer = no-such-user @no-such-group\n", ROLE_NONE, ROLE_NONE },
		{ "admin = *\n", ROLE_ADMIN, ROLE_ADMIN },
		{ "operator = @daemon @nogroup\nadmin = nobody\n", ROLE_ADMIN, ROLE_OPERATOR },
	};
	struct bus_dir dir;

	bus_dir_make(&dir);
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		_cleanup_(topology_freep) struct topology *t = NULL;
		_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
		char text[256];

		snprintf(text, sizeof(text), "[access]\n%s", table[i].access);
		CU_ASSERT_EQUAL(load_text(&t, &dir, text, &errors), 0);
		if (!t) {
			continue;
		}
		log_set_sink(keep_log);
		assert_roles(t, table[i].nobody, table[i].daemon);
		assert_roles(t, table[i].nobody, table[i].daemon); /* resolved once */
		log_set_sink(NULL);
		/* The gid that the kernel told counts too. */
		CU_ASSERT_EQUAL(role_of(t, 4000000, NOBODY), i == 1 || i == 2 ? ROLE_NONE
							     : i == 3 || i == 4 || i == 7
								     ? ROLE_OPERATOR
							     : i == 6 ? ROLE_ADMIN
								      : ROLE_NONE);
	}
	bus_dir_remove(&dir);
}

/* What counts are the groups of the process, wherever it has them from. */
static void test_groups_of_a_process(void)
{
	_cleanup_(topology_freep) struct topology *t = NULL;
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	const gid_t gids[] = { 5, 7000001, 9 };
	struct bus_dir dir;

	bus_dir_make(&dir);
	CU_ASSERT_EQUAL(load_text(&t, &dir,
				  "[access]\nobserver = 5000001\noperator = @7000001\n"
				  "admin = @7000002 @7000003\n",
				  &errors),
			0);
	bus_dir_remove(&dir);
	if (!t) {
		return;
	}
	/* Nobody has a role before the names are resolved. */
	CU_ASSERT_EQUAL(role_of(t, 5000001, 1), ROLE_NONE);
	CU_ASSERT_EQUAL(role_of(t, 0, 0), ROLE_ADMIN);
	CU_ASSERT_EQUAL(topology_resolve_access(t), 0);
	CU_ASSERT_EQUAL(role_of(t, 5000001, 1), ROLE_OBSERVER);
	CU_ASSERT_EQUAL(topology_role(t, 5000001, 1, gids, 3), ROLE_OPERATOR);
	CU_ASSERT_EQUAL(topology_role(t, 5000001, 1, gids, 1), ROLE_OBSERVER);
	CU_ASSERT_EQUAL(topology_role(t, 6000000, 1, gids, 3), ROLE_OPERATOR);
	CU_ASSERT_EQUAL(topology_role(t, 6000000, 7000003, gids, 3), ROLE_ADMIN);
	CU_ASSERT_EQUAL(topology_role(t, 6000000, 1, gids, 0), ROLE_NONE);
}

static void test_unknown_names_are_told(void)
{
	_cleanup_(topology_freep) struct topology *t = NULL;
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	struct bus_dir dir;

	bus_dir_make(&dir);
	CU_ASSERT_EQUAL(
		load_text(&t, &dir, "[access]\noperator = daemon @no-such-group\n", &errors), 0);
	bus_dir_remove(&dir);
	if (!t) {
		return;
	}
	log_set_sink(keep_log);
	kept_log[0] = '\0';
	CU_ASSERT_EQUAL(topology_resolve_access(t), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(kept_log, "the group 'no-such-group' does not exist, so "
						"nobody gets the role operator by it"));
	CU_ASSERT_PTR_NOT_NULL(strstr(kept_log, "restart the service"));
	kept_log[0] = '\0';
	CU_ASSERT_EQUAL(topology_resolve_access(t), 0);
	CU_ASSERT_STRING_EQUAL(kept_log, "");
	log_set_sink(NULL);
	CU_ASSERT_EQUAL(role_of(t, 1, 1), ROLE_OPERATOR);
}

static void test_names(void)
{
	CU_ASSERT_STRING_EQUAL(bus_code_name(CODE_NOT_FOUND), "NOT_FOUND");
	CU_ASSERT_STRING_EQUAL(bus_code_name(CODE_OK), "OK");
	CU_ASSERT_STRING_EQUAL(bus_code_name(99), "CODE_99");
	CU_ASSERT_STRING_EQUAL(bus_role_name(ROLE_OPERATOR), "operator");
	CU_ASSERT_STRING_EQUAL(bus_role_name(ROLE_NONE), "none");
	CU_ASSERT_STRING_EQUAL(bus_role_name(77), "none");
	CU_ASSERT_PTR_NOT_NULL(bus_method_find("xenmesh.v1.Ops/StartVm"));
	CU_ASSERT_PTR_EQUAL(bus_method_find("StartVm"), bus_method_find("xenmesh.v1.Ops/StartVm"));
	CU_ASSERT_PTR_EQUAL(bus_method_find("Ops/StartVm"), bus_method_find("StartVm"));
	CU_ASSERT_PTR_NULL(bus_method_find("artVm"));
	CU_ASSERT_PTR_NULL(bus_method_find(""));
	CU_ASSERT_PTR_NULL(bus_method_find("/StartVm"));
	CU_ASSERT_PTR_NULL(bus_method_find("xenmesh.v1.Ops/StartVm2"));
	CU_ASSERT_STRING_EQUAL(topology_url_path("ipc:///x"), "/x");
	CU_ASSERT_PTR_NULL(topology_url_path("tcp://h:1"));
	for (size_t i = 0; i < bus_n_methods; i++) {
		CU_ASSERT(bus_methods[i].role >= ROLE_OBSERVER);
		CU_ASSERT(!bus_methods[i].mutating || bus_methods[i].role >= ROLE_OPERATOR);
		CU_ASSERT_PTR_EQUAL(bus_method_find(bus_methods[i].name), &bus_methods[i]);
	}
}

UNIT_MAIN("topology", UNIT_TEST(test_origin_of_values), UNIT_TEST(test_shipped_file),
	  UNIT_TEST(test_overrides), UNIT_TEST(test_mistakes), UNIT_TEST(test_engine_and_tls),
	  UNIT_TEST(test_where_it_is_read), UNIT_TEST(test_roles),
	  UNIT_TEST(test_groups_of_a_process), UNIT_TEST(test_unknown_names_are_told),
	  UNIT_TEST(test_names))
