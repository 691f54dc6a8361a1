/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "services/ops/worker/config.h"

#include <stdio.h>

#include "libcommon/base.h"
#include "services/ops/core/vmconfig.h"
#include "services/ops/worker/codes.h"
#include "tests/unit/unit.h"

#define UUID "4cf699c4-e648-11f1-bdcd-61e86813cd81"

struct fixture {
	Xenmesh__V1__VmConfig vm;
	Xenmesh__V1__VifConfig vifs[2], *vif_pointers[2];
	Xenmesh__V1__VbdConfig vbds[3], *vbd_pointers[3];
	libxl_domain_config config;
	char *json; /* what libxl itself makes of it */
};

static void setup(struct fixture *f, Xenmesh__V1__VmType type)
{
	xenmesh__v1__vm_config__init(&f->vm);
	for (size_t i = 0; i < ARRAY_LEN(f->vifs); i++) {
		xenmesh__v1__vif_config__init(&f->vifs[i]);
		f->vif_pointers[i] = &f->vifs[i];
		f->vifs[i].devid = (uint32_t)i;
	}
	for (size_t i = 0; i < ARRAY_LEN(f->vbds); i++) {
		xenmesh__v1__vbd_config__init(&f->vbds[i]);
		f->vbd_pointers[i] = &f->vbds[i];
	}
	f->vm.uuid = (char *)UUID;
	f->vm.name = (char *)"g1";
	f->vm.type = type;
	f->vm.vcpus = 1;
	f->vm.memory_kib = 131072;
	f->vm.kernel = (char *)"/boot/vmlinuz";
}

static void build(struct fixture *f)
{
	CU_ASSERT_EQUAL(worker_config_build(&f->config, &f->vm), 0);
	f->json = libxl_domain_config_to_json(NULL, &f->config);
	CU_ASSERT_PTR_NOT_NULL(f->json);
	if (!f->json) {
		abort();
	}
}

static void teardown(struct fixture *f)
{
	free(f->json);
	libxl_domain_config_dispose(&f->config);
}

#define HAS(f, text) CU_ASSERT_PTR_NOT_NULL(strstr((f)->json, (text)))

static void test_pv(void)
{
	struct fixture f;

	setup(&f, VM_TYPE_PV);
	f.vm.ramdisk = (char *)"/boot/initrd";
	f.vm.cmdline = (char *)"console=hvc0 quiet";
	build(&f);
	HAS(&f, "\"type\": \"pv\"");
	HAS(&f, "\"type.pv\"");
	HAS(&f, "\"name\": \"g1\"");
	HAS(&f, "\"uuid\": \"" UUID "\"");
	HAS(&f, "\"run_hotplug_scripts\": \"True\"");
	HAS(&f, "\"claim_mode\": \"True\"");
	HAS(&f, "\"kernel\": \"/boot/vmlinuz\"");
	HAS(&f, "\"ramdisk\": \"/boot/initrd\"");
	HAS(&f, "\"cmdline\": \"console=hvc0 quiet\"");
	HAS(&f, "\"max_memkb\": 131072");
	HAS(&f, "\"target_memkb\": 131072");
	CU_ASSERT_EQUAL(f.config.c_info.domid, (libxl_domid)INVALID_DOMID);
	CU_ASSERT_EQUAL(f.config.on_poweroff, LIBXL_ACTION_ON_SHUTDOWN_DESTROY);
	CU_ASSERT_EQUAL(f.config.on_reboot, LIBXL_ACTION_ON_SHUTDOWN_RESTART);
	CU_ASSERT_EQUAL(f.config.on_crash, LIBXL_ACTION_ON_SHUTDOWN_DESTROY);
	teardown(&f);
}

static void test_pvh(void)
{
	struct fixture f;

	setup(&f, VM_TYPE_PVH);
	f.vm.vcpus = 3;
	f.vm.max_vcpus = 10;
	f.vm.max_memory_kib = 262144;
	f.vm.on_poweroff = ACTION_PRESERVE;
	f.vm.on_reboot = ACTION_DESTROY;
	f.vm.on_crash = ACTION_RESTART;
	build(&f);
	HAS(&f, "\"type\": \"pvh\"");
	HAS(&f, "\"type.pvh\"");
	HAS(&f, "\"max_memkb\": 262144");
	HAS(&f, "\"target_memkb\": 131072");
	CU_ASSERT_PTR_NULL(strstr(f.json, "ramdisk"));
	CU_ASSERT_PTR_NULL(strstr(f.json, "cmdline"));
	CU_ASSERT_EQUAL(f.config.b_info.max_vcpus, 10);
	for (int i = 0; i < 10; i++) {
		CU_ASSERT_EQUAL(libxl_bitmap_test(&f.config.b_info.avail_vcpus, i) != 0, i < 3);
	}
	CU_ASSERT_EQUAL(f.config.on_poweroff, LIBXL_ACTION_ON_SHUTDOWN_PRESERVE);
	CU_ASSERT_EQUAL(f.config.on_reboot, LIBXL_ACTION_ON_SHUTDOWN_DESTROY);
	CU_ASSERT_EQUAL(f.config.on_crash, LIBXL_ACTION_ON_SHUTDOWN_RESTART);
	CU_ASSERT_EQUAL(f.config.on_watchdog, LIBXL_ACTION_ON_SHUTDOWN_RESTART);
	teardown(&f);
}

static void test_vifs(void)
{
	struct fixture f;
	char mac[18], expected[64];

	setup(&f, VM_TYPE_PV);
	f.vm.n_vifs = 2;
	f.vm.vifs = f.vif_pointers;
	f.vifs[0].mac = (char *)"00:16:3E:0a:Ff:01";
	f.vifs[0].bridge = (char *)"xenbr0";
	f.vifs[0].script = (char *)"vif-route";
	f.vifs[1].devid = 7;
	build(&f);
	HAS(&f, "\"mac\": \"00:16:3e:0a:ff:01\"");
	HAS(&f, "\"bridge\": \"xenbr0\"");
	HAS(&f, "\"script\": \"vif-route\"");
	HAS(&f, "\"devid\": 7");
	vmconfig_mac(UUID, 7, mac);
	CU_ASSERT(str_starts(mac, "00:16:3e:"));
	snprintf(expected, sizeof(expected), "\"mac\": \"%s\"", mac);
	HAS(&f, expected);
	CU_ASSERT_EQUAL(f.config.num_nics, 2);
	CU_ASSERT_EQUAL(f.config.nics[0].devid, 0);
	CU_ASSERT_EQUAL(f.config.nics[0].nictype, LIBXL_NIC_TYPE_VIF);
	CU_ASSERT_PTR_NULL(f.config.nics[1].bridge);
	CU_ASSERT_PTR_NULL(f.config.nics[1].script);
	teardown(&f);
}

static void test_vbds(void)
{
	struct fixture f;

	setup(&f, VM_TYPE_PVH);
	f.vm.n_vbds = 3;
	f.vm.vbds = f.vbd_pointers;
	f.vbds[0].vdev = (char *)"xvda";
	f.vbds[0].target = (char *)"/dev/vg/g1";
	f.vbds[0].backendtype = (char *)"phy";
	f.vbds[1].vdev = (char *)"xvdb";
	f.vbds[1].target = (char *)"/images/g1.qcow2";
	f.vbds[1].format = (char *)"qcow2";
	f.vbds[1].backendtype = (char *)"qdisk";
	f.vbds[1].readonly = true;
	f.vbds[2].vdev = (char *)"xvdc";
	f.vbds[2].target = (char *)"iqn.2001-05";
	f.vbds[2].script = (char *)"block-iscsi";
	f.vbds[2].format = (char *)"vhd";
	build(&f);
	CU_ASSERT_EQUAL(f.config.num_disks, 3);
	CU_ASSERT_STRING_EQUAL(f.config.disks[0].vdev, "xvda");
	CU_ASSERT_STRING_EQUAL(f.config.disks[0].pdev_path, "/dev/vg/g1");
	CU_ASSERT_EQUAL(f.config.disks[0].format, LIBXL_DISK_FORMAT_RAW);
	CU_ASSERT_EQUAL(f.config.disks[0].backend, LIBXL_DISK_BACKEND_PHY);
	CU_ASSERT_EQUAL(f.config.disks[0].readwrite, 1);
	CU_ASSERT_EQUAL(f.config.disks[1].format, LIBXL_DISK_FORMAT_QCOW2);
	CU_ASSERT_EQUAL(f.config.disks[1].backend, LIBXL_DISK_BACKEND_QDISK);
	CU_ASSERT_EQUAL(f.config.disks[1].readwrite, 0);
	CU_ASSERT_EQUAL(f.config.disks[2].format, LIBXL_DISK_FORMAT_VHD);
	CU_ASSERT_EQUAL(f.config.disks[2].backend, LIBXL_DISK_BACKEND_UNKNOWN);
	CU_ASSERT_STRING_EQUAL(f.config.disks[2].script, "block-iscsi");
	CU_ASSERT_EQUAL(f.config.disks[2].is_cdrom, 0);
	teardown(&f);
}

static void test_what_cannot_be_translated(void)
{
	struct fixture f;

	setup(&f, VM_TYPE_PV);
	f.vm.uuid = (char *)"none";
	CU_ASSERT_EQUAL(worker_config_build(&f.config, &f.vm), -EINVAL);
	libxl_domain_config_dispose(&f.config);
	f.vm.uuid = (char *)UUID;
	f.vm.n_vifs = 1;
	f.vm.vifs = f.vif_pointers;
	f.vifs[0].mac = (char *)"00:16";
	CU_ASSERT_EQUAL(worker_config_build(&f.config, &f.vm), -EINVAL);
	libxl_domain_config_dispose(&f.config);
}

static void test_codes(void)
{
	CU_ASSERT_EQUAL(worker_code_of(0), CODE_OK);
	CU_ASSERT_EQUAL(worker_code_of(ERROR_FAIL), CODE_INTERNAL);
	CU_ASSERT_EQUAL(worker_code_of(ERROR_INVAL), CODE_INVALID_ARGUMENT);
	CU_ASSERT_EQUAL(worker_code_of(ERROR_DOMAIN_NOTFOUND), CODE_NOT_FOUND);
	CU_ASSERT_EQUAL(worker_code_of(ERROR_ABORTED), CODE_CANCELLED);
	CU_ASSERT_EQUAL(worker_code_of(ERROR_GUEST_TIMEDOUT), CODE_DEADLINE_EXCEEDED);
	CU_ASSERT_EQUAL(worker_code_of(-99), CODE_INTERNAL);
	CU_ASSERT_STRING_EQUAL(worker_error_name(ERROR_NOPARAVIRT), "ERROR_NOPARAVIRT");
	CU_ASSERT_STRING_EQUAL(worker_error_name(-99), "unknown libxl error");
	/* Whatever libxl may return fails. */
	for (int rc = ERROR_QEMU_API; rc < 0; rc++) {
		CU_ASSERT_NOT_EQUAL(worker_code_of(rc), CODE_OK);
	}
}

UNIT_MAIN("worker_config", UNIT_TEST(test_pv), UNIT_TEST(test_pvh), UNIT_TEST(test_vifs),
	  UNIT_TEST(test_vbds), UNIT_TEST(test_what_cannot_be_translated), UNIT_TEST(test_codes))
