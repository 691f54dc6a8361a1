/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "services/ops/core/pb.h"
#include "services/ops/core/vmconfig.h"
#include "services/ops/core/vmfile.h"
#include "tests/unit/unit.h"

static void test_vmfile__reads_everything(void)
{
	static const char text[] = "; a web server\n"
				   "[vm]\n"
				   "name = web\n"
				   "uuid = f47ac10b-58cc-4372-a567-0e02b2c3d479\n"
				   "type = pvh\n"
				   "vcpus = 2\n"
				   "max_vcpus = 4\n"
				   "memory = 512M\n"
				   "max_memory = 1G\n"
				   "kernel = /boot/vmlinuz\n"
				   "ramdisk = /boot/initrd\n"
				   "cmdline = console=hvc0 root=/dev/xvda1 ro # not a comment\n"
				   "on_poweroff = preserve\n"
				   "on_reboot = destroy\n"
				   "on_crash = restart\n"
				   "[vif 3]\n"
				   "mac = 00:16:3e:01:02:03\n"
				   "bridge = xenbr0\n"
				   "script = vif-bridge\n"
				   "[vif 0]\n"
				   "bridge = xenbr1\n"
				   "[vbd xvda]\n"
				   "target = /srv/my disk.qcow2\n"
				   "format = qcow2\n"
				   "readonly = yes\n"
				   "backendtype = qdisk\n"
				   "script = block-x\n";
	_cleanup_(vmconfig_freep) Xenmesh__V1__VmConfig *c = NULL;
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;

	CU_ASSERT_EQUAL(vmfile_parse(text, strlen(text), &c, &errors), 0);
	if (!c) {
		puts(strbuf_str(&errors));
		return;
	}
	CU_ASSERT_STRING_EQUAL(c->name, "web");
	CU_ASSERT_STRING_EQUAL(c->uuid, "f47ac10b-58cc-4372-a567-0e02b2c3d479");
	CU_ASSERT_EQUAL(c->type, VM_TYPE_PVH);
	CU_ASSERT_EQUAL(c->vcpus, 2);
	CU_ASSERT_EQUAL(c->max_vcpus, 4);
	CU_ASSERT_EQUAL(c->memory_kib, 512 << 10);
	CU_ASSERT_EQUAL(c->max_memory_kib, 1 << 20);
	CU_ASSERT_STRING_EQUAL(c->kernel, "/boot/vmlinuz");
	CU_ASSERT_STRING_EQUAL(c->ramdisk, "/boot/initrd");
	CU_ASSERT_STRING_EQUAL(c->cmdline, "console=hvc0 root=/dev/xvda1 ro # not a comment");
	CU_ASSERT_EQUAL(c->on_poweroff, ACTION_PRESERVE);
	CU_ASSERT_EQUAL(c->on_reboot, ACTION_DESTROY);
	CU_ASSERT_EQUAL(c->on_crash, ACTION_RESTART);
	CU_ASSERT_EQUAL(c->n_vifs, 2);
	CU_ASSERT_EQUAL(c->vifs[0]->devid, 3);
	CU_ASSERT_STRING_EQUAL(c->vifs[0]->mac, "00:16:3e:01:02:03");
	CU_ASSERT_STRING_EQUAL(c->vifs[0]->bridge, "xenbr0");
	CU_ASSERT_STRING_EQUAL(c->vifs[0]->script, "vif-bridge");
	CU_ASSERT_EQUAL(c->vifs[1]->devid, 0);
	CU_ASSERT_STRING_EQUAL(c->vifs[1]->bridge, "xenbr1");
	CU_ASSERT_EQUAL(c->n_vbds, 1);
	CU_ASSERT_STRING_EQUAL(c->vbds[0]->vdev, "xvda");
	CU_ASSERT_STRING_EQUAL(c->vbds[0]->target, "/srv/my disk.qcow2");
	CU_ASSERT_STRING_EQUAL(c->vbds[0]->format, "qcow2");
	CU_ASSERT_STRING_EQUAL(c->vbds[0]->backendtype, "qdisk");
	CU_ASSERT_STRING_EQUAL(c->vbds[0]->script, "block-x");
	CU_ASSERT(c->vbds[0]->readonly);
}

static void test_vmfile__reads_sizes(void)
{
	static const struct {
		const char *text;
		uint64_t kib; /* 0 = refused */
	} cases[] = {
		{ "128", 128 << 10 },
		{ "128M", 128 << 10 },
		{ "2G", 2 << 20 },
		{ "4096K", 4096 },
		{ "", 0 },
		{ "M", 0 },
		{ "1.5G", 0 },
		{ "-1M", 0 },
		{ "1m", 0 },
		{ "12 M", 0 },
		{ "18446744073709551615G", 0 },
		{ "1T", 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		_cleanup_(vmconfig_freep) Xenmesh__V1__VmConfig *c = NULL;
		_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
		_cleanup_(strbuf_deinit) struct strbuf text = STRBUF_NULL;
		int r;

		strbuf_printf(&text, "[vm]\nmemory=%s\n", cases[i].text);
		r = vmfile_parse(text.data, text.len, &c, &errors);
		CU_ASSERT_EQUAL(r, cases[i].kib ? 0 : 1);
		CU_ASSERT_EQUAL(c ? c->memory_kib : 0, cases[i].kib);
	}
}

static void test_vmfile__tells_mistakes_with_lines(void)
{
	static const struct {
		const char *text, *error;
	} cases[] = {
		{ "[vm]\nnane=x\n", "vm_file:2: [vm] has no key nane\n" },
		{ "[vm]\nname=x\nname=y\n", "vm_file:3: name= is there twice in [vm]\n" },
		{ "[wm]\nname=x\n",
		  "vm_file:2: section [wm] is none of [vm], [vif N], [vbd VDEV]\n" },
		{ "name=x\n", "vm_file:1: section [] is none of [vm], [vif N], [vbd VDEV]\n" },
		{ "[vif]\nmac=x\n", "vm_file:2: section [vif] is none of " },
		{ "[vif a]\nmac=x\n", "vm_file:2: [vif N] needs a number, such as [vif 0]\n" },
		{ "[vm]\nvcpus=two\n", "vm_file:2: vcpus=two: a number is expected\n" },
		{ "[vm]\ntype=kvm\n", "vm_file:2: type=kvm: pv or pvh is expected\n" },
		{ "[vm]\non_crash=x\n", "vm_file:2: on_crash=x: destroy, restart or preserve is" },
		{ "[vbd xvda]\nreadonly=maybe\n",
		  "vm_file:2: readonly=maybe: yes or no is expected" },
		{ "[vm]\njunk\n", "vm_file:2: neither [section] nor key = value" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		_cleanup_(vmconfig_freep) Xenmesh__V1__VmConfig *c = NULL;
		_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;

		CU_ASSERT_EQUAL(vmfile_parse(cases[i].text, strlen(cases[i].text), &c, &errors), 1);
		CU_ASSERT_PTR_NULL(c);
		CU_ASSERT_NSTRING_EQUAL(strbuf_str(&errors), cases[i].error,
					strlen(cases[i].error));
	}
}

static void test_vmfile__loses_nothing(void)
{
	static const struct {
		const char *text, *error;
	} cases[] = {
		{ "[vm]\nname=x\n\n[vbd xvda]\n; target = /dev/x\n[vif 0]\nmac=\n",
		  "vm_file:4: [vbd xvda] has no keys" },
		{ "[vm]\nname=x\n [vif 0]", "vm_file:3: [vif 0] has no keys" },
		{ "[vm]\nname=x\n\tcmdline = a=1 ;b ro\n",
		  "vm_file:3: a ';' after a blank would end the cmdline" },
	};
	static const char kept[] = "[vm]\nname=x ; a comment\ncmdline=a=1;2 ro\n";
	_cleanup_(vmconfig_freep) Xenmesh__V1__VmConfig *c = NULL;
	_cleanup_(strbuf_deinit) struct strbuf none = STRBUF_NULL;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
		const char *text = cases[i].text;

		CU_ASSERT_EQUAL(vmfile_parse(text, strlen(text), &c, &errors), 1);
		CU_ASSERT_NSTRING_EQUAL(strbuf_str(&errors), cases[i].error,
					strlen(cases[i].error));
	}
	CU_ASSERT_EQUAL(vmfile_parse(kept, strlen(kept), &c, &none), 0);
	CU_ASSERT_STRING_EQUAL(c ? c->name : "", "x");
	CU_ASSERT_STRING_EQUAL(c ? c->cmdline : "", "a=1;2 ro");
}

static void test_vmfile__takes_a_long_cmdline(void)
{
	_cleanup_(vmconfig_freep) Xenmesh__V1__VmConfig *c = NULL;
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	_cleanup_(strbuf_deinit) struct strbuf text = STRBUF_NULL;

	strbuf_puts(&text, "[vm]\ncmdline=");
	memset(strbuf_extend(&text, 1024), 'x', 1024);
	strbuf_puts(&text, "\nname=x\n");
	CU_ASSERT_EQUAL(vmfile_parse(text.data, text.len, &c, &errors), 0);
	CU_ASSERT_EQUAL(c ? strlen(c->cmdline) : 0, 1024);
}

static void test_vmfile__is_bounded(void)
{
	_cleanup_(vmconfig_freep) Xenmesh__V1__VmConfig *c = NULL;
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	_cleanup_(strbuf_deinit) struct strbuf text = STRBUF_NULL;

	while (text.len <= 65536) {
		strbuf_puts(&text, "; comment\n");
	}
	CU_ASSERT_EQUAL(vmfile_parse(text.data, text.len, &c, &errors), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(strbuf_str(&errors), "at most 65536"));

	strbuf_reset(&text);
	strbuf_reset(&errors);
	for (int i = 0; i < 4000; i++) {
		strbuf_printf(&text, "[vif %d]\nmac=\n", i);
	}
	CU_ASSERT_EQUAL(vmfile_parse(text.data, text.len, &c, &errors), 1);
	CU_ASSERT(errors.len < 10000);
}

UNIT_MAIN("ops_vmfile", UNIT_TEST(test_vmfile__reads_everything),
	  UNIT_TEST(test_vmfile__reads_sizes), UNIT_TEST(test_vmfile__tells_mistakes_with_lines),
	  UNIT_TEST(test_vmfile__loses_nothing), UNIT_TEST(test_vmfile__takes_a_long_cmdline),
	  UNIT_TEST(test_vmfile__is_bounded))
