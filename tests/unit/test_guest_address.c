/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which addresses a vif is reported to have, and under which keys. */
#include <arpa/inet.h>
#include <stdio.h>

#include "libcommon/strbuf.h"
#include "services/guest-agent/logic/netview.h"
#include "tests/unit/unit.h"

/* "10.0.0.1/24", with flags after a blank: t(entative) d(eprecated) p(rivacy) s(econdary) */
static struct guest_candidate candidate(const char *text)
{
	struct guest_candidate c = { 0 };
	char address[64];
	unsigned int prefix = 0;
	int n = 0;

	if (sscanf(text, "%63[^/]/%u%n", address, &prefix, &n) == 2) {
		c.is_ipv6 = strchr(address, ':') != NULL;
		CU_ASSERT_EQUAL(inet_pton(c.is_ipv6 ? AF_INET6 : AF_INET, address, c.bytes), 1);
		c.prefix = (uint8_t)prefix;
		c.is_tentative = strchr(text + n, 't');
		c.is_deprecated = strchr(text + n, 'd');
		c.is_temporary = strchr(text + n, 'p');
		c.is_secondary = strchr(text + n, 's');
	}
	return c;
}

/* "v4.0=10.0.0.1/24 v6.0=fe80::1/64 " */
static void format(const struct guest_vif *vif, struct strbuf *out)
{
	strbuf_reset(out);
	for (size_t i = 0; i < vif->n_addresses; i++) {
		char text[GUEST_ADDRESS_TEXT_SIZE];

		guest_address_format(&vif->addresses[i], text);
		strbuf_printf(out, "v%c.%u=%s/%u ", vif->addresses[i].is_ipv6 ? '6' : '4',
			      vif->addresses[i].index, text, vif->addresses[i].prefix);
	}
}

#define INPUTS_MAX 8

static void select_and_assign(const char *const *inputs, size_t cap, struct guest_vif *vif)
{
	struct guest_candidate candidates[INPUTS_MAX];
	struct guest_vif previous = *vif;
	size_t n = 0;

	for (; n < INPUTS_MAX && inputs[n]; n++) {
		candidates[n] = candidate(inputs[n]);
	}
	guest_address_select(candidates, n, cap, vif);
	guest_address_assign(&previous, vif);
}

static void test_classify__table(void)
{
	static const struct {
		const char *text;
		enum guest_address_class class;
	} cases[] = {
		{ "10.0.0.1/8", GUEST_ADDRESS_GLOBAL },
		{ "192.0.2.1/24", GUEST_ADDRESS_GLOBAL },
		{ "169.254.1.1/16", GUEST_ADDRESS_LINK_LOCAL },
		{ "169.253.1.1/16", GUEST_ADDRESS_GLOBAL },
		{ "127.0.0.1/8", GUEST_ADDRESS_UNUSABLE },
		{ "0.0.0.0/0", GUEST_ADDRESS_UNUSABLE },
		{ "224.0.0.1/4", GUEST_ADDRESS_UNUSABLE },
		{ "255.255.255.255/32", GUEST_ADDRESS_UNUSABLE },
		{ "2001:db8::1/64", GUEST_ADDRESS_GLOBAL },
		{ "fc00::1/64", GUEST_ADDRESS_ULA },
		{ "fdff::1/64", GUEST_ADDRESS_ULA },
		{ "fe80::1/64", GUEST_ADDRESS_LINK_LOCAL },
		{ "febf::1/64", GUEST_ADDRESS_LINK_LOCAL },
		{ "::1/128", GUEST_ADDRESS_UNUSABLE },
		{ "::/0", GUEST_ADDRESS_UNUSABLE },
		{ "ff02::1/8", GUEST_ADDRESS_UNUSABLE },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct guest_candidate c = candidate(cases[i].text);

		CU_ASSERT_EQUAL(guest_address_classify(c.is_ipv6, c.bytes), cases[i].class);
	}
}

static void test_select__table(void)
{
	static const struct {
		const char *inputs[INPUTS_MAX + 1];
		size_t cap;
		const char *out;
		size_t n_left_out;
	} cases[] = {
		{ { NULL }, 16, "", 0 },
		{ { "10.0.0.1/24" }, 16, "v4.0=10.0.0.1/24 ", 0 },
		/* class first, whatever the kernel's order */
		{ { "169.254.0.9/16", "fe80::1/64", "fd00::1/64", "2001:db8::1/64", "10.0.0.1/24" },
		  16,
		  "v4.0=10.0.0.1/24 v4.1=169.254.0.9/16 v6.0=2001:db8::1/64 v6.1=fd00::1/64 "
		  "v6.2=fe80::1/64 ",
		  0 },
		/* not usable, or not for long */
		{ { "127.0.0.1/8", "::1/128", "2001:db8::1/64 t", "2001:db8::2/64 d",
		    "2001:db8::3/64 p" },
		  16,
		  "",
		  0 },
		/* primary before secondary and deprecated; those stay for IPv4 */
		{ { "10.0.0.1/24 s", "10.0.0.2/24 d", "10.0.0.3/24" },
		  16,
		  "v4.0=10.0.0.3/24 v4.1=10.0.0.1/24 v4.2=10.0.0.2/24 ",
		  0 },
		/* duplicates once */
		{ { "fe80::1/64", "fe80::1/64", "10.0.0.1/24", "10.0.0.1/16" },
		  16,
		  "v4.0=10.0.0.1/24 v6.0=fe80::1/64 ",
		  0 },
		/* the cap counts for each family; what is not usable was not left out by it */
		{ { "10.0.0.2/24", "10.0.0.1/24", "10.0.0.3/24", "fe80::1/64", "fe80::2/64 t" },
		  2,
		  "v4.0=10.0.0.1/24 v4.1=10.0.0.2/24 v6.0=fe80::1/64 ",
		  1 },
	};
	_cleanup_(strbuf_deinit) struct strbuf out = STRBUF_NULL;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct guest_vif vif = { 0 };

		select_and_assign(cases[i].inputs, cases[i].cap, &vif);
		format(&vif, &out);
		CU_ASSERT_STRING_EQUAL(strbuf_str(&out), cases[i].out);
		CU_ASSERT_EQUAL(vif.n_left_out, cases[i].n_left_out);
	}
}

static void test_assign__keeps_keys_of_addresses_that_stay(void)
{
	static const struct {
		const char *inputs[INPUTS_MAX + 1];
		const char *out;
	} steps[] = {
		{ { "10.0.0.2/24", "10.0.0.3/24" }, "v4.0=10.0.0.2/24 v4.1=10.0.0.3/24 " },
		/* one that would sort before them does not move them */
		{ { "10.0.0.2/24", "10.0.0.3/24", "10.0.0.1/24" },
		  "v4.2=10.0.0.1/24 v4.0=10.0.0.2/24 v4.1=10.0.0.3/24 " },
		/* key 0 is never empty while there is an address */
		{ { "10.0.0.1/24", "10.0.0.3/24" }, "v4.0=10.0.0.1/24 v4.1=10.0.0.3/24 " },
		/* a freed key is used again */
		{ { "10.0.0.1/24", "10.0.0.3/24", "10.0.0.9/24" },
		  "v4.0=10.0.0.1/24 v4.1=10.0.0.3/24 v4.2=10.0.0.9/24 " },
		{ { "10.0.0.1/24", "10.0.0.9/24" }, "v4.0=10.0.0.1/24 v4.2=10.0.0.9/24 " },
		{ { "10.0.0.1/24", "10.0.0.9/24", "10.0.0.4/24" },
		  "v4.0=10.0.0.1/24 v4.1=10.0.0.4/24 v4.2=10.0.0.9/24 " },
		/* link-local alone, then the real one: it takes over key 0 */
		{ { "169.254.3.4/16" }, "v4.0=169.254.3.4/16 " },
		{ { "169.254.3.4/16", "192.0.2.1/24" }, "v4.0=192.0.2.1/24 v4.1=169.254.3.4/16 " },
		/* the prefix follows */
		{ { "169.254.3.4/16", "192.0.2.1/25" }, "v4.0=192.0.2.1/25 v4.1=169.254.3.4/16 " },
		{ { NULL }, "" },
	};
	_cleanup_(strbuf_deinit) struct strbuf out = STRBUF_NULL;
	struct guest_vif vif = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		select_and_assign(steps[i].inputs, 16, &vif);
		format(&vif, &out);
		CU_ASSERT_STRING_EQUAL(strbuf_str(&out), steps[i].out);
	}
}

static void test_assign__privacy_churn_never_runs_out_of_keys(void)
{
	struct guest_vif vif = { 0 };

	/* Each round all but one address are new. */
	for (unsigned int round = 0; round < 200; round++) {
		struct guest_candidate candidates[20];
		struct guest_vif previous = vif;
		uint32_t seen = 0;

		for (unsigned int i = 0; i < ARRAY_LEN(candidates); i++) {
			char text[64];

			snprintf(text, sizeof(text), "2001:db8::%x:%x/64", i == 7 ? 1 : round, i);
			candidates[i] = candidate(text);
		}
		guest_address_select(candidates, ARRAY_LEN(candidates), 16, &vif);
		guest_address_assign(&previous, &vif);
		CU_ASSERT_EQUAL(vif.n_addresses, 16);
		CU_ASSERT_EQUAL(vif.n_left_out, 4);
		for (size_t i = 0; i < vif.n_addresses; i++) {
			CU_ASSERT(vif.addresses[i].index < 16);
			seen |= 1U << vif.addresses[i].index;
		}
		CU_ASSERT_EQUAL(seen, 0xffff);
	}
}

/* ---- links ---- */

struct view_case {
	struct guest_link links[8];
	struct {
		int32_t link;
		const char *text;
	} addresses[8];
	const char *out; /* "DEVID NAME MAC: addresses" a line */
};

static void run_view(const struct view_case *c, struct guest_facts *facts, struct strbuf *out)
{
	_cleanup_(strbuf_deinit) struct strbuf one = STRBUF_NULL;
	struct guest_link_address addresses[8];
	struct guest_netview view = { .addresses = addresses };
	struct guest_link links[8];

	memcpy(links, c->links, sizeof(links));
	view.links = links;
	while (view.n_links < ARRAY_LEN(c->links) && c->links[view.n_links].index) {
		view.n_links++;
	}
	for (size_t i = 0; i < ARRAY_LEN(c->addresses) && c->addresses[i].text; i++) {
		addresses[i].link_index = c->addresses[i].link;
		addresses[i].candidate = candidate(c->addresses[i].text);
		view.n_addresses++;
	}
	CU_ASSERT_EQUAL(guest_netview_vifs(&view, facts), 0);
	strbuf_reset(out);
	for (size_t i = 0; i < facts->n_vifs; i++) {
		format(&facts->vifs[i], &one);
		strbuf_printf(out, "%u %s %s: %s\n", facts->vifs[i].devid, facts->vifs[i].name,
			      facts->vifs[i].mac, strbuf_str(&one));
	}
}

#define VIF(index_, devid_, master_)                                                   \
	{                                                                              \
		.index = (index_), .master = (master_), .name = "eth", .is_vif = true, \
		.devid = (devid_)                                                      \
	}

static void test_netview__table(void)
{
	static const struct view_case cases[] = {
		{ .out = "" },
		/* a plain vif; the address of another device is not its own */
		{ { { .index = 2,
		      .name = "enX0",
		      .is_vif = true,
		      .has_mac = true,
		      .mac = { 0, 0x16, 0x3e, 1, 2, 0xff } },
		    { .index = 1, .name = "lo" } },
		  { { 2, "10.0.0.1/24" }, { 1, "10.9.9.9/32" } },
		  "0 enX0 00:16:3e:01:02:ff: v4.0=10.0.0.1/24 \n" },
		/* ascending devid, whatever the index */
		{ { VIF(2, 5, 0), VIF(3, 1, 0) },
		  { { 2, "10.0.0.5/24" }, { 3, "10.0.0.1/24" } },
		  "1 eth : v4.0=10.0.0.1/24 \n5 eth : v4.0=10.0.0.5/24 \n" },
		/* in a bridge: its address, after the vif's own */
		{ { VIF(2, 0, 4), { .index = 4, .name = "br0" }, { .index = 5, .master = 4 } },
		  { { 4, "10.0.0.1/24" }, { 2, "10.0.0.2/24" }, { 5, "10.0.0.3/24" } },
		  "0 eth : v4.0=10.0.0.2/24 v4.1=10.0.0.1/24 \n" },
		/* two vifs in a bond, a vlan on it, a bridge on that */
		{ { VIF(2, 0, 4),
		    VIF(3, 1, 4),
		    { .index = 4 },
		    { .index = 5, .lower = 4, .master = 6 },
		    { .index = 6 } },
		  { { 6, "10.0.0.1/24" } },
		  "0 eth : v4.0=10.0.0.1/24 \n1 eth : v4.0=10.0.0.1/24 \n" },
		/* the same link-local address on a vif and its vlan */
		{ { VIF(2, 0, 0), { .index = 3, .lower = 2 } },
		  { { 2, "fe80::1/64" }, { 3, "fe80::1/64" }, { 3, "10.5.0.1/24" } },
		  "0 eth : v4.0=10.5.0.1/24 v6.0=fe80::1/64 \n" },
		/* a loop does not trap us */
		{ { VIF(2, 0, 3),
		    { .index = 3, .master = 4 },
		    { .index = 4, .master = 3, .lower = 2 } },
		  { { 4, "10.0.0.1/24" } },
		  "0 eth : v4.0=10.0.0.1/24 \n" },
		/* master unknown; twice the same devid */
		{ { VIF(2, 0, 77), VIF(3, 0, 0) },
		  { { 2, "10.0.0.1/24" }, { 3, "10.0.0.2/24" } },
		  "0 eth : v4.0=10.0.0.1/24 \n" },
	};
	_cleanup_(strbuf_deinit) struct strbuf out = STRBUF_NULL;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct guest_facts facts = { 0 };

		run_view(&cases[i], &facts, &out);
		CU_ASSERT_STRING_EQUAL(strbuf_str(&out), cases[i].out);
	}
}

static void test_netview__keys_stay_with_the_devid(void)
{
	static const struct view_case before = { { VIF(2, 3, 0) },
						 { { 2, "10.0.0.2/24" }, { 2, "10.0.0.3/24" } },
						 "" };
	/* Plugged again: another index, another vif before it. */
	static const struct view_case after = {
		{ VIF(9, 3, 0), VIF(8, 1, 0) },
		{ { 9, "10.0.0.1/24" }, { 9, "10.0.0.2/24" }, { 9, "10.0.0.3/24" } },
		"1 eth : \n3 eth : v4.2=10.0.0.1/24 v4.0=10.0.0.2/24 v4.1=10.0.0.3/24 \n"
	};
	_cleanup_(strbuf_deinit) struct strbuf out = STRBUF_NULL;
	struct guest_facts facts = { 0 };

	run_view(&before, &facts, &out);
	run_view(&after, &facts, &out);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&out), after.out);
}

static void test_netview__many_vifs_share_the_room(void)
{
	static const struct {
		size_t n_vifs;
		size_t n_reported;
		size_t n_each;
	} cases[] = { { 4, 4, 16 }, { 5, 5, 12 }, { 32, 32, 2 }, { 100, 32, 2 } };
	static struct guest_link links[100];
	static struct guest_link_address addresses[100 * 20];
	static struct guest_facts facts;

	for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
		struct guest_netview view = { links, cases[c].n_vifs, addresses, 0 };

		for (size_t i = 0; i < cases[c].n_vifs; i++) {
			links[i] = (struct guest_link)VIF((int32_t)i + 1, (uint32_t)(500 - i), 0);
			for (unsigned int k = 0; k < 20; k++) {
				struct guest_link_address *a = &addresses[view.n_addresses++];
				char text[64];

				snprintf(text, sizeof(text), "10.0.%zu.%u/24", i, k + 1);
				*a = (struct guest_link_address){ (int32_t)i + 1, candidate(text) };
			}
		}
		CU_ASSERT_EQUAL(guest_netview_vifs(&view, &facts), 0);
		CU_ASSERT_EQUAL(facts.n_vifs, cases[c].n_reported);
		CU_ASSERT_EQUAL(facts.vifs[0].devid, 501 - cases[c].n_vifs);
		for (size_t i = 0; i < facts.n_vifs; i++) {
			CU_ASSERT_EQUAL(facts.vifs[i].n_addresses, cases[c].n_each);
			CU_ASSERT_EQUAL(facts.vifs[i].n_left_out, 20 - cases[c].n_each);
		}
	}
}

UNIT_MAIN("guest addresses", UNIT_TEST(test_classify__table), UNIT_TEST(test_select__table),
	  UNIT_TEST(test_assign__keeps_keys_of_addresses_that_stay),
	  UNIT_TEST(test_assign__privacy_churn_never_runs_out_of_keys),
	  UNIT_TEST(test_netview__table), UNIT_TEST(test_netview__keys_stay_with_the_devid),
	  UNIT_TEST(test_netview__many_vifs_share_the_room))
