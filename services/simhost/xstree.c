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

/* Numbers of Linux's block devices, as xen-vbd-interface(7) wants them. */
#define XVD_MAJOR      202u
#define XVD_EXTENDED   (1u << 28) /* for xvd beyond these */
#define XVD_DISKS_MAX  (1u << 20)
#define SD_MAJOR       8u
#define DISKS	       16u
#define PARTITIONS     16u
#define HD_MAJOR       3u  /* hda, hdb */
#define HD_MAJOR2      22u /* hdc, hdd */
#define HD_DISKS       4u
#define HD_PARTITIONS  64u
#define PARTITIONS_MAX 256u /* of an extended one */

struct writer {
	struct xsbatch *b;
	enum xstree_detail detail;
	char base[PATH_SIZE];
};

static struct writer writer_at(struct xsbatch *b, const char *base, enum xstree_detail detail)
{
	struct writer w = { .b = b, .detail = detail };

	snprintf(w.base, sizeof(w.base), "%s", base);
	return w;
}

static void put(const struct writer *w, const char *name, const char *value)
{
	xsbatch_writef(w->b, value, "%s/%s", w->base, name);
}

/* What a lean tree does not have. */
static void put_detail(const struct writer *w, const char *name, const char *value)
{
	if (w->detail == XSTREE_FULL) {
		put(w, name, value);
	}
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
		   const Xenmesh__V1__VmConfig *config, enum xstree_detail detail)
{
	char base[PATH_SIZE];
	struct writer w;

	snprintf(base, sizeof(base), "/vm/%s", d->uuid);
	xsbatch_node(b, base, 0, d->domid);
	w = writer_at(b, base, detail);
	put(&w, "name", d->name);
	put(&w, "uuid", d->uuid);
	put_detail(&w, "image/ostype", "linux");
	put_detail(&w, "image/kernel", config->kernel);
	put_detail(&w, "image/ramdisk", config->ramdisk);
	put_detail(&w, "image/cmdline", config->cmdline);
	xstree_start_time(b, d);
}

void xstree_start_time(struct xsbatch *b, const Xenmesh__Host__Domain *d)
{
	char text[2 * NUMBER_SIZE];

	snprintf(text, sizeof(text), "%" PRIu64 ".%02u", d->started_ns / 1000000000,
		 (unsigned int)(d->started_ns % 1000000000 / 10000000));
	xsbatch_writef(b, text, "/vm/%s/start_time", d->uuid);
}

static void put_libxl(struct xsbatch *b, const Xenmesh__Host__Domain *d, enum xstree_detail detail)
{
	bool is_pvh = d->type == XENMESH__V1__VM_TYPE__VM_TYPE_PVH;
	char base[PATH_SIZE];
	struct writer w;

	snprintf(base, sizeof(base), "/libxl/%u", d->domid);
	xsbatch_node(b, base, 0, 0);
	w = writer_at(b, base, detail);
	put(&w, "type", is_pvh ? "pvh" : "pv");
	put_detail(&w, "device", "");
	put_detail(&w, "dm-version", "qemu_xen");
}

static void put_cpus(const struct writer *w, const Xenmesh__Host__Domain *d)
{
	char name[PATH_SIZE];

	for (uint32_t i = 0; i < d->max_vcpus; i++) {
		snprintf(name, sizeof(name), "cpu/%u/availability", i);
		put_detail(w, name, i < d->vcpus_online ? "online" : "offline");
	}
}

static void put_console(const struct writer *w, uint32_t domid)
{
	char path[PATH_SIZE];

	if (w->detail == XSTREE_LEAN) {
		return;
	}
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
	static const char *const always[] = { "control/shutdown", "data", "drivers", "feature",
					      "attr" };
	static const char *const details[] = { "device/suspend/event-channel",
					       "control/feature-poweroff",
					       "control/feature-reboot",
					       "control/feature-suspend",
					       "control/sysrq",
					       "error" };

	for (size_t i = 0; i < ARRAY_LEN(always); i++) {
		put_node(w, always[i], domid, domid);
	}
	for (size_t i = 0; i < ARRAY_LEN(details) && w->detail == XSTREE_FULL; i++) {
		put_node(w, details[i], domid, domid);
	}
}

void xstree_domain(struct xsbatch *b, const Xenmesh__Host__Domain *d,
		   const Xenmesh__V1__VmConfig *config, enum xstree_detail detail)
{
	char base[PATH_SIZE], vm[PATH_SIZE];
	struct writer w;

	put_vm(b, d, config, detail);
	put_libxl(b, d, detail);
	snprintf(base, sizeof(base), "/local/domain/%u", d->domid);
	xsbatch_node(b, base, 0, d->domid);
	w = writer_at(b, base, detail);
	snprintf(vm, sizeof(vm), "/vm/%s", d->uuid);
	put(&w, "vm", vm);
	put(&w, "name", d->name);
	put_cpus(&w, d);
	put_number(&w, "memory/static-max", d->max_memory_kib);
	put_number(&w, "memory/target", d->memory_kib);
	put_detail(&w, "memory/videoram", "0");
	put_detail(&w, "device/vbd", "");
	put_detail(&w, "device/vif", "");
	put_guest_owned(&w, d->domid);
	put_detail(&w, "control/platform-feature-multiprocessor-suspend", "1");
	put_detail(&w, "control/platform-feature-xs_reset_watches", "1");
	put_number(&w, "domid", d->domid);
	put_detail(&w, "store/port", "1");
	put_detail(&w, "store/ring-ref", "1");
	put_console(&w, d->domid);
}

/* ---- devices ---- */

struct device {
	uint32_t domid;
	char frontend_path[PATH_SIZE];
	char backend_path[PATH_SIZE];
	struct writer frontend;
	struct writer backend;
	struct writer record; /* libxl's own */
};

static void device_init(struct device *dev, struct xsbatch *b, uint32_t domid, const char *kind,
			uint32_t devid, enum xstree_detail detail)
{
	char record[PATH_SIZE];

	dev->domid = domid;
	snprintf(dev->frontend_path, PATH_SIZE, "/local/domain/%u/device/%s/%u", domid, kind,
		 devid);
	snprintf(dev->backend_path, PATH_SIZE, "/local/domain/0/backend/%s/%u/%u", kind, domid,
		 devid);
	snprintf(record, sizeof(record), "/libxl/%u/device/%s/%u", domid, kind, devid);
	dev->frontend = writer_at(b, dev->frontend_path, detail);
	dev->backend = writer_at(b, dev->backend_path, detail);
	dev->record = writer_at(b, record, detail);
}

/* The same in the backend and in libxl's record of it. */
static void put_both(const struct device *dev, const char *name, const char *value)
{
	put_detail(&dev->backend, name, value);
	put(&dev->record, name, value);
}

static void put_both_details(const struct device *dev, const char *name, const char *value)
{
	put_detail(&dev->backend, name, value);
	put_detail(&dev->record, name, value);
}

static void put_sides(const struct device *dev)
{
	struct xsbatch *b = dev->frontend.b;
	char domid[NUMBER_SIZE];

	snprintf(domid, sizeof(domid), "%u", dev->domid);
	xsbatch_node(b, dev->record.base, 0, 0);
	xsbatch_node(b, dev->frontend_path, dev->domid, 0);
	xsbatch_node(b, dev->backend_path, 0, dev->domid);
	put(&dev->frontend, "backend", dev->backend_path);
	put_detail(&dev->frontend, "backend-id", "0");
	put(&dev->frontend, "state", "1");
	put_detail(&dev->frontend, "trusted", "1");
	put(&dev->record, "backend", dev->backend_path);
	put_both_details(dev, "frontend", dev->frontend_path);
	put_both_details(dev, "frontend-id", domid);
	put_both_details(dev, "online", "1");
}

/* The record keeps what the toolstack wrote; the backend is where the kernel is now. */
static void put_waiting(const struct device *dev)
{
	put_detail(&dev->record, "state", "1");
	put(&dev->backend, "state", "2");
	put_detail(&dev->backend, "hotplug-status", "connected");
}

void xstree_vif(struct xsbatch *b, uint32_t domid, const Xenmesh__V1__VifState *vif,
		const Xenmesh__V1__VifConfig *config, enum xstree_detail detail)
{
	const char *script = config->script[0] ? config->script : "/etc/xen/scripts/vif-bridge";
	char handle[NUMBER_SIZE];
	struct device dev;

	device_init(&dev, b, domid, "vif", vif->devid, detail);
	snprintf(handle, sizeof(handle), "%u", vif->devid);
	put_sides(&dev);
	put_detail(&dev.frontend, "handle", handle);
	put(&dev.frontend, "mac", vif->mac);
	put_detail(&dev.frontend, "mtu", "1500");
	put_both_details(&dev, "script", script);
	put_both(&dev, "mac", vif->mac);
	put_both(&dev, "bridge", vif->bridge);
	put_both_details(&dev, "handle", handle);
	put_both_details(&dev, "type", "vif");
	put_waiting(&dev);
}

void xstree_vbd(struct xsbatch *b, uint32_t domid, const Xenmesh__V1__VbdState *vbd,
		const Xenmesh__V1__VbdConfig *config, enum xstree_detail detail)
{
	const char *script = config->script[0] ? config->script : "/etc/xen/scripts/block";
	char devid[NUMBER_SIZE];
	struct device dev;

	device_init(&dev, b, domid, "vbd", vbd->devid, detail);
	snprintf(devid, sizeof(devid), "%u", vbd->devid);
	put_sides(&dev);
	put_detail(&dev.frontend, "virtual-device", devid);
	put_detail(&dev.frontend, "device-type", "disk");
	put_both(&dev, "params", vbd->target);
	put_both_details(&dev, "script", script);
	put_both_details(&dev, "removable", "0");
	put_both_details(&dev, "bootable", "1");
	put_both(&dev, "dev", vbd->vdev);
	put_both_details(&dev, "type", streq(config->backendtype, "qdisk") ? "qdisk" : "phy");
	put_both(&dev, "mode", vbd->readonly ? "r" : "w");
	put_both_details(&dev, "device-type", "disk");
	put_both_details(&dev, "discard-enable", "1");
	put_both_details(&dev, "specification", "xen");
	put_waiting(&dev);
}

void xstree_connect_vif(struct xsbatch *b, uint32_t domid, const Xenmesh__V1__VifState *vif,
			enum xstree_detail detail)
{
	struct device dev;

	device_init(&dev, b, domid, "vif", vif->devid, detail);
	put_detail(&dev.backend, "feature-sg", "1");
	put_detail(&dev.backend, "feature-rx-copy", "1");
	put_detail(&dev.backend, "feature-split-event-channels", "1");
	put(&dev.backend, "state", CONNECTED);
}

void xstree_connect_vbd(struct xsbatch *b, uint32_t domid, const Xenmesh__V1__VbdState *vbd,
			enum xstree_detail detail)
{
	struct device dev;

	device_init(&dev, b, domid, "vbd", vbd->devid, detail);
	put_detail(&dev.backend, "feature-flush-cache", "1");
	put_detail(&dev.backend, "feature-persistent", "1");
	put_detail(&dev.backend, "sectors", "41943040");
	put_detail(&dev.backend, "sector-size", "512");
	put_detail(&dev.backend, "physical-sector-size", "512");
	put(&dev.backend, "state", CONNECTED);
}

void xstree_guest_kernel(struct xsbatch *b, const Xenmesh__Host__Domain *d,
			 enum xstree_detail detail)
{
	struct device dev;

	for (size_t i = 0; i < d->n_vifs; i++) {
		device_init(&dev, b, d->domid, "vif", d->vifs[i]->devid, detail);
		put(&dev.frontend, "state", CONNECTED);
	}
	for (size_t i = 0; i < d->n_vbds; i++) {
		device_init(&dev, b, d->domid, "vbd", d->vbds[i]->devid, detail);
		put(&dev.frontend, "state", CONNECTED);
	}
	if (detail == XSTREE_FULL) {
		xsbatch_writef(b, "1", "/local/domain/%u/control/feature-poweroff", d->domid);
		xsbatch_writef(b, "1", "/local/domain/%u/control/feature-reboot", d->domid);
	}
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

/* Letters count as in a spreadsheet: z is followed by aa. Steps over them; false when there are
 * none or too many. */
static bool parse_disk(const char **at, uint32_t *disk)
{
	uint32_t n = 0;

	for (; **at >= 'a' && **at <= 'z'; (*at)++) {
		n = n * 26 + (uint32_t)(**at - 'a') + 1;
		if (n > XVD_DISKS_MAX) {
			return false;
		}
	}
	*disk = n - 1;
	return n > 0;
}

int xstree_vdev_number(const char *vdev, uint32_t *out)
{
	bool is_xvd = str_starts(vdev, "xvd"), is_hd = str_starts(vdev, "hd");
	const char *at = vdev + (is_xvd ? 3 : 2);
	uint32_t disk, partition = 0;

	if ((!is_xvd && !is_hd && !str_starts(vdev, "sd")) || !parse_disk(&at, &disk)) {
		return -EINVAL;
	}
	if (*at && parse_u32(at, strlen(at), PARTITIONS_MAX - 1, &partition) < 0) {
		return -EINVAL;
	}
	if (is_hd && disk < HD_DISKS && partition < HD_PARTITIONS) {
		*out = (disk < 2 ? HD_MAJOR : HD_MAJOR2) << 8 | (disk & 1) << 6 | partition;
	} else if (!is_hd && disk < DISKS && partition < PARTITIONS) {
		*out = (is_xvd ? XVD_MAJOR : SD_MAJOR) << 8 | disk << 4 | partition;
	} else if (is_xvd) {
		*out = XVD_EXTENDED | disk << 8 | partition;
	} else {
		return -EINVAL;
	}
	return 0;
}
