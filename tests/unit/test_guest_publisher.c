/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The publisher against a xenstore that refuses, is full or goes away when
 * told to.  The functions of libcommon/xenstore.h that it uses are defined
 * here, so the real ones are not linked.
 */
#include "services/guest-agent/platform/publisher.h"

#include "libcommon/strbuf.h"
#include "services/guest-agent/logic/keys.h"
#include "tests/unit/unit.h"

/* ---- the fake ---- */

struct xenstore {
	struct guest_tree there;
	const char *denied;  /* EACCES for it and all below */
	const char *full_at; /* ENOSPC for it */
	int n_until_lost;    /* requests that still succeed; <0 = never lost */
	struct strbuf log;   /* "+path=value -path " of what changed it */
};

static int request(struct xenstore *xs, const char *path)
{
	if (xs->n_until_lost == 0) {
		return -ENOTCONN;
	}
	xs->n_until_lost -= xs->n_until_lost > 0;
	return xs->denied && guest_path_is_below(path, xs->denied) ? -EACCES : 0;
}

int xenstore_read(struct xenstore *xs, const char *path, char **out, size_t *len)
{
	const struct guest_key *key = guest_tree_find(&xs->there, path);
	int r = request(xs, path);

	if (r < 0 || !key) {
		return r < 0 ? r : XENSTORE_ABSENT;
	}
	*out = strdup(key->value);
	*len = strlen(key->value);
	return *out ? 0 : -ENOMEM;
}

/* Names of the direct children in one block, as libxenstore returns them. */
int xenstore_list(struct xenstore *xs, const char *path, char ***out, size_t *n)
{
	_cleanup_(guest_tree_deinit) struct guest_tree names = GUEST_TREE_NULL;
	size_t path_len = strlen(path);
	int r = request(xs, path);
	char **list, *text;

	for (size_t i = 0; r == 0 && i < xs->there.n; i++) {
		const char *child = xs->there.keys[i].path;

		if (guest_path_is_below(child, path) && child[path_len] == '/') {
			child += path_len + 1;
			guest_tree_setf(&names, "", "%.*s", (int)strcspn(child, "/"), child);
		}
	}
	if (r < 0 || !guest_tree_covers(&xs->there, path)) {
		return r < 0 ? r : XENSTORE_ABSENT;
	}
	list = malloc((names.n + 1) * (sizeof(char *) + 256));
	if (!list) {
		return -ENOMEM;
	}
	text = (char *)&list[names.n + 1];
	for (size_t i = 0; i < names.n; i++) {
		size_t size = strlen(names.keys[i].path) + 1;

		list[i] = memcpy(text, names.keys[i].path, size);
		text += size;
	}
	*out = list;
	*n = names.n;
	return 0;
}

int xenstore_write_str(struct xenstore *xs, const char *path, const char *value)
{
	int r = request(xs, path);

	if (r == 0 && xs->full_at && streq(xs->full_at, path)) {
		r = -ENOSPC;
	}
	if (r == 0) {
		guest_tree_set(&xs->there, path, value);
		strbuf_printf(&xs->log, "+%s=%s ", path, value);
	}
	return r;
}

int xenstore_remove(struct xenstore *xs, const char *path)
{
	int r = request(xs, path);

	if (r == 0) {
		guest_tree_forget(&xs->there, path);
		strbuf_printf(&xs->log, "-%s ", path);
	}
	return r;
}

/* ---- tests ---- */

struct fixture {
	struct xenstore xs;
	struct agent_publisher *p;
	struct guest_tree wanted;
};

static bool start(struct fixture *f, const char *home)
{
	*f = (struct fixture){ .xs.n_until_lost = -1 };
	guest_tree_set(&f->wanted, "data/os_name", "x");
	guest_tree_set(&f->wanted, "control/feature-balloon", "1");
	guest_tree_set(&f->wanted, "attr/vif/0/ipv4/0", "10.0.0.1");
	guest_tree_set(&f->wanted, GUEST_KEY_LAST, "1");
	CU_ASSERT_EQUAL(agent_publisher_new(&f->p, &f->xs, home), 0);
	return f->p != NULL;
}

static void end(struct fixture *f)
{
	f->p = agent_publisher_free(f->p);
	guest_tree_deinit(&f->wanted);
	guest_tree_deinit(&f->xs.there);
	strbuf_deinit(&f->xs.log);
}

static void apply(struct fixture *f, int r, const char *log)
{
	strbuf_reset(&f->xs.log);
	CU_ASSERT_EQUAL(agent_publisher_apply(f->p, &f->wanted, "now"), r);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&f->xs.log), log);
}

#define ALL                                                                       \
	"+data/os_name=x +control/feature-balloon=1 +attr/vif/0/ipv4/0=10.0.0.1 " \
	"+data/updated=now "                                                      \
	"+attr/PVAddons/Installed=1 "

static void test_apply__writes_once(void)
{
	struct fixture f;

	if (start(&f, "")) {
		apply(&f, 0, ALL);
		apply(&f, 0, "");
		guest_tree_set(&f.wanted, "data/os_name", "y");
		apply(&f, 0, "+data/os_name=y +data/updated=now +attr/PVAddons/Installed=1 ");
		guest_tree_forget(&f.wanted, "attr/vif/0");
		apply(&f, 0, "-attr/vif/0 +data/updated=now +attr/PVAddons/Installed=1 ");
		apply(&f, 0, "");
	}
	end(&f);
}

static void test_apply__below_a_home(void)
{
	struct fixture f;

	if (start(&f, "/local/domain/7")) {
		guest_tree_forget(&f.wanted, "control");
		guest_tree_forget(&f.wanted, "attr/vif");
		apply(&f, 0,
		      "+/local/domain/7/data/os_name=x +/local/domain/7/data/updated=now "
		      "+/local/domain/7/attr/PVAddons/Installed=1 ");
	}
	end(&f);
}

static void test_apply__removes_what_an_earlier_agent_left(void)
{
	struct fixture f;

	if (start(&f, "")) {
		guest_tree_set(&f.xs.there, "attr/vif/0/ipv4/0", "10.0.0.1");
		guest_tree_set(&f.xs.there, "attr/vif/0/ipv4/1", "10.0.0.2");
		guest_tree_set(&f.xs.there, "attr/vif/3/ipv6/0", "fe80::1");
		guest_tree_set(&f.xs.there, "attr/eth0/ip", "10.0.0.1");
		guest_tree_set(&f.xs.there, "data/os_majorver", "9");
		guest_tree_set(&f.xs.there, "data/volumes/0/name", "not ours");
		apply(&f, 0,
		      "+data/os_name=x +control/feature-balloon=1 -data/os_majorver "
		      "-attr/vif/0/ipv4/1 -attr/vif/3 +attr/vif/0/ipv4/0=10.0.0.1 "
		      "+data/updated=now +attr/PVAddons/Installed=1 ");
		CU_ASSERT(guest_tree_covers(&f.xs.there, "attr/eth0/ip"));
		CU_ASSERT(guest_tree_covers(&f.xs.there, "data/volumes/0/name"));
	}
	end(&f);
}

/* libxl lets a guest make no new keys in control/. */
static void test_apply__a_refused_key_is_left_out(void)
{
	struct agent_publisher_stats stats;
	struct fixture f;

	if (start(&f, "")) {
		f.xs.denied = "control";
		apply(&f, 0,
		      "+data/os_name=x +attr/vif/0/ipv4/0=10.0.0.1 +data/updated=now "
		      "+attr/PVAddons/Installed=1 ");
		agent_publisher_stats(f.p, &stats);
		CU_ASSERT_EQUAL(stats.refused, 1);
		/* Not tried again ... */
		f.xs.denied = NULL;
		apply(&f, 0, "");
		/* ... but in a new domain. */
		agent_publisher_forget(f.p);
		apply(&f, 0, ALL);
		agent_publisher_stats(f.p, &stats);
		CU_ASSERT_EQUAL(stats.refused, 0);
	}
	end(&f);
}

static void test_apply__a_full_xenstore_is_tried_again(void)
{
	struct fixture f;

	if (start(&f, "")) {
		f.xs.full_at = "attr/vif/0/ipv4/0";
		apply(&f, AGENT_PUBLISHER_PARTIAL,
		      "+data/os_name=x +control/feature-balloon=1 +data/updated=now "
		      "+attr/PVAddons/Installed=1 ");
		f.xs.full_at = NULL;
		apply(&f, 0,
		      "+attr/vif/0/ipv4/0=10.0.0.1 +data/updated=now +attr/PVAddons/Installed=1 ");
		apply(&f, 0, "");
	}
	end(&f);
}

/* Wherever the connection breaks, the next batch completes it. */
static void test_apply__a_lost_connection_loses_nothing(void)
{
	for (int n = 0; n < 40; n++) {
		struct fixture f;
		int r;

		if (start(&f, "")) {
			guest_tree_set(&f.xs.there, "attr/vif/9/name", "old");
			f.xs.n_until_lost = n;
			r = agent_publisher_apply(f.p, &f.wanted, "now");
			CU_ASSERT(r == 0 || r == -ENOTCONN);
			f.xs.n_until_lost = -1;
			CU_ASSERT_EQUAL(agent_publisher_apply(f.p, &f.wanted, "now"), 0);
			CU_ASSERT_FALSE(guest_tree_covers(&f.xs.there, "attr/vif/9"));
			for (size_t i = 0; i < f.wanted.n; i++) {
				CU_ASSERT(guest_tree_find(&f.xs.there, f.wanted.keys[i].path) !=
					  NULL);
			}
			apply(&f, 0, "");
		}
		end(&f);
	}
}

UNIT_MAIN("guest publisher", UNIT_TEST(test_apply__writes_once),
	  UNIT_TEST(test_apply__below_a_home),
	  UNIT_TEST(test_apply__removes_what_an_earlier_agent_left),
	  UNIT_TEST(test_apply__a_refused_key_is_left_out),
	  UNIT_TEST(test_apply__a_full_xenstore_is_tried_again),
	  UNIT_TEST(test_apply__a_lost_connection_loses_nothing))
