/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A sample is passed on as it came, only names are added: it comes once a
 * second and may have thousands of domains.
 */
#include "services/ops/core/host.h"

#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "services/ops/core/pb.h"

#define QUIET_MS 3000 /* three samples did not come */

static int publish_state(struct host *h)
{
	Xenmesh__V1__Event event = XENMESH__V1__EVENT__INIT;
	uint8_t *bytes;
	size_t len;
	int r;

	h->state->connected = h->is_connected;
	r = pb_pack(&h->state->base, &bytes, &len);
	if (r < 0) {
		return err_trace(r);
	}
	if (h->published && len == h->published_len && memcmp(bytes, h->published, len) == 0) {
		free(bytes);
		return 0;
	}
	free(h->published);
	h->published = bytes;
	h->published_len = len;
	event.body_case = XENMESH__V1__EVENT__BODY_HOST_STATE;
	event.host_state = h->state;
	return h->events.publish(h->events.userdata, "host/state", &event);
}

static int take_state(struct host *h, const Xenmesh__V1__HostState *state)
{
	Xenmesh__V1__HostState *copy = (Xenmesh__V1__HostState *)pb_copy(&state->base);

	if (!copy) {
		return -ENOMEM;
	}
	pb_free((ProtobufCMessage *)h->state);
	h->state = copy;
	return publish_state(h);
}

static int take_table(struct host *h, const Xenmesh__Host__DomainTable *table)
{
	int r = vms_merge_table(h->vms, table);

	if (r < 0) {
		return r;
	}
	h->n_tables++;
	h->table_ns = table->read_ns;
	if (!h->is_connected) {
		h->is_connected = true;
		r = publish_state(h);
		h->on_news(HOST_NEWS_LINK, h->userdata);
	}
	h->on_news(HOST_NEWS_TABLE, h->userdata);
	return r;
}

/* What we know better than the host process. The strings live as long as the table does not
 * change, which is longer than the event. */
static void add_names(struct host *h, Xenmesh__V1__HostSample *sample, char **saved)
{
	for (size_t i = 0; i < sample->n_domains; i++) {
		Xenmesh__V1__DomainSample *d = sample->domains[i];
		const struct vm_domain *known = map_get(&h->vms->by_domid, &d->domid,
							sizeof(d->domid));

		saved[2 * i] = d->uuid;
		saved[2 * i + 1] = d->name;
		if (known && (d->uuid[0] == '\0' || strcasecmp(d->uuid, known->vm->uuid) == 0)) {
			d->uuid = known->vm->uuid;
			d->name = (char *)vm_name(known->vm);
		}
	}
}

/* The message is its owner's again. */
static void remove_names(Xenmesh__V1__HostSample *sample, char **saved)
{
	for (size_t i = 0; i < sample->n_domains; i++) {
		sample->domains[i]->uuid = saved[2 * i];
		sample->domains[i]->name = saved[2 * i + 1];
	}
}

static int take_sample(struct host *h, Xenmesh__V1__HostSample *sample)
{
	_cleanup_(xfreep) char **saved = calloc(2 * sample->n_domains + 1, sizeof(*saved));
	Xenmesh__V1__Event event = XENMESH__V1__EVENT__INIT;
	int r;

	if (!saved) {
		return -ENOMEM;
	}
	pb_scrub(&sample->base);
	add_names(h, sample, saved);
	memory_take_sample(h->memory, sample);
	h->n_samples++;
	free(h->sample);
	h->sample = NULL;
	r = pb_pack(&sample->base, &h->sample, &h->sample_len);
	if (r == 0) {
		event.body_case = XENMESH__V1__EVENT__BODY_HOST_SAMPLE;
		event.host_sample = sample;
		r = h->events.publish(h->events.userdata, "host/sample", &event);
	}
	remove_names(sample, saved);
	h->on_news(HOST_NEWS_SAMPLE, h->userdata);
	return r;
}

int host_on_message(struct host *h, Xenmesh__Host__FromHost *message)
{
	int r = 0;

	h->heard_ns = clock_boot_ns();
	switch (message->body_case) {
	case XENMESH__HOST__FROM_HOST__BODY_STATE:
		pb_scrub(&message->base);
		r = take_state(h, message->state);
		break;
	case XENMESH__HOST__FROM_HOST__BODY_TABLE:
		r = take_table(h, message->table);
		break;
	case XENMESH__HOST__FROM_HOST__BODY_DOMAIN:
		h->n_domain_messages++;
		r = vms_merge_domain(h->vms, message->domain);
		break;
	case XENMESH__HOST__FROM_HOST__BODY_GONE:
		h->n_domain_messages++;
		vms_merge_gone(h->vms, message->gone);
		break;
	case XENMESH__HOST__FROM_HOST__BODY_SAMPLE:
		r = take_sample(h, message->sample);
		break;
	default:
		log_debug("a message of the host process is of no known kind");
		break;
	}
	/* Publishing too large a thing is no reason to part with the host process. */
	if (r == -EMSGSIZE) {
		log_warning("a message of the host process is too large for the bus");
		r = 0;
	}
	return r < 0 ? err_trace(r) : 0;
}

void host_on_link(struct host *h, bool is_up)
{
	if (is_up || !h->is_connected) {
		return; /* connected is told when the table is there */
	}
	h->is_connected = false;
	memory_forget_sample(h->memory);
	publish_state(h);
	h->on_news(HOST_NEWS_LINK, h->userdata);
}

uint64_t host_stale_ms(const struct host *h)
{
	uint64_t age_ms = (clock_boot_ns() - h->heard_ns) / NSEC_PER_MSEC;

	return h->is_connected && age_ms < QUIET_MS ? 0 : MAX(age_ms, 1);
}

Xenmesh__V1__HostSample *host_copy_sample(const struct host *h)
{
	return h->sample ? xenmesh__v1__host_sample__unpack(NULL, h->sample_len, h->sample) : NULL;
}

int host_init(struct host *h, struct vms *vms, struct memory *memory, const struct events *events,
	      void (*on_news)(enum host_news news, void *userdata), void *userdata)
{
	static const Xenmesh__V1__HostState empty = XENMESH__V1__HOST_STATE__INIT;

	*h = (struct host){
		.vms = vms,
		.memory = memory,
		.events = *events,
		.heard_ns = clock_boot_ns(),
		.on_news = on_news,
		.userdata = userdata,
	};
	h->state = (Xenmesh__V1__HostState *)pb_copy(&empty.base);
	return h->state ? publish_state(h) : -ENOMEM;
}

void host_deinit(struct host *h)
{
	h->state = pb_free((ProtobufCMessage *)h->state);
	free(h->published);
	free(h->sample);
	h->published = h->sample = NULL;
}

void host_stats(const struct host *h, bus_stat_fn fn, void *userdata)
{
	fn("host.samples", h->n_samples, userdata);
	fn("host.domain_messages", h->n_domain_messages, userdata);
	fn("host.tables", h->n_tables, userdata);
}
