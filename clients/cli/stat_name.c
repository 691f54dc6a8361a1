/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "clients/cli/stat_name.h"

#include <stdio.h>

/* Longest first. The names of methods may have dots and a slash in them. */
static const struct {
	const char *prefix;
	enum stat_kind kind;
} families[] = {
	{ "rpc.method.", STAT_METHOD },
	{ "rpc.", STAT_METHOD },
	{ "pub.peer.", STAT_PEER },
	{ "pub.", STAT_SEGMENT },
};

void stat_name_parse(const char *name, struct stat_name *out)
{
	const char *last = strrchr(name, '.');

	*out = (struct stat_name){ .kind = STAT_PLAIN };
	for (size_t i = 0; last && i < ARRAY_LEN(families); i++) {
		size_t len = strlen(families[i].prefix);

		/* One word after the prefix is no label. */
		if (!str_starts(name, families[i].prefix) || last < name + len) {
			continue;
		}
		out->kind = families[i].kind;
		snprintf(out->label, sizeof(out->label), "%.*s",
			 (int)MIN((size_t)(last - name) - len, STAT_LABEL_MAX), name + len);
		name = last + 1;
		break;
	}
	snprintf(out->what, sizeof(out->what), "%s", name);
}
