/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A list searched from the front: the order is part of the contract, and a
 * guest has some fifty keys, 500 at the very most.
 */
#include "services/guest-agent/logic/tree.h"

#include <stdarg.h>
#include <stdio.h>

/* XENSTORE_REL_PATH_MAX; ours are below 40 bytes. */
#define PATH_SIZE 2049

static void key_deinit(struct guest_key *key)
{
	free(key->path);
	free(key->value);
}

void guest_tree_deinit(struct guest_tree *t)
{
	for (size_t i = 0; i < t->n; i++) {
		key_deinit(&t->keys[i]);
	}
	free(t->keys);
	*t = GUEST_TREE_NULL;
}

static struct guest_key *find(const struct guest_tree *t, const char *path)
{
	for (size_t i = 0; i < t->n; i++) {
		if (streq(t->keys[i].path, path)) {
			return &t->keys[i];
		}
	}
	return NULL;
}

const struct guest_key *guest_tree_find(const struct guest_tree *t, const char *path)
{
	return find(t, path);
}

static struct guest_key *append(struct guest_tree *t, const char *path)
{
	struct guest_key *key;

	if (t->n == t->size) {
		size_t size = t->size ? 2 * t->size : 64;
		struct guest_key *keys = reallocarray(t->keys, size, sizeof(*keys));

		if (!keys) {
			return NULL;
		}
		t->keys = keys;
		t->size = size;
	}
	key = &t->keys[t->n];
	*key = (struct guest_key){ .path = strdup(path) };
	if (!key->path) {
		return NULL;
	}
	t->n++;
	return key;
}

void guest_tree_set(struct guest_tree *t, const char *path, const char *value)
{
	char *copy = value ? strdup(value) : NULL;
	struct guest_key *key;

	if (t->error || (value && !copy)) {
		t->error = -ENOMEM;
		free(copy);
		return;
	}
	key = find(t, path);
	if (!key) {
		key = append(t, path);
	}
	if (!key) {
		t->error = -ENOMEM;
		free(copy);
		return;
	}
	free(key->value);
	key->value = copy;
}

void guest_tree_setf(struct guest_tree *t, const char *value, const char *format, ...)
{
	char path[PATH_SIZE];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(path, sizeof(path), format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= sizeof(path)) {
		t->error = t->error ? t->error : -ENAMETOOLONG;
		return;
	}
	guest_tree_set(t, path, value);
}

bool guest_path_is_below(const char *path, const char *above)
{
	size_t len = strlen(above);

	return strncmp(path, above, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

void guest_tree_forget(struct guest_tree *t, const char *path)
{
	size_t kept = 0;

	for (size_t i = 0; i < t->n; i++) {
		if (guest_path_is_below(t->keys[i].path, path)) {
			key_deinit(&t->keys[i]);
		} else {
			t->keys[kept++] = t->keys[i];
		}
	}
	t->n = kept;
}

bool guest_tree_covers(const struct guest_tree *t, const char *path)
{
	for (size_t i = 0; i < t->n; i++) {
		if (guest_path_is_below(t->keys[i].path, path)) {
			return true;
		}
	}
	return false;
}
