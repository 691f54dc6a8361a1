/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * One event of the bus as people, programs and filters see it.  Everything
 * returned lives in the arena of cli, or is JSON to be released.
 */
#include "clients/cli/cli.h"

/* "web running domid 7"; the fields in JSON for what has no text of its own. Safe for a terminal.
 */
const char *event_summary(struct cli *cli, const Xenmesh__V1__Event *e);
/* "2026-11-22T10:12:13.123+01:00"; "-" for 0. */
const char *event_time(struct cli *cli, uint64_t real_ns);
/* "state", "removed", "resynced", "gap", "down". */
const char *event_kind(enum bus_sub_what what);

/* {"received_ns", "service", "kind", "topic", "seq", "missed", "size", "replayed", "event"},
 * without what does not apply. NULL when out of memory. */
struct json_object *event_json(const char *service, const struct bus_sub_event *e,
			       uint64_t received_ns);
/* A field of what event_json() made: of the whole, else of its event, else of the event's body;
 * so "topic", "time_ns", "vm_state.name" and "name" all work. Borrowed; NULL if there is none.
 * Fits as filter_lookup_fn. */
struct json_object *event_lookup(void *event_json, const char *path);
/* A field's value for one line of text: strings bare, everything else JSON. */
const char *event_value(struct cli *cli, struct json_object *value);

/* The publication, malloc'ed: topic, NUL, Event. NULL when out of memory. */
uint8_t *event_pack(const Xenmesh__V1__Event *e, size_t *len);
