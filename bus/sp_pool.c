/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two kinds of deadline, each of one length, so each list is in the order in
 * which its connections have to be looked at, and one timer does for all.
 */
#include "bus/sp_pool.h"

#include <sys/resource.h>
#include <sys/socket.h>

#include "bus/limits.h"
#include "bus/sp_tcp.h"
#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"
#include "libcommon/uuid.h"

#define SHAKE_NS	 (5 * NSEC_PER_SEC)  /* an honest peer needs a millisecond */
#define PROGRESS_NS	 (60 * NSEC_PER_SEC) /* without a further byte of a message */
#define AUDIT_US	 (10 * USEC_PER_SEC)
#define NSEC_PER_USEC	 1000ULL
#define GROUPS_MAX	 65536 /* the limit of the kernel */
#define CONNECTIONS_PART 4 /* of all descriptors: a service has two sockets, and files besides */

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata);

static void arm(struct sp_pool *p)
{
	const struct list *const lists[] = { &p->shaking, &p->partial };
	uint64_t first = UINT64_MAX, now;
	int r;

	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		const struct sp_conn *c = list_first(lists[i], struct sp_conn, by_deadline);

		first = c ? MIN(first, c->deadline_ns) : first;
	}
	if (first == UINT64_MAX || (p->armed_ns != 0 && p->armed_ns <= first)) {
		return;
	}
	now = clock_boot_ns();
	p->armed_ns = first;
	/* Rounded up, so that it never fires just before. */
	r = loop_after(p->loop, &p->timer, first > now ? (first - now) / NSEC_PER_USEC + 1 : 0,
		       on_timer, p);
	if (r < 0) {
		p->armed_ns = 0;
		log_error("cannot arm the timer of slow connections: %s", err_text(r));
	}
}

static int on_timer(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
	struct sp_pool *p = userdata;
	struct list *const lists[] = { &p->shaking, &p->partial };
	uint64_t now = clock_boot_ns();
	char who[SP_WHO_SIZE];

	p->armed_ns = 0;
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		struct sp_conn *c;

		while ((c = list_first(lists[i], struct sp_conn, by_deadline)) &&
		       c->deadline_ns <= now) {
			sp_pool_await_nothing(p, c);
			log_debug("%s is too slow; closing its connection",
				  sp_conn_describe(c, who, sizeof(who)));
			sp_conn_break(c);
		}
	}
	arm(p);
	return 0;
}

static void await(struct sp_pool *p, struct list *list, struct sp_conn *c, uint64_t delay_ns)
{
	list_unlink(&c->by_deadline);
	c->deadline_ns = clock_boot_ns() + delay_ns;
	list_append(list, &c->by_deadline);
	arm(p);
}

void sp_pool_await_nothing(struct sp_pool *p _unused_, struct sp_conn *c)
{
	list_unlink(&c->by_deadline);
}

void sp_pool_await_progress(struct sp_pool *p, struct sp_conn *c)
{
	await(p, &p->partial, c, PROGRESS_NS);
}

/* So many that neither this socket nor one user of it can use up the descriptors of the process. */
static size_t max_connections(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0) {
		return BUS_CONNECTIONS_MAX;
	}
	return (size_t)MIN(files.rlim_cur / CONNECTIONS_PART, (rlim_t)BUS_CONNECTIONS_MAX);
}

static int on_flush(sd_event_source *source _unused_, void *userdata)
{
	struct sp_pool *p = userdata;
	struct sp_conn *c;

	while ((c = list_first(&p->batches, struct sp_conn, by_batch))) {
		list_unlink(&c->by_batch);
		sp_conn_flush(c);
	}
	return 0;
}

void sp_pool_flush_later(struct sp_pool *p, struct sp_conn *c)
{
	int r = 0;

	if (list_is_linked(&c->by_batch)) {
		return;
	}
	if (list_is_empty(&p->batches)) {
		r = p->flush ? sd_event_source_set_enabled(p->flush, SD_EVENT_ONESHOT)
			     : loop_defer(p->loop, &p->flush, on_flush, p);
	}
	list_append(&p->batches, &c->by_batch);
	if (r < 0) {
		on_flush(NULL, p); /* out of memory */
	}
}

void sp_pool_init(struct sp_pool *p)
{
	p->loop = sd_event_ref(p->loop);
	p->quota.max[QUOTA_CONNECTIONS] = max_connections();
	p->quota.max[QUOTA_BYTES] = BUS_BYTES_MAX;
	list_init(&p->conns);
	list_init(&p->shaking);
	list_init(&p->partial);
	list_init(&p->batches);
	random_bytes(&p->last_id, sizeof(p->last_id));
}

void sp_pool_deinit(struct sp_pool *p)
{
	list_for_each_safe (i, &p->conns) {
		sp_conn_free(list_entry(i, struct sp_conn, by_pool));
	}
	quota_book_deinit(&p->quota);
	map_deinit(&p->by_id);
	p->timer = sd_event_source_disable_unref(p->timer);
	p->flush = sd_event_source_disable_unref(p->flush);
	p->audit = loop_ticker_free(p->audit);
	p->loop = sd_event_unref(p->loop);
	free(p->scratch);
	p->scratch = NULL;
}

/* Supplementary groups of the peer. 0 or -errno. */
static int find_groups(struct sp_conn *c)
{
	for (size_t size = 64; size <= GROUPS_MAX; size *= 4) {
		socklen_t len = (socklen_t)(size * sizeof(gid_t));
		gid_t *gids = realloc(c->gids, len);

		if (!gids) {
			return -ENOMEM;
		}
		c->gids = gids;
		if (getsockopt(c->stream.fd, SOL_SOCKET, SO_PEERGROUPS, gids, &len) == 0) {
			c->info.gids = gids;
			c->info.n_gids = len / sizeof(*gids);
			return 0;
		}
		if (errno != ERANGE) {
			return err_errno();
		}
	}
	return -E2BIG;
}

static int identify(struct sp_pool *p, struct sp_conn *c, enum sp_scheme scheme)
{
	struct ucred creds;
	socklen_t len = sizeof(creds);

	/* The engines' numbers must not meet: nng's have the top bit clear. */
	c->info = (struct bus_peer){ .id = ++p->last_id | 1ULL << 63, .uid = QUOTA_UID_UNKNOWN };
	if (scheme != SP_IPC) {
		c->info.is_plain_tcp = scheme == SP_TCP;
		sp_tcp_peer_name(c->stream.fd, c->info.name, sizeof(c->info.name));
		return 0;
	}
	if (getsockopt(c->stream.fd, SOL_SOCKET, SO_PEERCRED, &creds, &len) < 0) {
		return err_errno();
	}
	c->info.has_creds = true;
	c->info.uid = creds.uid;
	c->info.gid = creds.gid;
	c->info.pid = creds.pid;
	return find_groups(c);
}

/* Whoever reaches a network address can begin a handshake and leave it there: then the oldest of
 * these goes, so that all of them together keep nobody from saying who it is. */
static bool end_oldest_shaking(struct sp_pool *p, const struct quota_user *u)
{
	list_for_each (i, &p->shaking) {
		struct sp_conn *c = list_entry(i, struct sp_conn, by_deadline);

		if (c->user == u && c->is_accepted && !c->info.has_creds && c->depth == 0) {
			sp_conn_free(c);
			return true;
		}
	}
	return false;
}

/* A place for a connection of the payer. 0, with c->user set; -EUSERS; -ENOMEM. */
static int take_place(struct sp_pool *p, struct sp_conn *c, const struct quota_payer *payer)
{
	struct quota_user *u = quota_user_ref(&p->quota, payer);
	char who[SP_WHO_SIZE];

	if (!u) {
		return -ENOMEM;
	}
	if (!quota_take(&p->quota, u, QUOTA_CONNECTIONS, 1) &&
	    !(end_oldest_shaking(p, u) && quota_take(&p->quota, u, QUOTA_CONNECTIONS, 1))) {
		log_warning("turning away %s: there are %zu connections of its user, which is the "
			    "share of one of all %zu",
			    sp_conn_describe(c, who, sizeof(who)), u->used[QUOTA_CONNECTIONS],
			    p->quota.max[QUOTA_CONNECTIONS]);
		quota_user_unref(&p->quota, u);
		return -EUSERS;
	}
	c->user = u;
	return 0;
}

static void give_place(struct sp_pool *p, struct sp_conn *c)
{
	quota_give(&p->quota, c->user, QUOTA_CONNECTIONS, 1);
	c->user = quota_user_unref(&p->quota, c->user);
}

/* Enter it into the books. 0; -EUSERS; -ENOMEM. */
static int enlist(struct sp_pool *p, struct sp_conn *c)
{
	const struct quota_payer shaking = { .uid = QUOTA_UID_SHAKING };
	const struct quota_payer payer = c->stream.tls ? shaking : quota_payer(&c->info);
	int r = take_place(p, c, &payer);

	if (r < 0) {
		return r;
	}
	if (map_set(&p->by_id, &c->info.id, sizeof(c->info.id), c, NULL) < 0) {
		give_place(p, c);
		return -ENOMEM;
	}
	c->pool = p;
	list_append(&p->conns, &c->by_pool);
	await(p, &p->shaking, c, SHAKE_NS);
	return 0;
}

/* 0 or -EACCES. */
static int admit(struct sp_pool *p, struct sp_conn *c)
{
	bool is_asked = c->is_accepted && p->handler->admit;

	return is_asked && !p->handler->admit(&c->info, p->userdata) ? -EACCES : 0;
}

int sp_pool_on_open(struct sp_pool *p, struct sp_conn *c)
{
	struct quota_user *before = c->user;
	int r;

	if (!c->stream.tls) {
		return 0; /* was asked for at the beginning */
	}
	sp_tls_identify(c->stream.tls, &c->info);
	r = admit(p, c);
	if (r == 0) {
		const struct quota_payer payer = quota_payer(&c->info);

		r = take_place(p, c, &payer);
	}
	if (r == 0) {
		quota_give(&p->quota, before, QUOTA_CONNECTIONS, 1);
		quota_user_unref(&p->quota, before);
	}
	return r;
}

static int begin(struct sp_pool *p, struct sp_conn *c, const struct sp_pool_join *join)
{
	int r = identify(p, c, join->scheme);

	if (r == 0 && join->scheme == SP_TLS) {
		r = sp_tls_new(&c->stream.tls, p->tls, c->stream.fd, join->server_name);
	} else if (r == 0) {
		r = admit(p, c);
	}
	if (r == 0) {
		r = enlist(p, c);
	}
	return r == 0 ? sp_conn_start(c) : r;
}

int sp_pool_add(struct sp_pool *p, int fd, const struct sp_pool_join *join, struct sp_conn **out)
{
	struct sp_conn *c = calloc(1, sizeof(*c));
	int r;

	if (!c) {
		close(fd);
		return -ENOMEM;
	}
	c->stream.fd = fd;
	c->stream.is_connecting = join->is_connecting;
	c->is_accepted = join->is_accepted;
	c->is_bare = join->scheme != SP_IPC;
	list_init(&c->queue);
	c->sent_in = UINT64_MAX;
	c->decoder.max = p->max_message;
	c->decoder.is_bare = c->is_bare;
	r = begin(p, c, join);
	if (r < 0) {
		sp_conn_free(c);
		return r;
	}
	if (out) {
		*out = c;
	}
	return 0;
}

/* A connection lives for months; the certificate it was begun with may not. */
static int on_audit(void *userdata)
{
	struct sp_pool *p = userdata;
	char who[SP_WHO_SIZE];

	bus_tls_refresh(p->tls);
	list_for_each (i, &p->conns) {
		struct sp_conn *c = list_entry(i, struct sp_conn, by_pool);

		if (c->stream.tls && c->is_open && !c->is_broken &&
		    !sp_tls_is_valid(c->stream.tls)) {
			log_warning("the certificate of %s is not valid any more; closing its "
				    "connection",
				    sp_conn_describe(c, who, sizeof(who)));
			sp_conn_break(c);
		}
	}
	return 0;
}

int sp_pool_prepare_tls(struct sp_pool *p, const char *url)
{
	if (!p->tls || !bus_tls_is_complete(p->tls)) {
		log_error("%s needs ca, cert and key in [tls] of the topology", url);
		return -ENOKEY;
	}
	if (bus_tls_refresh(p->tls) < 0) {
		return -ENOKEY;
	}
	return p->audit ? 0 : loop_ticker_new(&p->audit, p->loop, AUDIT_US, on_audit, p);
}

struct sp_conn *sp_pool_find(const struct sp_pool *p, uint64_t id)
{
	return map_get(&p->by_id, &id, sizeof(id));
}

void sp_pool_leave(struct sp_pool *p, struct sp_conn *c)
{
	list_unlink(&c->by_deadline);
	list_unlink(&c->by_pool);
	map_remove(&p->by_id, &c->info.id, sizeof(c->info.id));
	p->n_up -= c->is_up;
	give_place(p, c);
	c->pool = NULL;
}
