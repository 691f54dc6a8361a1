/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A device that goes while it is read is not an error: it is left out or shown
 * with what was still there, and the watch that brought us here fires again.
 */
#include "services/ops/host/devices.h"

#include <stdio.h>

#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/parse.h"
#include "libcommon/xenstore.h"

#define ARENA_LIMIT (1U << 20)
#define TEXT_MAX    1024

/* One device's directory below /libxl, and where its backend is. */
struct device_dir {
	struct arena *arena;
	struct xenstore *xs;
	char path[64];
	uint32_t domid;
	uint32_t devid;
	uint32_t backend_domid;
	const char *state_path; /* NULL = not readable for us */
};

struct device_kind {
	const char *name;
	int (*reserve)(struct host_devices *d, size_t n);
	int (*read)(struct host_devices *d, struct device_dir *dir);
};

void host_devices_deinit(struct host_devices *d)
{
	arena_deinit(&d->arena);
	*d = (struct host_devices){ 0 };
}

/* *out: text that is safe to pass on, "" when absent. */
static int read_text(const struct device_dir *dir, const char *key, char **out)
{
	_cleanup_(xfreep) char *value = NULL;
	char path[96], text[TEXT_MAX];
	size_t len = 0;
	int r;

	*out = (char *)protobuf_c_empty_string;
	snprintf(path, sizeof(path), "%s/%s", dir->path, key);
	r = xenstore_read(dir->xs, path, &value, &len);
	if (r < 0) {
		return err_trace(r);
	}
	log_escape(text, sizeof(text), value ? value : "", len);
	*out = arena_strndup(dir->arena, text, strlen(text));
	return *out ? 0 : -ENOMEM;
}

/* "/local/domain/<B>/backend/<kind>/<domid>/<devid>" */
static int parse_backend(struct device_dir *dir, const char *path)
{
	char kind[16], expected[128];

	if (sscanf(path, "/local/domain/%5u/backend/%15[a-z0-9_]/", &dir->backend_domid, kind) !=
	    2) {
		return -EINVAL;
	}
	snprintf(expected, sizeof(expected), "/local/domain/%u/backend/%s/%u/%u",
		 dir->backend_domid, kind, dir->domid, dir->devid);
	if (!streq(expected, path)) {
		return -EINVAL;
	}
	if (dir->backend_domid == 0) {
		dir->state_path = arena_printf(dir->arena, "%s/state", path);
		return dir->state_path ? 0 : -ENOMEM;
	}
	return 0;
}

/* 0; 1 = there is no such device (any more), or one that cannot be understood. */
static int open_device(struct device_dir *dir)
{
	char *backend;
	int r = read_text(dir, "backend", &backend);

	if (r < 0) {
		return r;
	}
	if (!*backend) {
		return 1;
	}
	r = parse_backend(dir, backend);
	if (r == -EINVAL) {
		log_warning("xenstore: %s/backend is not understood: %s", dir->path, backend);
		return 1;
	}
	return r;
}

static int read_state(struct xenstore *xs, const char *path, uint32_t *out)
{
	uint64_t state = 0;
	int r;

	*out = 0;
	if (!path) {
		return 0;
	}
	r = xenstore_read_u64(xs, path, &state);
	if (r == 0 && state <= 8) { /* XenbusStateReconfigured */
		*out = (uint32_t)state;
	}
	return r == -EINVAL || r == -ERANGE || r > 0 ? 0 : r;
}

static int read_vif(struct host_devices *d, struct device_dir *dir)
{
	Xenmesh__V1__VifState *vif = arena_alloc(dir->arena, sizeof(*vif));
	int r;

	if (!vif) {
		return -ENOMEM;
	}
	xenmesh__v1__vif_state__init(vif);
	vif->devid = dir->devid;
	vif->backend_domid = dir->backend_domid;
	if ((r = read_text(dir, "mac", &vif->mac)) < 0 ||
	    (r = read_text(dir, "bridge", &vif->bridge)) < 0 ||
	    (r = read_state(dir->xs, dir->state_path, &vif->xenbus_state)) < 0) {
		return r;
	}
	d->vif_state_paths[d->n_vifs] = dir->state_path;
	d->vifs[d->n_vifs++] = vif;
	return 0;
}

/* qemu's disks are recorded as "<format>:<target>". */
static char *strip_format(char *params)
{
	static const char *const formats[] = { "aio:", "raw:", "qcow:", "qcow2:", "vhd:", "qed:" };

	for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
		if (str_starts(params, formats[i])) {
			return params + strlen(formats[i]);
		}
	}
	return params;
}

static int read_vbd(struct host_devices *d, struct device_dir *dir)
{
	Xenmesh__V1__VbdState *vbd = arena_alloc(dir->arena, sizeof(*vbd));
	char *mode;
	int r;

	if (!vbd) {
		return -ENOMEM;
	}
	xenmesh__v1__vbd_state__init(vbd);
	vbd->devid = dir->devid;
	vbd->backend_domid = dir->backend_domid;
	if ((r = read_text(dir, "dev", &vbd->vdev)) < 0 ||
	    (r = read_text(dir, "params", &vbd->target)) < 0 ||
	    (r = read_text(dir, "mode", &mode)) < 0 ||
	    (r = read_state(dir->xs, dir->state_path, &vbd->xenbus_state)) < 0) {
		return r;
	}
	vbd->target = strip_format(vbd->target);
	vbd->readonly = mode[0] == 'r';
	d->vbd_state_paths[d->n_vbds] = dir->state_path;
	d->vbds[d->n_vbds++] = vbd;
	return 0;
}

static int reserve_vifs(struct host_devices *d, size_t n)
{
	d->vifs = arena_alloc(&d->arena, n * sizeof(*d->vifs));
	d->vif_state_paths = arena_alloc(&d->arena, n * sizeof(*d->vif_state_paths));
	return d->vifs && d->vif_state_paths ? 0 : -ENOMEM;
}

static int reserve_vbds(struct host_devices *d, size_t n)
{
	d->vbds = arena_alloc(&d->arena, n * sizeof(*d->vbds));
	d->vbd_state_paths = arena_alloc(&d->arena, n * sizeof(*d->vbd_state_paths));
	return d->vbds && d->vbd_state_paths ? 0 : -ENOMEM;
}

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Numbers of the children of path, ascending; at most HOST_DEVICES_MAX. */
static int list_devids(struct xenstore *xs, const char *path, uint32_t *out, size_t *n_out)
{
	_cleanup_(xfreep) char **names = NULL;
	size_t n = 0;
	int r = xenstore_list(xs, path, &names, &n);

	*n_out = 0;
	if (r < 0) {
		return err_trace(r);
	}
	for (size_t i = 0; r == 0 && i < n; i++) {
		if (*n_out == HOST_DEVICES_MAX) {
			log_warning("xenstore: %s has %zu devices, only %d are shown", path, n,
				    HOST_DEVICES_MAX);
			break;
		}
		if (parse_u32(names[i], strlen(names[i]), UINT32_MAX, &out[*n_out]) == 0) {
			++*n_out;
		}
	}
	qsort(out, *n_out, sizeof(*out), compare_u32);
	return 0;
}

static int read_kind(struct host_devices *d, struct xenstore *xs, const struct device_kind *kind,
		     uint32_t domid)
{
	uint32_t devids[HOST_DEVICES_MAX];
	char path[64];
	size_t n;
	int r;

	snprintf(path, sizeof(path), "/libxl/%u/device/%s", domid, kind->name);
	r = list_devids(xs, path, devids, &n);
	if (r < 0) {
		return r;
	}
	r = kind->reserve(d, n);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		struct device_dir dir = {
			.arena = &d->arena, .xs = xs, .domid = domid, .devid = devids[i]
		};

		snprintf(dir.path, sizeof(dir.path), "/libxl/%u/device/%s/%u", domid, kind->name,
			 devids[i]);
		r = open_device(&dir);
		if (r == 0) {
			r = kind->read(d, &dir);
		}
	}
	return MIN(r, 0);
}

int host_devices_read(struct host_devices *d, struct xenstore *xs, uint32_t domid)
{
	static const struct device_kind kinds[] = {
		{ "vif", reserve_vifs, read_vif },
		{ "vbd", reserve_vbds, read_vbd },
	};
	struct host_devices fresh = { 0 };

	arena_init(&fresh.arena, ARENA_LIMIT);
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		int r = read_kind(&fresh, xs, &kinds[i], domid);

		if (r < 0) {
			host_devices_deinit(&fresh);
			return err_trace(r);
		}
	}
	arena_deinit(&d->arena);
	*d = fresh;
	return 0;
}

int host_devices_read_states(struct host_devices *d, struct xenstore *xs)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < d->n_vifs; i++) {
		r = read_state(xs, d->vif_state_paths[i], &d->vifs[i]->xenbus_state);
	}
	for (size_t i = 0; r == 0 && i < d->n_vbds; i++) {
		r = read_state(xs, d->vbd_state_paths[i], &d->vbds[i]->xenbus_state);
	}
	return err_trace(r);
}
