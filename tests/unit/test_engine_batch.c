/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the SP engine writes at once and what it lets wait for the end of the
 * turn, seen by a bare peer that reads the socket without the loop running.
 */
#include "bus/engine.h"
#include "bus/sp_frame.h"
#include "tests/unit/bus_util.h"
#include "tests/unit/unit.h"

#define SMALL	   100
#define LARGE	   50000U /* more than is worth a copy, and two fit into a socket */
#define TIMEOUT_MS 5000

struct service {
	struct bus_dir dir;
	sd_event *loop;
	struct bus_socket *socket;
	size_t n_messages, n_refused;
	int peer; /* a bare one, joined */
};

static void on_message(struct bus_socket *s, const struct bus_peer *peer _unused_,
		       const struct bus_route *route, const void *data, size_t len, void *userdata)
{
	struct service *v = userdata;
	struct bus_route copy = *route;

	v->n_messages++;
	v->n_refused += bus_engine_sp.send(s, &copy, data, len) != 0;
}

static size_t n_up(const struct service *v)
{
	struct bus_socket_stats stats;

	bus_engine_sp.stats(v->socket, &stats);
	return stats.peers;
}

static void start(struct service *v, enum bus_kind kind, unsigned int queue, uint8_t peer_protocol)
{
	const struct bus_socket_options options = { .max_message = 1 << 20, .queue = queue };
	const struct bus_socket_handler handler = { .on_message = on_message };
	char url[100];

	*v = (struct service){ 0 };
	bus_dir_make(&v->dir);
	snprintf(url, sizeof(url), "ipc://%s/sock", v->dir.path);
	CU_ASSERT(sd_event_new(&v->loop) >= 0);
	CU_ASSERT_EQUAL(bus_engine_sp.open(&v->socket, v->loop, kind, &options, &handler, v), 0);
	CU_ASSERT_EQUAL(bus_engine_sp.listen(v->socket, url), 0);
	v->peer = bus_raw_connect(url + strlen("ipc://"));
	CU_ASSERT(bus_raw_handshake(v->loop, v->peer, peer_protocol));
	while (n_up(v) == 0) {
		sd_event_run(v->loop, UINT64_MAX);
	}
}

static void stop(struct service *v)
{
	bus_engine_sp.close(v->socket);
	close(v->peer);
	sd_event_unref(v->loop);
	bus_dir_remove(&v->dir);
}

static void publish(struct service *v, uint32_t number, size_t len)
{
	uint8_t data[LARGE] = { 0 };

	memcpy(data, &number, sizeof(number));
	CU_ASSERT_EQUAL(bus_engine_sp.send(v->socket, NULL, data, len), 0);
}

/* The loop runs only with run_loop. */
static void expect(struct service *v, uint32_t number, size_t len, bool run_loop)
{
	uint8_t head[SP_FRAME_HEAD], want[SP_FRAME_HEAD], body[LARGE];
	uint32_t have = 0;

	sp_frame_head(want, len);
	if (run_loop) {
		CU_ASSERT(bus_raw_recv(v->loop, v->peer, head, sizeof(head), TIMEOUT_MS));
		CU_ASSERT(bus_raw_recv(v->loop, v->peer, body, len, TIMEOUT_MS));
	} else {
		CU_ASSERT_EQUAL(recv(v->peer, head, sizeof(head), MSG_DONTWAIT), sizeof(head));
		CU_ASSERT_EQUAL(recv(v->peer, body, len, MSG_DONTWAIT), len);
	}
	memcpy(&have, body, sizeof(have));
	CU_ASSERT_EQUAL(memcmp(head, want, sizeof(want)), 0);
	CU_ASSERT_EQUAL(have, number);
}

static bool is_silent(const struct service *v)
{
	uint8_t byte;

	return recv(v->peer, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN;
}

/* A message alone goes out at once; what follows in the same turn goes out together. */
static void test_first_is_direct_rest_waits(void)
{
	struct service v;

	start(&v, BUS_PUB, 100, SP_SUB);
	publish(&v, 1, SMALL);
	expect(&v, 1, SMALL, false);
	for (uint32_t i = 2; i <= 10; i++) {
		publish(&v, i, SMALL);
	}
	CU_ASSERT(is_silent(&v));
	expect(&v, 2, SMALL, true);
	for (uint32_t i = 3; i <= 10; i++) {
		expect(&v, i, SMALL, false);
	}
	publish(&v, 11, SMALL);
	expect(&v, 11, SMALL, false);
	CU_ASSERT(is_silent(&v));
	stop(&v);
}

/* The limit of the queue is about a peer that does not read, not about a batch. */
static void test_batch_larger_than_queue(void)
{
	struct bus_socket_stats stats;
	struct service v;

	start(&v, BUS_PUB, 4, SP_SUB);
	for (uint32_t i = 1; i <= 50; i++) {
		publish(&v, i, SMALL);
	}
	for (uint32_t i = 1; i <= 50; i++) {
		expect(&v, i, SMALL, true);
	}
	bus_engine_sp.stats(v.socket, &stats);
	CU_ASSERT_EQUAL(stats.drops, 0);
	stop(&v);
}

static void test_large_ones_keep_their_place(void)
{
	static const size_t sizes[] = { SMALL, SMALL, LARGE, SMALL, SMALL, LARGE, LARGE, SMALL };
	struct service v;

	start(&v, BUS_PUB, 100, SP_SUB);
	for (uint32_t i = 0; i < ARRAY_LEN(sizes); i++) {
		publish(&v, i, sizes[i]);
	}
	for (uint32_t i = 0; i < ARRAY_LEN(sizes); i++) {
		expect(&v, i, sizes[i], true);
	}
	CU_ASSERT(is_silent(&v));
	stop(&v);
}

static void test_close_writes_the_batch(void)
{
	struct service v;
	uint8_t byte;

	start(&v, BUS_PUB, 100, SP_SUB);
	for (uint32_t i = 1; i <= 5; i++) {
		publish(&v, i, SMALL);
	}
	bus_engine_sp.close(v.socket);
	v.socket = NULL;
	for (uint32_t i = 1; i <= 5; i++) {
		expect(&v, i, SMALL, false);
	}
	CU_ASSERT_EQUAL(recv(v.peer, &byte, 1, MSG_DONTWAIT), 0);
	stop(&v);
}

/* More than one turn takes. */
static void test_answers_to_what_came_together(void)
{
	enum { N = 200, WORD = 4 };
	uint8_t frames[N * (SP_FRAME_HEAD + 2 * WORD)], back[sizeof(frames)];
	uint8_t *p = frames;
	struct service v;

	start(&v, BUS_REP, 1000, SP_REQ);
	for (uint32_t i = 0; i < N; i++) {
		const uint8_t id[WORD] = { 0x80, 0, 0, (uint8_t)i };

		sp_frame_head(p, 2 * sizeof(id));
		memcpy(p + SP_FRAME_HEAD, id, sizeof(id));
		memcpy(p + SP_FRAME_HEAD + sizeof(id), &i, sizeof(i));
		p += SP_FRAME_HEAD + 2 * sizeof(id);
	}
	CU_ASSERT(bus_raw_send(v.peer, frames, sizeof(frames)));
	CU_ASSERT(bus_raw_recv(v.loop, v.peer, back, sizeof(back), TIMEOUT_MS));
	CU_ASSERT_EQUAL(memcmp(back, frames, sizeof(back)), 0); /* an echo, in order */
	CU_ASSERT_EQUAL(v.n_messages, N);
	CU_ASSERT_EQUAL(v.n_refused, 0);
	CU_ASSERT(is_silent(&v));
	stop(&v);
}

UNIT_MAIN("engine_batch", UNIT_TEST(test_first_is_direct_rest_waits),
	  UNIT_TEST(test_batch_larger_than_queue), UNIT_TEST(test_large_ones_keep_their_place),
	  UNIT_TEST(test_close_writes_the_batch), UNIT_TEST(test_answers_to_what_came_together))
