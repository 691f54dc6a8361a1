/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Which role a local user has: the [access] section of the topology.
 */
#include <sys/types.h>

#include "bus/codes.h"
#include "libcommon/base.h"
#include "libcommon/conf.h"
#include "libcommon/map.h"

#define ACCESS_CACHE_SECONDS 60
#define ACCESS_CACHE_MAX     1024 /* users remembered; the next one empties the cache */

/* Zeroed = nobody but root and the own user. */
struct access {
	char **names[ROLE_ADMIN + 1]; /* by role: "user", "1000", "@group", "@1000", "*" */
	size_t n_names[ROLE_ADMIN + 1];
	struct map cache;
};

/* Idempotent. */
void access_deinit(struct access *a);
/* Replace the names of a role by a blank-separated list.
 * 0; -EINVAL after a complaint; -ENOMEM. */
int access_set(struct access *a, int role, const char *list, const struct conf_pos *pos,
	       struct strbuf *errors);
/* See topology_role(). May ask NSS, which may block, once a minute for each user. */
int access_role(struct access *a, uid_t uid, gid_t gid);
