/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The strings in disk= and vif= of an xl.cfg.  A parameter that would change
 * where data goes (another backend domain, a virtio disk) is refused; one that
 * only tunes is left out with a warning.
 */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>

#include "libcommon/parse.h"
#include "services/ops/core/pb.h"
#include "services/ops/core/xlcfg.h"

struct device {
	const char *path; /* "disk[0]" */
	struct strbuf *warnings;
	struct strbuf *errors;
	int error; /* 0, 1, -ENOMEM */
};

static void _printf_(2, 3) refuse(struct device *d, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	strbuf_printf(d->errors, "%s: %s\n", d->path, text);
	d->error = d->error ? d->error : 1;
}

static void no_effect(struct device *d, const char *parameter)
{
	strbuf_printf(d->warnings, "%s: parameter %s is not understood and has no effect\n",
		      d->path, text_quote(parameter).text);
}

static void set(struct device *d, char **field, const char *name, const char *value)
{
	if ((*field)[0]) {
		refuse(d, "%s is there twice", name);
	} else if (value[0] && pb_set(field, value) < 0) {
		d->error = -ENOMEM;
	}
}

/* "key=value" or "flag" in [text, text + len) to a string of its own; *value is NULL without '='.
 */
static char *split(const char *text, size_t len, char **value)
{
	char *key = strndup(text, len);

	*value = key ? strchr(key, '=') : NULL;
	if (*value) {
		*(*value)++ = '\0';
	}
	return key;
}

/* ---- disk ---- */

struct disk {
	struct device device;
	Xenmesh__V1__VbdConfig *vbd;
	char *target; /* positional */
	char *access;
	bool has_target;
	bool has_prefix; /* then there is no positional format */
	bool has_format;
	bool has_vdev;
	bool has_access;
	bool is_cdrom;
};

static void set_access(struct disk *d, const char *value)
{
	if (streq(value, "ro") || streq(value, "r")) {
		d->vbd->readonly = true;
	} else if (value[0] && !streq(value, "rw") && !streq(value, "w")) {
		refuse(&d->device, "access \"%s\" is none of ro, r, rw, w", text_quote(value).text);
	}
}

static void set_devtype(struct disk *d, const char *value)
{
	if (streq(value, "cdrom")) {
		d->is_cdrom = true;
	} else if (!streq(value, "disk") && value[0]) {
		refuse(&d->device, "devtype \"%s\" is not known", text_quote(value).text);
	}
}

/* "xvda" or the deprecated "hdc:cdrom". */
static void set_vdev(struct disk *d, char *value)
{
	char *colon = strrchr(value, ':');

	if (colon) {
		*colon = '\0';
		set_devtype(d, colon + 1);
	}
	set(&d->device, &d->vbd->vdev, "vdev", value);
}

/* "phy:/dev/x", "tap:aio:qcow2:/x" ...: off with it. */
static const char *strip_prefixes(struct disk *d, const char *target)
{
	static const char *const formats[] = { "raw:", "qcow:", "qcow2:", "vhd:", "qed:" };
	static const char *const scripts[] = { "iscsi:", "nbd:", "enbd:", "drbd:" };
	static const char *const ignored[] = { "tapdisk:", "tap2:", "tap:", "aio:",
					       "ioemu:",   "file:", "phy:" };
	char text[32];
	size_t i;

	for (;;) {
		const char *colon = strchr(target, ':');
		int len = colon ? (int)(colon + 1 - target) : 0;

		if (len == 0 || len > 16) {
			return target;
		}
		snprintf(text, sizeof(text), "%.*s", len, target);
		for (i = 0; i < ARRAY_LEN(ignored) && !streq(text, ignored[i]); i++) {
		}
		if (i < ARRAY_LEN(ignored)) {
			d->has_prefix = true;
			target = colon + 1;
			continue;
		}
		for (i = 0; i < ARRAY_LEN(formats) && !streq(text, formats[i]); i++) {
		}
		if (i < ARRAY_LEN(formats)) {
			text[len - 1] = '\0';
			set(&d->device, &d->vbd->format, "format", text);
			d->has_prefix = true;
			target = colon + 1;
			continue;
		}
		for (i = 0; i < ARRAY_LEN(scripts) && !streq(text, scripts[i]); i++) {
		}
		if (i < ARRAY_LEN(scripts)) {
			snprintf(text, sizeof(text), "block-%.*s", len - 1, target);
			set(&d->device, &d->vbd->script, "script", text);
			d->has_prefix = true;
			target = colon + 1;
			continue;
		}
		return target;
	}
}

static void set_positional(struct disk *d, char *value)
{
	if (!d->has_target) {
		const char *target = strip_prefixes(d, value);

		d->has_target = true;
		set(&d->device, &d->vbd->target, "target", target);
	} else if (!d->has_format && !d->has_prefix) {
		d->has_format = true;
		set(&d->device, &d->vbd->format, "format", value);
	} else if (!d->has_vdev) {
		d->has_vdev = true;
		set_vdev(d, value);
	} else if (!d->has_access) {
		d->has_access = true;
		set_access(d, value);
	} else {
		refuse(&d->device, "\"%s\" is one positional parameter too many",
		       text_quote(value).text);
	}
}

static void set_named(struct disk *d, const char *key, char *value)
{
	if (streq(key, "format")) {
		d->has_format = true;
		set(&d->device, &d->vbd->format, key, value);
	} else if (streq(key, "vdev")) {
		d->has_vdev = true;
		set_vdev(d, value);
	} else if (streq(key, "access")) {
		d->has_access = true;
		set_access(d, value);
	} else if (streq(key, "devtype")) {
		set_devtype(d, value);
	} else if (streq(key, "backendtype")) {
		set(&d->device, &d->vbd->backendtype, key, value);
	} else if (streq(key, "script")) {
		set(&d->device, &d->vbd->script, key, value);
	} else if (streq(key, "backend")) {
		if (value[0] && !streq(value, "0") && !streq(value, "Domain-0")) {
			refuse(&d->device, "backend=%s: backends outside of dom0 are not supported",
			       text_quote(value).text);
		}
	} else if (streq(key, "specification")) {
		if (value[0] && !streq(value, "xen")) {
			refuse(&d->device, "specification=%s is not supported, only xen",
			       text_quote(value).text);
		}
	} else {
		no_effect(&d->device, key);
	}
}

/* One comma-free piece of the spec; may write to it. */
static void set_parameter(struct disk *d, const char *text, size_t len)
{
	static const char *const tuning[] = { "direct-io-safe", "discard",   "no-discard",
					      "trusted",	"untrusted", "colo" };
	_cleanup_(xfreep) char *key = NULL;
	char *value;

	key = split(text, len, &value);
	if (!key) {
		d->device.error = -ENOMEM;
		return;
	}
	if (value) {
		set_named(d, key, value);
		return;
	}
	if (streq(key, "cdrom")) {
		d->is_cdrom = true;
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(tuning); i++) {
		if (streq(key, tuning[i])) {
			if (!streq(key, "discard") && !streq(key, "trusted")) { /* the defaults */
				no_effect(&d->device, key);
			}
			return;
		}
	}
	set_positional(d, key);
}

/* A relative target is below /dev, unless a script reads it. */
static void finish_target(struct disk *d)
{
	_cleanup_(xfreep) char *path = NULL;

	if (!d->vbd->target[0]) {
		refuse(&d->device, "target is missing");
	} else if (d->vbd->target[0] != '/' && !d->vbd->script[0]) {
		if (asprintf(&path, "/dev/%s", d->vbd->target) < 0) {
			path = NULL;
		}
		if (!path || pb_set(&d->vbd->target, path) < 0) {
			d->device.error = -ENOMEM;
		}
	}
}

int xlcfg_parse_disk(const char *path, const char *spec, Xenmesh__V1__VbdConfig *vbd,
		     struct strbuf *warnings, struct strbuf *errors)
{
	struct disk d = {
		.device = { .path = path, .warnings = warnings, .errors = errors },
		.vbd = vbd,
	};

	for (const char *at = spec; *at && !d.device.error;) {
		size_t len;

		at += strspn(at, " \t");
		if (str_starts(at, "target=")) { /* takes all the rest, commas and blanks too */
			set(&d.device, &vbd->target, "target", at + strlen("target="));
			break;
		}
		len = strcspn(at, ",");
		set_parameter(&d, at, len);
		at += len + (at[len] == ',' ? 1 : 0);
	}
	if (!d.device.error) {
		finish_target(&d);
	}
	if (!d.device.error && d.is_cdrom) {
		vbd->readonly = true;
		strbuf_printf(warnings, "%s: a cdrom is attached as a read-only disk\n", path);
	}
	return d.device.error;
}

/* ---- vif ---- */

int xlcfg_parse_vif(const char *path, const char *spec, Xenmesh__V1__VifConfig *vif,
		    struct strbuf *warnings, struct strbuf *errors)
{
	struct device d = { .path = path, .warnings = warnings, .errors = errors };

	for (const char *at = spec; *at && !d.error;) {
		_cleanup_(xfreep) char *key = NULL;
		char *value;
		size_t len;

		at += strspn(at, " \t");
		len = strcspn(at, ",");
		key = split(at, len, &value);
		at += len + (at[len] == ',' ? 1 : 0);
		if (!key) {
			return -ENOMEM;
		}
		if (key[0] == '\0' && !value) {
			continue;
		}
		if (!value) {
			value = key + strlen(key); /* a flag */
		}
		if (streq(key, "mac")) {
			set(&d, &vif->mac, key, value);
		} else if (streq(key, "bridge")) {
			set(&d, &vif->bridge, key, value);
		} else if (streq(key, "script")) {
			set(&d, &vif->script, key, value);
		} else if (streq(key, "devid")) {
			if (parse_u32(value, strlen(value), UINT32_MAX, &vif->devid) < 0) {
				refuse(&d, "devid \"%s\" is not a number", text_quote(value).text);
			}
		} else if (streq(key, "backend") && value[0] && !streq(value, "0") &&
			   !streq(value, "Domain-0")) {
			refuse(&d, "backend=%s: backends outside of dom0 are not supported",
			       text_quote(value).text);
		} else if (!streq(key, "trusted") && !streq(key, "backend")) {
			no_effect(&d, key);
		}
	}
	return d.error;
}
