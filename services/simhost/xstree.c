/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Permissions are inherited at creation, so only the node where they change
 * gets its own; below a node that the guest owns everything is the guest's.
 */
#include "services/simhost/xstree.h"

#include <inttypes.h>
#include <stdio.h>

#include "libcommon/parse.h"

#define PATH_SIZE   160
#define NUMBER_SIZE 24
#define CONNECTED   "4"

#define XVD_MAJOR      202u
#define XVD_DISKS      16u /* with 16 partitions each; more have the extended form */
#define XVD_EXTENDED   (1u << 28)
#define XVD_DISKS_MAX  (1u << 20)
#define SD_MAJOR       8u
#define PARTITIONS     16u
#define PARTITIONS_MAX 256u /* of an extended one */

struct writer {
	struct xsbatch *b;
	char base[PATH_SIZE];
};

static struct writer writer_at(struct xsbatch *b, const char *base)
{
	struct writer w = { .b = b };

	snprintf(w.base, sizeof(w.base), "%s", base);
	return w;
}

static void put(const struct writer *w, const char *name, const char *value)
{
	xsbatch_writef(w->b, value, "%s/%s", w->base, name);
}

static void put_number(const struct writer *w, const char *name, uint64_t value)
{
	char text[NUMBER_SIZE];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	put(w, name, text);
}

/* A child with permissions of its own. */
static void put_node(const struct writer *w, const char *name, uint32_t owner, uint32_t reader)
{
	char path[PATH_SIZE + 64];

	snprintf(path, sizeof(path), "%s/%s", w->base, name);
	xsbatch_node(w->b, path, owner, reader);
}

/* ---- the domain ---- */

static void put_vm(struct xsbatch *b, const Xenmesh__Host__Domain *d,
		   const Xenmesh__V1__VmConfig *config)
{
	char base[PATH_SIZE];
	struct writer w;

	snprintf(base, sizeof(base), "/vm/%s", d->uuid);
	xsbatch_node(b, base, 0, d->domid);
	w = writer_at(b, base);
	put(&w, "name", d->name);
	put(&w, "uuid", d->uuid);
	put(&w, "image/ostype", "linux");
	put(&w, "image/kernel", config->kernel);
	put(&w, "image/ramdisk", config->ramdisk);
	put(&w, "image/cmdline", config->cmdline);
	xstree_start_time(b, d);
}

void xstree_start_time(struct xsbatch *b, const Xenmesh__Host__Domain *d)
{
	char text[2 * NUMBER_SIZE];

	snprintf(text, sizeof(text), "%" PRIu64 ".%02u", d->started_ns / 1000000000,
		 (unsigned int)(d->started_ns % 1000000000 / 10000000));
	xsbatch_writef(b, text, "/vm/%s/start_time", d->uuid);
}

static void put_libxl(struct xsbatch *b, const Xenmesh__Host__Domain *d)
{
	bool is_pvh = d->type == XENMESH__V1__VM_TYPE__VM_TYPE_PVH;
	char base[PATH_SIZE];
	struct writer w;

	snprintf(base, sizeof(base), "/libxl/%u", d->domid);
	xsbatch_node(b, base, 0, 0);
	w = writer_at(b, base);
	put(&w, "device", "");
	put(&w, "type", is_pvh ? "pvh" : "pv");
	put(&w, "dm-version", "qemu_xen");
}

static void put_console(const struct writer *w, uint32_t domid)
{
	char path[PATH_SIZE];

	snprintf(path, sizeof(path), "/local/domain/0/backend/console/%u/0", domid);
	put_node(w, "console", 0, domid);
	put(w, "console/backend", path);
	put(w, "console/backend-id", "0");
	put(w, "console/limit", "1048576");
	put(w, "console/type", "xenconsoled");
	put(w, "console/output", "pty");
	put(w, "console/port", "2");
	put(w, "console/ring-ref", "1");
}

/* Where the guest may write. */
static void put_guest_owned(const struct writer *w, uint32_t domid)
{
	static const char *const names[] = { "device/suspend/event-channel",
					     "control/shutdown",
					     "control/feature-poweroff",
					     "control/feature-reboot",
					     "control/feature-suspend",
					     "control/sysrq",
					     "data",
					     "drivers",
					     "feature",
					     "attr",
					     "error" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		put_node(w, names[i], domid, domid);
	}
}

void xstree_domain(struct xsbatch *b, const Xenmesh__Host__Domain *d,
		   const Xenmesh__V1__VmConfig *config)
{
	char base[PATH_SIZE], name[PATH_SIZE];
	struct writer w;

	put_vm(b, d, config);
	put_libxl(b, d);
	snprintf(base, sizeof(base), "/local/domain/%u", d->domid);
	xsbatch_node(b, base, 0, d->domid);
	w = writer_at(b, base);
	snprintf(name, sizeof(name), "/vm/%s", d->uuid);
	put(&w, "vm", name);
	put(&w, "name", d->name);
	for (uint32_t i = 0; i < d->max_vcpus; i++) {
		snprintf(name, sizeof(name), "cpu/%u/availability", i);
		put(&w, name, i < d->vcpus_online ? "online" : "offline");
	}
	put_number(&w, "memory/static-max", d->max_memory_kib);
	put_number(&w, "memory/target", d->memory_kib);
	put(&w, "memory/videoram", "0");
	put(&w, "device/vbd", "");
	put(&w, "device/vif", "");
	put_guest_owned(&w, d->domid);
	put(&w, "control/platform-feature-multiprocessor-suspend", "1");
	put(&w, "control/platform-feature-xs_reset_watches", "1");
	put_number(&w, "domid", d->domid);
	put(&w, "store/port", "1");
	put(&w, "store/ring-ref", "1");
	put_console(&w, d->domid);
}

/* ---- devices ---- */

struct device {
	struct xsbatch *b;
	uint32_t domid;
	const char *kind; /* "vif" */
	uint32_t devid;
	char frontend[PATH_SIZE];
	char backend[PATH_SIZE];
	char record[PATH_SIZE]; /* libxl's own */
};

static struct device device_at(struct xsbatch *b, uint32_t domid, const char *kind, uint32_t devid)
{
	struct device dev = { .b = b, .domid = domid, .kind = kind, .devid = devid };

	snprintf(dev.frontend, PATH_SIZE, "/local/domain/%u/device/%s/%u", domid, kind, devid);
	snprintf(dev.backend, PATH_SIZE, "/local/domain/0/backend/%s/%u/%u", kind, domid, devid);
	snprintf(dev.record, PATH_SIZE, "/libxl/%u/device/%s/%u", domid, kind, devid);
	return dev;
}

/* The same on both of dom0's sides, but the record's way to the backend. */
static void put_backend(const struct device *dev, const char *name, const char *value)
{
	struct writer backend = writer_at(dev->b, dev->backend);
	struct writer record = writer_at(dev->b, dev->record);

	put(&backend, name, value);
	put(&record, name, value);
}

static void put_sides(const struct device *dev)
{
	struct writer frontend = writer_at(dev->b, dev->frontend);
	struct writer record = writer_at(dev->b, dev->record);
	char domid[NUMBER_SIZE];

	snprintf(domid, sizeof(domid), "%u", dev->domid);
	xsbatch_node(dev->b, dev->record, 0, 0);
	xsbatch_node(dev->b, dev->frontend, dev->domid, 0);
	xsbatch_node(dev->b, dev->backend, 0, dev->domid);
	put(&frontend, "backend", dev->backend);
	put(&frontend, "backend-id", "0");
	put(&frontend, "state", "1");
	put(&frontend, "trusted", "1");
	put(&record, "backend", dev->backend);
	put_backend(dev, "frontend", dev->frontend);
	put_backend(dev, "frontend-id", domid);
	put_backend(dev, "online", "1");
}

/* The record keeps what the toolstack wrote; the backend is where the kernel is now. */
static void put_waiting(const struct device *dev)
{
	struct writer backend = writer_at(dev->b, dev->backend);
	struct writer record = writer_at(dev->b, dev->record);

	put(&record, "state", "1");
	put(&backend, "state", "2");
	put(&backend, "hotplug-status", "connected");
}

void xstree_vif(struct xsbatch *b, uint32_t domid, const Xenmesh__V1__VifState *vif,
		const Xenmesh__V1__VifConfig *config)
{
	struct device dev = device_at(b, domid, "vif", vif->devid);
	struct writer frontend = writer_at(b, dev.frontend);
	char handle[NUMBER_SIZE];

	snprintf(handle, sizeof(handle), "%u", vif->devid);
	put_sides(&dev);
	put(&frontend, "handle", handle);
	put(&frontend, "mac", vif->mac);
	put(&frontend, "mtu", "1500");
	put_backend(&dev, "script",
		    config->script[0] ? config->script : "/etc/xen/scripts/vif-bridge");
	put_backend(&dev, "mac", vif->mac);
	put_backend(&dev, "bridge", vif->bridge);
	put_backend(&dev, "handle", handle);
	put_backend(&dev, "type", "vif");
	put_waiting(&dev);
}

void xstree_vbd(struct xsbatch *b, uint32_t domid, const Xenmesh__V1__VbdState *vbd,
		const Xenmesh__V1__VbdConfig *config)
{
	struct device dev = device_at(b, domid, "vbd", vbd->devid);
	struct writer frontend = writer_at(b, dev.frontend);
	char devid[NUMBER_SIZE];

	snprintf(devid, sizeof(devid), "%u", vbd->devid);
	put_sides(&dev);
	put(&frontend, "virtual-device", devid);
	put(&frontend, "device-type", "disk");
	put_backend(&dev, "params", vbd->target);
	put_backend(&dev, "script", config->script[0] ? config->script : "/etc/xen/scripts/block");
	put_backend(&dev, "removable", "0");
	put_backend(&dev, "bootable", "1");
	put_backend(&dev, "dev", vbd->vdev);
	put_backend(&dev, "type", streq(config->backendtype, "qdisk") ? "qdisk" : "phy");
	put_backend(&dev, "mode", vbd->readonly ? "r" : "w");
	put_backend(&dev, "device-type", "disk");
	put_backend(&dev, "discard-enable", "1");
	put_backend(&dev, "specification", "xen");
	put_waiting(&dev);
}

void xstree_connect_vif(struct xsbatch *b, uint32_t domid, const Xenmesh__V1__VifState *vif)
{
	struct device dev = device_at(b, domid, "vif", vif->devid);
	struct writer backend = writer_at(b, dev.backend);

	put(&backend, "feature-sg", "1");
	put(&backend, "feature-rx-copy", "1");
	put(&backend, "feature-split-event-channels", "1");
	put(&backend, "state", CONNECTED);
}

void xstree_connect_vbd(struct xsbatch *b, uint32_t domid, const Xenmesh__V1__VbdState *vbd)
{
	struct device dev = device_at(b, domid, "vbd", vbd->devid);
	struct writer backend = writer_at(b, dev.backend);

	put(&backend, "feature-flush-cache", "1");
	put(&backend, "feature-persistent", "1");
	put(&backend, "sectors", "41943040");
	put(&backend, "sector-size", "512");
	put(&backend, "physical-sector-size", "512");
	put(&backend, "state", CONNECTED);
}

void xstree_remove(struct xsbatch *b, uint32_t domid, const char *uuid)
{
	static const char *const kinds[] = { "vif", "vbd" };
	char path[PATH_SIZE];

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		snprintf(path, sizeof(path), "/local/domain/0/backend/%s/%u", kinds[i], domid);
		xsbatch_remove(b, path);
	}
	snprintf(path, sizeof(path), "/local/domain/%u", domid);
	xsbatch_remove(b, path);
	snprintf(path, sizeof(path), "/libxl/%u", domid);
	xsbatch_remove(b, path);
	snprintf(path, sizeof(path), "/vm/%s", uuid);
	xsbatch_remove(b, path);
}

/* ---- names of disks ---- */

int xstree_vdev_number(const char *vdev, uint32_t *out)
{
	bool is_xvd = str_starts(vdev, "xvd");
	const char *at = vdev + (is_xvd ? 3 : 2);
	uint32_t disk = 0, partition = 0;
	int r = 0;

	if (!is_xvd && !str_starts(vdev, "sd") && !str_starts(vdev, "hd")) {
		return -EINVAL;
	}
	/* Letters count as in a spreadsheet: z is followed by aa. */
	if (*at < 'a' || *at > 'z') {
		return -EINVAL;
	}
	for (; *at >= 'a' && *at <= 'z'; at++) {
		disk = disk * 26 + (uint32_t)(*at - 'a') + 1;
		if (disk > XVD_DISKS_MAX) {
			return -EINVAL;
		}
	}
	disk--;
	if (*at) {
		r = parse_u32(at, strlen(at), PARTITIONS_MAX - 1, &partition);
	}
	if (r < 0) {
		return -EINVAL;
	}
	if (is_xvd && (disk >= XVD_DISKS || partition >= PARTITIONS)) {
		*out = XVD_EXTENDED | disk << 8 | partition;
	} else if (partition < PARTITIONS && disk < XVD_DISKS) {
		*out = (is_xvd ? XVD_MAJOR : SD_MAJOR) << 8 | disk << 4 | partition;
	} else {
		return -EINVAL;
	}
	return 0;
}
