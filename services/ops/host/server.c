/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A connection without a hello costs one of the few places, so it is closed
 * after some seconds, or at once when its place is needed.
 */
#include "services/ops/host/server.h"

#include <libgen.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "libcommon/err.h"
#include "libcommon/link.h"
#include "libcommon/list.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"
#include "libcommon/traceparent.h"

#define ACCEPT_PAUSE_US (1000 * USEC_PER_MSEC)

struct peer {
	struct list list;
	struct host_server *server;
	struct link *link;
	sd_event_source *hello_limit;
	bool has_hello;
};

struct host_server {
	sd_event *loop;
	char *path;
	int fd;
	sd_event_source *listener;
	sd_event_source *accept_pause;
	struct list peers; /* oldest first */
	size_t n_peers;
	const struct host_server_events *events;
	void *userdata;
};

static void peer_free(struct peer *p)
{
	list_unlink(&p->list);
	p->server->n_peers--;
	p->link = link_free(p->link);
	p->hello_limit = sd_event_source_disable_unref(p->hello_limit);
	free(p);
}

void host_server_reply(struct link *peer, Xenmesh__Host__FromHost *message, int fd)
{
	int r = link_send(peer, &message->base, fd);

	if (r < 0 && r != -EPIPE) {
		log_error("cannot send to the core: %s", err_text(r));
	}
}

static void send_hello(struct link *peer, bool simulated)
{
	Xenmesh__Host__HostHello hello = XENMESH__HOST__HOST_HELLO__INIT;
	Xenmesh__Host__FromHost message = XENMESH__HOST__FROM_HOST__INIT;

	hello.version = (char *)XENMESH_VERSION;
	hello.simulated = simulated;
	message.body_case = XENMESH__HOST__FROM_HOST__BODY_HELLO;
	message.hello = &hello;
	host_server_reply(peer, &message, -1);
}

static void spawn_worker(struct peer *p, const Xenmesh__Host__SpawnWorker *request)
{
	Xenmesh__Host__WorkerReady ready = XENMESH__HOST__WORKER_READY__INIT;
	Xenmesh__Host__FromHost message = XENMESH__HOST__FROM_HOST__INIT;
	_cleanup_(xfreep) char *error = NULL;
	_cleanup_(trace_leave) struct trace_scope scope;
	int fd = -1;

	trace_enter(&scope, request->traceparent, NULL);
	ready.id = request->id;
	ready.ok = p->server->events->spawn(&fd, &error, p->server->userdata) == 0;
	if (!ready.ok && error) {
		ready.error = error;
	}
	message.body_case = XENMESH__HOST__FROM_HOST__BODY_WORKER;
	message.worker = &ready;
	host_server_reply(p->link, &message, fd);
}

static int on_message(struct link *l, const ProtobufCMessage *base, int fd, void *userdata)
{
	const Xenmesh__Host__ToHost *message = (const void *)base;
	struct peer *p = userdata;

	xclose(fd);
	if (!p->has_hello && message->body_case != XENMESH__HOST__TO_HOST__BODY_HELLO) {
		return -EPROTO;
	}
	switch (message->body_case) {
	case XENMESH__HOST__TO_HOST__BODY_HELLO:
		log_info("core %.40s connected", message->hello->version);
		p->has_hello = true;
		p->hello_limit = sd_event_source_disable_unref(p->hello_limit);
		send_hello(l, p->server->events->simulated);
		p->server->events->send_all(l, p->server->userdata);
		return 0;
	case XENMESH__HOST__TO_HOST__BODY_SPAWN_WORKER:
		spawn_worker(p, message->spawn_worker);
		return 0;
	case XENMESH__HOST__TO_HOST__BODY_RESYNC:
		log_info("core wants everything again: %.100s", message->resync->reason);
		p->server->events->send_all(l, p->server->userdata);
		return 0;
	default:
		log_warning(
			"a message from the core is of no known kind; are both of one version?");
		return 0;
	}
}

static void on_closed(struct link *l _unused_, int error, void *userdata)
{
	struct peer *p = userdata;

	/* A reset is a core that ended with messages unread. */
	if (error < 0 && error != -ECONNRESET) {
		log_warning("link to the core closed: %s", err_text(error));
	} else if (p->has_hello) {
		log_info("core disconnected");
	}
	peer_free(p);
}

static int on_hello_limit(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
	log_warning("a connection said no hello within %d s: closed", HOST_HELLO_LIMIT_MS / 1000);
	peer_free(userdata);
	return 0;
}

/* False when all places are taken by cores that have said hello. */
static bool make_room(struct host_server *s)
{
	if (s->n_peers < HOST_PEERS_MAX) {
		return true;
	}
	list_for_each (i, &s->peers) {
		struct peer *p = list_entry(i, struct peer, list);

		if (!p->has_hello) {
			peer_free(p);
			return true;
		}
	}
	return false;
}

static int add_peer(struct host_server *s, int fd)
{
	_cleanup_(xclosep) int owned_fd = fd;
	struct peer *p;
	int r;

	if (!make_room(s)) {
		return -EBUSY;
	}
	p = calloc(1, sizeof(*p));
	if (!p) {
		return -ENOMEM;
	}
	p->server = s;
	list_append(&s->peers, &p->list);
	s->n_peers++;
	r = link_new(&p->link, s->loop, STEAL_FD(owned_fd), &xenmesh__host__to_host__descriptor,
		     on_message, on_closed, p);
	if (r == 0) {
		r = loop_after(s->loop, &p->hello_limit, HOST_HELLO_LIMIT_MS * USEC_PER_MSEC,
			       on_hello_limit, p);
	}
	if (r < 0) {
		peer_free(p);
	}
	return r;
}

static int on_accept_pause(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
	struct host_server *s = userdata;

	sd_event_source_set_enabled(s->listener, SD_EVENT_ON);
	return 0;
}

static int on_connection(sd_event_source *source _unused_, int listener, uint32_t events _unused_,
			 void *userdata)
{
	struct host_server *s = userdata;
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int r = fd < 0 ? err_errno() : add_peer(s, fd);

	if (r == 0 || r == -EAGAIN || r == -EINTR || r == -ECONNABORTED) {
		return 0;
	}
	log_warning("cannot take a connection of a core: %s", err_text(r));
	if (fd < 0) {
		/* It stays pending: without a pause this would spin. */
		sd_event_source_set_enabled(s->listener, SD_EVENT_OFF);
		loop_after(s->loop, &s->accept_pause, ACCEPT_PAUSE_US, on_accept_pause, s);
	}
	return 0;
}

/* systemd's RuntimeDirectory= has made it; by hand one need not know of it. */
static int make_parent(const char *path)
{
	_cleanup_(xfreep) char *copy = strdup(path);

	if (!copy) {
		return -ENOMEM;
	}
	return mkdir(dirname(copy), 0755) < 0 && errno != EEXIST ? err_errno() : 0;
}

int host_server_new(struct host_server **out, sd_event *loop, const char *path, gid_t group,
		    const struct host_server_events *events, void *userdata)
{
	struct host_server *s = calloc(1, sizeof(*s));
	int r;

	if (!s) {
		return -ENOMEM;
	}
	list_init(&s->peers);
	s->loop = loop;
	s->events = events;
	s->userdata = userdata;
	r = make_parent(path);
	s->fd = r < 0 ? r : link_listen(path);
	r = s->fd;
	if (r >= 0) {
		s->path = strdup(path);
		r = s->path ? 0 : -ENOMEM;
	}
	if (r == 0 && group != (gid_t)-1 && chown(path, (uid_t)-1, group) < 0) {
		r = err_errno();
	}
	if (r == 0) {
		r = sd_event_add_io(loop, &s->listener, s->fd, EPOLLIN, on_connection, s);
	}
	if (r < 0) {
		host_server_free(s);
		return err_trace(r);
	}
	*out = s;
	return 0;
}

struct host_server *host_server_free(struct host_server *s)
{
	if (!s) {
		return NULL;
	}
	for (struct peer *p; (p = list_first(&s->peers, struct peer, list));) {
		peer_free(p);
	}
	sd_event_source_disable_unref(s->accept_pause);
	sd_event_source_disable_unref(s->listener);
	if (s->path) {
		unlink(s->path);
	}
	s->fd = xclose(s->fd);
	free(s->path);
	free(s);
	return NULL;
}

size_t host_server_count(const struct host_server *s)
{
	size_t n = 0;

	list_for_each (i, &s->peers) {
		n += list_entry(i, struct peer, list)->has_hello;
	}
	return n;
}

void host_server_broadcast(struct host_server *s, Xenmesh__Host__FromHost *message)
{
	list_for_each (i, &s->peers) {
		const struct peer *p = list_entry(i, struct peer, list);

		if (p->has_hello) {
			host_server_reply(p->link, message, -1);
		}
	}
}
