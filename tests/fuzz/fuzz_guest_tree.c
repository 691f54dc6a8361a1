/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any tree that a guest could make, to a GuestInfo: within the bounds that
 * tree.h and guest.proto state, in order, and the same again from its bytes.
 * Input: pairs of path and value, each after one byte with its length; a length
 * of 255 is followed by two bytes more.
 */
#include <arpa/inet.h>

#include "services/agent-bridge/info.h"
#include "tests/unit/bridge_fake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true)
{
	if (!is_true) {
		abort();
	}
}

static bool take_text(const uint8_t **data, size_t *size, const char **text, size_t *len)
{
	if (*size < 1) {
		return false;
	}
	*len = (*data)[0];
	*data += 1;
	*size -= 1;
	if (*len == 255 && *size >= 2) {
		*len = (size_t)(*data)[0] << 8 | (*data)[1];
		*data += 2;
		*size -= 2;
	}
	*len = MIN(*len, *size);
	*text = (const char *)*data;
	*data += *len;
	*size -= *len;
	return true;
}

static void check_tree(const struct bridge_tree *tree)
{
	size_t n = 0, bytes = 0;

	for (size_t part = 0; part < BRIDGE_PARTS; part++) {
		for (size_t i = 0; i < tree->parts[part].n; i++) {
			const struct bridge_node *node = &tree->parts[part].nodes[i];
			const char *name = bridge_part_name((enum bridge_part)part);

			require(str_starts(node->path, name) && node->path[strlen(name)] == '/');
			require(node->len <= BRIDGE_VALUE_MAX && node->value[node->len] == '\0');
			bytes += strlen(node->path) + 1 + node->len;
			n++;
		}
	}
	require(n <= 512 && bytes <= 64 << 10);
}

static void check_vif(const Xenmesh__V1__GuestVif *vif)
{
	require(vif->devid <= BRIDGE_DEVID_MAX && vif->n_addresses <= BRIDGE_ADDRESSES_MAX);
	for (size_t i = 0; i < vif->n_addresses; i++) {
		const Xenmesh__V1__GuestAddress *a = vif->addresses[i];
		const Xenmesh__V1__GuestAddress *before = i > 0 ? vif->addresses[i - 1] : a;

		require(a->prefix <= (a->ipv6 ? 128 : 32));
		require(a->address.len > 0 && a->address.len < 64);
		require(before->ipv6 < a->ipv6 ||
			(before->ipv6 == a->ipv6 && before->index <= a->index));
	}
}

static void check_info(const Xenmesh__V1__GuestInfo *info)
{
	for (size_t i = 0; i < info->n_vifs; i++) {
		require(i == 0 || info->vifs[i - 1]->devid < info->vifs[i]->devid);
		check_vif(info->vifs[i]);
	}
	for (size_t i = 0; i < info->n_features; i++) {
		const char *key = (const char *)info->features[i]->key.data;

		require(str_starts(key, "control/feature-") || str_starts(key, "feature/"));
	}
	require(info->n_drivers + info->n_features + info->n_other <= 512);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(bridge_tree_deinit) struct bridge_tree tree = BRIDGE_TREE_NULL;
	_cleanup_(arena_deinit) struct arena arena, copy_arena;
	Xenmesh__V1__GuestInfo info;
	static struct fake_tree fake;
	const struct bridge_reader reader = fake_reader(&fake);
	const char *path, *value;
	size_t path_len, len, packed_len;
	uint64_t n_requests = 0;
	ProtobufCMessage *copy;
	uint8_t *packed, *again;

	fake.n = 0;
	while (take_text(&data, &size, &path, &path_len) && take_text(&data, &size, &value, &len)) {
		fake_add(&fake, path, path_len, value, len);
	}
	for (unsigned int part = 0; part < BRIDGE_PARTS; part++) {
		require(bridge_tree_read(&tree, part, &reader, &n_requests) == 0);
	}
	require(n_requests <= 5 + 3 * 512);
	check_tree(&tree);

	arena_init(&arena, BRIDGE_INFO_ARENA);
	arena_init(&copy_arena, 2 * BRIDGE_INFO_ARENA);
	require(bridge_info_build(&tree, &arena, &info) == 0);
	check_info(&info);
	info.uuid = (char *)(uintptr_t) "";
	packed_len = xenmesh__v1__guest_info__get_packed_size(&info);
	require(packed_len < 192 << 10);
	packed = malloc(packed_len + 1);
	again = malloc(packed_len + 1);
	if (packed && again) {
		require(xenmesh__v1__guest_info__pack(&info, packed) == packed_len);
		copy = arena_unpack(&copy_arena, &xenmesh__v1__guest_info__descriptor, packed,
				    packed_len);
		require(copy && protobuf_c_message_get_packed_size(copy) == packed_len);
		protobuf_c_message_pack(copy, again);
		require(memcmp(packed, again, packed_len) == 0);
	}
	free(packed);
	free(again);
	return 0;
}
