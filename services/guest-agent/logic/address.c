/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See the header for the rules.  The order is total, so that the same set of
 * addresses gives the same keys whatever order the kernel listed them in.
 */
#include "services/guest-agent/logic/address.h"

#include <arpa/inet.h>

enum guest_address_class guest_address_classify(bool is_ipv6, const uint8_t bytes[static 16])
{
	static const uint8_t zero[15];

	if (!is_ipv6) {
		if (bytes[0] == 0 || bytes[0] == 127 || bytes[0] >= 224) {
			return GUEST_ADDRESS_UNUSABLE;
		}
		return bytes[0] == 169 && bytes[1] == 254 ? GUEST_ADDRESS_LINK_LOCAL
							  : GUEST_ADDRESS_GLOBAL;
	}
	if (bytes[0] == 0xff || (memcmp(bytes, zero, sizeof(zero)) == 0 && bytes[15] <= 1)) {
		return GUEST_ADDRESS_UNUSABLE;
	}
	if (bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80) {
		return GUEST_ADDRESS_LINK_LOCAL;
	}
	return (bytes[0] & 0xfe) == 0xfc ? GUEST_ADDRESS_ULA : GUEST_ADDRESS_GLOBAL;
}

static bool is_usable(const struct guest_candidate *c)
{
	if (c->is_ipv6 && (c->is_tentative || c->is_deprecated || c->is_temporary)) {
		return false;
	}
	return guest_address_classify(c->is_ipv6, c->bytes) != GUEST_ADDRESS_UNUSABLE;
}

static int compare(const void *left, const void *right)
{
	const struct guest_candidate *a = left, *b = right;
	int class_a = (int)guest_address_classify(a->is_ipv6, a->bytes);
	int class_b = (int)guest_address_classify(b->is_ipv6, b->bytes);

	if (a->is_ipv6 != b->is_ipv6) {
		return a->is_ipv6 - b->is_ipv6;
	}
	if (class_a != class_b) {
		return class_a - class_b;
	}
	if (a->distance != b->distance) {
		return a->distance - b->distance;
	}
	if ((a->is_secondary || a->is_deprecated) != (b->is_secondary || b->is_deprecated)) {
		return (a->is_secondary || a->is_deprecated) -
		       (b->is_secondary || b->is_deprecated);
	}
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

static bool is_same(const struct guest_address *a, const struct guest_address *b)
{
	return a->is_ipv6 == b->is_ipv6 && memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

static const struct guest_address *find_same(const struct guest_vif *vif,
					     const struct guest_address *address)
{
	for (size_t i = 0; vif && i < vif->n_addresses; i++) {
		if (is_same(&vif->addresses[i], address)) {
			return &vif->addresses[i];
		}
	}
	return NULL;
}

void guest_address_select(struct guest_candidate *candidates, size_t n, size_t cap,
			  struct guest_vif *vif)
{
	size_t n_family[2] = { 0 };

	cap = MIN(cap, (size_t)GUEST_FAMILY_ADDRESSES_MAX);
	vif->n_addresses = 0;
	vif->n_left_out = 0;
	if (n > 0) {
		qsort(candidates, n, sizeof(*candidates), compare);
	}
	for (size_t i = 0; i < n; i++) {
		const struct guest_candidate *c = &candidates[i];
		struct guest_address address = { .is_ipv6 = c->is_ipv6, .prefix = c->prefix };

		memcpy(address.bytes, c->bytes, sizeof(address.bytes));
		if (!is_usable(c) || find_same(vif, &address)) {
			continue;
		}
		if (n_family[c->is_ipv6] == cap) {
			vif->n_left_out++;
			continue;
		}
		address.index = (uint8_t)n_family[c->is_ipv6]++;
		vif->addresses[vif->n_addresses++] = address;
	}
}

/* The address of this family that comes first: the best one, as select() ordered them. */
static struct guest_address *find_first(struct guest_vif *vif, bool is_ipv6)
{
	for (size_t i = 0; i < vif->n_addresses; i++) {
		if (vif->addresses[i].is_ipv6 == is_ipv6) {
			return &vif->addresses[i];
		}
	}
	return NULL;
}

static struct guest_address *find_index(struct guest_vif *vif, bool is_ipv6, uint8_t index)
{
	for (size_t i = 0; i < vif->n_addresses; i++) {
		if (vif->addresses[i].is_ipv6 == is_ipv6 && vif->addresses[i].index == index) {
			return &vif->addresses[i];
		}
	}
	return NULL;
}

static void put_best_first(struct guest_vif *vif, bool is_ipv6)
{
	struct guest_address *best = find_first(vif, is_ipv6);
	struct guest_address *zero = find_index(vif, is_ipv6, 0);

	if (!best || (zero && guest_address_classify(is_ipv6, zero->bytes) ==
				      guest_address_classify(is_ipv6, best->bytes))) {
		return;
	}
	if (zero) {
		zero->index = best->index;
	}
	best->index = 0;
}

void guest_address_assign(const struct guest_vif *previous, struct guest_vif *vif)
{
	bool is_taken[2][GUEST_FAMILY_ADDRESSES_MAX] = { 0 };
	bool is_placed[GUEST_VIF_ADDRESSES_MAX] = { 0 };

	for (size_t i = 0; i < vif->n_addresses; i++) {
		struct guest_address *a = &vif->addresses[i];
		const struct guest_address *old = find_same(previous, a);

		if (old && old->index < GUEST_FAMILY_ADDRESSES_MAX &&
		    !is_taken[a->is_ipv6][old->index]) {
			a->index = old->index;
			is_taken[a->is_ipv6][a->index] = true;
			is_placed[i] = true;
		}
	}
	for (size_t i = 0; i < vif->n_addresses; i++) {
		struct guest_address *a = &vif->addresses[i];

		if (!is_placed[i]) {
			a->index = 0;
			while (is_taken[a->is_ipv6][a->index]) {
				a->index++;
			}
			is_taken[a->is_ipv6][a->index] = true;
		}
	}
	put_best_first(vif, false);
	put_best_first(vif, true);
}

void guest_address_format(const struct guest_address *address,
			  char out[static GUEST_ADDRESS_TEXT_SIZE])
{
	if (!inet_ntop(address->is_ipv6 ? AF_INET6 : AF_INET, address->bytes, out,
		       GUEST_ADDRESS_TEXT_SIZE)) {
		out[0] = '\0';
	}
}
