/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rtnetlink for real, in a network namespace of the test's own.  Devices named
 * vif<N> stand in for Xen's.  Where namespaces or a kind of device are not to
 * be had the test says so.
 */
#include "services/guest-agent/platform/netlink.h"

#include <poll.h>
#include <stdio.h>

#include "libcommon/parse.h"
#include "libcommon/strbuf.h"
#include "tests/unit/guest_net.h"
#include "tests/unit/unit.h"

/* ---- looking ---- */

static int classify(const char *ifname, uint32_t *devid, void *userdata _unused_)
{
	return str_starts(ifname, "vif") &&
			       parse_u32(ifname + 3, strlen(ifname + 3), 65535, devid) == 0
		       ? 0
		       : 1;
}

/* "0 vif0: 10.0.0.1/24 2001:db8::1/64\n"; link-local IPv6 is the kernel's own and left out. */
static void look(struct agent_netlink *n, struct strbuf *out)
{
	static struct guest_facts facts;
	struct guest_netview view = { 0 };

	strbuf_reset(out);
	CU_ASSERT_EQUAL(agent_netlink_dump(n, &view), 0);
	facts.n_vifs = 0;
	CU_ASSERT_EQUAL(guest_netview_vifs(&view, &facts), 0);
	agent_netview_deinit(&view);
	for (size_t v = 0; v < facts.n_vifs; v++) {
		const struct guest_vif *vif = &facts.vifs[v];

		CU_ASSERT_EQUAL(strlen(vif->mac), 17);
		strbuf_printf(out, "%u %s:", vif->devid, vif->name);
		for (size_t i = 0; i < vif->n_addresses; i++) {
			const struct guest_address *a = &vif->addresses[i];
			char text[GUEST_ADDRESS_TEXT_SIZE];

			guest_address_format(a, text);
			if (!str_starts(text, "fe80:")) {
				strbuf_printf(out, " %s/%u", text, a->prefix);
			}
		}
		strbuf_putc(out, '\n');
	}
}

static void expect(struct agent_netlink *n, const char *expected)
{
	_cleanup_(strbuf_deinit) struct strbuf out = STRBUF_NULL;

	look(n, &out);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&out), expected);
}

/* Takes all events there are; whether one of them mattered. */
static bool drain_all(struct agent_netlink *n)
{
	struct pollfd fd = { .fd = agent_netlink_fd(n), .events = POLLIN };
	bool has_changed = false;

	while (poll(&fd, 1, 0) > 0) {
		int r = agent_netlink_drain(n);

		CU_ASSERT(r >= 0);
		has_changed |= r > 0;
		if (r < 0) {
			break;
		}
	}
	return has_changed;
}

/* IPv6 addresses are told by a worker of the kernel, a little later. */
static bool wait_for_change(struct agent_netlink *n)
{
	struct pollfd fd = { .fd = agent_netlink_fd(n), .events = POLLIN };

	while (poll(&fd, 1, 10000) > 0) {
		if (drain_all(n)) {
			return true;
		}
	}
	return false;
}

static struct agent_netlink *open_netlink(void)
{
	struct agent_netlink *n = NULL;

	CU_ASSERT_EQUAL(agent_netlink_new(&n, classify, NULL), 0);
	return n;
}

static void test_dump__addresses_of_a_vif(void)
{
	_cleanup_(agent_netlink_freep) struct agent_netlink *n = NULL;

	if (!(n = open_netlink())) {
		return;
	}
	expect(n, "");
	CU_ASSERT_EQUAL(net_add_link("vif3", net_base_kind(), NULL), 0);
	CU_ASSERT_EQUAL(net_add_link("other", net_base_kind(), NULL), 0);
	CU_ASSERT_EQUAL(net_add_address("other", "10.9.9.9", 24), 0);
	expect(n, "3 vif3:\n");
	CU_ASSERT_EQUAL(net_add_address("vif3", "192.0.2.1", 24), 0);
	CU_ASSERT_EQUAL(net_add_address("vif3", "169.254.1.1", 16), 0);
	CU_ASSERT_EQUAL(net_add_address("vif3", "2001:db8::1", 64), 0);
	expect(n, "3 vif3: 192.0.2.1/24 169.254.1.1/16 2001:db8::1/64\n");
	/* Ours, not the peer's. */
	CU_ASSERT_EQUAL(net_change_address(RTM_NEWADDR, "vif3", "198.51.100.1", 32, "198.51.100.2"),
			0);
	expect(n, "3 vif3: 192.0.2.1/24 198.51.100.1/32 169.254.1.1/16 2001:db8::1/64\n");
	CU_ASSERT_EQUAL(net_change_link(RTM_NEWLINK, "vif3", NULL, "vif4"), 0);
	expect(n, "4 vif4: 192.0.2.1/24 198.51.100.1/32 169.254.1.1/16 2001:db8::1/64\n");
	CU_ASSERT_EQUAL(net_change_link(RTM_DELLINK, "vif4", NULL, NULL), 0);
	expect(n, "");
	CU_ASSERT_EQUAL(net_change_link(RTM_DELLINK, "other", NULL, NULL), 0);
}

/* An address of what the vif is enslaved to, or of what is stacked on it, is the vif's. */
static void check_stack(const char *kind, bool is_master)
{
	_cleanup_(agent_netlink_freep) struct agent_netlink *n = NULL;

	if (!(n = open_netlink())) {
		return;
	}
	CU_ASSERT_EQUAL(net_add_link("vif0", net_base_kind(), NULL), 0);
	CU_ASSERT_EQUAL(net_add_link("upper", kind, is_master ? NULL : "vif0"), 0);
	CU_ASSERT_EQUAL(net_add_address("upper", "192.0.2.8", 25), 0);
	CU_ASSERT_EQUAL(net_add_address("upper", "2001:db8::8", 64), 0);
	if (is_master) {
		expect(n, "0 vif0:\n");
		CU_ASSERT_EQUAL(net_change_link(RTM_NEWLINK, "vif0", "upper", NULL), 0);
	}
	expect(n, "0 vif0: 192.0.2.8/25 2001:db8::8/64\n");
	CU_ASSERT_EQUAL(net_add_address("vif0", "192.0.2.9", 25), 0);
	expect(n, "0 vif0: 192.0.2.9/25 192.0.2.8/25 2001:db8::8/64\n");
	if (is_master) {
		CU_ASSERT_EQUAL(net_change_link(RTM_NEWLINK, "vif0", "", NULL), 0);
		expect(n, "0 vif0: 192.0.2.9/25\n");
	}
	CU_ASSERT_EQUAL(net_change_link(RTM_DELLINK, "upper", NULL, NULL), 0);
	CU_ASSERT_EQUAL(net_change_link(RTM_DELLINK, "vif0", NULL, NULL), 0);
}

static void test_dump__bridge(void)
{
	check_stack("bridge", true);
}

static void test_dump__bond(void)
{
	check_stack("bond", true);
}

static void test_dump__vlan(void)
{
	check_stack("vlan", false);
}

static void test_dump__macvlan(void)
{
	check_stack("macvlan", false);
}

/* A veth's IFLA_LINK is its other end, not a device below it. */
static void test_dump__veth_is_not_stacked_on_its_peer(void)
{
	_cleanup_(agent_netlink_freep) struct agent_netlink *n = NULL;
	struct if_nameindex *names;
	char peer[IF_NAMESIZE] = "";

	if (!(n = open_netlink())) {
		return;
	}
	CU_ASSERT_EQUAL(net_add_link("vif0", "veth", NULL), 0);
	names = if_nameindex();
	for (size_t i = 0; names && names[i].if_index; i++) {
		if (str_starts(names[i].if_name, "veth")) {
			memcpy(peer, names[i].if_name, strlen(names[i].if_name) + 1);
		}
	}
	if_freenameindex(names);
	CU_ASSERT_EQUAL(net_add_address(peer, "192.0.2.1", 24), 0);
	expect(n, "0 vif0:\n");
	CU_ASSERT_EQUAL(net_change_link(RTM_DELLINK, "vif0", NULL, NULL), 0);
}

static void test_events__tell_of_links_and_addresses(void)
{
	_cleanup_(agent_netlink_freep) struct agent_netlink *n = NULL;

	if (!(n = open_netlink())) {
		return;
	}
	CU_ASSERT_EQUAL(net_add_link("vif0", net_base_kind(), NULL), 0);
	CU_ASSERT(wait_for_change(n));
	CU_ASSERT_EQUAL(net_add_address("vif0", "192.0.2.1", 24), 0);
	CU_ASSERT(wait_for_change(n));
	CU_ASSERT_EQUAL(net_change_address(RTM_DELADDR, "vif0", "192.0.2.1", 24, NULL), 0);
	CU_ASSERT(wait_for_change(n));
	CU_ASSERT_EQUAL(net_add_address("vif0", "2001:db8::1", 64), 0);
	CU_ASSERT(wait_for_change(n));
	CU_ASSERT_EQUAL(net_change_link(RTM_DELLINK, "vif0", NULL, NULL), 0);
	CU_ASSERT(wait_for_change(n));
}

/* Leaving a bridge is told as RTM_DELLINK of family AF_BRIDGE: the device is still there. */
static void test_events__a_port_that_leaves_its_bridge_stays_a_vif(void)
{
	_cleanup_(agent_netlink_freep) struct agent_netlink *n = NULL;

	if (!(n = open_netlink())) {
		return;
	}
	CU_ASSERT_EQUAL(net_add_link("upper", "bridge", NULL), 0);
	CU_ASSERT_EQUAL(net_add_link("vif0", net_base_kind(), NULL), 0);
	CU_ASSERT_EQUAL(net_set_up("vif0"), 0);
	CU_ASSERT_EQUAL(net_add_address("vif0", "192.0.2.1", 24), 0);
	CU_ASSERT_EQUAL(net_change_link(RTM_NEWLINK, "vif0", "upper", NULL), 0);
	drain_all(n);
	CU_ASSERT_EQUAL(net_change_link(RTM_NEWLINK, "vif0", "", NULL), 0);
	CU_ASSERT(drain_all(n));
	expect(n, "0 vif0: 192.0.2.1/24\n");
	CU_ASSERT_EQUAL(net_change_link(RTM_DELLINK, "vif0", NULL, NULL), 0);
	CU_ASSERT_EQUAL(net_change_link(RTM_DELLINK, "upper", NULL, NULL), 0);
}

static void test_events__an_overrun_is_a_change(void)
{
	_cleanup_(agent_netlink_freep) struct agent_netlink *n = NULL;
	struct pollfd fd = { .events = POLLIN };
	int size = 1; /* the kernel makes it its least */

	if (!(n = open_netlink())) {
		return;
	}
	fd.fd = agent_netlink_fd(n);
	CU_ASSERT_EQUAL(net_add_link("vif0", net_base_kind(), NULL), 0);
	drain_all(n);
	CU_ASSERT_EQUAL(setsockopt(fd.fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)), 0);
	for (unsigned int i = 0; i < 200; i++) {
		CU_ASSERT_EQUAL(net_add_address("vif0", "192.0.2.1", 24), 0);
		CU_ASSERT_EQUAL(net_change_address(RTM_DELADDR, "vif0", "192.0.2.1", 24, NULL), 0);
	}
	CU_ASSERT_EQUAL(net_add_address("vif0", "192.0.2.77", 24), 0);
	/* Events were lost, or this test shows nothing. */
	CU_ASSERT_EQUAL(poll(&fd, 1, 0), 1);
	CU_ASSERT(fd.revents & POLLERR);
	CU_ASSERT(drain_all(n));
	expect(n, "0 vif0: 192.0.2.77/24\n");
	CU_ASSERT_EQUAL(net_change_link(RTM_DELLINK, "vif0", NULL, NULL), 0);
}

static void test_dump__thousands_of_addresses(void)
{
	_cleanup_(agent_netlink_freep) struct agent_netlink *n = NULL;
	struct guest_netview view = { 0 };
	size_t n_found = 0;

	if (!(n = open_netlink())) {
		return;
	}
	CU_ASSERT_EQUAL(net_add_link("vif0", net_base_kind(), NULL), 0);
	for (unsigned int i = 0; i < 3000; i++) {
		char text[32];

		snprintf(text, sizeof(text), "10.1.%u.%u", i / 250, i % 250 + 1);
		if (net_add_address("vif0", text, 32) != 0) {
			CU_FAIL("address refused");
			break;
		}
	}
	CU_ASSERT_EQUAL(agent_netlink_dump(n, &view), 0);
	for (size_t i = 0; i < view.n_addresses; i++) {
		n_found += view.addresses[i].link_index == (int32_t)net_index("vif0");
	}
	CU_ASSERT_EQUAL(n_found, 3000);
	agent_netview_deinit(&view);
	CU_ASSERT_EQUAL(net_change_link(RTM_DELLINK, "vif0", NULL, NULL), 0);
}

int main(void)
{
	static const struct {
		const char *kind; /* of device that the test needs besides the base */
		struct unit_test test;
	} all[] = {
		{ NULL, UNIT_TEST(test_dump__addresses_of_a_vif) },
		{ "bridge", UNIT_TEST(test_dump__bridge) },
		{ "bond", UNIT_TEST(test_dump__bond) },
		{ "vlan", UNIT_TEST(test_dump__vlan) },
		{ "macvlan", UNIT_TEST(test_dump__macvlan) },
		{ "veth", UNIT_TEST(test_dump__veth_is_not_stacked_on_its_peer) },
		{ NULL, UNIT_TEST(test_events__tell_of_links_and_addresses) },
		{ "bridge", UNIT_TEST(test_events__a_port_that_leaves_its_bridge_stays_a_vif) },
		{ NULL, UNIT_TEST(test_events__an_overrun_is_a_change) },
		{ NULL, UNIT_TEST(test_dump__thousands_of_addresses) },
	};
	struct unit_test tests[ARRAY_LEN(all)];
	size_t n = 0;
	int r = net_enter();

	if (r < 0 || !net_base_kind()) {
		printf("skip all: %s\n", r == 0 ? "this kernel has neither veth nor dummy devices"
						: "no network namespace to be had for the test");
		puts("0 passed, 0 failed, 1 skipped");
		return EXIT_SUCCESS;
	}
	net_add_link("base", net_base_kind(), NULL);
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		if (!all[i].kind || net_has_kind(all[i].kind)) {
			tests[n++] = all[i].test;
		} else {
			printf("skip %s: this kernel has no devices of kind %s\n", all[i].test.name,
			       all[i].kind);
		}
	}
	return unit_run("guest netlink", tests, n);
}
