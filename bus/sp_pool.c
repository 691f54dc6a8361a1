/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two kinds of deadline, each of one length, so each list is in the order in
 * which its connections have to be looked at, and one timer does for all.
 */
#include "bus/sp_pool.h"

#include <sys/socket.h>

#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"
#include "libcommon/uuid.h"

#define SHAKE_NS      (5 * NSEC_PER_SEC)  /* an honest peer needs a millisecond */
#define PROGRESS_NS   (60 * NSEC_PER_SEC) /* without a further byte of a message */
#define NSEC_PER_USEC 1000ULL

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

	p->armed_ns = 0;
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		struct sp_conn *c;

		while ((c = list_first(lists[i], struct sp_conn, by_deadline)) &&
		       c->deadline_ns <= now) {
			sp_pool_await_nothing(p, c);
			log_debug("uid %u pid %d is too slow; closing its connection",
				  (unsigned int)c->info.uid, (int)c->info.pid);
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

void sp_pool_init(struct sp_pool *p)
{
	p->loop = sd_event_ref(p->loop);
	list_init(&p->conns);
	list_init(&p->shaking);
	list_init(&p->partial);
	random_bytes(&p->last_id, sizeof(p->last_id));
}

void sp_pool_deinit(struct sp_pool *p)
{
	list_for_each_safe (i, &p->conns) {
		sp_conn_free(list_entry(i, struct sp_conn, by_pool));
	}
	for (struct map_iter i = map_begin(&p->users); map_next(&p->users, &i);) {
		free(i.value);
	}
	map_deinit(&p->users);
	map_deinit(&p->by_id);
	p->timer = sd_event_source_disable_unref(p->timer);
	p->loop = sd_event_unref(p->loop);
	free(p->scratch);
	p->scratch = NULL;
}

static struct sp_user *ensure_user(struct sp_pool *p, uid_t uid)
{
	struct sp_user *u = map_get(&p->users, &uid, sizeof(uid));

	if (u) {
		return u;
	}
	u = calloc(1, sizeof(*u));
	if (!u || map_set(&p->users, &uid, sizeof(uid), u, NULL) < 0) {
		free(u);
		return NULL;
	}
	u->uid = uid;
	return u;
}

static void drop_user(struct sp_pool *p, struct sp_user *u)
{
	if (u->n_conns == 0) {
		free(map_remove(&p->users, &u->uid, sizeof(u->uid)));
	}
}

static int identify(struct sp_pool *p, struct sp_conn *c)
{
	struct ucred creds;
	socklen_t len = sizeof(creds);

	if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &creds, &len) < 0) {
		return err_errno();
	}
	/* The engines' numbers must not meet: nng's have the top bit clear. */
	c->info = (struct bus_peer){
		.id = ++p->last_id | 1ULL << 63,
		.has_creds = true,
		.uid = creds.uid,
		.gid = creds.gid,
		.pid = creds.pid,
	};
	return 0;
}

static int admit(struct sp_pool *p, struct sp_conn *c)
{
	struct sp_user *u;
	int r = identify(p, c);

	if (r < 0) {
		return r;
	}
	u = ensure_user(p, c->info.uid);
	if (!u) {
		return -ENOMEM;
	}
	if (u->n_conns >= SP_CONNS_PER_UID) {
		return -EUSERS;
	}
	if (map_set(&p->by_id, &c->info.id, sizeof(c->info.id), c, NULL) < 0) {
		drop_user(p, u);
		return -ENOMEM;
	}
	c->pool = p;
	c->user = u;
	u->n_conns++;
	p->n_conns++;
	list_append(&p->conns, &c->by_pool);
	await(p, &p->shaking, c, SHAKE_NS);
	return 0;
}

int sp_pool_add(struct sp_pool *p, int fd, struct sp_conn **out)
{
	struct sp_conn *c = p->n_conns < SP_CONNS_MAX ? calloc(1, sizeof(*c)) : NULL;
	int r;

	if (!c) {
		close(fd);
		return p->n_conns < SP_CONNS_MAX ? -ENOMEM : -EUSERS;
	}
	c->fd = fd;
	list_init(&c->queue);
	c->decoder.max = p->max_message;
	r = admit(p, c);
	if (r == 0) {
		r = sp_conn_start(c);
	}
	if (r < 0) {
		sp_conn_free(c);
		return r;
	}
	if (out) {
		*out = c;
	}
	return 0;
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
	p->n_conns--;
	p->n_up -= c->is_up;
	c->user->n_conns--;
	drop_user(p, c->user);
	c->user = NULL;
	c->pool = NULL;
}
