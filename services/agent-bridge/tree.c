/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The walk goes down first, so a part that is cut off keeps whole what came
 * before: the important names lead.  Nothing is read of keys that hold bulk or
 * secrets, nor of those that only say "look again".
 */
#include "services/agent-bridge/tree.h"

#include <stdio.h>

#include "libcommon/parse.h"

#define PATH_SIZE (BRIDGE_DEPTH_MAX * (BRIDGE_NAME_MAX + 1) + 16)

struct part_rule {
	const char *name;
	size_t depth_max; /* levels below the part itself */
	size_t n_max;
	size_t bytes_max; /* of paths and values */
	/* At this depth nodes have both a value and children (attr/vif/0/ipv4/0). Elsewhere a node
	 * with a value is a leaf, and not asked for children. */
	size_t mixed_depth;
	bool (*is_wanted)(const char *name); /* of the first level; NULL = all */
	const char *const *first;	     /* of the first level, NULL-terminated */
};

static bool is_feature(const char *name)
{
	return str_starts(name, "feature-");
}

static bool is_number(const char *name)
{
	size_t n = strspn(name, "0123456789");

	return n > 0 && n <= 9 && name[n] == '\0';
}

/* volumes: dozens of keys a disk, rewritten each minute. The clipboard is nobody's business.
 * updated, update_cnt: touched at each look of an agent, with nothing in them. */
static bool is_wanted_data(const char *name)
{
	static const char *const left_out[] = { "volumes", "report_clipboard", "set_clipboard",
						"updated", "update_cnt" };

	for (size_t i = 0; i < ARRAY_LEN(left_out); i++) {
		if (streq(name, left_out[i])) {
			return false;
		}
	}
	return true;
}

static const char *const first_attr[] = { "PVAddons", "vif", NULL };
static const char *const first_data[] = { "os_name",	   "os_distro",	   "os_majorver",
					  "os_minorver",   "os_uname",	   "host_name_dns",
					  "meminfo_total", "meminfo_free", NULL };
static const char *const first_none[] = { NULL };

static const struct part_rule rules[BRIDGE_PARTS] = {
	[BRIDGE_ATTR] = { "attr", BRIDGE_DEPTH_MAX, 256, 24 << 10, 4, NULL, first_attr },
	[BRIDGE_DATA] = { "data", 3, 128, 24 << 10, 0, is_wanted_data, first_data },
	[BRIDGE_CONTROL] = { "control", 1, 64, 6 << 10, 0, is_feature, first_none },
	[BRIDGE_FEATURE] = { "feature", 2, 32, 4 << 10, 0, NULL, first_none },
	[BRIDGE_DRIVERS] = { "drivers", 1, 32, 6 << 10, 0, is_number, first_none },
};

/* One walk. */
struct walk {
	const struct part_rule *rule;
	const struct bridge_reader *reader;
	struct bridge_nodes out;
	size_t size;
	size_t bytes;
	uint64_t n_requests;
};

const char *bridge_part_name(enum bridge_part part)
{
	return rules[part].name;
}

static void nodes_deinit(struct bridge_nodes *nodes)
{
	for (size_t i = 0; i < nodes->n; i++) {
		free(nodes->nodes[i].path);
	}
	free(nodes->nodes);
	*nodes = (struct bridge_nodes){ 0 };
}

void bridge_tree_deinit(struct bridge_tree *t)
{
	for (size_t i = 0; i < BRIDGE_PARTS; i++) {
		nodes_deinit(&t->parts[i]);
	}
}

/* ---- order of names ---- */

static size_t rank(const char *name, const char *const *first)
{
	size_t i = 0;

	while (first[i] && !streq(first[i], name)) {
		i++;
	}
	return i;
}

static int compare_names(const char *a, const char *b, const char *const *first)
{
	size_t rank_a = rank(a, first), rank_b = rank(b, first);

	if (rank_a != rank_b) {
		return rank_a < rank_b ? -1 : 1;
	}
	if (is_number(a) != is_number(b)) {
		return is_number(a) ? -1 : 1;
	}
	if (is_number(a) && strlen(a) != strlen(b)) {
		return strlen(a) < strlen(b) ? -1 : 1;
	}
	return strcmp(a, b);
}

static int compare_first_level(const void *a, const void *b, void *first)
{
	return compare_names(*(char *const *)a, *(char *const *)b, first);
}

/* ---- the walk ---- */

static int append(struct walk *w, const char *path, const char *value, size_t len)
{
	size_t path_size = strlen(path) + 1;
	struct bridge_node *node;
	char *text;

	if (w->out.n == w->size) {
		size_t size = w->size ? 2 * w->size : 16;

		node = reallocarray(w->out.nodes, size, sizeof(*node));
		if (!node) {
			return -ENOMEM;
		}
		w->out.nodes = node;
		w->size = size;
	}
	text = malloc(path_size + len + 1);
	if (!text) {
		return -ENOMEM;
	}
	memcpy(text, path, path_size);
	memcpy(text + path_size, value, len);
	text[path_size + len] = '\0';
	w->out.nodes[w->out.n++] = (struct bridge_node){ .path = text,
							 .value = text + path_size,
							 .len = len };
	w->bytes += path_size + len;
	return 0;
}

static int walk_children(struct walk *w, const char *path, size_t depth);

/* A node at `depth` levels below the part and what is below it. 0; 1 when a bound is reached;
 * <0. */
static int walk_node(struct walk *w, const char *path, size_t depth)
{
	_cleanup_(xfreep) char *value = NULL;
	size_t at = w->out.n, len = 0;
	int r;

	if (w->n_requests++ > 2 * w->rule->n_max) {
		w->out.is_truncated = true;
		return 1;
	}
	r = w->reader->read(w->reader->userdata, path, &value, &len);
	if (r != 0) {
		return r < 0 ? r : 0;
	}
	if (len > BRIDGE_VALUE_MAX) {
		len = BRIDGE_VALUE_MAX;
		w->out.is_truncated = true;
	}
	if (w->out.n == w->rule->n_max || w->bytes + strlen(path) + 1 + len > w->rule->bytes_max) {
		w->out.is_truncated = true;
		return 1;
	}
	r = append(w, path, value, len);
	if (r < 0) {
		return r;
	}
	if (len == 0 || depth == w->rule->mixed_depth) {
		r = walk_children(w, path, depth);
		w->out.nodes[at].has_children = w->out.n > at + 1;
	}
	return r;
}

/* Names that are not looked at cost nothing but their place in this list. */
static size_t choose(struct walk *w, char **names, size_t n, size_t depth)
{
	size_t n_chosen = 0;

	for (size_t i = 0; i < n; i++) {
		if (depth == 0 && w->rule->is_wanted && !w->rule->is_wanted(names[i])) {
			continue;
		}
		if (strlen(names[i]) > BRIDGE_NAME_MAX || names[i][0] == '\0') {
			w->out.is_truncated = true;
			continue;
		}
		names[n_chosen++] = names[i];
	}
	if (n_chosen > 1) {
		qsort_r(names, n_chosen, sizeof(*names), compare_first_level,
			(void *)(uintptr_t)(depth == 0 ? w->rule->first : first_none));
	}
	return n_chosen;
}

static int walk_children(struct walk *w, const char *path, size_t depth)
{
	_cleanup_(xfreep) char **names = NULL;
	size_t n = 0;
	int r;

	w->n_requests++;
	r = w->reader->list(w->reader->userdata, path, &names, &n);
	if (r != 0) {
		return r < 0 ? r : 0;
	}
	n = choose(w, names, n, depth);
	if (n > 0 && depth == w->rule->depth_max) {
		w->out.is_truncated = true;
		return 0;
	}
	for (size_t i = 0; i < n; i++) {
		char child[PATH_SIZE];
		int len = snprintf(child, sizeof(child), "%s/%s", path, names[i]);

		if (len < 0 || (size_t)len >= sizeof(child)) {
			w->out.is_truncated = true;
			continue;
		}
		r = walk_node(w, child, depth + 1);
		if (r != 0) {
			return r;
		}
	}
	return 0;
}

int bridge_tree_read(struct bridge_tree *t, enum bridge_part part,
		     const struct bridge_reader *reader, uint64_t *n_requests)
{
	struct walk w = { .rule = &rules[part], .reader = reader };
	int r;

	r = walk_children(&w, rules[part].name, 0);
	*n_requests += w.n_requests;
	if (r < 0) {
		nodes_deinit(&w.out);
		return r;
	}
	nodes_deinit(&t->parts[part]);
	t->parts[part] = w.out;
	return 0;
}

bool bridge_tree_is_truncated(const struct bridge_tree *t)
{
	for (size_t i = 0; i < BRIDGE_PARTS; i++) {
		if (t->parts[i].is_truncated) {
			return true;
		}
	}
	return false;
}

const struct bridge_node *bridge_tree_find(const struct bridge_tree *t, enum bridge_part part,
					   const char *path)
{
	for (size_t i = 0; i < t->parts[part].n; i++) {
		if (streq(t->parts[part].nodes[i].path, path)) {
			return &t->parts[part].nodes[i];
		}
	}
	return NULL;
}
