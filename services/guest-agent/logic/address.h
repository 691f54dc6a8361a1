/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Which addresses of a vif are told, in which order, and under which key.
 *
 * A key keeps its address for as long as the vif has it, so that a reader that
 * follows attr/vif/0/ipv4/1 is not confused by changes of others.  One
 * exception: key 0, which simple readers take for *the* address, is always one
 * of the best class.
 */
#include "services/guest-agent/logic/facts.h"

#define GUEST_ADDRESS_TEXT_SIZE 46 /* INET6_ADDRSTRLEN */

/* Best first. */
enum guest_address_class {
	GUEST_ADDRESS_GLOBAL,	  /* private IPv4 networks count as global */
	GUEST_ADDRESS_ULA,	  /* fc00::/7 */
	GUEST_ADDRESS_LINK_LOCAL, /* 169.254.0.0/16, fe80::/10 */
	GUEST_ADDRESS_UNUSABLE,	  /* unspecified, loopback, multicast, broadcast */
};

/* An address as the kernel has it. */
struct guest_candidate {
	uint8_t bytes[16]; /* as in struct guest_address */
	bool is_ipv6;
	bool is_tentative; /* duplicate address detection runs or failed */
	bool is_deprecated;
	bool is_temporary; /* IPv6 privacy address */
	bool is_secondary; /* IPv4 */
	uint8_t prefix;
	uint8_t distance; /* devices between the vif and the one that has the address */
};

enum guest_address_class guest_address_classify(bool is_ipv6, const uint8_t bytes[static 16]);

/* Fill vif->addresses with the at most cap (<= 16) best of each family: IPv4 first, then by class,
 * nearest device, primary before secondary or deprecated, number; duplicates once.  IPv6 that is
 * tentative, deprecated or temporary is left out.  vif->n_left_out counts what only the cap
 * excluded.  Sorts candidates in place.  Indices are as in the order: call
 * guest_address_assign() after it. */
void guest_address_select(struct guest_candidate *candidates, size_t n, size_t cap,
			  struct guest_vif *vif);

/* Give each address its index: the one it had in `previous` (NULL = none), else the lowest free
 * one below 16. */
void guest_address_assign(const struct guest_vif *previous, struct guest_vif *vif);

void guest_address_format(const struct guest_address *address,
			  char out[static GUEST_ADDRESS_TEXT_SIZE]);
