/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any bytes as a configuration file: keys come with rising line numbers and in
 * the bounds that conf.h states, and failure and complaints go together.
 */
#include <stdio.h>

#include "libcommon/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true)
{
	if (!is_true) {
		abort();
	}
}

static int on_key(const char *section, const char *key, const char *value,
		  const struct conf_pos *pos, struct strbuf *errors, void *userdata)
{
	unsigned int *last_line = userdata;

	require(pos->line > *last_line);
	*last_line = pos->line;
	require(strlen(section) <= CONF_SECTION_MAX);
	require(key[0] != '\0' && strlen(key) + strlen(value) < CONF_LINE_MAX);
	require(!strpbrk(section, "\n];") && !strpbrk(key, "\n=:") && !strchr(value, '\n'));
	if (str_starts(value, "bad")) {
		conf_complain(errors, pos, "%s: %s", key, value);
		return -EINVAL;
	}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	unsigned int last_line = 0;
	int r = conf_parse("input", (const char *)data, size, on_key, &last_line, &errors);

	require(r == 0 || r == -EINVAL);
	require((r < 0) == (errors.len > 0));
	for (const char *p = strbuf_str(&errors); *p; p = strchr(p, '\n') + 1) {
		unsigned int line;

		require(sscanf(p, "input:%u: ", &line) == 1 && line >= 1);
	}
	return 0;
}
