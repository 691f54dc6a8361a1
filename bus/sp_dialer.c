/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The addresses of a host are tried one after the other; after the last one
 * there is a pause, and names are looked up anew.
 */
#include "bus/sp_dialer.h"

#include <stdio.h>
#include <sys/un.h>

#include "bus/sp_tcp.h"
#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"
#include "libcommon/uuid.h"

#define RECONNECT_MIN_MS 100
#define RECONNECT_MAX_MS 1000
#define REDIAL_FIRST_MS	 10 /* after a connection that had lasted, and between two addresses */

static void redial_later(struct sp_dialer *d);

static int connect_unix(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int r;

	if (fd < 0) {
		return err_errno();
	}
	memcpy(address.sun_path, path, strlen(path) + 1);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		r = err_errno();
		close(fd);
		return r;
	}
	return fd;
}

/* What an administrator has to mend is told once, until it is something else. */
static void complain(struct sp_dialer *d, const char *why)
{
	if (strncmp(d->complaint, why, sizeof(d->complaint) - 1) != 0) {
		snprintf(d->complaint, sizeof(d->complaint), "%s", why);
		log_error("%s: %s", d->url, d->complaint);
	}
}

static void connect_next(struct sp_dialer *d)
{
	struct sp_pool_join join = { .scheme = d->where.scheme, .server_name = d->where.host };
	int r = -EHOSTUNREACH;

	if (d->where.scheme == SP_IPC) {
		r = connect_unix(d->where.path);
	} else if (d->next < d->found.n) {
		r = sp_tcp_connect(&d->found.list[d->next++]);
		join.is_connecting = true;
	}
	if (r >= 0) {
		r = sp_pool_add(d->pool, r, &join, &d->conn);
	}
	if (r < 0) {
		log_debug("cannot connect to %s: %s", d->url, err_text(r));
		d->conn = NULL;
		redial_later(d);
		return;
	}
	d->conn->owner = d;
}

static void on_found(const struct sp_addresses *found, const char *why, void *userdata)
{
	struct sp_dialer *d = userdata;

	d->resolve = sp_resolve_free(d->resolve);
	d->found = *found;
	if (why) {
		char text[160];

		snprintf(text, sizeof(text), "cannot find the host: %s", why);
		complain(d, text);
	}
	connect_next(d);
}

static void connect_now(struct sp_dialer *d)
{
	int r;

	if (d->where.scheme == SP_IPC || d->next < d->found.n) {
		connect_next(d);
		return;
	}
	d->next = 0;
	if (sp_resolve_literal(&d->where, &d->found) == 0) {
		connect_next(d);
		return;
	}
	r = sp_resolve_new(&d->resolve, d->pool->loop, &d->where, on_found, d);
	if (r < 0) {
		log_error("cannot look up %s: %s", d->where.host, err_text(r));
		redial_later(d);
	}
}

static int on_redial(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
	connect_now(userdata);
	return 0;
}

/* With a quarter more or less, so that the clients of a service do not come all at once. */
static void redial_later(struct sp_dialer *d)
{
	bool has_next = d->next < d->found.n; /* another address of this round */
	uint64_t now = clock_boot_ns();
	uint64_t delay_us;
	uint32_t dice;
	int r;

	if (d->up_since_ns && now - d->up_since_ns >= RECONNECT_MAX_MS * NSEC_PER_MSEC) {
		d->delay_ms = REDIAL_FIRST_MS;
	} else if (!has_next) {
		d->delay_ms = MIN(MAX(2 * d->delay_ms, RECONNECT_MIN_MS), RECONNECT_MAX_MS);
	}
	d->up_since_ns = 0;
	random_bytes(&dice, sizeof(dice));
	delay_us = (has_next ? REDIAL_FIRST_MS : d->delay_ms) * USEC_PER_MSEC * (75 + dice % 51) /
		   100;
	r = loop_after(d->pool->loop, &d->timer, MIN(delay_us, USEC_PER_SEC), on_redial, d);
	if (r < 0) {
		log_error("cannot arm the timer to connect to %s again: %s", d->url, err_text(r));
	}
}

void sp_dialer_on_up(struct sp_dialer *d)
{
	d->up_since_ns = clock_boot_ns();
	d->complaint[0] = '\0';
	d->found.n = d->next = 0; /* the next time from the beginning */
}

void sp_dialer_on_down(struct sp_dialer *d)
{
	const char *why = d->conn->stream.tls ? sp_tls_failure(d->conn->stream.tls) : NULL;

	if (why) {
		complain(d, why);
	}
	d->conn = NULL;
	redial_later(d);
}

int sp_dialer_new(struct sp_dialer **out, struct sp_pool *pool, const char *url)
{
	struct sp_dialer *d = calloc(1, sizeof(*d));
	int r;

	if (!d) {
		return -ENOMEM;
	}
	d->pool = pool;
	d->url = strdup(url);
	r = d->url ? sp_address_parse(&d->where, url) : -ENOMEM;
	if (r == 0 && d->where.scheme == SP_TLS) {
		r = sp_pool_prepare_tls(pool, url);
	}
	if (r < 0) {
		sp_dialer_free(d);
		return r;
	}
	connect_now(d);
	*out = d;
	return 0;
}

struct sp_dialer *sp_dialer_free(struct sp_dialer *d)
{
	list_unlink(&d->link);
	sd_event_source_disable_unref(d->timer);
	sp_resolve_free(d->resolve);
	free(d->url);
	free(d);
	return NULL;
}
