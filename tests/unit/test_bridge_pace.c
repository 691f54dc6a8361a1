/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How often guests are looked at, whatever they do. */
#include "services/agent-bridge/pace.h"
#include "tests/unit/unit.h"

#define MS NSEC_PER_MSEC
/* Boot was a while ago. */
#define T0 (1000 * NSEC_PER_SEC)

static void test_guest__table(void)
{
	static const struct {
		uint64_t looked_ns, work_ns, changed_ns, due_ns;
	} cases[] = {
		/* first change: let the agent finish */
		{ 0, 0, T0, T0 + 100 * MS },
		{ T0, T0 - 900 * MS, T0 + 5000 * MS, T0 + 5100 * MS },
		/* two a second */
		{ T0, T0 - 900 * MS, T0 + 1 * MS, T0 + 500 * MS },
		{ T0, T0 - 900 * MS, T0 + 450 * MS, T0 + 550 * MS },
		/* a guest that used up its time waits */
		{ T0, T0 + 900 * MS, T0 + 1 * MS, T0 + 900 * MS },
		{ T0, T0 + 900 * MS, T0 + 850 * MS, T0 + 950 * MS },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct bridge_pace pace = { cases[i].looked_ns, cases[i].work_ns };

		CU_ASSERT_EQUAL(bridge_pace_due(&pace, cases[i].changed_ns), cases[i].due_ns);
	}
}

/* A guest that changes something all the time: how many looks of cost_ns in how many minutes. */
static unsigned int look_for_minutes(unsigned int minutes, uint64_t cost_ns)
{
	struct bridge_pace pace = { 0 };
	uint64_t now_ns = T0;
	unsigned int n = 0;

	while (now_ns < T0 + minutes * 60 * NSEC_PER_SEC) {
		now_ns = bridge_pace_due(&pace, now_ns);
		bridge_pace_use(&pace, now_ns, now_ns + cost_ns);
		now_ns += cost_ns;
		n++;
	}
	return n;
}

static void test_guest__at_most_two_looks_a_second(void)
{
	unsigned int n = look_for_minutes(1, 2 * MS);

	CU_ASSERT(n >= 110 && n <= 121);
}

/* 1 s of work in advance, then a twentieth of the time. */
static void test_guest__work_is_bounded(void)
{
	unsigned int n = look_for_minutes(10, 100 * MS);

	CU_ASSERT(n >= (1 + 30) * 10 - 2 && n <= (1 + 30) * 10 + 2);
}

/* On a slow host an agent's first words are not held back by how long reading takes. */
static void test_guest__a_start_is_not_held_back(void)
{
	struct bridge_pace pace = { 0 };
	uint64_t now_ns = T0;

	for (unsigned int i = 0; i < 4; i++) {
		uint64_t due_ns = bridge_pace_due(&pace, now_ns);

		CU_ASSERT(due_ns <= now_ns + 500 * MS);
		bridge_pace_use(&pace, due_ns, due_ns + 200 * MS);
		now_ns = due_ns + 200 * MS;
	}
}

/* All guests change all the time: how many looks of cost_ns, that publish, in 60 s. */
static unsigned int publish_for_a_minute(uint64_t cost_ns)
{
	struct bridge_budget budget = { 0 };
	uint64_t now_ns = T0;
	unsigned int n = 0;

	while (now_ns < T0 + 60 * NSEC_PER_SEC) {
		now_ns = MAX(now_ns, bridge_budget_due(&budget, now_ns));
		bridge_budget_use(&budget, now_ns, now_ns + cost_ns, true);
		now_ns += cost_ns;
		n++;
	}
	return n;
}

static void test_budget__a_burst_then_a_rate(void)
{
	unsigned int n = publish_for_a_minute(1000);

	CU_ASSERT(n >= 1000 + 60 * 200 - 5 && n <= 1000 + 60 * 200 + 5);
}

/* 5 s of work in advance, then half of the time. */
static void test_budget__work_is_bounded(void)
{
	unsigned int n = publish_for_a_minute(50 * MS);

	CU_ASSERT(n >= (5 + 30) * 20 - 5 && n <= (5 + 30) * 20 + 5);
}

static void test_budget__looks_that_publish_nothing_take_no_token(void)
{
	struct bridge_budget budget = { 0 };
	uint64_t now_ns = T0;

	for (unsigned int i = 0; i < 5000; i++) {
		CU_ASSERT(bridge_budget_due(&budget, now_ns) <= now_ns);
		bridge_budget_use(&budget, now_ns, now_ns + 1000, false);
		now_ns += 1000;
	}
}

static void test_budget__works_right_after_boot(void)
{
	struct bridge_budget budget = { 0 };
	unsigned int n = 0;

	for (uint64_t now_ns = 1; now_ns < NSEC_PER_SEC; now_ns += MS) {
		if (bridge_budget_due(&budget, now_ns) <= now_ns) {
			bridge_budget_use(&budget, now_ns, now_ns + 1, true);
			n++;
		}
	}
	CU_ASSERT(n >= 195 && n <= 200);
}

UNIT_MAIN("bridge pace", UNIT_TEST(test_guest__table),
	  UNIT_TEST(test_guest__at_most_two_looks_a_second), UNIT_TEST(test_guest__work_is_bounded),
	  UNIT_TEST(test_guest__a_start_is_not_held_back),
	  UNIT_TEST(test_budget__a_burst_then_a_rate), UNIT_TEST(test_budget__work_is_bounded),
	  UNIT_TEST(test_budget__looks_that_publish_nothing_take_no_token),
	  UNIT_TEST(test_budget__works_right_after_boot))
