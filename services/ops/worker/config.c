/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Only what is set here is not libxl's default.  Arrays and strings are
 * malloc'ed because libxl frees them.
 */
#include "services/ops/worker/config.h"

#include <stdio.h>

#include "libcommon/base.h"
#include "services/ops/core/vmconfig.h"

/* "" stays NULL, libxl's "not given". */
static int copy_text(char **out, const char *text)
{
	if (!*text) {
		return 0;
	}
	*out = strdup(text);
	return *out ? 0 : -ENOMEM;
}

static int build_create_info(libxl_domain_create_info *info, const Xenmesh__V1__VmConfig *c)
{
	info->type = c->type == VM_TYPE_PV ? LIBXL_DOMAIN_TYPE_PV : LIBXL_DOMAIN_TYPE_PVH;
	info->domid = (libxl_domid)INVALID_DOMID; /* Xen chooses; libxl avoids those just used */
	libxl_defbool_set(&info->run_hotplug_scripts, true);
	if (libxl_uuid_from_string(&info->uuid, c->uuid) != 0) {
		return -EINVAL;
	}
	return copy_text(&info->name, c->name);
}

static int build_vcpus(libxl_domain_build_info *info, const Xenmesh__V1__VmConfig *c)
{
	uint32_t max = MAX(c->max_vcpus, c->vcpus);

	info->max_vcpus = (int)max;
	info->avail_vcpus.size = (max + 7) / 8;
	info->avail_vcpus.map = calloc(info->avail_vcpus.size, 1);
	if (!info->avail_vcpus.map) {
		info->avail_vcpus.size = 0;
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < c->vcpus; i++) {
		libxl_bitmap_set(&info->avail_vcpus, (int)i);
	}
	return 0;
}

static int build_build_info(libxl_domain_build_info *info, const Xenmesh__V1__VmConfig *c)
{
	int r;

	libxl_domain_build_info_init_type(info, c->type == VM_TYPE_PV ? LIBXL_DOMAIN_TYPE_PV
								      : LIBXL_DOMAIN_TYPE_PVH);
	info->target_memkb = c->memory_kib;
	info->max_memkb = MAX(c->max_memory_kib, c->memory_kib);
	/* Two creates at once do not get the same free memory: the second fails at once. */
	libxl_defbool_set(&info->claim_mode, true);
	if ((r = build_vcpus(info, c)) < 0 || (r = copy_text(&info->kernel, c->kernel)) < 0 ||
	    (r = copy_text(&info->ramdisk, c->ramdisk)) < 0 ||
	    (r = copy_text(&info->cmdline, c->cmdline)) < 0) {
		return r;
	}
	return 0;
}

static int build_nic(libxl_device_nic *nic, const Xenmesh__V1__VmConfig *c,
		     const Xenmesh__V1__VifConfig *vif)
{
	char derived[18];
	const char *mac = vif->mac;
	unsigned int bytes[6];
	int r;

	if (!*mac) {
		vmconfig_mac(c->uuid, vif->devid, derived);
		mac = derived;
	}
	if (sscanf(mac, "%2x:%2x:%2x:%2x:%2x:%2x", &bytes[0], &bytes[1], &bytes[2], &bytes[3],
		   &bytes[4], &bytes[5]) != 6) {
		return -EINVAL;
	}
	for (size_t i = 0; i < ARRAY_LEN(bytes); i++) {
		nic->mac[i] = (uint8_t)bytes[i];
	}
	nic->devid = (libxl_devid)vif->devid;
	nic->nictype = LIBXL_NIC_TYPE_VIF;
	r = copy_text(&nic->bridge, vif->bridge);
	return r < 0 ? r : copy_text(&nic->script, vif->script);
}

static libxl_disk_format disk_format(const char *text)
{
	if (streq(text, "qcow2")) {
		return LIBXL_DISK_FORMAT_QCOW2;
	}
	return streq(text, "vhd") ? LIBXL_DISK_FORMAT_VHD : LIBXL_DISK_FORMAT_RAW;
}

static libxl_disk_backend disk_backend(const char *text)
{
	if (streq(text, "phy")) {
		return LIBXL_DISK_BACKEND_PHY;
	}
	return streq(text, "qdisk") ? LIBXL_DISK_BACKEND_QDISK : LIBXL_DISK_BACKEND_UNKNOWN;
}

static int build_disk(libxl_device_disk *disk, const Xenmesh__V1__VbdConfig *vbd)
{
	int r;

	disk->format = disk_format(vbd->format);
	disk->backend = disk_backend(vbd->backendtype);
	disk->readwrite = !vbd->readonly;
	if ((r = copy_text(&disk->vdev, vbd->vdev)) < 0 ||
	    (r = copy_text(&disk->pdev_path, vbd->target)) < 0) {
		return r;
	}
	return copy_text(&disk->script, vbd->script);
}

static int build_devices(libxl_domain_config *out, const Xenmesh__V1__VmConfig *c)
{
	int r = 0;

	out->nics = calloc(MAX(c->n_vifs, 1), sizeof(*out->nics));
	out->disks = calloc(MAX(c->n_vbds, 1), sizeof(*out->disks));
	if (!out->nics || !out->disks) {
		return -ENOMEM;
	}
	for (size_t i = 0; r == 0 && i < c->n_vifs; i++) {
		libxl_device_nic_init(&out->nics[i]);
		out->num_nics++;
		r = build_nic(&out->nics[i], c, c->vifs[i]);
	}
	for (size_t i = 0; r == 0 && i < c->n_vbds; i++) {
		libxl_device_disk_init(&out->disks[i]);
		out->num_disks++;
		r = build_disk(&out->disks[i], c->vbds[i]);
	}
	return r;
}

static libxl_action_on_shutdown on_shutdown(Xenmesh__V1__Action action,
					    libxl_action_on_shutdown fallback)
{
	switch (action) {
	case ACTION_DESTROY:
		return LIBXL_ACTION_ON_SHUTDOWN_DESTROY;
	case ACTION_RESTART:
		return LIBXL_ACTION_ON_SHUTDOWN_RESTART;
	case ACTION_PRESERVE:
		return LIBXL_ACTION_ON_SHUTDOWN_PRESERVE;
	default:
		return fallback;
	}
}

int worker_config_build(libxl_domain_config *out, const Xenmesh__V1__VmConfig *c)
{
	int r;

	libxl_domain_config_init(out);
	if ((r = build_create_info(&out->c_info, c)) < 0 ||
	    (r = build_build_info(&out->b_info, c)) < 0 || (r = build_devices(out, c)) < 0) {
		return r;
	}
	/* The core acts, not libxl; this is what other tools that read the record are told. */
	out->on_poweroff = on_shutdown(c->on_poweroff, LIBXL_ACTION_ON_SHUTDOWN_DESTROY);
	out->on_reboot = on_shutdown(c->on_reboot, LIBXL_ACTION_ON_SHUTDOWN_RESTART);
	out->on_crash = on_shutdown(c->on_crash, LIBXL_ACTION_ON_SHUTDOWN_DESTROY);
	out->on_watchdog = out->on_crash;
	out->on_soft_reset = LIBXL_ACTION_ON_SHUTDOWN_DESTROY;
	return 0;
}
