/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What a guest's nodes mean.  Known keys become typed fields; numbers and
 * addresses that are none, and all keys not known, stay visible as they are.
 *
 * Addresses come in two dialects: attr/vif/<devid>/ipv4|ipv6/<i>, with
 * prefix, name and mac/<i> beside it; and of old agents, looked at only when
 * the first has nothing, attr/<name><devid>/ip and attr/<name><devid>/ipv6/<i>/addr.
 */
#include "libcommon/arena.h"
#include "services/agent-bridge/tree.h"
#include "xenmesh/v1/guest.pb-c.h"

#define BRIDGE_ADDRESSES_MAX 64	   /* of a vif, as the proto says */
#define BRIDGE_DEVID_MAX     65535 /* Xen's, with room */

/* Enough for any tree within the bounds of tree.h: 512 nodes of at most three objects each and
 * 64 KiB of text that is not copied. */
#define BRIDGE_INFO_ARENA (1U << 20)

/* Fill info from the tree; uuid, domid and times are the caller's.  Everything lives in the arena
 * or in the tree.  0 or -ENOMEM. */
int bridge_info_build(const struct bridge_tree *tree, struct arena *arena,
		      Xenmesh__V1__GuestInfo *info);
