/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * One domain as the mirror knows it: its watches, what was read of it, and
 * what was last published.
 */
#include "libcommon/list.h"
#include "libcommon/xenstore.h"
#include "services/agent-bridge/pace.h"
#include "services/agent-bridge/tree.h"
#include "xenmesh/v1/guest.pb-c.h"

#define BRIDGE_UUID_SIZE 37

struct bridge_guest;

/* Part of the guest that changed; BRIDGE_PARTS = its identity. */
typedef void (*bridge_guest_fn)(struct bridge_guest *g, unsigned int part, void *userdata);

struct bridge_guest_watch {
	struct bridge_guest *guest;
	struct xenstore_watch *watch;
	unsigned int part;
};

struct bridge_guest {
	uint32_t domid;
	char uuid[BRIDGE_UUID_SIZE]; /* "" = not known */
	uint64_t arrival;	     /* of the identity, counted by the mirror */
	bool is_listed;		     /* for the mirror while it compares with xenstore */

	unsigned int dirty; /* bit = part */
	uint64_t due_ns;    /* when to look, while dirty */
	struct list dirty_link;
	struct bridge_pace pace;

	struct bridge_tree tree;
	uint8_t *packed; /* serialized GuestInfo, NULL = nothing read yet */
	size_t packed_len;
	uint64_t first_seen_ns;
	uint64_t updated_ns;
	uint64_t warned_ns; /* of truncation; 0 = never */

	struct xenstore *xs;
	bridge_guest_fn fn;
	void *userdata;
	struct bridge_guest_watch watches[BRIDGE_PARTS + 1];
};

/* Watches the identity. fn is called from the loop. */
int bridge_guest_new(struct bridge_guest **out, struct xenstore *xs, uint32_t domid,
		     bridge_guest_fn fn, void *userdata);
struct bridge_guest *bridge_guest_free(struct bridge_guest *g);
static inline void bridge_guest_freep(struct bridge_guest **g)
{
	*g = bridge_guest_free(*g);
}

/* Read who it is: *uuid is "" when it has no usable identity (yet, or any more). 0 or <0. */
int bridge_guest_read_uuid(const struct bridge_guest *g, char uuid[static BRIDGE_UUID_SIZE]);
/* It is uuid from now on ("" = nobody); what was read of it before is forgotten, and its parts
 * are watched or no longer. 0 or <0. */
int bridge_guest_become(struct bridge_guest *g, const char *uuid);

/* Read the parts in mask and build what it says. 0: unchanged; 1: changed, g->packed and
 * g->updated_ns are new; <0: xenstore away or no memory, nothing changed. */
int bridge_guest_look(struct bridge_guest *g, unsigned int mask, uint64_t *n_requests);
/* A message that lives as long as arena, unpacked from g->packed. NULL when out of memory. */
struct arena;
Xenmesh__V1__GuestInfo *bridge_guest_info(const struct bridge_guest *g, struct arena *arena);
/* It speaks for its UUID from now on, which is a change for whoever listens: updated_ns is now.
 * As bridge_guest_info(). */
Xenmesh__V1__GuestInfo *bridge_guest_touch(struct bridge_guest *g, struct arena *arena);
