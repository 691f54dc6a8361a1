/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tables of keys, one a kind of section.  A key that is unknown or comes twice
 * is a mistake and refused: the file is ours, so nothing of it may be without
 * effect.
 */
#include "services/ops/core/vmfile.h"

#include <stdio.h>

#include "libcommon/conf.h"
#include "libcommon/parse.h"
#include "services/ops/core/limits.h"
#include "services/ops/core/pb.h"
#include "services/ops/core/vmconfig.h"

#define SECTIONS_MAX 128 /* more than vifs and vbds together may be */

enum value_kind { VALUE_TEXT, VALUE_U32, VALUE_BOOL, VALUE_SIZE, VALUE_TYPE, VALUE_ACTION };

struct key {
	const char *name;
	enum value_kind kind;
	size_t offset;
};

#define VM(name, kind)                                             \
	{                                                          \
#name, kind, offsetof(Xenmesh__V1__VmConfig, name) \
	}
#define VIF(name, kind)                                             \
	{                                                           \
#name, kind, offsetof(Xenmesh__V1__VifConfig, name) \
	}
#define VBD(name, kind)                                             \
	{                                                           \
#name, kind, offsetof(Xenmesh__V1__VbdConfig, name) \
	}

static const struct key vm_keys[] = {
	VM(name, VALUE_TEXT),
	VM(uuid, VALUE_TEXT),
	VM(type, VALUE_TYPE),
	VM(vcpus, VALUE_U32),
	VM(max_vcpus, VALUE_U32),
	{ "memory", VALUE_SIZE, offsetof(Xenmesh__V1__VmConfig, memory_kib) },
	{ "max_memory", VALUE_SIZE, offsetof(Xenmesh__V1__VmConfig, max_memory_kib) },
	VM(kernel, VALUE_TEXT),
	VM(ramdisk, VALUE_TEXT),
	VM(cmdline, VALUE_TEXT),
	VM(on_poweroff, VALUE_ACTION),
	VM(on_reboot, VALUE_ACTION),
	VM(on_crash, VALUE_ACTION),
};

static const struct key vif_keys[] = {
	VIF(mac, VALUE_TEXT),
	VIF(bridge, VALUE_TEXT),
	VIF(script, VALUE_TEXT),
};

static const struct key vbd_keys[] = {
	VBD(target, VALUE_TEXT), VBD(format, VALUE_TEXT),      VBD(readonly, VALUE_BOOL),
	VBD(script, VALUE_TEXT), VBD(backendtype, VALUE_TEXT),
};

struct section {
	char name[32];
	const struct key *keys;
	size_t n_keys;
	void *target;  /* the message it fills */
	uint32_t seen; /* bit per key */
};

struct reader {
	Xenmesh__V1__VmConfig *config;
	struct section sections[SECTIONS_MAX];
	size_t n_sections;
	bool is_out_of_memory;
};

static int out_of_memory(struct reader *rd)
{
	rd->is_out_of_memory = true;
	return -EINVAL;
}

/* ---- sections ---- */

static int open_vm(struct reader *rd, struct section *s)
{
	s->keys = vm_keys;
	s->n_keys = ARRAY_LEN(vm_keys);
	s->target = rd->config;
	return 0;
}

static int open_vif(struct reader *rd, struct section *s, const char *number,
		    const struct conf_pos *pos, struct strbuf *errors)
{
	Xenmesh__V1__VifConfig *vif;
	uint32_t devid;

	if (parse_u32(number, strlen(number), UINT32_MAX, &devid) < 0) {
		conf_complain(errors, pos, "[vif N] needs a number, such as [vif 0]");
		return -EINVAL;
	}
	vif = vmconfig_add_vif(rd->config);
	if (!vif) {
		return out_of_memory(rd);
	}
	vif->devid = devid;
	s->keys = vif_keys;
	s->n_keys = ARRAY_LEN(vif_keys);
	s->target = vif;
	return 0;
}

static int open_vbd(struct reader *rd, struct section *s, const char *vdev)
{
	Xenmesh__V1__VbdConfig *vbd = vmconfig_add_vbd(rd->config);

	if (!vbd || pb_set(&vbd->vdev, vdev) < 0) {
		return out_of_memory(rd);
	}
	s->keys = vbd_keys;
	s->n_keys = ARRAY_LEN(vbd_keys);
	s->target = vbd;
	return 0;
}

static struct section *open_section(struct reader *rd, const char *name, const struct conf_pos *pos,
				    struct strbuf *errors)
{
	struct section *s = &rd->sections[rd->n_sections];
	int r = -EINVAL;

	if (rd->n_sections == SECTIONS_MAX || strlen(name) >= sizeof(s->name)) {
		conf_complain(errors, pos, "section [%s] is one too many or its name too long",
			      name);
		return NULL;
	}
	*s = (struct section){ 0 };
	memcpy(s->name, name, strlen(name) + 1);
	if (streq(name, "vm")) {
		r = open_vm(rd, s);
	} else if (str_starts(name, "vif ")) {
		r = open_vif(rd, s, name + strlen("vif "), pos, errors);
	} else if (str_starts(name, "vbd ")) {
		r = open_vbd(rd, s, name + strlen("vbd "));
	} else {
		conf_complain(errors, pos, "section [%s] is none of [vm], [vif N], [vbd VDEV]",
			      name);
	}
	if (r < 0) {
		return NULL;
	}
	rd->n_sections++;
	return s;
}

static struct section *find_section(struct reader *rd, const char *name, const struct conf_pos *pos,
				    struct strbuf *errors)
{
	for (size_t i = 0; i < rd->n_sections; i++) {
		if (streq(rd->sections[i].name, name)) {
			return &rd->sections[i];
		}
	}
	return open_section(rd, name, pos, errors);
}

/* ---- values ---- */

/* "128M", "1G", "4096K"; MiB without a letter. To KiB. */
static int parse_size(const char *text, uint64_t *kib)
{
	size_t len = strlen(text);
	unsigned int shift = 10;
	int r;

	if (len > 0) {
		switch (text[len - 1]) {
		case 'K':
			shift = 0;
			len--;
			break;
		case 'M':
			len--;
			break;
		case 'G':
			shift = 20;
			len--;
			break;
		default:
			break;
		}
	}
	r = parse_u64(text, len, UINT64_MAX >> shift, kib);
	*kib = r < 0 ? 0 : *kib << shift;
	return r;
}

static const char *const expected[] = {
	[VALUE_U32] = "a number",
	[VALUE_BOOL] = "yes or no",
	[VALUE_SIZE] = "a size such as 512M or 2G",
	[VALUE_TYPE] = "pv or pvh",
	[VALUE_ACTION] = "destroy, restart or preserve",
};

/* <0 = value is not of that kind. */
static int set_value(struct reader *rd, const struct key *key, void *target, const char *value)
{
	void *field = (char *)target + key->offset;
	uint64_t size;
	bool is_true;
	int r = 0;

	switch (key->kind) {
	case VALUE_TEXT:
		return pb_set(field, value) < 0 ? out_of_memory(rd) : 0;
	case VALUE_U32:
		return parse_u32(value, strlen(value), UINT32_MAX, field);
	case VALUE_BOOL:
		r = parse_bool(value, &is_true);
		*(protobuf_c_boolean *)field = r == 0 && is_true;
		return r;
	case VALUE_SIZE:
		r = parse_size(value, &size);
		*(uint64_t *)field = size;
		return r;
	case VALUE_TYPE:
		r = vmconfig_parse_type(value);
		*(Xenmesh__V1__VmType *)field = r < 0 ? VM_TYPE_ANY : (Xenmesh__V1__VmType)r;
		return r;
	case VALUE_ACTION:
		r = vmconfig_parse_action(value);
		*(Xenmesh__V1__Action *)field = r < 0 ? ACTION_DEFAULT : (Xenmesh__V1__Action)r;
		return r;
	}
	return -EINVAL;
}

static int on_key(const char *section, const char *key, const char *value,
		  const struct conf_pos *pos, struct strbuf *errors, void *userdata)
{
	struct reader *rd = userdata;
	struct section *s;

	if (errors->len > OPS_ERRORS_MAX_LEN) {
		return 0; /* there is enough to read, and the outcome is clear */
	}
	s = find_section(rd, section, pos, errors);
	for (size_t i = 0; s && i < s->n_keys; i++) {
		if (!streq(s->keys[i].name, key)) {
			continue;
		}
		if (s->seen & (1U << i)) {
			conf_complain(errors, pos, "%s= is there twice in [%s]", key, section);
			return -EINVAL;
		}
		s->seen |= 1U << i;
		if (set_value(rd, &s->keys[i], s->target, value) < 0) {
			conf_complain(errors, pos, "%s=%s: %s is expected", key, value,
				      rd->is_out_of_memory ? "more memory"
							   : expected[s->keys[i].kind]);
			return -EINVAL;
		}
		return 0;
	}
	if (s) {
		conf_complain(errors, pos, "[%s] has no key %s", section, key);
	}
	return -EINVAL;
}

/* ---- what the syntax would lose without a word ---- */

struct scan {
	struct conf_pos pos, section_pos;
	char section[CONF_SECTION_MAX + 1];
	bool is_empty; /* the section, so far */
	size_t n_errors;
};

static void end_section(struct scan *sc, struct strbuf *errors)
{
	if (sc->is_empty) {
		conf_complain(
			errors, &sc->section_pos,
			"[%s] has no keys, so it would be left out; give it one, or remove it",
			sc->section);
		sc->n_errors++;
	}
	sc->is_empty = false;
}

static void begin_section(struct scan *sc, const char *line, size_t len)
{
	const char *end = memchr(line, ']', len);

	if (end) { /* else it was complained of already */
		snprintf(sc->section, sizeof(sc->section), "%.*s", (int)(end - line) - 1, line + 1);
		sc->section_pos = sc->pos;
		sc->is_empty = true;
	}
}

/* line has no indentation. */
static void scan_line(struct scan *sc, const char *line, size_t len, struct strbuf *errors)
{
	static const char key[] = "cmdline";

	if (len == 0 || line[0] == '#' || line[0] == ';') {
		return;
	}
	if (line[0] == '[') {
		end_section(sc, errors);
		begin_section(sc, line, len);
		return;
	}
	sc->is_empty = false;
	if (len < strlen(key) || memcmp(line, key, strlen(key)) != 0) {
		return;
	}
	for (size_t i = 1; i < len; i++) {
		if (line[i] == ';' && (line[i - 1] == ' ' || line[i - 1] == '\t')) {
			conf_complain(
				errors, &sc->pos,
				"a ';' after a blank would end the cmdline; remove the blank, "
				"and put a comment on a line of its own");
			sc->n_errors++;
			return;
		}
	}
}

/* 1 after complaints. */
static int find_losses(const char *text, size_t len, struct strbuf *errors)
{
	struct scan sc = { .pos = { .file = "vm_file" } };
	const char *end = text + len;

	while (text < end && errors->len <= OPS_ERRORS_MAX_LEN) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));
		const char *line_end = newline ? newline : end;

		sc.pos.line++;
		while (text < line_end && strchr(" \t\r\v\f", *text) && *text) {
			text++;
		}
		scan_line(&sc, text, (size_t)(line_end - text), errors);
		text = newline ? newline + 1 : end;
	}
	end_section(&sc, errors);
	return sc.n_errors > 0 ? 1 : 0;
}

int vmfile_parse(const char *text, size_t len, Xenmesh__V1__VmConfig **out, struct strbuf *errors)
{
	_cleanup_(vmconfig_freep) Xenmesh__V1__VmConfig *config = vmconfig_new();
	_cleanup_(xfreep) struct reader *rd = calloc(1, sizeof(*rd));
	int r, lost;

	if (!config || !rd) {
		return -ENOMEM;
	}
	if (len > OPS_CONFIG_TEXT_MAX) {
		strbuf_printf(errors, "vm_file: has %zu bytes, at most %u are allowed\n", len,
			      OPS_CONFIG_TEXT_MAX);
		return 1;
	}
	rd->config = config;
	r = conf_parse("vm_file", text, len, on_key, rd, errors);
	if (rd->is_out_of_memory) {
		return -ENOMEM;
	}
	lost = find_losses(text, len, errors);
	if (r < 0 || lost) {
		return 1;
	}
	*out = STEAL(config);
	return 0;
}
