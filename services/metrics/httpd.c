/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libmicrohttpd is given a listening socket and run from its epoll fd, without
 * threads of its own. It is loaded when the first connection comes: until then
 * the socket is watched alone.
 */
#include "services/metrics/httpd.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "libcommon/err.h"
#include "libcommon/list.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"
#include "libcommon/parse.h"
#include "services/metrics/mhd_lib.h"

#define CONNECTIONS_MAX	 64 /* scrapers of one host are a handful */
#define ENDING_MAX	 64 /* that make room, until libmicrohttpd has seen their end */
#define IDLE_SECONDS	 15
#define CONNECTION_BYTES 16384

struct peer {
	struct list link; /* of httpd.peers; not when it makes room for another one */
	int fd;		  /* libmicrohttpd's */
};

struct httpd {
	sd_event *loop;
	int fd;			   /* listening; the daemon's own when there is one */
	struct MHD_Daemon *daemon; /* NULL before the first connection */
	sd_event_source *io;	   /* of fd, then of the daemon's epoll fd */
	sd_event_source *timer;
	httpd_handler_fn fn;
	void *userdata;
	unsigned int port;
	struct list peers; /* oldest first */
	size_t n_peers;
};

/* ---- connections ---- */

static void leave(struct httpd *h, struct peer *p)
{
	h->n_peers -= list_is_linked(&p->link);
	list_unlink(&p->link);
}

/* One that is slow on purpose must not keep others out: the oldest makes room. */
static void on_connection(void *userdata, struct MHD_Connection *connection, void **context,
			  enum MHD_ConnectionNotificationCode what)
{
	struct httpd *h = userdata;
	struct peer *p = *context;

	if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (p) {
			leave(h, p);
			free(p);
		}
		return;
	}
	*context = p = calloc(1, sizeof(*p));
	if (!p) {
		return;
	}
	p->fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
	list_append(&h->peers, &p->link);
	h->n_peers++;
	if (h->n_peers > CONNECTIONS_MAX) {
		p = list_entry(h->peers.next, struct peer, link);
		leave(h, p);
		shutdown(p->fd, SHUT_RDWR);
	}
}

/* ---- requests ---- */

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned int status,
			      const char *type, struct strbuf *body)
{
	struct MHD_Response *response;
	enum MHD_Result r;
	size_t len = body->len;
	char *data = strbuf_steal(body);

	if (!data) {
		return MHD_NO;
	}
	response = MHD_create_response_from_buffer(len, data, MHD_RESPMEM_MUST_FREE);
	if (!response) {
		free(data);
		return MHD_NO;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED) {
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	}
	r = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return r;
}

static enum MHD_Result on_request(void *userdata, struct MHD_Connection *connection,
				  const char *url, const char *method, const char *version _unused_,
				  const char *upload _unused_, size_t *upload_size,
				  void **connection_state)
{
	static char seen; /* its address marks a request whose headers were seen */
	_cleanup_(strbuf_deinit) struct strbuf body = STRBUF_NULL;
	const char *type = "text/plain; charset=utf-8";
	struct httpd *h = userdata;
	unsigned int status;

	if (!*connection_state) {
		*connection_state = &seen;
		return MHD_YES;
	}
	if (*upload_size) {
		*upload_size = 0; /* a body is read and forgotten */
		return MHD_YES;
	}
	if (!streq(method, "GET") && !streq(method, "HEAD")) {
		strbuf_puts(&body, "only GET is allowed\n");
		return answer(connection, MHD_HTTP_METHOD_NOT_ALLOWED, type, &body);
	}
	status = h->fn(url, &body, &type, h->userdata);
	if (strbuf_error(&body)) {
		return MHD_NO;
	}
	return answer(connection, status, type, &body);
}

/* ---- loop ---- */

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata);

static unsigned int n_connections(const struct httpd *h)
{
	return MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS)->num_connections;
}

static int run(struct httpd *h)
{
	unsigned int before = n_connections(h);
	MHD_UNSIGNED_LONG_LONG ms;

	MHD_run(h->daemon);
	/* At its limit libmicrohttpd stops listening, and begins again only in the run after the
	 * one in which a connection ended; nothing else would cause that run. */
	if (n_connections(h) < before) {
		MHD_run(h->daemon);
	}
	if (MHD_get_timeout(h->daemon, &ms) == MHD_YES) {
		return loop_after(h->loop, &h->timer, ms * USEC_PER_MSEC, on_timer, h);
	}
	h->timer = sd_event_source_unref(h->timer);
	return 0;
}

static int on_timer(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
	return run(userdata);
}

static int on_io(sd_event_source *source _unused_, int fd _unused_, uint32_t events _unused_,
		 void *userdata)
{
	return run(userdata);
}

/* ---- listening ---- */

static int parse_address(const char *text, struct sockaddr_storage *out, socklen_t *len)
{
	const char *colon = strrchr(text, ':');
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
	struct sockaddr_in *in = (struct sockaddr_in *)out;
	char host[64];
	uint32_t port;
	size_t n = colon ? (size_t)(colon - text) : 0;

	if (!colon || n >= sizeof(host) || parse_u32(colon + 1, strlen(colon + 1), 65535, &port)) {
		return -EINVAL;
	}
	memset(out, 0, sizeof(*out));
	if (n > 2 && text[0] == '[' && text[n - 1] == ']') {
		memcpy(host, text + 1, n - 2);
		host[n - 2] = 0;
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons((uint16_t)port);
		*len = sizeof(*in6);
		return inet_pton(AF_INET6, host, &in6->sin6_addr) == 1 ? 0 : -EINVAL;
	}
	memcpy(host, text, n);
	host[n] = 0;
	in->sin_family = AF_INET;
	in->sin_port = htons((uint16_t)port);
	*len = sizeof(*in);
	return inet_pton(AF_INET, host, &in->sin_addr) == 1 ? 0 : -EINVAL;
}

static int listen_at(const char *address, unsigned int *port)
{
	struct sockaddr_storage a;
	socklen_t len;
	int one = 1;
	int r = parse_address(address, &a, &len);

	if (r < 0) {
		return r;
	}
	_cleanup_(xclosep) int fd = socket(a.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
					   0);
	if (fd < 0) {
		return err_errno();
	}
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&a, len) < 0 || listen(fd, CONNECTIONS_MAX) < 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &len) < 0) {
		return err_errno();
	}
	*port = ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port
					      : ((struct sockaddr_in *)&a)->sin_port);
	return STEAL_FD(fd);
}

/* From now on libmicrohttpd accepts. */
static int start_daemon(struct httpd *h)
{
	const union MHD_DaemonInfo *info;
	int r = mhd_lib_load();

	if (r < 0) {
		return r;
	}
	h->io = sd_event_source_disable_unref(h->io);
	h->daemon = MHD_start_daemon(
		MHD_USE_EPOLL, 0, NULL, NULL, on_request, h, MHD_OPTION_LISTEN_SOCKET, h->fd,
		MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_CONNECTION_LIMIT,
		CONNECTIONS_MAX + ENDING_MAX, MHD_OPTION_CONNECTION_TIMEOUT, IDLE_SECONDS,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES, MHD_OPTION_END);
	if (!h->daemon) {
		return -EIO;
	}
	h->fd = -1;
	info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info) {
		return -EIO;
	}
	return sd_event_add_io(h->loop, &h->io, info->epoll_fd, EPOLLIN, on_io, h);
}

static int on_first(sd_event_source *source _unused_, int fd _unused_, uint32_t events _unused_,
		    void *userdata)
{
	struct httpd *h = userdata;
	int r = start_daemon(h);

	if (r < 0) {
		log_error("cannot serve HTTP: %s; restart xenmesh-metrics when that is mended",
			  err_text(r));
		h->io = sd_event_source_disable_unref(h->io);
		h->fd = xclose(h->fd);
		return 0;
	}
	return run(h);
}

static int start(struct httpd *h, const char *address)
{
	int r = mhd_lib_check();

	if (r < 0) {
		return r;
	}
	h->fd = listen_at(address, &h->port);
	if (h->fd < 0) {
		return h->fd;
	}
	return sd_event_add_io(h->loop, &h->io, h->fd, EPOLLIN, on_first, h);
}

int httpd_new(struct httpd **out, sd_event *loop, const char *address, httpd_handler_fn fn,
	      void *userdata)
{
	struct httpd *h = calloc(1, sizeof(*h));
	int r;

	if (!h) {
		return -ENOMEM;
	}
	h->loop = sd_event_ref(loop);
	h->fd = -1;
	list_init(&h->peers);
	h->fn = fn;
	h->userdata = userdata;
	r = start(h, address);
	if (r < 0) {
		httpd_free(h);
		return r;
	}
	*out = h;
	return 0;
}

struct httpd *httpd_free(struct httpd *h)
{
	if (h) {
		sd_event_source_disable_unref(h->io);
		sd_event_source_disable_unref(h->timer);
		if (h->daemon) {
			MHD_stop_daemon(h->daemon);
		}
		h->fd = xclose(h->fd);
		sd_event_unref(h->loop);
		free(h);
	}
	return NULL;
}

unsigned int httpd_port(const struct httpd *h)
{
	return h->port;
}
