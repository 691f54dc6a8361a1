/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * From the kernel's links and addresses to what each vif is reported to have:
 * its own addresses and those of every device stacked on it (bridge, bond,
 * team, vrf through IFLA_MASTER; vlan, macvlan, ipvlan through IFLA_LINK), since
 * an address of a bridge is how the guest is reached through the vif below.
 */
#include "services/guest-agent/logic/address.h"

struct guest_link {
	int32_t index;
	int32_t master; /* 0 = none */
	int32_t lower;	/* the device it is stacked on (IFLA_LINK of a vlan ...); 0 = none */
	char name[GUEST_IFNAME_SIZE];
	uint8_t mac[6];
	bool has_mac; /* mac is an Ethernet address */
	bool is_vif;
	uint32_t devid; /* of a vif: N of device/vif/N */
};

struct guest_link_address {
	int32_t link_index;
	struct guest_candidate candidate; /* its distance is filled in here */
};

struct guest_netview {
	struct guest_link *links;
	size_t n_links;
	struct guest_link_address *addresses;
	size_t n_addresses;
};

/* Fill facts->vifs.  The vifs that are there before the call are the previous ones, for the keys
 * of addresses to stay.  Not all fit when there are many: the lowest GUEST_VIFS_MAX devids, and
 * 64 / vifs addresses of each family when there are more than four vifs.
 * 0 or -ENOMEM (facts unchanged). */
int guest_netview_vifs(const struct guest_netview *view, struct guest_facts *facts);
