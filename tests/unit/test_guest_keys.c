/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Facts to keys, and the least operations from one set of keys to another. */
#include <arpa/inet.h>

#include "libcommon/strbuf.h"
#include "services/guest-agent/logic/diff.h"
#include "services/guest-agent/logic/keys.h"
#include "tests/unit/unit.h"

static void add_address(struct guest_vif *vif, const char *text, uint8_t prefix, uint8_t index)
{
	struct guest_address *a = &vif->addresses[vif->n_addresses++];

	*a = (struct guest_address){ .prefix = prefix, .index = index };
	a->is_ipv6 = strchr(text, ':');
	CU_ASSERT_EQUAL(inet_pton(a->is_ipv6 ? AF_INET6 : AF_INET, text, a->bytes), 1);
}

static void print_tree(const struct guest_tree *t, struct strbuf *out)
{
	strbuf_reset(out);
	for (size_t i = 0; i < t->n; i++) {
		strbuf_printf(out, "%s=%s\n", t->keys[i].path, t->keys[i].value);
	}
}

static void test_build__all_keys_in_order(void)
{
	_cleanup_(guest_tree_deinit) struct guest_tree tree = GUEST_TREE_NULL;
	_cleanup_(strbuf_deinit) struct strbuf out = STRBUF_NULL;
	struct guest_facts facts = {
		.os = { "Debian GNU/Linux 12 (bookworm)", "debian", "12", "7" },
		.uname = "6.1.0-18-amd64",
		.hostname = "web1",
		.agent_version = "1.20.3",
		.memory_total_kib = 2048000,
		.memory_free_kib = 1024000,
		.has_balloon = true,
		.has_vif_hotplug = true,
		.has_vbd_hotplug = true,
		.n_vifs = 1,
	};
	struct guest_vif *vif = &facts.vifs[0];

	*vif = (struct guest_vif){ .devid = 2, .name = "enX2", .mac = "00:16:3e:00:00:01" };
	add_address(vif, "192.0.2.7", 24, 0);
	add_address(vif, "2001:db8::7", 64, 3);
	CU_ASSERT_EQUAL(guest_keys_build(&facts, &tree), 0);
	print_tree(&tree, &out);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&out), "data/os_name=Debian GNU/Linux 12 (bookworm)\n"
						 "data/os_distro=debian\n"
						 "data/os_majorver=12\n"
						 "data/os_minorver=7\n"
						 "data/os_uname=6.1.0-18-amd64\n"
						 "data/host_name_dns=web1\n"
						 "data/meminfo_total=2048000\n"
						 "data/meminfo_free=1024000\n"
						 "control/feature-balloon=1\n"
						 "feature/hotplug/vif=1\n"
						 "feature/hotplug/vbd=1\n"
						 "attr/vif/2/name=enX2\n"
						 "attr/vif/2/mac/0=00:16:3e:00:00:01\n"
						 "attr/vif/2/ipv4/0=192.0.2.7\n"
						 "attr/vif/2/ipv4/0/prefix=24\n"
						 "attr/vif/2/ipv6/3=2001:db8::7\n"
						 "attr/vif/2/ipv6/3/prefix=64\n"
						 "attr/PVAddons/MajorVersion=1\n"
						 "attr/PVAddons/MinorVersion=20\n"
						 "attr/PVAddons/MicroVersion=3\n"
						 "attr/PVAddons/BuildVersion=xenmesh\n"
						 "attr/PVAddons/Installed=1\n");
}

static void test_build__only_what_is_known(void)
{
	_cleanup_(guest_tree_deinit) struct guest_tree tree = GUEST_TREE_NULL;
	_cleanup_(strbuf_deinit) struct strbuf out = STRBUF_NULL;
	struct guest_facts facts = { .agent_version = "7-rc" };

	CU_ASSERT_EQUAL(guest_keys_build(&facts, &tree), 0);
	print_tree(&tree, &out);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&out), "attr/PVAddons/MajorVersion=7\n"
						 "attr/PVAddons/MinorVersion=0\n"
						 "attr/PVAddons/MicroVersion=0\n"
						 "attr/PVAddons/BuildVersion=xenmesh\n"
						 "attr/PVAddons/Installed=1\n");
}

/* Readers of xapi's kind drop all addresses of a family at one name that is no number. */
static void test_build__below_a_family_are_only_numbers(void)
{
	_cleanup_(guest_tree_deinit) struct guest_tree tree = GUEST_TREE_NULL;
	static struct guest_facts facts;
	size_t n_seen = 0;

	facts.n_vifs = 1;
	strcpy(facts.vifs[0].name, "eth0");
	for (uint8_t i = 0; i < 16; i++) {
		add_address(&facts.vifs[0], "10.0.0.1", 24, i);
		add_address(&facts.vifs[0], "fe80::1", 64, i);
	}
	CU_ASSERT_EQUAL(guest_keys_build(&facts, &tree), 0);
	for (size_t i = 0; i < tree.n; i++) {
		const char *family = strstr(tree.keys[i].path, "/ipv");
		const char *name = family ? family + strlen("/ipv4/") : NULL;

		if (name) {
			size_t n = strspn(name, "0123456789");

			CU_ASSERT(n > 0 && (name[n] == '\0' || name[n] == '/'));
			n_seen++;
		}
	}
	CU_ASSERT_EQUAL(n_seen, 64);
}

/* The worst guest must leave room for the rest of its 1,000 nodes. */
static void test_build__worst_case_is_below_500_nodes(void)
{
	_cleanup_(guest_tree_deinit) struct guest_tree tree = GUEST_TREE_NULL;
	static struct guest_facts facts;
	size_t n_nodes;

	facts = (struct guest_facts){ .os = { "x", "x", "1", "1" }, .uname = "x", .hostname = "x" };
	facts.memory_total_kib = facts.memory_free_kib = 1;
	facts.has_balloon = facts.has_vif_hotplug = facts.has_vbd_hotplug = true;
	facts.n_vifs = GUEST_VIFS_MAX;
	for (uint32_t v = 0; v < GUEST_VIFS_MAX; v++) {
		struct guest_vif *vif = &facts.vifs[v];

		*vif = (struct guest_vif){ .devid = v, .name = "x", .mac = "x" };
		for (uint8_t i = 0; i < 2; i++) {
			add_address(vif, "10.0.0.1", 24, i);
			add_address(vif, "fe80::1", 64, i);
		}
	}
	CU_ASSERT_EQUAL(guest_keys_build(&facts, &tree), 0);
	/* Nodes without a value: attr, attr/vif, PVAddons, data, feature, hotplug, control, and of
	 * each vif itself, mac, ipv4, ipv6; and data/updated. */
	n_nodes = tree.n + 7 + 4 * GUEST_VIFS_MAX + 1;
	CU_ASSERT(n_nodes < 500);
}

/* ---- diff ---- */

#define KEYS_MAX 8

/* "path=value", "path" alone: value not known */
static void fill(struct guest_tree *t, const char *const keys[KEYS_MAX])
{
	for (size_t i = 0; i < KEYS_MAX && keys[i]; i++) {
		const char *equals = strchr(keys[i], '=');
		char path[64] = "";

		memcpy(path, keys[i], equals ? (size_t)(equals - keys[i]) : strlen(keys[i]));
		guest_tree_set(t, path, equals ? equals + 1 : NULL);
	}
	CU_ASSERT_EQUAL(t->error, 0);
}

#define LAST	"attr/PVAddons/Installed=1"
#define TOUCHED "+data/updated=now +" LAST " "

static void test_diff__table(void)
{
	static const struct {
		const char *published[KEYS_MAX];
		const char *wanted[KEYS_MAX];
		const char *ops;
		bool is_news;
	} cases[] = {
		{ { LAST }, { LAST }, "", false },
		{ { NULL }, { LAST }, TOUCHED, true },
		{ { GUEST_KEY_LAST }, { LAST }, TOUCHED, true },
		/* data before attr before the last, whatever is new */
		{ { NULL },
		  { "data/a=1", "control/feature-x=1", "attr/vif/0/name=e", "attr/PVAddons/M=1",
		    LAST },
		  "+data/a=1 +control/feature-x=1 +attr/vif/0/name=e +attr/PVAddons/M=1 " TOUCHED,
		  true },
		/* memory is no news */
		{ { "data/meminfo_free=1", "data/meminfo_total=5", LAST },
		  { "data/meminfo_free=2", "data/meminfo_total=6", LAST },
		  "+data/meminfo_free=2 +data/meminfo_total=6 ",
		  false },
		{ { "data/meminfo_free=1", "data/os=1", LAST },
		  { "data/meminfo_free=2", "data/os=2", LAST },
		  "+data/meminfo_free=2 +data/os=2 " TOUCHED,
		  true },
		/* a value that is not known is written */
		{ { "data/os", LAST }, { "data/os=1", LAST }, "+data/os=1 " TOUCHED, true },
		/* one removal for an address, with its prefix */
		{ { "attr/vif/0/ipv4/0=a", "attr/vif/0/ipv4/1=b", "attr/vif/0/ipv4/1/prefix=24",
		    LAST },
		  { "attr/vif/0/ipv4/0=a", LAST },
		  "-attr/vif/0/ipv4/1 " TOUCHED,
		  true },
		/* the last of its family takes the family along */
		{ { "attr/vif/0/name=e", "attr/vif/0/ipv4/0=a", "attr/vif/0/ipv4/0/prefix=24",
		    LAST },
		  { "attr/vif/0/name=e", LAST },
		  "-attr/vif/0/ipv4 " TOUCHED,
		  true },
		/* a whole vif; never attr/vif itself */
		{ { "attr/vif/0/name=e", "attr/vif/0/ipv4/0=a", "attr/vif/1/name=f", LAST },
		  { "attr/vif/1/name=f", LAST },
		  "-attr/vif/0 " TOUCHED,
		  true },
		{ { "attr/vif/0/name=e", "attr/vif/0/mac/0=m", LAST },
		  { LAST },
		  "-attr/vif/0 " TOUCHED,
		  true },
		/* 1 is no ancestor of 10 */
		{ { "attr/vif/1/name=e", "attr/vif/10/name=f", LAST },
		  { "attr/vif/10/name=f", LAST },
		  "-attr/vif/1 " TOUCHED,
		  true },
		/* removals before the writes of attr/, so that a key can become a directory */
		{ { "attr/vif/0/ipv4/1=b", LAST },
		  { "data/a=1", "attr/vif/0/ipv6/0=c", LAST },
		  "+data/a=1 -attr/vif/0/ipv4 +attr/vif/0/ipv6/0=c " TOUCHED,
		  true },
		/* what belongs to the toolstack stays */
		{ { "data=x", "attr", "attr/vif", "attr/PVAddons", "data/updated=then", LAST },
		  { LAST },
		  "",
		  false },
		{ { "data/gone=x", LAST }, { LAST }, "-data/gone " TOUCHED, true },
		{ { "feature/hotplug/vif=1", LAST }, { LAST }, "-feature/hotplug " TOUCHED, true },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		_cleanup_(guest_tree_deinit) struct guest_tree published = GUEST_TREE_NULL;
		_cleanup_(guest_tree_deinit) struct guest_tree wanted = GUEST_TREE_NULL;
		_cleanup_(guest_ops_deinit) struct guest_ops ops = GUEST_OPS_NULL;
		_cleanup_(strbuf_deinit) struct strbuf out = STRBUF_NULL;

		fill(&published, cases[i].published);
		fill(&wanted, cases[i].wanted);
		CU_ASSERT_EQUAL(guest_diff(&published, &wanted, "now", &ops), 0);
		for (size_t k = 0; k < ops.n; k++) {
			const struct guest_op *op = &ops.ops[k];

			strbuf_printf(&out, op->value ? "+%s=%s " : "-%s ", op->path, op->value);
		}
		CU_ASSERT_STRING_EQUAL(strbuf_str(&out), cases[i].ops);
		CU_ASSERT_EQUAL(ops.is_news, cases[i].is_news);
	}
}

static void fill_at_random(struct guest_tree *t, uint32_t *random)
{
	for (unsigned int i = 0; i < 12; i++) {
		*random = *random * 1664525 + 1013904223;
		guest_tree_setf(t, *random & (1U << 30) ? "1" : "2", "attr/vif/%u/ipv4/%u%s",
				*random >> 8 & 1, *random >> 9 & 3,
				*random >> 11 & 1 ? "" : "/prefix");
	}
	guest_tree_set(t, GUEST_KEY_LAST, "1");
}

/* Whatever the two states are: playing the operations on one gives the other. */
static void test_diff__reaches_what_is_wanted(void)
{
	uint32_t random = 1;

	for (unsigned int round = 0; round < 500; round++) {
		_cleanup_(guest_tree_deinit) struct guest_tree there = GUEST_TREE_NULL;
		_cleanup_(guest_tree_deinit) struct guest_tree wanted = GUEST_TREE_NULL;
		_cleanup_(guest_ops_deinit) struct guest_ops ops = GUEST_OPS_NULL;

		fill_at_random(&there, &random);
		fill_at_random(&wanted, &random);
		CU_ASSERT_EQUAL(guest_diff(&there, &wanted, "now", &ops), 0);
		for (size_t i = 0; i < ops.n; i++) {
			if (ops.ops[i].value) {
				guest_tree_set(&there, ops.ops[i].path, ops.ops[i].value);
			} else {
				guest_tree_forget(&there, ops.ops[i].path);
			}
		}
		guest_tree_forget(&there, GUEST_KEY_UPDATED);
		for (size_t i = 0; i < wanted.n; i++) {
			const struct guest_key *key = guest_tree_find(&there, wanted.keys[i].path);

			CU_ASSERT(key && streq(key->value, wanted.keys[i].value));
		}
		/* An address that is only the parent of a wanted prefix may stay. */
		for (size_t i = 0; i < there.n; i++) {
			CU_ASSERT(guest_tree_covers(&wanted, there.keys[i].path));
		}
	}
}

UNIT_MAIN("guest keys", UNIT_TEST(test_build__all_keys_in_order),
	  UNIT_TEST(test_build__only_what_is_known),
	  UNIT_TEST(test_build__below_a_family_are_only_numbers),
	  UNIT_TEST(test_build__worst_case_is_below_500_nodes), UNIT_TEST(test_diff__table),
	  UNIT_TEST(test_diff__reaches_what_is_wanted))
