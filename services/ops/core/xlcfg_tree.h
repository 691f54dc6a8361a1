/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The grammar of xl.cfg(5), without its meaning: settings KEY = VALUE or
 * KEY += VALUE, where a value is a string, a number or a list of values.
 */
#include "libcommon/arena.h"
#include "libcommon/strbuf.h"

#define XLCFG_DEPTH_MAX	 8    /* of nested lists; vnuma= has two */
#define XLCFG_VALUES_MAX 2048 /* in one file; a full one with 64 disks has 150 */

struct xlcfg_value {
	bool is_list;
	const char *text; /* of a string, unescaped, or of a number as written; no NUL inside */
	struct xlcfg_value **items; /* of a list */
	size_t n_items;
	unsigned int line;
};

struct xlcfg_setting {
	const char *key;
	struct xlcfg_value *value;
	bool is_replaced;	    /* was there more than once */
	struct xlcfg_setting *next; /* in the order of first appearance */
};

struct xlcfg_tree {
	struct xlcfg_setting *settings;
};

/* Everything lives in the arena. A repeated key replaces the value, += appends to it.
 * 0; 1 = not of this grammar, one "xl_cfg:LINE: ..." in errors; -ENOMEM (or over the limit). */
int xlcfg_tree_parse(const char *text, size_t len, struct arena *arena, struct xlcfg_tree *out,
		     struct strbuf *errors);
/* NULL when the key is not there. */
const struct xlcfg_value *xlcfg_tree_get(const struct xlcfg_tree *tree, const char *key);
