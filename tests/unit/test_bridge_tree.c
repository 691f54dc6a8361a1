/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From a guest's nodes to GuestInfo: what is known, what is bounded. */
#include "services/agent-bridge/info.h"

#include <stdio.h>

#include "libcommon/strbuf.h"
#include "tests/unit/bridge_fake.h"
#include "tests/unit/unit.h"

#define KEYS_MAX 16

/* "path=value" */
static void fill(struct fake_tree *fake, const char *const keys[KEYS_MAX])
{
	*fake = (struct fake_tree){ 0 };
	for (size_t i = 0; i < KEYS_MAX && keys[i]; i++) {
		const char *equals = strchr(keys[i], '=');

		fake_add(fake, keys[i], (size_t)(equals - keys[i]), equals + 1, strlen(equals + 1));
	}
}

static void read_all(struct fake_tree *fake, struct bridge_tree *tree)
{
	const struct bridge_reader reader = fake_reader(fake);
	uint64_t n_requests = 0;

	fake->n_requests = 0;
	for (unsigned int part = 0; part < BRIDGE_PARTS; part++) {
		CU_ASSERT_EQUAL(bridge_tree_read(tree, part, &reader, &n_requests), 0);
	}
	CU_ASSERT_EQUAL(n_requests, fake->n_requests);
}

static void print_bytes(struct strbuf *out, const char *name, const ProtobufCBinaryData *b)
{
	if (b->len > 0) {
		strbuf_printf(out, "%s=%.*s\n", name, (int)b->len, b->data);
	}
}

static void print_keys(struct strbuf *out, const char *name, Xenmesh__V1__GuestKey *const *keys,
		       size_t n)
{
	for (size_t i = 0; i < n; i++) {
		strbuf_printf(out, "%s %.*s=%.*s\n", name, (int)keys[i]->key.len, keys[i]->key.data,
			      (int)keys[i]->value.len, keys[i]->value.data);
	}
}

static void print_vif(struct strbuf *out, const Xenmesh__V1__GuestVif *vif)
{
	strbuf_printf(out, "vif %u %.*s %.*s:", vif->devid, (int)vif->name.len, vif->name.data,
		      (int)vif->mac.len, vif->mac.data);
	for (size_t i = 0; i < vif->n_addresses; i++) {
		const Xenmesh__V1__GuestAddress *a = vif->addresses[i];

		strbuf_printf(out, " v%d.%u=%.*s/%u", a->ipv6 ? 6 : 4, a->index,
			      (int)a->address.len, a->address.data, a->prefix);
	}
	strbuf_putc(out, '\n');
}

static void print_info(struct strbuf *out, const Xenmesh__V1__GuestInfo *info)
{
	strbuf_reset(out);
	if (info->agent->installed) {
		strbuf_puts(out, "installed\n");
	}
	print_bytes(out, "major", &info->agent->major);
	print_bytes(out, "minor", &info->agent->minor);
	print_bytes(out, "micro", &info->agent->micro);
	print_bytes(out, "build", &info->agent->build);
	print_bytes(out, "os", &info->os->name);
	print_bytes(out, "distro", &info->os->distro);
	print_bytes(out, "os major", &info->os->major);
	print_bytes(out, "os minor", &info->os->minor);
	print_bytes(out, "uname", &info->os->uname);
	print_bytes(out, "hostname", &info->hostname);
	if (info->memory_total_kib || info->memory_free_kib) {
		strbuf_printf(out, "memory %llu %llu\n", (unsigned long long)info->memory_total_kib,
			      (unsigned long long)info->memory_free_kib);
	}
	for (size_t i = 0; i < info->n_vifs; i++) {
		print_vif(out, info->vifs[i]);
	}
	print_keys(out, "feature", info->features, info->n_features);
	print_keys(out, "driver", info->drivers, info->n_drivers);
	print_keys(out, "other", info->other, info->n_other);
	if (info->truncated) {
		strbuf_puts(out, "truncated\n");
	}
}

static void test_info__table(void)
{
	static const struct {
		const char *keys[KEYS_MAX];
		const char *out;
	} cases[] = {
		{ { NULL }, "" },
		{ { "attr/PVAddons/Installed=1", "attr/PVAddons/MajorVersion=1",
		    "attr/PVAddons/MinorVersion=2", "attr/PVAddons/MicroVersion=3",
		    "attr/PVAddons/BuildVersion=proto-0.4", "attr/PVAddons/Application=x" },
		  "installed\nmajor=1\nminor=2\nmicro=3\nbuild=proto-0.4\n"
		  "other attr/PVAddons/Application=x\n" },
		{ { "data/os_name=Debian 12", "data/os_distro=debian", "data/os_majorver=12",
		    "data/os_minorver=7", "data/os_uname=6.1", "data/host_name_dns=web",
		    "data/meminfo_total=2000", "data/meminfo_free=1000" },
		  "os=Debian 12\ndistro=debian\nos major=12\nos minor=7\nuname=6.1\nhostname=web\n"
		  "memory 2000 1000\n" },
		/* numbers that are none */
		{ { "data/meminfo_total=12 kB", "data/meminfo_free=-1" },
		  "other data/meminfo_total=12 kB\nother data/meminfo_free=-1\n" },
		{ { "data/meminfo_total=1125899906842625", "data/meminfo_free=" },
		  "other data/meminfo_total=1125899906842625\nother data/meminfo_free=\n" },
		/* the dialect of today, in any order */
		{ { "attr/vif/1/ipv6/0=2001:db8::1", "attr/vif/1/ipv4/1=10.0.0.2",
		    "attr/vif/1/ipv4/0=10.0.0.1", "attr/vif/1/ipv4/0/prefix=24",
		    "attr/vif/1/ipv6/0/prefix=64", "attr/vif/1/name=enX1",
		    "attr/vif/1/mac/0=00:16:3e:0:0:1", "attr/vif/0/ipv4/0=10.1.0.1" },
		  "vif 0  : v4.0=10.1.0.1/0\n"
		  "vif 1 enX1 00:16:3e:0:0:1: v4.0=10.0.0.1/24 v4.1=10.0.0.2/0 "
		  "v6.0=2001:db8::1/64\n" },
		/* indices are numbers: 2 before 10; any may be missing */
		{ { "attr/vif/0/ipv4/10=10.0.0.10", "attr/vif/0/ipv4/2=10.0.0.2" },
		  "vif 0  : v4.2=10.0.0.2/0 v4.10=10.0.0.10/0\n" },
		/* a vif that is only announced */
		{ { "attr/vif/4=" }, "vif 4  :\n" },
		/* what is no address, no index, no devid, no prefix stays to be seen */
		{ { "attr/vif/0/ipv4/0=10.0.0", "attr/vif/0/ipv4/x=10.0.0.1",
		    "attr/vif/0/ipv6/0=10.0.0.1", "attr/vif/70000/ipv4/0=10.0.0.1",
		    "attr/vif/0/ipv4/1=10.0.0.1", "attr/vif/0/ipv4/1/prefix=33",
		    "attr/vif/-1/ipv4/0=10.0.0.1" },
		  "vif 0  : v4.1=10.0.0.1/0\n"
		  "other attr/vif/0/ipv4/0=10.0.0\nother attr/vif/0/ipv4/1/prefix=33\n"
		  "other attr/vif/0/ipv4/x=10.0.0.1\nother attr/vif/0/ipv6/0=10.0.0.1\n"
		  "other attr/vif/70000/ipv4/0=10.0.0.1\nother attr/vif/-1/ipv4/0=10.0.0.1\n" },
		{ { "attr/vif/0/ipv6/0=fe80::1%4", "attr/vif/0/ipv6/0/prefix=128" },
		  "vif 0  : v6.0=fe80::1%4/128\n" },
		/* the old dialect, where there is nothing else */
		{ { "attr/eth0/ip=10.0.0.1", "attr/eth0/ipv6/0/addr=fe80::1",
		    "attr/eth0/ipv6/1/addr=fe80::2", "attr/xenbr2/ip=10.0.0.3" },
		  "vif 0  : v4.0=10.0.0.1/0 v6.0=fe80::1/0 v6.1=fe80::2/0\n"
		  "vif 2  : v4.0=10.0.0.3/0\n" },
		{ { "attr/vif/=", "attr/vif/1=", "attr/eth0/ip=10.0.0.1" },
		  "vif 0  : v4.0=10.0.0.1/0\nvif 1  :\n" },
		{ { "attr/vif/1/ipv4/0=10.0.0.2", "attr/eth0/ip=10.0.0.1" },
		  "vif 1  : v4.0=10.0.0.2/0\nother attr/eth0/ip=10.0.0.1\n" },
		{ { "attr/ethX/ip=10.0.0.1", "attr/eth0/ip=none", "attr/os/spmajor=1" },
		  "other attr/eth0/ip=none\nother attr/ethX/ip=10.0.0.1\nother "
		  "attr/os/spmajor=1\n" },
		/* features by existence; commands of dom0 are not what a guest says */
		{ { "control/feature-balloon=1", "control/feature-suspend=", "control/shutdown=x",
		    "control/batcmd/script=secret", "feature/hotplug/vif=1", "feature/x=" },
		  "feature control/feature-balloon=1\nfeature control/feature-suspend=\n"
		  "feature feature/hotplug/vif=1\nfeature feature/x=\n" },
		{ { "drivers/1=B 2", "drivers/0=A 1", "drivers/10=C", "drivers/x=no" },
		  "driver drivers/0=A 1\ndriver drivers/1=B 2\ndriver drivers/10=C\n" },
		/* bulk, secrets and doorbells are not read; services are */
		{ { "data/volumes/0/name=x", "data/set_clipboard=secret", "data/report_clipboard=y",
		    "data/updated=now", "data/update_cnt=7", "data/service/web/port=80" },
		  "other data/service/web/port=80\n" },
	};
	_cleanup_(strbuf_deinit) struct strbuf out = STRBUF_NULL;
	static struct fake_tree fake;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		_cleanup_(bridge_tree_deinit) struct bridge_tree tree = BRIDGE_TREE_NULL;
		_cleanup_(arena_deinit) struct arena arena;
		Xenmesh__V1__GuestInfo info;

		arena_init(&arena, BRIDGE_INFO_ARENA);
		fill(&fake, cases[i].keys);
		read_all(&fake, &tree);
		CU_ASSERT_EQUAL(bridge_info_build(&tree, &arena, &info), 0);
		print_info(&out, &info);
		CU_ASSERT_STRING_EQUAL(strbuf_str(&out), cases[i].out);
		if (!streq(strbuf_str(&out), cases[i].out)) {
			printf("case %zu:\n%s", i, strbuf_str(&out));
		}
	}
}

/* The same nodes in another order of creation give the same bytes. */
static void test_info__does_not_depend_on_the_order_of_creation(void)
{
	static const char *const keys[KEYS_MAX] = {
		"attr/vif/0/ipv4/0=10.0.0.1",  "attr/zzz=1",	     "attr/aaa=2",
		"attr/vif/10/ipv4/0=10.0.1.1", "attr/vif/2/name=x",  "control/feature-b=1",
		"control/feature-a=1",	       "data/service/a/b=c", "data/os_name=x",
	};
	uint8_t first[1024], packed[1024];
	size_t first_len = 0;
	static struct fake_tree fake;

	for (size_t shift = 0; shift < 9; shift++) {
		_cleanup_(bridge_tree_deinit) struct bridge_tree tree = BRIDGE_TREE_NULL;
		_cleanup_(arena_deinit) struct arena arena;
		const char *shifted[KEYS_MAX] = { 0 };
		Xenmesh__V1__GuestInfo info;
		size_t len;

		for (size_t i = 0; i < 9; i++) {
			shifted[i] = keys[(i * 4 + shift) % 9];
		}
		arena_init(&arena, BRIDGE_INFO_ARENA);
		fill(&fake, shifted);
		read_all(&fake, &tree);
		CU_ASSERT_EQUAL(bridge_info_build(&tree, &arena, &info), 0);
		info.uuid = (char *)(uintptr_t) "";
		len = xenmesh__v1__guest_info__get_packed_size(&info);
		CU_ASSERT(len > 0 && len <= sizeof(packed));
		if (len > sizeof(packed)) {
			return;
		}
		xenmesh__v1__guest_info__pack(&info, packed);
		if (shift == 0) {
			memcpy(first, packed, len);
			first_len = len;
		}
		CU_ASSERT(len == first_len && memcmp(first, packed, len) == 0);
	}
}

/* ---- bounds ---- */

static char texts[FAKE_NODES_MAX][64];
static struct fake_tree large;

static void add_numbered(const char *format, size_t n, const char *value, size_t len)
{
	for (size_t i = 0; i < n && large.n < FAKE_NODES_MAX; i++) {
		char *path = texts[large.n];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(path, sizeof(texts[0]), format, i);
#pragma GCC diagnostic pop
		fake_add(&large, path, strlen(path), value, len);
	}
}

static void test_tree__junk_in_one_part_costs_the_others_nothing(void)
{
	_cleanup_(bridge_tree_deinit) struct bridge_tree tree = BRIDGE_TREE_NULL;
	_cleanup_(arena_deinit) struct arena arena;
	Xenmesh__V1__GuestInfo info;

	large = (struct fake_tree){ 0 };
	add_numbered("data/junk%zu", 900, "x", 1);
	add_numbered("data/os_name", 1, "here", 4);
	add_numbered("attr/junk%zu", 200, "x", 1);
	add_numbered("attr/vif/0/ipv4/0", 1, "10.0.0.1", 8);
	read_all(&large, &tree);
	CU_ASSERT_EQUAL(tree.parts[BRIDGE_DATA].n, 128);
	CU_ASSERT(tree.parts[BRIDGE_DATA].is_truncated);
	CU_ASSERT_FALSE(tree.parts[BRIDGE_ATTR].is_truncated);
	CU_ASSERT(large.n_requests < 1100);
	arena_init(&arena, BRIDGE_INFO_ARENA);
	CU_ASSERT_EQUAL(bridge_info_build(&tree, &arena, &info), 0);
	/* Important names are read first. */
	CU_ASSERT_EQUAL(info.os->name.len, 4);
	CU_ASSERT_EQUAL(info.n_vifs, 1);
	CU_ASSERT(info.truncated);
}

static void test_tree__bytes_are_bounded(void)
{
	_cleanup_(bridge_tree_deinit) struct bridge_tree tree = BRIDGE_TREE_NULL;
	static char value[BRIDGE_VALUE_MAX + 1];
	const struct bridge_node *node;

	memset(value, 'v', sizeof(value));
	large = (struct fake_tree){ 0 };
	add_numbered("data/a%zu", 1, value, BRIDGE_VALUE_MAX);
	read_all(&large, &tree);
	CU_ASSERT_FALSE(bridge_tree_is_truncated(&tree));

	add_numbered("data/b%zu", 1, value, BRIDGE_VALUE_MAX + 1);
	read_all(&large, &tree);
	node = bridge_tree_find(&tree, BRIDGE_DATA, "data/b0");
	CU_ASSERT(node && node->len == BRIDGE_VALUE_MAX);
	CU_ASSERT(bridge_tree_is_truncated(&tree));

	/* 24 KiB of paths and values: 23 nodes of 1032. */
	large = (struct fake_tree){ 0 };
	add_numbered("data/%zu", 100, value, BRIDGE_VALUE_MAX);
	read_all(&large, &tree);
	CU_ASSERT_EQUAL(tree.parts[BRIDGE_DATA].n, 23);
	CU_ASSERT(bridge_tree_is_truncated(&tree));
}

static void test_tree__depth_is_bounded(void)
{
	static const struct {
		const char *keys[KEYS_MAX];
		const char *kept;
		bool is_truncated;
	} cases[] = {
		{ { "attr/a/b/c/d/e=1" }, "attr/a/b/c/d/e", false },
		{ { "attr/a/b/c/d/e/f=1" }, "attr/a/b/c/d/e", true },
		{ { "feature/a/b=1" }, "feature/a/b", false },
		{ { "feature/a/b/c=1" }, "feature/a/b", true },
		{ { "control/feature-a/b=1" }, "control/feature-a", true },
		/* Outside attr a node with a value is a leaf. */
		{ { "data/a=1", "data/a/b=2" }, "data/a", false },
	};
	static const enum bridge_part parts[] = { BRIDGE_ATTR,	  BRIDGE_ATTR,	  BRIDGE_FEATURE,
						  BRIDGE_FEATURE, BRIDGE_CONTROL, BRIDGE_DATA };
	static struct fake_tree fake;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		_cleanup_(bridge_tree_deinit) struct bridge_tree tree = BRIDGE_TREE_NULL;
		const struct bridge_nodes *nodes = &tree.parts[parts[i]];

		fill(&fake, cases[i].keys);
		read_all(&fake, &tree);
		CU_ASSERT(nodes->n > 0 && streq(nodes->nodes[nodes->n - 1].path, cases[i].kept));
		CU_ASSERT_EQUAL(nodes->is_truncated, cases[i].is_truncated);
	}
}

static void test_tree__a_name_that_is_too_long_is_left_out(void)
{
	static struct fake_tree fake;

	for (int len = BRIDGE_NAME_MAX; len <= BRIDGE_NAME_MAX + 1; len++) {
		_cleanup_(bridge_tree_deinit) struct bridge_tree tree = BRIDGE_TREE_NULL;
		bool is_kept = len == BRIDGE_NAME_MAX;
		char path[BRIDGE_NAME_MAX + 16];

		snprintf(path, sizeof(path), "data/%0*d", len, 0);
		fake = (struct fake_tree){ 0 };
		fake_add(&fake, path, strlen(path), "1", 1);
		read_all(&fake, &tree);
		CU_ASSERT_EQUAL(tree.parts[BRIDGE_DATA].n, is_kept);
		CU_ASSERT_EQUAL(bridge_tree_is_truncated(&tree), !is_kept);
	}
}

static void test_tree__a_lost_connection_changes_nothing(void)
{
	static const char *const keys[KEYS_MAX] = { "data/os_name=new", "data/b=1" };
	static const char *const old[KEYS_MAX] = { "data/os_name=old" };
	static struct fake_tree fake;

	for (uint64_t n = 1; n <= 4; n++) {
		_cleanup_(bridge_tree_deinit) struct bridge_tree tree = BRIDGE_TREE_NULL;
		const struct bridge_reader reader = fake_reader(&fake);
		const struct bridge_node *node;
		uint64_t n_requests = 0;

		fill(&fake, old);
		read_all(&fake, &tree);
		fill(&fake, keys);
		fake.n_until_lost = n;
		CU_ASSERT_EQUAL(bridge_tree_read(&tree, BRIDGE_DATA, &reader, &n_requests),
				n < 4 ? -ENOTCONN : 0);
		node = bridge_tree_find(&tree, BRIDGE_DATA, "data/os_name");
		CU_ASSERT(node && streq(node->value, n < 4 ? "old" : "new"));
	}
}

UNIT_MAIN("bridge tree", UNIT_TEST(test_info__table),
	  UNIT_TEST(test_info__does_not_depend_on_the_order_of_creation),
	  UNIT_TEST(test_tree__junk_in_one_part_costs_the_others_nothing),
	  UNIT_TEST(test_tree__bytes_are_bounded), UNIT_TEST(test_tree__depth_is_bounded),
	  UNIT_TEST(test_tree__a_name_that_is_too_long_is_left_out),
	  UNIT_TEST(test_tree__a_lost_connection_changes_nothing))
