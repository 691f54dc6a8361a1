/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is published is kept serialized: equal bytes are equal content, and an
 * answer to a query needs no more work.
 */
#include "services/agent-bridge/guest.h"

#include <inttypes.h>
#include <stdio.h>

#include "libcommon/arena.h"
#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/uuid.h"
#include "services/agent-bridge/info.h"

#define PATH_SIZE 1536 /* of tree.c's, and the domain's home */

/* The handle that xenopsd gives to a domain on its way out. */
#define NOBODY_PREFIX "deadbeef-"

#define WARN_PERIOD_NS (600 * NSEC_PER_SEC)

static void on_watch(struct xenstore *xs _unused_, const char *path _unused_, void *userdata)
{
	const struct bridge_guest_watch *w = userdata;

	w->guest->fn(w->guest, w->part, w->guest->userdata);
}

static int watch(struct bridge_guest *g, unsigned int part)
{
	struct bridge_guest_watch *w = &g->watches[part];
	char path[PATH_SIZE];

	snprintf(path, sizeof(path), "/local/domain/%" PRIu32 "/%s", g->domid,
		 part == BRIDGE_PARTS ? "vm" : bridge_part_name(part));
	*w = (struct bridge_guest_watch){ .guest = g, .part = part };
	return xenstore_watch(g->xs, &w->watch, path, on_watch, w);
}

int bridge_guest_new(struct bridge_guest **out, struct xenstore *xs, uint32_t domid,
		     bridge_guest_fn fn, void *userdata)
{
	_cleanup_(bridge_guest_freep) struct bridge_guest *g = calloc(1, sizeof(*g));
	int r;

	if (!g) {
		return -ENOMEM;
	}
	g->domid = domid;
	g->xs = xs;
	g->fn = fn;
	g->userdata = userdata;
	r = watch(g, BRIDGE_PARTS);
	if (r < 0) {
		return err_trace(r);
	}
	*out = STEAL(g);
	return 0;
}

struct bridge_guest *bridge_guest_free(struct bridge_guest *g)
{
	if (g) {
		for (size_t i = 0; i < ARRAY_LEN(g->watches); i++) {
			xenstore_unwatch(g->watches[i].watch);
		}
		list_unlink(&g->dirty_link);
		bridge_tree_deinit(&g->tree);
		free(g->packed);
		free(g);
	}
	return NULL;
}

int bridge_guest_read_uuid(const struct bridge_guest *g, char uuid[static BRIDGE_UUID_SIZE])
{
	static const char prefix[] = "/vm/";
	_cleanup_(xfreep) char *value = NULL;
	char path[PATH_SIZE];
	struct uuid parsed;
	size_t len;
	int r;

	uuid[0] = '\0';
	snprintf(path, sizeof(path), "/local/domain/%" PRIu32 "/vm", g->domid);
	r = xenstore_read(g->xs, path, &value, &len);
	if (r != 0) {
		return r < 0 ? err_trace(r) : 0;
	}
	if (str_starts(value, prefix) && uuid_parse(value + strlen(prefix), &parsed) == 0 &&
	    !uuid_is_zero(&parsed)) {
		uuid_format(&parsed, uuid);
	}
	if (str_starts(uuid, NOBODY_PREFIX)) {
		uuid[0] = '\0';
	}
	return 0;
}

static void forget(struct bridge_guest *g)
{
	bridge_tree_deinit(&g->tree);
	free(g->packed);
	g->packed = NULL;
	g->packed_len = 0;
	g->first_seen_ns = 0;
	g->updated_ns = 0;
	g->warned_ns = 0;
}

int bridge_guest_become(struct bridge_guest *g, const char *uuid)
{
	int r = 0;

	forget(g);
	snprintf(g->uuid, sizeof(g->uuid), "%s", uuid);
	for (unsigned int part = 0; part < BRIDGE_PARTS && r == 0; part++) {
		struct bridge_guest_watch *w = &g->watches[part];

		if (uuid[0] == '\0') {
			w->watch = xenstore_unwatch(w->watch);
		} else if (!w->watch) {
			r = watch(g, part);
		}
	}
	return r < 0 ? err_trace(r) : 0;
}

/* ---- looking ---- */

static int make_path(const struct bridge_guest *g, const char *path, char out[static PATH_SIZE])
{
	int n = snprintf(out, PATH_SIZE, "/local/domain/%" PRIu32 "/%s", g->domid, path);

	return n < 0 || n >= PATH_SIZE ? -ENAMETOOLONG : 0;
}

/* An error about this one node is as if it was not there; it may have gone since it was listed. */
static int outcome(int r)
{
	return r == -ENOTCONN || r == -ENOMEM ? r : r != 0;
}

static int list_node(void *userdata, const char *path, char ***names, size_t *n)
{
	const struct bridge_guest *g = userdata;
	char full[PATH_SIZE];
	int r = make_path(g, path, full);

	return outcome(r == 0 ? xenstore_list(g->xs, full, names, n) : r);
}

static int read_node(void *userdata, const char *path, char **value, size_t *len)
{
	const struct bridge_guest *g = userdata;
	char full[PATH_SIZE];
	int r = make_path(g, path, full);

	return outcome(r == 0 ? xenstore_read(g->xs, full, value, len) : r);
}

static void warn_truncated(struct bridge_guest *g, uint64_t now_ns)
{
	if (g->warned_ns != 0 && now_ns - g->warned_ns < WARN_PERIOD_NS) {
		return;
	}
	g->warned_ns = now_ns;
	log_fields(LOG_LEVEL_WARNING, LOG_FIELDS({ "VM", g->uuid }),
		   "domain %" PRIu32 " (%s) has more in xenstore than is looked at: its agent is "
		   "broken or hostile; the rest is left out",
		   g->domid, g->uuid);
}

/* 1 when info says something else than g->packed, which it replaces; 0; -ENOMEM. */
static int take(struct bridge_guest *g, Xenmesh__V1__GuestInfo *info, struct arena *arena)
{
	uint64_t now_ns = clock_real_ns();
	uint8_t *packed;
	size_t len;

	info->uuid = g->uuid;
	info->domid = g->domid;
	info->first_seen_ns = g->first_seen_ns ? g->first_seen_ns : now_ns;
	info->updated_ns = g->updated_ns;
	len = xenmesh__v1__guest_info__get_packed_size(info);
	packed = arena_alloc(arena, len);
	if (!packed) {
		return -ENOMEM;
	}
	xenmesh__v1__guest_info__pack(info, packed);
	if (g->packed && len == g->packed_len && memcmp(packed, g->packed, len) == 0) {
		return 0;
	}
	info->updated_ns = now_ns;
	len = xenmesh__v1__guest_info__get_packed_size(info);
	packed = malloc(len);
	if (!packed) {
		return -ENOMEM;
	}
	g->packed_len = xenmesh__v1__guest_info__pack(info, packed);
	free(g->packed);
	g->packed = packed;
	g->first_seen_ns = info->first_seen_ns;
	g->updated_ns = info->updated_ns;
	return 1;
}

int bridge_guest_look(struct bridge_guest *g, unsigned int mask, uint64_t *n_requests)
{
	const struct bridge_reader reader = { list_node, read_node, g };
	_cleanup_(arena_deinit) struct arena arena;
	Xenmesh__V1__GuestInfo info;
	int r;

	arena_init(&arena, BRIDGE_INFO_ARENA);
	for (unsigned int part = 0; part < BRIDGE_PARTS; part++) {
		if (mask & (1U << part)) {
			r = bridge_tree_read(&g->tree, part, &reader, n_requests);
			if (r < 0) {
				return err_trace(r);
			}
		}
	}
	r = bridge_info_build(&g->tree, &arena, &info);
	if (r < 0) {
		return err_trace(r);
	}
	if (info.truncated) {
		warn_truncated(g, clock_boot_ns());
	}
	return take(g, &info, &arena);
}

Xenmesh__V1__GuestInfo *bridge_guest_info(const struct bridge_guest *g, struct arena *arena)
{
	return (Xenmesh__V1__GuestInfo *)(void *)arena_unpack(
		arena, &xenmesh__v1__guest_info__descriptor, g->packed, g->packed_len);
}

Xenmesh__V1__GuestInfo *bridge_guest_touch(struct bridge_guest *g, struct arena *arena)
{
	Xenmesh__V1__GuestInfo *info = bridge_guest_info(g, arena);

	if (info) {
		/* A number of fixed size: the new bytes are as many as the old ones. */
		g->updated_ns = info->updated_ns = clock_real_ns();
		xenmesh__v1__guest_info__pack(info, g->packed);
	}
	return info;
}
