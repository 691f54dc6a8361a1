/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A host process of a few domains, for tests of the core: speaks host.proto on
 * a socket, does what workers are asked (or holds, fails, dies, as told), and
 * counts what was asked of it.
 */
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "libcommon/clock.h"
#include "libcommon/link.h"
#include "libcommon/list.h"
#include "libcommon/loop.h"
#include "services/ops/core/names.h"
#include "services/ops/core/pb.h"

#define FAKE_DOMAINS 128

struct fakedomain {
	bool exists;
	char uuid[37];
	char name[64];
	Xenmesh__V1__PowerState state;
	Xenmesh__V1__ShutdownReason reason;
	uint64_t memory_kib;
	uint64_t started_ns;
	bool is_complete;
};

struct fakehost {
	sd_event *loop;
	char path[108];
	int listener;
	sd_event_source *accept;
	struct link *core;
	struct list workers;
	struct fakedomain domains[FAKE_DOMAINS]; /* index = domid */
	uint32_t next_domid;

	/* How it behaves. */
	bool is_holding;	 /* workers wait for fakehost_release() */
	bool is_ask_holding;	 /* those do that ask a guest to end */
	bool is_silent;		 /* domains are told in tables only */
	bool is_not_spawning;	 /* requests for workers are not answered */
	bool has_no_workers;	 /* spawning fails */
	bool is_guest_deaf;	 /* guests acknowledge, but do not shut down */
	bool is_worker_dying;	 /* when it has its request */
	bool is_worker_stubborn; /* does not obey a cancel */
	bool is_destroy_slow;	 /* destroyed domains stay dying */
	bool is_create_paused;	 /* creates stay half-way: the domain is there, paused */
	bool is_marking;	 /* and those are complete */
	int fail_code;		 /* 0 = works */
	const char *fail_line;	 /* a log line before the failure */

	unsigned int n_hellos, n_resyncs, n_spawn_requests, n_spawned, n_creates, n_destroys,
		n_asks, n_acts, n_cancels, n_at_work, n_max_at_work;
};

struct fakeworker {
	struct fakehost *host;
	struct list list;
	struct link *link; /* NULL: the core is gone */
	Xenmesh__Host__ToWorker *request;
};

/* ---- telling ---- */

static inline void fakehost_send(struct fakehost *h, Xenmesh__Host__FromHost *m)
{
	if (h->core) {
		link_send(h->core, &m->base, -1);
	}
}

static inline void fakehost_fill(const struct fakehost *h, uint32_t domid, Xenmesh__Host__Domain *d)
{
	const struct fakedomain *f = &h->domains[domid];

	xenmesh__host__domain__init(d);
	d->domid = domid;
	d->uuid = (char *)f->uuid;
	d->name = (char *)f->name;
	d->type = VM_TYPE_PV;
	d->power_state = f->state;
	d->shutdown_reason = f->reason;
	d->vcpus_online = d->max_vcpus = 1;
	d->memory_kib = d->max_memory_kib = f->memory_kib;
	d->started_ns = f->started_ns;
	d->complete = f->is_complete;
}

static inline void fakehost_tell(struct fakehost *h, uint32_t domid)
{
	Xenmesh__Host__FromHost m = XENMESH__HOST__FROM_HOST__INIT;
	Xenmesh__Host__DomainGone gone = XENMESH__HOST__DOMAIN_GONE__INIT;
	Xenmesh__Host__Domain d;

	if (h->is_silent) {
		return;
	}
	fakehost_fill(h, domid, &d);
	if (h->domains[domid].exists) {
		m.body_case = XENMESH__HOST__FROM_HOST__BODY_DOMAIN;
		m.domain = &d;
	} else {
		gone.domid = domid;
		gone.uuid = h->domains[domid].uuid;
		m.body_case = XENMESH__HOST__FROM_HOST__BODY_GONE;
		m.gone = &gone;
	}
	fakehost_send(h, &m);
}

static inline void fakehost_tell_all(struct fakehost *h)
{
	Xenmesh__Host__FromHost m = XENMESH__HOST__FROM_HOST__INIT;
	Xenmesh__Host__DomainTable table = XENMESH__HOST__DOMAIN_TABLE__INIT;
	Xenmesh__V1__HostState state = XENMESH__V1__HOST_STATE__INIT;
	Xenmesh__Host__Domain domains[FAKE_DOMAINS], *pointers[FAKE_DOMAINS];

	state.hostname = (char *)"fake";
	state.pcpus = 2;
	state.simulated = true;
	m.body_case = XENMESH__HOST__FROM_HOST__BODY_STATE;
	m.state = &state;
	fakehost_send(h, &m);
	for (uint32_t i = 0; i < FAKE_DOMAINS; i++) {
		if (h->domains[i].exists) {
			fakehost_fill(h, i, &domains[table.n_domains]);
			pointers[table.n_domains] = &domains[table.n_domains];
			table.n_domains++;
		}
	}
	table.domains = pointers;
	table.read_ns = clock_boot_ns();
	m.body_case = XENMESH__HOST__FROM_HOST__BODY_TABLE;
	m.table = &table;
	fakehost_send(h, &m);
}

static inline void fakehost_sample(struct fakehost *h, uint64_t free_kib)
{
	Xenmesh__Host__FromHost m = XENMESH__HOST__FROM_HOST__INIT;
	Xenmesh__V1__HostSample sample = XENMESH__V1__HOST_SAMPLE__INIT;
	Xenmesh__V1__DomainSample domains[FAKE_DOMAINS], *pointers[FAKE_DOMAINS];

	for (uint32_t i = 0; i < FAKE_DOMAINS; i++) {
		if (h->domains[i].exists) {
			Xenmesh__V1__DomainSample *d = &domains[sample.n_domains];

			xenmesh__v1__domain_sample__init(d);
			d->domid = i;
			d->uuid = h->domains[i].uuid;
			d->memory_kib = h->domains[i].memory_kib;
			pointers[sample.n_domains++] = d;
		}
	}
	sample.domains = pointers;
	sample.monotonic_ns = clock_boot_ns();
	sample.free_memory_kib = free_kib;
	m.body_case = XENMESH__HOST__FROM_HOST__BODY_SAMPLE;
	m.sample = &sample;
	fakehost_send(h, &m);
}

/* ---- domains ---- */

static inline uint32_t fakehost_add(struct fakehost *h, const char *uuid, const char *name,
				    Xenmesh__V1__PowerState state)
{
	uint32_t domid = h->next_domid++;
	struct fakedomain *d = &h->domains[domid];

	*d = (struct fakedomain){ .exists = true, .state = state, .started_ns = clock_real_ns() };
	snprintf(d->uuid, sizeof(d->uuid), "%s", uuid);
	snprintf(d->name, sizeof(d->name), "%s", name);
	fakehost_tell(h, domid);
	return domid;
}

static inline void fakehost_end_guest(struct fakehost *h, uint32_t domid,
				      Xenmesh__V1__ShutdownReason reason)
{
	h->domains[domid].state = POWER_SHUTDOWN;
	h->domains[domid].reason = reason;
	fakehost_tell(h, domid);
}

static inline void fakehost_remove(struct fakehost *h, uint32_t domid)
{
	h->domains[domid].exists = false;
	fakehost_tell(h, domid);
}

/* -1 = none. */
static inline int fakehost_find(const struct fakehost *h, const char *uuid)
{
	for (int i = 0; i < FAKE_DOMAINS; i++) {
		if (h->domains[i].exists && strcmp(h->domains[i].uuid, uuid) == 0) {
			return i;
		}
	}
	return -1;
}

/* ---- workers ---- */

static inline void fakeworker_done(struct fakeworker *w, int code, const char *message, int domid)
{
	Xenmesh__Host__FromWorker m = XENMESH__HOST__FROM_WORKER__INIT;
	Xenmesh__Host__WorkerDone done = XENMESH__HOST__WORKER_DONE__INIT;

	done.code = (Xenmesh__V1__Code)code;
	done.message = (char *)message;
	done.domid = domid;
	m.body_case = XENMESH__HOST__FROM_WORKER__BODY_DONE;
	m.done = &done;
	if (w->link) {
		link_send(w->link, &m.base, -1);
	}
}

static inline void fakeworker_log(struct fakeworker *w, uint32_t level, const char *text)
{
	Xenmesh__Host__FromWorker m = XENMESH__HOST__FROM_WORKER__INIT;
	Xenmesh__Host__WorkerLog log = XENMESH__HOST__WORKER_LOG__INIT;

	log.level = level;
	log.text = (char *)text;
	m.body_case = XENMESH__HOST__FROM_WORKER__BODY_LOG;
	m.log = &log;
	if (w->link) {
		link_send(w->link, &m.base, -1);
	}
}

static inline void fakeworker_progress(struct fakeworker *w, double progress, const char *step)
{
	Xenmesh__Host__FromWorker m = XENMESH__HOST__FROM_WORKER__INIT;
	Xenmesh__Host__WorkerProgress p = XENMESH__HOST__WORKER_PROGRESS__INIT;

	p.progress = progress;
	p.step = (char *)step;
	m.body_case = XENMESH__HOST__FROM_WORKER__BODY_PROGRESS;
	m.progress = &p;
	if (w->link) {
		link_send(w->link, &m.base, -1);
	}
}

static inline void fakeworker_free(struct fakeworker *w)
{
	w->host->n_at_work -= w->request ? 1 : 0;
	list_unlink(&w->list);
	link_free(w->link);
	pb_free((ProtobufCMessage *)w->request);
	free(w);
}

static inline void fakeworker_create(struct fakeworker *w, const Xenmesh__Host__CreateDomain *c)
{
	struct fakehost *h = w->host;
	bool is_paused = c->paused || h->is_create_paused;
	uint32_t domid = h->next_domid;

	fakehost_add(h, c->config->uuid, c->config->name, is_paused ? POWER_PAUSED : POWER_RUNNING);
	h->domains[domid].memory_kib = c->config->memory_kib;
	h->domains[domid].is_complete = !h->is_create_paused || h->is_marking;
	if (h->domains[domid].is_complete) {
		fakehost_tell(h, domid);
	}
	if (!h->is_create_paused) {
		fakeworker_done(w, CODE_OK, "", (int)domid);
	}
}

static inline void fakeworker_act(struct fakeworker *w, const Xenmesh__Host__ActOnDomain *a)
{
	struct fakehost *h = w->host;
	uint32_t domid = a->domain->domid;
	struct fakedomain *d = &h->domains[domid];

	if (domid >= FAKE_DOMAINS || !d->exists || strcmp(d->uuid, a->domain->uuid) != 0) {
		fakeworker_done(w, CODE_NOT_FOUND, "no such domain", -1);
		return;
	}
	switch (a->action) {
	case ACT_DESTROY:
		if (h->is_destroy_slow) {
			d->state = POWER_DYING;
			fakehost_tell(h, domid);
		} else {
			fakehost_remove(h, domid);
		}
		break;
	case ACT_SHUTDOWN:
	case ACT_REBOOT:
		if (!h->is_guest_deaf) {
			fakehost_end_guest(h, domid,
					   a->action == ACT_REBOOT ? REASON_REBOOT
								   : REASON_POWEROFF);
		}
		break;
	default:
		d->state = a->action == ACT_PAUSE ? POWER_PAUSED : POWER_RUNNING;
		fakehost_tell(h, domid);
		break;
	}
	fakeworker_done(w, CODE_OK, "", -1);
}

/* Do what it was asked; frees it. */
static inline void fakeworker_work(struct fakeworker *w)
{
	struct fakehost *h = w->host;

	fakeworker_progress(w, 0.5, "half-way");
	if (h->fail_code) {
		fakeworker_log(w, 5, "chatter");
		if (h->fail_line) {
			fakeworker_log(w, 8, h->fail_line);
		}
		fakeworker_done(w, h->fail_code, "it does not work", -1);
	} else if (w->request->body_case == XENMESH__HOST__TO_WORKER__BODY_CREATE) {
		fakeworker_create(w, w->request->create);
	} else {
		fakeworker_act(w, w->request->act);
	}
}

static inline struct fakeworker *fakehost_worker(struct fakehost *h)
{
	list_for_each (i, &h->workers) {
		struct fakeworker *w = list_entry(i, struct fakeworker, list);

		if (w->request) {
			return w;
		}
	}
	return NULL;
}

/* The oldest worker that holds does its work, also without a core. False: there is none. */
static inline bool fakehost_release(struct fakehost *h)
{
	struct fakeworker *w = fakehost_worker(h);

	if (w) {
		fakeworker_work(w);
		h->n_at_work--;
		w->request = pb_free((ProtobufCMessage *)w->request);
	}
	return w != NULL;
}

static inline void fakeworker_count(struct fakeworker *w)
{
	struct fakehost *h = w->host;

	h->n_at_work++;
	h->n_max_at_work = MAX(h->n_max_at_work, h->n_at_work);
	if (w->request->body_case == XENMESH__HOST__TO_WORKER__BODY_CREATE) {
		h->n_creates++;
		return;
	}
	switch (w->request->act->action) {
	case ACT_DESTROY:
		h->n_destroys++;
		break;
	case ACT_SHUTDOWN:
	case ACT_REBOOT:
		h->n_asks++;
		break;
	default:
		h->n_acts++;
		break;
	}
}

static inline bool fakeworker_asks(const struct fakeworker *w)
{
	return w->request->body_case == XENMESH__HOST__TO_WORKER__BODY_ACT &&
	       (w->request->act->action == ACT_SHUTDOWN || w->request->act->action == ACT_REBOOT);
}

static inline int fakeworker_on_message(struct link *l _unused_, const ProtobufCMessage *base,
					int fd _unused_, void *userdata)
{
	const Xenmesh__Host__ToWorker *m = (const void *)base;
	struct fakeworker *w = userdata;
	struct fakehost *h = w->host;

	if (m->body_case == XENMESH__HOST__TO_WORKER__BODY_CANCEL) {
		h->n_cancels++;
		if (!h->is_worker_stubborn && w->request) {
			fakeworker_done(w, CODE_CANCELLED, "cancelled", -1);
			h->n_at_work--;
			w->request = pb_free((ProtobufCMessage *)w->request);
		}
		return 0;
	}
	w->request = (Xenmesh__Host__ToWorker *)pb_copy(base);
	fakeworker_count(w);
	if (h->is_worker_dying) {
		return -EPIPE;
	}
	if (!h->is_holding && !(h->is_ask_holding && fakeworker_asks(w))) {
		fakeworker_work(w);
		h->n_at_work--;
		w->request = pb_free((ProtobufCMessage *)w->request);
	}
	return 0;
}

static inline void fakeworker_on_closed(struct link *l _unused_, int error _unused_, void *userdata)
{
	struct fakeworker *w = userdata;

	w->link = link_free(w->link);
	if (!w->request || w->host->is_worker_dying) {
		fakeworker_free(w); /* else it goes on without the core */
	}
}

static inline void fakehost_spawn(struct fakehost *h, uint64_t id)
{
	Xenmesh__Host__FromHost m = XENMESH__HOST__FROM_HOST__INIT;
	Xenmesh__Host__WorkerReady ready = XENMESH__HOST__WORKER_READY__INIT;
	struct fakeworker *w;
	int fds[2] = { -1, -1 };

	h->n_spawn_requests++;
	if (h->is_not_spawning) {
		return;
	}
	ready.id = id;
	m.body_case = XENMESH__HOST__FROM_HOST__BODY_WORKER;
	m.worker = &ready;
	if (h->has_no_workers || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
		ready.error = (char *)"no worker program";
		fakehost_send(h, &m);
		return;
	}
	h->n_spawned++;
	w = calloc(1, sizeof(*w));
	w->host = h;
	list_append(&h->workers, &w->list);
	link_new(&w->link, h->loop, fds[0], &xenmesh__host__to_worker__descriptor,
		 fakeworker_on_message, fakeworker_on_closed, w);
	ready.ok = true;
	link_send(h->core, &m.base, fds[1]);
}

/* ---- the link ---- */

static inline int fakehost_on_message(struct link *l _unused_, const ProtobufCMessage *base,
				      int fd _unused_, void *userdata)
{
	const Xenmesh__Host__ToHost *m = (const void *)base;
	struct fakehost *h = userdata;
	Xenmesh__Host__FromHost reply = XENMESH__HOST__FROM_HOST__INIT;
	Xenmesh__Host__HostHello hello = XENMESH__HOST__HOST_HELLO__INIT;

	switch (m->body_case) {
	case XENMESH__HOST__TO_HOST__BODY_HELLO:
		h->n_hellos++;
		hello.version = (char *)XENMESH_VERSION;
		hello.simulated = true;
		reply.body_case = XENMESH__HOST__FROM_HOST__BODY_HELLO;
		reply.hello = &hello;
		fakehost_send(h, &reply);
		fakehost_tell_all(h);
		break;
	case XENMESH__HOST__TO_HOST__BODY_SPAWN_WORKER:
		fakehost_spawn(h, m->spawn_worker->id);
		break;
	case XENMESH__HOST__TO_HOST__BODY_RESYNC:
		h->n_resyncs++;
		fakehost_tell_all(h);
		break;
	default:
		break;
	}
	return 0;
}

static inline void fakehost_on_closed(struct link *l, int error _unused_, void *userdata)
{
	struct fakehost *h = userdata;

	if (l == h->core) {
		h->core = NULL;
	}
	link_free(l);
}

static inline int fakehost_on_accept(sd_event_source *s _unused_, int fd, uint32_t events _unused_,
				     void *userdata)
{
	struct fakehost *h = userdata;
	int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (peer >= 0) {
		link_free(h->core);
		h->core = NULL;
		link_new(&h->core, h->loop, peer, &xenmesh__host__to_host__descriptor,
			 fakehost_on_message, fakehost_on_closed, h);
	}
	return 0;
}

static inline int fakehost_listen(struct fakehost *h)
{
	h->listener = link_listen(h->path);
	if (h->listener < 0) {
		return h->listener;
	}
	return sd_event_add_io(h->loop, &h->accept, h->listener, EPOLLIN, fakehost_on_accept, h);
}

/* As if the process were killed; its workers go on. */
static inline void fakehost_hang_up(struct fakehost *h)
{
	h->accept = sd_event_source_disable_unref(h->accept);
	h->listener = xclose(h->listener);
	unlink(h->path);
	h->core = link_free(h->core);
}

static inline int fakehost_init(struct fakehost *h, sd_event *loop, const char *path)
{
	*h = (struct fakehost){ .loop = loop, .listener = -1, .next_domid = 1 };
	snprintf(h->path, sizeof(h->path), "%s", path);
	list_init(&h->workers);
	h->domains[0] = (struct fakedomain){
		.exists = true,
		.name = "Domain-0",
		.uuid = OPS_ZERO_UUID,
		.state = POWER_RUNNING,
	};
	return fakehost_listen(h);
}

static inline void fakehost_deinit(struct fakehost *h)
{
	fakehost_hang_up(h);
	for (struct fakeworker *w; (w = list_first(&h->workers, struct fakeworker, list));) {
		fakeworker_free(w);
	}
}
