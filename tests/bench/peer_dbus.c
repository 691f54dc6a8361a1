/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * D-Bus through dbus-broker, with sd-bus at both ends.
 *
 * dbus-broker wants a controller: over a socket it inherits, that tells it
 * where to listen and what is allowed (see the interface org.bus1.DBus.Broker).
 * Its own launcher needs systemd's bus for that; ours allows everything and
 * starts nothing, so it runs anywhere, and apart from the system's bus.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <systemd/sd-bus.h>

#include "libcommon/link.h"
#include "tests/bench/bus_peer.h"

#define BROKER	   "/usr/bin/dbus-broker"
#define CONTROLLER "/org/bus1/DBus/Controller"
#define SERVICE	   "org.xenmesh.Bench"
#define OBJECT	   "/org/xenmesh/Bench"
#define PRIORITY   UINT64_C(1)
/* Bytes of one user; 32 bits. A fan-out of 64 KiB to 100 has 640 MB under way. */
#define PLENTY "2000000000"

struct dbus_client {
	sd_bus *bus;
	size_t size;
	size_t n_received;
};

struct dbus_publisher {
	sd_bus *bus;
	sd_event *loop;
	struct bench_fan *fan;
};

struct dbus_subscriber {
	struct bench_fan *fan;
	size_t i;
};

static bool is_installed(void)
{
	return access(BROKER, X_OK) == 0;
}

static void check(int r, const char *what)
{
	if (r < 0) {
		bench_fail(what, strerror(-r));
	}
}

/* ---- the broker and its controller ---- */

#define BATCH "bta(btbs)a(btssssuutt)a(btssssuutt)"

/* Everybody may connect, own, send and receive. */
static int append_policy(sd_bus_message *m)
{
	int r = sd_bus_message_append(
		m, "v",
		"(a(u(" BATCH "))a(buu(" BATCH "))a(ss)bs)", /* by uid, by group, SELinux, ... */
		1, UINT32_MAX,				     /* whom nothing else is about */
		true, PRIORITY,				     /* connect */
		1, true, PRIORITY, true, "",		     /* own: any prefix */
		1, true, PRIORITY, "", "", "", "", 0, 0, UINT64_C(0), UINT64_MAX, /* send */
		1, true, PRIORITY, "", "", "", "", 0, 0, UINT64_C(0), UINT64_MAX, /* receive */
		0, 0, false, "");

	return r;
}

static int on_reload(sd_bus_message *m, void *userdata _unused_, sd_bus_error *error _unused_)
{
	return sd_bus_reply_method_return(m, NULL);
}

static void serve_bus(sd_bus *bus)
{
	for (;;) {
		int r = sd_bus_process(bus, NULL);

		if (r < 0 || (r == 0 && sd_bus_wait(bus, UINT64_MAX) < 0)) {
			_exit(0);
		}
	}
}

static void control(int fd, int listener, int ready)
{
	static const sd_bus_vtable vtable[] = {
		SD_BUS_VTABLE_START(0),
		SD_BUS_METHOD("ReloadConfig", NULL, NULL, on_reload, 0),
		SD_BUS_VTABLE_END,
	};
	sd_bus_error error = SD_BUS_ERROR_NULL;
	sd_bus_message *m = NULL;
	sd_bus *bus = NULL;

	check(sd_bus_new(&bus), "sd_bus_new");
	check(sd_bus_set_fd(bus, fd, fd), "sd_bus_set_fd");
	check(sd_bus_add_object_vtable(bus, NULL, CONTROLLER, "org.bus1.DBus.Controller", vtable,
				       NULL),
	      "controller");
	check(sd_bus_start(bus), "sd_bus_start");
	check(sd_bus_message_new_method_call(bus, &m, NULL, "/org/bus1/DBus/Broker",
					     "org.bus1.DBus.Broker", "AddListener"),
	      "AddListener");
	check(sd_bus_message_append(m, "oh", "/org/bus1/DBus/Listener/0", listener), "listener");
	check(append_policy(m), "policy");
	if (sd_bus_call(bus, m, 0, &error, NULL) < 0) {
		bench_fail("dbus-broker AddListener", error.message);
	}
	close(ready);
	serve_bus(bus);
}

static void dbus_broker(const char *dir, int ready)
{
	int listener = link_listen(bench_path(dir, "dbus"));
	int pair[2];
	char fd[12];

	bench_expect(listener >= 0 &&
			     socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
					pair) == 0,
		     "dbus: socket");
	if (fork() == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(pair[1]);
		control(pair[0], listener, ready);
	}
	snprintf(fd, sizeof(fd), "%d", fcntl(pair[1], F_DUPFD, 3)); /* not close-on-exec */
	execl(BROKER, "dbus-broker", "--controller", fd, "--machine-id",
	      "00000000000000000000000000000001", "--max-bytes", PLENTY, (char *)NULL);
	bench_die(BROKER);
}

static sd_bus *dial(const char *dir)
{
	sd_bus *bus = NULL;
	char address[192];

	snprintf(address, sizeof(address), "unix:path=%s", bench_path(dir, "dbus"));
	check(sd_bus_new(&bus), "sd_bus_new");
	check(sd_bus_set_address(bus, address), "sd_bus_set_address");
	check(sd_bus_set_bus_client(bus, true), "sd_bus_set_bus_client");
	check(sd_bus_start(bus), "sd_bus_start");
	return bus;
}

/* ---- calls ---- */

static int on_echo(sd_bus_message *m, void *userdata _unused_, sd_bus_error *error _unused_)
{
	sd_bus_message *reply = NULL;
	const void *data;
	size_t len;

	check(sd_bus_message_read_array(m, 'y', &data, &len), "read_array");
	check(sd_bus_message_new_method_return(m, &reply), "method_return");
	check(sd_bus_message_append_array(reply, 'y', data, len), "append_array");
	check(sd_bus_send(NULL, reply, NULL), "sd_bus_send");
	sd_bus_message_unref(reply);
	return 1;
}

static void dbus_serve(const char *dir, int ready)
{
	static const sd_bus_vtable vtable[] = {
		SD_BUS_VTABLE_START(0),
		SD_BUS_METHOD("Echo", "ay", "ay", on_echo, SD_BUS_VTABLE_UNPRIVILEGED),
		SD_BUS_VTABLE_END,
	};
	sd_bus *bus = dial(dir);

	check(sd_bus_add_object_vtable(bus, NULL, OBJECT, SERVICE, vtable, NULL), "vtable");
	check(sd_bus_request_name(bus, SERVICE, 0), "sd_bus_request_name");
	close(ready);
	serve_bus(bus);
}

static void *dbus_connect(const char *dir)
{
	static struct dbus_client c;

	c.bus = dial(dir);
	return &c;
}

static sd_bus_message *new_call(sd_bus *bus, size_t size)
{
	static const uint8_t data[BENCH_MESSAGE_MAX];
	sd_bus_message *m = NULL;

	check(sd_bus_message_new_method_call(bus, &m, SERVICE, OBJECT, SERVICE, "Echo"), "call");
	check(sd_bus_message_append_array(m, 'y', data, size), "append_array");
	return m;
}

static void check_answer(sd_bus_message *reply, size_t size)
{
	const void *data;
	size_t len;

	check(sd_bus_message_read_array(reply, 'y', &data, &len), "dbus: answer");
	bench_expect(len == size, "dbus: the answer has another size");
}

static void dbus_call(void *client, size_t size)
{
	struct dbus_client *c = client;
	sd_bus_message *m = new_call(c->bus, size);
	sd_bus_message *reply = NULL;

	check(sd_bus_call(c->bus, m, 0, NULL, &reply), "sd_bus_call");
	check_answer(reply, size);
	sd_bus_message_unref(reply);
	sd_bus_message_unref(m);
}

static int on_answer(sd_bus_message *reply, void *userdata, sd_bus_error *error _unused_)
{
	struct dbus_client *c = userdata;

	if (sd_bus_message_is_method_error(reply, NULL)) {
		bench_fail("dbus call", sd_bus_message_get_error(reply)->message);
	}
	check_answer(reply, c->size);
	c->n_received++;
	return 1;
}

static void dbus_call_many(void *client, size_t size, size_t n)
{
	struct dbus_client *c = client;
	size_t n_sent = 0;

	c->size = size;
	c->n_received = 0;
	while (c->n_received < n) {
		int r;

		for (; n_sent < n && n_sent - c->n_received < BENCH_WINDOW; n_sent++) {
			sd_bus_message *m = new_call(c->bus, size);

			check(sd_bus_call_async(c->bus, NULL, m, on_answer, c, 0), "call_async");
			sd_bus_message_unref(m);
		}
		r = sd_bus_process(c->bus, NULL);
		check(r, "sd_bus_process");
		if (r == 0) {
			check(sd_bus_wait(c->bus, UINT64_MAX), "sd_bus_wait");
		}
	}
}

/* ---- publications: signals ---- */

static void *dbus_publisher(const char *dir, struct bench_fan *fan)
{
	static struct dbus_publisher p;

	p.fan = fan;
	p.bus = dial(dir);
	check(sd_event_new(&p.loop), "sd_event_new");
	check(sd_bus_attach_event(p.bus, p.loop, 0), "attach_event");
	bench_fan_watch(fan, p.loop);
	return &p;
}

static void dbus_publish(void *publisher, const void *data, size_t len)
{
	struct dbus_publisher *p = publisher;
	sd_bus_message *m = NULL;

	check(sd_bus_message_new_signal(p->bus, &m, OBJECT, SERVICE, "Published"), "signal");
	check(sd_bus_message_append_array(m, 'y', data, len), "append_array");
	check(sd_bus_send(p->bus, m, NULL), "sd_bus_send");
	sd_bus_message_unref(m);
}

static void dbus_wait(void *publisher, int timeout_ms)
{
	struct dbus_publisher *p = publisher;

	bench_fan_run(p->fan, p->loop, timeout_ms);
}

static int on_signal(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_)
{
	struct dbus_subscriber *sub = userdata;
	const void *data;
	size_t len;

	check(sd_bus_message_read_array(m, 'y', &data, &len), "read_array");
	bench_fan_take(sub->fan, sub->i, data, len);
	return 1;
}

static void dbus_subscribe(const char *dir, struct bench_fan *fan, size_t i)
{
	struct dbus_subscriber sub = { fan, i };
	sd_bus *bus = dial(dir);

	check(sd_bus_match_signal(bus, NULL, NULL, OBJECT, SERVICE, "Published", on_signal, &sub),
	      "match_signal");
	serve_bus(bus);
}

const struct bench_peer peer_dbus = {
	.name = "D-Bus, dbus-broker",
	.package = "dbus-broker",
	.is_installed = is_installed,
	.broker = dbus_broker,
	.serve = dbus_serve,
	.connect = dbus_connect,
	.call = dbus_call,
	.call_many = dbus_call_many,
	.publisher = dbus_publisher,
	.publish = dbus_publish,
	.wait = dbus_wait,
	.subscribe = dbus_subscribe,
};
