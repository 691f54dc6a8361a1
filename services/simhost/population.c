/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making a domain takes some ms of xenstored, so a large population is made in
 * slices of the loop's time.
 */
#include "services/simhost/population.h"

#include <stdio.h>

#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"

#define FULL_MOST     200 /* VMs with all nodes that libxl makes */
#define SLICE_NS      (20 * NSEC_PER_MSEC)
#define ARENA_LIMIT   (64U << 10)
#define DEVICES_MAX   26 /* xvda to xvdz */
#define KIB_PER_MIB   1024
#define AGE_LEAST_S   60
#define SHAPE_SALT    0x5eed
#define UUID_VERSION4 0x40
#define UUID_VARIANT  0x80

struct population {
	struct machine *machine;
	sd_event_source *slice;
	struct machine_domain **prepared; /* NULL: not yet, or has appeared */
	uint32_t n;
	uint32_t n_prepared;
	uint32_t n_appeared;
	uint64_t seed;
	uint64_t uptime_ns;
};

/* ---- what number i is ---- */

struct member {
	struct population_shape shape;
	char name[16];
	char uuid[37];
	struct load_random random;
};

static uint64_t draw_memory_mib(struct load_random *r)
{
	static const uint64_t sizes[] = { 256, 256, 512, 512, 512, 1024, 1024, 2048 };

	return sizes[load_random_next(r) % ARRAY_LEN(sizes)];
}

static void draw_member(struct member *m, uint32_t i, uint64_t seed)
{
	static const uint32_t vcpus[] = { 1, 1, 1, 2, 2, 4 };
	struct uuid uuid;

	*m = (struct member){ .random = { seed ^ (uint64_t)SHAPE_SALT << 32 ^ i } };
	m->shape.memory_kib = draw_memory_mib(&m->random) * KIB_PER_MIB;
	m->shape.vcpus = vcpus[load_random_next(&m->random) % ARRAY_LEN(vcpus)];
	m->shape.vifs = 1 + (load_random_next(&m->random) % 8 == 0);
	m->shape.vbds = 1 + (load_random_next(&m->random) % 4 == 0);
	m->shape.type = load_random_next(&m->random) % 2 ? XENMESH__V1__VM_TYPE__VM_TYPE_PV
							 : XENMESH__V1__VM_TYPE__VM_TYPE_PVH;
	for (size_t b = 0; b < sizeof(uuid.bytes); b++) {
		uuid.bytes[b] = (uint8_t)load_random_next(&m->random);
	}
	uuid.bytes[6] = (uuid.bytes[6] & 0x0f) | UUID_VERSION4;
	uuid.bytes[8] = (uuid.bytes[8] & 0x3f) | UUID_VARIANT;
	uuid_format(&uuid, m->uuid);
	snprintf(m->name, sizeof(m->name), "sim%04u", i + 1);
	m->shape.name = m->name;
	m->shape.uuid = m->uuid;
}

uint64_t population_memory_kib(uint32_t n, uint64_t seed)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct member m;

		draw_member(&m, i, seed);
		sum += m.shape.memory_kib;
	}
	return sum;
}

/* ---- definitions ---- */

static Xenmesh__V1__VifConfig *make_vif(struct arena *a, const char *uuid, uint32_t devid)
{
	Xenmesh__V1__VifConfig *vif = arena_alloc(a, sizeof(*vif));
	struct uuid u = { 0 };

	if (!vif || uuid_parse(uuid, &u) < 0) {
		return NULL;
	}
	xenmesh__v1__vif_config__init(vif);
	vif->devid = devid;
	/* Xen's OUI. */
	vif->mac = arena_printf(a, "00:16:3e:%02x:%02x:%02x", u.bytes[0] & 0x7fu, u.bytes[1],
				(uint8_t)(u.bytes[2] + devid));
	return vif->mac ? vif : NULL;
}

static Xenmesh__V1__VbdConfig *make_vbd(struct arena *a, const char *name, uint32_t number)
{
	Xenmesh__V1__VbdConfig *vbd = arena_alloc(a, sizeof(*vbd));

	if (!vbd) {
		return NULL;
	}
	xenmesh__v1__vbd_config__init(vbd);
	vbd->vdev = arena_printf(a, "xvd%c", 'a' + (int)number);
	vbd->target = arena_printf(a, "/dev/simulated/%s-%u", name, number);
	return vbd->vdev && vbd->target ? vbd : NULL;
}

Xenmesh__V1__VmConfig *population_config(struct arena *a, const struct population_shape *shape)
{
	Xenmesh__V1__VmConfig *c = arena_alloc(a, sizeof(*c));
	uint32_t n_vifs = MIN(shape->vifs, DEVICES_MAX), n_vbds = MIN(shape->vbds, DEVICES_MAX);

	if (!c) {
		return NULL;
	}
	xenmesh__v1__vm_config__init(c);
	c->uuid = arena_strndup(a, shape->uuid, strlen(shape->uuid));
	c->name = arena_strndup(a, shape->name, strlen(shape->name));
	c->type = shape->type;
	c->vcpus = shape->vcpus;
	c->memory_kib = shape->memory_kib;
	c->kernel = (char *)"/boot/vmlinuz-simulated";
	c->cmdline = (char *)"console=hvc0";
	c->vifs = arena_alloc(a, (n_vifs + 1) * sizeof(*c->vifs));
	c->vbds = arena_alloc(a, (n_vbds + 1) * sizeof(*c->vbds));
	if (!c->uuid || !c->name || !c->vifs || !c->vbds) {
		return NULL;
	}
	for (; c->n_vifs < n_vifs; c->n_vifs++) {
		c->vifs[c->n_vifs] = make_vif(a, c->uuid, (uint32_t)c->n_vifs);
		if (!c->vifs[c->n_vifs]) {
			return NULL;
		}
	}
	for (; c->n_vbds < n_vbds; c->n_vbds++) {
		c->vbds[c->n_vbds] = make_vbd(a, c->name, (uint32_t)c->n_vbds);
		if (!c->vbds[c->n_vbds]) {
			return NULL;
		}
	}
	return c;
}

/* ---- bringing them up ---- */

static int prepare_member(struct population *p, uint32_t i)
{
	_cleanup_(arena_deinit) struct arena arena;
	const Xenmesh__V1__VmConfig *config;
	struct member m;
	char why[256] = "out of memory";
	double age_s;
	int r = -ENOMEM;

	arena_init(&arena, ARENA_LIMIT);
	draw_member(&m, i, p->seed);
	age_s = load_random_between(&m.random, AGE_LEAST_S,
				    (double)p->uptime_ns / (double)NSEC_PER_SEC);
	config = population_config(&arena, &m.shape);
	if (config) {
		r = machine_prepare(p->machine, config, (uint64_t)(age_s * (double)NSEC_PER_SEC),
				    p->n > FULL_MOST ? XSTREE_LEAN : XSTREE_FULL, why, sizeof(why),
				    &p->prepared[i]);
	}
	if (r < 0) {
		log_error("cannot make VM %s: %s", m.name, why);
	}
	return r;
}

static int appear_member(struct population *p, uint32_t i)
{
	int r = machine_appear(STEAL(p->prepared[i]));

	if (r < 0) {
		log_error("VM %u cannot appear: %s", i + 1, err_text(r));
	}
	return r;
}

static int on_slice(sd_event_source *s, void *userdata)
{
	struct population *p = userdata;
	uint64_t begin_ns = clock_boot_ns();
	int r = 0;

	while (p->n_appeared < p->n && clock_boot_ns() - begin_ns < SLICE_NS) {
		if (p->n_prepared < p->n) {
			r = prepare_member(p, p->n_prepared++);
		} else {
			r = appear_member(p, p->n_appeared++);
		}
		if (r < 0) {
			return sd_event_exit(sd_event_source_get_event(s), EXIT_FAILURE);
		}
	}
	if (p->n_appeared == p->n) {
		log_info("%u VMs are up", p->n);
		return 0;
	}
	/* Once more, behind all that waits by now: a source that stays on would starve it. */
	return loop_defer(machine_loop(p->machine), &p->slice, on_slice, p);
}

int population_new(struct population **out, struct machine *machine, uint32_t n, uint64_t seed,
		   uint64_t uptime_ns)
{
	struct population *p = calloc(1, sizeof(*p));
	int r = 0;

	if (!p) {
		return -ENOMEM;
	}
	p->machine = machine;
	p->n = n;
	p->seed = seed;
	p->uptime_ns = uptime_ns;
	p->prepared = calloc(MAX(n, 1), sizeof(*p->prepared));
	if (!p->prepared) {
		r = -ENOMEM;
	} else if (n > 0) {
		r = loop_defer(machine_loop(machine), &p->slice, on_slice, p);
	}
	if (r < 0) {
		population_free(p);
		return err_trace(r);
	}
	*out = p;
	return 0;
}

struct population *population_free(struct population *p)
{
	if (p) {
		sd_event_source_disable_unref(p->slice);
		for (uint32_t i = 0; p->prepared && i < p->n; i++) {
			machine_discard(p->prepared[i]);
		}
		free(p->prepared);
		free(p);
	}
	return NULL;
}

uint32_t population_left(const struct population *p)
{
	return p->n - p->n_appeared;
}
