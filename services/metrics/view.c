/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "services/metrics/view.h"

#include "libcommon/clock.h"
#include "libcommon/log.h"
#include "services/metrics/sources.h"

static void forget_guests(struct view *v)
{
	for (struct map_iter i = map_begin(&v->guests); map_next(&v->guests, &i);) {
		free(i.value);
	}
	map_deinit(&v->guests);
	v->guests = MAP_NULL;
}

void view_init(struct view *v, struct objects *objects)
{
	*v = (struct view){ .objects = objects, .guests = MAP_NULL };
}

void view_deinit(struct view *v)
{
	forget_guests(v);
	xenmesh__v1__host_sample__free_unpacked(v->sample, NULL);
	xenmesh__v1__host_state__free_unpacked(v->state, NULL);
	*v = (struct view){ .guests = MAP_NULL };
}

/* A copy that outlives the event; NULL when out of memory. */
static void *copy_message(const ProtobufCMessage *m)
{
	size_t len = protobuf_c_message_get_packed_size(m);
	_cleanup_(xfreep) uint8_t *packed = malloc(MAX(len, 1));

	if (!packed) {
		return NULL;
	}
	protobuf_c_message_pack(m, packed);
	return protobuf_c_message_unpack(m->descriptor, NULL, len, packed);
}

static void feed_guests(struct view *v)
{
	for (size_t i = 0; i < v->sample->n_domains; i++) {
		const Xenmesh__V1__DomainSample *d = v->sample->domains[i];
		const struct view_guest *g = map_get_str(&v->guests, d->uuid);
		Xenmesh__V1__GuestInfo info = XENMESH__V1__GUEST_INFO__INIT;

		if (g) {
			info.uuid = d->uuid;
			info.memory_free_kib = g->memory_free_kib;
			sources_from_guest(v->objects, &info, v->sample->monotonic_ns);
		}
	}
}

/* A domain that is being torn down keeps its UUID while its successor runs: one of each UUID is
 * told, not dying before dying, then the newer. */
static bool is_better(const Xenmesh__V1__DomainSample *a, const Xenmesh__V1__DomainSample *b)
{
	bool a_dies = a->power_state == XENMESH__V1__POWER_STATE__POWER_STATE_DYING;
	bool b_dies = b->power_state == XENMESH__V1__POWER_STATE__POWER_STATE_DYING;

	return a_dies != b_dies ? b_dies : a->domid > b->domid;
}

static void drop_doubles(Xenmesh__V1__HostSample *s)
{
	struct map seen = MAP_NULL;
	size_t kept = 0;

	for (size_t i = 0; i < s->n_domains; i++) {
		Xenmesh__V1__DomainSample *d = s->domains[i];
		size_t at = (size_t)(uintptr_t)map_get_str(&seen, d->uuid);

		if (!at) {
			s->domains[kept++] = d;
			map_set_str(&seen, d->uuid, (void *)(uintptr_t)kept, NULL);
		} else if (is_better(d, s->domains[at - 1])) {
			xenmesh__v1__domain_sample__free_unpacked(s->domains[at - 1], NULL);
			s->domains[at - 1] = d;
		} else {
			xenmesh__v1__domain_sample__free_unpacked(d, NULL);
		}
	}
	s->n_domains = kept;
	map_deinit(&seen);
}

bool view_is_fresh(const struct view *v)
{
	return v->sample && !v->ops_down && clock_boot_ns() - v->sample_ns < VIEW_FRESH_NS;
}

static void take_sample(struct view *v, const Xenmesh__V1__HostSample *sample)
{
	uint64_t start = clock_boot_ns();
	Xenmesh__V1__HostSample *copy = copy_message(&sample->base);

	if (!copy) {
		return;
	}
	xenmesh__v1__host_sample__free_unpacked(v->sample, NULL);
	drop_doubles(copy);
	v->sample = copy;
	v->sample_ns = start;
	/* A slot ends with the last sample before its boundary: tick, then read the new one. */
	objects_tick(v->objects, copy->realtime_ns);
	sources_from_sample(v->objects, copy, v->state ? v->state->memory_kib : 0);
	feed_guests(v);
	v->n_samples++;
	v->tick_ns = clock_boot_ns() - start;
	v->tick_max_ns = MAX(v->tick_max_ns, v->tick_ns);
}

void view_take_ops(struct view *v, const struct bus_sub_event *e)
{
	if (e->what == BUS_SUB_DOWN && !v->ops_down) {
		v->ops_down = true;
		log_warning("ops is not heard; values are unknown until it is back");
	}
	if (e->what == BUS_SUB_RESYNCED && v->ops_down) {
		v->ops_down = false;
		log_info("ops is heard again");
	}
	if (e->what != BUS_SUB_STATE || !e->event) {
		return;
	}
	/* A replayed sample is the last one again, possibly of long ago. */
	if (e->event->body_case == XENMESH__V1__EVENT__BODY_HOST_SAMPLE && !e->replayed) {
		take_sample(v, e->event->host_sample);
	} else if (e->event->body_case == XENMESH__V1__EVENT__BODY_HOST_STATE) {
		Xenmesh__V1__HostState *copy = copy_message(&e->event->host_state->base);

		if (copy) {
			xenmesh__v1__host_state__free_unpacked(v->state, NULL);
			v->state = copy;
		}
	}
}

void view_take_guest(struct view *v, const struct bus_sub_event *e)
{
	const Xenmesh__V1__GuestInfo *info;
	struct view_guest *g;

	/* What nobody stands for any more is not recorded as if it were new; when the bridge is
	 * back it tells everything again. */
	if (e->what == BUS_SUB_DOWN) {
		forget_guests(v);
		return;
	}
	if (e->what == BUS_SUB_REMOVED && str_starts(e->topic, "vm/") && strlen(e->topic) >= 39) {
		free(map_remove(&v->guests, e->topic + 3, 36));
		return;
	}
	if (e->what != BUS_SUB_STATE || !e->event ||
	    e->event->body_case != XENMESH__V1__EVENT__BODY_GUEST_INFO) {
		return;
	}
	info = e->event->guest_info;
	g = map_get_str(&v->guests, info->uuid);
	if (!g) {
		g = calloc(1, sizeof(*g));
		if (!g || map_set_str(&v->guests, info->uuid, g, NULL) < 0) {
			free(g);
			return;
		}
	}
	g->memory_free_kib = info->memory_free_kib;
	g->memory_total_kib = info->memory_total_kib;
}
