/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Wires the parts: changes of the table go to all cores, a new core gets state
 * and table first.  Without a core only the table is kept, so that started_ns
 * of what was made meanwhile is right.
 */
#include "services/ops/host/service.h"

#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/link.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"
#include "libcommon/xenstore.h"
#include "services/ops/host/domains.h"
#include "services/ops/host/sampler.h"
#include "services/ops/host/server.h"
#include "services/ops/host/state.h"
#include "services/ops/host/watcher.h"
#include "services/ops/host/workers.h"

#define SAMPLE_US      USEC_PER_SEC
#define STATE_EVERY    10 /* samples */
#define ARENA_LIMIT    (64U << 20)
#define REFRESH_ALL_US (600 * USEC_PER_SEC)
#define REFRESH_NEW_US (100 * USEC_PER_MSEC) /* before a table; the rest is told later */

struct host_service {
	struct hypervisor *hv;
	struct host_domains *domains;
	struct host_vifs *vifs;
	struct host_vbds *vbds;
	struct host_sampler *sampler;
	struct host_watcher *watcher;
	struct host_workers *workers;
	struct host_server *server;
	struct loop_ticker *ticker;
	uint64_t n_ticks;
	uint8_t *told_state;
	size_t told_state_len;
};

/* ---- the table changes ---- */

static void on_domain_changed(const struct host_domain *domain, void *userdata)
{
	Xenmesh__Host__FromHost message = XENMESH__HOST__FROM_HOST__INIT;
	struct host_service *s = userdata;
	Xenmesh__Host__Domain body;

	log_debug("domain %u (%s) is new or changed", domain->domid, domain->uuid);
	if (s->server) {
		host_domain_message(domain, &body);
		message.body_case = XENMESH__HOST__FROM_HOST__BODY_DOMAIN;
		message.domain = &body;
		host_server_broadcast(s->server, &message);
	}
}

static void on_domain_gone(const struct host_domain *domain, void *userdata)
{
	Xenmesh__Host__FromHost message = XENMESH__HOST__FROM_HOST__INIT;
	Xenmesh__Host__DomainGone body = XENMESH__HOST__DOMAIN_GONE__INIT;
	struct host_service *s = userdata;

	log_debug("domain %u (%s) is gone", domain->domid, domain->uuid);
	if (s->server) {
		body.domid = domain->domid;
		body.uuid = (char *)domain->uuid;
		message.body_case = XENMESH__HOST__FROM_HOST__BODY_GONE;
		message.gone = &body;
		host_server_broadcast(s->server, &message);
	}
}

static void on_domain_marked(void *userdata)
{
	struct host_service *s = userdata;

	if (s->watcher) {
		host_watcher_wake(s->watcher);
	}
}

static const struct host_domains_events domains_events = {
	.changed = on_domain_changed,
	.gone = on_domain_gone,
	.marked = on_domain_marked,
};

/* ---- what a core asks for ---- */

static int send_state(struct host_service *s, struct link *peer)
{
	Xenmesh__Host__FromHost message = XENMESH__HOST__FROM_HOST__INIT;
	_cleanup_(arena_deinit) struct arena arena;
	int r;

	arena_init(&arena, ARENA_LIMIT);
	r = host_state_read(&arena, s->hv, &message.state);
	if (r < 0) {
		return r;
	}
	message.body_case = XENMESH__HOST__FROM_HOST__BODY_STATE;
	host_server_reply(peer, &message, -1);
	return 0;
}

/* All domains there are. What of them was not read from xenstore yet is told as soon as it is. */
static int send_table(struct host_service *s, struct link *peer, uint64_t read_ns)
{
	Xenmesh__Host__FromHost message = XENMESH__HOST__FROM_HOST__INIT;
	Xenmesh__Host__DomainTable table = XENMESH__HOST__DOMAIN_TABLE__INIT;
	size_t n = host_domains_count(s->domains);
	_cleanup_(xfreep) Xenmesh__Host__Domain *domains = calloc(n + 1, sizeof(*domains));
	_cleanup_(xfreep) Xenmesh__Host__Domain **pointers = calloc(n + 1, sizeof(*pointers));

	if (!domains || !pointers) {
		return -ENOMEM;
	}
	table.domains = pointers;
	table.n_domains = n;
	table.read_ns = read_ns;
	for (size_t i = 0; i < n; i++) {
		pointers[i] = &domains[i];
		host_domain_message(host_domains_tell(s->domains, i), pointers[i]);
	}
	message.body_case = XENMESH__HOST__FROM_HOST__BODY_TABLE;
	message.table = &table;
	host_server_reply(peer, &message, -1);
	return 0;
}

static void on_send_all(struct link *peer, void *userdata)
{
	struct host_service *s = userdata;
	uint64_t read_ns = clock_boot_ns(); /* before: the table is at least that new */
	int r = host_domains_scan(s->domains);

	if (r < 0) {
		log_error("cannot list the domains: %s", err_text(r));
		read_ns = 0; /* the last known ones are of an unknown age */
	}
	if (host_domains_refresh(s->domains, REFRESH_NEW_US)) {
		host_watcher_wake(s->watcher);
	}
	r = send_state(s, peer);
	if (r < 0) {
		log_error("cannot read the state of the host: %s", err_text(r));
	}
	r = send_table(s, peer, read_ns);
	if (r < 0) {
		log_error("cannot send the table of domains: %s", err_text(r));
	}
}

static int on_spawn(int *fd, char **error, void *userdata)
{
	struct host_service *s = userdata;
	int r = host_workers_spawn(s->workers, fd);
	int n = 0;

	if (r == -EBUSY) {
		n = asprintf(error, "%d operations are running already; try again later",
			     HOST_WORKERS_MAX);
	} else if (r < 0) {
		log_error("cannot start a worker: %s", err_text(r));
		n = asprintf(error, "the host process cannot start a worker: %s", err_text(r));
	}
	if (n < 0) {
		*error = NULL;
	}
	return r;
}

static void on_worker_ended(void *userdata)
{
	struct host_service *s = userdata;

	host_watcher_scan(s->watcher);
}

static const struct host_server_events server_events = {
	.send_all = on_send_all,
	.spawn = on_spawn,
};

/* ---- each second ---- */

/* Tell of the host's state when it is another. */
static int check_state(struct host_service *s)
{
	Xenmesh__Host__FromHost message = XENMESH__HOST__FROM_HOST__INIT;
	_cleanup_(arena_deinit) struct arena arena;
	uint8_t *packed;
	size_t len;
	int r;

	arena_init(&arena, ARENA_LIMIT);
	r = host_state_read(&arena, s->hv, &message.state);
	if (r < 0) {
		return err_trace(r);
	}
	message.body_case = XENMESH__HOST__FROM_HOST__BODY_STATE;
	len = xenmesh__v1__host_state__get_packed_size(message.state);
	packed = malloc(len);
	if (!packed) {
		return -ENOMEM;
	}
	xenmesh__v1__host_state__pack(message.state, packed);
	if (s->told_state && len == s->told_state_len && memcmp(packed, s->told_state, len) == 0) {
		free(packed);
		return 0;
	}
	free(s->told_state);
	s->told_state = packed;
	s->told_state_len = len;
	host_server_broadcast(s->server, &message);
	return 0;
}

static int send_sample(struct host_service *s)
{
	Xenmesh__Host__FromHost message = XENMESH__HOST__FROM_HOST__INIT;
	_cleanup_(arena_deinit) struct arena arena;
	int r;

	arena_init(&arena, ARENA_LIMIT);
	r = host_sampler_take(s->sampler, &arena, &message.sample);
	if (r < 0) {
		return err_trace(r);
	}
	message.body_case = XENMESH__HOST__FROM_HOST__BODY_SAMPLE;
	host_server_broadcast(s->server, &message);
	return 0;
}

static int on_tick(void *userdata)
{
	struct host_service *s = userdata;
	bool is_heard = host_server_count(s->server) > 0;
	int r = is_heard ? send_sample(s) : host_domains_scan(s->domains);

	if (r < 0) {
		log_warning("no sample: %s", err_text(r));
	}
	if (is_heard && s->n_ticks++ % STATE_EVERY == 0) {
		r = check_state(s);
		if (r < 0) {
			log_warning("cannot read the state of the host: %s", err_text(r));
		}
	}
	return 0;
}

static void on_xenstore_reset(struct xenstore *xs _unused_, void *userdata)
{
	struct host_service *s = userdata;

	log_info("connected to xenstored again");
	host_watcher_reset(s->watcher);
}

/* ---- life ---- */

int host_service_new(struct host_service **out, sd_event *loop,
		     const struct host_service_config *config)
{
	struct host_service *s = calloc(1, sizeof(*s));
	int r;

	if (!s) {
		return -ENOMEM;
	}
	s->hv = config->hv;
	if ((r = host_domains_new(&s->domains, s->hv, config->xs, &domains_events, s)) < 0 ||
	    (r = host_vifs_new(&s->vifs, config->sysfs_root)) < 0 ||
	    (r = host_vbds_new(&s->vbds, config->sysfs_root)) < 0 ||
	    (r = host_sampler_new(
		     &s->sampler,
		     &(struct host_sampler_sources){ s->hv, s->domains, s->vifs, s->vbds })) < 0 ||
	    (r = host_workers_new(&s->workers, loop, config->worker, on_worker_ended, s)) < 0 ||
	    (r = host_watcher_new(&s->watcher, loop, config->xs, s->domains)) < 0 ||
	    (r = host_domains_scan(s->domains)) < 0) {
		host_service_free(s);
		return err_trace(r);
	}
	host_domains_refresh(s->domains, REFRESH_ALL_US);
	xenstore_on_reset(config->xs, on_xenstore_reset, s);
	if ((r = host_server_new(&s->server, loop, config->link, config->link_group, &server_events,
				 s)) < 0 ||
	    (r = loop_ticker_new(&s->ticker, loop, SAMPLE_US, on_tick, s)) < 0) {
		host_service_free(s);
		return err_trace(r);
	}
	*out = s;
	return 0;
}

struct host_service *host_service_free(struct host_service *s)
{
	if (s) {
		loop_ticker_free(s->ticker);
		host_server_free(s->server);
		host_watcher_free(s->watcher);
		host_workers_free(s->workers);
		host_sampler_free(s->sampler);
		host_vbds_free(s->vbds);
		host_vifs_free(s->vifs);
		host_domains_free(s->domains);
		free(s->told_state);
		free(s);
	}
	return NULL;
}
