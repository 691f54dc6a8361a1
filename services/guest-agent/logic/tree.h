/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * An ordered list of xenstore keys with values: what the guest wants to be in
 * its part of xenstore, or what is known to be there.  Paths are relative to
 * the domain's home.
 */
#include "libcommon/base.h"

struct guest_key {
	char *path;
	char *value; /* NULL: there, but with which value is not known */
};

struct guest_tree {
	struct guest_key *keys;
	size_t n;
	size_t size;
	int error; /* sticks: -ENOMEM from some call, later ones do nothing */
};

#define GUEST_TREE_NULL ((struct guest_tree){ 0 })

void guest_tree_deinit(struct guest_tree *t);
/* Set path to value (copied; NULL allowed).  New paths go to the end. */
void guest_tree_set(struct guest_tree *t, const char *path, const char *value);
/* The same, with the path from a format. */
void guest_tree_setf(struct guest_tree *t, const char *value, const char *format, ...)
	_printf_(3, 4);
/* Forget path and all below it. */
void guest_tree_forget(struct guest_tree *t, const char *path);
/* NULL when it is not there. */
const struct guest_key *guest_tree_find(const struct guest_tree *t, const char *path);
/* True when path is or has something below it in the tree. */
bool guest_tree_covers(const struct guest_tree *t, const char *path);
/* True when path is `above` or lies below it. */
bool guest_path_is_below(const char *path, const char *above);
