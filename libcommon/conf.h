/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * ini files with drop-ins (inih).  One callback per key, in file order; the
 * callback's complaint is reported as "file:line: text".  `FILE.d/` sits beside
 * FILE: "x.conf" has "x.d"; its *.conf are read after it in name order, later
 * keys override.
 *
 * Lines are `[section]`, `key = value`, blank, or a comment (first character ; or
 * #; also " ;" after a value).  No continuation lines.
 */
#include "libcommon/base.h"
#include "libcommon/strbuf.h"

#define CONF_FILE_MAX	 (1U << 20) /* bytes; a topology of 1,000 services is 100 KiB */
#define CONF_LINE_MAX	 4000	    /* bytes; a list of 100 addresses */
#define CONF_SECTION_MAX 49	    /* bytes of a section's name: inih's */

struct conf_pos {
	const char *file;
	unsigned int line;
};

/* Strings live during the call. Return 0, or -EINVAL after conf_complain(); reading goes on so that
 * all mistakes are seen. */
typedef int (*conf_fn)(const char *section, const char *key, const char *value,
		       const struct conf_pos *pos, struct strbuf *errors, void *userdata);

void conf_complain(struct strbuf *errors, const struct conf_pos *pos, const char *format, ...)
	_printf_(3, 4);
/* Blocks on the file system. 0; -ENOENT when `path` itself is missing (drop-ins are read all the
 * same); -EINVAL with the complaints in `errors`, one per line. */
int conf_load(const char *path, bool with_dropins, conf_fn fn, void *userdata,
	      struct strbuf *errors);
/* The same for text in memory; `name` stands for the file in complaints. */
int conf_parse(const char *name, const char *text, size_t len, conf_fn fn, void *userdata,
	       struct strbuf *errors);
