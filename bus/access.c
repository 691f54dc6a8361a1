/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Users and groups are looked up when somebody calls, not when the file is
 * read: they may be created later.  A name that does not exist matches nobody.
 */
#include "bus/access.h"

#include <grp.h>
#include <pwd.h>

#include "libcommon/clock.h"
#include "libcommon/parse.h"

#define NSS_BUFFER_MAX (1U << 20) /* of one passwd or group entry */
#define GROUPS_MAX     4096	  /* looked at of one user; the kernel's own limit is 65536 */

struct cached_role {
	uint64_t until_ns;
	int role;
};

/* What of a caller is compared with the names. */
struct caller {
	uid_t uid;
	char *user; /* NULL when the uid has no name */
	gid_t *gids;
	size_t n_gids;
};

static void names_free(char **names, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(names[i]);
	}
	free(names);
}

static void cache_clear(struct access *a)
{
	for (struct map_iter i = map_begin(&a->cache); map_next(&a->cache, &i);) {
		free(i.value);
	}
	map_deinit(&a->cache);
}

void access_deinit(struct access *a)
{
	for (size_t i = 0; i < ARRAY_LEN(a->names); i++) {
		names_free(a->names[i], a->n_names[i]);
	}
	cache_clear(a);
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

int access_set(struct access *a, int role, const char *list, const struct conf_pos *pos,
	       struct strbuf *errors)
{
	char **names = NULL;
	size_t n = 0;
	int r = 0;

	for (const char *p = list + strspn(list, " \t"); *p && r == 0; p += strspn(p, " \t")) {
		size_t len = strcspn(p, " \t");
		char **more;

		if (!is_name(p, len)) {
			conf_complain(errors, pos,
				      "'%.*s' is neither a user, a uid, @group nor *; separate "
				      "names with blanks",
				      (int)MIN(len, 64U), p);
			r = -EINVAL;
			break;
		}
		more = realloc(names, (n + 1) * sizeof(*names));
		if (!more) {
			r = -ENOMEM;
			break;
		}
		names = more;
		names[n] = strndup(p, len);
		r = names[n] ? 0 : -ENOMEM;
		n += names[n] ? 1 : 0;
		p += len;
	}
	if (r < 0) {
		names_free(names, n);
		return r;
	}
	names_free(a->names[role], a->n_names[role]);
	a->names[role] = names;
	a->n_names[role] = n;
	cache_clear(a);
	return 0;
}

/* Name and primary group of a uid. 0, or 1 when it has none. */
static int find_user(uid_t uid, char **name, gid_t *gid)
{
	for (size_t size = 1024; size <= NSS_BUFFER_MAX; size *= 4) {
		_cleanup_(xfreep) char *buffer = malloc(size);
		struct passwd entry, *found = NULL;
		int r;

		if (!buffer) {
			return -ENOMEM;
		}
		r = getpwuid_r(uid, &entry, buffer, size, &found);
		if (r == ERANGE) {
			continue;
		}
		if (r != 0 || !found) {
			return 1;
		}
		*name = strdup(found->pw_name);
		*gid = found->pw_gid;
		return *name ? 0 : -ENOMEM;
	}
	return 1;
}

/* 0, or 1 when there is no such group. */
static int find_group(const char *name, gid_t *gid)
{
	uint32_t number;

	if (parse_u32(name, strlen(name), UINT32_MAX - 1, &number) == 0) {
		*gid = number;
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
		if (r != 0 || !found) {
			return 1;
		}
		*gid = found->gr_gid;
		return 0;
	}
	return 1;
}

static void caller_deinit(struct caller *c)
{
	free(c->user);
	free(c->gids);
}

static int caller_init(struct caller *c, uid_t uid, gid_t gid)
{
	gid_t primary = gid;
	int n = GROUPS_MAX;
	int r;

	*c = (struct caller){ .uid = uid };
	c->gids = calloc(GROUPS_MAX + 1, sizeof(*c->gids));
	if (!c->gids) {
		return -ENOMEM;
	}
	r = find_user(uid, &c->user, &primary);
	if (r < 0) {
		return r;
	}
	if (r == 0 && getgrouplist(c->user, primary, c->gids, &n) < 0) {
		n = MIN(n, GROUPS_MAX); /* the list is cut */
	}
	c->n_gids = r == 0 ? (size_t)n : 0;
	c->gids[c->n_gids++] = gid;
	return 0;
}

static bool is_caller(const struct caller *c, const char *name)
{
	uint32_t uid;
	gid_t gid;

	if (streq(name, "*")) {
		return true;
	}
	if (name[0] != '@') {
		return (c->user && streq(c->user, name)) ||
		       (parse_u32(name, strlen(name), UINT32_MAX - 1, &uid) == 0 && uid == c->uid);
	}
	if (find_group(name + 1, &gid) != 0) {
		return false;
	}
	for (size_t i = 0; i < c->n_gids; i++) {
		if (c->gids[i] == gid) {
			return true;
		}
	}
	return false;
}

static int look_up(const struct access *a, uid_t uid, gid_t gid)
{
	_cleanup_(caller_deinit) struct caller c;

	if (caller_init(&c, uid, gid) < 0) {
		return ROLE_NONE;
	}
	for (int role = ROLE_ADMIN; role > ROLE_NONE; role--) {
		for (size_t i = 0; i < a->n_names[role]; i++) {
			if (is_caller(&c, a->names[role][i])) {
				return role;
			}
		}
	}
	return ROLE_NONE;
}

int access_role(struct access *a, uid_t uid, gid_t gid)
{
	const uint64_t key = (uint64_t)uid << 32 | gid;
	uint64_t now = clock_boot_ns();
	struct cached_role *c;

	if (uid == 0 || uid == geteuid()) {
		return ROLE_ADMIN;
	}
	c = map_get(&a->cache, &key, sizeof(key));
	if (!c) {
		if (map_size(&a->cache) >= ACCESS_CACHE_MAX) {
			cache_clear(a);
		}
		c = calloc(1, sizeof(*c));
		if (!c || map_set(&a->cache, &key, sizeof(key), c, NULL) < 0) {
			free(c);
			return look_up(a, uid, gid);
		}
	}
	if (now >= c->until_ns) {
		c->role = look_up(a, uid, gid);
		c->until_ns = now + ACCESS_CACHE_SECONDS * NSEC_PER_SEC;
	}
	return c->role;
}
