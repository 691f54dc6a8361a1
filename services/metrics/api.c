/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "services/metrics/api.h"

#include <inttypes.h>
#include <math.h>

#include "libcommon/clock.h"
#include "xenmesh/v1/metrics.pb-c.h"

#define LIST_MAX	2000
#define NAMES_MAX	100
#define START_DEFAULT_S 600

/* ---- ListDataSources ---- */

struct listing {
	struct arena *arena;
	const Xenmesh__V1__ListDataSourcesRequest *request;
	Xenmesh__V1__ListDataSourcesReply *reply;
	size_t limit;
	bool failed;
	const char *last_key;
};

static const char *owner_of(const struct object *obj)
{
	return *obj->uuid ? "vm" : "host";
}

/* "vm/<uuid>/<name>": sorts as the listing does and is the page's position. */
static const char *source_key(struct arena *a, const struct object *obj, const char *name)
{
	return arena_printf(a, "%s/%s/%s", owner_of(obj), obj->uuid, name);
}

static bool add_source(struct listing *l, struct object *obj, struct object_source *s,
		       const char *key)
{
	Xenmesh__V1__DataSource *d = arena_alloc(l->arena, sizeof(*d));

	if (!d) {
		return false;
	}
	xenmesh__v1__data_source__init(d);
	d->owner = (char *)owner_of(obj);
	d->uuid = obj->uuid;
	d->name = s->name;
	d->units = (char *)s->type->units;
	d->description = (char *)s->type->description;
	d->min = s->type->min;
	d->max = s->type->max;
	d->last = s->last;
	d->last_ns = (uint64_t)(obj->seen_slot + 1) * ARCHIVE_STEP_S * NSEC_PER_SEC;
	l->reply->sources[l->reply->n_sources++] = d;
	l->last_key = key;
	return true;
}

static int by_name(const void *a, const void *b)
{
	return strcmp((*(struct object_source *const *)a)->name,
		      (*(struct object_source *const *)b)->name);
}

static int list_object(struct object *obj, void *userdata)
{
	struct listing *l = userdata;
	const char *owner = l->request->owner;
	struct object_source **sorted;

	if ((*owner && !streq(owner, owner_of(obj))) ||
	    (*l->request->uuid && !streq(l->request->uuid, obj->uuid)) || !obj->n_sources) {
		return 0;
	}
	sorted = arena_alloc(l->arena, obj->n_sources * sizeof(struct object_source *));
	if (!sorted) {
		l->failed = true;
		return 1;
	}
	for (size_t i = 0; i < obj->n_sources; i++) {
		sorted[i] = &obj->sources[i];
	}
	qsort(sorted, obj->n_sources, sizeof(struct object_source *), by_name);
	for (size_t i = 0; i < obj->n_sources; i++) {
		const char *key = source_key(l->arena, obj, sorted[i]->name);

		if (!key) {
			l->failed = true;
			return 1;
		}
		if (*l->request->after && strcmp(key, l->request->after) <= 0) {
			continue;
		}
		if (l->reply->n_sources == l->limit) {
			l->reply->next = (char *)l->last_key;
			return 1;
		}
		if (!add_source(l, obj, sorted[i], key)) {
			l->failed = true;
			return 1;
		}
	}
	return 0;
}

static void list_data_sources(struct bus_call *call, const ProtobufCMessage *message,
			      void *userdata)
{
	const Xenmesh__V1__ListDataSourcesRequest *request =
		(const Xenmesh__V1__ListDataSourcesRequest *)(const void *)message;
	Xenmesh__V1__ListDataSourcesReply reply = XENMESH__V1__LIST_DATA_SOURCES_REPLY__INIT;
	struct listing l = { .request = request, .reply = &reply };
	struct arena arena; /* the call's own is sized for what a request unfolds to */

	if (*request->owner && !streq(request->owner, "host") && !streq(request->owner, "vm")) {
		bus_call_fail(call, CODE_INVALID_ARGUMENT, "owner is \"host\", \"vm\" or empty");
		return;
	}
	arena_init(&arena, 16U << 20);
	l.arena = &arena;
	l.limit = request->limit && request->limit < LIST_MAX ? request->limit : LIST_MAX;
	reply.sources = arena_alloc(&arena, l.limit * sizeof(*reply.sources));
	if (reply.sources) {
		objects_each(((struct view *)userdata)->objects, list_object, &l);
	}
	if (!reply.sources || l.failed) {
		bus_call_fail(call, CODE_RESOURCE_EXHAUSTED, "out of memory; ask for less (limit)");
	} else {
		bus_call_reply(call, &reply.base);
	}
	arena_deinit(&arena);
}

/* ---- Query ---- */

struct query {
	struct arena arena;
	const Xenmesh__V1__QueryRequest *request;
	struct object *object;
	enum archive_cf cf;
	size_t level;
	int64_t first, last; /* rows */
};

static int64_t absolute(int64_t t, int64_t now, int64_t otherwise)
{
	return t == 0 ? otherwise : t < 0 ? now + MAX(t, -now) : t;
}

/* Which rows; false after answering. */
static bool choose_rows(struct query *q, struct bus_call *call)
{
	int64_t now = (int64_t)(clock_real_ns() / NSEC_PER_SEC);
	int64_t start = absolute(q->request->start_s, now, now - START_DEFAULT_S);
	int64_t end = absolute(q->request->end_s, now, now);
	const struct archive_level *l;

	if (end < start) {
		bus_call_fail(call, CODE_OUT_OF_RANGE,
			      "the range ends (%" PRId64 ") before it starts (%" PRId64 ")", end,
			      start);
		return false;
	}
	q->level = archive_choose(q->request->interval_s, start, now);
	l = &archive_levels[q->level];
	q->last = MIN(end / l->step_s, archive_last_row(q->object->archive, q->level));
	q->first = MAX(start / l->step_s,
		       archive_last_row(q->object->archive, q->level) - (int64_t)l->rows + 1);
	q->first = MAX(q->first, 0);
	return true;
}

static Xenmesh__V1__Series *make_series(struct query *q, size_t column)
{
	Xenmesh__V1__Series *s = arena_alloc(&q->arena, sizeof(*s));
	const struct archive *a = q->object->archive;

	if (!s) {
		return NULL;
	}
	xenmesh__v1__series__init(s);
	s->name = (char *)archive_name(a, column);
	s->units = (char *)archive_units(a, column);
	s->n_values = q->last >= q->first ? (size_t)(q->last - q->first + 1) : 0;
	s->values = arena_alloc(&q->arena, MAX(s->n_values, 1) * sizeof(*s->values));
	if (!s->values) {
		return NULL;
	}
	for (size_t i = 0; i < s->n_values; i++) {
		s->values[i] = archive_value(a, q->level, q->cf, q->first + (int64_t)i, column);
	}
	return s;
}

static void answer_query(struct query *q, struct bus_call *call)
{
	Xenmesh__V1__QueryReply reply = XENMESH__V1__QUERY_REPLY__INIT;
	const struct archive *a = q->object->archive;
	size_t n = q->request->n_names ? q->request->n_names : archive_n_columns(a);

	reply.series = arena_alloc(&q->arena, MAX(n, 1) * sizeof(*reply.series));
	for (size_t i = 0; reply.series && i < n; i++) {
		int column = q->request->n_names ? archive_find(a, q->request->names[i]) : (int)i;

		if (column < 0) {
			bus_call_fail(call, CODE_NOT_FOUND,
				      "no data source \"%s\"; see: xenmesh metrics list",
				      q->request->names[i]);
			return;
		}
		reply.series[reply.n_series] = make_series(q, (size_t)column);
		if (!reply.series[reply.n_series++]) {
			reply.series = NULL;
		}
	}
	if (!reply.series) {
		bus_call_fail(call, CODE_RESOURCE_EXHAUSTED, "out of memory; ask for fewer names");
		return;
	}
	reply.start_s = q->first * archive_levels[q->level].step_s;
	reply.step_s = archive_levels[q->level].step_s;
	reply.rows = q->last >= q->first ? (uint32_t)(q->last - q->first + 1) : 0;
	bus_call_reply(call, &reply.base);
}

static bool check_query(struct query *q, struct bus_call *call, struct objects *objects)
{
	bool is_host = streq(q->request->owner, "host");

	if (!is_host && !streq(q->request->owner, "vm")) {
		bus_call_fail(call, CODE_INVALID_ARGUMENT, "owner is \"host\" or \"vm\"");
		return false;
	}
	if (q->request->n_names > NAMES_MAX) {
		bus_call_fail(call, CODE_INVALID_ARGUMENT, "at most %d names", NAMES_MAX);
		return false;
	}
	if (q->request->cf > XENMESH__V1__CONSOLIDATION_FUNCTION__CONSOLIDATION_FUNCTION_MAX) {
		bus_call_fail(call, CODE_INVALID_ARGUMENT, "unknown consolidation function");
		return false;
	}
	q->cf = q->request->cf ? (enum archive_cf)(q->request->cf - 1) : ARCHIVE_AVERAGE;
	if (!is_host && !*q->request->uuid) {
		bus_call_fail(call, CODE_INVALID_ARGUMENT, "uuid of the VM is missing");
		return false;
	}
	q->object = objects_find(objects, is_host ? "" : q->request->uuid);
	if (!q->object || !q->object->archive) {
		bus_call_fail(call, CODE_NOT_FOUND, "nothing is recorded of %s %s",
			      q->request->owner, q->request->uuid);
		return false;
	}
	return true;
}

static void query(struct bus_call *call, const ProtobufCMessage *message, void *userdata)
{
	struct query q = { .request = (const Xenmesh__V1__QueryRequest *)(const void *)message };

	if (!check_query(&q, call, ((struct view *)userdata)->objects) || !choose_rows(&q, call)) {
		return;
	}
	arena_init(&q.arena, 16U << 20);
	answer_query(&q, call);
	arena_deinit(&q.arena);
}

const struct bus_handler metrics_api_handlers[] = {
	{ "xenmesh.v1.Metrics/ListDataSources", list_data_sources },
	{ "xenmesh.v1.Metrics/Query", query },
};
const size_t metrics_api_n_handlers = ARRAY_LEN(metrics_api_handlers);
