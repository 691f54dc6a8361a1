/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Look-up in the generated table.  It has a few dozen rows, so a scan is enough.
 */
#include "bus/methods.h"

#include "libcommon/base.h"

/* True when `last` is all of name after one of its separators. */
static bool is_last_part(const char *name, const char *last)
{
	size_t name_len = strlen(name), last_len = strlen(last);
	const char *tail;

	if (last_len == 0 || last_len >= name_len) {
		return false;
	}
	tail = name + (name_len - last_len);
	return streq(tail, last) && strchr("./", tail[-1]);
}

const struct bus_method *bus_method_find(const char *name)
{
	const struct bus_method *found = NULL;

	for (size_t i = 0; i < bus_n_methods; i++) {
		if (streq(bus_methods[i].name, name)) {
			return &bus_methods[i];
		}
	}
	for (size_t i = 0; i < bus_n_methods; i++) {
		if (!is_last_part(bus_methods[i].name, name)) {
			continue;
		}
		if (found) {
			return NULL;
		}
		found = &bus_methods[i];
	}
	return found;
}
