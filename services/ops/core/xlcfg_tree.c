/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A lexer and a recursive descent of three productions.  Agrees with libxlutil
 * on what is well-formed (the unit test asks both), except that it also takes
 * CR LF line ends and the \xHH and \ooo escapes, which libxlutil means to take
 * but cannot read.
 */
#include "services/ops/core/xlcfg_tree.h"

#include <stdarg.h>
#include <stdio.h>

#include "libcommon/log.h"

#define LOWER  "abcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"

enum token {
	TOKEN_END,
	TOKEN_STOP, /* newline or ';' */
	TOKEN_KEY,
	TOKEN_VALUE, /* string or number */
	TOKEN_SET,
	TOKEN_APPEND,
	TOKEN_OPEN,
	TOKEN_CLOSE,
	TOKEN_COMMA,
	TOKEN_BAD, /* complained already */
};

static const char *const token_names[] = {
	[TOKEN_END] = "the end",
	[TOKEN_STOP] = "the end of the line",
	[TOKEN_KEY] = "a word without quotes",
	[TOKEN_VALUE] = "a value",
	[TOKEN_SET] = "'='",
	[TOKEN_APPEND] = "'+='",
	[TOKEN_OPEN] = "'['",
	[TOKEN_CLOSE] = "']'",
	[TOKEN_COMMA] = "','",
};

struct parser {
	const char *at, *end;
	unsigned int line;  /* of `at` */
	unsigned int depth; /* of lists */
	unsigned int n_values;
	enum token token; /* the current one */
	unsigned int token_line;
	const char *text; /* of TOKEN_KEY and TOKEN_VALUE, in the arena */
	struct arena *arena;
	struct strbuf *errors;
	int error; /* 0, 1 or -ENOMEM; the first one counts */
};

static void _printf_(3, 4) complain(struct parser *p, unsigned int line, const char *format, ...)
{
	char text[256], safe[512];
	va_list args;

	if (p->error) {
		return;
	}
	p->error = 1;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	log_escape(safe, sizeof(safe), text, strlen(text));
	strbuf_printf(p->errors, "xl_cfg:%u: %s\n", line, safe);
}

static void *alloc(struct parser *p, size_t size)
{
	void *out = arena_alloc(p->arena, size);

	if (!out) {
		p->error = -ENOMEM;
	}
	return out;
}

/* ---- lexer ---- */

/* At most n_max digits of the base at p->at; <0 = there is none. */
static int read_code(struct parser *p, int base, int n_max)
{
	int code = 0, n = 0;

	for (; n < n_max && p->at < p->end; n++, p->at++) {
		char c = *p->at;
		int digit = c >= '0' && c <= '9'   ? c - '0'
			    : c >= 'a' && c <= 'f' ? c - 'a' + 10
			    : c >= 'A' && c <= 'F' ? c - 'A' + 10
						   : base;

		if (digit >= base) {
			break;
		}
		code = code * base + digit;
	}
	return n == 0 ? -1 : code;
}

/* After a backslash. The character, or <0. */
static int read_escape(struct parser *p)
{
	static const char letters[] = "abfnrtv\\\"'";
	static const char codes[] = "\a\b\f\n\r\t\v\\\"'";
	char c = *p->at;
	const char *known = strchr(letters, c);

	if (c >= '0' && c <= '7') {
		return read_code(p, 8, 3);
	}
	p->at++;
	if (c == 'x') {
		return read_code(p, 16, 2);
	}
	return known && c ? codes[known - letters] : -1;
}

/* Bytes up to the closing quote; <0 = there is none on this line. */
static ssize_t string_len(const struct parser *p, char quote)
{
	const char *at = p->at;

	while (at < p->end && *at != '\n' && *at != quote) {
		at += *at == '\\' && at + 1 < p->end && at[1] != '\n' ? 2 : 1;
	}
	return at < p->end && *at == quote ? at - p->at : -1;
}

static enum token read_string(struct parser *p)
{
	char quote = *p->at++;
	ssize_t size = string_len(p, quote);
	const char *stop = p->at + size;
	char *out;

	if (size < 0) {
		complain(p, p->line, "the string's closing %c is missing on this line", quote);
		return TOKEN_BAD;
	}
	out = alloc(p, (size_t)size + 1);
	if (!out) {
		return TOKEN_BAD;
	}
	p->text = out;
	while (p->at < stop) {
		int c = (unsigned char)*p->at++;

		if (c == '\\') {
			c = read_escape(p);
		}
		if (c <= 0 || c > 255) {
			complain(p, p->line, "a string has a NUL byte or an unknown escape");
			return TOKEN_BAD;
		}
		*out++ = (char)c;
	}
	p->at = stop + 1;
	return TOKEN_VALUE;
}

/* Text of characters in `set`, which is not empty here. */
static enum token read_word(struct parser *p, const char *set, enum token token)
{
	size_t len = 0;

	while (p->at + len < p->end && p->at[len] && strchr(set, p->at[len])) {
		len++;
	}
	p->text = arena_strndup(p->arena, p->at, len);
	p->at += len;
	if (!p->text) {
		p->error = -ENOMEM;
		return TOKEN_BAD;
	}
	return token;
}

static void skip_blanks(struct parser *p)
{
	while (p->at < p->end && *p->at && strchr(" \t\r", *p->at)) {
		p->at++;
	}
	if (p->at < p->end && *p->at == '#') {
		while (p->at < p->end && *p->at != '\n') {
			p->at++;
		}
	}
}

static enum token read_token(struct parser *p)
{
	char c;

	skip_blanks(p);
	p->token_line = p->line;
	if (p->at == p->end) {
		return TOKEN_END;
	}
	c = *p->at;
	if (c >= 'a' && c <= 'z') {
		return read_word(p, LOWER DIGITS "_", TOKEN_KEY);
	}
	if (c >= '0' && c <= '9') {
		return read_word(p, DIGITS "abcdefx", TOKEN_VALUE);
	}
	if (c == '\'' || c == '"') {
		return read_string(p);
	}
	p->at++;
	switch (c) {
	case '\n':
		p->line++;
		return TOKEN_STOP;
	case ';':
		return TOKEN_STOP;
	case '=':
		return TOKEN_SET;
	case '[':
		return TOKEN_OPEN;
	case ']':
		return TOKEN_CLOSE;
	case ',':
		return TOKEN_COMMA;
	case '+':
		if (p->at < p->end && *p->at == '=') {
			p->at++;
			return TOKEN_APPEND;
		}
		break;
	default:
		break;
	}
	complain(p, p->line, "'%c' has no meaning here (text needs quotes)", c);
	return TOKEN_BAD;
}

/* The next token; inside a list line ends are blanks, but ';' is not. */
static void next(struct parser *p)
{
	do {
		p->token = read_token(p);
	} while (p->token == TOKEN_STOP && p->depth > 0 && p->at[-1] == '\n');
}

static void expected(struct parser *p, const char *what)
{
	if (p->token != TOKEN_BAD) {
		complain(p, p->token_line, "%s is expected, not %s", what, token_names[p->token]);
	}
}

/* ---- grammar ---- */

static int add_item(struct parser *p, struct xlcfg_value *list, struct xlcfg_value *item)
{
	size_t n = list->n_items;

	if ((n & (n - 1)) == 0) { /* 0 or a power of two: full */
		struct xlcfg_value **grown = alloc(p, (n ? 2 * n : 1) * sizeof(*grown));

		if (!grown) {
			return -ENOMEM;
		}
		if (n) {
			memcpy(grown, list->items, n * sizeof(*grown));
		}
		list->items = grown;
	}
	list->items[list->n_items++] = item;
	return 0;
}

static struct xlcfg_value *parse_value(struct parser *p);

/* The current token is the one after '['. */
static void parse_items(struct parser *p, struct xlcfg_value *list)
{
	while (!p->error && p->token != TOKEN_CLOSE) {
		struct xlcfg_value *item = parse_value(p);

		if (!item || add_item(p, list, item) < 0) {
			return;
		}
		if (p->token == TOKEN_COMMA) {
			next(p);
		} else if (p->token != TOKEN_CLOSE) {
			expected(p, "',' or ']'");
		}
	}
}

/* Leaves the token after the value; NULL after a complaint. */
static struct xlcfg_value *parse_value(struct parser *p)
{
	struct xlcfg_value *v;

	if (p->token != TOKEN_VALUE && p->token != TOKEN_OPEN) {
		expected(p, "a value");
		return NULL;
	}
	v = alloc(p, sizeof(*v));
	if (!v) {
		return NULL;
	}
	v->line = p->token_line;
	if (++p->n_values > XLCFG_VALUES_MAX) {
		complain(p, p->token_line, "there are more than %d values", XLCFG_VALUES_MAX);
		return NULL;
	}
	if (p->token == TOKEN_VALUE) {
		v->text = p->text;
		next(p);
		return v;
	}
	if (p->depth == XLCFG_DEPTH_MAX) {
		complain(p, p->token_line, "lists are nested deeper than %d", XLCFG_DEPTH_MAX);
		return NULL;
	}
	v->is_list = true;
	p->depth++;
	next(p);
	parse_items(p, v);
	p->depth--;
	next(p);
	return p->error ? NULL : v;
}

static struct xlcfg_setting *find(const struct xlcfg_tree *tree, const char *key)
{
	struct xlcfg_setting *s = tree->settings;

	while (s && strcmp(s->key, key) != 0) {
		s = s->next;
	}
	return s;
}

static void append_value(struct parser *p, struct xlcfg_value *to, const struct xlcfg_value *v)
{
	if (to->is_list != v->is_list) {
		complain(p, v->line, "a list can only be appended to a list, a string to a string");
		return;
	}
	if (!v->is_list) {
		to->text = arena_printf(p->arena, "%s%s", to->text, v->text);
		p->error = to->text ? p->error : -ENOMEM;
	}
	for (size_t i = 0; i < v->n_items; i++) {
		if (add_item(p, to, v->items[i]) < 0) {
			return;
		}
	}
}

static void parse_setting(struct parser *p, struct xlcfg_tree *tree)
{
	struct xlcfg_setting **link = &tree->settings, *setting;
	const char *key = p->text;
	struct xlcfg_value *v;
	bool is_append;

	next(p);
	is_append = p->token == TOKEN_APPEND;
	if (!is_append && p->token != TOKEN_SET) {
		expected(p, "'=' or '+='");
		return;
	}
	next(p);
	v = parse_value(p);
	if (!v) {
		return;
	}
	setting = find(tree, key);
	if (setting) {
		if (is_append) {
			append_value(p, setting->value, v);
		} else {
			setting->value = v;
			setting->is_replaced = true;
		}
		return;
	}
	setting = alloc(p, sizeof(*setting));
	if (setting) {
		*setting = (struct xlcfg_setting){ .key = key, .value = v };
		while (*link) {
			link = &(*link)->next;
		}
		*link = setting;
	}
}

int xlcfg_tree_parse(const char *text, size_t len, struct arena *arena, struct xlcfg_tree *out,
		     struct strbuf *errors)
{
	struct parser p = {
		.at = text,
		.end = text + len,
		.line = 1,
		.arena = arena,
		.errors = errors,
	};

	*out = (struct xlcfg_tree){ 0 };
	next(&p);
	while (!p.error && p.token != TOKEN_END) {
		if (p.token == TOKEN_STOP) {
			next(&p);
			continue;
		}
		if (p.token != TOKEN_KEY) {
			expected(&p, "KEY = VALUE");
			break;
		}
		parse_setting(&p, out);
		if (!p.error && p.token != TOKEN_STOP && p.token != TOKEN_END) {
			expected(&p, "the end of the line or ';'");
		}
	}
	return p.error;
}

const struct xlcfg_value *xlcfg_tree_get(const struct xlcfg_tree *tree, const char *key)
{
	const struct xlcfg_setting *s = find(tree, key);

	return s ? s->value : NULL;
}
