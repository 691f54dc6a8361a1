/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Events that are no states: delivered live, never repaired, and their loss is
 * told.
 */
#include "tests/unit/mirror_util.h"

/* Until the last event of all that were published has come. */
static bool run_transient(struct mirror *m, struct publisher *p, unsigned int value)
{
	for (unsigned int i = 0; i < 500 && m->last_transient != value; i++) {
		run_ms(p, 10);
	}
	return m->last_transient == value;
}

static bool run_lost(struct mirror *m, struct publisher *p, unsigned int n)
{
	for (unsigned int i = 0; i < 500 && m->n_lost < n; i++) {
		run_ms(p, 10);
	}
	return m->n_lost == n;
}

/* Lost ones are told once, at the next one or at a heartbeat, and nothing is asked for. */
static void test_sub__transient_events(void)
{
	struct bus_sub_stats stats;
	struct publisher p;
	struct mirror m;

	if (set_up(&m, &p, "")) {
		publish_transient(&p, 1, true); /* before the subscription: no loss */
		CU_ASSERT(run_connected(&m, &p));
		publish_transient(&p, 2, false);
		publish_transient(&p, 3, false);
		CU_ASSERT(run_transient(&m, &p, 3));
		CU_ASSERT_EQUAL(m.n_lost, 0);
		publish_transient(&p, 4, true);
		publish_transient(&p, 5, true);
		publish_transient(&p, 6, false);
		CU_ASSERT(run_transient(&m, &p, 6));
		CU_ASSERT_EQUAL(m.n_lost, 1);
		publish_transient(&p, 7, true);
		beat(&p);
		CU_ASSERT(run_lost(&m, &p, 2));
		beat(&p);
		publish_transient(&p, 8, false);
		CU_ASSERT(run_transient(&m, &p, 8));
		CU_ASSERT_EQUAL(m.n_lost, 2);
		CU_ASSERT_EQUAL(m.n_transient, 4);
		CU_ASSERT_EQUAL(m.n_gaps, 0);
		CU_ASSERT_EQUAL(m.n_resynced, 1);
		bus_sub_stats(m.sub, &stats);
		CU_ASSERT_EQUAL(stats.lost, 2);
	}
	tear_down(&m, &p);
}

/* They neither hide the loss of others nor are they taken for removed by a repair, and they get
 * through one. */
static void test_sub__transient_events_and_repairs(void)
{
	struct publisher p;
	struct mirror m;

	if (set_up(&m, &p, "")) {
		CU_ASSERT(run_connected(&m, &p));
		publish_transient(&p, 1, false);
		publish(&p, "vm/a/state", 20, true);
		publish_transient(&p, 2, false);
		publish(&p, "vm/b/state", 21, false); /* a sync begins */
		publish_transient(&p, 3, false);
		publish_transient(&p, 4, false);
		CU_ASSERT(run_transient(&m, &p, 4));
		CU_ASSERT(run_equal(&m, &p));
		CU_ASSERT_EQUAL(m.n_gaps, 1);
		CU_ASSERT_EQUAL(m.n_transient, 4);
		p.forgotten = p.seq + 1; /* the next repair is a full one */
		publish(&p, "vm/a/state", 22, true);
		publish_transient(&p, 5, true);
		beat(&p);
		CU_ASSERT(run_lost(&m, &p, 1));
		CU_ASSERT(run_equal(&m, &p));
		CU_ASSERT_EQUAL(m.n_removed, 0);
		CU_ASSERT_EQUAL(m.n_gaps, 2);
	}
	tear_down(&m, &p);
}

static void test_sub__transient_events_of_another_instance(void)
{
	struct publisher p;
	struct mirror m;

	if (set_up(&m, &p, "trace/")) {
		CU_ASSERT(run_connected(&m, &p));
		for (unsigned int i = 1; i <= 9; i++) {
			publish_transient(&p, i, false);
		}
		CU_ASSERT(run_transient(&m, &p, 9));
		restart(&p);
		publish_transient(&p, 51, true);
		publish_transient(&p, 52, false);
		publish_transient(&p, 53, false);
		CU_ASSERT(run_transient(&m, &p, 53));
		CU_ASSERT_EQUAL(m.n_transient, 11);
		CU_ASSERT_EQUAL(m.n_lost, 0);
		publish(&p, "vm/a/state", 1, false); /* of no interest, also where it is lost */
		publish(&p, "vm/a/state", 2, true);
		beat(&p);
		publish_transient(&p, 54, true);
		beat(&p);
		CU_ASSERT(run_lost(&m, &p, 1));
		CU_ASSERT_EQUAL(m.n_states + m.n_gaps, 0);
	}
	tear_down(&m, &p);
}

UNIT_MAIN("sub_transient", UNIT_TEST(test_sub__transient_events),
	  UNIT_TEST(test_sub__transient_events_and_repairs),
	  UNIT_TEST(test_sub__transient_events_of_another_instance))
