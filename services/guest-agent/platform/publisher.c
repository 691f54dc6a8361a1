/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `published` holds a key only after xenstored has acknowledged it, so a batch
 * that was cut short is completed by the next one.
 */
#include "services/guest-agent/platform/publisher.h"

#include <stdio.h>

#include "libcommon/err.h"
#include "libcommon/log.h"
#include "services/guest-agent/logic/diff.h"
#include "services/guest-agent/logic/keys.h"

/* What an earlier agent may have left below GUEST_KEY_VIFS: as deep as
 * attr/vif/0/ipv4/0/prefix, and as many nodes as a guest owns (quota). */
#define LOOK_DEPTH_MAX 4
#define LOOK_NODES_MAX 1000

struct agent_publisher {
	struct xenstore *xs;
	char *home;
	struct guest_tree published;
	bool is_known; /* published is what is there */
	struct agent_publisher_stats stats;
};

int agent_publisher_new(struct agent_publisher **out, struct xenstore *xs, const char *home)
{
	struct agent_publisher *p = calloc(1, sizeof(*p));

	if (!p) {
		return -ENOMEM;
	}
	p->xs = xs;
	p->home = strdup(home);
	if (!p->home) {
		free(p);
		return -ENOMEM;
	}
	*out = p;
	return 0;
}

struct agent_publisher *agent_publisher_free(struct agent_publisher *p)
{
	if (p) {
		guest_tree_deinit(&p->published);
		free(p->home);
		free(p);
	}
	return NULL;
}

void agent_publisher_forget(struct agent_publisher *p)
{
	guest_tree_deinit(&p->published);
	p->is_known = false;
	p->stats.refused = 0;
}

static int make_path(const struct agent_publisher *p, const char *path,
		     char out[static XENSTORE_PATH_MAX])
{
	int n = snprintf(out, XENSTORE_PATH_MAX, "%s%s%s", p->home, p->home[0] ? "/" : "", path);

	return n < 0 || n >= XENSTORE_PATH_MAX ? -ENAMETOOLONG : 0;
}

/* No use to go on with other keys; any other error is about one key alone. */
static bool is_lost(int r)
{
	return r == -ENOTCONN || r == -ENOMEM;
}

/* Note path and what is below it as there, with values not known. */
static int look_below(struct agent_publisher *p, const char *path, size_t depth)
{
	_cleanup_(xfreep) char **names = NULL;
	char full[XENSTORE_PATH_MAX];
	size_t n = 0;
	int r;

	r = make_path(p, path, full);
	if (r == 0) {
		r = xenstore_list(p->xs, full, &names, &n);
	}
	if (r != 0) {
		return r < 0 && is_lost(r) ? err_trace(r) : 0;
	}
	for (size_t i = 0; i < n && p->published.n < LOOK_NODES_MAX; i++) {
		char child[XENSTORE_PATH_MAX];
		int len = snprintf(child, sizeof(child), "%s/%s", path, names[i]);

		if (len < 0 || (size_t)len >= sizeof(child)) {
			continue;
		}
		guest_tree_set(&p->published, child, NULL);
		if (depth < LOOK_DEPTH_MAX) {
			r = look_below(p, child, depth + 1);
			if (r < 0) {
				return r;
			}
		}
	}
	return p->published.error;
}

static int look_at(struct agent_publisher *p, const char *path)
{
	_cleanup_(xfreep) char *value = NULL;
	char full[XENSTORE_PATH_MAX];
	size_t len;
	int r;

	r = make_path(p, path, full);
	if (r == 0) {
		r = xenstore_read(p->xs, full, &value, &len);
	}
	if (r == 0) {
		guest_tree_set(&p->published, path, NULL);
		return p->published.error;
	}
	return r < 0 && is_lost(r) ? err_trace(r) : 0;
}

static int look(struct agent_publisher *p)
{
	int r;

	guest_tree_deinit(&p->published);
	for (size_t i = 0; guest_keys_owned[i]; i++) {
		r = look_at(p, guest_keys_owned[i]);
		if (r < 0) {
			return r;
		}
	}
	r = look_below(p, GUEST_KEY_VIFS, 1);
	if (r < 0) {
		return r;
	}
	p->is_known = true;
	return 0;
}

/* libxl lets a guest make no new keys in control/, as a matter of course. */
static bool is_optional(const char *path)
{
	return guest_path_is_below(path, "control") || guest_path_is_below(path, "feature");
}

static int write_key(struct agent_publisher *p, const char *path, const char *value)
{
	char full[XENSTORE_PATH_MAX];
	int r;

	r = make_path(p, path, full);
	if (r == 0) {
		r = xenstore_write_str(p->xs, full, value);
	}
	if (r < 0 && is_lost(r)) {
		return err_trace(r);
	}
	if (r == -ENOSPC) {
		log_warning("xenstore has no room for %s: quota of this guest reached; is "
			    "something else filling its part of xenstore?",
			    path);
		return AGENT_PUBLISHER_PARTIAL;
	}
	if (r < 0) {
		p->stats.refused++;
		log_at(is_optional(path) ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING, NULL, 0,
		       "the host does not accept key %s (%s): left out until the next resume", path,
		       err_text(r));
	} else {
		p->stats.writes++;
	}
	guest_tree_set(&p->published, path, value);
	return p->published.error;
}

static int remove_key(struct agent_publisher *p, const char *path)
{
	char full[XENSTORE_PATH_MAX];
	int r;

	r = make_path(p, path, full);
	if (r == 0) {
		r = xenstore_remove(p->xs, full);
	}
	if (r < 0 && is_lost(r)) {
		return err_trace(r);
	}
	if (r < 0) {
		log_debug("the host does not let us remove key %s (%s)", path, err_text(r));
	} else {
		p->stats.removals++;
	}
	guest_tree_forget(&p->published, path);
	return 0;
}

int agent_publisher_apply(struct agent_publisher *p, const struct guest_tree *wanted,
			  const char *now)
{
	_cleanup_(guest_ops_deinit) struct guest_ops ops = GUEST_OPS_NULL;
	int r, result = 0;

	if (!p->is_known) {
		r = look(p);
		if (r < 0) {
			return r;
		}
	}
	r = guest_diff(&p->published, wanted, now, &ops);
	if (r < 0) {
		return err_trace(r);
	}
	for (size_t i = 0; i < ops.n; i++) {
		const struct guest_op *op = &ops.ops[i];

		r = op->value ? write_key(p, op->path, op->value) : remove_key(p, op->path);
		if (r < 0) {
			return r;
		}
		result = r > 0 ? AGENT_PUBLISHER_PARTIAL : result;
	}
	p->stats.batches += ops.n > 0;
	return result;
}

void agent_publisher_stats(const struct agent_publisher *p, struct agent_publisher_stats *out)
{
	*out = p->stats;
}
