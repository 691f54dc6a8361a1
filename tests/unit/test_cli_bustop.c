/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "clients/cli/bustop.h"

#include <math.h>
#include <stdio.h>

#include "clients/cli/stat_name.h"
#include "tests/unit/unit.h"

#define ROWS_MAX 16

struct stats {
	Xenmesh__V1__StatsReply reply;
	Xenmesh__V1__Stat rows[ROWS_MAX];
	Xenmesh__V1__Stat *list[ROWS_MAX];
};

static void stats_init(struct stats *s)
{
	xenmesh__v1__stats_reply__init(&s->reply);
	s->reply.stats = s->list;
}

static void stats_add(struct stats *s, const char *name, uint64_t value)
{
	Xenmesh__V1__Stat *row = &s->rows[s->reply.n_stats];

	xenmesh__v1__stat__init(row);
	row->name = (char *)name;
	row->value = value;
	s->list[s->reply.n_stats++] = row;
}

static void name_is(const char *name, enum stat_kind kind, const char *label, const char *what)
{
	struct stat_name n;

	stat_name_parse(name, &n);
	CU_ASSERT_EQUAL(n.kind, kind);
	CU_ASSERT_STRING_EQUAL(n.label, label);
	CU_ASSERT_STRING_EQUAL(n.what, what);
}

static void names_are_taken_apart(void)
{
	struct stat_name cut;
	char text[400];

	name_is("rpc.calls", STAT_PLAIN, "", "rpc.calls");
	name_is("rpc.StartVm.p99_us", STAT_METHOD, "StartVm", "p99_us");
	name_is("rpc.xenmesh.v1.Ops/StartVm.calls", STAT_METHOD, "xenmesh.v1.Ops/StartVm", "calls");
	name_is("rpc.method.xenmesh.v1.Bus/Ping.calls", STAT_METHOD, "xenmesh.v1.Bus/Ping",
		"calls");
	name_is("pub.events", STAT_PLAIN, "", "pub.events");
	name_is("pub.vm.subscribers", STAT_SEGMENT, "vm", "subscribers");
	name_is("pub.peer.1041.high_bytes", STAT_PEER, "1041", "high_bytes");
	name_is("process.rss_kib", STAT_PLAIN, "", "process.rss_kib");
	name_is("", STAT_PLAIN, "", "");
	name_is("rpc.", STAT_PLAIN, "", "rpc.");
	/* What is too long is cut. */
	snprintf(text, sizeof(text), "rpc.%0*d.calls", 300, 0);
	stat_name_parse(text, &cut);
	CU_ASSERT_EQUAL(cut.kind, STAT_METHOD);
	CU_ASSERT_EQUAL(strlen(cut.label), STAT_LABEL_MAX - 1);
	CU_ASSERT_STRING_EQUAL(cut.what, "calls");
}

static const struct bustop_segment *segment(const struct bustop *b, const char *name)
{
	static const struct bustop_segment none;

	for (size_t i = 0; i < b->n_segments; i++) {
		if (streq(b->segments[i].name, name)) {
			return &b->segments[i];
		}
	}
	CU_FAIL("no such segment");
	return &none;
}

static void messages_become_rates(void)
{
	struct stats s;
	struct bustop b;

	CU_ASSERT_EQUAL(bustop_init(&b, 2), 0);
	for (size_t i = 0; i < 100; i++) {
		bustop_message(&b, i % 2, "vm/1/state", 100 + i);
	}
	bustop_message(&b, 1, "task/7", 50);
	stats_init(&s);
	stats_add(&s, "pub.subscribers", 5);
	stats_add(&s, "pub.vm.subscribers", 3);
	bustop_stats(&b, 0, &s.reply);
	stats_init(&s);
	stats_add(&s, "pub.subscribers", 2);
	bustop_stats(&b, 1, &s.reply);
	bustop_frame(&b, 2);
	CU_ASSERT_EQUAL(segment(&b, "vm")->n_publishers, 2);
	CU_ASSERT_EQUAL(segment(&b, "vm")->subscribers, 3 + 2);
	CU_ASSERT_DOUBLE_EQUAL(segment(&b, "vm")->rate, 50, 1e-9);
	CU_ASSERT_DOUBLE_EQUAL(segment(&b, "vm")->byte_rate, 14950 / 2.0, 1e-9);
	CU_ASSERT_DOUBLE_EQUAL(segment(&b, "vm")->size.p50, 149, 1e-9);
	CU_ASSERT_DOUBLE_EQUAL(segment(&b, "vm")->size.p99, 198, 1e-9);
	CU_ASSERT_EQUAL(segment(&b, "task")->n_publishers, 1);
	CU_ASSERT_EQUAL(segment(&b, "task")->subscribers, 2);
	bustop_order(&b, BUSTOP_BY_RATE);
	CU_ASSERT_STRING_EQUAL(b.segments[0].name, "vm");
	bustop_order(&b, BUSTOP_BY_NAME);
	CU_ASSERT_STRING_EQUAL(b.segments[0].name, "task");
	bustop_frame(&b, 2);
	CU_ASSERT_DOUBLE_EQUAL(segment(&b, "vm")->rate, 0, 1e-9);
	bustop_deinit(&b);
}

static void sample(struct bustop *b, uint64_t uptime, uint64_t calls, uint64_t pings)
{
	struct stats s;

	stats_init(&s);
	stats_add(&s, "process.uptime_s", uptime);
	stats_add(&s, "rpc.calls", calls);
	stats_add(&s, "rpc.Ping.calls", pings);
	stats_add(&s, "rpc.Ping.p50_us", 12);
	stats_add(&s, "rpc.Ping.p99_us", 90);
	stats_add(&s, "rpc.Ping.in_flight", 1);
	stats_add(&s, "rpc.Ping.errors", 2);
	stats_add(&s, "pub.peer.10.queued_bytes", 30);
	stats_add(&s, "pub.peer.11.queued_bytes", 12);
	stats_add(&s, "pub.peer.10.high_bytes", 300);
	stats_add(&s, "pub.peer.11.high_bytes", 700);
	bustop_stats(b, 0, &s.reply);
}

static void counters_become_rates(void)
{
	struct bustop b;

	CU_ASSERT_EQUAL(bustop_init(&b, 1), 0);
	sample(&b, 100, 1000, 400);
	bustop_frame(&b, 1);
	CU_ASSERT(isnan(b.services[0].call_rate));
	CU_ASSERT(isnan(b.methods[0].rate));
	sample(&b, 102, 1050, 410);
	bustop_frame(&b, 2);
	CU_ASSERT_EQUAL(b.n_methods, 1);
	CU_ASSERT_STRING_EQUAL(b.methods[0].name, "Ping");
	CU_ASSERT_DOUBLE_EQUAL(b.services[0].call_rate, 25, 1e-9);
	CU_ASSERT_DOUBLE_EQUAL(b.methods[0].rate, 5, 1e-9);
	CU_ASSERT_EQUAL(b.methods[0].p50_us, 12);
	CU_ASSERT_EQUAL(b.methods[0].p99_us, 90);
	CU_ASSERT_EQUAL(b.methods[0].in_flight, 1);
	CU_ASSERT_EQUAL(b.methods[0].errors, 2);
	CU_ASSERT_EQUAL(b.services[0].queued_bytes, 42);
	CU_ASSERT_EQUAL(b.services[0].high_bytes, 700);
	/* Another process: more calls than before, and yet no rate. */
	bustop_gap(&b, 0, 9);
	sample(&b, 1, 2000, 900);
	bustop_frame(&b, 2);
	CU_ASSERT(isnan(b.services[0].call_rate));
	CU_ASSERT(isnan(b.methods[0].rate));
	CU_ASSERT_EQUAL(b.services[0].n_missed, 9);
	bustop_stats(&b, 0, NULL);
	bustop_frame(&b, 2);
	CU_ASSERT(!b.services[0].is_up);
	CU_ASSERT(isnan(b.services[0].call_rate));
	CU_ASSERT_EQUAL(b.methods[0].in_flight, 0);
	bustop_deinit(&b);
}

/* A publisher gone wild fills no memory and moves no other row. */
static void is_bounded(void)
{
	struct stats s;
	struct bustop b;
	char name[300];

	CU_ASSERT_EQUAL(bustop_init(&b, 1), 0);
	for (int i = 0; i < 10 * BUSTOP_SEGMENTS_MAX; i++) {
		snprintf(name, sizeof(name), "segment%d/x", i);
		bustop_message(&b, 0, name, 1);
	}
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	bustop_message(&b, 0, name, 1);
	CU_ASSERT_EQUAL(b.n_segments, BUSTOP_SEGMENTS_MAX);
	for (int i = 0; i < 3 * BUSTOP_METHODS_MAX; i++) {
		snprintf(name, sizeof(name), "rpc.Method%d.calls", i);
		stats_init(&s);
		stats_add(&s, name, 1);
		bustop_stats(&b, 0, &s.reply);
	}
	CU_ASSERT_EQUAL(b.n_methods, BUSTOP_METHODS_MAX);
	bustop_frame(&b, 1);
	bustop_order(&b, BUSTOP_BY_RATE);
	CU_ASSERT_STRING_EQUAL(b.segments[BUSTOP_SEGMENTS_MAX - 1].name, "(others)");
	CU_ASSERT_DOUBLE_EQUAL(b.segments[BUSTOP_SEGMENTS_MAX - 1].rate,
			       9 * BUSTOP_SEGMENTS_MAX + 2, 1e-9);
	bustop_deinit(&b);
}

UNIT_MAIN("cli_bustop", UNIT_TEST(names_are_taken_apart), UNIT_TEST(messages_become_rates),
	  UNIT_TEST(counters_become_rates), UNIT_TEST(is_bounded))
