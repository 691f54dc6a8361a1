/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Conditions on JSON documents, as in `xenmesh bus monitor --filter`:
 *
 *   expression = term { "||" term }
 *   term       = factor { "&&" factor }
 *   factor     = "!" factor | "(" expression ")" | path [ operator value ]
 *   operator   = "==" | "!=" | "<" | "<=" | ">" | ">=" | "contains"
 *   path       = letters, digits, "_" and "." ("vm_state.name", "vifs.0.mac")
 *   value      = a word, or "text" or 'text' with \ before a quote or another \
 *
 * Numbers compare as numbers, everything else as bytes. `contains` looks for a part of a string
 * or an element of an array. A comparison with a field that is not there does not hold, also
 * not "!=". A path alone holds when the field is there and is neither false, 0, "" nor [].
 */
#include <json-c/json.h>

#include "libcommon/base.h"
#include "libcommon/strbuf.h"

#define FILTER_TEXT_MAX	 4096 /* bytes of an expression */
#define FILTER_NODES_MAX 128
#define FILTER_DEPTH_MAX 32 /* of parentheses and "!" */
#define FILTER_PATH_MAX	 255

struct filter;

/* The value at a path of whatever is being looked at, borrowed, or NULL. */
typedef struct json_object *(*filter_lookup_fn)(void *userdata, const char *path);

/* 0; -EINVAL with one line in `error` that names the place; -ENOMEM. */
int filter_parse(struct filter **out, const char *text, struct strbuf *error);
/* NULL matches everything. */
bool filter_match(const struct filter *f, filter_lookup_fn lookup, void *userdata);
struct filter *filter_free(struct filter *f);
static inline void filter_freep(struct filter **f)
{
	*f = filter_free(*f);
}
