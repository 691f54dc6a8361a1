/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A recursive descent over the text, whose depth is bounded, gives a tree in
 * an array: a node's children come before it.
 */
#include "clients/cli/filter.h"

#include <ctype.h>
#include <math.h>

#include "libcommon/parse.h"

enum kind { KIND_OR, KIND_AND, KIND_NOT, KIND_THERE, KIND_COMPARE };

enum comparison { OP_EQ, OP_NE, OP_LE, OP_GE, OP_LT, OP_GT, OP_CONTAINS };

struct node {
	enum kind kind;
	enum comparison op;
	size_t left, right;
	const char *path;  /* THERE, COMPARE */
	const char *value; /* COMPARE */
};

struct filter {
	struct node nodes[FILTER_NODES_MAX];
	size_t n_nodes;
	size_t root;
	size_t n_text;
	char text[2 * FILTER_TEXT_MAX]; /* paths and values, each with its NUL */
};

struct parser {
	struct filter *f;
	const char *begin, *at;
	unsigned int depth;
	struct strbuf *error;
};

static int parse_or(struct parser *p, size_t *out);

static int complain(const struct parser *p, const char *what)
{
	strbuf_printf(p->error, "%s at character %zu of \"%s\"", what,
		      (size_t)(p->at - p->begin) + 1, p->begin);
	return -EINVAL;
}

static void skip_blanks(struct parser *p)
{
	while (*p->at == ' ' || *p->at == '\t' || *p->at == '\n') {
		p->at++;
	}
}

static bool take(struct parser *p, const char *token)
{
	skip_blanks(p);
	if (!str_starts(p->at, token)) {
		return false;
	}
	p->at += strlen(token);
	return true;
}

static int add(struct parser *p, const struct node *n, size_t *out)
{
	if (p->f->n_nodes == FILTER_NODES_MAX) {
		return complain(p, "too many conditions");
	}
	p->f->nodes[p->f->n_nodes] = *n;
	*out = p->f->n_nodes++;
	return 0;
}

static void keep(struct parser *p, char c)
{
	p->f->text[p->f->n_text++] = c;
}

/* The text before `end`, kept with a NUL. Texts and their NULs are at most twice the input. */
static const char *keep_until(struct parser *p, const char *end)
{
	const char *kept = p->f->text + p->f->n_text;

	while (p->at < end) {
		keep(p, *p->at++);
	}
	keep(p, 0);
	return kept;
}

static bool is_path_char(char c)
{
	return isalnum((unsigned char)c) || c == '_' || c == '.';
}

static int parse_path(struct parser *p, const char **out)
{
	const char *end = p->at;

	while (is_path_char(*end)) {
		end++;
	}
	if (end == p->at) {
		return complain(p, *p->at ? "a field's name is wanted" : "something is missing");
	}
	if (end - p->at > FILTER_PATH_MAX) {
		return complain(p, "a field's name is too long");
	}
	*out = keep_until(p, end);
	return 0;
}

static int parse_quoted(struct parser *p, const char **out)
{
	char quote = *p->at++;

	*out = p->f->text + p->f->n_text;
	while (*p->at && *p->at != quote) {
		p->at += p->at[0] == '\\' && (p->at[1] == quote || p->at[1] == '\\');
		keep(p, *p->at++);
	}
	if (!*p->at) {
		return complain(p, "a quote is not closed");
	}
	p->at++;
	keep(p, 0);
	return 0;
}

static int parse_value(struct parser *p, const char **out)
{
	const char *end;

	skip_blanks(p);
	if (*p->at == '"' || *p->at == '\'') {
		return parse_quoted(p, out);
	}
	end = p->at;
	while (*end && !strchr(" \t\n()", *end) && !str_starts(end, "&&") &&
	       !str_starts(end, "||")) {
		end++;
	}
	if (end == p->at) {
		return complain(p, "a value is wanted");
	}
	*out = keep_until(p, end);
	return 0;
}

static bool take_operator(struct parser *p, enum comparison *out)
{
	static const char *const words[] = {
		[OP_EQ] = "==",
		[OP_NE] = "!=",
		[OP_LE] = "<=",
		[OP_GE] = ">=",
		[OP_LT] = "<",
		[OP_GT] = ">",
		[OP_CONTAINS] = "contains",
	};

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		const char *before = p->at;

		if (!take(p, words[i])) {
			continue;
		}
		if (i == OP_CONTAINS && is_path_char(*p->at)) {
			p->at = before;
			continue;
		}
		*out = (enum comparison)i;
		return true;
	}
	return false;
}

static int parse_condition(struct parser *p, size_t *out)
{
	struct node n = { .kind = KIND_THERE };
	int r = parse_path(p, &n.path);

	if (r < 0) {
		return r;
	}
	if (take_operator(p, &n.op)) {
		n.kind = KIND_COMPARE;
		r = parse_value(p, &n.value);
	} else if (*p->at == '=') {
		r = complain(p, "equality is written ==");
	}
	return r < 0 ? r : add(p, &n, out);
}

static int parse_factor(struct parser *p, size_t *out)
{
	struct node n = { .kind = KIND_NOT };
	int r;

	skip_blanks(p);
	if (*p->at != '!' && *p->at != '(') {
		return parse_condition(p, out);
	}
	if (p->depth == FILTER_DEPTH_MAX) {
		return complain(p, "nested too deeply");
	}
	p->depth++;
	if (*p->at++ == '!') {
		r = parse_factor(p, &n.left);
		r = r < 0 ? r : add(p, &n, out);
	} else {
		r = parse_or(p, out);
		if (r == 0 && !take(p, ")")) {
			r = complain(p, "a ) is wanted");
		}
	}
	p->depth--;
	return r;
}

static int parse_and(struct parser *p, size_t *out)
{
	int r = parse_factor(p, out);

	while (r == 0 && take(p, "&&")) {
		struct node n = { .kind = KIND_AND, .left = *out };

		r = parse_factor(p, &n.right);
		r = r < 0 ? r : add(p, &n, out);
	}
	return r;
}

static int parse_or(struct parser *p, size_t *out)
{
	int r = parse_and(p, out);

	while (r == 0 && take(p, "||")) {
		struct node n = { .kind = KIND_OR, .left = *out };

		r = parse_and(p, &n.right);
		r = r < 0 ? r : add(p, &n, out);
	}
	return r;
}

int filter_parse(struct filter **out, const char *text, struct strbuf *error)
{
	_cleanup_(filter_freep) struct filter *f = NULL;
	struct parser p = { .begin = text, .at = text, .error = error };
	int r;

	if (strlen(text) >= FILTER_TEXT_MAX) {
		strbuf_printf(error, "an expression has at most %d bytes", FILTER_TEXT_MAX - 1);
		return -EINVAL;
	}
	f = calloc(1, sizeof(*f));
	if (!f) {
		return -ENOMEM;
	}
	p.f = f;
	r = parse_or(&p, &f->root);
	if (r < 0) {
		return r;
	}
	skip_blanks(&p);
	if (*p.at) {
		return complain(&p, "&& or || is wanted");
	}
	*out = STEAL(f);
	return 0;
}

struct filter *filter_free(struct filter *f)
{
	free(f);
	return NULL;
}

/* ---- matching ---- */

static bool to_double(const char *text, double *out)
{
	char *end;

	*out = strtod(text, &end);
	return end != text && !*end && !isnan(*out);
}

/* Whole numbers up to 64 bits are compared exactly: sequence numbers and nanoseconds. */
static bool compare_number(struct json_object *o, const char *value, int *out)
{
	bool is_int = json_object_is_type(o, json_type_int);
	size_t len = strlen(value);
	uint64_t u;
	int64_t i;
	double d;

	if (!is_int && !json_object_is_type(o, json_type_double)) {
		return false;
	}
	if (is_int && !parse_u64(value, len, UINT64_MAX, &u)) {
		uint64_t have = json_object_get_uint64(o);

		*out = json_object_get_int64(o) < 0 ? -1 : (have > u) - (have < u);
		return true;
	}
	if (is_int && !parse_i64(value, len, &i)) {
		int64_t have = json_object_get_int64(o);

		*out = (have > i) - (have < i);
		return true;
	}
	if (!to_double(value, &d)) {
		return false;
	}
	*out = (json_object_get_double(o) > d) - (json_object_get_double(o) < d);
	return true;
}

/* Negative, 0 or positive as strcmp. */
static int compare(struct json_object *o, const char *value)
{
	int result;

	if (compare_number(o, value, &result)) {
		return result;
	}
	return strcmp(json_object_is_type(o, json_type_string)
			      ? json_object_get_string(o)
			      : json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN),
		      value);
}

static bool contains(struct json_object *o, const char *value)
{
	if (json_object_is_type(o, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(o); i++) {
			struct json_object *element = json_object_array_get_idx(o, i);

			if (element && compare(element, value) == 0) {
				return true;
			}
		}
		return false;
	}
	return json_object_is_type(o, json_type_string) && strstr(json_object_get_string(o), value);
}

static bool is_there(struct json_object *o)
{
	switch (json_object_get_type(o)) {
	case json_type_null:
		return false;
	case json_type_boolean:
		return json_object_get_boolean(o);
	case json_type_int:
		return json_object_get_uint64(o) != 0;
	case json_type_double:
		return fpclassify(json_object_get_double(o)) != FP_ZERO;
	case json_type_string:
		return json_object_get_string_len(o) > 0;
	case json_type_array:
		return json_object_array_length(o) > 0;
	case json_type_object:
		return true;
	}
	return false;
}

static bool match_compare(const struct node *n, struct json_object *o)
{
	if (!o) {
		return false;
	}
	switch (n->op) {
	case OP_EQ:
		return compare(o, n->value) == 0;
	case OP_NE:
		return compare(o, n->value) != 0;
	case OP_LE:
		return compare(o, n->value) <= 0;
	case OP_GE:
		return compare(o, n->value) >= 0;
	case OP_LT:
		return compare(o, n->value) < 0;
	case OP_GT:
		return compare(o, n->value) > 0;
	case OP_CONTAINS:
		return contains(o, n->value);
	}
	return false;
}

/* Children come before their parents, so one run over the array is enough. */
bool filter_match(const struct filter *f, filter_lookup_fn lookup, void *userdata)
{
	bool results[FILTER_NODES_MAX] = { false };

	for (size_t i = 0; f && i < f->n_nodes; i++) {
		const struct node *n = &f->nodes[i];

		switch (n->kind) {
		case KIND_OR:
			results[i] = results[n->left] || results[n->right];
			break;
		case KIND_AND:
			results[i] = results[n->left] && results[n->right];
			break;
		case KIND_NOT:
			results[i] = !results[n->left];
			break;
		case KIND_THERE:
			results[i] = is_there(lookup(userdata, n->path));
			break;
		case KIND_COMPARE:
			results[i] = match_compare(n, lookup(userdata, n->path));
			break;
		}
	}
	return !f || results[f->root];
}
