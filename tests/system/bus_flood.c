/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A hostile peer: bus_flood PATH FRAMES SEED sends so many frames to a rpc
 * socket as fast as they are taken, over some connections at once, each made
 * anew when it is closed.  It knows nothing of our code: the bytes are made
 * here, as somebody else would make them.
 *
 * Says at the end how many frames of which kind were sent, in one line.
 */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define N_PEERS	   8
#define HEADER	   9	  /* type and length of a frame over ipc */
#define BOMB_PARTS 100000 /* empty strings in a request: 2 bytes each, more in memory */
#define DEPTH	   60000  /* of groups in a request that knows none */
#define BODY_MAX   (2 * BOMB_PARTS + 128)
#define BATCH	   (64 << 10) /* bytes gathered before a write */

enum kind {
	NOISE,
	RAW_NOISE,
	NOISY_CALL,
	NO_METHOD,
	NO_REQUEST,
	BACKTRACE,
	HALF,
	OVERSIZE,
	DEEP,
	BOMB,
	KINDS
};

/* Of 100,000 frames so many are of the kind; the rest is NOISE. Those that end the connection,
 * because they are no SP, are few: what follows them would not be read. */
static const struct {
	const char *name;
	uint32_t share;
	bool ends; /* nothing can follow */
} kinds[KINDS] = {
	[NOISE] = { "noise", 0, false },
	[RAW_NOISE] = { "raw_noise", 5, false },
	[NOISY_CALL] = { "noisy_call", 30000, false },
	[NO_METHOD] = { "no_method", 5000, false },
	[NO_REQUEST] = { "no_request", 5000, false },
	[BACKTRACE] = { "backtrace", 5, false },
	[HALF] = { "half", 5, true },
	[OVERSIZE] = { "oversize", 5, true },
	[DEEP] = { "deep", 20, false },
	[BOMB] = { "bomb", 20, false },
};

struct peer {
	int fd;
	size_t len, sent; /* of what waits in data */
	uint8_t data[BATCH + HEADER + BODY_MAX];
	bool is_ending;
};

static uint64_t state;

static uint64_t next_random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void die(const char *what)
{
	fprintf(stderr, "bus_flood: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void fill(uint8_t *to, size_t len)
{
	for (size_t i = 0; i < len; i += sizeof(uint64_t)) {
		uint64_t r = next_random();

		memcpy(to + i, &r, len - i < sizeof(r) ? len - i : sizeof(r));
	}
}

/* ---- frames ---- */

static size_t put_varint(uint8_t *to, uint64_t value)
{
	size_t n = 0;

	for (; value >= 128; value >>= 7) {
		to[n++] = (uint8_t)(value | 128);
	}
	to[n++] = (uint8_t)value;
	return n;
}

/* A number that ends the backtrace, and a Call with request_id and method. */
static size_t put_call(uint8_t *to, const char *method)
{
	size_t n = 4 + 2;

	fill(to, 4);
	to[0] |= 0x80;
	to[4] = 0x0a;
	to[5] = 16;
	fill(to + n, 16);
	n += 16;
	to[n++] = 0x12;
	n += put_varint(to + n, strlen(method));
	return n + (size_t)sprintf((char *)to + n, "%s", method);
}

static size_t put_payload(uint8_t *to, const uint8_t *unit, size_t unit_len, size_t times)
{
	size_t n = 0;

	to[n++] = 0x32;
	n += put_varint(to + n, unit_len * times);
	for (size_t i = 0; i < times; i++, n += unit_len) {
		memcpy(to + n, unit, unit_len);
	}
	return n;
}

static size_t put_body(uint8_t *to, enum kind kind)
{
	size_t n = next_random() % 200;

	switch (kind) {
	case NOISY_CALL:
		n = put_call(to, "xenmesh.v1.Bus/Snapshot");
		fill(to + n, 40);
		return n + next_random() % 40;
	case NO_METHOD:
		return put_call(to, "xenmesh.v1.Bus/Nothing");
	case NO_REQUEST:
		n = put_call(to, "xenmesh.v1.Bus/Changes");
		return n + put_payload(to + n, (const uint8_t *)"\xff", 1, 30);
	case BACKTRACE: /* that has no end */
		memset(to, 0, 64);
		return 4 + n % 16 * 4;
	case DEEP:
		n = put_call(to, "xenmesh.v1.Bus/Ping");
		return n + put_payload(to + n, (const uint8_t *)"\x0b", 1, DEPTH);
	case BOMB:
		n = put_call(to, "xenmesh.v1.Bus/Snapshot");
		return n + put_payload(to + n, (const uint8_t *)"\x0a\x00", 2, BOMB_PARTS);
	case NOISE:
		fill(to, 4 + n);
		to[0] |= 0x80;
		return 4 + n;
	default:
		fill(to, n);
		return n;
	}
}

static void put_frame(struct peer *p, enum kind kind)
{
	uint8_t *frame = p->data + p->len;
	size_t body = put_body(frame + HEADER, kind);
	uint64_t announced = kind == OVERSIZE ? next_random() | 1ULL << 32
			     : kind == HALF   ? body + 1 + next_random() % 1000
					      : body;

	frame[0] = 1;
	for (int i = 0; i < 8; i++) {
		frame[1 + i] = (uint8_t)(announced >> (56 - 8 * i));
	}
	p->len += HEADER + body;
	p->is_ending = kinds[kind].ends;
}

static enum kind choose(void)
{
	uint32_t r = (uint32_t)(next_random() >> 20) % 100000;

	for (int k = NOISE + 1; k < KINDS; k++) {
		if (r < kinds[k].share) {
			return (enum kind)k;
		}
		r -= kinds[k].share;
	}
	return NOISE;
}

/* ---- connections ---- */

static void dial(struct peer *p, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (p->fd >= 0) {
		close(p->fd);
	}
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	p->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (p->fd < 0 || connect(p->fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		die(path);
	}
	memcpy(p->data, "\0SP\0\0\x30\0\0", 8);
	p->len = 8;
	p->sent = 0;
	p->is_ending = false;
}

/* True: the connection is at its end. */
static bool pump(struct peer *p, short revents)
{
	static uint8_t sink[64 << 10];
	ssize_t n = 0;

	if (revents & (POLLIN | POLLHUP | POLLERR)) {
		n = recv(p->fd, sink, sizeof(sink), MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN)) {
			return true;
		}
	}
	if (revents & POLLOUT) {
		n = send(p->fd, p->data + p->sent, p->len - p->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN) {
			return true;
		}
		p->sent += n > 0 ? (size_t)n : 0;
	}
	return p->is_ending && p->sent == p->len;
}

static uint64_t refill(struct peer *p, uint64_t left, uint64_t counts[static KINDS])
{
	uint64_t n = 0;

	if (p->sent == p->len) {
		p->sent = p->len = 0;
	}
	while (p->sent == 0 && p->len < BATCH && n < left && !p->is_ending) {
		enum kind kind = choose();

		put_frame(p, kind);
		counts[kind]++;
		n++;
	}
	return n;
}

int main(int argc, char **argv)
{
	static struct peer peers[N_PEERS];
	struct pollfd fds[N_PEERS];
	uint64_t counts[KINDS] = { 0 };
	uint64_t left, dials = N_PEERS;

	if (argc != 4) {
		fputs("Usage: bus_flood PATH FRAMES SEED\n", stderr);
		return 2;
	}
	left = strtoull(argv[2], NULL, 10);
	state = strtoull(argv[3], NULL, 10) * 2 + 1;
	for (size_t i = 0; i < N_PEERS; i++) {
		peers[i].fd = -1;
		dial(&peers[i], argv[1]);
	}
	for (bool is_pending = true; is_pending;) {
		is_pending = left > 0;
		for (size_t i = 0; i < N_PEERS; i++) {
			left -= refill(&peers[i], left, counts);
			fds[i].fd = peers[i].fd;
			fds[i].events = (short)(POLLIN | (peers[i].len ? POLLOUT : 0));
			is_pending |= peers[i].len > 0;
		}
		if (is_pending && poll(fds, N_PEERS, -1) < 0) {
			die("poll");
		}
		for (size_t i = 0; is_pending && i < N_PEERS; i++) {
			if (fds[i].revents && pump(&peers[i], fds[i].revents)) {
				dial(&peers[i], argv[1]);
				dials++;
			}
		}
	}
	for (int k = 0; k < KINDS; k++) {
		printf("%s=%llu ", kinds[k].name, (unsigned long long)counts[k]);
	}
	printf("connections=%llu\n", (unsigned long long)dials);
	return 0;
}
