/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The nng engine: what every engine has to pass, and what only nng needs.
 */
#include <netinet/in.h>
#include <nng/nng.h>

#include "bus/engine.h"
#include "bus/nng_fix.h"
#include "bus/send_window.h"
#include "bus/sp_watch.h"
#include "libcommon/log.h"
#include "tests/unit/bus_util.h"
#include "tests/unit/engine_suite.h"
#include "tests/unit/unit.h"

#define MAX_MESSAGE 4096

/* One end of a connection and what happened to it. */
struct end {
	sd_event *loop;
	struct bus_socket *socket;
	size_t n_messages, n_up, n_down;
	char last[MAX_MESSAGE + 1];
	struct bus_peer peer;
	struct bus_route route;
	bool echo;
	bool close_in_callback;
	size_t n_sent;
};

static void on_message(struct bus_socket *s, const struct bus_peer *peer,
		       const struct bus_route *route, const void *data, size_t len, void *userdata)
{
	struct end *e = userdata;

	e->n_messages++;
	e->peer = *peer;
	e->route = *route;
	memcpy(e->last, data, MIN(len, (size_t)MAX_MESSAGE));
	e->last[MIN(len, (size_t)MAX_MESSAGE)] = '\0';
	if (e->echo) {
		e->n_sent += bus_engine_nng.send(s, &e->route, data, len) == 0;
	}
	if (e->close_in_callback) {
		bus_engine_nng.close(s);
		e->socket = NULL;
	}
}

static void on_link(struct bus_socket *s, const struct bus_peer *peer, bool up, void *userdata)
{
	struct end *e = userdata;

	(void)s;
	(void)peer;
	e->n_up += up;
	e->n_down += !up;
}

static int end_open(struct end *e, sd_event *loop, enum bus_kind kind)
{
	const struct bus_socket_options options = { .max_message = MAX_MESSAGE, .queue = 1024 };
	const struct bus_socket_handler handler = { on_message, on_link };

	*e = (struct end){ .loop = loop };
	return bus_engine_nng.open(&e->socket, loop, kind, &options, &handler, e);
}

static void end_close(struct end *e)
{
	bus_engine_nng.close(e->socket);
	e->socket = NULL;
}

struct fixture {
	struct bus_dir dir;
	sd_event *loop;
	char url[128];
	const char *path;
};

static void set_up(struct fixture *f)
{
	bus_dir_make(&f->dir);
	if (sd_event_new(&f->loop) < 0) {
		abort();
	}
	snprintf(f->url, sizeof(f->url), "ipc://%s/svc/sock", f->dir.path);
	f->path = f->url + strlen("ipc://");
}

static void tear_down(struct fixture *f)
{
	sd_event_unref(f->loop);
	bus_dir_remove(&f->dir);
}

/* Ask until the answer comes; again when the connection was lost. */
static bool round_trip(struct end *client, const char *text, uint64_t timeout_ms)
{
	uint64_t end = clock_boot_ns() + timeout_ms * NSEC_PER_MSEC;
	size_t want = client->n_messages + 1;
	struct bus_route route;

	while (clock_boot_ns() < end) {
		size_t n_down = client->n_down;
		int r = bus_engine_nng.send(client->socket, &route, text, strlen(text));

		while (r == 0 && client->n_messages < want && client->n_down == n_down &&
		       clock_boot_ns() < end) {
			sd_event_run(client->loop, 10 * USEC_PER_MSEC);
		}
		if (client->n_messages >= want) {
			return streq(client->last, text);
		}
		sd_event_run(client->loop, 10 * USEC_PER_MSEC);
	}
	return false;
}

/* A listener that shakes hands with everybody, and accepts peers or does not. */
struct fake {
	struct sp_watch watch;
	sd_event_source *source;
	int fd;
	bool is_deaf;
	size_t n_peers, n_deaf;
};

static int on_fake_peer(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct fake *f = userdata;
	uint8_t hello[SP_HANDSHAKE_LEN];
	int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

	(void)source;
	(void)events;
	sp_handshake(hello, SP_REP);
	CU_ASSERT(bus_raw_send(peer, hello, sizeof(hello)));
	CU_ASSERT_EQUAL(recv(peer, hello, sizeof(hello), 0), SP_HANDSHAKE_LEN);
	CU_ASSERT_EQUAL(hello[5], SP_REQ);
	f->n_peers++;
	if (!f->is_deaf) {
		sp_watch_accepted(&f->watch);
	}
	close(peer);
	return 0;
}

static bool fake_catch_up(struct sp_watch *w, void *userdata)
{
	(void)w;
	(void)userdata;
	return true;
}

static void fake_deaf(struct sp_watch *w, const char *why, void *userdata)
{
	struct fake *f = userdata;

	(void)why;
	f->n_deaf++;
	CU_ASSERT_EQUAL(sp_watch_restart(w), 0);
}

static void test_watch(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct fixture f;
	struct fake fake = { 0 };
	uint64_t start;

	set_up(&f);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/sock", f.dir.path);
	fake.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CU_ASSERT_EQUAL(bind(fake.fd, (struct sockaddr *)&address, sizeof(address)), 0);
	CU_ASSERT_EQUAL(listen(fake.fd, 8), 0);
	CU_ASSERT(sd_event_add_io(f.loop, &fake.source, fake.fd, EPOLLIN, on_fake_peer, &fake) >=
		  0);
	fake.watch = (struct sp_watch){ .loop = f.loop,
					.path = address.sun_path,
					.protocol = SP_REQ,
					.catch_up = fake_catch_up,
					.deaf = fake_deaf,
					.userdata = &fake,
					.probe = SP_PROBE_NULL };
	CU_ASSERT_EQUAL(sp_watch_restart(&fake.watch), 0);
	CU_ASSERT(bus_run_until(f.loop, &fake.n_peers, 3, 5000));
	CU_ASSERT_EQUAL(fake.n_deaf, 0);
	fake.is_deaf = true;
	start = clock_boot_ns();
	CU_ASSERT(bus_run_until(f.loop, &fake.n_deaf, 2, 6000));
	CU_ASSERT(clock_boot_ns() - start < 5 * NSEC_PER_SEC);
	fake.is_deaf = false;
	bus_run_for(f.loop, 2000);
	CU_ASSERT_EQUAL(fake.n_deaf, 2);
	CU_ASSERT(fake.n_peers >= 6);
	sp_watch_stop(&fake.watch);
	sd_event_source_unref(fake.source);
	close(fake.fd);
	tear_down(&f);
}

static unsigned int free_port(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &len) < 0) {
		abort();
	}
	close(fd);
	return ntohs(a.sin_port);
}

static void test_tcp(void)
{
	struct fixture f;
	struct end rep, req;
	char url[64];

	set_up(&f);
	snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", free_port());
	CU_ASSERT_EQUAL(end_open(&rep, f.loop, BUS_REP), 0);
	rep.echo = true;
	CU_ASSERT_EQUAL(bus_engine_nng.listen(rep.socket, url), 0);
	CU_ASSERT_EQUAL(bus_engine_nng.listen(rep.socket, f.url), 0);
	CU_ASSERT_EQUAL(end_open(&req, f.loop, BUS_REQ), 0);
	CU_ASSERT_EQUAL(bus_engine_nng.dial(req.socket, url), 0);
	CU_ASSERT(round_trip(&req, "over tcp", 3000));
	CU_ASSERT_FALSE(rep.peer.has_creds);
	CU_ASSERT(rep.peer.is_plain_tcp);
	end_close(&req);
	end_close(&rep);
	tear_down(&f);
}

static void test_send_window(void)
{
	struct send_window w;

	CU_ASSERT_EQUAL(send_window_init(&w, 10, 1000), 0);
	for (int i = 0; i < 25; i++) {
		CU_ASSERT_EQUAL(send_window_push(&w, 100), 10);
	}
	CU_ASSERT_EQUAL(send_window_push(&w, 500), 6);
	CU_ASSERT_EQUAL(send_window_push(&w, 500), 2);
	CU_ASSERT_EQUAL(send_window_push(&w, 5000), 1);
	CU_ASSERT_EQUAL(send_window_push(&w, 1), 1);
	for (size_t i = 2; i < 10; i++) {
		CU_ASSERT_EQUAL(send_window_push(&w, 1), i);
	}
	CU_ASSERT_EQUAL(send_window_push(&w, 1), 10);
	CU_ASSERT_EQUAL(send_window_push(&w, 1), 10);
	send_window_deinit(&w);
	send_window_deinit(&w);
}

SUITE_PAIR(nng, bus_engine_nng, bus_engine_nng)
SUITE_SERVER(nng, bus_engine_nng)

static void test_fix(void)
{
	CU_ASSERT(nng_fix_is_active());
}

int main(void)
{
	static const struct unit_test tests[] = {
		SUITE_TESTS(nng),      SUITE_SERVER_TESTS(nng), UNIT_TEST(test_fix),
		UNIT_TEST(test_watch), UNIT_TEST(test_tcp),	UNIT_TEST(test_send_window),
	};
	int status;

	log_init("test_engine_nng");
	status = unit_run("engine_nng", tests, ARRAY_LEN(tests));
	nng_fini();
	return status;
}
