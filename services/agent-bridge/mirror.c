/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One timer serves everything: a scan of the domains when one is due, else a
 * look at the one guest that is due first.  One look a turn of the loop keeps
 * queries answered while a thousand guests wait.
 */
#include "services/agent-bridge/mirror.h"

#include <stdio.h>

#include "libcommon/arena.h"
#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"
#include "libcommon/map.h"
#include "libcommon/parse.h"
#include "libcommon/uuid.h"
#include "services/agent-bridge/guest.h"
#include "services/agent-bridge/info.h"

#define NEVER UINT64_MAX
/* Xen's DOMID_FIRST_RESERVED. */
#define DOMID_MAX 0x7fef
/* Domains come and go in bursts when a host starts or a pool moves. */
#define SCAN_PAUSE_NS (50 * NSEC_PER_MSEC)
/* After a failure that is not the loss of xenstored, which ends by itself in a reset. */
#define RETRY_NS (2 * NSEC_PER_SEC)

#define ALL_PARTS ((1U << BRIDGE_PARTS) - 1)

struct bridge_mirror {
	sd_event *loop;
	struct xenstore *xs;
	struct bridge_sink sink;
	struct xenstore_watch *introduced;
	struct xenstore_watch *released;
	struct map guests;  /* domid -> struct bridge_guest */
	struct map by_uuid; /* uuid -> struct bridge_guest that speaks for it */
	struct list dirty;
	struct bridge_budget budget;
	uint64_t scan_ns;    /* when to scan; NEVER */
	uint64_t scanned_ns; /* end of the last scan */
	uint64_t n_arrivals;
	sd_event_source *timer;
	uint64_t timer_ns; /* when it fires; NEVER = not set */
	struct bridge_mirror_stats stats;
};

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata);

/* ---- the timer ---- */

static struct bridge_guest *first_due(const struct bridge_mirror *m)
{
	struct bridge_guest *first = NULL;

	list_for_each (i, &m->dirty) {
		struct bridge_guest *g = list_entry(i, struct bridge_guest, dirty_link);

		if (!first || g->due_ns < first->due_ns) {
			first = g;
		}
	}
	return first;
}

/* Set the timer to at_ns unless it fires earlier anyway. */
static void arm(struct bridge_mirror *m, uint64_t at_ns)
{
	uint64_t now_ns = clock_boot_ns();
	uint64_t delay_us = at_ns > now_ns ? (at_ns - now_ns) / 1000 + 1 : 0;

	if (at_ns >= m->timer_ns) {
		return;
	}
	if (loop_after(m->loop, &m->timer, delay_us, on_timer, m) < 0) {
		/* Deaf is worse than restarted. */
		sd_event_exit(m->loop, -ENOMEM);
		return;
	}
	m->timer_ns = at_ns;
}

static void plan_scan(struct bridge_mirror *m)
{
	m->scan_ns = MIN(m->scan_ns, MAX(clock_boot_ns(), m->scanned_ns + SCAN_PAUSE_NS));
	arm(m, m->scan_ns);
}

static void mark(struct bridge_mirror *m, struct bridge_guest *g, unsigned int mask)
{
	uint64_t now_ns = clock_boot_ns();

	if (g->uuid[0] == '\0') {
		return;
	}
	if (!g->dirty) {
		g->due_ns = bridge_pace_due(&g->pace, now_ns);
		list_append(&m->dirty, &g->dirty_link);
	}
	g->dirty |= mask;
	arm(m, MAX(g->due_ns, bridge_budget_due(&m->budget, now_ns)));
}

static void unmark(struct bridge_guest *g)
{
	g->dirty = 0;
	list_unlink(&g->dirty_link);
}

static void on_guest(struct bridge_guest *g, unsigned int part, void *userdata)
{
	struct bridge_mirror *m = userdata;

	m->stats.watch_events++;
	if (part == BRIDGE_PARTS) {
		plan_scan(m);
	} else {
		mark(m, g, 1U << part);
	}
}

/* ---- who speaks for a UUID ---- */

static struct bridge_guest *latest_of(const struct bridge_mirror *m, const char *uuid)
{
	struct bridge_guest *latest = NULL;

	for (struct map_iter i = map_begin(&m->guests); map_next(&m->guests, &i);) {
		struct bridge_guest *g = i.value;

		if (streq(g->uuid, uuid) && (!latest || g->arrival > latest->arrival)) {
			latest = g;
		}
	}
	return latest;
}

static bool speaks(const struct bridge_mirror *m, const struct bridge_guest *g)
{
	return g->uuid[0] != '\0' && map_get_str(&m->by_uuid, g->uuid) == g;
}

/* is_handover: not the content changed, but who speaks. */
static void publish(struct bridge_mirror *m, struct bridge_guest *g, bool is_handover)
{
	_cleanup_(arena_deinit) struct arena arena;
	const Xenmesh__V1__GuestInfo *info;

	arena_init(&arena, 2 * BRIDGE_INFO_ARENA);
	info = is_handover ? bridge_guest_touch(g, &arena) : bridge_guest_info(g, &arena);
	if (!info) {
		log_error("no memory to publish what domain %u says", g->domid);
		return;
	}
	m->stats.published++;
	m->sink.publish(m->sink.userdata, info);
}

/* g gave up its UUID or is about to go. */
static void abdicate(struct bridge_mirror *m, struct bridge_guest *g, const char *uuid)
{
	struct bridge_guest *heir;

	if (map_get_str(&m->by_uuid, uuid) != g) {
		return;
	}
	heir = latest_of(m, uuid);
	if (!heir) {
		map_remove_str(&m->by_uuid, uuid);
		m->sink.remove(m->sink.userdata, uuid, "domain gone");
		return;
	}
	/* Replaces a value that is there: needs no memory. */
	map_set_str(&m->by_uuid, uuid, heir, NULL);
	if (heir->packed) {
		publish(m, heir, true);
	}
}

static int identify(struct bridge_mirror *m, struct bridge_guest *g)
{
	char uuid[BRIDGE_UUID_SIZE], old[BRIDGE_UUID_SIZE];
	int r;

	r = bridge_guest_read_uuid(g, uuid);
	if (r < 0 || streq(uuid, g->uuid)) {
		return r;
	}
	memcpy(old, g->uuid, sizeof(old));
	unmark(g);
	r = bridge_guest_become(g, uuid);
	g->arrival = ++m->n_arrivals;
	if (old[0] != '\0') {
		abdicate(m, g, old);
	}
	if (r == 0 && uuid[0] != '\0') {
		r = map_set_str(&m->by_uuid, uuid, g, NULL);
	}
	if (r < 0) {
		g->uuid[0] = '\0'; /* so that the next scan tries again */
		return err_trace(r);
	}
	mark(m, g, ALL_PARTS);
	return 0;
}

/* ---- scanning ---- */

static int add_guest(struct bridge_mirror *m, uint32_t domid)
{
	_cleanup_(bridge_guest_freep) struct bridge_guest *g = NULL;
	int r;

	r = bridge_guest_new(&g, m->xs, domid, on_guest, m);
	if (r == 0) {
		r = map_set(&m->guests, &domid, sizeof(domid), g, NULL);
	}
	if (r < 0) {
		return err_trace(r);
	}
	g->is_listed = true;
	return identify(m, STEAL(g));
}

static void drop_guest(struct bridge_mirror *m, struct bridge_guest *g)
{
	char uuid[BRIDGE_UUID_SIZE];

	memcpy(uuid, g->uuid, sizeof(uuid));
	g->uuid[0] = '\0';
	map_remove(&m->guests, &g->domid, sizeof(g->domid));
	if (uuid[0] != '\0') {
		abdicate(m, g, uuid);
	}
	bridge_guest_free(g);
}

static int scan_domain(struct bridge_mirror *m, const char *name)
{
	struct bridge_guest *g;
	uint32_t domid;

	if (parse_u32(name, strlen(name), DOMID_MAX, &domid) != 0 || domid == 0) {
		return 0;
	}
	g = map_get(&m->guests, &domid, sizeof(domid));
	if (!g) {
		return add_guest(m, domid);
	}
	g->is_listed = true;
	return identify(m, g);
}

static int scan(struct bridge_mirror *m)
{
	_cleanup_(xfreep) char **names = NULL;
	size_t n = 0;
	int r;

	m->scan_ns = NEVER;
	r = xenstore_list(m->xs, "/local/domain", &names, &n);
	if (r < 0) {
		return err_trace(r);
	}
	for (struct map_iter i = map_begin(&m->guests); map_next(&m->guests, &i);) {
		((struct bridge_guest *)i.value)->is_listed = false;
	}
	for (size_t i = 0; i < n; i++) {
		r = scan_domain(m, names[i]);
		if (r < 0) {
			return err_trace(r);
		}
	}
	for (struct map_iter i = map_begin(&m->guests); map_next(&m->guests, &i);) {
		struct bridge_guest *g = i.value;

		if (!g->is_listed) {
			drop_guest(m, g);
		}
	}
	m->scanned_ns = clock_boot_ns();
	return 0;
}

/* ---- looking ---- */

static int look(struct bridge_mirror *m, struct bridge_guest *g)
{
	unsigned int mask = g->dirty;
	uint64_t start_ns = clock_boot_ns(), end_ns;
	bool has_news;
	int r;

	unmark(g);
	r = bridge_guest_look(g, mask, &m->stats.requests);
	end_ns = clock_boot_ns();
	bridge_pace_use(&g->pace, start_ns, end_ns);
	has_news = r > 0 && speaks(m, g);
	bridge_budget_use(&m->budget, start_ns, end_ns, has_news);
	if (r < 0) {
		mark(m, g, mask);
		return r;
	}
	m->stats.looks++;
	m->stats.unchanged += r == 0;
	m->stats.truncated += bridge_tree_is_truncated(&g->tree);
	if (has_news) {
		publish(m, g, false);
	}
	return 0;
}

/* What is due now, at most one thing. */
static int work(struct bridge_mirror *m)
{
	struct bridge_guest *g = first_due(m);
	uint64_t now_ns = clock_boot_ns();

	if (now_ns >= m->scan_ns) {
		return scan(m);
	}
	if (g && now_ns >= g->due_ns && now_ns >= bridge_budget_due(&m->budget, now_ns)) {
		return look(m, g);
	}
	return 0;
}

static int on_timer(sd_event_source *s _unused_, uint64_t usec _unused_, void *userdata)
{
	struct bridge_mirror *m = userdata;
	const struct bridge_guest *g;
	uint64_t now_ns;
	int r = 0;

	m->timer_ns = NEVER;
	if (xenstore_is_connected(m->xs)) {
		r = work(m);
	}
	if (!xenstore_is_connected(m->xs)) {
		return 0; /* on_reset goes on */
	}
	if (r < 0) {
		log_warning("can't read what guests say (%s); trying again", err_text(r));
		m->scan_ns = clock_boot_ns() + RETRY_NS;
	}
	arm(m, m->scan_ns);
	g = first_due(m);
	if (g) {
		now_ns = clock_boot_ns();
		arm(m, MAX(g->due_ns, bridge_budget_due(&m->budget, now_ns)));
	}
	return 0;
}

/* ---- events ---- */

static void on_domains(struct xenstore *xs _unused_, const char *path _unused_, void *userdata)
{
	struct bridge_mirror *m = userdata;

	m->stats.watch_events++;
	plan_scan(m);
}

/* Nothing that was read before is worth anything: xenstored may have lost all. */
static void on_reset(struct xenstore *xs _unused_, void *userdata)
{
	struct bridge_mirror *m = userdata;

	m->stats.resets++;
	for (struct map_iter i = map_begin(&m->guests); map_next(&m->guests, &i);) {
		mark(m, i.value, ALL_PARTS);
	}
	plan_scan(m);
}

/* ---- life ---- */

int bridge_mirror_new(struct bridge_mirror **out, sd_event *loop, struct xenstore *xs,
		      const struct bridge_sink *sink)
{
	struct bridge_mirror *m = calloc(1, sizeof(*m));
	int r;

	if (!m) {
		return -ENOMEM;
	}
	m->loop = sd_event_ref(loop);
	m->xs = xs;
	m->sink = *sink;
	m->timer_ns = NEVER;
	m->scan_ns = NEVER;
	list_init(&m->dirty);
	xenstore_on_reset(xs, on_reset, m);
	r = xenstore_watch(xs, &m->introduced, "@introduceDomain", on_domains, m);
	if (r == 0) {
		r = xenstore_watch(xs, &m->released, "@releaseDomain", on_domains, m);
	}
	if (r == 0) {
		r = scan(m);
	}
	if (r < 0) {
		bridge_mirror_free(m);
		return err_trace(r);
	}
	*out = m;
	return 0;
}

struct bridge_mirror *bridge_mirror_free(struct bridge_mirror *m)
{
	if (m) {
		xenstore_on_reset(m->xs, NULL, NULL);
		xenstore_unwatch(m->introduced);
		xenstore_unwatch(m->released);
		for (struct map_iter i = map_begin(&m->guests); map_next(&m->guests, &i);) {
			bridge_guest_free(i.value);
		}
		map_deinit(&m->guests);
		map_deinit(&m->by_uuid);
		sd_event_source_disable_unref(m->timer);
		sd_event_unref(m->loop);
		free(m);
	}
	return NULL;
}

/* ---- queries ---- */

static struct bridge_view view_of(const struct bridge_guest *g)
{
	return (struct bridge_view){ g->uuid, g->domid, g->packed, g->packed_len };
}

bool bridge_mirror_find(const struct bridge_mirror *m, const char *vm, struct bridge_view *out)
{
	const struct bridge_guest *g = NULL;
	char text[BRIDGE_UUID_SIZE];
	struct uuid uuid;
	uint32_t domid;

	if (uuid_parse(vm, &uuid) == 0) {
		uuid_format(&uuid, text);
		g = map_get_str(&m->by_uuid, text);
	} else if (parse_u32(vm, strlen(vm), DOMID_MAX, &domid) == 0) {
		g = map_get(&m->guests, &domid, sizeof(domid));
	}
	if (!g || !g->packed) {
		return false;
	}
	*out = view_of(g);
	return true;
}

static int compare_views(const void *a, const void *b)
{
	return strcmp(((const struct bridge_view *)a)->uuid, ((const struct bridge_view *)b)->uuid);
}

size_t bridge_mirror_list(const struct bridge_mirror *m, const char *after_uuid,
			  struct bridge_view *out, size_t max, bool *has_more)
{
	_cleanup_(xfreep) struct bridge_view *all = calloc(map_size(&m->by_uuid) + 1, sizeof(*all));
	size_t n = 0;

	*has_more = false;
	for (struct map_iter i = map_begin(&m->by_uuid); all && map_next(&m->by_uuid, &i);) {
		const struct bridge_guest *g = i.value;

		if (g->packed && strcmp(g->uuid, after_uuid) > 0) {
			all[n++] = view_of(g);
		}
	}
	if (n > 1) {
		qsort(all, n, sizeof(*all), compare_views);
	}
	*has_more = n > max;
	n = MIN(n, max);
	if (n > 0) {
		memcpy(out, all, n * sizeof(*all));
	}
	return n;
}

void bridge_mirror_stats(const struct bridge_mirror *m, struct bridge_mirror_stats *out)
{
	*out = m->stats;
	out->guests = map_size(&m->by_uuid);
	out->domains = map_size(&m->guests);
	out->waiting = 0;
	list_for_each (i, &m->dirty) {
		out->waiting++;
	}
}
