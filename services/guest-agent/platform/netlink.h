/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Links and addresses of the network namespace, over rtnetlink.
 *
 * Events only say that something changed; what is there is learned by a dump.
 * So a lost event (the kernel drops them under pressure), an event of a kind
 * unknown here or one for a device already gone cannot leave a wrong picture.
 */
#include "services/guest-agent/logic/netview.h"

/* Is this device a vif? 0 and its devid; 1 when not. Asked in each dump, so a renamed or
 * replaced device is seen as what it is now. */
typedef int (*agent_classify_fn)(const char *ifname, uint32_t *devid, void *userdata);

struct agent_netlink;

/* Opens the socket for events. */
int agent_netlink_new(struct agent_netlink **out, agent_classify_fn classify, void *userdata);
struct agent_netlink *agent_netlink_free(struct agent_netlink *n);
static inline void agent_netlink_freep(struct agent_netlink **n)
{
	*n = agent_netlink_free(*n);
}
/* Poll for POLLIN, then drain. */
int agent_netlink_fd(const struct agent_netlink *n);
/* Takes waiting events, at most some hundred KiB a call. 1 when links or IP addresses changed (or
 * events were lost), 0 when not, <0 when the socket is broken. Does not block. */
int agent_netlink_drain(struct agent_netlink *n);
/* A new picture; *view is replaced, free it with agent_netview_deinit(). Waits for the kernel
 * only, at most 2 s. When the picture keeps changing under the dump the last one is taken: an
 * event follows anyway. */
int agent_netlink_dump(struct agent_netlink *n, struct guest_netview *view);
/* Idempotent. */
void agent_netview_deinit(struct guest_netview *view);
