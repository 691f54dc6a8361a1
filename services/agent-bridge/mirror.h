/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The mirror of all guests: which domains there are, who they are, and what
 * they say.  Follows xenstore by watches; a watch only marks what to look at
 * again, and pace.h decides when.
 *
 * A guest is known by the UUID in /local/domain/<domid>/vm, which only domain 0
 * writes.  While two domains have the same (a migration within the host) the
 * one that came later speaks for it.  A domain that is being migrated away has
 * a UUID that starts with deadbeef- and is nobody.  Domain 0 is no guest.
 */
#include <systemd/sd-event.h>

#include "libcommon/xenstore.h"
#include "xenmesh/v1/guest.pb-c.h"

/* Who is told. */
struct bridge_sink {
	/* info lives until the function returns. Called only when the content changed. */
	void (*publish)(void *userdata, const Xenmesh__V1__GuestInfo *info);
	void (*remove)(void *userdata, const char *uuid, const char *reason);
	void *userdata;
};

struct bridge_mirror;

/* Reads the domains there are before it returns; their guests soon after, from the loop.  xs must
 * be attached to the loop; its on_reset is taken. Borrows xs. */
int bridge_mirror_new(struct bridge_mirror **out, sd_event *loop, struct xenstore *xs,
		      const struct bridge_sink *sink);
struct bridge_mirror *bridge_mirror_free(struct bridge_mirror *m);

/* A guest as it was last published: a serialized GuestInfo, valid until the loop goes on. */
struct bridge_view {
	const char *uuid;
	uint32_t domid;
	const uint8_t *data;
	size_t len;
};
/* vm: UUID in either case, or domid in decimal. False when there is none, or it was not looked at
 * yet. */
bool bridge_mirror_find(const struct bridge_mirror *m, const char *vm, struct bridge_view *out);
/* All whose UUID is greater than after_uuid, ascending, at most max. Returns how many. */
size_t bridge_mirror_list(const struct bridge_mirror *m, const char *after_uuid,
			  struct bridge_view *out, size_t max, bool *has_more);

struct bridge_mirror_stats {
	uint64_t guests;  /* that have an identity, now */
	uint64_t domains; /* now, without domain 0 */
	uint64_t waiting; /* with changes not looked at yet, now */
	uint64_t watch_events;
	uint64_t looks;
	uint64_t requests; /* to xenstored, of all looks */
	uint64_t published;
	uint64_t unchanged; /* looks that found nothing new */
	uint64_t truncated; /* looks at a tree beyond the bounds */
	uint64_t resets;    /* connections to xenstored after the first */
};
void bridge_mirror_stats(const struct bridge_mirror *m, struct bridge_mirror_stats *out);
