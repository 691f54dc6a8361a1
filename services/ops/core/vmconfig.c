/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A definition decides what root does later: which files become kernels and
 * disks, which scripts run.  So each field is held to a narrow form here, once,
 * and nothing that was not accepted here reaches the store or a worker.
 */
#include "services/ops/core/vmconfig.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>

#include "libcommon/parse.h"
#include "libcommon/uuid.h"
#include "services/ops/core/limits.h"
#include "services/ops/core/pb.h"

#define VCPUS_MAX     512   /* of a PV guest: Xen's MAX_VIRT_CPUS is larger, this is plenty */
#define VCPUS_PVH_MAX 128   /* Xen's HVM_MAX_VCPUS */
#define MEMORY_MIN    1024U /* KiB */
#define MEMORY_MAX    (16ULL << 30) /* KiB, 16 TiB: Xen's limit for a guest */
#define CMDLINE_MAX   1024	    /* Xen's MAX_GUEST_CMDLINE */
#define PATH_MAX_LEN  1023	    /* libxl and hotplug scripts go through xenstore and env */
#define VIFS_MAX      16
#define VBDS_MAX      64
#define DEVID_MAX     127
#define NAME_CHARS    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
#define BRIDGE_MAX    15 /* IFNAMSIZ - 1 */

/* ---- building ---- */

Xenmesh__V1__VmConfig *vmconfig_new(void)
{
	Xenmesh__V1__VmConfig *c = malloc(sizeof(*c));

	if (c) {
		xenmesh__v1__vm_config__init(c);
	}
	return c;
}

Xenmesh__V1__VmConfig *vmconfig_copy(const Xenmesh__V1__VmConfig *c)
{
	return (Xenmesh__V1__VmConfig *)pb_copy(&c->base);
}

Xenmesh__V1__VmConfig *vmconfig_free(Xenmesh__V1__VmConfig *c)
{
	return pb_free((ProtobufCMessage *)c);
}

Xenmesh__V1__VifConfig *vmconfig_add_vif(Xenmesh__V1__VmConfig *c)
{
	Xenmesh__V1__VifConfig *vif = malloc(sizeof(*vif));

	if (vif) {
		xenmesh__v1__vif_config__init(vif);
	}
	return pb_append(&c->vifs, &c->n_vifs, (ProtobufCMessage *)vif) < 0 ? NULL : vif;
}

Xenmesh__V1__VbdConfig *vmconfig_add_vbd(Xenmesh__V1__VmConfig *c)
{
	Xenmesh__V1__VbdConfig *vbd = malloc(sizeof(*vbd));

	if (vbd) {
		xenmesh__v1__vbd_config__init(vbd);
	}
	return pb_append(&c->vbds, &c->n_vbds, (ProtobufCMessage *)vbd) < 0 ? NULL : vbd;
}

int vmconfig_parse_type(const char *text)
{
	static const struct {
		const char *text;
		int type;
	} types[] = { { "pv", VM_TYPE_PV }, { "pvh", VM_TYPE_PVH }, { "hvm", VM_TYPE_HVM } };

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		if (streq(text, types[i].text)) {
			return types[i].type;
		}
	}
	return -EINVAL;
}

int vmconfig_parse_action(const char *text)
{
	static const struct {
		const char *text;
		int action;
	} actions[] = {
		{ "destroy", ACTION_DESTROY },
		{ "restart", ACTION_RESTART },
		{ "preserve", ACTION_PRESERVE },
	};

	for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
		if (streq(text, actions[i].text)) {
			return actions[i].action;
		}
	}
	return -EINVAL;
}

/* ---- checking ---- */

struct checker {
	struct strbuf *errors;
	char path[48]; /* "vifs[1]." in front of field names */
	bool is_bad;
};

static void _printf_(3, 4) complain(struct checker *ck, const char *field, const char *format, ...)
{
	char text[512];
	va_list args;

	ck->is_bad = true;
	if (ck->errors->len > OPS_ERRORS_MAX_LEN) {
		return;
	}
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	strbuf_printf(ck->errors, "%s%s: %s\n", ck->path, field, text);
}

static void check_name(struct checker *ck, const char *name)
{
	size_t len = strlen(name);
	struct uuid u;

	if (len == 0) {
		complain(ck, "name", "is missing");
	} else if (len > VMCONFIG_NAME_MAX) {
		complain(ck, "name", "has %zu characters, at most %d are allowed", len,
			 VMCONFIG_NAME_MAX);
	}
	if (strspn(name, NAME_CHARS "._+-") != len) {
		complain(ck, "name", "\"%s\" has characters other than A-Z a-z 0-9 . _ + -",
			 text_quote(name).text);
	} else if (uuid_parse(name, &u) == 0) {
		complain(ck, "name", "looks like a UUID");
	} else if (len > 0 && strspn(name, "0123456789") == len) {
		complain(ck, "name", "looks like a domid: it needs more than digits");
	}
}

static void check_uuid(struct checker *ck, const char *text)
{
	struct uuid u;

	if (text[0] == '\0') {
		return;
	}
	if (uuid_parse(text, &u) < 0) {
		complain(ck, "uuid", "\"%s\" is not a UUID of 36 characters",
			 text_quote(text).text);
	} else if (uuid_is_zero(&u)) {
		complain(ck, "uuid", "must not be all zero: that is dom0's");
	}
}

/* Printable, no control characters, bounded. */
static bool check_text(struct checker *ck, const char *field, const char *text, size_t max)
{
	size_t len = strlen(text);

	if (len > max) {
		complain(ck, field, "has %zu bytes, at most %zu are allowed", len, max);
		return false;
	}
	if (!utf8_is_valid(text, len)) {
		complain(ck, field, "is not valid UTF-8");
		return false;
	}
	for (const char *p = text; *p; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f) {
			complain(ck, field, "has a control character");
			return false;
		}
	}
	return true;
}

static void check_path(struct checker *ck, const char *field, const char *path, bool is_required)
{
	if (path[0] == '\0') {
		if (is_required) {
			complain(ck, field, "is missing");
		}
		return;
	}
	if (check_text(ck, field, path, PATH_MAX_LEN) && path[0] != '/') {
		complain(ck, field, "\"%s\" must be an absolute path", text_quote(path).text);
	}
}

/* A hotplug script: a path, or a file's name in the directory of the scripts. */
static void check_script(struct checker *ck, const char *script)
{
	if (!check_text(ck, "script", script, PATH_MAX_LEN)) {
		return;
	}
	if (script[0] != '/' && strchr(script, '/')) {
		complain(ck, "script", "\"%s\" must be an absolute path or a name without '/'",
			 text_quote(script).text);
	} else if (strchr(script, ' ') || strstr(script, "..")) {
		complain(ck, "script", "\"%s\" must not have blanks or \"..\"",
			 text_quote(script).text);
	}
}

static void check_enum(struct checker *ck, const char *field, int value, int max)
{
	if (value < 0 || value > max) {
		complain(ck, field, "%d is not a known value", value);
	}
}

static void check_cpu_memory(struct checker *ck, const Xenmesh__V1__VmConfig *c)
{
	unsigned int max = c->type == VM_TYPE_PVH ? VCPUS_PVH_MAX : VCPUS_MAX;

	if (c->vcpus == 0) {
		complain(ck, "vcpus", "is missing or 0");
	} else if (c->vcpus > max) {
		complain(ck, "vcpus", "%u is more than %u", c->vcpus, max);
	}
	if (c->max_vcpus > max) {
		complain(ck, "max_vcpus", "%u is more than %u", c->max_vcpus, max);
	} else if (c->max_vcpus && c->max_vcpus < c->vcpus) {
		complain(ck, "max_vcpus", "%u is less than vcpus, %u", c->max_vcpus, c->vcpus);
	}
	if (c->memory_kib == 0) {
		complain(ck, "memory_kib", "is missing or 0");
	} else if (c->memory_kib < MEMORY_MIN || c->memory_kib > MEMORY_MAX) {
		complain(ck, "memory_kib", "%llu is not within %u..%llu",
			 (unsigned long long)c->memory_kib, MEMORY_MIN, MEMORY_MAX);
	}
	if (c->max_memory_kib > MEMORY_MAX) {
		complain(ck, "max_memory_kib", "%llu is more than %llu",
			 (unsigned long long)c->max_memory_kib, MEMORY_MAX);
	} else if (c->max_memory_kib && c->max_memory_kib < c->memory_kib) {
		complain(ck, "max_memory_kib", "%llu is less than memory_kib, %llu",
			 (unsigned long long)c->max_memory_kib, (unsigned long long)c->memory_kib);
	}
}

static void check_mac(struct checker *ck, const char *mac)
{
	static const char form[] = "xx:xx:xx:xx:xx:xx";
	bool is_good = strlen(mac) == strlen(form);

	for (size_t i = 0; is_good && form[i]; i++) {
		is_good = form[i] == ':' ? mac[i] == ':' : isxdigit((unsigned char)mac[i]) != 0;
	}
	if (!is_good) {
		complain(ck, "mac", "\"%s\" is not of the form 00:16:3e:01:02:03",
			 text_quote(mac).text);
	} else if (strchr("13579bdfBDF", mac[1])) {
		complain(ck, "mac", "\"%s\" is a multicast address: the second digit must be even",
			 mac);
	} else if (streq(mac, "00:00:00:00:00:00")) {
		complain(ck, "mac", "must not be all zero");
	}
}

static void check_bridge(struct checker *ck, const char *bridge)
{
	size_t len = strlen(bridge);

	if (strspn(bridge, NAME_CHARS "_.-") != len || len > BRIDGE_MAX || bridge[0] == '-' ||
	    bridge[0] == '.') {
		complain(ck, "bridge", "\"%s\" is not the name of a network interface",
			 text_quote(bridge).text);
	}
}

static void check_vif(struct checker *ck, const Xenmesh__V1__VmConfig *c, size_t i)
{
	const Xenmesh__V1__VifConfig *vif = c->vifs[i];

	snprintf(ck->path, sizeof(ck->path), "vifs[%zu].", i);
	if (vif->devid > DEVID_MAX) {
		complain(ck, "devid", "%u is more than %u", vif->devid, DEVID_MAX);
	}
	if (vif->mac[0]) {
		check_mac(ck, vif->mac);
	}
	check_bridge(ck, vif->bridge);
	check_script(ck, vif->script);
	for (size_t k = 0; k < i; k++) {
		if (c->vifs[k]->devid == vif->devid) {
			complain(ck, "devid", "%u is also that of vifs[%zu]", vif->devid, k);
		}
		if (vif->mac[0] && strcasecmp(vif->mac, c->vifs[k]->mac) == 0) {
			complain(ck, "mac", "is also that of vifs[%zu]", k);
		}
	}
}

/* Kind, disk letters, partition; xen-vbd-interface(7). */
static bool is_vdev(const char *vdev)
{
	static const struct {
		const char *prefix;
		size_t letters;
		char last; /* of a letter */
		uint32_t partition;
	} kinds[] = { { "xvd", 3, 'z', 255 }, { "sd", 1, 'p', 15 }, { "hd", 1, 'd', 63 } };
	const char *disk, *partition;
	uint32_t number;
	size_t i = 0;

	while (i < ARRAY_LEN(kinds) && !str_starts(vdev, kinds[i].prefix)) {
		i++;
	}
	if (i == ARRAY_LEN(kinds)) {
		return false;
	}
	disk = partition = vdev + strlen(kinds[i].prefix);
	while (*partition >= 'a' && *partition <= kinds[i].last) {
		partition++;
	}
	if (partition == disk || (size_t)(partition - disk) > kinds[i].letters) {
		return false;
	}
	return *partition == '\0' ||
	       (*partition != '0' &&
		parse_u32(partition, strlen(partition), kinds[i].partition, &number) == 0);
}

static void check_vbd(struct checker *ck, const Xenmesh__V1__VmConfig *c, size_t i)
{
	const Xenmesh__V1__VbdConfig *vbd = c->vbds[i];
	bool is_raw = vbd->format[0] == '\0' || streq(vbd->format, "raw");

	snprintf(ck->path, sizeof(ck->path), "vbds[%zu].", i);
	if (!is_vdev(vbd->vdev)) {
		complain(ck, "vdev", "\"%s\" is not a disk's name such as xvda",
			 text_quote(vbd->vdev).text);
	}
	if (vbd->script[0] && vbd->target[0]) {
		check_text(ck, "target", vbd->target, PATH_MAX_LEN); /* the script's own notation */
	} else {
		check_path(ck, "target", vbd->target, true);
	}
	if (!is_raw && !streq(vbd->format, "qcow2") && !streq(vbd->format, "vhd")) {
		complain(ck, "format", "\"%s\" is none of raw, qcow2, vhd",
			 text_quote(vbd->format).text);
	}
	if (vbd->backendtype[0] && !streq(vbd->backendtype, "phy") &&
	    !streq(vbd->backendtype, "qdisk")) {
		complain(ck, "backendtype", "\"%s\" is neither phy nor qdisk",
			 text_quote(vbd->backendtype).text);
	} else if (streq(vbd->backendtype, "phy") && !is_raw) {
		complain(ck, "backendtype", "phy can only do format raw");
	}
	check_script(ck, vbd->script);
	for (size_t k = 0; k < i; k++) {
		if (streq(c->vbds[k]->vdev, vbd->vdev)) {
			complain(ck, "vdev", "\"%s\" is also that of vbds[%zu]",
				 text_quote(vbd->vdev).text, k);
		}
	}
}

int vmconfig_check(const Xenmesh__V1__VmConfig *c, struct strbuf *errors)
{
	struct checker ck = { .errors = errors };

	check_uuid(&ck, c->uuid);
	check_name(&ck, c->name);
	if (c->type == VM_TYPE_HVM) {
		complain(&ck, "type",
			 "hvm guests cannot be started by this version: use pv or pvh");
	} else if (c->type != VM_TYPE_PV && c->type != VM_TYPE_PVH) {
		complain(&ck, "type", "is missing: pv or pvh");
	}
	check_cpu_memory(&ck, c);
	check_path(&ck, "kernel", c->kernel, true);
	check_path(&ck, "ramdisk", c->ramdisk, false);
	check_text(&ck, "cmdline", c->cmdline, CMDLINE_MAX);
	check_enum(&ck, "on_poweroff", (int)c->on_poweroff, ACTION_PRESERVE);
	check_enum(&ck, "on_reboot", (int)c->on_reboot, ACTION_PRESERVE);
	check_enum(&ck, "on_crash", (int)c->on_crash, ACTION_PRESERVE);
	if (c->n_vifs > VIFS_MAX) {
		complain(&ck, "vifs", "%zu are more than %d", c->n_vifs, VIFS_MAX);
	}
	if (c->n_vbds > VBDS_MAX) {
		complain(&ck, "vbds", "%zu are more than %d", c->n_vbds, VBDS_MAX);
	}
	for (size_t i = 0; i < MIN(c->n_vifs, VIFS_MAX); i++) {
		check_vif(&ck, c, i);
	}
	for (size_t i = 0; i < MIN(c->n_vbds, VBDS_MAX); i++) {
		check_vbd(&ck, c, i);
	}
	return ck.is_bad ? 1 : 0;
}

/* ---- completing ---- */

void vmconfig_mac(const char *uuid, uint32_t devid, char out[static 18])
{
	uint64_t hash = 0xcbf29ce484222325ULL; /* FNV-1a */
	char text[48];

	snprintf(text, sizeof(text), "%.36s/%u", uuid, devid);
	for (const char *p = text; *p; p++) {
		hash = (hash ^ (unsigned char)*p) * 0x100000001b3ULL;
	}
	hash ^= hash >> 32;
	snprintf(out, 18, "00:16:3e:%02x:%02x:%02x", (unsigned int)(hash >> 16) & 0xff,
		 (unsigned int)(hash >> 8) & 0xff, (unsigned int)hash & 0xff);
}

int vmconfig_complete(Xenmesh__V1__VmConfig *c)
{
	char text[37];
	struct uuid u;
	int r;

	if (uuid_parse(c->uuid, &u) < 0) {
		uuid_random(&u);
	}
	uuid_format(&u, text);
	r = pb_set(&c->uuid, text);
	for (size_t i = 0; r == 0 && i < c->n_vifs; i++) {
		char mac[18];

		vmconfig_mac(text, c->vifs[i]->devid, mac);
		if (c->vifs[i]->mac[0] == '\0') {
			r = pb_set(&c->vifs[i]->mac, mac);
		}
		for (char *p = c->vifs[i]->mac; *p; p++) {
			*p = (char)tolower((unsigned char)*p);
		}
	}
	return r;
}

uint64_t vmconfig_need_kib(const Xenmesh__V1__VmConfig *c)
{
	uint64_t max_memory = MAX(c->max_memory_kib, c->memory_kib);
	uint64_t vcpus = MAX(c->max_vcpus, c->vcpus);

	if (c->type != VM_TYPE_PVH) {
		return c->memory_kib + 1024; /* libxl's slack for PV */
	}
	/* 1 MiB a vCPU and two pages for each MiB, as libxl sizes the HAP pool; its slack is 2 MiB
	 */
	return c->memory_kib + 2048 + 1024 * vcpus + 8 * (max_memory / 1024);
}
