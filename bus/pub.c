/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The change table is a map topic -> entry, and the same entries in a list by
 * ascending seq.  An entry holds the bytes of its last publication, so pages
 * are put together without encoding anything again.
 *
 * Invariants:
 *  - each topic is in the list once, with the seq of its last event, so the
 *    entries above any seq are exactly what changed since;
 *  - tombstones are entries too; when there are too many, the oldest is
 *    forgotten and `reach` becomes its seq: what changed since an older seq
 *    cannot be told any more;
 *  - a transient topic has no entry;
 *  - a page is a run of that list.  What changes between two pages moves to its
 *    end, so it comes with a later page, or live.  What is removed between two
 *    pages of a full snapshot is told live, or by Changes since the `seq` of
 *    the snapshot's first page.
 */
#include "bus/pub.h"

#include <stdio.h>

#include "bus/bind.h"
#include "bus/codes.h"
#include "bus/interest.h"
#include "bus/limits.h"
#include "bus/transient.h"
#include "bus/wire.h"
#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/list.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"
#include "libcommon/map.h"
#include "libcommon/strbuf.h"

#define HEARTBEAT_TOPIC "bus/heartbeat"
#define RESERVED_PREFIX "bus/"
#define SEGMENTS_MAX	64 /* first topic segments; a service has a handful */
#define FIELD_EVENTS	3  /* of ChangesReply */
/* The reply that carries a page with nothing but this event must not exceed BUS_REPLY_MAX. */
#define EVENT_MAX (BUS_EVENT_MAX - 1024)

struct entry {
	struct list by_seq;
	struct list by_death; /* of tombstones, ascending seq */
	uint64_t seq;
	bool is_tombstone;
	uint8_t *message; /* topic, NUL, serialized Event */
	size_t len;
	size_t topic_len;
};

struct segment {
	char *name;
	uint64_t seq;
	uint64_t n_events, n_bytes;
};

struct bus_pub {
	struct topology *topology; /* not owned; NULL = no access check */
	struct bus_binding binding;
	struct loop_ticker *ticker;
	struct uuid instance;
	uint64_t seq;
	uint64_t reach;
	struct map topics;
	struct list by_seq;
	struct list tombstones;
	size_t n_tombstones;
	size_t table_bytes;
	struct segment segments[SEGMENTS_MAX];
	size_t n_segments;
	uint64_t n_events, n_bytes, n_heartbeats, n_send_failures, n_pages, n_full_pages;
};

/* ---- sending ---- */

static void send_all(struct bus_pub *p, const void *message, size_t len)
{
	const struct bus_binding *b = &p->binding;

	if (b->engine->send(b->socket, NULL, message, len) < 0) {
		p->n_send_failures++; /* subscribers see the gap and ask */
	}
}

/* Topic, NUL and the event with all its fields, malloc'ed. 0, -EMSGSIZE or -ENOMEM. */
static int encode(const struct bus_pub *p, const char *topic, const Xenmesh__V1__Event *body,
		  uint64_t seq, uint64_t prev_seq, uint8_t **out, size_t *len)
{
	Xenmesh__V1__Event e = *body;
	size_t head = strlen(topic) + 1, size;
	uint8_t *message;

	e.instance.data = (uint8_t *)p->instance.bytes;
	e.instance.len = sizeof(p->instance.bytes);
	e.seq = seq;
	e.prev_seq = prev_seq;
	e.topic = (char *)topic;
	e.time_ns = clock_real_ns();
	size = xenmesh__v1__event__get_packed_size(&e);
	if (size > EVENT_MAX) {
		return -EMSGSIZE;
	}
	message = malloc(head + size);
	if (!message) {
		return -ENOMEM;
	}
	memcpy(message, topic, head);
	xenmesh__v1__event__pack(&e, message + head);
	*out = message;
	*len = head + size;
	return 0;
}

static int on_tick(void *userdata)
{
	Xenmesh__V1__SegmentSeq rows[SEGMENTS_MAX], *row_pointers[SEGMENTS_MAX];
	Xenmesh__V1__Heartbeat beat = XENMESH__V1__HEARTBEAT__INIT;
	Xenmesh__V1__Event event = XENMESH__V1__EVENT__INIT;
	_cleanup_(xfreep) uint8_t *message = NULL;
	struct bus_pub *p = userdata;
	size_t len;

	for (size_t i = 0; i < p->n_segments; i++) {
		xenmesh__v1__segment_seq__init(&rows[i]);
		rows[i].segment = p->segments[i].name;
		rows[i].seq = p->segments[i].seq;
		row_pointers[i] = &rows[i];
	}
	beat.segments = row_pointers;
	beat.n_segments = p->n_segments;
	beat.seq = p->seq;
	event.body_case = XENMESH__V1__EVENT__BODY_HEARTBEAT;
	event.heartbeat = &beat;
	if (encode(p, HEARTBEAT_TOPIC, &event, 0, 0, &message, &len) == 0) {
		send_all(p, message, len);
		p->n_heartbeats++;
	}
	return 0;
}

/* ---- the change table ---- */

static bool is_topic_valid(const char *topic)
{
	size_t len = strnlen(topic, BUS_TOPIC_MAX + 1);

	if (len == 0 || len > BUS_TOPIC_MAX || topic[0] == '/' ||
	    str_starts(topic, RESERVED_PREFIX)) {
		return false;
	}
	for (size_t i = 0; i < len; i++) {
		if (topic[i] <= ' ' || topic[i] > '~') {
			return false;
		}
	}
	return true;
}

/* The place of a topic's first segment, without a name when it is new; NULL: too many. */
static struct segment *find_segment(struct bus_pub *p, const char *topic)
{
	size_t len = topic_segment_len(topic);

	for (size_t i = 0; i < p->n_segments; i++) {
		struct segment *s = &p->segments[i];

		if (strncmp(s->name, topic, len) == 0 && s->name[len] == '\0') {
			return s;
		}
	}
	return p->n_segments < SEGMENTS_MAX ? &p->segments[p->n_segments] : NULL;
}

static void entry_free(struct bus_pub *p, struct entry *e)
{
	p->table_bytes -= e->len;
	list_unlink(&e->by_seq);
	if (e->is_tombstone) {
		list_unlink(&e->by_death);
		p->n_tombstones--;
	}
	free(e->message);
	free(e);
}

static void bury_oldest(struct bus_pub *p)
{
	struct entry *e = list_entry(p->tombstones.next, struct entry, by_death);

	p->reach = e->seq;
	map_remove(&p->topics, e->message, e->topic_len);
	entry_free(p, e);
}

/* The entry of a topic; a new one is in no list. NULL when out of memory. */
static struct entry *ensure_entry(struct bus_pub *p, const char *topic)
{
	struct entry *e = map_get_str(&p->topics, topic);

	if (e) {
		return e;
	}
	e = calloc(1, sizeof(*e));
	if (!e || map_set_str(&p->topics, topic, e, NULL) < 0) {
		free(e);
		return NULL;
	}
	e->topic_len = strlen(topic);
	return e;
}

/* Give the entry its new publication and move it to the end. */
static void entry_renew(struct bus_pub *p, struct entry *e, uint8_t *message, size_t len,
			bool is_tombstone)
{
	if (e->is_tombstone) {
		list_unlink(&e->by_death);
		p->n_tombstones--;
	}
	list_unlink(&e->by_seq);
	p->table_bytes += len - e->len;
	free(e->message);
	e->message = message;
	e->len = len;
	e->seq = p->seq;
	e->is_tombstone = is_tombstone;
	list_append(&p->by_seq, &e->by_seq);
	if (is_tombstone) {
		list_append(&p->tombstones, &e->by_death);
		p->n_tombstones++;
	}
}

static int publish(struct bus_pub *p, const char *topic, const Xenmesh__V1__Event *event)
{
	struct segment *segment = find_segment(p, topic);
	_cleanup_(xfreep) uint8_t *message = NULL;
	_cleanup_(xfreep) char *name = NULL;
	bool is_transient = bus_topic_is_transient(topic);
	struct entry *e;
	size_t len;
	int r;

	if (!segment) {
		return -EINVAL;
	}
	r = encode(p, topic, event, p->seq + 1, segment->seq, &message, &len);
	if (r < 0) {
		return err_trace(r);
	}
	name = strndup(topic, topic_segment_len(topic));
	e = name && !is_transient ? ensure_entry(p, topic) : NULL;
	if (!name || (!e && !is_transient)) {
		return -ENOMEM;
	}
	if (!segment->name) {
		segment->name = STEAL(name);
		p->n_segments++;
	}
	segment->seq = ++p->seq;
	segment->n_events++;
	segment->n_bytes += len;
	send_all(p, message, len);
	if (e) {
		entry_renew(p, e, STEAL(message), len,
			    event->body_case == XENMESH__V1__EVENT__BODY_REMOVED);
	}
	if (p->n_tombstones > BUS_TOMBSTONES_MAX) {
		bury_oldest(p);
	}
	p->n_events++;
	p->n_bytes += len;
	return 0;
}

int bus_pub_publish(struct bus_pub *p, const char *topic, Xenmesh__V1__Event *event)
{
	switch (event->body_case) {
	case XENMESH__V1__EVENT__BODY__NOT_SET:
	case XENMESH__V1__EVENT__BODY_HEARTBEAT:
	case XENMESH__V1__EVENT__BODY_REMOVED:
		return -EINVAL;
	default:
		return is_topic_valid(topic) ? publish(p, topic, event) : -EINVAL;
	}
}

int bus_pub_remove(struct bus_pub *p, const char *topic, const char *reason)
{
	Xenmesh__V1__Removed removed = XENMESH__V1__REMOVED__INIT;
	Xenmesh__V1__Event event = XENMESH__V1__EVENT__INIT;
	const struct entry *e = map_get_str(&p->topics, topic);

	if (!e || e->is_tombstone) {
		return 0;
	}
	removed.reason = (char *)(reason ? reason : "");
	event.body_case = XENMESH__V1__EVENT__BODY_REMOVED;
	event.removed = &removed;
	return publish(p, topic, &event);
}

/* ---- pages ---- */

/* One element of ChangesReply.events from its bytes. */
static void append_event(struct strbuf *page, const struct entry *e)
{
	size_t topic_size = e->topic_len + 1;
	uint8_t head[WIRE_HEAD_MAX];

	strbuf_append(page, head, wire_put_head(head, FIELD_EVENTS, e->len - topic_size));
	strbuf_append(page, e->message + topic_size, e->len - topic_size);
}

static int finish_page(const struct bus_pub *p, struct strbuf *page, bool is_full, bool has_more,
		       uint64_t resume_seq, uint8_t **out, size_t *len)
{
	Xenmesh__V1__ChangesReply rest = XENMESH__V1__CHANGES_REPLY__INIT;
	void *room;

	rest.instance.data = (uint8_t *)p->instance.bytes;
	rest.instance.len = sizeof(p->instance.bytes);
	rest.full = is_full;
	rest.more = has_more;
	rest.resume_seq = resume_seq;
	rest.seq = p->seq;
	room = strbuf_extend(page, xenmesh__v1__changes_reply__get_packed_size(&rest));
	if (!room) {
		return -ENOMEM;
	}
	xenmesh__v1__changes_reply__pack(&rest, room);
	*len = page->len;
	*out = (uint8_t *)strbuf_steal(page);
	return *out ? 0 : -ENOMEM;
}

/* The first entry above seq, or the list's head. */
static struct list *find_above(const struct bus_pub *p, uint64_t seq)
{
	struct list *head = (struct list *)&p->by_seq;
	struct list *i = head->prev;

	if (i != head && list_entry(head->next, struct entry, by_seq)->seq > seq) {
		return head->next;
	}
	while (i != head && list_entry(i, struct entry, by_seq)->seq > seq) {
		i = i->prev;
	}
	return i->next;
}

static int make_page(struct bus_pub *p, bool is_full, uint64_t after_seq, char *const *prefixes,
		     size_t n_prefixes, uint8_t **out, size_t *len)
{
	struct strbuf page = STRBUF_NULL;
	uint64_t resume_seq = after_seq;
	bool has_more = false;
	int r;

	for (struct list *i = find_above(p, after_seq); i != &p->by_seq; i = i->next) {
		const struct entry *e = list_entry(i, struct entry, by_seq);

		if ((!is_full || !e->is_tombstone) &&
		    topic_matches((const char *)e->message, prefixes, n_prefixes)) {
			has_more = page.len > 0 && page.len + e->len > BUS_PAGE_BYTES;
			if (has_more) {
				break;
			}
			append_event(&page, e);
		}
		resume_seq = e->seq;
	}
	r = strbuf_error(&page);
	if (r == 0) {
		r = finish_page(p, &page, is_full, has_more, has_more ? resume_seq : p->seq, out,
				len);
	}
	strbuf_deinit(&page);
	p->n_pages++;
	p->n_full_pages += is_full;
	return r;
}

int bus_pub_changes(struct bus_pub *p, const void *instance, size_t instance_len,
		    uint64_t since_seq, char *const *prefixes, size_t n_prefixes, uint8_t **out,
		    size_t *len)
{
	bool is_known = instance && instance_len == sizeof(p->instance.bytes) &&
			memcmp(instance, p->instance.bytes, instance_len) == 0 &&
			since_seq >= p->reach && since_seq <= p->seq;

	return make_page(p, !is_known, is_known ? since_seq : 0, prefixes, n_prefixes, out, len);
}

int bus_pub_snapshot(struct bus_pub *p, uint64_t after_seq, char *const *prefixes,
		     size_t n_prefixes, uint8_t **out, size_t *len)
{
	return make_page(p, true, after_seq, prefixes, n_prefixes, out, len);
}

/* ---- the rest ---- */

/* Who may not call Snapshot may not listen either. */
static bool admit(struct bus_peer *peer, void *userdata)
{
	const struct bus_pub *p = userdata;

	if (!peer->has_creds) {
		peer->role = peer->is_plain_tcp ? ROLE_OBSERVER : peer->role;
		if (peer->role < ROLE_OBSERVER) {
			log_info("%s may not subscribe; its certificate has no role",
				 peer->name[0] ? peer->name : "?");
		}
		return peer->role >= ROLE_OBSERVER;
	}
	peer->role = p->topology ? topology_role(p->topology, peer->uid, peer->gid, peer->gids,
						 peer->n_gids)
				 : ROLE_OBSERVER;
	if (peer->role < ROLE_OBSERVER) {
		log_info("uid %u pid %d may not subscribe; [access] of the topology gives it no "
			 "role",
			 (unsigned int)peer->uid, (int)peer->pid);
		return false;
	}
	return true;
}

int bus_pub_new(struct bus_pub **out, sd_event *loop, const struct topology_service *service,
		struct topology *topology)
{
	/* Subscribers have nothing to say. */
	const struct bus_socket_options options = { .max_message = 1,
						    .queue = BUS_SUBSCRIBER_QUEUE };
	const struct bus_socket_handler handler = { .admit = admit };
	struct bus_pub *p = calloc(1, sizeof(*p));
	int r;

	if (!p) {
		return -ENOMEM;
	}
	list_init(&p->by_seq);
	list_init(&p->tombstones);
	uuid_random(&p->instance);
	p->topology = topology;
	r = topology ? topology_resolve_access(topology) : 0;
	if (r < 0) {
		bus_pub_free(p);
		return r;
	}
	r = bus_binding_open(&p->binding, loop, BUS_PUB, &service->pub, &options, &handler, p);
	if (r == 0) {
		r = loop_ticker_new(&p->ticker, loop, BUS_HEARTBEAT_US, on_tick, p);
	}
	if (r < 0) {
		bus_pub_free(p);
		return r;
	}
	*out = p;
	return 0;
}

struct bus_pub *bus_pub_free(struct bus_pub *p)
{
	if (!p) {
		return NULL;
	}
	loop_ticker_free(p->ticker);
	bus_binding_close(&p->binding);
	list_for_each_safe (i, &p->by_seq) {
		entry_free(p, list_entry(i, struct entry, by_seq));
	}
	map_deinit(&p->topics);
	for (size_t i = 0; i < p->n_segments; i++) {
		free(p->segments[i].name);
	}
	free(p);
	return NULL;
}

const struct uuid *bus_pub_instance(const struct bus_pub *p)
{
	return &p->instance;
}

uint64_t bus_pub_seq(const struct bus_pub *p)
{
	return p->seq;
}

size_t bus_pub_n_topics(const struct bus_pub *p)
{
	return map_size(&p->topics) - p->n_tombstones;
}

/* Those of one process together: the name has only its pid. */
struct peer_row {
	pid_t pid;
	struct bus_peer_stats sum;
};

struct peer_rows {
	struct peer_row rows[BUS_STATS_PEERS];
	size_t n;
};

static bool is_behind(const struct bus_peer_stats *p)
{
	return p->dropped > 0 || p->queued > 0;
}

/* When there is no room, one that is behind takes the place of one that is not. */
static void add_peer(const struct bus_peer_stats *p, void *userdata)
{
	struct peer_rows *rows = userdata;
	struct peer_row *row = NULL;

	for (size_t i = 0; i < rows->n; i++) {
		if (rows->rows[i].pid == p->peer.pid) {
			struct bus_peer_stats *sum = &rows->rows[i].sum;

			sum->dropped += p->dropped;
			sum->queued += p->queued;
			sum->queued_bytes += p->queued_bytes;
			sum->high_bytes = MAX(sum->high_bytes, p->high_bytes);
			return;
		}
		if (!is_behind(&rows->rows[i].sum) && is_behind(p)) {
			row = &rows->rows[i];
		}
	}
	if (rows->n < BUS_STATS_PEERS) {
		row = &rows->rows[rows->n++];
	}
	if (row) {
		*row = (struct peer_row){ p->peer.pid, *p };
	}
}

static void peer_stats(const struct bus_pub *p, bus_stat_fn fn, void *userdata)
{
	struct peer_rows rows = { .n = 0 };

	if (p->binding.engine->peers) {
		p->binding.engine->peers(p->binding.socket, add_peer, &rows);
	}
	for (size_t i = 0; i < rows.n; i++) {
		const struct bus_peer_stats *s = &rows.rows[i].sum;
		const struct {
			const char *name;
			uint64_t value;
		} stats[] = {
			{ "dropped", s->dropped },
			{ "queued", s->queued },
			{ "queued_bytes", s->queued_bytes },
			{ "high_bytes", s->high_bytes },
		};

		for (size_t j = 0; j < ARRAY_LEN(stats); j++) {
			char name[64];

			snprintf(name, sizeof(name), "pub.peer.%d.%s", (int)rows.rows[i].pid,
				 stats[j].name);
			fn(name, stats[j].value, userdata);
		}
	}
}

static void segment_stats(const struct segment *segment, uint64_t n_subscribers, bus_stat_fn fn,
			  void *userdata)
{
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
		{ "events", segment->n_events },
		{ "bytes", segment->n_bytes },
		{ "subscribers", n_subscribers },
	};
	char name[BUS_TOPIC_MAX + 32];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		snprintf(name, sizeof(name), "pub.%s.%s", segment->name, rows[i].name);
		fn(name, rows[i].value, userdata);
	}
}

void bus_pub_stats(const struct bus_pub *p, bus_stat_fn fn, void *userdata)
{
	struct bus_socket_stats s;

	bus_binding_stats(&p->binding, &s);
	fn("pub.seq", p->seq, userdata);
	fn("pub.events", p->n_events, userdata);
	fn("pub.bytes", p->n_bytes, userdata);
	fn("pub.heartbeats", p->n_heartbeats, userdata);
	fn("pub.send_failures", p->n_send_failures, userdata);
	fn("pub.topics", bus_pub_n_topics(p), userdata);
	fn("pub.tombstones", p->n_tombstones, userdata);
	fn("pub.table_bytes", p->table_bytes, userdata);
	fn("pub.pages", p->n_pages, userdata);
	fn("pub.full_pages", p->n_full_pages, userdata);
	fn("pub.subscribers", s.peers, userdata);
	fn("pub.relistens", s.relistens, userdata);
	fn("pub.dropped", s.drops, userdata);
	peer_stats(p, fn, userdata);
	for (size_t i = 0; i < p->n_segments; i++) {
		segment_stats(&p->segments[i], s.peers, fn, userdata);
	}
}
