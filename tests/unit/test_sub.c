/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The subscriber against a publisher made by hand, which loses what it is told
 * to lose.  The measure is always the same: the mirror ends equal to the
 * publisher's table, and no topic ever went back.
 */
#include "bus/sub.h"

#include "tests/unit/mirror_util.h"

/* ---- memory that runs out ---- */

static size_t failing_size; /* one calloc() of so many bytes fails */
static unsigned int n_to_fail;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *__wrap_calloc(size_t n, size_t size)
{
	if (n_to_fail > 0 && n * size == failing_size) {
		n_to_fail--;
		return NULL;
	}
	return __real_calloc(n, size);
}

/* ---- tests ---- */

static void test_sub__snapshot_then_live(void)
{
	struct bus_sub_stats stats;
	struct publisher p;
	struct mirror m;

	if (set_up(&m, &p, "")) {
		CU_ASSERT_FALSE(bus_sub_is_synced(m.sub));
		CU_ASSERT(run_connected(&m, &p));
		CU_ASSERT(is_equal(&m));
		CU_ASSERT_EQUAL(m.n_replayed, 3);
		CU_ASSERT_EQUAL(m.synced_seq, 3);
		publish(&p, "vm/a/state", 10, false);
		publish(&p, "vm/c/state", 11, false);
		publish(&p, "vm/b/state", 0, false);
		CU_ASSERT(run_equal(&m, &p));
		CU_ASSERT_EQUAL(m.n_states, 5);
		CU_ASSERT_EQUAL(m.n_replayed, 3);
		CU_ASSERT_EQUAL(m.n_removed, 1);
		CU_ASSERT_EQUAL(m.n_gaps, 0);
		CU_ASSERT_EQUAL(m.n_downs, 0);
		bus_sub_stats(m.sub, &stats);
		CU_ASSERT_EQUAL(stats.events, 3);
		CU_ASSERT_EQUAL(stats.resyncs, 1);
		CU_ASSERT_EQUAL(stats.full_resyncs, 1);
	}
	tear_down(&m, &p);
}

static void test_sub__next_event_tells_a_loss(void)
{
	struct publisher p;
	struct mirror m;

	if (set_up(&m, &p, "")) {
		CU_ASSERT(run_connected(&m, &p));
		publish(&p, "vm/a/state", 10, true);
		publish(&p, "vm/a/state", 11, true);
		publish(&p, "vm/b/state", 12, false);
		CU_ASSERT(run_resynced(&m, &p));
		CU_ASSERT(is_equal(&m));
		CU_ASSERT_EQUAL(m.n_gaps, 1);
		CU_ASSERT_EQUAL(m.missed, 2);
		CU_ASSERT_EQUAL(p.n_snapshots, 1);
		CU_ASSERT_EQUAL(p.n_changes, 1);
	}
	tear_down(&m, &p);
}

static void test_sub__heartbeat_tells_a_loss(void)
{
	struct publisher p;
	struct mirror m;

	if (set_up(&m, &p, "vm/")) {
		CU_ASSERT(run_connected(&m, &p));
		publish(&p, "vm/a/state", 0, true);
		beat(&p);
		CU_ASSERT(run_resynced(&m, &p));
		CU_ASSERT(is_equal(&m));
		CU_ASSERT_EQUAL(m.n_gaps, 1);
		CU_ASSERT_EQUAL(m.n_removed, 1);
	}
	tear_down(&m, &p);
}

/* An event that fits to nothing the publisher answers keeps neither of the two busy. */
static void test_sub__repairs_in_vain(void)
{
	struct row row = { .topic = "vm/a/state", .seq = 1000, .value = 10 };
	Xenmesh__V1__Event event;
	struct publisher p;
	struct body body;
	struct mirror m;
	uint64_t began_ns;

	if (set_up(&m, &p, "")) {
		CU_ASSERT(run_connected(&m, &p));
		make_event(&p, &row, &body, &event);
		event.prev_seq = 999;
		began_ns = clock_boot_ns();
		send_event(&p, &event);
		while (p.n_changes < 4 && clock_boot_ns() - began_ns < 10 * NSEC_PER_SEC) {
			sd_event_run(p.f.loop, 10 * USEC_PER_MSEC);
		}
		CU_ASSERT_EQUAL(p.n_changes, 4);
		CU_ASSERT(clock_boot_ns() - began_ns >= 300 * NSEC_PER_MSEC);
		/* What is in order again is followed as ever. */
		p.seq = 999;
		*segment_seq(&p, "vm/") = 999;
		publish(&p, "vm/a/state", 11, false);
		CU_ASSERT(run_equal(&m, &p));
	}
	tear_down(&m, &p);
}

/* A repair that was caused by one segment must not hide what another one lost before. */
static void test_sub__loss_before_a_repair_elsewhere(void)
{
	struct publisher p;
	struct mirror m;

	if (set_up(&m, &p, "")) {
		CU_ASSERT(run_connected(&m, &p));
		publish(&p, "host/state", 20, true);
		publish(&p, "vm/a/state", 21, false);
		publish(&p, "vm/a/state", 22, true);
		publish(&p, "vm/b/state", 23, false);
		CU_ASSERT(run_resynced(&m, &p));
		CU_ASSERT(is_equal(&m));
	}
	tear_down(&m, &p);
}

static void test_sub__other_topics_of_the_segment(void)
{
	struct publisher p;
	struct mirror m;

	if (set_up(&m, &p, "vm/a/")) {
		CU_ASSERT(run_connected(&m, &p));
		CU_ASSERT_EQUAL(m.n_states, 1);
		publish(&p, "host/state", 30, true); /* of no interest */
		for (unsigned int i = 0; i < 5; i++) {
			publish(&p, "vm/b/state", 31 + i, false);
			beat(&p);
		}
		publish(&p, "vm/a/state", 40, false);
		CU_ASSERT(run_equal(&m, &p));
		CU_ASSERT_EQUAL(m.n_gaps, 0);
		CU_ASSERT_EQUAL(m.n_states, 2);
		publish(&p, "vm/a/state", 41, true);
		publish(&p, "vm/b/state", 42, false); /* tells it */
		CU_ASSERT(run_resynced(&m, &p));
		CU_ASSERT(is_equal(&m));
		CU_ASSERT_EQUAL(m.n_gaps, 1);
	}
	tear_down(&m, &p);
}

/* A prefix that ends within the first segment. */
static void test_sub__prefix_of_segments(void)
{
	struct publisher p;
	struct mirror m;

	if (set_up(&m, &p, "h")) {
		CU_ASSERT(run_connected(&m, &p));
		CU_ASSERT(is_equal(&m));
		publish(&p, "hub/x", 5, false);
		CU_ASSERT(run_equal(&m, &p));
		publish(&p, "hub/y", 6, true);
		beat(&p);
		CU_ASSERT(run_resynced(&m, &p));
		CU_ASSERT(is_equal(&m));
	}
	tear_down(&m, &p);
}

static void test_sub__restarted_publisher(void)
{
	struct publisher p;
	struct mirror m;

	if (set_up(&m, &p, "")) {
		CU_ASSERT(run_connected(&m, &p));
		fake_close_rpc(&p.f);
		fake_close_pub(&p.f);
		CU_ASSERT(fake_run(&p.f, &m.is_down, 3000)); /* told by the connection */
		restart(&p);
		publish(&p, "vm/b/state", 50, true);
		publish(&p, "vm/z/state", 51, true);
		CU_ASSERT_EQUAL(fake_listen_rpc(&p.f), 0);
		CU_ASSERT_EQUAL(fake_listen_pub(&p.f), 0);
		CU_ASSERT(run_resynced(&m, &p));
		CU_ASSERT(is_equal(&m));
		CU_ASSERT_EQUAL(m.n_downs, 1);
		CU_ASSERT_EQUAL(m.n_removed, 2); /* a, host */
		publish(&p, "vm/b/state", 52, false);
		CU_ASSERT(run_equal(&m, &p));
	}
	tear_down(&m, &p);
}

/* Another instance without the connection having been seen to break. */
static void test_sub__other_instance_on_the_same_connection(void)
{
	struct publisher p;
	struct mirror m;

	if (set_up(&m, &p, "")) {
		CU_ASSERT(run_connected(&m, &p));
		restart(&p);
		publish(&p, "vm/y/state", 60, true);
		beat(&p);
		CU_ASSERT(run_resynced(&m, &p));
		CU_ASSERT(is_equal(&m));
		restart(&p);
		publish(&p, "vm/a/state", 61, false);
		CU_ASSERT(run_resynced(&m, &p));
		CU_ASSERT(is_equal(&m));
		CU_ASSERT_EQUAL(m.n_gaps, 0);
	}
	tear_down(&m, &p);
}

/* An event for which there was no memory is not taken for known: it is asked for again. */
static void test_sub__no_memory_for_a_topic(void)
{
	static const char topic[] = "vm/a-topic-of-a-length-of-its-own/state";
	struct publisher p;
	struct mirror m;

	/* struct topic of sub_topics.c: two counters and the name. */
	failing_size = 2 * sizeof(uint64_t) + sizeof(topic);
	if (set_up(&m, &p, "")) {
		CU_ASSERT(run_connected(&m, &p));
		n_to_fail = 1;
		publish(&p, topic, 5, false);
		CU_ASSERT(run_resynced(&m, &p));
		CU_ASSERT_EQUAL(n_to_fail, 0);
		CU_ASSERT(is_equal(&m));
		CU_ASSERT_EQUAL(m.n_gaps, 1);
		/* In the pages of a full answer as well, more than once. */
		bus_sub_free(m.sub);
		m.sub = NULL;
		n_to_fail = 2;
		CU_ASSERT(subscribe(&m, &p, ""));
		CU_ASSERT(run_resynced(&m, &p));
		CU_ASSERT_EQUAL(n_to_fail, 0);
		CU_ASSERT(is_equal(&m));
	}
	tear_down(&m, &p);
}

static void test_sub__removals_that_cannot_be_told(void)
{
	struct publisher p;
	struct mirror m;

	if (set_up(&m, &p, "")) {
		CU_ASSERT(run_connected(&m, &p));
		publish(&p, "vm/a/state", 0, true);
		publish(&p, "vm/c/state", 70, true);
		p.forgotten = p.seq;
		beat(&p);
		CU_ASSERT(run_resynced(&m, &p));
		CU_ASSERT(is_equal(&m));
		CU_ASSERT_EQUAL(m.n_removed, 1);
		CU_ASSERT_EQUAL(m.n_states, 4); /* what was known already is not told again */
	}
	tear_down(&m, &p);
}

/* All that can happen to a topic while its page was, or will be, told. */
static void change_between_pages(struct publisher *p)
{
	if (p->n_pages_told == 1) {
		publish(p, "vm/0/state", 0, false); /* told, now removed */
		publish(p, "vm/1/state", 0, false); /* told, removed, and back */
		publish(p, "vm/1/state", 81, false);
		publish(p, "vm/2/state", 82, false);  /* told, changed */
		publish(p, "vm/20/state", 83, false); /* to be told, changed */
		publish(p, "vm/21/state", 0, false);  /* to be told, removed */
		publish(p, "vm/50/state", 85, false); /* new */
		publish(p, "vm/51/state", 86, true);  /* new, lost */
	}
}

static void test_sub__changes_between_pages(void)
{
	struct publisher p;
	struct mirror m;

	m = (struct mirror){ .publisher = &p };
	if (!publisher_init(&p)) {
		return;
	}
	for (unsigned int i = 0; i < 30; i++) {
		char topic[48];

		snprintf(topic, sizeof(topic), "vm/%u/state", i);
		publish(&p, topic, 100 + i, true);
	}
	p.page_size = 7;
	p.after_page = change_between_pages;
	if (subscribe(&m, &p, "")) {
		CU_ASSERT(run_connected(&m, &p));
		CU_ASSERT(is_equal(&m));
		CU_ASSERT(p.n_pages_told >= 4);
		CU_ASSERT_EQUAL(m.n_gaps, 0);
		/* And pages of Changes. */
		for (unsigned int i = 0; i < 20; i++) {
			char topic[48];

			snprintf(topic, sizeof(topic), "vm/%u/state", i);
			publish(&p, topic, i % 3 == 0 ? 0 : 200 + i, true);
		}
		p.n_pages_told = 0;
		beat(&p);
		CU_ASSERT(run_resynced(&m, &p));
		CU_ASSERT(is_equal(&m));
		CU_ASSERT_EQUAL(m.n_resynced, 2);
	}
	tear_down(&m, &p);
}

static void restart_between_pages(struct publisher *p)
{
	if (p->n_pages_told == 2) {
		restart(p);
		publish(p, "vm/0/state", 90, false);
		publish(p, "vm/8/state", 91, false);
	}
}

static void test_sub__restart_between_pages(void)
{
	struct publisher p;
	struct mirror m;

	m = (struct mirror){ .publisher = &p };
	if (!publisher_init(&p)) {
		return;
	}
	for (unsigned int i = 0; i < 10; i++) {
		char topic[48];

		snprintf(topic, sizeof(topic), "vm/%u/state", i);
		publish(&p, topic, 100 + i, true);
	}
	p.page_size = 3;
	p.after_page = restart_between_pages;
	if (subscribe(&m, &p, "")) {
		CU_ASSERT(run_connected(&m, &p));
		CU_ASSERT(is_equal(&m));
		CU_ASSERT_EQUAL(m.n_resynced, 1);
	}
	tear_down(&m, &p);
}

static void test_sub__failed_syncs_are_tried_again(void)
{
	struct publisher p;
	struct mirror m;

	if (set_up(&m, &p, "")) {
		p.n_to_fail = 2;
		CU_ASSERT(run_connected(&m, &p));
		CU_ASSERT_EQUAL(p.n_to_fail, 0);
		CU_ASSERT(is_equal(&m));
		/* While it fails, what comes live is held, not lost and not delivered. */
		p.n_to_fail = 1;
		p.has_failed = false;
		publish(&p, "vm/a/state", 15, true);
		beat(&p);
		CU_ASSERT(fake_run(&p.f, &p.has_failed, 5000));
		publish(&p, "vm/b/state", 16, false);
		publish(&p, "vm/b/state", 17, false);
		CU_ASSERT(run_resynced(&m, &p));
		CU_ASSERT(run_equal(&m, &p));
		CU_ASSERT_EQUAL(m.n_gaps, 1);
	}
	tear_down(&m, &p);
}

static void test_sub__silence_is_told(void)
{
	struct publisher p;
	struct mirror m;

	if (set_up(&m, &p, "")) {
		uint64_t begin_ns = clock_boot_ns();
		unsigned int n_changes;

		CU_ASSERT(run_connected(&m, &p));
		publish(&p, "vm/a/state", 33, true);
		CU_ASSERT(fake_run(&p.f, &m.is_down, 8000));
		CU_ASSERT(clock_boot_ns() - begin_ns >= BUS_SILENCE_US * 1000);
		CU_ASSERT_FALSE(bus_sub_is_synced(m.sub));
		CU_ASSERT_EQUAL(m.n_downs, 1);
		n_changes = p.n_changes;
		beat(&p);
		CU_ASSERT(run_resynced(&m, &p));
		CU_ASSERT(is_equal(&m));
		CU_ASSERT_EQUAL(p.n_changes, n_changes + 1); /* no full snapshot for this */
		CU_ASSERT_EQUAL(p.n_snapshots, 1);
	}
	tear_down(&m, &p);
}

static void test_sub__nobody_there_is_told(void)
{
	struct publisher p;
	struct mirror m = { 0 };

	if (publisher_init(&p)) {
		fake_close_pub(&p.f);
		publish(&p, "vm/a/state", 1, true);
		if (subscribe(&m, &p, "")) {
			CU_ASSERT(fake_run(&p.f, &m.is_down, 8000));
			CU_ASSERT_EQUAL(m.n_resynced, 0);
			CU_ASSERT_EQUAL(fake_listen_pub(&p.f), 0);
			CU_ASSERT(run_resynced(&m, &p));
			CU_ASSERT(is_equal(&m));
		}
	}
	tear_down(&m, &p);
}

static void test_sub__noise_is_ignored(void)
{
	static const struct {
		const char *bytes;
		size_t len;
	} cases[] = {
		{ "", 0 },
		{ "vm/a/state", 10 },
		{ "vm/a/state\0\xff\xff\xff", 14 },
		{ "vm/a/state\0", 11 }, /* an event without a topic */
		{ "vm/a/state\0\x22\x04host", 17 },
		{ "bus/heartbeat\0\x22\x0d"
		  "bus/heartbeat",
		  29 }, /* no body */
	};
	char long_topic[4 * BUS_TOPIC_MAX];
	struct publisher p;
	struct mirror m;

	if (set_up(&m, &p, "")) {
		CU_ASSERT(run_connected(&m, &p));
		for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
			bus_engine_sp.send(p.f.pub, NULL, cases[i].bytes, cases[i].len);
		}
		memset(long_topic, 'v', sizeof(long_topic));
		bus_engine_sp.send(p.f.pub, NULL, long_topic, sizeof(long_topic));
		publish(&p, "vm/a/state", 99, false);
		CU_ASSERT(run_equal(&m, &p));
		CU_ASSERT_EQUAL(m.n_gaps, 0);
		CU_ASSERT_EQUAL(m.n_states, 4);
	}
	tear_down(&m, &p);
}

/* More first segments than are remembered: not an error, only more questions. */
static void test_sub__many_segments(void)
{
	struct publisher p;
	struct mirror m;

	if (set_up(&m, &p, "")) {
		Xenmesh__V1__Event event;
		struct body body;

		CU_ASSERT(run_connected(&m, &p));
		for (unsigned int i = 0; i < 200; i++) {
			struct row row = { .value = i, .seq = ++p.seq };

			snprintf(row.topic, sizeof(row.topic), "s%u/x", i);
			make_event(&p, &row, &body, &event);
			event.prev_seq = 0;
			event.body_case = XENMESH__V1__EVENT__BODY_REMOVED;
			event.removed = &body.removed;
			send_event(&p, &event);
		}
		publish(&p, "vm/a/state", 5, false);
		CU_ASSERT(run_equal(&m, &p));
		CU_ASSERT(m.n_resynced >= 2);
	}
	tear_down(&m, &p);
}

/* More than is held while no answer comes: found to be missing afterwards. */
static void test_sub__held_events_are_bounded(void)
{
	struct publisher p;
	struct mirror m;

	if (set_up(&m, &p, "")) {
		uint8_t *large = malloc(4U << 20);
		struct bus_sub_stats stats = { 0 };

		CU_ASSERT(run_connected(&m, &p));
		p.n_to_fail = 1;
		publish(&p, "vm/a/state", 44, true);
		beat(&p);
		CU_ASSERT(fake_run(&p.f, &p.has_failed, 5000));
		/* 9 times 3.9 MiB of a topic of no value, while the retry timer runs. */
		memset(large, 0, 4U << 20);
		memcpy(large, "host/x", 7);
		for (unsigned int i = 0; i < 9; i++) {
			bus_engine_sp.send(p.f.pub, NULL, large, 3900U << 10);
		}
		publish(&p, "vm/b/state", 45, false);
		CU_ASSERT(run_resynced(&m, &p));
		CU_ASSERT(run_equal(&m, &p));
		while (stats.bytes < (9 * 3900U << 10) && m.n_downs == 0) {
			run_ms(&p, 20);
			bus_sub_stats(m.sub, &stats);
		}
		beat(&p);
		publish(&p, "vm/b/state", 46, false);
		CU_ASSERT(run_equal(&m, &p));
		CU_ASSERT_EQUAL(m.n_downs, 0);
		free(large);
	}
	tear_down(&m, &p);
}

/* One stimulus for each; nothing else moves meanwhile. */
static void provoke(struct mirror *m, struct publisher *p, enum bus_sub_what what)
{
	m->free_at = (int)what;
	if (what == BUS_SUB_STATE || what == BUS_SUB_RESYNCED) {
		return; /* the first sync does */
	}
	m->free_at = -1;
	CU_ASSERT(run_connected(m, p));
	run_ms(p, 20);
	m->free_at = (int)what;
	if (what == BUS_SUB_REMOVED) {
		publish(p, "vm/a/state", 0, false);
	} else if (what == BUS_SUB_GAP) {
		publish(p, "vm/a/state", 4, true);
		beat(p);
	} else if (what == BUS_SUB_LOST) {
		publish_transient(p, 1, true);
		beat(p);
	} else {
		fake_close_pub(&p->f);
	}
}

static void test_sub__may_be_freed_in_its_callback(void)
{
	for (int what = BUS_SUB_STATE; what <= BUS_SUB_LOST; what++) {
		struct publisher p;
		struct mirror m;

		if (set_up(&m, &p, "")) {
			provoke(&m, &p, what);
			CU_ASSERT(fake_run(&p.f, &m.is_freed, 5000));
		}
		tear_down(&m, &p);
	}
}

static void test_sub__rejects_bad_arguments(void)
{
	struct publisher p;
	struct mirror m;
	char long_prefix[BUS_TOPIC_MAX + 2];
	const char *prefixes[BUS_PREFIXES_MAX + 1];
	struct bus_sub *s = NULL;

	if (set_up(&m, &p, "")) {
		memset(long_prefix, 'a', sizeof(long_prefix));
		long_prefix[sizeof(long_prefix) - 1] = '\0';
		for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
			prefixes[i] = "vm/";
		}
		CU_ASSERT_EQUAL(
			bus_sub_new(&s, p.f.loop, p.f.topology, "nobody", NULL, 0, "t", on_sub, &m),
			-ENOENT);
		CU_ASSERT_EQUAL(bus_sub_new(&s, p.f.loop, p.f.topology, "fake", prefixes,
					    ARRAY_LEN(prefixes), "t", on_sub, &m),
				-EINVAL);
		prefixes[0] = long_prefix;
		CU_ASSERT_EQUAL(bus_sub_new(&s, p.f.loop, p.f.topology, "fake", prefixes, 1, "t",
					    on_sub, &m),
				-EINVAL);
	}
	tear_down(&m, &p);
}

/* ---- everything at once ---- */

static uint32_t next_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

static void random_step(struct publisher *p, uint32_t *rnd)
{
	uint32_t what = next_random(rnd) % 1000;
	char topic[48];

	snprintf(topic, sizeof(topic), "%s/%u/state", next_random(rnd) % 4 ? "vm" : "task",
		 next_random(rnd) % 25);
	if (what < 700) {
		publish(p, topic, 1 + next_random(rnd) % 1000, next_random(rnd) % 10 == 0);
	} else if (what < 800 && find_row(p, topic)) {
		publish(p, topic, 0, next_random(rnd) % 5 == 0);
	} else if (what < 850) {
		beat(p);
	} else if (what < 970) {
		run_ms(p, next_random(rnd) % 12);
	} else if (what < 974) {
		p->n_to_fail = 1;
	} else if (what < 985) {
		p->forgotten = p->seq - MIN(p->seq, 10);
	} else if (what < 988) {
		restart(p);
	} else if (what < 990) {
		fake_close_pub(&p->f);
		run_ms(p, 5);
		CU_ASSERT_EQUAL(fake_listen_pub(&p->f), 0);
	}
	p->page_size = 1 + next_random(rnd) % 20;
}

static void test_sub__converges_whatever_happens(void)
{
	unsigned int n_gaps = 0;

	for (uint32_t seed = 1; seed <= 5; seed++) {
		uint32_t rnd = seed * 2654435761U;
		struct publisher p;
		struct mirror m;

		if (set_up(&m, &p, seed % 3 ? "" : "vm/")) {
			CU_ASSERT(run_connected(&m, &p));
			for (unsigned int i = 0; i < 1500; i++) {
				random_step(&p, &rnd);
			}
			for (unsigned int i = 0; i < 50 && !(is_equal(&m) && i > 2); i++) {
				beat(&p);
				run_ms(&p, 100);
			}
			CU_ASSERT(is_equal(&m));
			CU_ASSERT(m.n_resynced > 1);
			n_gaps += m.n_gaps;
		}
		tear_down(&m, &p);
	}
	CU_ASSERT(n_gaps > 10);
}

UNIT_MAIN("sub", UNIT_TEST(test_sub__snapshot_then_live),
	  UNIT_TEST(test_sub__next_event_tells_a_loss), UNIT_TEST(test_sub__heartbeat_tells_a_loss),
	  UNIT_TEST(test_sub__repairs_in_vain), UNIT_TEST(test_sub__loss_before_a_repair_elsewhere),
	  UNIT_TEST(test_sub__other_topics_of_the_segment), UNIT_TEST(test_sub__prefix_of_segments),
	  UNIT_TEST(test_sub__restarted_publisher),
	  UNIT_TEST(test_sub__other_instance_on_the_same_connection),
	  UNIT_TEST(test_sub__no_memory_for_a_topic),
	  UNIT_TEST(test_sub__removals_that_cannot_be_told),
	  UNIT_TEST(test_sub__changes_between_pages), UNIT_TEST(test_sub__restart_between_pages),
	  UNIT_TEST(test_sub__failed_syncs_are_tried_again), UNIT_TEST(test_sub__silence_is_told),
	  UNIT_TEST(test_sub__nobody_there_is_told), UNIT_TEST(test_sub__noise_is_ignored),
	  UNIT_TEST(test_sub__many_segments), UNIT_TEST(test_sub__held_events_are_bounded),
	  UNIT_TEST(test_sub__may_be_freed_in_its_callback),
	  UNIT_TEST(test_sub__rejects_bad_arguments),
	  UNIT_TEST(test_sub__converges_whatever_happens))
