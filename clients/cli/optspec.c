/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "clients/cli/optspec.h"

#include <ctype.h>

static bool is_name_char(char c)
{
	return islower((unsigned char)c) || isdigit((unsigned char)c) || c == '-';
}

bool optspec_is(struct optspec_word w, const char *text)
{
	return w.len == strlen(text) && !strncmp(w.text, text, w.len);
}

/* The word behind one blank at p, if it looks like a value: "FILE", "vm|xl", "N|max". */
static struct optspec_word read_value(const char *p)
{
	struct optspec_word w = { p + 1, 0 };
	bool is_value = false;

	if (*p != ' ') {
		return (struct optspec_word){ p, 0 };
	}
	while (w.text[w.len] && !strchr(" ,;:]\n", w.text[w.len])) {
		is_value |= isupper((unsigned char)w.text[w.len]) || w.text[w.len] == '|';
		w.len++;
	}
	if (!is_value || !isalnum((unsigned char)w.text[0])) {
		w.len = 0;
	}
	return w;
}

static struct optspec_option *ensure(struct optspec *s, struct optspec_word name, char letter)
{
	struct optspec_option *o;

	for (size_t i = 0; i < s->n; i++) {
		o = &s->options[i];
		if (name.len
			    ? o->name.len == name.len && !strncmp(o->name.text, name.text, name.len)
			    : letter && o->letter == letter) {
			return o;
		}
	}
	if (s->n == OPTSPEC_MAX) {
		return NULL;
	}
	o = &s->options[s->n++];
	*o = (struct optspec_option){ .name = name, .letter = letter };
	return o;
}

/* `-x` at p: in front of `, --name`, behind `--name VALUE, `, or for itself. */
static const char *read_letter(struct optspec *s, const char *p, struct optspec_option *last)
{
	char letter = p[1];
	struct optspec_option *o;
	struct optspec_word name = { p + 6, 0 };

	if (str_starts(p + 2, ", --")) {
		while (is_name_char(name.text[name.len])) {
			name.len++;
		}
		o = ensure(s, name, 0);
		if (o) {
			o->letter = letter;
		}
		return p + 4;
	}
	if (last && p[-1] == ' ' && p[-2] == ',') {
		last->letter = letter;
		return p + 2;
	}
	o = ensure(s, (struct optspec_word){ p, 0 }, letter);
	if (o && !o->value.len) {
		o->value = read_value(p + 2);
	}
	return p + 2;
}

void optspec_add(struct optspec *s, const char *text)
{
	struct optspec_option *last = NULL;

	for (const char *p = text; *p;) {
		bool is_begin = p == text || strchr(" ([|\n", p[-1]);
		struct optspec_word name = { p + 2, 0 };

		if (!is_begin || p[0] != '-') {
			p++;
			continue;
		}
		if (isalpha((unsigned char)p[1]) && !isalnum((unsigned char)p[2]) && p[2] != '-') {
			p = read_letter(s, p, last);
			continue;
		}
		if (p[1] != '-' || !islower((unsigned char)p[2])) {
			p++;
			continue;
		}
		while (is_name_char(name.text[name.len])) {
			name.len++;
		}
		last = ensure(s, name, 0);
		p = name.text + name.len;
		/* Where it is only spoken of it seems to be a flag. */
		if (last && !last->value.len) {
			last->value = read_value(p);
		}
	}
}

const struct optspec_option *optspec_find(const struct optspec *s, const char *word,
					  const char **value)
{
	*value = NULL;
	for (size_t i = 0; i < s->n; i++) {
		const struct optspec_option *o = &s->options[i];
		const char *end = word + 2 + o->name.len;

		if (word[0] != '-' || !word[1]) {
			return NULL;
		}
		if (word[1] != '-') {
			if (o->letter == word[1]) {
				*value = word[2] ? word + 2 : NULL;
				return o;
			}
		} else if (o->name.len && !strncmp(word + 2, o->name.text, o->name.len) &&
			   (!*end || *end == '=')) {
			*value = *end ? end + 1 : NULL;
			return o;
		}
	}
	return NULL;
}

/* The next blank-separated word of a usage text, without brackets; options with their values are
 * passed over. */
static struct optspec_word next_argument(const char **p)
{
	for (;;) {
		struct optspec_word w;
		bool is_option;

		*p += strspn(*p, " []");
		w = (struct optspec_word){ *p, strcspn(*p, " []") };
		/* vifs[0] and the like are no brackets of a usage text. */
		*p += w.len;
		is_option = w.len > 1 && w.text[0] == '-';
		if (is_option) {
			*p += read_value(*p).len ? read_value(*p).len + 1 : 0;
		} else if (!w.len || !optspec_is(w, "|")) {
			return w;
		}
	}
}

struct optspec_word optspec_argument(const char *args, size_t index)
{
	struct optspec_word w = next_argument(&args);

	for (size_t i = 0; i < index && w.len; i++) {
		if (memmem(w.text, w.len, "...", 3)) {
			return w;
		}
		w = next_argument(&args);
	}
	return w;
}

struct optspec_word optspec_next(struct optspec_word *rest)
{
	struct optspec_word w = { rest->text, 0 };

	while (w.len < rest->len && w.text[w.len] != '|') {
		w.len++;
	}
	rest->text += MIN(w.len + 1, rest->len);
	rest->len -= MIN(w.len + 1, rest->len);
	while (w.len && w.text[w.len - 1] == '.') {
		w.len--;
	}
	return w;
}
