/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A publisher made by hand for tests of the subscriber: it has a change table
 * and answers Snapshot and Changes as a real one, but it loses what it is told to
 * lose, answers in pages of any size, fails, restarts, and can do something
 * between two pages.
 */
#include "libcommon/uuid.h"
#include "tests/unit/fake_service.h"
#include "tests/unit/unit.h"

#define ROWS_MAX     64
#define SEGMENTS_MAX 4

struct row {
	char topic[48];
	uint64_t seq;
	unsigned int value;
	bool is_removed;
};

struct publisher {
	struct fake_service f;
	uint8_t instance[16];
	uint64_t seq;
	struct {
		char name[16];
		uint64_t seq;
	} segments[SEGMENTS_MAX];
	size_t n_segments;
	struct row rows[ROWS_MAX];
	size_t n_rows;
	uint64_t forgotten; /* removals up to this seq cannot be told any more */
	size_t page_size;   /* events in a page */
	unsigned int n_to_fail, n_snapshots, n_changes;
	bool has_failed;
	unsigned int n_pages_told;
	/* After the page with this number (from 1) was told. */
	void (*after_page)(struct publisher *p);
};

static inline uint64_t *segment_seq(struct publisher *p, const char *topic)
{
	size_t len = strcspn(topic, "/"), i = 0;

	while (i < p->n_segments && (strncmp(p->segments[i].name, topic, len) != 0 ||
				     p->segments[i].name[len] != '\0')) {
		i++;
	}
	if (i == p->n_segments) {
		p->n_segments++;
		snprintf(p->segments[i].name, sizeof(p->segments[i].name), "%.*s", (int)len, topic);
		p->segments[i].seq = 0;
	}
	return &p->segments[i].seq;
}

static inline void send_event(struct publisher *p, const Xenmesh__V1__Event *event)
{
	size_t topic_len = strlen(event->topic) + 1;
	size_t len = topic_len + xenmesh__v1__event__get_packed_size(event);
	uint8_t *data = malloc(len);

	memcpy(data, event->topic, topic_len);
	xenmesh__v1__event__pack(event, data + topic_len);
	CU_ASSERT_EQUAL(bus_engine_sp.send(p->f.pub, NULL, data, len), 0);
	free(data);
}

/* What a table row is as an event; `body` is room for it. */
struct body {
	Xenmesh__V1__Task task;
	Xenmesh__V1__Removed removed;
	char text[16];
};

static inline void make_event(struct publisher *p, const struct row *row, struct body *body,
			      Xenmesh__V1__Event *event)
{
	xenmesh__v1__event__init(event);
	xenmesh__v1__task__init(&body->task);
	xenmesh__v1__removed__init(&body->removed);
	event->instance.data = p->instance;
	event->instance.len = sizeof(p->instance);
	event->seq = row->seq;
	event->topic = (char *)row->topic;
	if (row->is_removed) {
		event->body_case = XENMESH__V1__EVENT__BODY_REMOVED;
		event->removed = &body->removed;
		return;
	}
	snprintf(body->text, sizeof(body->text), "%u", row->value);
	body->task.step = body->text;
	event->body_case = XENMESH__V1__EVENT__BODY_TASK;
	event->task = &body->task;
}

static inline struct row *find_row(struct publisher *p, const char *topic)
{
	for (size_t i = 0; i < p->n_rows; i++) {
		if (streq(p->rows[i].topic, topic)) {
			return &p->rows[i];
		}
	}
	return NULL;
}

/* value 0 = the topic is removed. is_lost: it reaches the table but not the wire. */
static inline void publish(struct publisher *p, const char *topic, unsigned int value, bool is_lost)
{
	struct row *row = find_row(p, topic);
	uint64_t *segment = segment_seq(p, topic);
	Xenmesh__V1__Event event;
	struct body body;

	if (!row) {
		row = &p->rows[p->n_rows++];
		snprintf(row->topic, sizeof(row->topic), "%s", topic);
	}
	row->seq = ++p->seq;
	row->value = value;
	row->is_removed = value == 0;
	make_event(p, row, &body, &event);
	event.prev_seq = *segment;
	*segment = p->seq;
	if (!is_lost && p->f.pub) {
		send_event(p, &event);
	}
}

/* An event that no table remembers. */
static inline void publish_transient(struct publisher *p, unsigned int value, bool is_lost)
{
	struct row row = { .topic = "trace/rpc/fake", .seq = ++p->seq, .value = value };
	uint64_t *segment = segment_seq(p, row.topic);
	Xenmesh__V1__Event event;
	struct body body;

	make_event(p, &row, &body, &event);
	event.prev_seq = *segment;
	*segment = p->seq;
	if (!is_lost) {
		send_event(p, &event);
	}
}

static inline void beat(struct publisher *p)
{
	Xenmesh__V1__Event event = XENMESH__V1__EVENT__INIT;
	Xenmesh__V1__Heartbeat heartbeat = XENMESH__V1__HEARTBEAT__INIT;
	Xenmesh__V1__SegmentSeq seqs[SEGMENTS_MAX], *list[SEGMENTS_MAX];

	for (size_t i = 0; i < p->n_segments; i++) {
		xenmesh__v1__segment_seq__init(&seqs[i]);
		seqs[i].segment = p->segments[i].name;
		seqs[i].seq = p->segments[i].seq;
		list[i] = &seqs[i];
	}
	heartbeat.segments = list;
	heartbeat.n_segments = p->n_segments;
	heartbeat.seq = p->seq;
	event.instance.data = p->instance;
	event.instance.len = sizeof(p->instance);
	event.topic = (char *)"bus/heartbeat";
	event.body_case = XENMESH__V1__EVENT__BODY_HEARTBEAT;
	event.heartbeat = &heartbeat;
	if (p->f.pub) {
		send_event(p, &event);
	}
}

static inline bool matches(const char *topic, char *const *prefixes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (str_starts(topic, prefixes[i])) {
			return true;
		}
	}
	return n == 0;
}

/* The row with the lowest seq above `after`. */
static inline const struct row *next_row(const struct publisher *p, uint64_t after, bool is_full,
					 char *const *prefixes, size_t n)
{
	const struct row *best = NULL;

	for (size_t i = 0; i < p->n_rows; i++) {
		const struct row *row = &p->rows[i];

		if (row->seq > after && !(is_full && row->is_removed) &&
		    matches(row->topic, prefixes, n) && (!best || row->seq < best->seq)) {
			best = row;
		}
	}
	return best;
}

static inline void answer_page(struct publisher *p, const struct bus_route *route,
			       const Xenmesh__V1__Call *call, bool is_full, uint64_t after,
			       char *const *prefixes, size_t n)
{
	Xenmesh__V1__ChangesReply reply = XENMESH__V1__CHANGES_REPLY__INIT;
	Xenmesh__V1__Event events[ROWS_MAX], *list[ROWS_MAX];
	struct body bodies[ROWS_MAX];
	const struct row *row;

	reply.instance.data = p->instance;
	reply.instance.len = sizeof(p->instance);
	reply.full = is_full;
	reply.seq = p->seq;
	reply.events = list;
	while ((row = next_row(p, after, is_full, prefixes, n)) && reply.n_events < p->page_size) {
		size_t i = reply.n_events++;

		make_event(p, row, &bodies[i], &events[i]);
		list[i] = &events[i];
		after = row->seq;
	}
	reply.more = row != NULL;
	reply.resume_seq = after;
	CU_ASSERT_EQUAL(fake_reply(&p->f, route, &call->request_id, CODE_OK, "", &reply.base), 0);
	if (reply.more) {
		p->n_pages_told++;
		if (p->after_page) {
			p->after_page(p);
		}
	}
}

static inline void on_call(struct fake_service *f, const struct bus_route *route,
			   const Xenmesh__V1__Call *call)
{
	struct publisher *p = f->userdata;

	if (p->n_to_fail > 0) {
		p->n_to_fail--;
		p->has_failed = true;
		fake_reply(f, route, &call->request_id, CODE_RESOURCE_EXHAUSTED, "busy", NULL);
	} else if (streq(call->method, "xenmesh.v1.Bus/Snapshot")) {
		Xenmesh__V1__SnapshotRequest *r = xenmesh__v1__snapshot_request__unpack(
			NULL, call->payload.len, call->payload.data);

		p->n_snapshots++;
		answer_page(p, route, call, true, r->after_seq, r->prefixes, r->n_prefixes);
		xenmesh__v1__snapshot_request__free_unpacked(r, NULL);
	} else {
		Xenmesh__V1__ChangesRequest *r = xenmesh__v1__changes_request__unpack(
			NULL, call->payload.len, call->payload.data);
		bool is_full = r->instance.len != sizeof(p->instance) ||
			       memcmp(r->instance.data, p->instance, r->instance.len) != 0 ||
			       r->since_seq < p->forgotten;

		p->n_changes++;
		answer_page(p, route, call, is_full, is_full ? 0 : r->since_seq, r->prefixes,
			    r->n_prefixes);
		xenmesh__v1__changes_request__free_unpacked(r, NULL);
	}
}

/* As a new process: other instance, empty table. */
static inline void restart(struct publisher *p)
{
	random_bytes(p->instance, sizeof(p->instance));
	p->seq = 0;
	p->n_segments = 0;
	p->n_rows = 0;
	p->forgotten = 0;
}

static inline bool publisher_init(struct publisher *p)
{
	*p = (struct publisher){ .page_size = ROWS_MAX };
	restart(p);
	if (fake_init(&p->f) < 0 || fake_listen_rpc(&p->f) < 0 || fake_listen_pub(&p->f) < 0) {
		CU_ASSERT(!"cannot listen");
		return false;
	}
	p->f.on_call = on_call;
	p->f.userdata = p;
	return true;
}
