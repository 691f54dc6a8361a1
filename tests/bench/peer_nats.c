/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * NATS: its server on loopback (it has no unix sockets) and its plain text
 * protocol, which costs less than its C library with the threads of that.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "tests/bench/bus_peer.h"

#define BUFFER_SIZE (256U << 10)
#define SERVER	    "/usr/sbin/nats-server"
#define TRIES	    1000 /* of 10 ms */

struct nats {
	int fd;
	uint8_t *data; /* BUFFER_SIZE, received and not consumed: */
	size_t begin, end;
	struct bench_fan *fan;
};

struct nats_message {
	char reply_to[64];
	const uint8_t *payload; /* until the next one is taken */
	size_t len;
};

static bool is_installed(void)
{
	return bench_has_program("nats-server");
}

/* ---- the server ---- */

static int try_port(const char *dir)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	FILE *f = fopen(bench_path(dir, "nats-port"), "re");
	unsigned int port = 0;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	bench_expect(f && fscanf(f, "%u", &port) == 1 && fd >= 0, "nats-port");
	fclose(f);
	address.sin_port = htons((uint16_t)port);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* A free one, as good as certainly still free when the server takes it. */
static unsigned int choose_port(const char *dir)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	FILE *f = fopen(bench_path(dir, "nats-port"), "we");
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	bench_expect(f && fd >= 0 && bind(fd, (struct sockaddr *)&address, len) == 0 &&
			     getsockname(fd, (struct sockaddr *)&address, &len) == 0,
		     "nats: port");
	close(fd);
	fprintf(f, "%u\n", ntohs(address.sin_port));
	fclose(f);
	return ntohs(address.sin_port);
}

static void nats_broker(const char *dir, int ready)
{
	char port[8];
	int null;

	snprintf(port, sizeof(port), "%u", choose_port(dir));
	if (fork() == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (int i = 0; i < TRIES && try_port(dir) < 0; i++) {
			poll(NULL, 0, 10);
		}
		_exit(0);
	}
	close(ready);
	null = open("/dev/null", O_RDWR);
	dup2(null, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
	execlp("nats-server", "nats-server", "-a", "127.0.0.1", "-p", port, (char *)NULL);
	execl(SERVER, "nats-server", "-a", "127.0.0.1", "-p", port, (char *)NULL);
	bench_die("nats-server");
}

/* ---- the protocol ---- */

static void put(struct nats *c, struct iovec *iov, size_t n)
{
	size_t total = 0;

	for (size_t i = 0; i < n; i++) {
		total += iov[i].iov_len;
	}
	bench_expect(writev(c->fd, iov, (int)n) == (ssize_t)total, "nats: write");
}

static void put_text(struct nats *c, const char *text)
{
	put(c, &(struct iovec){ (void *)text, strlen(text) }, 1);
}

static void put_publication(struct nats *c, const char *subject, const char *reply_to,
			    const void *data, size_t len)
{
	char head[128];
	int n = snprintf(head, sizeof(head), "PUB %s %s %zu\r\n", subject, reply_to, len);

	put(c,
	    (struct iovec[]){ { head, (size_t)n }, { (void *)data, len }, { (void *)"\r\n", 2 } },
	    3);
}

static void more(struct nats *c)
{
	ssize_t n;

	if (c->begin > 0) {
		memmove(c->data, c->data + c->begin, c->end - c->begin);
		c->end -= c->begin;
		c->begin = 0;
	}
	n = recv(c->fd, c->data + c->end, BUFFER_SIZE - c->end, 0);
	if (n <= 0) {
		bench_fail("nats", "the server has hung up");
	}
	c->end += (size_t)n;
}

/* One line, NUL for CR LF. */
static char *take_line(struct nats *c)
{
	for (;;) {
		uint8_t *line = c->data + c->begin;
		uint8_t *end = memchr(line, '\r', c->end - c->begin);

		if (end && end + 1 < c->data + c->end) {
			*end = '\0';
			c->begin = (size_t)(end + 2 - c->data);
			return (char *)line;
		}
		more(c);
	}
}

/* Blocks until there is a message. */
static void take(struct nats *c, struct nats_message *m)
{
	char first[64], second[64];
	const char *line;
	int n;

	while (line = take_line(c), !str_starts(line, "MSG ")) {
		if (str_starts(line, "PING")) {
			put_text(c, "PONG\r\n");
		} else if (str_starts(line, "-ERR")) {
			bench_fail("nats", line);
		}
	}
	n = sscanf(line, "MSG %*s %*s %63s %63s", first, second);
	bench_expect(n > 0, "nats: MSG");
	snprintf(m->reply_to, sizeof(m->reply_to), "%s", n == 2 ? first : "");
	m->len = strtoul(n == 2 ? second : first, NULL, 10);
	while (c->end - c->begin < m->len + 2) {
		more(c);
	}
	m->payload = c->data + c->begin;
	c->begin += m->len + 2;
}

static struct nats *dial(const char *dir, const char *subject)
{
	struct nats *c = calloc(1, sizeof(*c));
	const int one = 1;
	char text[128];

	bench_expect(c, "nats");
	c->fd = try_port(dir);
	c->data = malloc(BUFFER_SIZE);
	bench_expect(c->fd >= 0 && c->data, "nats: connect");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	put_text(c, "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n");
	if (subject) {
		snprintf(text, sizeof(text), "SUB %s 1\r\n", subject);
		put_text(c, text);
	}
	put_text(c, "PING\r\n");
	while (!str_starts(take_line(c), "PONG")) {
	}
	return c;
}

/* ---- calls ---- */

static void nats_serve(const char *dir, int ready)
{
	struct nats *c = dial(dir, "echo");
	struct nats_message m;

	close(ready);
	for (;;) {
		take(c, &m);
		put_publication(c, m.reply_to, "", m.payload, m.len);
	}
}

static void *nats_connect(const char *dir)
{
	return dial(dir, "_INBOX.1");
}

static void nats_call_many(void *client, size_t size, size_t n)
{
	static const uint8_t data[BENCH_MESSAGE_MAX];
	struct nats *c = client;
	struct nats_message m;
	size_t n_sent = 0;

	for (size_t n_received = 0; n_received < n; n_received++) {
		for (; n_sent < n && n_sent - n_received < BENCH_WINDOW; n_sent++) {
			put_publication(c, "echo", "_INBOX.1", data, size);
		}
		take(c, &m);
		bench_expect(m.len == size, "nats: the answer has another size");
	}
}

static void nats_call(void *client, size_t size)
{
	nats_call_many(client, size, 1);
}

/* ---- publications ---- */

static void *nats_publisher(const char *dir, struct bench_fan *fan)
{
	struct nats *c = dial(dir, NULL);

	c->fan = fan;
	return c;
}

static void nats_publish(void *publisher, const void *data, size_t len)
{
	put_publication(publisher, "fan", "", data, len);
}

static void nats_wait(void *publisher, int timeout_ms)
{
	struct nats *c = publisher;

	bench_fan_poll(c->fan, timeout_ms);
}

static void nats_subscribe(const char *dir, struct bench_fan *fan, size_t i)
{
	struct nats *c = dial(dir, "fan");
	struct nats_message m;

	for (;;) {
		take(c, &m);
		bench_fan_take(fan, i, m.payload, m.len);
	}
}

const struct bench_peer peer_nats = {
	.name = "NATS",
	.package = "nats-server",
	.is_installed = is_installed,
	.broker = nats_broker,
	.serve = nats_serve,
	.connect = nats_connect,
	.call = nats_call,
	.call_many = nats_call_many,
	.publisher = nats_publisher,
	.publish = nats_publish,
	.wait = nats_wait,
	.subscribe = nats_subscribe,
};
