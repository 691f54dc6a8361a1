/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * One guest's part of xenstore, as much of it as is looked at.  The guest may
 * have filled it with anything: what is kept is bounded in depth, nodes, bytes
 * and requests, each part by itself, so that junk in one costs nothing of the
 * others.  Together: 512 nodes, 64 KiB, about 1,000 requests.
 */
#include "libcommon/base.h"

#define BRIDGE_VALUE_MAX 1024 /* bytes kept of a value */
#define BRIDGE_NAME_MAX	 256  /* longest name of a node that is looked at */
#define BRIDGE_DEPTH_MAX 5    /* attr/vif/0/ipv4/0/prefix */

/* The parts, watched and read one by one. */
enum bridge_part {
	BRIDGE_ATTR,
	BRIDGE_DATA,
	BRIDGE_CONTROL, /* control/feature-* only */
	BRIDGE_FEATURE,
	BRIDGE_DRIVERS, /* drivers/<number> only */
	BRIDGE_PARTS,
};

struct bridge_node {
	char *path;  /* relative to the domain's home; one allocation with value */
	char *value; /* any bytes, and a NUL that is not counted */
	size_t len;
	bool has_children; /* among the nodes that were kept */
};

/* Parents before children, children in an order of their own: important names first, numbers by
 * value, others by bytes. The same tree gives the same order. */
struct bridge_nodes {
	struct bridge_node *nodes;
	size_t n;
	bool is_truncated; /* there was more */
};

struct bridge_tree {
	struct bridge_nodes parts[BRIDGE_PARTS];
};

#define BRIDGE_TREE_NULL ((struct bridge_tree){ 0 })

/* Where it is read from. path is relative to the domain's home. Both: 0 and a malloc'ed result
 * (names: one block), 1 = no such node, <0 = xenstore is away. */
struct bridge_reader {
	int (*list)(void *userdata, const char *path, char ***names, size_t *n);
	int (*read)(void *userdata, const char *path, char **value, size_t *len);
	void *userdata;
};

const char *bridge_part_name(enum bridge_part part);
void bridge_tree_deinit(struct bridge_tree *t);
/* Replace one part by what is there now. 0; <0 when the reader failed or memory is out: the part
 * is as before. *n_requests is increased by the number of requests made. */
int bridge_tree_read(struct bridge_tree *t, enum bridge_part part,
		     const struct bridge_reader *reader, uint64_t *n_requests);
bool bridge_tree_is_truncated(const struct bridge_tree *t);
/* NULL when there is none. */
const struct bridge_node *bridge_tree_find(const struct bridge_tree *t, enum bridge_part part,
					   const char *path);
