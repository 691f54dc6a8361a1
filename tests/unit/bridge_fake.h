/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A guest's xenstore in memory, for tests and the fuzz target: a list of paths
 * with values; parents are there by themselves, as in xenstore.
 */
#include "services/agent-bridge/tree.h"

#define FAKE_NODES_MAX 1200

struct fake_node {
	const char *path; /* need not be terminated */
	size_t path_len;
	const char *value;
	size_t len;
};

struct fake_tree {
	struct fake_node nodes[FAKE_NODES_MAX];
	size_t n;
	uint64_t n_requests;
	uint64_t n_until_lost; /* requests; 0 = never lost */
};

static inline void fake_add(struct fake_tree *t, const char *path, size_t path_len,
			    const char *value, size_t len)
{
	if (t->n < FAKE_NODES_MAX) {
		t->nodes[t->n++] = (struct fake_node){ path, path_len, value, len };
	}
}

static inline bool fake_is_lost(struct fake_tree *t)
{
	t->n_requests++;
	return t->n_until_lost != 0 && t->n_requests >= t->n_until_lost;
}

/* What of node's path follows "path/"; NULL when it is not below path. */
static inline const char *fake_below(const struct fake_node *node, const char *path, size_t *len)
{
	size_t path_len = strlen(path);

	if (node->path_len <= path_len + 1 || memcmp(node->path, path, path_len) != 0 ||
	    node->path[path_len] != '/') {
		return NULL;
	}
	*len = node->path_len - path_len - 1;
	return node->path + path_len + 1;
}

static inline bool fake_has_name(char *const *names, size_t n, const char *name, size_t len)
{
	for (size_t i = 0; i < n; i++) {
		if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0) {
			return true;
		}
	}
	return false;
}

static inline int fake_list(void *userdata, const char *path, char ***out, size_t *n)
{
	struct fake_tree *t = userdata;
	size_t size = t->n * sizeof(char *) + 1, n_names = 0;
	bool is_there = false;
	char **names, *text;

	if (fake_is_lost(t)) {
		return -ENOTCONN;
	}
	for (size_t i = 0; i < t->n; i++) {
		size += t->nodes[i].path_len + 1;
	}
	names = malloc(size);
	if (!names) {
		return -ENOMEM;
	}
	text = (char *)&names[t->n];
	for (size_t i = 0; i < t->n; i++) {
		size_t len = 0;
		const char *below = fake_below(&t->nodes[i], path, &len);
		const char *slash = below ? memchr(below, '/', len) : NULL;

		is_there |= below || (t->nodes[i].path_len == strlen(path) &&
				      memcmp(t->nodes[i].path, path, strlen(path)) == 0);
		len = slash ? (size_t)(slash - below) : len;
		if (below && len > 0 && !memchr(below, '\0', len) &&
		    !fake_has_name(names, n_names, below, len)) {
			names[n_names++] = memcpy(text, below, len);
			text[len] = '\0';
			text += len + 1;
		}
	}
	*n = n_names;
	*out = names;
	if (!is_there) {
		free(names);
		*out = NULL;
	}
	return is_there ? 0 : 1;
}

static inline int fake_read(void *userdata, const char *path, char **value, size_t *len)
{
	struct fake_tree *t = userdata;
	const struct fake_node *found = NULL;
	bool is_there = false;

	if (fake_is_lost(t)) {
		return -ENOTCONN;
	}
	for (size_t i = 0; i < t->n; i++) {
		size_t below_len;

		if (t->nodes[i].path_len == strlen(path) &&
		    memcmp(t->nodes[i].path, path, strlen(path)) == 0) {
			found = &t->nodes[i];
		}
		is_there |= fake_below(&t->nodes[i], path, &below_len) != NULL;
	}
	if (!found && !is_there) {
		return 1;
	}
	*len = found ? found->len : 0;
	*value = malloc(*len + 1);
	if (!*value) {
		return -ENOMEM;
	}
	if (*len > 0) {
		memcpy(*value, found->value, *len);
	}
	(*value)[*len] = '\0';
	return 0;
}

static inline struct bridge_reader fake_reader(struct fake_tree *t)
{
	return (struct bridge_reader){ fake_list, fake_read, t };
}
