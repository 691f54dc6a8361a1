/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Without a core nothing is sampled, but the counters grow all the same: their
 * growth is taken at the next look.
 */
#include "services/simhost/service.h"

#include <inttypes.h>
#include <stdio.h>

#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"
#include "libcommon/strbuf.h"
#include "libcommon/xenstore.h"
#include "services/ops/host/server.h"
#include "services/simhost/commands.h"
#include "services/simhost/control.h"
#include "services/simhost/population.h"
#include "services/simhost/sample.h"
#include "services/simhost/sim_guest.h"
#include "services/simhost/workers.h"

#define SAMPLE_US	 USEC_PER_SEC
#define ARENA_LIMIT	 (64U << 20)
#define UPTIME_NS	 (36 * 3600 * NSEC_PER_SEC)
#define AGENT_TURNS	 60 /* ticks in which each guest's agent looks at its memory once */
#define STOP_PART	 2  /* a guest shuts down in this part of its boot time */
#define PCPUS_LEAST	 16
#define PCPUS_MOST	 256
#define VMS_PER_PCPU	 4
#define MEMORY_LEAST_KIB (UINT64_C(64) << 20)
#define DOM0_MEMORY_KIB	 (UINT64_C(4) << 20)
#define CPU_OF_A_VM	 0.16 /* pCPUs, the mean of load.h's profiles */
#define CPU_OF_THE_HOST	 0.6  /* that its first VMs shall use at most */

struct sim_service {
	sd_event *loop;
	struct guest_ring_hub *hub;
	struct xenstore *xs;
	struct machine *machine;
	struct sim_xl *xl;
	struct population *population;
	struct sim_workers *workers;
	struct host_server *server;
	struct control *control;
	struct commands commands;
	struct loop_ticker *ticker;
	struct faults *faults;
	struct sample_host host;
	struct sample_turns turns;
	uint32_t boot_ms;
	uint64_t n_ticks;
	uint64_t tick_ns; /* the last one took */
	uint64_t longest_tick_ns;
};

/* ---- the table changes ---- */

static void on_changed(struct machine_domain *d, void *userdata)
{
	Xenmesh__Host__FromHost message = XENMESH__HOST__FROM_HOST__INIT;
	struct sim_service *s = userdata;

	if (s->server) {
		message.body_case = XENMESH__HOST__FROM_HOST__BODY_DOMAIN;
		message.domain = &d->state;
		host_server_broadcast(s->server, &message);
	}
}

static void on_gone(struct machine_domain *d, void *userdata)
{
	Xenmesh__Host__FromHost message = XENMESH__HOST__FROM_HOST__INIT;
	Xenmesh__Host__DomainGone body = XENMESH__HOST__DOMAIN_GONE__INIT;
	struct sim_service *s = userdata;

	body.domid = d->state.domid;
	body.uuid = d->state.uuid;
	message.body_case = XENMESH__HOST__FROM_HOST__BODY_GONE;
	message.gone = &body;
	if (s->server) {
		host_server_broadcast(s->server, &message);
	}
	if (s->workers) {
		sim_workers_notice(s->workers, d);
	}
}

static void on_stopped(struct machine_domain *d, void *userdata)
{
	struct sim_service *s = userdata;

	sim_workers_notice(s->workers, d);
	sim_xl_on_stopped(s->xl, d);
}

static uint32_t usual(uint64_t wanted_ms, uint32_t usual_ms)
{
	return wanted_ms == FAULT_UNSET ? usual_ms : (uint32_t)MIN(wanted_ms, UINT32_MAX);
}

static void on_plan(struct machine_domain *d, struct sim_guest_plan *plan, void *userdata)
{
	struct sim_service *s = userdata;
	struct fault f = faults_take(s->faults, FAULT_GUEST, d->state.name, d->state.uuid);

	plan->is_up = d->is_aged;
	plan->boot_ms = usual(f.boot_ms, s->boot_ms);
	plan->stop_ms = usual(f.stop_ms, s->boot_ms / STOP_PART);
	plan->crash_after_ms = usual(f.crash_after_ms, 0);
	plan->ignores_shutdown = f.ignores_shutdown;
	plan->never_ends = f.never_ends;
	plan->has_no_agent = f.has_no_agent;
}

static const struct machine_events machine_events = {
	.changed = on_changed,
	.gone = on_gone,
	.stopped = on_stopped,
	.plan = on_plan,
};

/* ---- what a core asks for ---- */

static void send_state(struct sim_service *s, struct link *peer)
{
	Xenmesh__Host__FromHost message = XENMESH__HOST__FROM_HOST__INIT;
	Xenmesh__V1__HostState state;

	sample_state(&s->host, &state);
	message.body_case = XENMESH__HOST__FROM_HOST__BODY_STATE;
	message.state = &state;
	host_server_reply(peer, &message, -1);
}

static void send_table(struct sim_service *s, struct link *peer)
{
	Xenmesh__Host__FromHost message = XENMESH__HOST__FROM_HOST__INIT;
	Xenmesh__Host__DomainTable table = XENMESH__HOST__DOMAIN_TABLE__INIT;
	uint64_t read_ns = clock_boot_ns(); /* before: the table is at least that new */
	size_t n = machine_count(s->machine);
	_cleanup_(xfreep) Xenmesh__Host__Domain **domains = calloc(n, sizeof(*domains));

	if (!domains) {
		log_error("cannot send the table of domains: out of memory");
		return;
	}
	for (size_t i = 0; i < n; i++) {
		domains[i] = &machine_at(s->machine, i)->state;
	}
	table.domains = domains;
	table.n_domains = n;
	table.read_ns = read_ns;
	message.body_case = XENMESH__HOST__FROM_HOST__BODY_TABLE;
	message.table = &table;
	host_server_reply(peer, &message, -1);
}

static void on_send_all(struct link *peer, void *userdata)
{
	struct sim_service *s = userdata;

	send_state(s, peer);
	send_table(s, peer);
}

static int on_spawn(int *fd, char **error, void *userdata)
{
	struct sim_service *s = userdata;
	int r = sim_workers_spawn(s->workers, fd);
	int n = 0;

	if (r == -EBUSY) {
		n = asprintf(error, "%d operations are running already; try again later",
			     SIM_WORKERS_MAX);
	} else if (r < 0) {
		n = asprintf(error, "the host process cannot start a worker: %s", err_text(r));
	}
	if (n < 0) {
		*error = NULL;
	}
	return r;
}

static const struct host_server_events server_events = {
	.simulated = true,
	.send_all = on_send_all,
	.spawn = on_spawn,
};

/* ---- each second ---- */

static int send_sample(struct sim_service *s)
{
	Xenmesh__Host__FromHost message = XENMESH__HOST__FROM_HOST__INIT;
	_cleanup_(arena_deinit) struct arena arena;
	int r;

	arena_init(&arena, ARENA_LIMIT);
	r = sample_take(s->machine, &s->turns, &arena, &message.sample);
	if (r < 0) {
		return err_trace(r);
	}
	message.body_case = XENMESH__HOST__FROM_HOST__BODY_SAMPLE;
	host_server_broadcast(s->server, &message);
	return 0;
}

/* Each guest's turn comes once a minute. */
static void tick_guests(struct sim_service *s)
{
	for (size_t i = 0; i < machine_count(s->machine); i++) {
		const struct machine_domain *d = machine_at(s->machine, i);

		if ((d->state.domid + s->n_ticks) % AGENT_TURNS == 0) {
			sim_guest_tick(d->guest);
		}
	}
}

static int on_tick(void *userdata)
{
	struct sim_service *s = userdata;
	uint64_t begin_ns = clock_boot_ns();
	int r = 0;

	machine_advance(s->machine);
	if (host_server_count(s->server) > 0) {
		r = send_sample(s);
	}
	if (r < 0) {
		log_warning("no sample: %s", err_text(r));
	}
	tick_guests(s);
	s->n_ticks++;
	s->tick_ns = clock_boot_ns() - begin_ns;
	s->longest_tick_ns = MAX(s->longest_tick_ns, s->tick_ns);
	return 0;
}

static void put_stat(struct strbuf *out, const char *name, uint64_t value)
{
	strbuf_printf(out, "%s %" PRIu64 "\n", name, value);
}

void sim_service_stats(const struct sim_service *s, struct strbuf *out)
{
	uint64_t reported = 0;

	for (size_t i = 0; i < machine_count(s->machine); i++) {
		reported += sim_guest_has_reported(machine_at(s->machine, i)->guest);
	}
	put_stat(out, "domains", machine_count(s->machine));
	put_stat(out, "domains_made", machine_made(s->machine));
	put_stat(out, "vms_to_come", population_left(s->population));
	put_stat(out, "guests_reported", reported);
	put_stat(out, "workers", sim_workers_count(s->workers));
	put_stat(out, "cores", host_server_count(s->server));
	put_stat(out, "free_memory_kib", machine_free_kib(s->machine));
	put_stat(out, "ticks", s->n_ticks);
	put_stat(out, "tick_us", s->tick_ns / 1000);
	put_stat(out, "longest_tick_us", s->longest_tick_ns / 1000);
}

/* ---- life ---- */

static int size_host(struct sim_service *s, const struct sim_service_options *o, char *why,
		     size_t why_size)
{
	uint64_t vms_kib = population_memory_kib(o->vms, o->seed);

	s->host.pcpus = o->pcpus ? o->pcpus
				 : MIN(MAX(o->vms / VMS_PER_PCPU, PCPUS_LEAST), PCPUS_MOST);
	s->host.memory_kib = o->memory_kib ? o->memory_kib
					   : MAX(MEMORY_LEAST_KIB, vms_kib + vms_kib / 4) +
						     DOM0_MEMORY_KIB;
	if (gethostname(s->host.hostname, sizeof(s->host.hostname) - 1) < 0) {
		return err_errno();
	}
	if (s->host.memory_kib < vms_kib + DOM0_MEMORY_KIB) {
		snprintf(why, why_size,
			 "%u VMs and dom0 need %" PRIu64 " MiB, but the host has %" PRIu64
			 " MiB; give it more by --memory",
			 o->vms, (vms_kib + DOM0_MEMORY_KIB) >> 10, s->host.memory_kib >> 10);
		return -EINVAL;
	}
	return 0;
}

static int make_machine(struct sim_service *s, const struct sim_service_options *o)
{
	double wanted = MAX(o->vms, 1) * CPU_OF_A_VM;
	double share = s->host.pcpus * CPU_OF_THE_HOST / wanted;
	const struct machine_options options = {
		.xenstored = o->xenstored,
		.hub = s->hub,
		.loop = s->loop,
		.pcpus = s->host.pcpus,
		.memory_kib = s->host.memory_kib,
		.dom0_memory_kib = DOM0_MEMORY_KIB,
		.seed = o->seed,
		.uptime_ns = UPTIME_NS,
		.cpu_share = MIN(share, 1.0),
		.events = &machine_events,
		.userdata = s,
	};

	return machine_new(&s->machine, &options);
}

/* Everything but what others connect to, which comes last. */
static int open_inside(struct sim_service *s, const struct sim_service_options *o)
{
	int r;

	if ((r = guest_ring_hub_new(&s->hub, s->loop, sim_xenstored_state_dir(o->xenstored))) < 0 ||
	    (r = xenstore_open(&s->xs)) < 0 || (r = xenstore_attach(s->xs, s->loop)) < 0 ||
	    (r = make_machine(s, o)) < 0 || (r = sim_xl_new(&s->xl, s->machine)) < 0 ||
	    (r = sim_workers_new(&s->workers, s->machine, s->xs, s->faults)) < 0 ||
	    (r = population_new(&s->population, s->machine, o->vms, o->seed, UPTIME_NS)) < 0) {
		return err_trace(r);
	}
	return 0;
}

static int open_outside(struct sim_service *s, const struct sim_service_options *o, char *why,
			size_t why_size)
{
	int r;

	s->commands = (struct commands){
		.service = s,
		.machine = s->machine,
		.xl = s->xl,
		.faults = s->faults,
	};
	r = control_new(&s->control, s->loop, o->control, commands_run, &s->commands);
	if (r < 0) {
		snprintf(why, why_size, "cannot listen on %s: %s", o->control, err_text(r));
		return r;
	}
	r = host_server_new(&s->server, s->loop, o->link, (gid_t)-1, &server_events, s);
	if (r < 0) {
		snprintf(why, why_size, "cannot listen on %s: %s", o->link, err_text(r));
		return r;
	}
	return loop_ticker_new(&s->ticker, s->loop, SAMPLE_US, on_tick, s);
}

int sim_service_new(struct sim_service **out, sd_event *loop,
		    const struct sim_service_options *options, char *why, size_t why_size)
{
	struct sim_service *s = calloc(1, sizeof(*s));
	int r;

	why[0] = '\0';
	if (!s) {
		return -ENOMEM;
	}
	s->loop = loop;
	s->faults = options->faults;
	s->boot_ms = options->boot_ms;
	if ((r = size_host(s, options, why, why_size)) < 0 || (r = open_inside(s, options)) < 0 ||
	    (r = open_outside(s, options, why, why_size)) < 0) {
		if (!why[0]) {
			snprintf(why, why_size, "%s", err_text(r));
		}
		sim_service_free(s);
		return err_trace(r);
	}
	*out = s;
	return 0;
}

struct sim_service *sim_service_free(struct sim_service *s)
{
	if (s) {
		loop_ticker_free(s->ticker);
		host_server_free(s->server);
		control_free(s->control);
		sim_workers_free(s->workers);
		population_free(s->population);
		sim_xl_free(s->xl);
		machine_free(s->machine);
		xenstore_close(s->xs);
		guest_ring_hub_free(s->hub);
		free(s);
	}
	return NULL;
}
