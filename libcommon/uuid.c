/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Each call of the bus wants a few random bytes, so each thread fetches them
 * from the kernel by the hundred: one system call a dozen calls instead of
 * three a call.  None is given out twice: a forked child begins anew.
 *
 * UUIDs come from requests and from xenstore, so parsing takes the one form
 * that RFC 4122 writes and nothing else.
 */
#include "libcommon/uuid.h"

#include <pthread.h>
#include <sys/random.h>

static const char hex_digits[] = "0123456789abcdef";

#define STOCK_SIZE 512

static _Thread_local struct {
	uint8_t bytes[STOCK_SIZE];
	size_t n_left;
} stock;

static pthread_once_t guard_once = PTHREAD_ONCE_INIT;
static bool is_guarded;

static void forget(void)
{
	explicit_bzero(&stock, sizeof(stock));
}

static void guard(void)
{
	is_guarded = pthread_atfork(NULL, NULL, forget) == 0;
}

static void fetch(void *out, size_t len)
{
	char *p = out;

	while (len > 0) {
		ssize_t n = getrandom(p, len, 0);

		if (n < 0 && errno != EINTR) {
			abort(); /* only a kernel older than 3.17 or a broken seccomp filter */
		}
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
}

void random_bytes(void *out, size_t len)
{
	pthread_once(&guard_once, guard);
	if (!is_guarded || len > sizeof(stock.bytes) / 4) {
		fetch(out, len);
		return;
	}
	if (stock.n_left < len) {
		fetch(stock.bytes, sizeof(stock.bytes));
		stock.n_left = sizeof(stock.bytes);
	}
	stock.n_left -= len;
	memcpy(out, stock.bytes + stock.n_left, len);
	explicit_bzero(stock.bytes + stock.n_left, len);
}

void uuid_random(struct uuid *out)
{
	random_bytes(out->bytes, sizeof(out->bytes));
	out->bytes[6] = (uint8_t)((out->bytes[6] & 0x0f) | 0x40);
	out->bytes[8] = (uint8_t)((out->bytes[8] & 0x3f) | 0x80);
}

static bool is_dash_before_byte(size_t i)
{
	return i == 4 || i == 6 || i == 8 || i == 10;
}

void uuid_format(const struct uuid *u, char out[static 37])
{
	for (size_t i = 0; i < sizeof(u->bytes); i++) {
		if (is_dash_before_byte(i)) {
			*out++ = '-';
		}
		*out++ = hex_digits[u->bytes[i] >> 4];
		*out++ = hex_digits[u->bytes[i] & 15];
	}
	*out = '\0';
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9') {
		return c - '0';
	}
	if (c >= 'a' && c <= 'f') {
		return c - 'a' + 10;
	}
	if (c >= 'A' && c <= 'F') {
		return c - 'A' + 10;
	}
	return -1;
}

int uuid_parse(const char *text, struct uuid *out)
{
	struct uuid u;

	for (size_t i = 0; i < sizeof(u.bytes); i++) {
		int high, low;

		if (is_dash_before_byte(i) && *text++ != '-') {
			return -EINVAL;
		}
		high = hex_value(text[0]);
		low = high < 0 ? -1 : hex_value(text[1]);
		if (low < 0) {
			return -EINVAL;
		}
		u.bytes[i] = (uint8_t)(high << 4 | low);
		text += 2;
	}
	if (*text != '\0') {
		return -EINVAL;
	}
	*out = u;
	return 0;
}

bool uuid_is_zero(const struct uuid *u)
{
	static const struct uuid zero;

	return memcmp(u, &zero, sizeof(zero)) == 0;
}

bool uuid_is_canonical(const char *text)
{
	struct uuid u;
	char canonical[37];

	if (uuid_parse(text, &u) < 0) {
		return false;
	}
	uuid_format(&u, canonical);
	return streq(text, canonical);
}
