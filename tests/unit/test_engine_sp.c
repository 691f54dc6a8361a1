/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The SP engine: what every engine has to pass, with nng at the other end too,
 * and its own limits.
 */
#include <dlfcn.h>
#include <netdb.h>
#include <sys/resource.h>

#include "bus/engine.h"
#include "bus/limits.h"
#include "bus/sp_frame.h"
#include "bus/sp_pool.h"
#include "tests/unit/bus_util.h"
#include "tests/unit/engine_suite.h"
#include "tests/unit/log_util.h"
#include "tests/unit/unit.h"

SUITE_PAIR(sp, &bus_engine_sp, &bus_engine_sp, SP_IPC)
SUITE_SERVER(sp, &bus_engine_sp)
SUITE_PAIR(sp_nng, &bus_engine_sp, &bus_engine_nng, SP_IPC)
SUITE_PAIR(nng_sp, &bus_engine_nng, &bus_engine_sp, SP_IPC)
SUITE_PAIR(sp_tcp, &bus_engine_sp, &bus_engine_sp, SP_TCP)
SUITE_PAIR(sp_nng_tcp, &bus_engine_sp, &bus_engine_nng, SP_TCP)
SUITE_PAIR(nng_sp_tcp, &bus_engine_nng, &bus_engine_sp, SP_TCP)

/* ---- its own limits ---- */

struct service {
	struct bus_dir dir;
	sd_event *loop;
	char url[128];
	const char *path;
	struct bus_socket *socket;
	size_t n_messages, n_down, n_refused;
	uint32_t last;
	unsigned int n_echoes; /* to each message */
};

static void on_message(struct bus_socket *s, const struct bus_peer *peer,
		       const struct bus_route *route, const void *data, size_t len, void *userdata)
{
	struct service *v = userdata;
	struct bus_route copy = *route;

	CU_ASSERT(peer->uid == geteuid() || peer->is_plain_tcp);
	if (len >= sizeof(v->last)) {
		memcpy(&v->last, data, sizeof(v->last));
	}
	v->n_messages++;
	for (unsigned int i = 0; i < v->n_echoes; i++) {
		v->n_refused += bus_engine_sp.send(s, &copy, data, len) == -EAGAIN;
	}
}

static void on_link(struct bus_socket *s _unused_, const struct bus_peer *peer _unused_, bool up,
		    void *userdata)
{
	struct service *v = userdata;

	v->n_down += !up;
}

static void service_start(struct service *v, enum bus_kind kind, size_t max_message)
{
	const struct bus_socket_options options = { .max_message = max_message, .queue = 100 };
	const struct bus_socket_handler handler = { .on_message = on_message, .on_link = on_link };

	*v = (struct service){ 0 };
	bus_dir_make(&v->dir);
	if (sd_event_new(&v->loop) < 0) {
		abort();
	}
	snprintf(v->url, sizeof(v->url), "ipc://%s/sock", v->dir.path);
	v->path = v->url + strlen("ipc://");
	CU_ASSERT_EQUAL(bus_engine_sp.open(&v->socket, v->loop, kind, &options, &handler, v), 0);
	CU_ASSERT_EQUAL(bus_engine_sp.listen(v->socket, v->url), 0);
}

static void service_stop(struct service *v)
{
	bus_engine_sp.close(v->socket);
	sd_event_unref(v->loop);
	bus_dir_remove(&v->dir);
}

static uint64_t n_peers(const struct service *v)
{
	struct bus_socket_stats stats;

	bus_engine_sp.stats(v->socket, &stats);
	return stats.peers;
}

/* Whether so many are connected, now or soon. */
static bool has_peers(struct service *v, uint64_t min, uint64_t max)
{
	uint64_t end = clock_boot_ns() + 5 * NSEC_PER_SEC;

	while ((n_peers(v) < min || n_peers(v) > max) && clock_boot_ns() < end) {
		sd_event_run(v->loop, 10 * USEC_PER_MSEC);
	}
	return n_peers(v) >= min && n_peers(v) <= max;
}

/* A peer that has shaken hands. */
static int join(struct service *v, uint8_t protocol)
{
	int fd = bus_raw_connect(v->path);

	CU_ASSERT(fd >= 0);
	CU_ASSERT(bus_raw_handshake(v->loop, fd, protocol));
	return fd;
}

/* True when the service hangs up in time, whatever it sent before. */
static bool is_hung_up(struct service *v, int fd, uint64_t timeout_ms)
{
	uint64_t end = clock_boot_ns() + timeout_ms * NSEC_PER_MSEC;
	uint8_t byte;

	while (clock_boot_ns() < end) {
		ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);

		if (n == 0 || (n < 0 && errno != EAGAIN)) {
			return true;
		}
		sd_event_run(v->loop, 1000);
	}
	return false;
}

static bool pings(struct service *v)
{
	const uint8_t id[] = { 0x80, 7, 7, 7 };
	uint8_t answer[9 + 4 + 4];
	int fd = join(v, SP_REQ);
	bool is_ok = bus_raw_frame(fd, id, sizeof(id), "ping", 4) &&
		     bus_raw_recv(v->loop, fd, answer, sizeof(answer), 2000) &&
		     memcmp(answer + 9, "\200\7\7\7ping", 8) == 0;

	close(fd);
	return is_ok;
}

/* Many small frames at once come all, in order, over several turns of the loop. */
static void test_many_at_once(void)
{
	enum { N = 3000 };
	static uint8_t frames[N][9 + 4 + 4];
	struct service v;
	int fd;

	service_start(&v, BUS_REP, 4096);
	fd = join(&v, SP_REQ);
	for (uint32_t i = 0; i < N; i++) {
		sp_frame_head(frames[i], 8);
		memcpy(frames[i] + 9, "\200\0\0\1", 4);
		memcpy(frames[i] + 13, &i, sizeof(i));
	}
	CU_ASSERT(bus_raw_send(fd, frames, sizeof(frames)));
	while (v.n_messages == 0) {
		sd_event_run(v.loop, 1000);
	}
	CU_ASSERT(v.n_messages <= 64);
	CU_ASSERT(bus_run_until(v.loop, &v.n_messages, N, 2000));
	CU_ASSERT_EQUAL(v.n_messages, N);
	CU_ASSERT_EQUAL(v.last, N - 1);
	/* The end of the stream does not overtake what was sent before. */
	CU_ASSERT(bus_raw_send(fd, frames, sizeof(frames)));
	close(fd);
	CU_ASSERT(bus_run_until(v.loop, &v.n_down, 1, 2000));
	CU_ASSERT_EQUAL(v.n_messages, 2 * N);
	service_stop(&v);
}

static void test_silent_peer(void)
{
	uint64_t start = clock_boot_ns();
	struct service v;
	int fd;

	service_start(&v, BUS_REP, 4096);
	fd = bus_raw_connect(v.path);
	CU_ASSERT(bus_raw_send(fd, "\0SP", 3));
	CU_ASSERT(is_hung_up(&v, fd, 8000));
	CU_ASSERT(clock_boot_ns() - start >= 4900 * NSEC_PER_MSEC);
	CU_ASSERT_EQUAL(n_peers(&v), 0);
	close(fd);
	service_stop(&v);
}

/* A peer that takes no more answers ends, though it does not hang up. */
static void test_deaf_peer(void)
{
	const uint8_t id[] = { 0x80, 0, 0, 1 };
	struct service v;
	int fd;

	service_start(&v, BUS_REP, 4096);
	v.n_echoes = 1;
	fd = join(&v, SP_REQ);
	CU_ASSERT_EQUAL(shutdown(fd, SHUT_RD), 0);
	CU_ASSERT(bus_raw_frame(fd, id, sizeof(id), "x", 1));
	CU_ASSERT(bus_run_until(v.loop, &v.n_down, 1, 2000));
	CU_ASSERT_EQUAL(n_peers(&v), 0);
	close(fd);
	service_stop(&v);
}

static void test_unread_answers(void)
{
	const uint8_t id[] = { 0x80, 0, 0, 1 };
	static uint8_t body[4000], answer[9 + 4 + sizeof(body)];
	struct service v;
	size_t n_answers = 0;
	int fd;

	service_start(&v, BUS_REP, 4096);
	v.n_echoes = 500;
	fd = join(&v, SP_REQ);
	CU_ASSERT(bus_raw_frame(fd, id, sizeof(id), body, sizeof(body)));
	CU_ASSERT(bus_run_until(v.loop, &v.n_messages, 1, 2000));
	CU_ASSERT(v.n_refused > 0 && v.n_refused <= 400);
	v.n_echoes = 1;
	CU_ASSERT(pings(&v));
	/* What was accepted comes whole. */
	while (n_answers < 500 - v.n_refused &&
	       bus_raw_recv(v.loop, fd, answer, sizeof(answer), 2000)) {
		CU_ASSERT_EQUAL(memcmp(answer + 9, id, sizeof(id)), 0);
		n_answers++;
	}
	CU_ASSERT_EQUAL(n_answers, 500 - v.n_refused);
	close(fd);
	service_stop(&v);
}

/* Who asks and does not read is not listened to until it does, and gets all its answers. */
static void test_questions_wait_for_answers(void)
{
	enum { N = 1000, SIZE = 9 + 4 + 4000, PAUSE = 100 };
	const uint8_t id[] = { 0x80, 0, 0, 1 };
	static uint8_t frame[SIZE], answer[SIZE];
	struct service v;
	size_t sent = 0, n_turns = 0;
	int fd;

	service_start(&v, BUS_REP, 4096);
	v.n_echoes = 1;
	fd = join(&v, SP_REQ);
	sp_frame_head(frame, SIZE - SP_FRAME_HEAD);
	memcpy(frame + SP_FRAME_HEAD, id, sizeof(id));
	while (n_turns < PAUSE) {
		ssize_t n = send(fd, frame + sent % SIZE, SIZE - sent % SIZE,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		sent += n > 0 ? (size_t)n : 0;
		n_turns = n > 0 ? 0 : n_turns + 1;
		CU_ASSERT_FATAL(sent < (size_t)N * SIZE);
		sd_event_run(v.loop, 0);
	}
	CU_ASSERT(v.n_messages > 50 && v.n_messages < N);
	CU_ASSERT(pings(&v));
	for (size_t i = 0; i <= sent / SIZE; i++) {
		if (i == sent / SIZE) {
			CU_ASSERT(bus_raw_send(fd, frame + sent % SIZE, SIZE - sent % SIZE));
		}
		memset(answer, 0, SIZE);
		CU_ASSERT_FATAL(bus_raw_recv(v.loop, fd, answer, SIZE, 2000));
		CU_ASSERT_EQUAL(memcmp(answer, frame, SIZE), 0);
	}
	CU_ASSERT_EQUAL(v.n_refused, 0);
	/* It may also go without having read. */
	for (size_t i = 0; i < 200; i++) {
		send(fd, frame, SIZE, MSG_DONTWAIT | MSG_NOSIGNAL);
		sd_event_run(v.loop, 0);
	}
	close(fd);
	CU_ASSERT(bus_run_until(v.loop, &v.n_down, 2, 2000)); /* with that of pings() */
	service_stop(&v);
}

/* Half messages are limited by user; those that go free the room. */
static void test_bytes_of_user(void)
{
	enum { SIZE = 1 << 20, N = 80 };
	static uint8_t body[SIZE];
	uint8_t head[SP_FRAME_HEAD];
	struct service v;
	int fds[N];

	service_start(&v, BUS_REP, SIZE);
	v.n_echoes = 1;
	sp_frame_head(head, SIZE);
	for (size_t i = 0; i < N; i++) {
		size_t sent = 0;

		fds[i] = join(&v, SP_REQ);
		CU_ASSERT(bus_raw_send(fds[i], head, sizeof(head)));
		while (sent < SIZE - 1) {
			ssize_t n = send(fds[i], body, SIZE - 1 - sent,
					 MSG_DONTWAIT | MSG_NOSIGNAL);

			if (n < 0 && errno != EAGAIN) {
				break;
			}
			sent += n > 0 ? (size_t)n : 0;
			sd_event_run(v.loop, 0);
		}
	}
	CU_ASSERT(has_peers(&v, 60, 64));
	for (size_t i = 0; i < N; i++) {
		close(fds[i]);
	}
	CU_ASSERT(has_peers(&v, 0, 0));
	CU_ASSERT(pings(&v));
	service_stop(&v);
}

static void test_connections_of_user(void)
{
	enum { MAX = BUS_CONNECTIONS_MAX / 2 };
	static int fds[MAX];
	struct rlimit files;
	struct service v;
	int fd;

	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	CU_ASSERT(files.rlim_cur > 4 * BUS_CONNECTIONS_MAX);
	log_set_sink(log_swallow);
	service_start(&v, BUS_REP, 4096);
	v.n_echoes = 1;
	for (size_t i = 0; i < MAX; i++) {
		fds[i] = join(&v, SP_REQ);
	}
	CU_ASSERT(has_peers(&v, MAX, MAX));
	fd = bus_raw_connect(v.path);
	CU_ASSERT(is_hung_up(&v, fd, 2000));
	close(fd);
	close(fds[0]);
	CU_ASSERT(has_peers(&v, 0, MAX - 1));
	CU_ASSERT(pings(&v));
	for (size_t i = 1; i < MAX; i++) {
		close(fds[i]);
	}
	service_stop(&v);
	log_set_sink(NULL);
}

/* Without a free descriptor it neither spins nor stays deaf. */
static void test_no_descriptors(void)
{
	struct rlimit files, low;
	struct service v;
	int fds[8], turns = 0;
	uint64_t start;

	log_set_sink(log_swallow);
	service_start(&v, BUS_REP, 4096);
	v.n_echoes = 1;
	CU_ASSERT(pings(&v));
	bus_run_for(v.loop, 20);
	getrlimit(RLIMIT_NOFILE, &files);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		fds[i] = bus_raw_connect(v.path);
		CU_ASSERT(fds[i] >= 0);
	}
	low = (struct rlimit){ 3, files.rlim_max };
	setrlimit(RLIMIT_NOFILE, &low);
	start = clock_boot_ns();
	while (clock_boot_ns() - start < 500 * NSEC_PER_MSEC) {
		sd_event_run(v.loop, 100 * USEC_PER_MSEC);
		turns++;
	}
	CU_ASSERT(turns < 50);
	CU_ASSERT_EQUAL(n_peers(&v), 0);
	setrlimit(RLIMIT_NOFILE, &files);
	bus_run_for(v.loop, 300);
	CU_ASSERT(pings(&v));
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		close(fds[i]);
	}
	service_stop(&v);
	log_set_sink(NULL);
}

/* Who announces much and sends little costs little. */
static void test_announced_length(void)
{
	struct sp_decoder d = { .max = 1U << 20 };
	uint8_t bytes[SP_FRAME_HEAD + 1] = { 0 };
	const uint8_t *at = bytes, *frame;
	size_t len = sizeof(bytes), frame_len;

	sp_frame_head(bytes, 1U << 20);
	CU_ASSERT_EQUAL(sp_decoder_feed(&d, &at, &len, &frame, &frame_len), 0);
	CU_ASSERT(sp_decoder_is_partial(&d));
	CU_ASSERT(d.capacity <= 4096);
	sp_decoder_deinit(&d);
	sp_frame_head(bytes, (1U << 20) + 1);
	at = bytes;
	len = sizeof(bytes);
	CU_ASSERT_EQUAL(sp_decoder_feed(&d, &at, &len, &frame, &frame_len), -EMSGSIZE);
	CU_ASSERT_EQUAL(d.capacity, 0);
	sp_decoder_deinit(&d);
}

/* One that hangs does not keep the others from anything. */
static void test_two_subscribers(void)
{
	enum { N = 1000, SIZE = 4000 };
	static uint8_t body[SIZE];
	uint8_t frame[SP_FRAME_HEAD + SIZE];
	struct service v;
	uint32_t i;
	int slow, quick;

	service_start(&v, BUS_PUB, 1);
	slow = join(&v, SP_SUB);
	quick = join(&v, SP_SUB);
	CU_ASSERT(has_peers(&v, 2, 2));
	for (i = 0; i < N; i++) {
		uint32_t got;

		memcpy(body, &i, sizeof(i));
		CU_ASSERT_EQUAL(bus_engine_sp.send(v.socket, NULL, body, SIZE), 0);
		CU_ASSERT(bus_raw_recv(v.loop, quick, frame, sizeof(frame), 2000));
		memcpy(&got, frame + SP_FRAME_HEAD, sizeof(got));
		CU_ASSERT_EQUAL(got, i);
	}
	for (uint32_t got = 0, last = 0, n = 0; got != N - 1; last = got, n++) {
		if (!bus_raw_recv(v.loop, slow, frame, sizeof(frame), 2000)) {
			CU_FAIL("the newest did not come");
			break;
		}
		memcpy(&got, frame + SP_FRAME_HEAD, sizeof(got));
		CU_ASSERT(n == 0 || got > last);
		CU_ASSERT(n < 200);
	}
	close(slow);
	close(quick);
	service_stop(&v);
}

/* Frames over tcp have no type byte. */
static void test_tcp_bytes(void)
{
	static const char request[] = "\0\0\0\0\0\0\0\10\200\1\2\3ping";
	struct service v;
	unsigned int port = bus_free_port();
	uint8_t answer[16];
	int fd;

	log_set_sink(log_swallow);
	service_start(&v, BUS_REP, 4096);
	snprintf(v.url, sizeof(v.url), "tcp://127.0.0.1:%u", port);
	CU_ASSERT_EQUAL(bus_engine_sp.listen(v.socket, v.url), 0);
	CU_ASSERT_EQUAL(bus_engine_sp.listen(v.socket, v.url), -EADDRINUSE);
	v.n_echoes = 1;
	fd = bus_tcp_connect(port);
	CU_ASSERT(bus_raw_handshake(v.loop, fd, SP_REQ));
	for (size_t i = 0; i < 16; i++) {
		CU_ASSERT(bus_raw_send(fd, request + i, 1));
		bus_run_for(v.loop, 2);
	}
	CU_ASSERT(bus_raw_recv(v.loop, fd, answer, 16, 2000));
	CU_ASSERT_EQUAL(memcmp(answer, request, 16), 0);
	/* Too long. */
	CU_ASSERT(bus_raw_send(fd, "\0\0\0\0\0\1\0\0", 8));
	CU_ASSERT(is_hung_up(&v, fd, 2000));
	close(fd);
	/* An ipc peer is none here. */
	fd = bus_tcp_connect(port);
	CU_ASSERT(bus_raw_handshake(v.loop, fd, SP_REQ));
	CU_ASSERT(bus_raw_send(fd, "\1\0\0\0\0\0\0\0\10\200\1\2\3ping", 17));
	CU_ASSERT(is_hung_up(&v, fd, 2000));
	close(fd);
	service_stop(&v);
	log_set_sink(NULL);
}

/* ---- hosts of several addresses ---- */

/* libc's, but that two.example has 127.0.0.1 twice. */
int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
		struct addrinfo **out)
{
	int (*const libc)(const char *h, const char *p, const struct addrinfo *i,
			  struct addrinfo **o) = dlsym(RTLD_NEXT, "getaddrinfo");
	bool is_two = host && streq(host, "two.example") && !(hints->ai_flags & AI_NUMERICHOST);
	int r = libc(is_two ? "127.0.0.1" : host, port, hints, out);

	if (r == 0 && is_two) {
		r = libc("127.0.0.1", port, hints, &(*out)->ai_next);
	}
	return r;
}

static int listen_tcp(unsigned int port)
{
	const struct sockaddr_in address = { .sin_family = AF_INET,
					     .sin_port = htons((uint16_t)port),
					     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	CU_ASSERT_EQUAL(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	CU_ASSERT_EQUAL(listen(fd, 16), 0);
	return fd;
}

/* All of a host's addresses are tried at once, but the pauses between two rounds grow. */
static void test_pauses_of_two_addresses(void)
{
	const struct bus_socket_options options = { .max_message = 100, .queue = 10 };
	const struct bus_socket_handler handler = { .on_message = on_message };
	const unsigned int port = bus_free_port();
	uint64_t began_ns = clock_boot_ns();
	struct bus_socket *s;
	struct service v;
	int fd = listen_tcp(port);
	char url[64];
	size_t n = 0;

	service_start(&v, BUS_REP, 100);
	snprintf(url, sizeof(url), "tcp://two.example:%u", port);
	CU_ASSERT_EQUAL(bus_engine_sp.open(&s, v.loop, BUS_REQ, &options, &handler, &v), 0);
	CU_ASSERT_EQUAL(bus_engine_sp.dial(s, url), 0);
	while (n < 9 && clock_boot_ns() - began_ns < 30 * NSEC_PER_SEC) {
		int peer = accept(fd, NULL, NULL);

		n += peer >= 0;
		xclose(peer);
		sd_event_run(v.loop, USEC_PER_MSEC);
	}
	CU_ASSERT_EQUAL(n, 9);
	/* 100, 200, 400 and 800 ms, a quarter less at the most. */
	CU_ASSERT(clock_boot_ns() - began_ns >= 1125 * NSEC_PER_MSEC);
	bus_engine_sp.close(s);
	service_stop(&v);
	close(fd);
}

int main(void)
{
	static const struct unit_test tests[] = {
		SUITE_TESTS(sp),
		SUITE_SERVER_TESTS(sp),
		UNIT_TEST(test_many_at_once),
		UNIT_TEST(test_silent_peer),
		UNIT_TEST(test_deaf_peer),
		UNIT_TEST(test_unread_answers),
		UNIT_TEST(test_questions_wait_for_answers),
		UNIT_TEST(test_bytes_of_user),
		UNIT_TEST(test_connections_of_user),
		UNIT_TEST(test_no_descriptors),
		UNIT_TEST(test_announced_length),
		UNIT_TEST(test_two_subscribers),
		SUITE_TESTS(sp_nng),
		SUITE_TESTS(nng_sp),
		SUITE_TESTS(sp_tcp),
		SUITE_TESTS(sp_nng_tcp),
		SUITE_TESTS(nng_sp_tcp),
		UNIT_TEST(test_tcp_bytes),
		UNIT_TEST(test_pauses_of_two_addresses),
	};

	/* Without nng_fini(), which waits for the connections that nng cannot close. */
	log_init("test_engine_sp");
	return unit_run("engine_sp", tests, ARRAY_LEN(tests));
}
