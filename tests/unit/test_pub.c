/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The publisher: what goes over the wire, and the change table behind
 * Snapshot and Changes.
 */
#include <nng/nng.h>
#include <sys/wait.h>

#include "bus/engine.h"
#include "bus/limits.h"
#include "bus/pub.h"
#include "libcommon/log.h"
#include "tests/unit/bus_util.h"
#include "tests/unit/unit.h"

struct fixture {
	struct bus_dir dir;
	sd_event *loop;
	char url[128];
	struct topology_service service;
	struct bus_pub *pub;
	struct bus_socket *sub;
	size_t n_up, n_received;
	Xenmesh__V1__Event *last; /* not a heartbeat */
	Xenmesh__V1__Event *beat;
	size_t n_beats;
};

static void on_link(struct bus_socket *s _unused_, const struct bus_peer *peer _unused_, bool up,
		    void *userdata)
{
	struct fixture *f = userdata;

	f->n_up += up;
}

static void on_message(struct bus_socket *s _unused_, const struct bus_peer *peer _unused_,
		       const struct bus_route *route _unused_, const void *data, size_t len,
		       void *userdata)
{
	struct fixture *f = userdata;
	const char *topic = data;
	size_t topic_len = strnlen(topic, len);
	Xenmesh__V1__Event *e, **slot;

	CU_ASSERT(topic_len < len);
	e = xenmesh__v1__event__unpack(NULL, len - topic_len - 1,
				       (const uint8_t *)topic + topic_len + 1);
	CU_ASSERT_PTR_NOT_NULL(e);
	if (!e) {
		return;
	}
	CU_ASSERT_STRING_EQUAL(e->topic, topic);
	slot = e->body_case == XENMESH__V1__EVENT__BODY_HEARTBEAT ? &f->beat : &f->last;
	f->n_beats += slot == &f->beat;
	f->n_received += slot == &f->last;
	if (*slot) {
		xenmesh__v1__event__free_unpacked(*slot, NULL);
	}
	*slot = e;
}

static void set_up(struct fixture *f)
{
	*f = (struct fixture){ .service = { .name = (char *)"test" } };
	bus_dir_make(&f->dir);
	snprintf(f->url, sizeof(f->url), "ipc://%s/pub", f->dir.path);
	f->service.pub.urls[0] = f->url;
	f->service.pub.n_urls = 1;
	f->service.pub.engine = &bus_engine_sp;
	if (sd_event_new(&f->loop) < 0 || bus_pub_new(&f->pub, f->loop, &f->service, NULL) < 0) {
		abort();
	}
}

static void tear_down(struct fixture *f)
{
	bus_engine_sp.close(f->sub);
	bus_pub_free(f->pub);
	sd_event_unref(f->loop);
	if (f->last) {
		xenmesh__v1__event__free_unpacked(f->last, NULL);
	}
	if (f->beat) {
		xenmesh__v1__event__free_unpacked(f->beat, NULL);
	}
	bus_dir_remove(&f->dir);
}

/* Publish the state of a VM whose name is so many bytes long. */
static int publish(struct fixture *f, const char *topic, size_t name_len)
{
	Xenmesh__V1__Event event = XENMESH__V1__EVENT__INIT;
	Xenmesh__V1__VmState state = XENMESH__V1__VM_STATE__INIT;
	_cleanup_(xfreep) char *name = calloc(1, name_len + 1);
	int r;

	memset(name, 'n', name_len);
	state.name = name;
	event.body_case = XENMESH__V1__EVENT__BODY_VM_STATE;
	event.vm_state = &state;
	r = bus_pub_publish(f->pub, topic, &event);
	CU_ASSERT_EQUAL(event.seq, 0); /* the caller's struct is left alone */
	CU_ASSERT_EQUAL(event.instance.len, 0);
	return r;
}

static Xenmesh__V1__ChangesReply *unpack_page(int r, uint8_t *data, size_t len)
{
	Xenmesh__V1__ChangesReply *page;

	CU_ASSERT_EQUAL(r, 0);
	CU_ASSERT(len <= BUS_REPLY_MAX);
	page = r == 0 ? xenmesh__v1__changes_reply__unpack(NULL, len, data) : NULL;
	CU_ASSERT_PTR_NOT_NULL(page);
	free(data);
	if (!page) {
		abort();
	}
	return page;
}

static Xenmesh__V1__ChangesReply *changes(struct fixture *f, uint64_t since, const char *prefix)
{
	const struct uuid *instance = bus_pub_instance(f->pub);
	char *prefixes[] = { (char *)prefix };
	uint8_t *data = NULL;
	size_t len = 0;
	int r = bus_pub_changes(f->pub, instance->bytes, 16, since, prefixes, prefix ? 1 : 0, &data,
				&len);

	return unpack_page(r, data, len);
}

static Xenmesh__V1__ChangesReply *snapshot(struct fixture *f, uint64_t after)
{
	uint8_t *data = NULL;
	size_t len = 0;
	int r = bus_pub_snapshot(f->pub, after, NULL, 0, &data, &len);

	return unpack_page(r, data, len);
}

static void page_freep(Xenmesh__V1__ChangesReply **page)
{
	xenmesh__v1__changes_reply__free_unpacked(*page, NULL);
}
#define _page_ _cleanup_(page_freep) Xenmesh__V1__ChangesReply *

static void test_wire(void)
{
	struct fixture f;
	const struct bus_socket_options options = { .max_message = BUS_EVENT_MAX, .queue = 1024 };
	const struct bus_socket_handler handler = { .on_message = on_message, .on_link = on_link };

	set_up(&f);
	CU_ASSERT_EQUAL(bus_engine_sp.open(&f.sub, f.loop, BUS_SUB, &options, &handler, &f), 0);
	CU_ASSERT_EQUAL(bus_engine_sp.dial(f.sub, f.url), 0);
	/* A heartbeat proves that both halves of the connection are up. */
	CU_ASSERT(bus_run_until(f.loop, &f.n_beats, 1, 5000));
	CU_ASSERT_EQUAL(f.beat->seq, 0);
	CU_ASSERT_EQUAL(f.beat->heartbeat->seq, 0);
	CU_ASSERT_EQUAL(publish(&f, "vm/1/state", 3), 0);
	CU_ASSERT_EQUAL(publish(&f, "host/state", 3), 0);
	CU_ASSERT_EQUAL(publish(&f, "vm/2/state", 3), 0);
	CU_ASSERT(bus_run_until(f.loop, &f.n_received, 3, 2000));
	if (f.last) {
		CU_ASSERT_STRING_EQUAL(f.last->topic, "vm/2/state");
		CU_ASSERT_EQUAL(f.last->seq, 3);
		CU_ASSERT_EQUAL(f.last->prev_seq, 1);
		CU_ASSERT(f.last->time_ns > 1000000000ULL * NSEC_PER_SEC);
		CU_ASSERT_EQUAL(f.last->instance.len, 16);
		CU_ASSERT_STRING_EQUAL(f.last->vm_state->name, "nnn");
	}
	CU_ASSERT_EQUAL(bus_pub_remove(f.pub, "vm/1/state", "destroyed"), 0);
	CU_ASSERT(bus_run_until(f.loop, &f.n_received, 4, 2000));
	if (f.last && f.last->body_case == XENMESH__V1__EVENT__BODY_REMOVED) {
		CU_ASSERT_STRING_EQUAL(f.last->removed->reason, "destroyed");
		CU_ASSERT_EQUAL(f.last->seq, 4);
		CU_ASSERT_EQUAL(f.last->prev_seq, 3);
	} else {
		CU_FAIL("no removal came");
	}
	CU_ASSERT(bus_run_until(f.loop, &f.n_beats, f.n_beats + 1, 3000));
	CU_ASSERT_EQUAL(f.beat->heartbeat->seq, 4);
	CU_ASSERT_EQUAL(f.beat->heartbeat->n_segments, 2);
	CU_ASSERT_STRING_EQUAL(f.beat->heartbeat->segments[0]->segment, "vm");
	CU_ASSERT_EQUAL(f.beat->heartbeat->segments[0]->seq, 4);
	CU_ASSERT_EQUAL(f.beat->heartbeat->segments[1]->seq, 2);
	tear_down(&f);
}

static void test_bad_topics(void)
{
	static const char *const bad[] = { "",	  "/vm",  "bus/heartbeat", "bus/x",
					   "a b", "a\nb", "caf\xc3\xa9" };
	Xenmesh__V1__Event event = XENMESH__V1__EVENT__INIT;
	Xenmesh__V1__Removed removed = XENMESH__V1__REMOVED__INIT;
	char long_topic[BUS_TOPIC_MAX + 2] = "";
	struct fixture f;

	set_up(&f);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		CU_ASSERT_EQUAL(publish(&f, bad[i], 1), -EINVAL);
	}
	memset(long_topic, 'x', BUS_TOPIC_MAX + 1);
	CU_ASSERT_EQUAL(publish(&f, long_topic, 1), -EINVAL);
	long_topic[BUS_TOPIC_MAX] = '\0';
	CU_ASSERT_EQUAL(publish(&f, long_topic, 1), 0);
	CU_ASSERT_EQUAL(bus_pub_publish(f.pub, "vm/1", &event), -EINVAL);
	event.body_case = XENMESH__V1__EVENT__BODY_REMOVED;
	event.removed = &removed;
	CU_ASSERT_EQUAL(bus_pub_publish(f.pub, "vm/1", &event), -EINVAL);
	CU_ASSERT_EQUAL(publish(&f, "vm/1", BUS_EVENT_MAX), -EMSGSIZE);
	CU_ASSERT_EQUAL(bus_pub_remove(f.pub, "vm/1", NULL), 0);
	CU_ASSERT_EQUAL(bus_pub_seq(f.pub), 1);
	for (int i = 0; i < 63; i++) {
		char topic[16];

		snprintf(topic, sizeof(topic), "s%d/x", i);
		CU_ASSERT_EQUAL(publish(&f, topic, 1), 0);
	}
	CU_ASSERT_EQUAL(publish(&f, "one/more", 1), -EINVAL);
	CU_ASSERT_EQUAL(bus_pub_seq(f.pub), 64);
	tear_down(&f);
}

static void test_changes(void)
{
	struct fixture f;

	set_up(&f);
	publish(&f, "vm/1/state", 1);		   /* 1 */
	publish(&f, "vm/2/state", 1);		   /* 2 */
	publish(&f, "host/state", 1);		   /* 3 */
	publish(&f, "vm/1/state", 5);		   /* 4 */
	bus_pub_remove(f.pub, "vm/2/state", NULL); /* 5 */
	{
		_page_ all = snapshot(&f, 0);

		CU_ASSERT(all->full);
		CU_ASSERT_FALSE(all->more);
		CU_ASSERT_EQUAL(all->seq, 5);
		CU_ASSERT_EQUAL(all->resume_seq, 5);
		CU_ASSERT_EQUAL(all->n_events, 2);
		CU_ASSERT_STRING_EQUAL(all->events[0]->topic, "host/state");
		CU_ASSERT_STRING_EQUAL(all->events[1]->topic, "vm/1/state");
		CU_ASSERT_EQUAL(strlen(all->events[1]->vm_state->name), 5);
	}
	{
		_page_ some = changes(&f, 3, NULL);

		CU_ASSERT_FALSE(some->full);
		CU_ASSERT_EQUAL(some->n_events, 2);
		CU_ASSERT_EQUAL(some->events[0]->seq, 4);
		CU_ASSERT_EQUAL(some->events[1]->seq, 5);
		CU_ASSERT_EQUAL(some->events[1]->body_case, XENMESH__V1__EVENT__BODY_REMOVED);
	}
	{
		_page_ some = changes(&f, 0, "vm/1/");

		CU_ASSERT_EQUAL(some->n_events, 1);
		CU_ASSERT_EQUAL(some->resume_seq, 5);
	}
	{
		_page_ none = changes(&f, 5, NULL);

		CU_ASSERT_EQUAL(none->n_events, 0);
		CU_ASSERT_FALSE(none->full);
	}
	{
		_page_ future = changes(&f, 6, NULL);

		CU_ASSERT(future->full);
		CU_ASSERT_EQUAL(future->n_events, 2);
	}
	{
		uint8_t *data = NULL;
		size_t len = 0;
		int r = bus_pub_changes(f.pub, "0123456789abcdef", 16, 4, NULL, 0, &data, &len);
		_page_ other = unpack_page(r, data, len);

		CU_ASSERT(other->full);
		r = bus_pub_changes(f.pub, NULL, 0, 4, NULL, 0, &data, &len);
		page_freep(&other);
		other = unpack_page(r, data, len);
		CU_ASSERT(other->full);
	}
	/* A removed topic that comes back is an ordinary one. */
	publish(&f, "vm/2/state", 1);
	CU_ASSERT_EQUAL(bus_pub_n_topics(f.pub), 3);
	{
		_page_ some = changes(&f, 4, NULL);

		CU_ASSERT_EQUAL(some->n_events, 1);
		CU_ASSERT_EQUAL(some->events[0]->seq, 6);
	}
	tear_down(&f);
}

/* It counts, and is nowhere. */
static void test_transient_topics(void)
{
	const struct bus_socket_options options = { .max_message = BUS_EVENT_MAX, .queue = 1024 };
	const struct bus_socket_handler handler = { .on_message = on_message, .on_link = on_link };
	struct fixture f;

	set_up(&f);
	CU_ASSERT_EQUAL(bus_engine_sp.open(&f.sub, f.loop, BUS_SUB, &options, &handler, &f), 0);
	CU_ASSERT_EQUAL(bus_engine_sp.dial(f.sub, f.url), 0);
	CU_ASSERT(bus_run_until(f.loop, &f.n_beats, 1, 5000));
	CU_ASSERT_EQUAL(publish(&f, "vm/1/state", 1), 0);
	CU_ASSERT_EQUAL(publish(&f, "trace/rpc/test", 1), 0);
	CU_ASSERT_EQUAL(publish(&f, "vm/1/state", 1), 0);
	CU_ASSERT_EQUAL(publish(&f, "trace/rpc/test", 1), 0);
	CU_ASSERT(bus_run_until(f.loop, &f.n_received, 4, 5000));
	if (f.last) {
		CU_ASSERT_STRING_EQUAL(f.last->topic, "trace/rpc/test");
		CU_ASSERT_EQUAL(f.last->seq, 4);
		CU_ASSERT_EQUAL(f.last->prev_seq, 2);
	}
	CU_ASSERT_EQUAL(bus_pub_remove(f.pub, "trace/rpc/test", "x"), 0);
	CU_ASSERT_EQUAL(bus_pub_n_topics(f.pub), 1);
	{
		_page_ all = snapshot(&f, 0);

		CU_ASSERT_EQUAL(all->seq, 4);
		CU_ASSERT_EQUAL(all->n_events, 1);
		CU_ASSERT_STRING_EQUAL(all->events[0]->topic, "vm/1/state");
	}
	{
		_page_ some = changes(&f, 3, NULL);

		CU_ASSERT_FALSE(some->full);
		CU_ASSERT_EQUAL(some->n_events, 0);
		CU_ASSERT_EQUAL(some->seq, 4);
	}
	CU_ASSERT(bus_run_until(f.loop, &f.n_beats, f.n_beats + 1, 5000));
	CU_ASSERT_STRING_EQUAL(f.beat->heartbeat->segments[1]->segment, "trace");
	CU_ASSERT_EQUAL(f.beat->heartbeat->segments[1]->seq, 4);
	tear_down(&f);
}

struct found {
	const char *name;
	uint64_t value;
};

static void find_stat(const char *name, uint64_t value, void *userdata)
{
	struct found *found = userdata;

	if (streq(name, found->name)) {
		found->value = value;
	}
}

static uint64_t stat_of(const struct fixture *f, const char *name)
{
	struct found found = { .name = name, .value = UINT64_MAX };

	bus_pub_stats(f->pub, find_stat, &found);
	return found.value;
}

static void test_segments_are_counted(void)
{
	struct fixture f;

	set_up(&f);
	publish(&f, "vm/1/state", 100);
	publish(&f, "vm/2/state", 100);
	publish(&f, "trace/rpc/test", 1);
	bus_pub_remove(f.pub, "vm/2/state", NULL);
	CU_ASSERT_EQUAL(stat_of(&f, "pub.vm.events"), 3);
	CU_ASSERT(stat_of(&f, "pub.vm.bytes") > 200);
	CU_ASSERT_EQUAL(stat_of(&f, "pub.vm.subscribers"), 0);
	CU_ASSERT_EQUAL(stat_of(&f, "pub.trace.events"), 1);
	CU_ASSERT_EQUAL(stat_of(&f, "pub.vm.bytes") + stat_of(&f, "pub.trace.bytes"),
			stat_of(&f, "pub.bytes"));
	CU_ASSERT_EQUAL(stat_of(&f, "pub.host.events"), UINT64_MAX);
	tear_down(&f);
}

static void test_tombstones_are_bounded(void)
{
	struct fixture f;
	uint64_t start;

	set_up(&f);
	publish(&f, "host/state", 1);
	start = bus_pub_seq(f.pub);
	for (int i = 0; i < BUS_TOMBSTONES_MAX + 10; i++) {
		char topic[32];

		snprintf(topic, sizeof(topic), "task/%d", i);
		publish(&f, topic, 1);
		bus_pub_remove(f.pub, topic, NULL);
	}
	CU_ASSERT_EQUAL(bus_pub_n_topics(f.pub), 1);
	{
		_page_ old = changes(&f, start, NULL);

		CU_ASSERT(old->full);
		CU_ASSERT_EQUAL(old->n_events, 1);
	}
	/* Ten are forgotten, whose last seq is that of the tenth removal. */
	{
		_page_ edge = changes(&f, start + 20, NULL);

		CU_ASSERT_FALSE(edge->full);
		CU_ASSERT_EQUAL(edge->n_events, BUS_TOMBSTONES_MAX);
	}
	{
		_page_ beyond = changes(&f, start + 19, NULL);

		CU_ASSERT(beyond->full);
	}
	tear_down(&f);
}

/* Read all pages of changes since `since`, publishing between them. */
static void test_pages_while_it_changes(void)
{
	enum { N = 300 };
	static uint64_t seen[N];
	struct fixture f;
	uint64_t since = 0;
	size_t n_pages = 0;
	bool more = true;

	set_up(&f);
	memset(seen, 0, sizeof(seen));
	for (int i = 0; i < N; i++) {
		char topic[32];

		snprintf(topic, sizeof(topic), "vm/%d", i);
		CU_ASSERT_EQUAL(publish(&f, topic, 10000), 0);
	}
	while (more && n_pages < 50) {
		_page_ page = changes(&f, since, NULL);
		size_t bytes = 0;
		char topic[32];

		for (size_t i = 0; i < page->n_events; i++) {
			int vm = atoi(page->events[i]->topic + 3);

			CU_ASSERT(page->events[i]->seq > since);
			CU_ASSERT(page->events[i]->seq > seen[vm]);
			seen[vm] = page->events[i]->seq;
			bytes += strlen(page->events[i]->vm_state->name);
			since = i + 1 == page->n_events && page->more ? page->events[i]->seq
								      : since;
		}
		CU_ASSERT(bytes <= BUS_PAGE_BYTES);
		CU_ASSERT(page->n_events > 0);
		more = page->more;
		if (more) {
			CU_ASSERT_EQUAL(page->resume_seq, since);
			/* One that was told and one that was not. */
			snprintf(topic, sizeof(topic), "vm/%zu", n_pages);
			CU_ASSERT_EQUAL(publish(&f, topic, 10000), 0);
			snprintf(topic, sizeof(topic), "vm/%zu", N - 1 - n_pages);
			CU_ASSERT_EQUAL(publish(&f, topic, 10000), 0);
		}
		since = page->resume_seq;
		n_pages++;
	}
	CU_ASSERT(n_pages >= 3);
	CU_ASSERT_FALSE(more);
	CU_ASSERT_EQUAL(since, bus_pub_seq(f.pub));
	for (int i = 0; i < N; i++) {
		char prefix[32];
		_page_ now = NULL;

		snprintf(prefix, sizeof(prefix), "vm/%d", i);
		now = changes(&f, seen[i] - 1, prefix);
		CU_ASSERT(now->n_events > 0 && now->events[0]->seq == seen[i]);
	}
	tear_down(&f);
}

static void test_snapshot_pages(void)
{
	struct fixture f;
	size_t n_events = 0, n_pages = 0;
	uint64_t after = 0;
	bool more = true;

	set_up(&f);
	for (int i = 0; i < 5; i++) {
		char topic[32];

		snprintf(topic, sizeof(topic), "big/%d", i);
		CU_ASSERT_EQUAL(publish(&f, topic, 3U << 20), 0);
	}
	CU_ASSERT_EQUAL(publish(&f, "big/5", BUS_EVENT_MAX - 2048), 0);
	while (more) {
		_page_ page = snapshot(&f, after);

		CU_ASSERT(page->full);
		CU_ASSERT_EQUAL(page->n_events, 1); /* at least one, however large */
		n_events += page->n_events;
		more = page->more;
		after = page->resume_seq;
		n_pages++;
	}
	CU_ASSERT_EQUAL(n_events, 6);
	CU_ASSERT_EQUAL(n_pages, 6);
	CU_ASSERT_EQUAL(after, 6);
	{
		_page_ page = snapshot(&f, 1000);

		CU_ASSERT_EQUAL(page->n_events, 0);
		CU_ASSERT_FALSE(page->more);
	}
	tear_down(&f);
}

/* ---- subscribers that are too slow ---- */

static struct {
	size_t n_warnings;
	char last[512];
	uint64_t dropped, queued_bytes, high_bytes, all_dropped;
	size_t n_named;
} seen;

static void keep_log(enum log_level level, const char *message,
		     const struct log_field *fields _unused_, size_t n_fields _unused_)
{
	if (level == LOG_LEVEL_WARNING) {
		seen.n_warnings++;
		snprintf(seen.last, sizeof(seen.last), "%s", message);
	}
}

static void keep_stat(const char *name, uint64_t value, void *userdata _unused_)
{
	char own[64];
	const char *counter = name + snprintf(own, sizeof(own), "pub.peer.%d.", (int)getpid());

	seen.all_dropped = streq(name, "pub.dropped") ? value : seen.all_dropped;
	seen.n_named += str_starts(name, "pub.peer.");
	if (!str_starts(name, own)) {
		return;
	}
	seen.dropped = streq(counter, "dropped") ? value : seen.dropped;
	seen.queued_bytes = streq(counter, "queued_bytes") ? value : seen.queued_bytes;
	seen.high_bytes = streq(counter, "high_bytes") ? value : seen.high_bytes;
}

static int join(struct fixture *f)
{
	int fd = bus_raw_connect(f->url + strlen("ipc://"));

	CU_ASSERT(bus_raw_handshake(f->loop, fd, 0x21));
	bus_run_for(f->loop, 20);
	return fd;
}

/* What it lost is counted by its name, in the sum, and told once for a stall. */
static void test_slow_subscriber(void)
{
	enum { N = 100, SIZE = 1 << 20 };
	static uint8_t buffer[SIZE];
	char who[64];
	struct fixture f;
	int fd;

	set_up(&f);
	log_set_sink(keep_log);
	seen.n_warnings = 0;
	fd = join(&f);
	for (int i = 0; i < N; i++) {
		CU_ASSERT_EQUAL(publish(&f, "vm/a/state", SIZE), 0);
	}
	bus_pub_stats(f.pub, keep_stat, NULL);
	CU_ASSERT(seen.dropped >= N - 65 && seen.dropped < N);
	CU_ASSERT_EQUAL(seen.all_dropped, seen.dropped);
	CU_ASSERT(seen.queued_bytes <= BUS_SUBSCRIBER_BYTES);
	CU_ASSERT(seen.queued_bytes > BUS_SUBSCRIBER_BYTES - 2 * SIZE);
	CU_ASSERT(seen.high_bytes >= seen.queued_bytes);
	CU_ASSERT(seen.high_bytes <= BUS_SUBSCRIBER_BYTES);
	CU_ASSERT_EQUAL(seen.n_warnings, 0);
	for (uint64_t end = clock_boot_ns() + 5 * NSEC_PER_SEC;
	     seen.queued_bytes > 0 && clock_boot_ns() < end;) {
		if (recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT) < 0) {
			bus_pub_stats(f.pub, keep_stat, NULL);
		}
		sd_event_run(f.loop, 1000);
	}
	CU_ASSERT_EQUAL(seen.queued_bytes, 0);
	CU_ASSERT_EQUAL(seen.n_warnings, 1);
	snprintf(who, sizeof(who), "pid %d of uid %u reads too slowly: %llu events", (int)getpid(),
		 (unsigned int)geteuid(), (unsigned long long)seen.dropped);
	CU_ASSERT_PTR_NOT_NULL(strstr(seen.last, who));
	/* The next stall is another one; it ends with the connection. */
	for (int i = 0; i < N; i++) {
		CU_ASSERT_EQUAL(publish(&f, "vm/a/state", SIZE), 0);
	}
	close(fd);
	bus_run_for(f.loop, 50);
	CU_ASSERT_EQUAL(seen.n_warnings, 2);
	log_set_sink(NULL);
	tear_down(&f);
}

static void count_subscribers(const char *name, uint64_t value, void *userdata)
{
	if (streq(name, "pub.subscribers")) {
		*(uint64_t *)userdata = value;
	}
}

/* In a process of its own, until the publisher hangs up. */
static void subscribe_and_wait(const struct fixture *f)
{
	const uint8_t hello[] = { 0, 'S', 'P', 0, 0, 0x21, 0, 0 };
	int fd = bus_raw_connect(f->url + strlen("ipc://"));
	uint8_t bytes[256];

	bus_raw_send(fd, hello, sizeof(hello));
	while (recv(fd, bytes, sizeof(bytes), 0) > 0) {
	}
	_exit(EXIT_SUCCESS);
}

/* Only so many have a name in the stats, and one that is behind is among them. */
static void test_many_subscribers(void)
{
	enum { N = BUS_STATS_PEERS + 8, SIZE = 1 << 20 };
	uint64_t n_up = 0;
	struct fixture f;
	pid_t pids[N];
	int fd;

	set_up(&f);
	log_set_sink(keep_log);
	for (size_t i = 0; i < N; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			subscribe_and_wait(&f);
		}
	}
	for (int i = 0; i < 250 && n_up < N; i++) {
		bus_run_for(f.loop, 20);
		bus_pub_stats(f.pub, count_subscribers, &n_up);
	}
	CU_ASSERT_EQUAL(n_up, N);
	fd = join(&f);
	CU_ASSERT_EQUAL(publish(&f, "vm/a/state", SIZE), 0);
	/* Until the others have read it. */
	seen.queued_bytes = 0;
	for (int i = 0; i < 250 && seen.queued_bytes == 0; i++) {
		bus_run_for(f.loop, 20);
		seen.n_named = 0;
		bus_pub_stats(f.pub, keep_stat, NULL);
	}
	CU_ASSERT_EQUAL(seen.n_named, 4 * BUS_STATS_PEERS);
	CU_ASSERT(seen.queued_bytes > 0);
	close(fd);
	f.pub = bus_pub_free(f.pub);
	for (size_t i = 0; i < N; i++) {
		CU_ASSERT_EQUAL(waitpid(pids[i], NULL, 0), pids[i]);
	}
	log_set_sink(NULL);
	tear_down(&f);
}

static void test_address_in_use(void)
{
	struct bus_pub *second = NULL;
	struct topology_service nowhere = { .name = (char *)"nowhere" };
	struct fixture f;

	set_up(&f);
	log_set_level(LOG_LEVEL_ERROR);
	CU_ASSERT_EQUAL(bus_pub_new(&second, f.loop, &f.service, NULL), -EADDRINUSE);
	CU_ASSERT_EQUAL(bus_pub_new(&second, f.loop, &nowhere, NULL), -EDESTADDRREQ);
	CU_ASSERT_PTR_NULL(second);
	tear_down(&f);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_wire),
		UNIT_TEST(test_bad_topics),
		UNIT_TEST(test_changes),
		UNIT_TEST(test_transient_topics),
		UNIT_TEST(test_segments_are_counted),
		UNIT_TEST(test_tombstones_are_bounded),
		UNIT_TEST(test_pages_while_it_changes),
		UNIT_TEST(test_snapshot_pages),
		UNIT_TEST(test_slow_subscriber),
		UNIT_TEST(test_many_subscribers),
		UNIT_TEST(test_address_in_use),
	};
	int status;

	log_init("test_pub");
	status = unit_run("pub", tests, ARRAY_LEN(tests));
	nng_fini();
	return status;
}
