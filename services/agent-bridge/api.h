/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The bridge on the bus: topic vm/<uuid>/guest and the service
 * xenmesh.v1.Guest.
 */
#include "bus/service.h"
#include "services/agent-bridge/mirror.h"

/* Fields are the owner's to set before the loop runs. */
struct bridge_api {
	struct bus_pub *pub;
	const struct bridge_mirror *mirror;
};

extern const struct bus_handler bridge_api_handlers[]; /* userdata: struct bridge_api */
extern const size_t bridge_api_n_handlers;

/* For the mirror. Borrows api. */
struct bridge_sink bridge_api_sink(struct bridge_api *api);
/* For struct bus_service_config; userdata: struct bridge_api. */
void bridge_api_stats(void *userdata, bus_stat_fn fn, void *fn_userdata);

/* One page as a serialized ListGuestsReply (malloc'ed): guests after after_uuid, at most limit, and
 * not many more bytes than bytes_max. 0 or -ENOMEM. */
int bridge_api_page(const struct bridge_mirror *mirror, const char *after_uuid, size_t limit,
		    size_t bytes_max, uint8_t **out, size_t *len);
