/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Meaning of the settings.  Whatever is not understood is told: silence would
 * let people believe that a key they wrote has an effect.
 */
#include "services/ops/core/xlcfg.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>

#include "services/ops/core/limits.h"
#include "services/ops/core/pb.h"
#include "services/ops/core/vmconfig.h"
#include "services/ops/core/xlcfg_tree.h"

#define ARENA_MAX (1U << 20) /* the tree of 64 KiB of honest text is below 300 KiB */

struct mapper {
	const struct xlcfg_tree *tree;
	Xenmesh__V1__VmConfig *config;
	struct strbuf *warnings;
	struct strbuf *errors;
	int error; /* 0, 1, -ENOMEM */
};

static void _printf_(3, 4)
	refuse(struct mapper *m, const struct xlcfg_value *v, const char *format, ...)
{
	char text[256];
	va_list args;

	m->error = m->error ? m->error : 1;
	if (m->errors->len > OPS_ERRORS_MAX_LEN) {
		return;
	}
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	strbuf_printf(m->errors, "xl_cfg:%u: %s\n", v->line, text);
}

/* The text of a key, NULL when it is absent or a list (then refused). */
static const struct xlcfg_value *get_atom(struct mapper *m, const char *key)
{
	const struct xlcfg_value *v = xlcfg_tree_get(m->tree, key);

	if (v && v->is_list) {
		refuse(m, v, "%s must not be a list", key);
		return NULL;
	}
	return v;
}

static const char *get_text(struct mapper *m, const char *key)
{
	const struct xlcfg_value *v = get_atom(m, key);

	return v ? v->text : NULL;
}

static void map_text(struct mapper *m, const char *key, char **field)
{
	const char *text = get_text(m, key);

	if (text && pb_set(field, text) < 0) {
		m->error = -ENOMEM;
	}
}

/* 0 when absent or refused. As libxlutil: C notation, quotes allowed. */
static uint64_t get_number(struct mapper *m, const char *key, uint64_t max)
{
	const struct xlcfg_value *v = get_atom(m, key);
	unsigned long long number;
	char *end;

	if (!v) {
		return 0;
	}
	errno = 0;
	number = strtoull(v->text, &end, 0);
	if (!isdigit((unsigned char)v->text[0]) || *end || errno || number > max) {
		refuse(m, v, "%s=\"%s\" is not a number up to %llu", key, text_quote(v->text).text,
		       (unsigned long long)max);
		return 0;
	}
	return number;
}

static void map_type(struct mapper *m)
{
	const struct xlcfg_value *type = get_atom(m, "type");
	const struct xlcfg_value *builder = get_atom(m, "builder");
	int r = VM_TYPE_PV; /* xl's default */

	if (type) {
		r = vmconfig_parse_type(type->text);
		if (r < 0) {
			refuse(m, type, "type=\"%s\" is neither pv nor pvh",
			       text_quote(type->text).text);
		}
	} else if (builder) {
		r = streq(builder->text, "hvm") ? VM_TYPE_HVM : VM_TYPE_PV;
	}
	m->config->type = r < 0 ? VM_TYPE_ANY : (Xenmesh__V1__VmType)r;
}

/* cmdline=, or else root= and extra= together. */
static void map_cmdline(struct mapper *m)
{
	_cleanup_(xfreep) char *line = NULL;
	const char *root = get_text(m, "root"), *extra = get_text(m, "extra");

	if (get_text(m, "cmdline")) {
		map_text(m, "cmdline", &m->config->cmdline);
		if (root || extra) {
			strbuf_puts(m->warnings, "file keys root and extra have no effect beside "
						 "cmdline\n");
		}
		return;
	}
	if (!root && !extra) {
		return;
	}
	if (asprintf(&line, "%s%s%s%s", root ? "root=" : "", root ? root : "",
		     root && extra ? " " : "", extra ? extra : "") < 0) {
		line = NULL;
	}
	if (!line || pb_set(&m->config->cmdline, line) < 0) {
		m->error = -ENOMEM;
	}
}

static void map_action(struct mapper *m, const char *key, Xenmesh__V1__Action *field)
{
	static const struct {
		const char *name;
		Xenmesh__V1__Action nearest;
	} others[] = {
		{ "rename-restart", ACTION_RESTART },
		{ "coredump-destroy", ACTION_DESTROY },
		{ "coredump-restart", ACTION_RESTART },
	};
	const struct xlcfg_value *v = get_atom(m, key);
	int r = v ? vmconfig_parse_action(v->text) : ACTION_DEFAULT;

	for (size_t i = 0; r < 0 && i < ARRAY_LEN(others); i++) {
		if (streq(v->text, others[i].name)) {
			r = (int)others[i].nearest;
			strbuf_printf(m->warnings, "file key %s: %s is done as %s\n", key, v->text,
				      r == ACTION_RESTART ? "restart" : "destroy");
		}
	}
	if (r < 0) {
		refuse(m, v, "%s=\"%s\" is none of destroy, restart, preserve", key,
		       text_quote(v->text).text);
		return;
	}
	*field = (Xenmesh__V1__Action)r;
}

static void map_device(struct mapper *m, const char *key, const struct xlcfg_value *item, size_t i)
{
	char path[32];
	int r = -ENOMEM;

	snprintf(path, sizeof(path), "%s[%zu]", key, i);
	if (item->is_list) {
		refuse(m, item, "%s must be a string", path);
		return;
	}
	if (streq(key, "vif")) {
		Xenmesh__V1__VifConfig *vif = vmconfig_add_vif(m->config);

		if (vif) {
			vif->devid = (uint32_t)i;
			r = xlcfg_parse_vif(path, item->text, vif, m->warnings, m->errors);
		}
	} else {
		Xenmesh__V1__VbdConfig *vbd = vmconfig_add_vbd(m->config);

		if (vbd) {
			r = xlcfg_parse_disk(path, item->text, vbd, m->warnings, m->errors);
		}
	}
	m->error = r ? r : m->error;
}

static void map_devices(struct mapper *m, const char *key)
{
	const struct xlcfg_value *v = xlcfg_tree_get(m->tree, key);

	if (v && !v->is_list) {
		refuse(m, v, "%s must be a list: %s = [ '...' ]", key, key);
		return;
	}
	for (size_t i = 0; v && i < v->n_items && m->error >= 0; i++) {
		if (m->errors->len > OPS_ERRORS_MAX_LEN) {
			break;
		}
		map_device(m, key, v->items[i], i);
	}
}

static void warn_of_others(struct mapper *m)
{
	static const char *const known[] = {
		"name",	 "uuid",     "type",   "builder",     "memory",	   "maxmem",
		"vcpus", "maxvcpus", "kernel", "ramdisk",     "cmdline",   "root",
		"extra", "disk",     "vif",    "on_poweroff", "on_reboot", "on_crash",
	};

	for (const struct xlcfg_setting *s = m->tree->settings; s; s = s->next) {
		size_t i = 0;

		while (i < ARRAY_LEN(known) && !streq(known[i], s->key)) {
			i++;
		}
		if (i == ARRAY_LEN(known)) {
			strbuf_printf(m->warnings,
				      "file key %s is not understood and has no effect\n",
				      text_quote(s->key).text);
		} else if (s->is_replaced) {
			strbuf_printf(m->warnings,
				      "file key %s is there more than once; the last one counts\n",
				      s->key);
		}
	}
}

static void map_all(struct mapper *m)
{
	const uint64_t mib_max = 1ULL << 40;
	Xenmesh__V1__VmConfig *c = m->config;

	map_text(m, "name", &c->name);
	map_text(m, "uuid", &c->uuid);
	map_type(m);
	c->vcpus = (uint32_t)get_number(m, "vcpus", UINT32_MAX);
	c->max_vcpus = (uint32_t)get_number(m, "maxvcpus", UINT32_MAX);
	c->memory_kib = get_number(m, "memory", mib_max) << 10;
	c->max_memory_kib = get_number(m, "maxmem", mib_max) << 10;
	if (!xlcfg_tree_get(m->tree, "vcpus")) {
		c->vcpus = 1; /* libxl's default */
	}
	if (!xlcfg_tree_get(m->tree, "memory")) {
		c->memory_kib = c->max_memory_kib; /* likewise */
	}
	map_text(m, "kernel", &c->kernel);
	map_text(m, "ramdisk", &c->ramdisk);
	map_cmdline(m);
	map_action(m, "on_poweroff", &c->on_poweroff);
	map_action(m, "on_reboot", &c->on_reboot);
	map_action(m, "on_crash", &c->on_crash);
	map_devices(m, "disk");
	map_devices(m, "vif");
	warn_of_others(m);
}

int xlcfg_parse(const char *text, size_t len, Xenmesh__V1__VmConfig **out, struct strbuf *warnings,
		struct strbuf *errors)
{
	_cleanup_(vmconfig_freep) Xenmesh__V1__VmConfig *config = vmconfig_new();
	_cleanup_(arena_deinit) struct arena arena;
	struct xlcfg_tree tree;
	struct mapper m = {
		.tree = &tree,
		.config = config,
		.warnings = warnings,
		.errors = errors,
	};
	int r;

	arena_init(&arena, ARENA_MAX);
	if (!config) {
		return -ENOMEM;
	}
	if (len > OPS_CONFIG_TEXT_MAX) {
		strbuf_printf(errors, "xl_cfg: has %zu bytes, at most %u are allowed\n", len,
			      OPS_CONFIG_TEXT_MAX);
		return 1;
	}
	r = xlcfg_tree_parse(text, len, &arena, &tree, errors);
	if (r != 0) {
		return r;
	}
	map_all(&m);
	if (m.error == 0) {
		*out = STEAL(config);
	}
	return m.error;
}
