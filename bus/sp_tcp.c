/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A connection whose other host has died is noticed by keep-alive probes when
 * it is idle, and by what is not acknowledged otherwise, both within a minute.
 */
#include "bus/sp_tcp.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "libcommon/err.h"
#include "libcommon/log.h"

#define KEEP_IDLE_S	30
#define KEEP_INTERVAL_S 10
#define KEEP_PROBES	3
#define UNACKED_MS	60000

/* Options are a help only: without one of them the connection works too. */
static void tune(int fd)
{
	static const struct {
		int level, option, value;
	} table[] = {
		{ IPPROTO_TCP, TCP_NODELAY, 1 },
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, KEEP_IDLE_S },
		{ IPPROTO_TCP, TCP_KEEPINTVL, KEEP_INTERVAL_S },
		{ IPPROTO_TCP, TCP_KEEPCNT, KEEP_PROBES },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, UNACKED_MS },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		setsockopt(fd, table[i].level, table[i].option, &table[i].value, sizeof(int));
	}
}

int sp_tcp_connect(const struct sockaddr_storage *to)
{
	socklen_t len = to->ss_family == AF_INET ? sizeof(struct sockaddr_in)
						 : sizeof(struct sockaddr_in6);
	int fd = socket(to->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int r;

	if (fd < 0) {
		return err_errno();
	}
	tune(fd);
	if (connect(fd, (const struct sockaddr *)to, len) < 0 && errno != EINPROGRESS) {
		r = err_errno();
		close(fd);
		return r;
	}
	return fd;
}

void sp_tcp_peer_name(int fd, char *out, size_t size)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);

	if (getpeername(fd, (struct sockaddr *)&a, &len) < 0 ||
	    getnameinfo((struct sockaddr *)&a, len, out, (socklen_t)size, NULL, 0,
			NI_NUMERICHOST) != 0) {
		out[0] = '\0';
	}
}

/* ---- listening ---- */

static void on_connection(int fd, void *userdata)
{
	struct sp_tcp_listener *l = userdata;

	tune(fd);
	l->on_accept(l, fd, l->userdata);
}

static int bind_one(const struct addrinfo *a)
{
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	const int yes = 1, no = 0;
	int r;

	if (fd < 0) {
		return err_errno();
	}
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (a->ai_family == AF_INET6) {
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof(no)); /* `*` is both */
	}
	if (bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, SOMAXCONN) < 0) {
		r = err_errno();
		close(fd);
		return r;
	}
	return fd;
}

/* A bound socket, or -errno of the last address tried. */
static int bind_any(const struct sp_address *where)
{
	bool is_all = streq(where->host, "*");
	const int families[] = { is_all ? AF_INET6 : AF_UNSPEC, AF_INET };
	int r = -EADDRNOTAVAIL;

	for (size_t i = 0; i < (is_all ? 2 : 1) && r < 0 && r != -EADDRINUSE; i++) {
		const struct addrinfo hints = { .ai_family = families[i],
						.ai_socktype = SOCK_STREAM,
						.ai_flags = AI_PASSIVE | AI_NUMERICSERV };
		struct addrinfo *list = NULL;

		if (getaddrinfo(is_all ? NULL : where->host, where->port, &hints, &list) != 0) {
			continue;
		}
		for (const struct addrinfo *a = list; a && r < 0; a = a->ai_next) {
			r = bind_one(a);
		}
		freeaddrinfo(list);
	}
	return r;
}

int sp_tcp_listener_new(struct sp_tcp_listener **out, sd_event *loop, const char *url,
			const struct sp_address *where,
			void (*on_accept)(struct sp_tcp_listener *l, int fd, void *userdata),
			void *userdata)
{
	struct sp_tcp_listener *l = calloc(1, sizeof(*l));
	int r;

	if (!l) {
		return -ENOMEM;
	}
	l->loop = sd_event_ref(loop);
	l->where = *where;
	l->on_accept = on_accept;
	l->userdata = userdata;
	l->url = strdup(url);
	l->fd = -1;
	l->accept = (struct sp_accept){
		.loop = loop, .where = l->url, .fn = on_connection, .userdata = l
	};
	r = l->url ? bind_any(where) : -ENOMEM;
	if (r >= 0) {
		l->fd = r;
		r = sp_accept_start(&l->accept, l->fd);
	}
	if (r < 0) {
		log_error("cannot listen on %s: %s", url, err_text(r));
		sp_tcp_listener_free(l);
		return r;
	}
	*out = l;
	return 0;
}

struct sp_tcp_listener *sp_tcp_listener_free(struct sp_tcp_listener *l)
{
	if (l) {
		list_unlink(&l->link);
		sp_accept_stop(&l->accept);
		xclose(l->fd);
		sd_event_unref(l->loop);
		free(l->url);
		free(l);
	}
	return NULL;
}
