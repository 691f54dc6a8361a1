/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the grammar is not obvious the judge is libxlutil, the parser of xl
 * itself: both get the same text and have to agree.
 */
#include <libxl.h>
#include <libxlutil.h>

#include "services/ops/core/pb.h"
#include "services/ops/core/vmconfig.h"
#include "services/ops/core/xlcfg.h"
#include "services/ops/core/xlcfg_tree.h"
#include "tests/unit/unit.h"

/* ---- grammar, beside libxlutil ---- */

static void xlu_atom(struct strbuf *out, const char *text)
{
	strbuf_printf(out, "<%s>", text);
}

static void xlu_value(struct strbuf *out, XLU_Config *cfg, XLU_ConfigValue *v)
{
	XLU_ConfigValue *item;
	XLU_ConfigList *list;
	char *text;

	if (xlu_cfg_value_type(v) == XLU_STRING) {
		xlu_cfg_value_get_string(cfg, v, &text, 0);
		xlu_atom(out, text);
		return;
	}
	strbuf_putc(out, '[');
	xlu_cfg_value_get_list(cfg, v, &list, 0);
	for (int i = 0; (item = xlu_cfg_get_listitem2(list, i)); i++) {
		xlu_value(out, cfg, item);
	}
	strbuf_putc(out, ']');
}

static void our_value(struct strbuf *out, const struct xlcfg_value *v)
{
	if (!v->is_list) {
		xlu_atom(out, v->text);
		return;
	}
	strbuf_putc(out, '[');
	for (size_t i = 0; i < v->n_items; i++) {
		our_value(out, v->items[i]);
	}
	strbuf_putc(out, ']');
}

static void xlu_key(struct strbuf *out, XLU_Config *cfg, const char *key)
{
	XLU_ConfigValue *item;
	XLU_ConfigList *list;
	const char *text;
	int n;

	if (xlu_cfg_get_string(cfg, key, &text, 1) == 0) {
		xlu_atom(out, text);
	} else if (xlu_cfg_get_list(cfg, key, &list, &n, 1) == 0) {
		strbuf_putc(out, '[');
		for (int i = 0; (item = xlu_cfg_get_listitem2(list, i)); i++) {
			xlu_value(out, cfg, item);
		}
		strbuf_putc(out, ']');
	} else {
		strbuf_putc(out, '-');
	}
}

/* "refused", or the values of a, b and c. */
static void xlu_says(struct strbuf *out, const char *text)
{
	FILE *sink = fopen("/dev/null", "w");
	XLU_Config *cfg = xlu_cfg_init(sink, "text");

	if (xlu_cfg_readdata(cfg, text, (int)strlen(text)) != 0) {
		strbuf_puts(out, "refused");
	} else {
		xlu_key(out, cfg, "a");
		xlu_key(out, cfg, "b");
		xlu_key(out, cfg, "c");
	}
	xlu_cfg_destroy(cfg);
	fclose(sink);
}

static void we_say(struct strbuf *out, const char *text)
{
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	_cleanup_(arena_deinit) struct arena arena;
	struct xlcfg_tree tree;

	arena_init(&arena, 1 << 20);
	if (xlcfg_tree_parse(text, strlen(text), &arena, &tree, &errors) != 0) {
		CU_ASSERT_NSTRING_EQUAL(strbuf_str(&errors), "xl_cfg:", 7);
		strbuf_puts(out, "refused");
		return;
	}
	for (const char *key = "a\0b\0c\0"; *key; key += 2) {
		const struct xlcfg_value *v = xlcfg_tree_get(&tree, key);

		if (v) {
			our_value(out, v);
		} else {
			strbuf_putc(out, '-');
		}
	}
}

static const char *const grammar[] = {
	"a=1",
	"a = 1\n",
	"a='x'\nb=\"y\"",
	"a='it\\'s'\n",
	"a=\"say \\\"x\\\"\"\n",
	"a=\"back\\\\slash\"\n",
	"a=\"tab\\tnew\\n\"\n",
	"a=\"\\q\"\n",
	"a='x\"y'\nb=\"x'y\"\n",
	"a=''\n",
	"a=\"x\ny\"\n",
	"a=\"x\\\ny\"\n",
	"a=\"open",
	"a='open\n",
	"a=\"\\",
	"a=017;b=0x1f;c=12ab",
	"a=0x1F\n",
	"a=-1\n",
	"a=1x;b=2\n",
	"a=1b=2\n",
	"a=1 b=2\n",
	"a=1;;b=2\n",
	";a=1\n",
	";;\n\n;",
	"",
	"\n",
	"# only a comment\n",
	"#c\n a=1 # d\n\n",
	"a='#x' # y\n",
	"a=[]\n",
	"a=[ ]\n",
	"a=[,]\n",
	"a=[1,]\n",
	"a=[1,,2]\n",
	"a=[1 2]\n",
	"a=['x' 'y']\n",
	"a=['x';'y']\n",
	"a=[1,\"b\",\n [2, \"c\",],\n]\n",
	"a=[#x\n1 #y\n,#z\n2]\n",
	"a=[\n\n]\n",
	"a=[1\n,2]",
	"a=[[[1]]]",
	"a=[1",
	"a=[1\nb=2\n",
	"a=1]\n",
	"a=[1]]\n",
	"a=[1]b=2\n",
	"a=[1]#c\n",
	"a=[1];b=2",
	"a=\n1\n",
	"a\n=1\n",
	"a\n",
	"a=",
	"a",
	"=1\n",
	"a==1\n",
	"a=b\n",
	"a=True\n",
	"A=1\n",
	"_a=1\n",
	"a-b=1\n",
	"a_1=2;a=3",
	"a=1\na=2\n",
	"a=['x'];a='s'\n",
	"a='s';a=['x']\n",
	"a+='x'\n",
	"a='x'\na+='y'\n",
	"a=['x']\na+=['y']\n",
	"a=['x']\na+=[['y'],2,]\n",
	"a=['x']\na+='y'\n",
	"a='x'\na+=['y']\n",
	"a+ ='x'\n",
	"a=1,2\n",
	"a=1\fb=2",
	"a\t=\t1\t\n",
	"a=\"\xc3\xa4\"\n",
	"a=\"t\tab\"\n",
	"import os\na=1\n",
	"def x():\n",
	"a=(1)\n",
	"a={1}\n",
	"a=\"x\"b=1\n",
	"a=\"x\" \"y\"\n",
	"a='''x'''\n",
};

static void test_xlcfg__agrees_with_libxlutil(void)
{
	for (size_t i = 0; i < ARRAY_LEN(grammar); i++) {
		_cleanup_(strbuf_deinit) struct strbuf theirs = STRBUF_NULL, ours = STRBUF_NULL;

		xlu_says(&theirs, grammar[i]);
		we_say(&ours, grammar[i]);
		if (strcmp(strbuf_str(&theirs), strbuf_str(&ours)) != 0) {
			printf("%s\n  libxlutil: %s\n  we: %s\n", grammar[i], strbuf_str(&theirs),
			       strbuf_str(&ours));
		}
		CU_ASSERT_STRING_EQUAL(strbuf_str(&theirs), strbuf_str(&ours));
	}
}

/* Where we take more than libxlutil. */
static void test_xlcfg__takes_more(void)
{
	static const struct {
		const char *text, *value;
	} cases[] = {
		{ "a=1 # no newline", "<1>--" },
		{ "a=1\r\nb=2\r\n", "<1><2>-" },
		{ "a=\"\\x41\\101\\x7a1\"\n", "<AAz1>--" },
		{ "a=\"\\x00\"\n", "refused" },
		{ "a=\"\\0\"\n", "refused" },
		{ "a=\"\\777\"\n", "refused" },
		{ "a=\"\\xzz\"\n", "refused" },
		{ "a=\"\\x4\"\n", "<\x04>--" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		_cleanup_(strbuf_deinit) struct strbuf ours = STRBUF_NULL;

		we_say(&ours, cases[i].text);
		CU_ASSERT_STRING_EQUAL(strbuf_str(&ours), cases[i].value);
	}
}

static int parse(const char *text, size_t len, struct strbuf *warnings, struct strbuf *errors,
		 Xenmesh__V1__VmConfig **c)
{
	*c = vmconfig_free(*c);
	strbuf_reset(warnings);
	strbuf_reset(errors);
	return xlcfg_parse(text, len, c, warnings, errors);
}

static void test_xlcfg__is_bounded(void)
{
	_cleanup_(strbuf_deinit) struct strbuf warnings = STRBUF_NULL, errors = STRBUF_NULL;
	_cleanup_(strbuf_deinit) struct strbuf text = STRBUF_NULL;
	_cleanup_(vmconfig_freep) Xenmesh__V1__VmConfig *c = NULL;

	strbuf_puts(&text, "a=");
	memset(strbuf_extend(&text, 60000), '[', 60000);
	CU_ASSERT_EQUAL(parse(text.data, text.len, &warnings, &errors, &c), 1);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&errors), "xl_cfg:1: lists are nested deeper than 8\n");

	strbuf_reset(&text);
	while (text.len < 60000) {
		strbuf_puts(&text, "a+='x';");
	}
	CU_ASSERT_EQUAL(parse(text.data, text.len, &warnings, &errors, &c), -ENOMEM);

	strbuf_reset(&text);
	while (text.len < 60000) {
		strbuf_puts(&text, "a='x';");
	}
	CU_ASSERT_EQUAL(parse(text.data, text.len, &warnings, &errors, &c), 1);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&errors), "xl_cfg:1: there are more than 2048 values\n");

	strbuf_reset(&text);
	while (text.len <= 65536) {
		strbuf_putc(&text, '\n');
	}
	CU_ASSERT_EQUAL(parse(text.data, text.len, &warnings, &errors, &c), 1);

	CU_ASSERT_EQUAL(parse("a=1\0b=2", 7, &warnings, &errors, &c), 1);
}

/* ---- disks, beside libxlutil ---- */

static void test_xlcfg__disks_agree_with_libxlutil(void)
{
	static const char *const specs[] = {
		"/dev/vg/guest-volume,,hda",
		"/dev/vg/guest-volume,raw,hda,rw",
		"format=raw, vdev=hda, access=rw, target=/dev/vg/guest-volume",
		"raw:/dev/vg/guest-volume,hda,w",
		"/root/image.iso,,hdc,cdrom",
		"/root/image.iso,,hdc,,cdrom",
		"/root/image.iso,raw,hdc,devtype=cdrom",
		"format=raw, vdev=hdc, access=ro, devtype=cdrom, target=/root/image.iso",
		"raw:/root/image.iso,hdc:cdrom,ro",
		"phy:/dev/vg/x,xvda,w",
		"file:/srv/x.img,xvda,r",
		"tap:aio:/srv/x.img,xvda,w",
		"tap:qcow2:/srv/x.img,xvda,w",
		"tap2:tapdisk:aio:/srv/x.img,xvda,w",
		"vhd:/srv/x.vhd,xvda,w",
		"/srv/x.qcow2,qcow2,xvdb,ro",
		"/srv/x.qcow2, qcow2, xvdb, ro",
		"vdev=xvda,access=rw,format=raw,backendtype=phy,script=/x/blk.sh,target=/dev/loop0",
		"vdev=xvda,target=/srv/a,b:c d",
		"vdev=xvda,backendtype=qdisk,target=/srv/x",
		"target=/srv/x",
		",,xvda",
		"/srv/x,,xvda,rw,more",
		"/srv/x,raw,xvda,maybe",
		"/srv/x,raw,xvda,vdev=xvdb",
		"/srv/x,,xvda,r,",
		"/srv/x,vhd,xvda,w,discard",
	};

	for (size_t i = 0; i < ARRAY_LEN(specs); i++) {
		_cleanup_(strbuf_deinit) struct strbuf warnings = STRBUF_NULL, errors = STRBUF_NULL;
		_cleanup_(vmconfig_freep) Xenmesh__V1__VmConfig *c = vmconfig_new();
		Xenmesh__V1__VbdConfig *vbd = vmconfig_add_vbd(c);
		FILE *sink = fopen("/dev/null", "w");
		XLU_Config *cfg = xlu_cfg_init(sink, "text");
		libxl_device_disk disk;
		bool is_good;
		int r;

		libxl_device_disk_init(&disk);
		is_good = xlu_disk_parse(cfg, 1, &specs[i], &disk) == 0 && disk.pdev_path &&
			  disk.vdev;
		r = xlcfg_parse_disk("disk[0]", specs[i], vbd, &warnings, &errors);
		is_good = is_good && strcmp(specs[i], ",,xvda") != 0; /* an empty cdrom drive */
		if ((r == 0 && vbd->vdev[0]) != is_good) {
			printf("%s: libxlutil %d, we %d: %s", specs[i], is_good, r,
			       strbuf_str(&errors));
		}
		CU_ASSERT_EQUAL(r == 0 && vbd->vdev[0], is_good);
		if (r == 0 && is_good) {
			CU_ASSERT_STRING_EQUAL(vbd->target, disk.pdev_path);
			CU_ASSERT_STRING_EQUAL(vbd->vdev, disk.vdev);
			CU_ASSERT_EQUAL(vbd->readonly, !disk.readwrite);
			CU_ASSERT_STRING_EQUAL(vbd->script, disk.script ? disk.script : "");
			CU_ASSERT_STRING_EQUAL(vbd->format[0] ? vbd->format : "raw",
					       disk.format == LIBXL_DISK_FORMAT_UNKNOWN
						       ? "raw"
						       : libxl_disk_format_to_string(disk.format));
			CU_ASSERT_STRING_EQUAL(vbd->backendtype[0] ? vbd->backendtype : "unknown",
					       libxl_disk_backend_to_string(disk.backend));
		}
		libxl_device_disk_dispose(&disk);
		xlu_cfg_destroy(cfg);
		fclose(sink);
	}
}

static void test_xlcfg__refuses_other_backends(void)
{
	static const char *const specs[] = { "/x,,xvda,backend=storage",
					     "/x,,xvda,specification=virtio",
					     "/x,,xvda,devtype=lun" };

	for (size_t i = 0; i < ARRAY_LEN(specs); i++) {
		_cleanup_(strbuf_deinit) struct strbuf warnings = STRBUF_NULL, errors = STRBUF_NULL;
		_cleanup_(vmconfig_freep) Xenmesh__V1__VmConfig *c = vmconfig_new();

		CU_ASSERT_EQUAL(xlcfg_parse_disk("disk[7]", specs[i], vmconfig_add_vbd(c),
						 &warnings, &errors),
				1);
		CU_ASSERT_NSTRING_EQUAL(strbuf_str(&errors), "disk[7]: ", 9);
	}
}

/* ---- meaning ---- */

static void test_xlcfg__maps_the_known_keys(void)
{
	static const char text[] =
		"# made by hand\n"
		"name = \"web\"; uuid = \"F47AC10B-58CC-4372-A567-0E02B2C3D479\"\n"
		"type = 'pvh'\n"
		"vcpus = 2\nmaxvcpus = '0x4'\nmemory = 512\nmaxmem = 1024\n"
		"kernel = \"/boot/vmlinuz\"\nramdisk = \"/boot/initrd\"\n"
		"root = \"/dev/xvda1 ro\"\nextra = \"console=hvc0\"\n"
		"disk = [ '/dev/vg/web,raw,xvda,rw',\n         'phy:/dev/vg/data,xvdb,r' , ]\n"
		"vif = [ 'mac=00:16:3E:74:3d:76,bridge=xenbr0, script=vif-x', '',\n"
		"        'devid=5,model=e1000,type=ioemu' ]\n"
		"on_poweroff = \"destroy\"\non_reboot = 'restart'\n"
		"on_crash = 'coredump-restart'\n"
		"vfb = [ 'type=vnc' ]\nlocaltime = 1\nvcpus = 3\n";
	_cleanup_(strbuf_deinit) struct strbuf warnings = STRBUF_NULL, errors = STRBUF_NULL;
	_cleanup_(vmconfig_freep) Xenmesh__V1__VmConfig *c = NULL;

	CU_ASSERT_EQUAL(parse(text, strlen(text), &warnings, &errors, &c), 0);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&errors), "");
	if (!c) {
		return;
	}
	CU_ASSERT_STRING_EQUAL(c->name, "web");
	CU_ASSERT_STRING_EQUAL(c->uuid, "F47AC10B-58CC-4372-A567-0E02B2C3D479");
	CU_ASSERT_EQUAL(c->type, VM_TYPE_PVH);
	CU_ASSERT_EQUAL(c->vcpus, 3);
	CU_ASSERT_EQUAL(c->max_vcpus, 4);
	CU_ASSERT_EQUAL(c->memory_kib, 512 << 10);
	CU_ASSERT_EQUAL(c->max_memory_kib, 1024 << 10);
	CU_ASSERT_STRING_EQUAL(c->kernel, "/boot/vmlinuz");
	CU_ASSERT_STRING_EQUAL(c->ramdisk, "/boot/initrd");
	CU_ASSERT_STRING_EQUAL(c->cmdline, "root=/dev/xvda1 ro console=hvc0");
	CU_ASSERT_EQUAL(c->n_vbds, 2);
	CU_ASSERT_STRING_EQUAL(c->vbds[1]->target, "/dev/vg/data");
	CU_ASSERT(c->vbds[1]->readonly);
	CU_ASSERT_EQUAL(c->n_vifs, 3);
	CU_ASSERT_STRING_EQUAL(c->vifs[0]->mac, "00:16:3E:74:3d:76");
	CU_ASSERT_STRING_EQUAL(c->vifs[0]->bridge, "xenbr0");
	CU_ASSERT_STRING_EQUAL(c->vifs[0]->script, "vif-x");
	CU_ASSERT_EQUAL(c->vifs[1]->devid, 1);
	CU_ASSERT_EQUAL(c->vifs[2]->devid, 5);
	CU_ASSERT_EQUAL(c->on_poweroff, ACTION_DESTROY);
	CU_ASSERT_EQUAL(c->on_reboot, ACTION_RESTART);
	CU_ASSERT_EQUAL(c->on_crash, ACTION_RESTART);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&warnings),
			       "file key on_crash: coredump-restart is done as restart\n"
			       "vif[2]: parameter model is not understood and has no effect\n"
			       "vif[2]: parameter type is not understood and has no effect\n"
			       "file key vcpus is there more than once; the last one counts\n"
			       "file key vfb is not understood and has no effect\n"
			       "file key localtime is not understood and has no effect\n");
	CU_ASSERT_EQUAL(vmconfig_check(c, &errors), 0);
}

static void test_xlcfg__has_xls_defaults(void)
{
	_cleanup_(strbuf_deinit) struct strbuf warnings = STRBUF_NULL, errors = STRBUF_NULL;
	_cleanup_(vmconfig_freep) Xenmesh__V1__VmConfig *c = NULL;
	const char *text = "maxvcpus=4\nmaxmem=64\n";

	CU_ASSERT_EQUAL(parse(text, strlen(text), &warnings, &errors, &c), 0);
	CU_ASSERT_EQUAL(c->type, VM_TYPE_PV);
	CU_ASSERT_EQUAL(c->vcpus, 1);
	CU_ASSERT_EQUAL(c->max_vcpus, 4);
	CU_ASSERT_EQUAL(c->memory_kib, 64 << 10);
	text = "builder='hvm'";
	CU_ASSERT_EQUAL(parse(text, strlen(text), &warnings, &errors, &c), 0);
	CU_ASSERT_EQUAL(c->type, VM_TYPE_HVM);
	text = "builder='generic'";
	CU_ASSERT_EQUAL(parse(text, strlen(text), &warnings, &errors, &c), 0);
	CU_ASSERT_EQUAL(c->type, VM_TYPE_PV);
	text = "cmdline='x'\nextra='y'";
	CU_ASSERT_EQUAL(parse(text, strlen(text), &warnings, &errors, &c), 0);
	CU_ASSERT_STRING_EQUAL(c->cmdline, "x");
	CU_ASSERT_STRING_EQUAL(strbuf_str(&warnings),
			       "file keys root and extra have no effect beside cmdline\n");
}

static void test_xlcfg__refuses_wrong_values(void)
{
	static const struct {
		const char *text, *error;
	} cases[] = {
		{ "\nname=['x']", "xl_cfg:2: name must not be a list\n" },
		{ "memory='1g'", "xl_cfg:1: memory=\"1g\" is not a number up to " },
		{ "memory=' 1'", "xl_cfg:1: memory=\" 1\" is not a number" },
		{ "memory=99999999999999999999", "xl_cfg:1: memory=" },
		{ "vcpus='-1'", "xl_cfg:1: vcpus=\"-1\" is not a number" },
		{ "type='kvm'", "xl_cfg:1: type=\"kvm\" is neither pv nor pvh" },
		{ "on_crash='x'", "xl_cfg:1: on_crash=\"x\" is none of" },
		{ "on_crash='soft-reset'", "xl_cfg:1: on_crash=\"soft-reset\" is none of" },
		{ "disk='x'", "xl_cfg:1: disk must be a list" },
		{ "disk=[['x']]", "xl_cfg:1: disk[0] must be a string" },
		{ "vif=['','backend=net']", "vif[1]: backend=net: backends outside of dom0" },
		{ "vif=['devid=x']", "vif[0]: devid \"x\" is not a number" },
		{ "vif=['mac=a,mac=b']", "vif[0]: mac is there twice" },
		{ "disk=['/x,,xvda,rw,x']", "disk[0]: \"x\" is one positional parameter" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		_cleanup_(strbuf_deinit) struct strbuf warnings = STRBUF_NULL, errors = STRBUF_NULL;
		_cleanup_(vmconfig_freep) Xenmesh__V1__VmConfig *c = NULL;

		CU_ASSERT_EQUAL(parse(cases[i].text, strlen(cases[i].text), &warnings, &errors, &c),
				1);
		CU_ASSERT_PTR_NULL(c);
		CU_ASSERT_NSTRING_EQUAL(strbuf_str(&errors), cases[i].error,
					strlen(cases[i].error));
	}
}

UNIT_MAIN("ops_xlcfg", UNIT_TEST(test_xlcfg__agrees_with_libxlutil),
	  UNIT_TEST(test_xlcfg__takes_more), UNIT_TEST(test_xlcfg__is_bounded),
	  UNIT_TEST(test_xlcfg__disks_agree_with_libxlutil),
	  UNIT_TEST(test_xlcfg__refuses_other_backends), UNIT_TEST(test_xlcfg__maps_the_known_keys),
	  UNIT_TEST(test_xlcfg__has_xls_defaults), UNIT_TEST(test_xlcfg__refuses_wrong_values))
