/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Mirror of one publisher (the algorithm of docs/protocol.md, section 5).
 *
 * Invariants while synced:
 *  - every event of interest is known as far as `coverage` says, so an event whose
 *    prev_seq is beyond it, or a heartbeat that is, tells a loss;
 *  - `topics` has the seq of what the user got last of each.
 * While not synced, live events are held; losing some of them only means that
 * the next check finds a loss and another sync follows.
 *
 * Transient events are outside of all this: their seq is followed by itself,
 * from the first one that is heard of, and a loss is told and forgotten.
 *
 * The user's function may free the subscriber, so whatever calls it returns
 * false when that happened, and nothing is touched afterwards.
 */
#include "bus/sub.h"

#include "bus/client.h"
#include "bus/coverage.h"
#include "bus/engine.h"
#include "bus/envelope.h"
#include "bus/interest.h"
#include "bus/limits.h"
#include "bus/sub_held.h"
#include "bus/sub_topics.h"
#include "bus/transient.h"
#include "libcommon/arena.h"
#include "libcommon/clock.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"

#define HEARTBEAT_TOPIC "bus/heartbeat"
#define SUB_QUEUE	4096	   /* a burst of one event for each of 4,000 VMs is not lost */
#define SYNC_TIMEOUT_MS 5000	   /* for one page */
#define RETRY_MIN_US	100000ULL  /* after a failed sync, doubling to ... */
#define RETRY_MAX_US	2000000ULL /* ... this */
#define FAILURES_TOLD	3	   /* a restart of the service stays below */
#define SLEPT_US	500000ULL  /* a timer that late: it was us who stood still */
#define INSTANCE_LEN	16

enum state {
	STATE_OFF,     /* nobody heard */
	STATE_SYNCING, /* a call is out, or the retry timer runs */
	STATE_SYNCED,
};

/* The answer that is being fetched, page by page. */
struct sync {
	bool is_paging; /* the next question goes on at `position` */
	bool is_full;
	bool was_full; /* any part of this sync */
	uint64_t position;
	uint64_t first_seq; /* of a full answer's first page */
	uint64_t news_seq;  /* an answer below it has raised nothing */
	unsigned int n_pages;
};

struct bus_sub {
	sd_event *loop;
	const struct bus_engine *engine;
	struct bus_socket *socket;
	struct bus_client *client;
	char *service;
	struct interest interest;
	bus_sub_fn fn;
	void *userdata;

	enum state state;
	bool has_base; /* coverage holds for `instance` */
	uint8_t instance[INSTANCE_LEN];
	struct coverage coverage;
	struct sub_topics topics;
	bool has_transient; /* transient_seq is of `instance` */
	uint64_t transient_seq;

	struct sync sync;
	uint64_t call_id; /* 0 = none out */
	unsigned int n_failures;
	bool is_vain; /* the last sync has told nothing new, nor has anything since */
	sd_event_source *retry;

	struct sub_held held; /* while not synced */

	sd_event_source *silence;
	uint64_t heard_ns;
	bool is_down_told;

	struct bus_sub_stats stats;
	unsigned int depth; /* of callbacks running */
	bool is_dead;
};

/* ---- life ---- */

static void leave(struct bus_sub *s)
{
	if (--s->depth == 0 && s->is_dead) {
		free(s);
	}
}

struct bus_sub *bus_sub_free(struct bus_sub *s)
{
	if (!s || s->is_dead) {
		return NULL;
	}
	if (s->socket) {
		s->engine->close(s->socket);
	}
	bus_client_free(s->client);
	s->retry = sd_event_source_unref(s->retry);
	s->silence = sd_event_source_unref(s->silence);
	s->loop = sd_event_unref(s->loop);
	sub_held_clear(&s->held);
	sub_topics_deinit(&s->topics);
	interest_deinit(&s->interest);
	free(s->service);
	s->is_dead = true;
	s->depth++;
	leave(s);
	return NULL;
}

static bool deliver(struct bus_sub *s, const struct bus_sub_event *e)
{
	s->fn(s, e, s->userdata);
	return !s->is_dead;
}

/* ---- events ---- */

/* Hand an event to the user unless it is old. raw: the publication, NULL when it was replayed. With
 * no room for its topic it is not handed over, and topics.no_room_why is set. */
static bool apply(struct bus_sub *s, const Xenmesh__V1__Event *event, const void *raw, size_t size)
{
	struct bus_sub_event e = {
		.what = BUS_SUB_STATE,
		.topic = event->topic,
		.event = event,
		.replayed = !raw,
		.seq = event->seq,
		.size = size,
		.raw = raw,
	};
	bool is_news;

	if (event->body_case == XENMESH__V1__EVENT__BODY_REMOVED) {
		e.what = BUS_SUB_REMOVED;
		is_news = sub_topics_remove(&s->topics, event->topic, event->seq);
	} else {
		is_news = sub_topics_put(&s->topics, event->topic, event->seq);
	}
	return !is_news || deliver(s, &e);
}

static bool is_topic_valid(const char *topic)
{
	size_t len = strlen(topic);

	return len > 0 && len <= BUS_TOPIC_MAX;
}

static bool is_instance(const struct bus_sub *s, const ProtobufCBinaryData *instance)
{
	return instance->len == INSTANCE_LEN &&
	       memcmp(instance->data, s->instance, INSTANCE_LEN) == 0;
}

/* ---- sync ---- */

static void ask(struct bus_sub *s);
static bool flush_held(struct bus_sub *s);

static void start_sync(struct bus_sub *s)
{
	if (s->call_id) {
		bus_client_cancel(s->client, s->call_id);
		s->call_id = 0;
	}
	s->retry = sd_event_source_unref(s->retry);
	s->state = STATE_SYNCING;
	s->is_down_told = false;
	s->sync = (struct sync){ .news_seq = s->has_base ? s->coverage.complete + 1 : 0 };
	ask(s);
}

/* The instance is another one: nothing that is known here is worth anything. */
static void start_over(struct bus_sub *s)
{
	s->has_base = false;
	sub_held_clear(&s->held);
	start_sync(s);
}

static int on_retry(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
	start_sync(userdata);
	return 0;
}

static void fail_sync(struct bus_sub *s, const char *why)
{
	uint64_t delay_us = RETRY_MIN_US << MIN(s->n_failures, 8);

	if (++s->n_failures == FAILURES_TOLD) {
		log_warning("cannot follow %s, retrying: %s", s->service, why);
	}
	if (loop_after(s->loop, &s->retry, MIN(delay_us, RETRY_MAX_US), on_retry, s) < 0) {
		log_error("out of memory: %s is not followed until it is heard again", s->service);
		s->state = STATE_OFF;
	}
}

static void sync_later(struct bus_sub *s, const char *why)
{
	s->state = STATE_SYNCING;
	s->sync = (struct sync){ 0 };
	fail_sync(s, why);
}

static void adopt_instance(struct bus_sub *s, const ProtobufCBinaryData *instance)
{
	memcpy(s->instance, instance->data, INSTANCE_LEN);
	s->has_base = false;
	s->has_transient = false;
	s->sync.news_seq = 0;
	coverage_reset(&s->coverage, 0);
	sub_topics_renumber(&s->topics);
}

/* What a page must satisfy to be the answer to what was asked. NULL or what is wrong. */
static const char *check_page(const struct bus_sub *s, const Xenmesh__V1__ChangesReply *page)
{
	bool continues = s->sync.is_paging;

	if (page->instance.len != INSTANCE_LEN) {
		return "its answer has no instance";
	}
	if (!page->full && !is_instance(s, &page->instance)) {
		return "it was restarted";
	}
	if (continues && s->sync.is_full && (!page->full || !is_instance(s, &page->instance))) {
		return "it was restarted between two pages";
	}
	if (page->more &&
	    page->resume_seq <=
		    (continues && s->sync.is_full == page->full ? s->sync.position : 0)) {
		return "its pages do not advance";
	}
	return NULL;
}

static bool apply_page(struct bus_sub *s, const Xenmesh__V1__ChangesReply *page)
{
	for (size_t i = 0; i < page->n_events; i++) {
		const Xenmesh__V1__Event *event = page->events[i];

		if (event->seq == 0 || !is_topic_valid(event->topic) ||
		    !interest_has(&s->interest, event->topic)) {
			continue;
		}
		if (!apply(s, event, NULL, xenmesh__v1__event__get_packed_size(event))) {
			return false;
		}
	}
	return true;
}

struct sweep {
	struct bus_sub *sub;
	uint64_t seq; /* of the answer */
};

static bool on_swept(const char *topic, void *userdata)
{
	const struct sweep *w = userdata;

	return deliver(w->sub, &(struct bus_sub_event){ .what = BUS_SUB_REMOVED,
							.topic = topic,
							.replayed = true,
							.seq = w->seq });
}

/* After a full answer: what was in none of its pages is no more. */
static bool sweep(struct bus_sub *s, uint64_t seq)
{
	struct sweep w = { s, seq };

	return sub_topics_sweep(&s->topics, on_swept, &w);
}

static bool finish_sync(struct bus_sub *s, uint64_t seq)
{
	s->has_base = true;
	coverage_reset(&s->coverage, seq);
	s->n_failures = 0;
	s->is_vain = seq < s->sync.news_seq;
	s->state = STATE_SYNCED;
	s->stats.resyncs++;
	s->stats.full_resyncs += s->sync.was_full;
	return deliver(s, &(struct bus_sub_event){ .what = BUS_SUB_RESYNCED, .seq = seq }) &&
	       flush_held(s);
}

static void on_page(struct bus_sub *s, const Xenmesh__V1__ChangesReply *page)
{
	struct sync *sync = &s->sync;
	const char *wrong = check_page(s, page);

	if (wrong) {
		s->has_base = s->has_base && is_instance(s, &page->instance);
		fail_sync(s, wrong);
		return;
	}
	if (page->full && !(sync->is_paging && sync->is_full)) {
		sub_topics_begin_round(&s->topics);
		sync->first_seq = page->seq;
		sync->was_full = true;
		sync->n_pages = 0;
		if (!is_instance(s, &page->instance)) {
			adopt_instance(s, &page->instance);
		}
	}
	sync->is_full = page->full;
	sync->n_pages++;
	s->topics.no_room_why = NULL;
	if (!apply_page(s, page)) {
		return;
	}
	if (s->topics.no_room_why) {
		fail_sync(s, s->topics.no_room_why);
		return;
	}
	if (page->more) {
		sync->is_paging = true;
		sync->position = page->resume_seq;
		ask(s);
		return;
	}
	if (page->full && !sweep(s, page->seq)) {
		return;
	}
	if (page->full && sync->n_pages > 1) {
		/* A topic of an early page may have been removed since. */
		s->has_base = true;
		coverage_reset(&s->coverage, sync->first_seq);
		sync->is_paging = false;
		sync->is_full = false;
		ask(s);
		return;
	}
	finish_sync(s, page->seq);
}

static void on_answer(struct bus_client *client _unused_, const struct bus_result *result,
		      void *userdata)
{
	struct bus_sub *s = userdata;

	s->depth++;
	s->call_id = 0;
	if (result->code == CODE_OK) {
		on_page(s, (const Xenmesh__V1__ChangesReply *)result->payload);
	} else {
		fail_sync(s, result->message);
	}
	leave(s);
}

static void ask(struct bus_sub *s)
{
	static const struct bus_call_options options = { .timeout_ms = SYNC_TIMEOUT_MS };
	Xenmesh__V1__SnapshotRequest snapshot = XENMESH__V1__SNAPSHOT_REQUEST__INIT;
	Xenmesh__V1__ChangesRequest changes = XENMESH__V1__CHANGES_REQUEST__INIT;
	const struct sync *sync = &s->sync;
	int r;

	if (sync->is_paging ? sync->is_full : !s->has_base) {
		snapshot.prefixes = s->interest.prefixes;
		snapshot.n_prefixes = s->interest.n;
		snapshot.after_seq = sync->is_paging ? sync->position : 0;
		r = bus_client_call(s->client, "xenmesh.v1.Bus/Snapshot", &snapshot.base, &options,
				    on_answer, s, &s->call_id);
	} else {
		changes.instance.data = s->instance;
		changes.instance.len = INSTANCE_LEN;
		changes.since_seq = sync->is_paging ? sync->position : s->coverage.complete;
		changes.prefixes = s->interest.prefixes;
		changes.n_prefixes = s->interest.n;
		r = bus_client_call(s->client, "xenmesh.v1.Bus/Changes", &changes.base, &options,
				    on_answer, s, &s->call_id);
	}
	if (r < 0) {
		fail_sync(s, "out of memory");
	}
}

/* ---- live events ---- */

/* Up to `seq` at least `at_least` events were lost. Who follows all can tell how many. */
static bool tell_gap(struct bus_sub *s, uint64_t seq, uint64_t at_least)
{
	uint64_t highest = coverage_highest(&s->coverage);
	uint64_t missed = at_least;

	if (s->interest.n == 0 && seq > highest) {
		missed = MAX(missed, seq - highest);
	}
	s->stats.gaps++;
	s->stats.missed += missed;
	if (!deliver(s, &(struct bus_sub_event){
				.what = BUS_SUB_GAP, .seq = seq, .missed = missed })) {
		return false;
	}
	if (s->is_vain) {
		sync_later(s, "its answers do not have what it publishes");
	} else {
		start_sync(s);
	}
	return true;
}

/* The publisher is at `seq` with its transient events; those up to prev_seq that did not come were
 * lost, unless it is the first that is heard of them. */
static bool follow_transient(struct bus_sub *s, uint64_t seq, uint64_t prev_seq)
{
	bool has_gap = s->has_transient && prev_seq > s->transient_seq;

	s->transient_seq = s->has_transient ? MAX(s->transient_seq, seq) : seq;
	s->has_transient = true;
	if (!has_gap) {
		return true;
	}
	s->stats.lost++;
	return deliver(
		s, &(struct bus_sub_event){ .what = BUS_SUB_LOST, .seq = prev_seq, .missed = 1 });
}

static bool on_transient(struct bus_sub *s, const Xenmesh__V1__Event *event, const void *data,
			 size_t len)
{
	const struct bus_sub_event e = {
		.what = BUS_SUB_STATE,
		.topic = event->topic,
		.event = event,
		.seq = event->seq,
		.size = len,
		.raw = data,
	};

	if (s->has_transient && event->seq <= s->transient_seq) {
		return true;
	}
	/* So that the size of other gaps is told right; nothing else depends on it. */
	(void)coverage_add(&s->coverage, event->topic, topic_segment_len(event->topic), event->seq);
	if (!follow_transient(s, event->seq, event->prev_seq)) {
		return false;
	}
	return !interest_has(&s->interest, event->topic) || deliver(s, &e);
}

/* There was no room for an event: it is as good as lost, and asked for again after a while. */
static bool leave_out(struct bus_sub *s, uint64_t seq)
{
	s->stats.gaps++;
	s->stats.missed++;
	if (!deliver(s, &(struct bus_sub_event){ .what = BUS_SUB_GAP, .seq = seq, .missed = 1 })) {
		return false;
	}
	sync_later(s, s->topics.no_room_why);
	return true;
}

static bool on_heartbeat(struct bus_sub *s, const Xenmesh__V1__Event *event)
{
	const Xenmesh__V1__Heartbeat *beat = event->heartbeat;
	uint64_t n_behind = 0, transient_seq = 0;

	if (s->state != STATE_SYNCED || event->body_case != XENMESH__V1__EVENT__BODY_HEARTBEAT) {
		return true;
	}
	if (!is_instance(s, &event->instance)) {
		start_over(s);
		return true;
	}
	for (size_t i = 0; i < beat->n_segments; i++) {
		const char *name = beat->segments[i]->segment;

		if (streq(name, BUS_TRANSIENT_SEGMENT)) {
			transient_seq = beat->segments[i]->seq;
		} else if (interest_has_segment(&s->interest, name) &&
			   beat->segments[i]->seq > coverage_of(&s->coverage, name, strlen(name))) {
			n_behind++;
		}
	}
	if (interest_has_segment(&s->interest, BUS_TRANSIENT_SEGMENT) &&
	    !follow_transient(s, transient_seq, transient_seq)) {
		return false;
	}
	if (n_behind > 0) {
		return tell_gap(s, beat->seq, n_behind);
	}
	if (beat->seq > s->coverage.complete) {
		coverage_reset(&s->coverage, beat->seq);
		s->is_vain = false;
	}
	return true;
}

/* While synced. `data` is kept for later when a loss is found. */
static bool on_event(struct bus_sub *s, const Xenmesh__V1__Event *event, const void *data,
		     size_t len)
{
	size_t seg_len = topic_segment_len(event->topic);
	bool is_transient = bus_topic_is_transient(event->topic);

	if (!is_instance(s, &event->instance)) {
		start_over(s);
		if (is_transient) {
			sub_held_add(&s->held, data, len, false); /* no snapshot has it */
		}
		return true;
	}
	if (is_transient) {
		return on_transient(s, event, data, len);
	}
	if (event->seq <= s->coverage.complete) {
		return true;
	}
	if (event->prev_seq > coverage_of(&s->coverage, event->topic, seg_len)) {
		sub_held_add(&s->held, data, len, true);
		return tell_gap(s, event->seq - 1, 1);
	}
	if (!coverage_add(&s->coverage, event->topic, seg_len, event->seq)) {
		sub_held_add(&s->held, data, len, true);
		start_sync(s);
		return true;
	}
	s->is_vain = false;
	if (!interest_has(&s->interest, event->topic)) {
		return true;
	}
	s->topics.no_room_why = NULL;
	if (!apply(s, event, data, len)) {
		return false;
	}
	return !s->topics.no_room_why || leave_out(s, event->seq);
}

/* A publication: topic, NUL, Event. NULL when it is none. */
static const Xenmesh__V1__Event *parse(const struct bus_sub *s, struct arena *arena,
				       const void *data, size_t len)
{
	const Xenmesh__V1__Event *event = NULL;
	const char *topic = data;
	const char *nul = memchr(data, 0, MIN(len, BUS_TOPIC_MAX + 1));

	arena_init(arena, envelope_memory_max(len));
	if (nul) {
		event = (const Xenmesh__V1__Event *)arena_unpack(
			arena, &xenmesh__v1__event__descriptor, nul + 1,
			len - (size_t)(nul + 1 - topic));
	}
	if (!event || !streq(event->topic, topic) || !is_topic_valid(topic)) {
		log_warning("%s published %zu bytes that are no event", s->service, len);
		return NULL;
	}
	return event;
}

static bool process(struct bus_sub *s, const void *data, size_t len)
{
	_cleanup_(arena_deinit) struct arena arena = { 0 };
	const Xenmesh__V1__Event *event = parse(s, &arena, data, len);

	if (!event) {
		return true;
	}
	if (streq(event->topic, HEARTBEAT_TOPIC)) {
		return on_heartbeat(s, event);
	}
	return on_event(s, event, data, len);
}

/* Until none is left or a sync is needed again. */
static bool flush_held(struct bus_sub *s)
{
	struct sub_held_message *m;
	bool alive = true;

	while (alive && s->state == STATE_SYNCED && (m = sub_held_take(&s->held))) {
		alive = process(s, m->data, m->len);
		free(m);
	}
	return alive;
}

/* ---- connection and silence ---- */

static void go_down(struct bus_sub *s)
{
	if (s->call_id) {
		bus_client_cancel(s->client, s->call_id);
		s->call_id = 0;
	}
	s->retry = sd_event_source_unref(s->retry);
	s->state = STATE_OFF;
	sub_held_clear(&s->held);
	if (!s->is_down_told) {
		s->is_down_told = true;
		deliver(s, &(struct bus_sub_event){ .what = BUS_SUB_DOWN,
						    .seq = s->coverage.complete });
	}
}

static int on_silence(sd_event_source *source, uint64_t usec, void *userdata);

static void watch_silence(struct bus_sub *s, uint64_t delay_us)
{
	if (loop_after(s->loop, &s->silence, delay_us, on_silence, s) < 0) {
		log_error("out of memory: a silent %s will not be noticed", s->service);
		return;
	}
	/* After whatever has come meanwhile. */
	sd_event_source_set_priority(s->silence, SD_EVENT_PRIORITY_IDLE);
}

static int on_silence(sd_event_source *source _unused_, uint64_t usec, void *userdata)
{
	struct bus_sub *s = userdata;
	uint64_t now = clock_boot_ns();
	uint64_t silent_us = (now - s->heard_ns) / 1000;

	s->depth++;
	if (silent_us < BUS_SILENCE_US) {
		watch_silence(s, BUS_SILENCE_US - silent_us);
	} else if (now / 1000 > usec + SLEPT_US) {
		watch_silence(s, 2 * BUS_HEARTBEAT_US);
	} else {
		watch_silence(s, BUS_SILENCE_US);
		go_down(s);
	}
	leave(s);
	return 0;
}

static void on_message(struct bus_socket *socket _unused_, const struct bus_peer *peer _unused_,
		       const struct bus_route *route _unused_, const void *data, size_t len,
		       void *userdata)
{
	struct bus_sub *s = userdata;
	bool is_heartbeat = len > sizeof(HEARTBEAT_TOPIC) &&
			    memcmp(data, HEARTBEAT_TOPIC, sizeof(HEARTBEAT_TOPIC)) == 0;

	s->depth++;
	s->heard_ns = clock_boot_ns();
	s->stats.bytes += len;
	s->stats.events += !is_heartbeat;
	if (s->state == STATE_OFF) {
		start_sync(s);
	}
	if (s->state == STATE_SYNCED) {
		process(s, data, len);
	} else if (!is_heartbeat) {
		sub_held_add(&s->held, data, len, false);
	}
	leave(s);
}

static void on_link(struct bus_socket *socket _unused_, const struct bus_peer *peer _unused_,
		    bool up, void *userdata)
{
	struct bus_sub *s = userdata;

	s->depth++;
	if (up) {
		s->heard_ns = clock_boot_ns();
		sub_held_clear(&s->held);
		start_sync(s);
	} else {
		go_down(s);
	}
	leave(s);
}

/* ---- the interface ---- */

static int open_socket(struct bus_sub *s, const struct topology_endpoint *where)
{
	static const struct bus_socket_handler handler = { .on_message = on_message,
							   .on_link = on_link };
	struct interest_segment first[BUS_PREFIXES_MAX];
	const char *topics[BUS_PREFIXES_MAX + 1];
	struct bus_socket_options options = {
		.max_message = BUS_EVENT_MAX + BUS_TOPIC_MAX + 1,
		.queue = SUB_QUEUE,
		.topics = topics,
		.tls = where->tls,
	};
	int r;

	for (size_t i = 0; i < s->interest.n; i++) {
		interest_segment_of(&s->interest, i, &first[i]);
		topics[options.n_topics++] = first[i].prefix;
	}
	topics[options.n_topics++] = s->interest.n > 0 ? HEARTBEAT_TOPIC : "";
	r = s->engine->open(&s->socket, s->loop, BUS_SUB, &options, &handler, s);
	if (r < 0) {
		return r;
	}
	return s->engine->dial(s->socket, where->urls[0]);
}

int bus_sub_new(struct bus_sub **out, sd_event *loop, const struct topology *topology,
		const char *service, const char *const *prefixes, size_t n_prefixes,
		const char *client_name, bus_sub_fn fn, void *userdata)
{
	const struct topology_service *where = topology_service(topology, service);
	_cleanup_(bus_sub_freep) struct bus_sub *s = NULL;
	int r;

	if (!where || where->pub.n_urls == 0) {
		return -ENOENT;
	}
	s = calloc(1, sizeof(*s));
	if (!s) {
		return -ENOMEM;
	}
	sub_held_init(&s->held);
	s->loop = sd_event_ref(loop);
	s->fn = fn;
	s->userdata = userdata;
	s->heard_ns = clock_boot_ns();
	s->engine = where->pub.engine;
	s->service = strdup(service);
	if (!s->service) {
		return -ENOMEM;
	}
	r = interest_init(&s->interest, prefixes, n_prefixes);
	if (r < 0) {
		return r;
	}
	r = bus_client_new(&s->client, loop, topology, service, client_name);
	if (r < 0) {
		return r;
	}
	r = open_socket(s, &where->pub);
	if (r < 0) {
		return r;
	}
	watch_silence(s, BUS_SILENCE_US);
	*out = STEAL(s);
	return 0;
}

bool bus_sub_is_synced(const struct bus_sub *s)
{
	return s->state == STATE_SYNCED;
}

void bus_sub_stats(const struct bus_sub *s, struct bus_sub_stats *out)
{
	*out = s->stats;
}
