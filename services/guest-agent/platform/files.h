/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Facts that files tell: /etc, /proc and /sys below a root directory ("" = the
 * real ones).  Nothing here is kept open or waits; each file is read once, up
 * to 64 KiB.
 */
#include "services/guest-agent/logic/facts.h"
#include "services/guest-agent/logic/meminfo.h"

/* Is there a xenstore device? */
bool agent_files_have_xenbus(const char *root);
/* Fill os, uname, hostname and the has_... fields; what cannot be read is as not known. */
void agent_files_identity(const char *root, struct guest_facts *facts);
/* 0; -ENOENT ...; -EINVAL. */
int agent_files_meminfo(const char *root, struct guest_meminfo *out);
/* A descriptor that poll(2) reports POLLERR or POLLPRI for whenever the host name changed; -errno.
 */
int agent_files_hostname_fd(const char *root);
/* 0 and its devid when the network device is a Xen vif, 1 when not. */
int agent_files_classify(const char *root, const char *ifname, uint32_t *devid);
