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
#include "libcommon/loop.h"

#define ACCEPTS_A_TURN	64
#define PAUSE_US	(100 * USEC_PER_MSEC)
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

static int on_pause_over(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
	struct sp_tcp_listener *l = userdata;

	sd_event_source_set_enabled(l->io, SD_EVENT_ON);
	return 0;
}

/* The connection waits in the backlog, which would wake us again and again. */
static void pause_accepting(struct sp_tcp_listener *l, int error)
{
	log_warning("%s: cannot accept: %s; trying again (raise LimitNOFILE= of the unit)", l->url,
		    err_text(error));
	if (loop_after(l->loop, &l->pause, PAUSE_US, on_pause_over, l) == 0) {
		sd_event_source_set_enabled(l->io, SD_EVENT_OFF);
	}
}

static int on_connection(sd_event_source *source _unused_, int listen_fd, uint32_t events _unused_,
			 void *userdata)
{
	struct sp_tcp_listener *l = userdata;

	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			tune(fd);
			l->on_accept(l, fd, l->userdata);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
			   errno == ENOMEM) {
			pause_accepting(l, err_errno());
			break;
		} else if (errno == EAGAIN) {
			break;
		}
	}
	return 0;
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
	r = l->url ? bind_any(where) : -ENOMEM;
	if (r >= 0) {
		l->fd = r;
		r = sd_event_add_io(loop, &l->io, l->fd, EPOLLIN, on_connection, l);
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
		sd_event_source_disable_unref(l->pause);
		sd_event_source_disable_unref(l->io);
		xclose(l->fd);
		sd_event_unref(l->loop);
		free(l->url);
		free(l);
	}
	return NULL;
}
