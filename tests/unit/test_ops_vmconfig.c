/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "services/ops/core/pb.h"
#include "services/ops/core/vmconfig.h"
#include "tests/unit/unit.h"

/* A definition with one of everything. */
static Xenmesh__V1__VmConfig *good(void)
{
	Xenmesh__V1__VmConfig *c = vmconfig_new();
	Xenmesh__V1__VifConfig *vif = vmconfig_add_vif(c);
	Xenmesh__V1__VbdConfig *vbd = vmconfig_add_vbd(c);

	pb_set(&c->name, "web-1.example_x+y");
	c->type = VM_TYPE_PVH;
	c->vcpus = 2;
	c->memory_kib = 131072;
	pb_set(&c->kernel, "/boot/vmlinuz");
	pb_set(&c->ramdisk, "/boot/initrd");
	pb_set(&c->cmdline, "console=hvc0 root=/dev/xvda1");
	pb_set(&vif->bridge, "xenbr0");
	pb_set(&vbd->vdev, "xvda");
	pb_set(&vbd->target, "/dev/vg/web");
	return c;
}

static void has_error(const Xenmesh__V1__VmConfig *c, const char *start)
{
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	bool is_found = false;

	CU_ASSERT_EQUAL(vmconfig_check(c, &errors), 1);
	for (const char *line = strbuf_str(&errors); *line; line = strchr(line, '\n') + 1) {
		is_found = is_found || str_starts(line, start);
	}
	if (!is_found) {
		printf("no \"%s\" in: %s", start, strbuf_str(&errors));
	}
	CU_ASSERT(is_found);
}

static void test_vmconfig__accepts_a_good_one(void)
{
	_cleanup_(vmconfig_freep) Xenmesh__V1__VmConfig *c = good();
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;

	CU_ASSERT_EQUAL(vmconfig_check(c, &errors), 0);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&errors), "");
}

static void test_vmconfig__refuses_bad_texts(void)
{
	static const struct {
		size_t offset;
		const char *value;
		const char *error;
	} cases[] = {
#define CASE(field, value, error) { offsetof(Xenmesh__V1__VmConfig, field), value, error }
		CASE(name, "", "name: is missing"),
		CASE(name, "a b", "name: \"a b\" has characters"),
		CASE(name, "a/b", "name: "),
		CASE(name, "\xc3\xa4", "name: "),
		CASE(name, "0123456789012345678901234567890123456789012345678901234567890123",
		     "name: has 64"),
		CASE(name, "17", "name: looks like a domid"),
		CASE(name, "f47ac10b-58cc-4372-a567-0e02b2c3d479", "name: looks like a UUID"),
		CASE(name, "F47AC10B-58CC-4372-A567-0E02B2C3D479", "name: looks like a UUID"),
		CASE(uuid, "f47ac10b", "uuid: "),
		CASE(uuid, "00000000-0000-0000-0000-000000000000", "uuid: must not be all zero"),
		CASE(kernel, "", "kernel: is missing"),
		CASE(kernel, "vmlinuz", "kernel: \"vmlinuz\" must be an absolute path"),
		CASE(kernel, "/a\nb", "kernel: has a control character"),
		CASE(ramdisk, "../x", "ramdisk: "),
		CASE(ramdisk, "/\xff", "ramdisk: is not valid UTF-8"),
		CASE(cmdline, "a\033b", "cmdline: has a control character"),
#undef CASE
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		_cleanup_(vmconfig_freep) Xenmesh__V1__VmConfig *c = good();

		pb_set((char **)((char *)c + cases[i].offset), cases[i].value);
		has_error(c, cases[i].error);
	}
}

static void test_vmconfig__bounds_the_cmdline(void)
{
	_cleanup_(vmconfig_freep) Xenmesh__V1__VmConfig *c = good();
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	char line[1026];

	memset(line, 'x', 1025);
	line[1025] = '\0';
	pb_set(&c->cmdline, line);
	has_error(c, "cmdline: has 1025 bytes");
	line[1024] = '\0';
	pb_set(&c->cmdline, line);
	CU_ASSERT_EQUAL(vmconfig_check(c, &errors), 0);
}

static void test_vmconfig__refuses_bad_numbers(void)
{
	static const struct {
		int type;
		uint32_t vcpus, max_vcpus;
		uint64_t memory, max_memory;
		const char *error;
	} cases[] = {
		{ VM_TYPE_HVM, 1, 0, 2048, 0, "type: hvm" },
		{ VM_TYPE_ANY, 1, 0, 2048, 0, "type: is missing" },
		{ (Xenmesh__V1__VmType)9, 1, 0, 2048, 0, "type: is missing" },
		{ VM_TYPE_PV, 0, 0, 2048, 0, "vcpus: is missing or 0" },
		{ VM_TYPE_PV, 513, 0, 2048, 0, "vcpus: 513 is more than 512" },
		{ VM_TYPE_PVH, 129, 0, 2048, 0, "vcpus: 129 is more than 128" },
		{ VM_TYPE_PV, 4, 2, 2048, 0, "max_vcpus: 2 is less than" },
		{ VM_TYPE_PV, 4, 1000, 2048, 0, "max_vcpus: 1000 is more than" },
		{ VM_TYPE_PV, 1, 0, 0, 0, "memory_kib: is missing or 0" },
		{ VM_TYPE_PV, 1, 0, 1023, 0, "memory_kib: 1023 is not within" },
		{ VM_TYPE_PV, 1, 0, UINT64_MAX, 0, "memory_kib: " },
		{ VM_TYPE_PV, 1, 0, 2048, 2047, "max_memory_kib: 2047 is less" },
		{ VM_TYPE_PV, 1, 0, 2048, UINT64_MAX, "max_memory_kib: " },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		_cleanup_(vmconfig_freep) Xenmesh__V1__VmConfig *c = good();

		c->type = (Xenmesh__V1__VmType)cases[i].type;
		c->vcpus = cases[i].vcpus;
		c->max_vcpus = cases[i].max_vcpus;
		c->memory_kib = cases[i].memory;
		c->max_memory_kib = cases[i].max_memory;
		has_error(c, cases[i].error);
	}
}

static void test_vmconfig__refuses_bad_actions(void)
{
	_cleanup_(vmconfig_freep) Xenmesh__V1__VmConfig *c = good();

	c->on_crash = (Xenmesh__V1__Action)4;
	c->on_reboot = (Xenmesh__V1__Action)-1;
	has_error(c, "on_crash: 4 is not");
	has_error(c, "on_reboot: -1 is not");
}

static void test_vmconfig__refuses_bad_vifs(void)
{
	static const struct {
		const char *mac, *bridge, *script, *error;
	} cases[] = {
		{ "00:16:3e:00:00", "", "", "vifs[1].mac: \"00:16:3e:00:00\" is not of the form" },
		{ "00:16:3e:00:00:0g", "", "", "vifs[1].mac: " },
		{ "00:16:3e:00:00:00:", "", "", "vifs[1].mac: " },
		{ "01:16:3e:00:00:00", "", "",
		  "vifs[1].mac: \"01:16:3e:00:00:00\" is a multicast" },
		{ "0b:16:3e:00:00:00", "", "", "vifs[1].mac: " },
		{ "00:00:00:00:00:00", "", "", "vifs[1].mac: must not be all zero" },
		{ "", "br 0", "", "vifs[1].bridge: " },
		{ "", "a123456789012345", "", "vifs[1].bridge: " },
		{ "", "../x", "", "vifs[1].bridge: " },
		{ "", "-x", "", "vifs[1].bridge: " },
		{ "", "", "x/y", "vifs[1].script: " },
		{ "", "", "/a/../b", "vifs[1].script: " },
		{ "", "", "/a b", "vifs[1].script: " },
		{ "", "", "/a\nb", "vifs[1].script: " },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		_cleanup_(vmconfig_freep) Xenmesh__V1__VmConfig *c = good();
		Xenmesh__V1__VifConfig *vif = vmconfig_add_vif(c);

		vif->devid = 1;
		pb_set(&vif->mac, cases[i].mac);
		pb_set(&vif->bridge, cases[i].bridge);
		pb_set(&vif->script, cases[i].script);
		has_error(c, cases[i].error);
	}
}

static void test_vmconfig__refuses_double_vifs(void)
{
	_cleanup_(vmconfig_freep) Xenmesh__V1__VmConfig *c = good();
	Xenmesh__V1__VifConfig *vif = vmconfig_add_vif(c);

	pb_set(&c->vifs[0]->mac, "00:16:3e:aa:bb:cc");
	pb_set(&vif->mac, "00:16:3E:AA:BB:CC");
	has_error(c, "vifs[1].devid: 0 is also that of vifs[0]");
	has_error(c, "vifs[1].mac: is also that of vifs[0]");
	vif->devid = 128;
	has_error(c, "vifs[1].devid: 128 is more than 127");
}

static void test_vmconfig__refuses_bad_vbds(void)
{
	static const struct {
		const char *vdev, *target, *format, *backendtype, *script, *error;
	} cases[] = {
		{ "", "/x", "", "", "", "vbds[1].vdev: \"\" is not a disk's name" },
		{ "vda", "/x", "", "", "", "vbds[1].vdev: " },
		{ "xvd", "/x", "", "", "", "vbds[1].vdev: " },
		{ "xvdb0", "/x", "", "", "", "vbds[1].vdev: " },
		{ "xvdb256", "/x", "", "", "", "vbds[1].vdev: " },
		{ "sdb16", "/x", "", "", "", "vbds[1].vdev: " },
		{ "sdaa", "/x", "", "", "", "vbds[1].vdev: " },
		{ "sdq", "/x", "", "", "", "vbds[1].vdev: " },
		{ "hde", "/x", "", "", "", "vbds[1].vdev: " },
		{ "hda64", "/x", "", "", "", "vbds[1].vdev: " },
		{ "xvdaaaa", "/x", "", "", "", "vbds[1].vdev: " },
		{ "xvda", "/x", "", "", "", "vbds[1].vdev: \"xvda\" is also that of vbds[0]" },
		{ "xvdb", "", "", "", "", "vbds[1].target: is missing" },
		{ "xvdb", "x", "", "", "", "vbds[1].target: \"x\" must be an absolute path" },
		{ "xvdb", "", "", "", "block-x", "vbds[1].target: is missing" },
		{ "xvdb", "/x", "qed", "", "", "vbds[1].format: \"qed\" is none of" },
		{ "xvdb", "/x", "", "tap", "", "vbds[1].backendtype: \"tap\" is neither" },
		{ "xvdb", "/x", "qcow2", "phy", "", "vbds[1].backendtype: phy can only" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		_cleanup_(vmconfig_freep) Xenmesh__V1__VmConfig *c = good();
		Xenmesh__V1__VbdConfig *vbd = vmconfig_add_vbd(c);

		pb_set(&vbd->vdev, cases[i].vdev);
		pb_set(&vbd->target, cases[i].target);
		pb_set(&vbd->format, cases[i].format);
		pb_set(&vbd->backendtype, cases[i].backendtype);
		pb_set(&vbd->script, cases[i].script);
		has_error(c, cases[i].error);
	}
}

static void test_vmconfig__accepts_vbds(void)
{
	static const char *const vdevs[] = { "xvdb",  "xvdaa", "xvdzzz", "xvdb255",
					     "sdb15", "hdd63", "sdp" };

	for (size_t i = 0; i < ARRAY_LEN(vdevs); i++) {
		_cleanup_(vmconfig_freep) Xenmesh__V1__VmConfig *c = good();
		_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
		Xenmesh__V1__VbdConfig *vbd = vmconfig_add_vbd(c);

		pb_set(&vbd->vdev, vdevs[i]);
		pb_set(&vbd->target, "iqn.2001:x"); /* the script's business */
		pb_set(&vbd->script, "block-iscsi");
		CU_ASSERT_EQUAL(vmconfig_check(c, &errors), 0);
	}
}

static void test_vmconfig__tells_all_errors(void)
{
	_cleanup_(vmconfig_freep) Xenmesh__V1__VmConfig *c = good();

	pb_set(&c->name, "");
	c->vcpus = 0;
	pb_set(&c->vifs[0]->mac, "x");
	pb_set(&c->vbds[0]->target, "y");
	has_error(c, "name: ");
	has_error(c, "vcpus: ");
	has_error(c, "vifs[0].mac: ");
	has_error(c, "vbds[0].target: ");
}

static void test_vmconfig__bounds_errors_and_devices(void)
{
	_cleanup_(vmconfig_freep) Xenmesh__V1__VmConfig *c = good();
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;

	for (int i = 0; i < 1000; i++) {
		vmconfig_add_vif(c);
		vmconfig_add_vbd(c);
	}
	CU_ASSERT_EQUAL(vmconfig_check(c, &errors), 1);
	CU_ASSERT(errors.len < 10000);
	CU_ASSERT_PTR_NOT_NULL(strstr(strbuf_str(&errors), "vifs: 1001 are more than 16"));
	CU_ASSERT_PTR_NOT_NULL(strstr(strbuf_str(&errors), "vbds: 1001 are more than 64"));
}

static void test_vmconfig__completes(void)
{
	_cleanup_(vmconfig_freep) Xenmesh__V1__VmConfig *c = good();
	Xenmesh__V1__VifConfig *vif = vmconfig_add_vif(c);
	char mac[18];

	vif->devid = 1;
	pb_set(&vif->mac, "00:16:3E:AA:BB:CC");
	CU_ASSERT_EQUAL(vmconfig_complete(c), 0);
	CU_ASSERT_EQUAL(strlen(c->uuid), 36);
	CU_ASSERT_STRING_EQUAL(vif->mac, "00:16:3e:aa:bb:cc");
	vmconfig_mac(c->uuid, 0, mac);
	CU_ASSERT_STRING_EQUAL(c->vifs[0]->mac, mac);
	CU_ASSERT_NSTRING_EQUAL(mac, "00:16:3e:", 9);

	pb_set(&c->uuid, "F47AC10B-58CC-4372-A567-0E02B2C3D479");
	CU_ASSERT_EQUAL(vmconfig_complete(c), 0);
	CU_ASSERT_STRING_EQUAL(c->uuid, "f47ac10b-58cc-4372-a567-0e02b2c3d479");
	CU_ASSERT_STRING_EQUAL(c->vifs[0]->mac, mac); /* is kept */
}

static void test_vmconfig__macs_differ(void)
{
	char a[18], b[18], c[18];

	vmconfig_mac("f47ac10b-58cc-4372-a567-0e02b2c3d479", 0, a);
	vmconfig_mac("f47ac10b-58cc-4372-a567-0e02b2c3d479", 1, b);
	vmconfig_mac("f47ac10b-58cc-4372-a567-0e02b2c3d47a", 0, c);
	CU_ASSERT_STRING_NOT_EQUAL(a, b);
	CU_ASSERT_STRING_NOT_EQUAL(a, c);
}

static void test_vmconfig__memory_need(void)
{
	_cleanup_(vmconfig_freep) Xenmesh__V1__VmConfig *c = good();

	/* libxl: 131072 + 1 MiB slack + 4 KiB * (256 pages * 2 vCPUs + 2 pages * 128 MiB) */
	CU_ASSERT(vmconfig_need_kib(c) >= 131072 + 1024 + 4 * (256 * 2 + 2 * 128));
	CU_ASSERT(vmconfig_need_kib(c) <= 131072 + 2 * 1024 + 4 * (256 * 2 + 2 * 128));
	c->type = VM_TYPE_PV;
	CU_ASSERT_EQUAL(vmconfig_need_kib(c), 131072 + 1024);
}

static void test_pb__scrubs_strings(void)
{
	_cleanup_(vmconfig_freep) Xenmesh__V1__VmConfig *c = good();
	Xenmesh__Host__FromHost from = XENMESH__HOST__FROM_HOST__INIT;
	Xenmesh__Host__Domain domain = XENMESH__HOST__DOMAIN__INIT;
	char name[] = "a\xff\xc3\xa4";

	pb_set(&c->name, "x\x80y");
	pb_set(&c->vbds[0]->target, "/\xc3");
	pb_set(&c->kernel, "/\xc3\xa4");
	pb_scrub(&c->base);
	CU_ASSERT_STRING_EQUAL(c->name, "x?y");
	CU_ASSERT_STRING_EQUAL(c->vbds[0]->target, "/?");
	CU_ASSERT_STRING_EQUAL(c->kernel, "/\xc3\xa4");
	domain.name = name;
	from.body_case = XENMESH__HOST__FROM_HOST__BODY_DOMAIN;
	from.domain = &domain;
	pb_scrub(&from.base);
	CU_ASSERT_STRING_EQUAL(name, "a???");
}

static void test_text__is_made_printable(void)
{
	_cleanup_(xfreep) char *text = text_clean("a\n\xff", 3, 100);
	_cleanup_(xfreep) char *cut = text_clean("0123456789", 10, 8);

	CU_ASSERT_STRING_EQUAL(text, "a\\x0a\\xff");
	CU_ASSERT_STRING_EQUAL(cut, "01234...");
	CU_ASSERT_STRING_EQUAL(text_quote("x\t").text, "x\\x09");
}

UNIT_MAIN("ops_vmconfig", UNIT_TEST(test_vmconfig__accepts_a_good_one),
	  UNIT_TEST(test_vmconfig__refuses_bad_texts), UNIT_TEST(test_vmconfig__bounds_the_cmdline),
	  UNIT_TEST(test_vmconfig__refuses_bad_numbers),
	  UNIT_TEST(test_vmconfig__refuses_bad_actions), UNIT_TEST(test_vmconfig__refuses_bad_vifs),
	  UNIT_TEST(test_vmconfig__refuses_double_vifs), UNIT_TEST(test_vmconfig__refuses_bad_vbds),
	  UNIT_TEST(test_vmconfig__accepts_vbds), UNIT_TEST(test_vmconfig__tells_all_errors),
	  UNIT_TEST(test_vmconfig__bounds_errors_and_devices), UNIT_TEST(test_vmconfig__completes),
	  UNIT_TEST(test_vmconfig__macs_differ), UNIT_TEST(test_vmconfig__memory_need),
	  UNIT_TEST(test_pb__scrubs_strings), UNIT_TEST(test_text__is_made_printable))
