/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guests are kept serialized, and an answer is put together from them as they
 * are: a list of 500 costs a copy and no decoding.
 */
#include "services/agent-bridge/api.h"

#include <stdio.h>

#include "bus/limits.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/strbuf.h"
#include "libcommon/uuid.h"

#define LIST_MAX 500 /* as the proto says */

static void make_topic(const char *uuid, char out[static BUS_TOPIC_MAX])
{
	snprintf(out, BUS_TOPIC_MAX, "vm/%s/guest", uuid);
}

static void publish(void *userdata, const Xenmesh__V1__GuestInfo *info)
{
	struct bridge_api *api = userdata;
	Xenmesh__V1__Event event = XENMESH__V1__EVENT__INIT;
	char topic[BUS_TOPIC_MAX];
	int r;

	make_topic(info->uuid, topic);
	event.body_case = XENMESH__V1__EVENT__BODY_GUEST_INFO;
	event.guest_info = (Xenmesh__V1__GuestInfo *)(uintptr_t)info;
	r = bus_pub_publish(api->pub, topic, &event);
	if (r < 0) {
		log_error("can't publish %s: %s", topic, err_text(r));
	}
}

static void remove_topic(void *userdata, const char *uuid, const char *reason)
{
	struct bridge_api *api = userdata;
	char topic[BUS_TOPIC_MAX];
	int r;

	make_topic(uuid, topic);
	r = bus_pub_remove(api->pub, topic, reason);
	if (r < 0) {
		log_error("can't remove %s: %s", topic, err_text(r));
	}
}

struct bridge_sink bridge_api_sink(struct bridge_api *api)
{
	return (struct bridge_sink){ publish, remove_topic, api };
}

/* ---- calls ---- */

static void get_guest(struct bus_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Xenmesh__V1__GetGuestRequest *request = (const void *)message;
	const struct bridge_api *api = userdata;
	struct bridge_view view;

	if (!bridge_mirror_find(api->mirror, request->vm, &view)) {
		bus_call_fail(call, CODE_NOT_FOUND,
			      "no guest with UUID or domid \"%.64s\" is running on this host",
			      request->vm);
		return;
	}
	bus_call_reply_raw(call, view.data, view.len);
}

/* Tag and length of a length-delimited field. */
static void put_field(struct strbuf *out, unsigned int field, size_t len)
{
	strbuf_putc(out, (char)((field << 3) | 2));
	while (len >= 0x80) {
		strbuf_putc(out, (char)((len & 0x7f) | 0x80));
		len >>= 7;
	}
	strbuf_putc(out, (char)len);
}

int bridge_api_page(const struct bridge_mirror *mirror, const char *after_uuid, size_t limit,
		    size_t bytes_max, uint8_t **out, size_t *len)
{
	_cleanup_(strbuf_deinit) struct strbuf page = STRBUF_NULL;
	struct bridge_view views[LIST_MAX];
	bool has_more;
	size_t n, i;

	n = bridge_mirror_list(mirror, after_uuid, views, MIN(limit, (size_t)LIST_MAX), &has_more);
	for (i = 0; i < n && page.len < bytes_max; i++) {
		put_field(&page, 1, views[i].len);
		strbuf_append(&page, views[i].data, views[i].len);
	}
	if (has_more || i < n) {
		strbuf_append(&page, "\x10\x01", 2); /* more = true */
	}
	*len = page.len;
	*out = (uint8_t *)strbuf_steal(&page);
	return *out ? 0 : -ENOMEM;
}

static void list_guests(struct bus_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Xenmesh__V1__ListGuestsRequest *request = (const void *)message;
	const struct bridge_api *api = userdata;
	_cleanup_(xfreep) uint8_t *page = NULL;
	size_t len;

	if (request->after_uuid[0] != '\0' && !uuid_is_canonical(request->after_uuid)) {
		bus_call_fail(call, CODE_INVALID_ARGUMENT,
			      "after_uuid is no UUID in lower case: \"%.64s\"",
			      request->after_uuid);
		return;
	}
	if (request->limit > LIST_MAX) {
		bus_call_fail(call, CODE_INVALID_ARGUMENT, "limit is %u, at most %d are answered",
			      request->limit, LIST_MAX);
		return;
	}
	if (bridge_api_page(api->mirror, request->after_uuid,
			    request->limit ? request->limit : LIST_MAX, BUS_PAGE_BYTES, &page,
			    &len) < 0) {
		bus_call_fail(call, CODE_RESOURCE_EXHAUSTED, "out of memory; ask for fewer guests");
		return;
	}
	bus_call_reply_raw(call, page, len);
}

const struct bus_handler bridge_api_handlers[] = {
	{ "xenmesh.v1.Guest/GetGuest", get_guest },
	{ "xenmesh.v1.Guest/ListGuests", list_guests },
};
const size_t bridge_api_n_handlers = ARRAY_LEN(bridge_api_handlers);

void bridge_api_stats(void *userdata, bus_stat_fn fn, void *fn_userdata)
{
	const struct bridge_api *api = userdata;
	struct bridge_mirror_stats s;

	bridge_mirror_stats(api->mirror, &s);
	fn("guest.guests", s.guests, fn_userdata);
	fn("guest.domains", s.domains, fn_userdata);
	fn("guest.waiting", s.waiting, fn_userdata);
	fn("guest.watch_events", s.watch_events, fn_userdata);
	fn("guest.looks", s.looks, fn_userdata);
	fn("guest.requests", s.requests, fn_userdata);
	fn("guest.published", s.published, fn_userdata);
	fn("guest.unchanged", s.unchanged, fn_userdata);
	fn("guest.truncated", s.truncated, fn_userdata);
	fn("guest.resets", s.resets, fn_userdata);
}
