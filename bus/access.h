/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Which role a local process has: the [access] section of the topology.
 */
#include <sys/types.h>

#include "bus/codes.h"
#include "libcommon/base.h"
#include "libcommon/conf.h"

/* The users and groups that have one role. */
struct access_list {
	char **names; /* as written: "user", "1000", "@group", "@1000", "*" */
	size_t n_names;
	bool is_default; /* not from a file of the administrator */
	bool is_for_all;
	uid_t *uids;
	size_t n_uids;
	gid_t *gids;
	size_t n_gids;
};

/* Zeroed = nobody but root and the own user. */
struct access {
	struct access_list roles[ROLE_ADMIN + 1];
	bool is_resolved;
};

/* Idempotent. */
void access_deinit(struct access *a);
/* Replace the names of a role by a blank-separated list.
 * 0; -EINVAL after a complaint; -ENOMEM. */
int access_set(struct access *a, int role, const char *list, const struct conf_pos *pos,
	       struct strbuf *errors);
/* Find the ids of all names, once; a second call does nothing. Asks NSS, which may block, so it
 * belongs to the start of a service. Names that do not exist match nobody until the service is
 * started again, and are warned about (told at debug only when they are built in). 0; -ENOMEM. */
int access_resolve(struct access *a, const char *origin);
/* See topology_role(). Never blocks. Before access_resolve(): only root and the own user. */
int access_role(const struct access *a, uid_t uid, gid_t gid, const gid_t *gids, size_t n_gids);
