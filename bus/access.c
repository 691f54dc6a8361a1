/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names become numbers once, at the start of a service: asking NSS may block
 * for seconds, and a name that appears or vanishes while the service runs must
 * not make two connections of one user differ.  A caller is compared by what
 * the kernel knows of its process, so no name is needed for it.
 */
#include "bus/access.h"

#include <grp.h>
#include <pwd.h>

#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/parse.h"

#define NSS_BUFFER_MAX (1U << 20) /* of one passwd or group entry */
#define NAMES_MAX      1024	  /* of one role */

static void list_deinit(struct access_list *l)
{
	for (size_t i = 0; i < l->n_names; i++) {
		free(l->names[i]);
	}
	free(l->names);
	free(l->uids);
	free(l->gids);
	*l = (struct access_list){ 0 };
}

void access_deinit(struct access *a)
{
	for (size_t i = 0; i < ARRAY_LEN(a->roles); i++) {
		list_deinit(&a->roles[i]);
	}
	*a = (struct access){ 0 };
}

static bool is_name(const char *text, size_t len)
{
	if (len == 1 && text[0] == '*') {
		return true;
	}
	if (len > 0 && text[0] == '@') {
		text++;
		len--;
	}
	if (len == 0 || len > 256) {
		return false;
	}
	for (size_t i = 0; i < len; i++) {
		if (text[i] <= ' ' || text[i] > '~' || strchr(":,*@/", text[i])) {
			return false;
		}
	}
	return true;
}

static int add_name(struct access_list *l, const char *name, size_t len)
{
	char **more;

	if (l->n_names == NAMES_MAX) {
		return -E2BIG;
	}
	more = realloc(l->names, (l->n_names + 1) * sizeof(*more));
	if (!more) {
		return -ENOMEM;
	}
	l->names = more;
	more[l->n_names] = strndup(name, len);
	if (!more[l->n_names]) {
		return -ENOMEM;
	}
	l->n_names++;
	return 0;
}

int access_set(struct access *a, int role, const char *list, const struct conf_pos *pos,
	       struct strbuf *errors)
{
	struct access_list l = { .is_default = streq(pos->file, "(defaults)") };
	int r = 0;

	for (const char *p = list + strspn(list, " \t"); *p && r == 0; p += strspn(p, " \t")) {
		size_t len = strcspn(p, " \t");

		if (!is_name(p, len)) {
			conf_complain(errors, pos,
				      "'%.*s' is neither a user, a uid, @group nor *; separate "
				      "names with blanks",
				      (int)MIN(len, 64U), p);
			r = -EINVAL;
			break;
		}
		r = add_name(&l, p, len);
		p += len;
	}
	if (r == -E2BIG) {
		conf_complain(errors, pos, "more than %d names; use a group", NAMES_MAX);
		r = -EINVAL;
	}
	if (r < 0) {
		list_deinit(&l);
		return r;
	}
	list_deinit(&a->roles[role]);
	a->roles[role] = l;
	a->is_resolved = false;
	return 0;
}

/* ---- names to numbers ---- */

static bool is_number(const char *name, uint32_t *out)
{
	return parse_u32(name, strlen(name), UINT32_MAX - 1, out) == 0;
}

/* 0; 1 = there is none; -errno of NSS. */
static int find_user(const char *name, uid_t *uid)
{
	if (is_number(name, uid)) {
		return 0;
	}
	for (size_t size = 4096; size <= NSS_BUFFER_MAX; size *= 4) {
		_cleanup_(xfreep) char *buffer = malloc(size);
		struct passwd entry, *found = NULL;
		int r;

		if (!buffer) {
			return -ENOMEM;
		}
		r = getpwnam_r(name, &entry, buffer, size, &found);
		if (r == ERANGE) {
			continue;
		}
		if (found) {
			*uid = found->pw_uid;
		}
		return found ? 0 : r == 0 || r == ENOENT || r == ESRCH ? 1 : -r;
	}
	return -ERANGE;
}

/* As find_user(). */
static int find_group(const char *name, gid_t *gid)
{
	if (is_number(name, gid)) {
		return 0;
	}
	for (size_t size = 4096; size <= NSS_BUFFER_MAX; size *= 4) {
		_cleanup_(xfreep) char *buffer = malloc(size);
		struct group entry, *found = NULL;
		int r;

		if (!buffer) {
			return -ENOMEM;
		}
		r = getgrnam_r(name, &entry, buffer, size, &found);
		if (r == ERANGE) {
			continue;
		}
		if (found) {
			*gid = found->gr_gid;
		}
		return found ? 0 : r == 0 || r == ENOENT || r == ESRCH ? 1 : -r;
	}
	return -ERANGE;
}

static void tell_unknown(const struct access_list *l, int role, const char *name, int r,
			 const char *origin)
{
	bool is_group = name[0] == '@';
	const char *why = r > 0 ? "does not exist" : err_text(r);

	if (l->is_default) {
		log_debug("[access]: the %s %s, which has the role %s unless %s says otherwise, %s",
			  is_group ? "group" : "user", name + is_group, bus_role_name(role), origin,
			  why);
		return;
	}
	log_warning("[access] of %s: the %s '%s' %s, so nobody gets the role %s by it; create it, "
		    "then restart the service",
		    origin, is_group ? "group" : "user", name + is_group, why, bus_role_name(role));
}

/* 0; -ENOMEM. */
static int resolve_list(struct access_list *l, int role, const char *origin)
{
	free(l->uids);
	free(l->gids);
	l->n_uids = l->n_gids = 0;
	l->uids = calloc(MAX(l->n_names, 1), sizeof(*l->uids));
	l->gids = calloc(MAX(l->n_names, 1), sizeof(*l->gids));
	if (!l->uids || !l->gids) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < l->n_names; i++) {
		const char *name = l->names[i];
		int r = 0;

		if (streq(name, "*")) {
			l->is_for_all = true;
		} else if (name[0] == '@') {
			r = find_group(name + 1, &l->gids[l->n_gids]);
			l->n_gids += r == 0;
		} else {
			r = find_user(name, &l->uids[l->n_uids]);
			l->n_uids += r == 0;
		}
		if (r != 0) {
			tell_unknown(l, role, name, r, origin);
		}
	}
	return 0;
}

int access_resolve(struct access *a, const char *origin)
{
	int r = 0;

	for (int role = ROLE_OBSERVER; role <= ROLE_ADMIN && r == 0 && !a->is_resolved; role++) {
		r = resolve_list(&a->roles[role], role, origin);
	}
	a->is_resolved = r == 0;
	return r;
}

/* ---- the role of a process ---- */

static bool has_gid(const struct access_list *l, gid_t gid)
{
	for (size_t i = 0; i < l->n_gids; i++) {
		if (l->gids[i] == gid) {
			return true;
		}
	}
	return false;
}

static bool is_listed(const struct access_list *l, uid_t uid, gid_t gid, const gid_t *gids,
		      size_t n_gids)
{
	if (l->is_for_all || has_gid(l, gid)) {
		return true;
	}
	for (size_t i = 0; i < l->n_uids; i++) {
		if (l->uids[i] == uid) {
			return true;
		}
	}
	for (size_t i = 0; i < n_gids; i++) {
		if (has_gid(l, gids[i])) {
			return true;
		}
	}
	return false;
}

int access_role(const struct access *a, uid_t uid, gid_t gid, const gid_t *gids, size_t n_gids)
{
	if (uid == 0 || uid == geteuid()) {
		return ROLE_ADMIN;
	}
	for (int role = ROLE_ADMIN; role > ROLE_NONE; role--) {
		if (is_listed(&a->roles[role], uid, gid, gids, n_gids)) {
			return role;
		}
	}
	return ROLE_NONE;
}
