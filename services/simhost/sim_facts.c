/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The distributions' files are as they ship them, so that the agent's parser
 * has real work.
 */
#include "services/simhost/sim_facts.h"

#include <stdio.h>

#include "services/guest-agent/logic/netview.h"
#include "services/guest-agent/logic/osrelease.h"

#define VIFS_MAX      GUEST_VIFS_MAX
#define ADDRESSES_MAX (VIFS_MAX * 3)
#define MAC_BYTES     6

static const struct {
	const char *os_release;
	const char *uname;
} systems[] = {
	{ "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\n"
	  "VERSION_ID=\"12\"\nID=debian\n",
	  "6.1.0-28-amd64" },
	{ "PRETTY_NAME=\"Ubuntu 24.04.1 LTS\"\nNAME=\"Ubuntu\"\nVERSION_ID=\"24.04\"\n"
	  "ID=ubuntu\nID_LIKE=debian\n",
	  "6.8.0-49-generic" },
	{ "NAME=\"Alpine Linux\"\nID=alpine\nVERSION_ID=3.20.3\n"
	  "PRETTY_NAME=\"Alpine Linux v3.20\"\n",
	  "6.6.62-0-virt" },
	{ "NAME=\"Rocky Linux\"\nVERSION=\"9.4 (Blue Onyx)\"\nID=\"rocky\"\n"
	  "ID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.4\"\n"
	  "PRETTY_NAME=\"Rocky Linux 9.4 (Blue Onyx)\"\n",
	  "5.14.0-427.42.1.el9_4.x86_64" },
};

static bool parse_mac(const char *text, uint8_t out[static MAC_BYTES])
{
	unsigned int b[MAC_BYTES];

	if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5]) !=
	    MAC_BYTES) {
		return false;
	}
	for (size_t i = 0; i < MAC_BYTES; i++) {
		out[i] = (uint8_t)b[i];
	}
	return true;
}

/* The kernel's EUI-64 identifier of an interface. */
static void put_eui64(const uint8_t mac[static MAC_BYTES], uint8_t out[static 8])
{
	const uint8_t id[8] = {
		mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5],
	};

	memcpy(out, id, sizeof(id));
}

static void add_address(struct guest_netview *view, int32_t link, bool is_ipv6, uint8_t prefix,
			const uint8_t *bytes)
{
	struct guest_link_address *a = &view->addresses[view->n_addresses++];

	*a = (struct guest_link_address){ .link_index = link };
	a->candidate.is_ipv6 = is_ipv6;
	a->candidate.prefix = prefix;
	memcpy(a->candidate.bytes, bytes, is_ipv6 ? 16 : 4);
}

static void add_vif(struct guest_netview *view, const Xenmesh__V1__VifState *vif)
{
	struct guest_link *link = &view->links[view->n_links];
	uint8_t global[16] = { 0xfd, 0, 0, 0, 0, 0, 0, (uint8_t)vif->devid };
	uint8_t local[16] = { 0xfe, 0x80 };

	*link = (struct guest_link){ .index = (int32_t)view->n_links + 2, .is_vif = true };
	link->devid = vif->devid;
	snprintf(link->name, sizeof(link->name), "eth%u", vif->devid % 1000);
	link->has_mac = parse_mac(vif->mac, link->mac);
	put_eui64(link->mac, global + 8);
	put_eui64(link->mac, local + 8);
	add_address(view, link->index, false, 8,
		    (const uint8_t[]){ 10, link->mac[3], link->mac[4], link->mac[5] });
	add_address(view, link->index, true, 64, global);
	add_address(view, link->index, true, 64, local);
	view->n_links++;
}

int sim_facts_make(const Xenmesh__Host__Domain *d, struct guest_facts *out)
{
	struct guest_link links[VIFS_MAX];
	struct guest_link_address addresses[ADDRESSES_MAX];
	struct guest_netview view = { .links = links, .addresses = addresses };
	/* By UUID, so that a VM stays what it is when its domid changes. */
	unsigned int kind = (unsigned char)d->uuid[0] + (unsigned char)d->uuid[7];
	size_t i = kind % ARRAY_LEN(systems);

	*out = (struct guest_facts){ .has_vif_hotplug = true, .has_vbd_hotplug = true };
	guest_osrelease_parse(systems[i].os_release, strlen(systems[i].os_release), &out->os);
	snprintf(out->uname, sizeof(out->uname), "%s", systems[i].uname);
	snprintf(out->hostname, sizeof(out->hostname), "%s", d->name);
	snprintf(out->agent_version, sizeof(out->agent_version), "%s", XENMESH_VERSION);
	out->memory_total_kib = d->memory_kib - d->memory_kib / 32; /* the kernel's own part */
	for (size_t v = 0; v < d->n_vifs && v < VIFS_MAX; v++) {
		add_vif(&view, d->vifs[v]);
	}
	return guest_netview_vifs(&view, out);
}

uint64_t sim_facts_free_kib(const Xenmesh__Host__Domain *d, uint64_t step, double usage)
{
	static const unsigned int wave[] = { 0, 3, 7, 12, 9, 4, 1, 6 }; /* percent */
	uint64_t total_kib = d->memory_kib - d->memory_kib / 32;
	uint64_t used_percent = 20 + (uint64_t)(usage * 50) + wave[step % ARRAY_LEN(wave)];

	return total_kib * (100 - used_percent) / 100;
}
