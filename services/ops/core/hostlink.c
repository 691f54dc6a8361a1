/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Three states: no link (waiting for the next try), link without hello, up.
 * An outage is told once when it begins and once when it ends.
 */
#include "services/ops/core/hostlink.h"

#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/link.h"
#include "libcommon/list.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"
#include "services/ops/core/limits.h"

#define BACKOFF_MIN_US	 (50 * USEC_PER_MSEC)
#define BACKOFF_MAX_US	 USEC_PER_SEC
#define RESYNC_PERIOD_US (200 * USEC_PER_MSEC)

struct hostlink {
	sd_event *loop;
	struct hostlink_config config;
	char *path;
	struct link *link;
	bool is_up;
	bool is_told; /* the outage */
	uint64_t backoff_us;
	uint64_t heard_ns; /* or connected */
	uint64_t resync_ns;
	sd_event_source *retry, *resync;
	struct loop_ticker *ticker;
	struct list spawns;
	uint64_t next_id;
	uint64_t n_connects, n_messages, n_spawns;
};

struct hostlink_spawn {
	struct list list;
	uint64_t id;
	uint64_t until_ns;
	hostlink_spawn_fn fn;
	void *userdata;
};

static void connect_soon(struct hostlink *h);

/* ---- workers ---- */

static void end_spawn(struct hostlink_spawn *s, int fd, const char *error)
{
	hostlink_spawn_fn fn = s->fn;
	void *userdata = s->userdata;

	list_unlink(&s->list);
	free(s);
	fn(fd, error, userdata);
}

static struct hostlink_spawn *first_spawn(struct hostlink *h)
{
	return list_first(&h->spawns, struct hostlink_spawn, list);
}

static void on_worker(struct hostlink *h, const Xenmesh__Host__WorkerReady *ready, int fd)
{
	list_for_each (i, &h->spawns) {
		struct hostlink_spawn *s = list_entry(i, struct hostlink_spawn, list);

		if (s->id != ready->id) {
			continue;
		}
		if (ready->ok && fd >= 0) {
			end_spawn(s, fd, NULL);
		} else {
			xclose(fd);
			end_spawn(s, -1,
				  ready->error[0] ? ready->error
						  : "the host process sent no socket");
		}
		return;
	}
	xclose(fd); /* nobody waits any more: the worker sees its link close and ends */
}

int hostlink_spawn(struct hostlink *h, const char *traceparent, hostlink_spawn_fn fn,
		   void *userdata, struct hostlink_spawn **out)
{
	Xenmesh__Host__SpawnWorker spawn = XENMESH__HOST__SPAWN_WORKER__INIT;
	Xenmesh__Host__ToHost message = XENMESH__HOST__TO_HOST__INIT;
	struct hostlink_spawn *s;
	int r;

	if (!h->is_up) {
		return -ENOTCONN;
	}
	spawn.id = ++h->next_id;
	spawn.traceparent = (char *)traceparent;
	message.body_case = XENMESH__HOST__TO_HOST__BODY_SPAWN_WORKER;
	message.spawn_worker = &spawn;
	r = link_send(h->link, &message.base, -1);
	if (r < 0) {
		return r;
	}
	s = calloc(1, sizeof(*s));
	if (!s) {
		return -ENOMEM;
	}
	s->id = spawn.id;
	s->until_ns = clock_boot_ns() + OPS_SPAWN_WAIT_MS * NSEC_PER_MSEC;
	s->fn = fn;
	s->userdata = userdata;
	list_append(&h->spawns, &s->list);
	h->n_spawns++;
	*out = s;
	return 0;
}

struct hostlink_spawn *hostlink_spawn_cancel(struct hostlink_spawn *s)
{
	if (s) {
		list_unlink(&s->list);
		free(s);
	}
	return NULL;
}

/* ---- the link ---- */

/* Not from within a callback of the link. */
static void drop(struct hostlink *h, const char *why)
{
	bool was_up = h->is_up;

	h->link = link_free(h->link);
	h->is_up = false;
	h->resync = sd_event_source_disable_unref(h->resync);
	if (!h->is_told) {
		log_warning("no host process at %s: %s; trying again until there is one", h->path,
			    why);
		h->is_told = true;
	}
	if (was_up) {
		h->config.handler->on_link(false, h->config.userdata);
	}
	for (struct hostlink_spawn *s; (s = first_spawn(h));) {
		end_spawn(s, -1, "the host process went away");
	}
	connect_soon(h);
}

static int on_hello(struct hostlink *h, const Xenmesh__Host__HostHello *hello)
{
	if (h->is_up) {
		return -EPROTO;
	}
	log_info("connected to %s host process %.40s at %s", hello->simulated ? "simulated" : "the",
		 hello->version, h->path);
	if (!streq(hello->version, XENMESH_VERSION)) {
		log_warning("the host process is of version %.40s and this is %s: restart both",
			    hello->version, XENMESH_VERSION);
	}
	h->is_up = true;
	h->is_told = false;
	h->backoff_us = BACKOFF_MIN_US;
	h->config.handler->on_link(true, h->config.userdata);
	return 0;
}

static int on_message(struct link *l _unused_, const ProtobufCMessage *base, int fd, void *userdata)
{
	Xenmesh__Host__FromHost *m = (Xenmesh__Host__FromHost *)(void *)base;
	struct hostlink *h = userdata;

	h->heard_ns = clock_boot_ns();
	h->n_messages++;
	if (m->body_case == XENMESH__HOST__FROM_HOST__BODY_WORKER) {
		on_worker(h, m->worker, fd);
		return 0;
	}
	xclose(fd);
	if (m->body_case == XENMESH__HOST__FROM_HOST__BODY_HELLO) {
		return on_hello(h, m->hello);
	}
	return h->is_up ? h->config.handler->on_message(m, h->config.userdata) : -EPROTO;
}

static void on_closed(struct link *l _unused_, int error, void *userdata)
{
	drop(userdata, error < 0 ? err_text(error) : "it closed the connection");
}

static int say_hello(struct hostlink *h)
{
	Xenmesh__Host__CoreHello hello = XENMESH__HOST__CORE_HELLO__INIT;
	Xenmesh__Host__ToHost message = XENMESH__HOST__TO_HOST__INIT;

	hello.version = (char *)XENMESH_VERSION;
	message.body_case = XENMESH__HOST__TO_HOST__BODY_HELLO;
	message.hello = &hello;
	return link_send(h->link, &message.base, -1);
}

bool hostlink_trusts(const struct hostlink_config *config, uid_t uid)
{
	return uid == 0 || uid == geteuid() || uid == config->uid;
}

static bool is_trusted(const struct hostlink *h)
{
	uid_t uid;
	gid_t gid;
	pid_t pid;

	return link_peer(h->link, &uid, &gid, &pid) == 0 && hostlink_trusts(&h->config, uid);
}

static int try_connect(sd_event_source *s _unused_, uint64_t usec _unused_, void *userdata)
{
	struct hostlink *h = userdata;
	int r, fd = link_connect(h->path);

	if (fd < 0) {
		drop(h, err_text(fd));
		return 0;
	}
	h->heard_ns = clock_boot_ns();
	h->n_connects++;
	r = link_new(&h->link, h->loop, fd, &xenmesh__host__from_host__descriptor, on_message,
		     on_closed, h);
	if (r == 0 && !is_trusted(h)) {
		drop(h, "the process that listens there runs as a user we do not trust; see "
			"--host-uid");
		return 0;
	}
	if (r == 0) {
		r = say_hello(h);
	}
	if (r < 0) {
		drop(h, err_text(r));
	}
	return 0;
}

static void connect_soon(struct hostlink *h)
{
	if (loop_after(h->loop, &h->retry, h->backoff_us, try_connect, h) < 0) {
		log_error("out of memory: the host process cannot be reached any more");
	}
	h->backoff_us = MIN(2 * h->backoff_us, BACKOFF_MAX_US);
}

static int on_tick(void *userdata)
{
	struct hostlink *h = userdata;
	uint64_t now = clock_boot_ns();
	uint64_t limit_ms = h->is_up ? OPS_HOST_SILENCE_MS : OPS_HELLO_WAIT_MS;
	struct hostlink_spawn *s;

	if (h->link && now - h->heard_ns > limit_ms * NSEC_PER_MSEC) {
		drop(h, "it is silent");
	}
	s = first_spawn(h); /* the oldest */
	if (s && now > s->until_ns) {
		end_spawn(s, -1, "the host process did not start a worker in time");
	}
	return 0;
}

/* ---- resync ---- */

static void send_resync(struct hostlink *h, const char *reason)
{
	Xenmesh__Host__Resync resync = XENMESH__HOST__RESYNC__INIT;
	Xenmesh__Host__ToHost message = XENMESH__HOST__TO_HOST__INIT;

	resync.reason = (char *)reason;
	message.body_case = XENMESH__HOST__TO_HOST__BODY_RESYNC;
	message.resync = &resync;
	h->resync_ns = clock_boot_ns();
	link_send(h->link, &message.base, -1); /* a broken link reports itself */
}

static int on_resync(sd_event_source *s _unused_, uint64_t usec _unused_, void *userdata)
{
	struct hostlink *h = userdata;

	h->resync = sd_event_source_disable_unref(h->resync);
	if (h->is_up) {
		send_resync(h, "several operations ended");
	}
	return 0;
}

void hostlink_resync(struct hostlink *h, const char *reason)
{
	uint64_t age_us = (clock_boot_ns() - h->resync_ns) / 1000;

	if (!h->is_up || h->resync) {
		return;
	}
	if (age_us >= RESYNC_PERIOD_US) {
		send_resync(h, reason);
	} else if (loop_after(h->loop, &h->resync, RESYNC_PERIOD_US - age_us, on_resync, h) < 0) {
		send_resync(h, reason);
	}
}

bool hostlink_is_up(const struct hostlink *h)
{
	return h->is_up;
}

/* ---- life ---- */

int hostlink_new(struct hostlink **out, sd_event *loop, const struct hostlink_config *config)
{
	struct hostlink *h = calloc(1, sizeof(*h));
	int r;

	if (!h) {
		return -ENOMEM;
	}
	h->loop = sd_event_ref(loop);
	h->config = *config;
	h->backoff_us = BACKOFF_MIN_US;
	list_init(&h->spawns);
	h->path = strdup(config->path);
	r = h->path ? loop_ticker_new(&h->ticker, loop, USEC_PER_SEC, on_tick, h) : -ENOMEM;
	if (r == 0) {
		r = loop_after(loop, &h->retry, 0, try_connect, h);
	}
	if (r < 0) {
		hostlink_free(h);
		return err_trace(r);
	}
	*out = h;
	return 0;
}

struct hostlink *hostlink_free(struct hostlink *h)
{
	if (h) {
		for (struct hostlink_spawn *s; (s = first_spawn(h));) {
			hostlink_spawn_cancel(s);
		}
		h->ticker = loop_ticker_free(h->ticker);
		sd_event_source_disable_unref(h->retry);
		sd_event_source_disable_unref(h->resync);
		link_free(h->link);
		sd_event_unref(h->loop);
		free(h->path);
		free(h);
	}
	return NULL;
}

void hostlink_stats(const struct hostlink *h, hostlink_stat_fn fn, void *userdata)
{
	fn("host.connected", h->is_up ? 1 : 0, userdata);
	fn("host.connects", h->n_connects, userdata);
	fn("host.messages", h->n_messages, userdata);
	fn("host.workers", h->n_spawns, userdata);
}
