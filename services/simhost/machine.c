/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table is complete and ascending by domid whenever an event is raised.
 * Domain 0 is its first entry and never leaves it.
 */
#include "services/simhost/machine.h"

#include <stdio.h>
#include <xen/sched.h>

#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/parse.h"
#include "services/simhost/sim_guest.h"
#include "services/simhost/xsbatch.h"
#include "services/simhost/xstree.h"

/* Of one domain: a config of 16 vifs and 64 vbds with the longest texts unfolds to less. */
#define DOMAIN_ARENA_LIMIT (1U << 20)
#define DOM0_VCPUS_MAX	   8
#define DOM0_CPU	   0.03

#define POWER_RUNNING  XENMESH__V1__POWER_STATE__POWER_STATE_RUNNING
#define POWER_PAUSED   XENMESH__V1__POWER_STATE__POWER_STATE_PAUSED
#define POWER_SHUTDOWN XENMESH__V1__POWER_STATE__POWER_STATE_SHUTDOWN
#define POWER_DYING    XENMESH__V1__POWER_STATE__POWER_STATE_DYING

struct machine {
	struct machine_options options;
	struct xsbatch xs;
	struct machine_domain **table; /* ascending domid */
	size_t n;
	size_t size;
	uint32_t last_domid;
	uint64_t n_made; /* domains, ever */
	uint64_t free_kib;
	struct load_pcpus pcpus;
};

/* ---- domains ---- */

static void domain_free(struct machine_domain *d)
{
	if (d) {
		d->guest = sim_guest_free(d->guest);
		load_deinit(&d->load);
		arena_deinit(&d->arena);
		free(d);
	}
}

static struct machine_domain *domain_new(struct machine *m)
{
	struct machine_domain *d = calloc(1, sizeof(*d));

	if (d) {
		d->machine = m;
		arena_init(&d->arena, DOMAIN_ARENA_LIMIT);
		xenmesh__host__domain__init(&d->state);
	}
	return d;
}

/* Room in the table for one more. */
static int reserve(struct machine *m)
{
	size_t size = m->size * 2 + 16;
	struct machine_domain **table;

	if (m->n < m->size) {
		return 0;
	}
	table = reallocarray(m->table, size, sizeof(struct machine_domain *));
	if (!table) {
		return -ENOMEM;
	}
	m->table = table;
	m->size = size;
	return 0;
}

/* The first entry that is not below domid. */
static size_t position(const struct machine *m, uint32_t domid)
{
	size_t low = 0, high = m->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (m->table[middle]->state.domid < domid) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return low;
}

static void insert(struct machine *m, struct machine_domain *d)
{
	size_t at = position(m, d->state.domid);

	memmove(m->table + at + 1, m->table + at, (m->n - at) * sizeof(*m->table));
	m->table[at] = d;
	m->n++;
}

static void update_power(struct machine_domain *d)
{
	d->state.power_state = d->is_dying     ? POWER_DYING
			       : d->is_stopped ? POWER_SHUTDOWN
			       : d->is_paused  ? POWER_PAUSED
					       : POWER_RUNNING;
	load_set_running(&d->load, d->state.power_state == POWER_RUNNING, clock_boot_ns());
}

static void tell_changed(struct machine_domain *d)
{
	update_power(d);
	d->machine->options.events->changed(d, d->machine->options.userdata);
}

/* ---- the host ---- */

static void set_age(struct machine_domain *d, uint64_t age_ns)
{
	const struct load_pcpus *p = &d->machine->pcpus;
	uint64_t used_ns;

	load_age(&d->load, age_ns);
	used_ns = load_cpu_ns(&d->load);
	for (uint32_t i = 0; i < p->n; i++) {
		p->idle_ns[i] -= MIN(p->idle_ns[i], used_ns / p->n);
	}
}

static int make_dom0(struct machine *m)
{
	struct machine_domain *d = domain_new(m);
	uint64_t now_ns = clock_boot_ns();
	int r;

	if (!d) {
		return -ENOMEM;
	}
	d->state.uuid = (char *)MACHINE_DOM0_UUID;
	d->state.name = (char *)"Domain-0";
	d->state.type = XENMESH__V1__VM_TYPE__VM_TYPE_PV;
	d->state.max_vcpus = MIN(m->options.pcpus, DOM0_VCPUS_MAX);
	d->state.vcpus_online = d->state.max_vcpus;
	d->state.memory_kib = m->options.dom0_memory_kib;
	d->state.started_ns = clock_real_ns() - m->options.uptime_ns;
	r = load_init(&d->load, m->options.seed, d->state.max_vcpus, 0, 0);
	if (r == 0) {
		r = reserve(m);
	}
	if (r < 0) {
		domain_free(d);
		return err_trace(r);
	}
	d->load.profile.cpu = DOM0_CPU;
	d->load.since_ns = now_ns;
	set_age(d, m->options.uptime_ns);
	update_power(d);
	insert(m, d);
	return 0;
}

int machine_new(struct machine **out, const struct machine_options *options)
{
	struct machine *m = calloc(1, sizeof(*m));
	int r;

	if (!m) {
		return -ENOMEM;
	}
	m->options = *options;
	m->xs = XSBATCH_NULL;
	m->free_kib = options->memory_kib - MIN(options->dom0_memory_kib, options->memory_kib);
	if ((r = load_pcpus_init(&m->pcpus, options->pcpus, clock_boot_ns())) < 0 ||
	    (r = xsbatch_open(&m->xs, sim_xenstored_socket(options->xenstored))) < 0) {
		machine_free(m);
		return err_trace(r);
	}
	for (uint32_t i = 0; i < m->pcpus.n; i++) {
		m->pcpus.idle_ns[i] = options->uptime_ns;
	}
	r = make_dom0(m);
	if (r < 0) {
		machine_free(m);
		return err_trace(r);
	}
	*out = m;
	return 0;
}

struct machine *machine_free(struct machine *m)
{
	if (m) {
		for (size_t i = 0; i < m->n; i++) {
			domain_free(m->table[i]);
		}
		free(m->table);
		load_pcpus_deinit(&m->pcpus);
		xsbatch_close(&m->xs);
		free(m);
	}
	return NULL;
}

sd_event *machine_loop(const struct machine *m)
{
	return m->options.loop;
}

struct guest_ring_hub *machine_hub(const struct machine *m)
{
	return m->options.hub;
}

size_t machine_count(const struct machine *m)
{
	return m->n;
}

struct machine_domain *machine_at(const struct machine *m, size_t i)
{
	return m->table[i];
}

struct machine_domain *machine_find(const struct machine *m, uint32_t domid)
{
	size_t at = position(m, domid);

	return at < m->n && m->table[at]->state.domid == domid ? m->table[at] : NULL;
}

struct machine_domain *machine_find_exactly(const struct machine *m, uint32_t domid,
					    const char *uuid)
{
	struct machine_domain *d = machine_find(m, domid);

	return d && streq(d->state.uuid, uuid) ? d : NULL;
}

struct machine_domain *machine_find_named(const struct machine *m, const char *text)
{
	uint32_t domid;

	for (size_t i = 1; i < m->n; i++) {
		struct machine_domain *d = m->table[i];

		if (streq(d->state.name, text) || streq(d->state.uuid, text)) {
			return d;
		}
	}
	if (parse_u32(text, strlen(text), SIM_MAX_DOMAINS, &domid) == 0 && domid > 0) {
		return machine_find(m, domid);
	}
	return NULL;
}

uint64_t machine_made(const struct machine *m)
{
	return m->n_made;
}

uint64_t machine_free_kib(const struct machine *m)
{
	return m->free_kib;
}

/* ---- making one ---- */

static int copy_config(struct machine_domain *d, const Xenmesh__V1__VmConfig *config)
{
	size_t len = xenmesh__v1__vm_config__get_packed_size(config);
	_cleanup_(xfreep) uint8_t *packed = malloc(MAX(len, 1));

	if (!packed) {
		return -ENOMEM;
	}
	xenmesh__v1__vm_config__pack(config, packed);
	d->config = (void *)arena_unpack(&d->arena, &xenmesh__v1__vm_config__descriptor, packed,
					 len);
	return d->config ? 0 : -E2BIG;
}

static void *alloc_messages(struct arena *a, size_t n, size_t size, void *pointers_out)
{
	void **pointers = arena_alloc(a, n * sizeof(*pointers));
	char *block = arena_alloc(a, n * size);

	for (size_t i = 0; pointers && block && i < n; i++) {
		pointers[i] = block + i * size;
	}
	memcpy(pointers_out, &pointers, sizeof(pointers));
	return pointers ? block : NULL;
}

static int take_devices(struct machine_domain *d)
{
	const Xenmesh__V1__VmConfig *c = d->config;
	Xenmesh__V1__VifState *vifs;
	Xenmesh__V1__VbdState *vbds;
	int r = 0;

	vifs = alloc_messages(&d->arena, c->n_vifs, sizeof(*vifs), &d->state.vifs);
	vbds = alloc_messages(&d->arena, c->n_vbds, sizeof(*vbds), &d->state.vbds);
	if (!vifs || !vbds) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < c->n_vifs; i++) {
		xenmesh__v1__vif_state__init(&vifs[i]);
		vifs[i].devid = c->vifs[i]->devid;
		vifs[i].mac = c->vifs[i]->mac;
		vifs[i].bridge = c->vifs[i]->bridge[0] ? c->vifs[i]->bridge : (char *)"xenbr0";
	}
	for (size_t i = 0; i < c->n_vbds && r == 0; i++) {
		xenmesh__v1__vbd_state__init(&vbds[i]);
		vbds[i].vdev = c->vbds[i]->vdev;
		vbds[i].target = c->vbds[i]->target;
		vbds[i].readonly = c->vbds[i]->readonly;
		r = xstree_vdev_number(vbds[i].vdev, &vbds[i].devid);
	}
	return r;
}

static uint64_t hash_text(const char *text)
{
	uint64_t h = 0xcbf29ce484222325ULL; /* FNV-1a */

	for (; *text; text++) {
		h = (h ^ (uint8_t)*text) * 0x100000001b3ULL;
	}
	return h;
}

static int take_config(struct machine_domain *d, const Xenmesh__V1__VmConfig *config)
{
	const struct machine_options *o = &d->machine->options;
	const Xenmesh__V1__VmConfig *c;
	int r = copy_config(d, config);

	if (r < 0) {
		return r;
	}
	c = d->config;
	d->state.uuid = c->uuid;
	d->state.name = c->name;
	d->state.type = c->type;
	d->state.vcpus_online = c->vcpus;
	d->state.max_vcpus = MAX(c->max_vcpus, c->vcpus);
	d->state.memory_kib = c->memory_kib;
	d->state.max_memory_kib = MAX(c->max_memory_kib, c->memory_kib);
	d->state.started_ns = clock_real_ns();
	d->is_paused = true;
	if (!uuid_is_canonical(c->uuid) || d->state.max_vcpus == 0 ||
	    d->state.max_vcpus > MACHINE_VCPUS_MAX) {
		return -EINVAL;
	}
	r = load_init(&d->load, o->seed ^ hash_text(c->uuid), c->vcpus, c->n_vifs, c->n_vbds);
	if (r < 0) {
		return r;
	}
	d->load.profile.cpu *= o->cpu_share;
	return take_devices(d);
}

/* What would be refused by libxl or Xen. */
static int check_conflicts(const struct machine *m, const struct machine_domain *wanted, char *why,
			   size_t why_size)
{
	const Xenmesh__Host__Domain *w = &wanted->state;

	for (size_t i = 0; i < m->n; i++) {
		const Xenmesh__Host__Domain *d = &m->table[i]->state;

		if (streq(d->name, w->name)) {
			snprintf(why, why_size, "Domain %u has the name \"%s\" already", d->domid,
				 d->name);
			return -EEXIST;
		}
		if (streq(d->uuid, w->uuid)) {
			snprintf(why, why_size, "Domain %u has the UUID %s already", d->domid,
				 d->uuid);
			return -EEXIST;
		}
	}
	if (w->memory_kib > m->free_kib) {
		snprintf(why, why_size, "%llu KiB of memory are wanted, but only %llu KiB are free",
			 (unsigned long long)w->memory_kib, (unsigned long long)m->free_kib);
		return -ENOMEM;
	}
	return 0;
}

/* Domids are used again only after all others, as Xen does. */
static int take_domid(struct machine *m, uint32_t *out)
{
	for (uint32_t i = 0; i < SIM_MAX_DOMAINS; i++) {
		int r;

		m->last_domid = m->last_domid + 1 < SIM_MAX_DOMAINS ? m->last_domid + 1 : 1;
		r = sim_domain_add(m->options.xenstored, m->last_domid);
		if (r == 0) {
			*out = m->last_domid;
			return 0;
		}
		if (r != -EEXIST && r != -EBUSY) {
			return r;
		}
	}
	return -ENOSPC;
}

static int commit(struct machine *m)
{
	int r = xsbatch_commit(&m->xs);

	if (r < 0) {
		log_error("xenstore: %s: %s", m->xs.failed, err_text(r));
	}
	return r;
}

/* A domain that is not in the table and not yet introduced. */
static int make_domain(struct machine *m, const Xenmesh__V1__VmConfig *config,
		       enum xstree_detail detail, char *why, size_t why_size,
		       struct machine_domain **out)
{
	struct machine_domain *d = domain_new(m);
	int r = d ? 0 : -ENOMEM;

	if (r == 0) {
		snprintf(why, why_size, "the configuration is not usable");
		r = take_config(d, config);
	}
	if (r == 0) {
		r = check_conflicts(m, d, why, why_size);
	}
	if (r == 0) {
		snprintf(why, why_size, "the simulated hypervisor has no domain left");
		r = take_domid(m, &d->state.domid);
	}
	if (r < 0) {
		domain_free(d);
		return r;
	}
	m->free_kib -= d->state.memory_kib;
	m->n_made++;
	xstree_domain(&m->xs, &d->state, d->config, detail);
	*out = d;
	return 0;
}

void machine_discard(struct machine_domain *d)
{
	struct machine *m = d ? d->machine : NULL;

	if (d) {
		xstree_remove(&m->xs, d->state.domid, d->state.uuid);
		commit(m);
		sim_domain_remove(m->options.xenstored, d->state.domid);
		m->free_kib += d->state.memory_kib;
		domain_free(d);
	}
}

/* What was collected for it goes to xenstore, and with it the domain into the table. */
static int introduce(struct machine_domain *d)
{
	struct machine *m = d->machine;
	int r = reserve(m);

	xsbatch_introduce(&m->xs, d->state.domid, SIM_GUEST_PORT);
	if (r == 0) {
		r = commit(m);
	}
	if (r < 0) {
		machine_discard(d);
		return r;
	}
	insert(m, d);
	tell_changed(d);
	return 0;
}

int machine_build(struct machine *m, const Xenmesh__V1__VmConfig *config, bool is_xl, char *why,
		  size_t why_size, struct machine_domain **out)
{
	struct machine_domain *d;
	int r = make_domain(m, config, XSTREE_FULL, why, why_size, &d);

	if (r < 0) {
		return r;
	}
	d->is_xl = is_xl;
	r = introduce(d);
	if (r < 0) {
		snprintf(why, why_size, "xenstore refuses the domain's nodes: %s", err_text(r));
		return r;
	}
	*out = d;
	return 0;
}

static void collect_devices(struct machine_domain *d, enum xstree_detail detail)
{
	struct xsbatch *xs = &d->machine->xs;

	d->state.n_vifs = d->config->n_vifs;
	d->state.n_vbds = d->config->n_vbds;
	for (size_t i = 0; i < d->state.n_vifs; i++) {
		xstree_vif(xs, d->state.domid, d->state.vifs[i], d->config->vifs[i], detail);
		d->state.vifs[i]->xenbus_state = 2;
	}
	for (size_t i = 0; i < d->state.n_vbds; i++) {
		xstree_vbd(xs, d->state.domid, d->state.vbds[i], d->config->vbds[i], detail);
		d->state.vbds[i]->xenbus_state = 2;
	}
}

int machine_attach(struct machine_domain *d)
{
	int r;

	collect_devices(d, XSTREE_FULL);
	r = commit(d->machine);
	tell_changed(d);
	return r;
}

void machine_set_complete(struct machine_domain *d)
{
	d->state.complete = true;
	tell_changed(d);
}

static void collect_connection(struct machine_domain *d, enum xstree_detail detail)
{
	struct xsbatch *xs = &d->machine->xs;

	for (size_t i = 0; i < d->state.n_vifs; i++) {
		xstree_connect_vif(xs, d->state.domid, d->state.vifs[i], detail);
		d->state.vifs[i]->xenbus_state = 4;
	}
	for (size_t i = 0; i < d->state.n_vbds; i++) {
		xstree_connect_vbd(xs, d->state.domid, d->state.vbds[i], detail);
		d->state.vbds[i]->xenbus_state = 4;
	}
	d->load.has_io = true;
}

int machine_connect(struct machine_domain *d)
{
	int r;

	collect_connection(d, XSTREE_FULL);
	r = commit(d->machine);
	tell_changed(d);
	return r;
}

/* ---- one that has been up for long ---- */

/* What the guest would have written; below its own nodes everything is the guest's. */
static int collect_guest(struct machine_domain *d, enum xstree_detail detail)
{
	_cleanup_(guest_tree_deinit) struct guest_tree keys = GUEST_TREE_NULL;
	struct xsbatch *xs = &d->machine->xs;
	int r = sim_guest_keys(d, &keys);

	for (size_t i = 0; r == 0 && i < keys.n; i++) {
		xsbatch_writef(xs, keys.keys[i].value, "/local/domain/%u/%s", d->state.domid,
			       keys.keys[i].path);
	}
	xstree_guest_kernel(xs, &d->state, detail);
	return r;
}

int machine_prepare(struct machine *m, const Xenmesh__V1__VmConfig *config, uint64_t age_ns,
		    enum xstree_detail detail, char *why, size_t why_size,
		    struct machine_domain **out)
{
	struct machine_domain *d;
	int r = make_domain(m, config, detail, why, why_size, &d);

	if (r < 0) {
		return r;
	}
	d->is_xl = true;
	d->is_aged = true;
	d->is_paused = false;
	d->state.started_ns -= MIN(d->state.started_ns, age_ns);
	set_age(d, age_ns);
	xstree_start_time(&m->xs, &d->state);
	collect_devices(d, detail);
	collect_connection(d, detail);
	r = collect_guest(d, detail);
	if (r == 0) {
		r = commit(m);
	}
	if (r < 0) {
		snprintf(why, why_size, "xenstore refuses the domain's nodes: %s", err_text(r));
		machine_discard(d);
		return r;
	}
	*out = d;
	return 0;
}

static int make_guest(struct machine_domain *d)
{
	const struct machine_options *o = &d->machine->options;
	struct sim_guest_plan plan = { 0 };

	o->events->plan(d, &plan, o->userdata);
	return sim_guest_new(&d->guest, d, &plan);
}

int machine_appear(struct machine_domain *d)
{
	int r = introduce(d);

	return r < 0 ? r : make_guest(d);
}

/* ---- running it ---- */

void machine_pause(struct machine_domain *d)
{
	if (!d->is_paused) {
		d->is_paused = true;
		sim_guest_pause(d->guest);
		tell_changed(d);
	}
}

int machine_unpause(struct machine_domain *d)
{
	if (!d->is_paused) {
		return 0;
	}
	d->is_paused = false;
	tell_changed(d);
	if (d->guest) {
		sim_guest_resume(d->guest);
		return 0;
	}
	return d->is_stopped || d->is_dying ? 0 : make_guest(d);
}

static uint8_t xen_reason(Xenmesh__V1__ShutdownReason reason)
{
	/* Ours are Xen's plus one. */
	return (uint8_t)((unsigned int)reason - 1);
}

void machine_stop(struct machine_domain *d, Xenmesh__V1__ShutdownReason reason)
{
	struct machine *m = d->machine;

	if (d->is_stopped || d->is_dying) {
		return;
	}
	d->is_stopped = true;
	d->state.shutdown_reason = reason;
	d->guest = sim_guest_free(d->guest);
	sim_domain_shutdown(m->options.xenstored, d->state.domid, xen_reason(reason));
	tell_changed(d);
	m->options.events->stopped(d, m->options.userdata);
}

void machine_set_dying(struct machine_domain *d)
{
	if (!d->is_dying) {
		d->is_dying = true;
		d->guest = sim_guest_free(d->guest);
		sim_domain_set_dying(d->machine->options.xenstored, d->state.domid);
		tell_changed(d);
	}
}

void machine_remove(struct machine_domain *d)
{
	struct machine *m = d->machine;
	size_t at = position(m, d->state.domid);

	d->guest = sim_guest_free(d->guest);
	xstree_remove(&m->xs, d->state.domid, d->state.uuid);
	commit(m);
	sim_domain_remove(m->options.xenstored, d->state.domid);
	m->free_kib += d->state.memory_kib;
	m->n--;
	memmove(m->table + at, m->table + at + 1, (m->n - at) * sizeof(*m->table));
	m->options.events->gone(d, m->options.userdata);
	domain_free(d);
}

void machine_advance(struct machine *m)
{
	uint64_t now_ns = clock_boot_ns(), wanted_ns = 0;

	for (size_t i = 0; i < m->n; i++) {
		wanted_ns += load_demand(&m->table[i]->load, now_ns);
	}
	load_share(&m->pcpus, wanted_ns, now_ns);
	for (size_t i = 0; i < m->n; i++) {
		load_grant(&m->table[i]->load, &m->pcpus, m->table[i]->state.domid);
	}
	load_settle(&m->pcpus);
}

const struct load_pcpus *machine_pcpus(const struct machine *m)
{
	return &m->pcpus;
}

void machine_shutdown_path(uint32_t domid, char out[static 64])
{
	snprintf(out, 64, "/local/domain/%u/control/shutdown", domid);
}

int machine_request_shutdown(struct machine_domain *d, const char *what)
{
	char path[64];

	machine_shutdown_path(d->state.domid, path);
	xsbatch_write(&d->machine->xs, path, what);
	return commit(d->machine);
}
