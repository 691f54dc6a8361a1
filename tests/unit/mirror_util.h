/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The mirror that a subscriber makes of a publisher made by hand, for tests:
 * whether it is equal, whether a topic ever went back, and what was told.
 */
#include "bus/sub.h"

#include <stdio.h>

#include "tests/unit/fake_publisher.h"
#include "tests/unit/unit.h"

struct entry {
	char topic[48];
	uint8_t instance[16];
	uint64_t seq;
	unsigned int value;
	bool is_alive;
};

struct mirror {
	const struct publisher *publisher;
	const char *prefix; /* "" = all */
	struct entry entries[ROWS_MAX];
	size_t n_entries;
	unsigned int n_states, n_replayed, n_removed, n_resynced, n_gaps, n_downs;
	unsigned int n_transient, n_lost, last_transient;
	uint64_t missed;
	uint64_t synced_seq;
	bool went_back; /* must stay false */
	bool is_equal, is_resynced, is_down;
	struct bus_sub *sub;
	int free_at; /* what to free the subscriber at; -1 = never */
	bool is_freed;
};

/* ---- the mirror ---- */

static inline bool is_mirrored(const struct mirror *m, const struct row *row)
{
	for (size_t i = 0; i < m->n_entries; i++) {
		const struct entry *e = &m->entries[i];

		if (streq(e->topic, row->topic)) {
			return row->is_removed ? !e->is_alive
					       : e->is_alive && e->value == row->value;
		}
	}
	return row->is_removed;
}

static inline bool is_equal(const struct mirror *m)
{
	size_t n_alive = 0, n_rows = 0;

	for (size_t i = 0; i < m->publisher->n_rows; i++) {
		const struct row *row = &m->publisher->rows[i];

		if (!str_starts(row->topic, m->prefix)) {
			continue;
		}
		n_rows += !row->is_removed;
		if (!is_mirrored(m, row)) {
			return false;
		}
	}
	for (size_t i = 0; i < m->n_entries; i++) {
		n_alive += m->entries[i].is_alive;
	}
	return n_alive == n_rows;
}

static inline void note(struct mirror *m, const struct bus_sub_event *e)
{
	struct entry *entry = m->entries;

	while (entry < m->entries + m->n_entries && !streq(entry->topic, e->topic)) {
		entry++;
	}
	if (entry == m->entries + m->n_entries) {
		m->n_entries++;
		*entry = (struct entry){ 0 };
		snprintf(entry->topic, sizeof(entry->topic), "%s", e->topic);
	}
	if (e->event && memcmp(entry->instance, e->event->instance.data, 16) == 0 &&
	    e->seq <= entry->seq) {
		m->went_back = true;
	}
	if (e->event) {
		memcpy(entry->instance, e->event->instance.data, 16);
		entry->seq = e->seq;
	}
	entry->is_alive = e->what == BUS_SUB_STATE && e->event;
	entry->value = entry->is_alive ? (unsigned int)atoi(e->event->task->step) : 0;
}

static inline void on_sub(struct bus_sub *s, const struct bus_sub_event *e, void *userdata)
{
	struct mirror *m = userdata;

	switch (e->what) {
	case BUS_SUB_STATE:
		CU_ASSERT(str_starts(e->topic, m->prefix));
		CU_ASSERT(e->size > 0);
		if (str_starts(e->topic, "trace/")) {
			CU_ASSERT(!e->replayed && e->raw);
			m->n_transient++;
			m->last_transient = (unsigned int)atoi(e->event->task->step);
			break;
		}
		m->n_states++;
		m->n_replayed += e->replayed;
		note(m, e);
		break;
	case BUS_SUB_REMOVED:
		m->n_removed++;
		note(m, e);
		break;
	case BUS_SUB_RESYNCED:
		CU_ASSERT(bus_sub_is_synced(s));
		m->n_resynced++;
		m->is_resynced = true;
		m->synced_seq = e->seq;
		break;
	case BUS_SUB_GAP:
		m->n_gaps++;
		m->missed += e->missed;
		CU_ASSERT(e->missed > 0);
		break;
	case BUS_SUB_LOST:
		CU_ASSERT(e->missed > 0);
		m->n_lost++;
		break;
	case BUS_SUB_DOWN:
		m->n_downs++;
		m->is_down = true;
		break;
	}
	m->is_equal = is_equal(m);
	if ((int)e->what == m->free_at) {
		m->sub = bus_sub_free(s);
		m->is_freed = true;
	}
}

/* ---- frame of a test ---- */

static inline bool subscribe(struct mirror *m, struct publisher *p, const char *prefix)
{
	int r;

	*m = (struct mirror){ .publisher = p, .prefix = prefix, .free_at = -1 };
	r = bus_sub_new(&m->sub, p->f.loop, p->f.topology, "fake", &prefix, *prefix ? 1 : 0,
			"test/1", on_sub, m);
	CU_ASSERT_EQUAL(r, 0);
	return r == 0;
}

static inline void run_ms(struct publisher *p, unsigned int ms)
{
	bool never = false;

	fake_run(&p->f, &never, ms);
}

static inline bool run_resynced(struct mirror *m, struct publisher *p)
{
	bool ok = fake_run(&p->f, &m->is_resynced, 10000);

	m->is_resynced = false;
	return ok;
}

/* The first sync, and then until the publisher's side of the connection is up as well. */
static inline bool run_connected(struct mirror *m, struct publisher *p)
{
	struct bus_sub_stats stats = { 0 };
	bool ok = run_resynced(m, p);

	for (unsigned int i = 0; ok && i < 500 && stats.bytes == 0; i++) {
		beat(p);
		run_ms(p, 10);
		bus_sub_stats(m->sub, &stats);
	}
	return ok && stats.bytes > 0;
}

/* Whatever is on its way arrives. */
static inline bool run_equal(struct mirror *m, struct publisher *p)
{
	m->is_equal = is_equal(m);
	for (unsigned int i = 0; i < 50 && !fake_run(&p->f, &m->is_equal, 200); i++) {
		beat(p);
	}
	return m->is_equal;
}

static inline void tear_down(struct mirror *m, struct publisher *p)
{
	CU_ASSERT_FALSE(m->went_back);
	bus_sub_free(m->sub);
	fake_deinit(&p->f);
}

static inline bool set_up(struct mirror *m, struct publisher *p, const char *prefix)
{
	*m = (struct mirror){ .publisher = p };
	if (!publisher_init(p)) {
		return false;
	}
	publish(p, "vm/a/state", 1, true);
	publish(p, "vm/b/state", 2, true);
	publish(p, "host/state", 3, true);
	return subscribe(m, p, prefix);
}
