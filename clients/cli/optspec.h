/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The options and arguments of a command, read out of the texts that --help
 * prints, so that completion cannot know others than they say.
 */
#include "libcommon/base.h"

#define OPTSPEC_MAX 40 /* options of one command, the global ones included; the most have 20 */

/* Part of a text. */
struct optspec_word {
	const char *text;
	size_t len; /* 0 = nothing */
};

struct optspec_option {
	struct optspec_word name;  /* "count" of --count; empty when there is a letter only */
	char letter;		   /* or 0 */
	struct optspec_word value; /* "FILE", "vm|xl|json"; empty = takes none */
};

struct optspec {
	struct optspec_option options[OPTSPEC_MAX];
	size_t n;
};

/* Adds what the text names: `--name`, `--name VALUE`, `-x VALUE`, `-x, --name VALUE`,
 * `--name VALUE, -x`. A value is a word with a capital or a `|` in it, behind one blank. */
void optspec_add(struct optspec *s, const char *text);
/* For "--count", "--count=5", "-c" or "-c5"; NULL when there is none. *value: what follows in the
 * same word, or NULL. */
const struct optspec_option *optspec_find(const struct optspec *s, const char *word,
					  const char **value);
/* What may stand as the argument number `index` (from 0) of a command with these `args`
 * ("SERVICE|TOPIC [FIELD=VALUE...]"); empty when nothing more may. */
struct optspec_word optspec_argument(const char *args, size_t index);
/* The alternatives of "host|VM" one after the other: *rest goes on. Without dots at the end and
 * brackets. An empty word at the end. */
struct optspec_word optspec_next(struct optspec_word *rest);
bool optspec_is(struct optspec_word w, const char *text);
