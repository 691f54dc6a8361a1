/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest is one timer and one ring.  While it is paused the timer is off, with
 * the time that was left in `left_us`, and what the ring brings is only noted.
 *
 * machine_stop() frees the guest: it is always the last thing a function does.
 */
#include "services/simhost/sim_guest.h"

#include <stdio.h>

#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"
#include "services/guest-agent/logic/diff.h"
#include "services/guest-agent/logic/keys.h"
#include "services/guest-agent/logic/meminfo.h"
#include "services/simhost/sim_facts.h"

#define AGENT_REQUESTS	   16 /* in flight */
#define AGENT_DELAY_PART   4  /* of the boot: the agent starts after it */
#define MEMORY_INTERVAL_NS (60 * NSEC_PER_SEC)

#define REASON_NONE	XENMESH__V1__SHUTDOWN_REASON__SHUTDOWN_REASON_UNSPECIFIED
#define REASON_POWEROFF XENMESH__V1__SHUTDOWN_REASON__SHUTDOWN_REASON_POWEROFF
#define REASON_REBOOT	XENMESH__V1__SHUTDOWN_REASON__SHUTDOWN_REASON_REBOOT
#define REASON_CRASH	XENMESH__V1__SHUTDOWN_REASON__SHUTDOWN_REASON_CRASH

enum phase {
	PHASE_BOOT,  /* until the kernel is up */
	PHASE_AGENT, /* until the agent starts */
	PHASE_UP,
	PHASE_STOP, /* shutting down */
};

/* A set of changes on its way to xenstore. */
struct publication {
	struct guest_tree wanted;
	struct guest_ops ops;
	size_t sent;
	char now[32];
};

struct sim_guest {
	struct machine_domain *domain;
	struct guest_ring *ring;
	struct sim_guest_plan plan;
	enum phase phase;
	Xenmesh__V1__ShutdownReason reason; /* of PHASE_STOP */
	sd_event_source *timer;
	sd_event_source *crash_timer;
	uint64_t timer_at_us; /* CLOCK_BOOTTIME */
	uint64_t left_us;     /* while paused */
	bool is_paused;
	bool is_request_noted; /* control/shutdown is to be read */
	bool has_reported;
	size_t agent_in_flight;
	struct publication *publication; /* NULL = nothing to tell */
	struct guest_tree published;
	struct guest_meminfo_gate gate;
	uint64_t n_looks;
};

static void go_on(struct sim_guest *g);
static void agent_pump(struct sim_guest *g);

/* ---- time ---- */

static int on_timer(sd_event_source *s _unused_, uint64_t usec _unused_, void *userdata)
{
	go_on(userdata);
	return 0;
}

static void set_timer(struct sim_guest *g, uint64_t delay_us)
{
	int r = loop_after(machine_loop(g->domain->machine), &g->timer, delay_us, on_timer, g);

	g->timer_at_us = clock_boot_ns() / 1000 + delay_us;
	if (r < 0) {
		log_error("domain %u: no timer: %s", g->domain->state.domid, err_text(r));
	}
}

static bool is_timer_on(const struct sim_guest *g)
{
	int enabled = SD_EVENT_OFF;

	return g->timer && sd_event_source_get_enabled(g->timer, &enabled) >= 0 &&
	       enabled != SD_EVENT_OFF;
}

void sim_guest_pause(struct sim_guest *g)
{
	uint64_t now_us = clock_boot_ns() / 1000;

	if (!g || g->is_paused) {
		return;
	}
	g->is_paused = true;
	g->left_us = 0;
	if (is_timer_on(g)) {
		g->left_us = g->timer_at_us > now_us ? g->timer_at_us - now_us : 1;
		g->timer = sd_event_source_disable_unref(g->timer);
	}
}

/* ---- the kernel ---- */

static void on_ack(struct guest_ring *ring _unused_, int error, const char *data _unused_,
		   size_t len _unused_, void *userdata)
{
	struct sim_guest *g = userdata;

	if (error == 0 && !g->plan.never_ends) {
		g->phase = PHASE_STOP;
		if (g->is_paused) {
			g->left_us = g->plan.stop_ms * USEC_PER_MSEC + 1;
		} else {
			set_timer(g, g->plan.stop_ms * USEC_PER_MSEC);
		}
	}
}

static void on_request(struct guest_ring *ring, int error, const char *data, size_t len _unused_,
		       void *userdata)
{
	struct sim_guest *g = userdata;
	Xenmesh__V1__ShutdownReason reason = REASON_NONE;

	if (error < 0 || g->phase == PHASE_STOP || g->plan.ignores_shutdown) {
		return;
	}
	if (streq(data, "poweroff") || streq(data, "halt")) {
		reason = REASON_POWEROFF;
	} else if (streq(data, "reboot")) {
		reason = REASON_REBOOT;
	}
	if (reason != REASON_NONE) {
		g->reason = reason;
		guest_ring_write(ring, "control/shutdown", "", 0, on_ack, g);
	}
}

static void read_request(struct sim_guest *g)
{
	g->is_request_noted = false;
	guest_ring_read(g->ring, "control/shutdown", on_request, g);
}

static void on_watch(struct guest_ring *ring _unused_, const char *path _unused_,
		     const char *token _unused_, void *userdata)
{
	struct sim_guest *g = userdata;

	if (g->is_paused) {
		g->is_request_noted = true;
	} else {
		read_request(g);
	}
}

static void on_broken(struct guest_ring *ring _unused_, int error, void *userdata)
{
	const struct sim_guest *g = userdata;

	log_warning("domain %u: its connection to xenstore broke: %s", g->domain->state.domid,
		    err_text(error));
}

static const struct guest_ring_callbacks ring_callbacks = {
	.watch = on_watch,
	.broken = on_broken,
};

static void connect_frontends(struct sim_guest *g)
{
	const Xenmesh__Host__Domain *d = &g->domain->state;
	char path[64];

	for (size_t i = 0; i < d->n_vifs; i++) {
		snprintf(path, sizeof(path), "device/vif/%u/state", d->vifs[i]->devid);
		guest_ring_write(g->ring, path, "4", 1, NULL, NULL);
	}
	for (size_t i = 0; i < d->n_vbds; i++) {
		snprintf(path, sizeof(path), "device/vbd/%u/state", d->vbds[i]->devid);
		guest_ring_write(g->ring, path, "4", 1, NULL, NULL);
	}
}

static int connect_ring(struct sim_guest *g)
{
	struct machine *m = g->domain->machine;
	int r = guest_ring_new(&g->ring, machine_hub(m), g->domain->state.domid, &ring_callbacks,
			       g);

	if (r == 0) {
		r = guest_ring_reset_watches(g->ring, NULL, NULL);
	}
	/* Fires at once: a request that came while it booted is seen. */
	if (r == 0) {
		r = guest_ring_watch(g->ring, "control/shutdown", "shutdown", NULL, NULL);
	}
	return err_trace(r);
}

static int start_kernel(struct sim_guest *g)
{
	int r = connect_ring(g);

	if (r < 0) {
		return r;
	}
	guest_ring_write(g->ring, "control/feature-poweroff", "1", 1, NULL, NULL);
	guest_ring_write(g->ring, "control/feature-reboot", "1", 1, NULL, NULL);
	connect_frontends(g);
	return machine_connect(g->domain);
}

/* ---- the agent ---- */

static struct publication *publication_free(struct publication *p)
{
	if (p) {
		guest_ops_deinit(&p->ops);
		guest_tree_deinit(&p->wanted);
		free(p);
	}
	return NULL;
}

static void agent_done(struct sim_guest *g)
{
	struct guest_tree old = g->published;

	g->published = g->publication->wanted;
	g->publication->wanted = GUEST_TREE_NULL;
	guest_tree_deinit(&old);
	g->publication = publication_free(g->publication);
	g->has_reported = true;
}

static void on_told(struct guest_ring *ring _unused_, int error, const char *data _unused_,
		    size_t len _unused_, void *userdata)
{
	struct sim_guest *g = userdata;

	if (error == -ECANCELED) {
		return; /* the guest is being freed */
	}
	g->agent_in_flight--;
	/* libxl gives the guest no right to make control/feature-balloon. */
	if (error < 0 && error != -EACCES && error != -ENOENT) {
		log_debug("domain %u: its agent cannot write: %s", g->domain->state.domid,
			  err_text(error));
	}
	agent_pump(g);
}

static int send_op(struct sim_guest *g, const struct guest_op *op)
{
	return op->value ? guest_ring_write(g->ring, op->path, op->value, strlen(op->value),
					    on_told, g)
			 : guest_ring_rm(g->ring, op->path, on_told, g);
}

static void agent_pump(struct sim_guest *g)
{
	struct publication *p = g->publication;

	if (!p || g->is_paused) {
		return;
	}
	while (p->sent < p->ops.n && g->agent_in_flight < AGENT_REQUESTS) {
		int r = send_op(g, &p->ops.ops[p->sent]);

		if (r == -ENOBUFS && g->agent_in_flight > 0) {
			return; /* goes on with the next answer */
		}
		p->sent++;
		g->agent_in_flight += r == 0;
	}
	if (p->sent == p->ops.n && g->agent_in_flight == 0) {
		agent_done(g);
	}
}

static uint64_t free_kib(const struct machine_domain *d, uint64_t n_looks)
{
	return sim_facts_free_kib(&d->state, n_looks, d->load.profile.cpu);
}

/* The memory figures of this look, or those last told. */
static void look_at_memory(struct sim_guest *g, struct guest_facts *facts)
{
	struct guest_meminfo now = {
		.total_kib = facts->memory_total_kib,
		.free_kib = free_kib(g->domain, g->n_looks++),
	};

	guest_meminfo_gate_pass(&g->gate, &now, clock_boot_ns(), MEMORY_INTERVAL_NS);
	facts->memory_free_kib = g->gate.told.free_kib;
}

static int agent_publish(struct sim_guest *g)
{
	_cleanup_(xfreep) struct guest_facts *facts = malloc(sizeof(*facts));
	struct publication *p;
	time_t now = time(NULL);
	struct tm tm;
	int r;

	if (!facts || g->publication) {
		return facts ? 0 : -ENOMEM;
	}
	r = sim_facts_make(&g->domain->state, facts);
	p = calloc(1, sizeof(*p));
	if (r < 0 || !p) {
		free(p);
		return -ENOMEM;
	}
	look_at_memory(g, facts);
	if (gmtime_r(&now, &tm)) {
		strftime(p->now, sizeof(p->now), "%a %b %e %H:%M:%S %Y", &tm);
	}
	g->publication = p;
	r = guest_keys_build(facts, &p->wanted);
	if (r == 0) {
		r = guest_diff(&g->published, &p->wanted, p->now, &p->ops);
	}
	if (r < 0) {
		g->publication = publication_free(p);
		return err_trace(r);
	}
	agent_pump(g);
	return 0;
}

void sim_guest_tick(struct sim_guest *g)
{
	if (g && g->phase == PHASE_UP && !g->is_paused && !g->plan.has_no_agent) {
		agent_publish(g);
	}
}

bool sim_guest_has_reported(const struct sim_guest *g)
{
	return g && g->has_reported;
}

int sim_guest_keys(const struct machine_domain *d, struct guest_tree *out)
{
	_cleanup_(xfreep) struct guest_facts *facts = malloc(sizeof(*facts));
	int r = facts ? sim_facts_make(&d->state, facts) : -ENOMEM;

	if (r == 0) {
		facts->memory_free_kib = free_kib(d, 0);
		r = guest_keys_build(facts, out);
	}
	return r;
}

/* ---- life ---- */

/* Its keys were told by somebody else. */
static int go_on_from_long_ago(struct sim_guest *g)
{
	struct guest_meminfo now = { .free_kib = free_kib(g->domain, g->n_looks++) };

	g->phase = PHASE_UP;
	g->has_reported = true;
	guest_meminfo_gate_pass(&g->gate, &now, clock_boot_ns(), MEMORY_INTERVAL_NS);
	return sim_guest_keys(g->domain, &g->published);
}

static void start_agent(struct sim_guest *g)
{
	int r = g->plan.has_no_agent ? 0 : agent_publish(g);

	g->phase = PHASE_UP;
	if (r < 0) {
		log_error("domain %u: its agent cannot start: %s", g->domain->state.domid,
			  err_text(r));
	}
}

/* The timer of this phase is over. */
static void go_on(struct sim_guest *g)
{
	struct machine_domain *d = g->domain;
	int r;

	switch (g->phase) {
	case PHASE_BOOT:
		r = start_kernel(g);
		if (r < 0) {
			log_error("domain %u cannot boot: %s", d->state.domid, err_text(r));
			machine_stop(d, REASON_CRASH);
			return;
		}
		d->load.is_busy = false;
		g->phase = PHASE_AGENT;
		set_timer(g, g->plan.boot_ms * USEC_PER_MSEC / AGENT_DELAY_PART);
		return;
	case PHASE_AGENT:
		start_agent(g);
		return;
	case PHASE_STOP:
		machine_stop(d, g->reason);
		return;
	case PHASE_UP:
		return;
	}
}

static int on_crash(sd_event_source *s _unused_, uint64_t usec _unused_, void *userdata)
{
	struct sim_guest *g = userdata;

	machine_stop(g->domain, REASON_CRASH);
	return 0;
}

int sim_guest_new(struct sim_guest **out, struct machine_domain *d,
		  const struct sim_guest_plan *plan)
{
	struct sim_guest *g = calloc(1, sizeof(*g));
	int r = 0;

	if (!g) {
		return -ENOMEM;
	}
	g->domain = d;
	g->plan = *plan;
	d->load.is_busy = !plan->is_up;
	if (!plan->is_up) {
		set_timer(g, plan->boot_ms * USEC_PER_MSEC);
	} else if ((r = connect_ring(g)) == 0) {
		r = go_on_from_long_ago(g);
	}
	if (r == 0 && plan->crash_after_ms > 0) {
		r = loop_after(machine_loop(d->machine), &g->crash_timer,
			       plan->crash_after_ms * USEC_PER_MSEC, on_crash, g);
	}
	if (r < 0) {
		sim_guest_free(g);
		return err_trace(r);
	}
	*out = g;
	return 0;
}

struct sim_guest *sim_guest_free(struct sim_guest *g)
{
	if (g) {
		sd_event_source_disable_unref(g->timer);
		sd_event_source_disable_unref(g->crash_timer);
		guest_ring_free(g->ring);
		publication_free(g->publication);
		guest_tree_deinit(&g->published);
		free(g);
	}
	return NULL;
}

void sim_guest_resume(struct sim_guest *g)
{
	if (!g || !g->is_paused) {
		return;
	}
	g->is_paused = false;
	if (g->left_us > 0) {
		set_timer(g, g->left_us);
	}
	if (g->is_request_noted) {
		read_request(g);
	}
	agent_pump(g);
}

void sim_guest_end(struct sim_guest *g, Xenmesh__V1__ShutdownReason reason)
{
	if (!g || g->phase == PHASE_STOP) {
		return;
	}
	g->phase = PHASE_STOP;
	g->reason = reason;
	if (g->is_paused) {
		g->left_us = g->plan.stop_ms * USEC_PER_MSEC + 1;
	} else {
		set_timer(g, g->plan.stop_ms * USEC_PER_MSEC);
	}
}

void sim_guest_set_ignores_shutdown(struct sim_guest *g, bool ignores)
{
	if (g) {
		g->plan.ignores_shutdown = ignores;
		if (!ignores && g->ring && !g->is_paused) {
			read_request(g);
		}
	}
}
