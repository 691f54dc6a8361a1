/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Each node is taken by exactly one field or goes to `other`.  Arrays are made
 * as long as they could at most become: one element a node.
 */
#include "services/agent-bridge/info.h"

#include <arpa/inet.h>

#include "libcommon/parse.h"

/* No guest has an exbibyte. */
#define MEMORY_MAX_KIB (UINT64_C(1) << 50)
#define ADDRESS_SIZE   64

struct build {
	struct arena *arena;
	Xenmesh__V1__GuestInfo *info;
	size_t n_nodes;
	bool is_out_of_memory;
};

static void *allocate(struct build *b, size_t size)
{
	void *p = arena_alloc(b->arena, size);

	b->is_out_of_memory |= !p;
	return p;
}

static ProtobufCBinaryData text_of(const struct bridge_node *node)
{
	return (ProtobufCBinaryData){ .len = node->len, .data = (uint8_t *)node->value };
}

/* What follows prefix in path; NULL when path does not start with it. */
static const char *after(const char *path, const char *prefix)
{
	return str_starts(path, prefix) ? path + strlen(prefix) : NULL;
}

/* Take a decimal number, and the '/' after it, from *path. */
static bool take_number(const char **path, uint32_t max, uint32_t *out)
{
	size_t len = strcspn(*path, "/");

	if (parse_u32(*path, len, max, out) != 0) {
		return false;
	}
	*path += len + ((*path)[len] == '/');
	return true;
}

/* ---- lists of keys ---- */

static void add_key(struct build *b, Xenmesh__V1__GuestKey ***list, size_t *n,
		    const struct bridge_node *node)
{
	Xenmesh__V1__GuestKey *key = allocate(b, sizeof(*key));

	if (!*list) {
		*list = allocate(b, b->n_nodes * sizeof(**list));
	}
	if (!key || !*list) {
		return;
	}
	xenmesh__v1__guest_key__init(key);
	key->key = (ProtobufCBinaryData){ .len = strlen(node->path),
					  .data = (uint8_t *)node->path };
	key->value = text_of(node);
	(*list)[(*n)++] = key;
}

static void add_other(struct build *b, const struct bridge_node *node)
{
	/* A directory is known by what is in it. */
	if (!node->has_children || node->len > 0) {
		add_key(b, &b->info->other, &b->info->n_other, node);
	}
}

/* ---- vifs ---- */

/* The vif of that devid, made when it is new; ascending. */
static Xenmesh__V1__GuestVif *get_vif(struct build *b, uint32_t devid)
{
	Xenmesh__V1__GuestInfo *info = b->info;
	Xenmesh__V1__GuestVif *vif;
	size_t i = info->n_vifs;

	while (i > 0 && info->vifs[i - 1]->devid >= devid) {
		i--;
		if (info->vifs[i]->devid == devid) {
			return info->vifs[i];
		}
	}
	if (!info->vifs) {
		info->vifs = allocate(b, b->n_nodes * sizeof(*info->vifs));
	}
	vif = allocate(b, sizeof(*vif));
	if (!vif || !info->vifs) {
		return NULL;
	}
	xenmesh__v1__guest_vif__init(vif);
	vif->devid = devid;
	memmove(&info->vifs[i + 1], &info->vifs[i], (info->n_vifs - i) * sizeof(*info->vifs));
	info->vifs[i] = vif;
	info->n_vifs++;
	return vif;
}

/* An address in text form; IPv6 may name its scope ("fe80::1%4"). */
static bool is_address(const struct bridge_node *node, bool is_ipv6)
{
	char text[ADDRESS_SIZE];
	uint8_t bytes[16];

	if (node->len >= sizeof(text) || memchr(node->value, '\0', node->len)) {
		return false;
	}
	memcpy(text, node->value, node->len);
	text[node->len] = '\0';
	if (is_ipv6) {
		text[strcspn(text, "%")] = '\0';
	}
	return inet_pton(is_ipv6 ? AF_INET6 : AF_INET, text, bytes) == 1;
}

/* Keeps (family, index) ascending. False when it is no address or there are too many. */
static bool add_address(struct build *b, uint32_t devid, bool is_ipv6, uint32_t index,
			const struct bridge_node *node)
{
	Xenmesh__V1__GuestAddress *address;
	Xenmesh__V1__GuestVif *vif;
	size_t i;

	if (!is_address(node, is_ipv6)) {
		return false;
	}
	vif = get_vif(b, devid);
	if (!vif || vif->n_addresses == BRIDGE_ADDRESSES_MAX) {
		return false;
	}
	if (!vif->addresses) {
		vif->addresses = allocate(b, MIN(b->n_nodes, (size_t)BRIDGE_ADDRESSES_MAX) *
						     sizeof(*vif->addresses));
	}
	address = allocate(b, sizeof(*address));
	if (!address || !vif->addresses) {
		return false;
	}
	xenmesh__v1__guest_address__init(address);
	address->address = text_of(node);
	address->ipv6 = is_ipv6;
	address->index = index;
	for (i = vif->n_addresses; i > 0; i--) {
		const Xenmesh__V1__GuestAddress *before = vif->addresses[i - 1];

		if (before->ipv6 < is_ipv6 || (before->ipv6 == is_ipv6 && before->index <= index)) {
			break;
		}
		vif->addresses[i] = vif->addresses[i - 1];
	}
	vif->addresses[i] = address;
	vif->n_addresses++;
	return true;
}

static bool set_prefix(struct build *b, uint32_t devid, bool is_ipv6, uint32_t index,
		       const struct bridge_node *node)
{
	const Xenmesh__V1__GuestVif *vif = get_vif(b, devid);
	uint32_t prefix;

	if (!vif || parse_u32(node->value, node->len, is_ipv6 ? 128 : 32, &prefix) != 0) {
		return false;
	}
	for (size_t i = 0; i < vif->n_addresses; i++) {
		if (vif->addresses[i]->ipv6 == is_ipv6 && vif->addresses[i]->index == index) {
			vif->addresses[i]->prefix = prefix;
			return true;
		}
	}
	return false;
}

/* path: what follows "attr/vif/". True when the node was taken. */
static bool take_vif(struct build *b, const char *path, const struct bridge_node *node)
{
	bool is_ipv6 = false;
	uint32_t devid, index;
	Xenmesh__V1__GuestVif *vif;
	const char *rest;

	if (!take_number(&path, BRIDGE_DEVID_MAX, &devid)) {
		return false;
	}
	if (path[0] == '\0') {
		/* Some agents say that a vif is there before they know an address. */
		return node->len == 0 && get_vif(b, devid);
	}
	if (streq(path, "name") || streq(path, "mac/0")) {
		vif = get_vif(b, devid);
		if (vif) {
			*(path[0] == 'n' ? &vif->name : &vif->mac) = text_of(node);
		}
		return true;
	}
	rest = after(path, "ipv4/");
	if (!rest) {
		rest = after(path, "ipv6/");
		is_ipv6 = true;
	}
	if (!rest || !take_number(&rest, UINT16_MAX, &index)) {
		return false;
	}
	if (rest[0] == '\0') {
		return add_address(b, devid, is_ipv6, index, node);
	}
	return streq(rest, "prefix") && set_prefix(b, devid, is_ipv6, index, node);
}

/* attr/eth0/ip, attr/eth0/ipv6/0/addr: the number is the vif's, whatever the device is called in
 * the guest.  True when the node was taken. */
static bool take_old_vif(struct build *b, const char *path, const struct bridge_node *node)
{
	static const char *const names[] = { "eth", "xenbr", "eno", "ens", "emp", "enx", "enX" };
	uint32_t devid, index;
	const char *rest = NULL;

	for (size_t i = 0; !rest && i < ARRAY_LEN(names); i++) {
		rest = after(path, names[i]);
	}
	if (!rest || !take_number(&rest, BRIDGE_DEVID_MAX, &devid)) {
		return false;
	}
	if (streq(rest, "ip")) {
		return add_address(b, devid, false, 0, node);
	}
	rest = after(rest, "ipv6/");
	return rest && take_number(&rest, UINT16_MAX, &index) && streq(rest, "addr") &&
	       add_address(b, devid, true, index, node);
}

/* ---- the parts ---- */

static bool take_agent(Xenmesh__V1__GuestAgentVersion *agent, const char *name,
		       const struct bridge_node *node)
{
	const struct {
		const char *name;
		ProtobufCBinaryData *field;
	} known[] = {
		{ "MajorVersion", &agent->major },
		{ "MinorVersion", &agent->minor },
		{ "MicroVersion", &agent->micro },
		{ "BuildVersion", &agent->build },
	};

	if (streq(name, "Installed")) {
		agent->installed = node->len == 1 && node->value[0] == '1';
		return true;
	}
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (streq(name, known[i].name)) {
			*known[i].field = text_of(node);
			return true;
		}
	}
	return false;
}

static bool has_addresses(const Xenmesh__V1__GuestInfo *info)
{
	for (size_t i = 0; i < info->n_vifs; i++) {
		if (info->vifs[i]->n_addresses > 0) {
			return true;
		}
	}
	return false;
}

static void take_attr(struct build *b, const struct bridge_nodes *nodes)
{
	bool has_new_dialect;

	for (size_t i = 0; i < nodes->n; i++) {
		const struct bridge_node *node = &nodes->nodes[i];
		const char *addon = after(node->path, "attr/PVAddons/");
		const char *vif = after(node->path, "attr/vif/");

		if ((addon && !take_agent(b->info->agent, addon, node)) ||
		    (vif && !take_vif(b, vif, node))) {
			add_other(b, node);
		}
	}
	has_new_dialect = has_addresses(b->info);
	for (size_t i = 0; i < nodes->n; i++) {
		const struct bridge_node *node = &nodes->nodes[i];
		const char *path = node->path + strlen("attr/");

		if (!str_starts(path, "PVAddons/") && !str_starts(path, "vif/") &&
		    (has_new_dialect || !take_old_vif(b, path, node))) {
			add_other(b, node);
		}
	}
}

static bool take_kib(const struct bridge_node *node, uint64_t *out)
{
	return parse_u64(node->value, node->len, MEMORY_MAX_KIB, out) == 0;
}

static bool take_data_node(struct build *b, const struct bridge_node *node)
{
	Xenmesh__V1__GuestInfo *info = b->info;
	const struct {
		const char *path;
		ProtobufCBinaryData *field;
	} known[] = {
		{ "data/os_name", &info->os->name },	  { "data/os_distro", &info->os->distro },
		{ "data/os_majorver", &info->os->major }, { "data/os_minorver", &info->os->minor },
		{ "data/os_uname", &info->os->uname },	  { "data/host_name_dns", &info->hostname },
	};

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (streq(node->path, known[i].path)) {
			*known[i].field = text_of(node);
			return true;
		}
	}
	if (streq(node->path, "data/meminfo_total")) {
		return take_kib(node, &info->memory_total_kib);
	}
	return streq(node->path, "data/meminfo_free") && take_kib(node, &info->memory_free_kib);
}

static void take_data(struct build *b, const struct bridge_nodes *nodes)
{
	for (size_t i = 0; i < nodes->n; i++) {
		if (!take_data_node(b, &nodes->nodes[i])) {
			add_other(b, &nodes->nodes[i]);
		}
	}
}

static void take_keys(struct build *b, const struct bridge_nodes *nodes,
		      Xenmesh__V1__GuestKey ***list, size_t *n)
{
	for (size_t i = 0; i < nodes->n; i++) {
		if (!nodes->nodes[i].has_children) {
			add_key(b, list, n, &nodes->nodes[i]);
		}
	}
}

int bridge_info_build(const struct bridge_tree *tree, struct arena *arena,
		      Xenmesh__V1__GuestInfo *info)
{
	struct build b = { .arena = arena, .info = info };

	for (size_t i = 0; i < BRIDGE_PARTS; i++) {
		b.n_nodes += tree->parts[i].n;
	}
	xenmesh__v1__guest_info__init(info);
	info->agent = allocate(&b, sizeof(*info->agent));
	info->os = allocate(&b, sizeof(*info->os));
	if (b.is_out_of_memory) {
		return -ENOMEM;
	}
	xenmesh__v1__guest_agent_version__init(info->agent);
	xenmesh__v1__guest_os__init(info->os);
	take_attr(&b, &tree->parts[BRIDGE_ATTR]);
	take_data(&b, &tree->parts[BRIDGE_DATA]);
	take_keys(&b, &tree->parts[BRIDGE_CONTROL], &info->features, &info->n_features);
	take_keys(&b, &tree->parts[BRIDGE_FEATURE], &info->features, &info->n_features);
	take_keys(&b, &tree->parts[BRIDGE_DRIVERS], &info->drivers, &info->n_drivers);
	info->truncated = bridge_tree_is_truncated(tree);
	return b.is_out_of_memory ? -ENOMEM : 0;
}
