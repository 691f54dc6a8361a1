/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "clients/cli/bustop.h"

#include <math.h>
#include <stdio.h>

#include "clients/cli/stat_name.h"

#define OTHERS "(others)"

int bustop_init(struct bustop *b, size_t n_services)
{
	*b = (struct bustop){ .n_services = n_services };
	b->services = calloc(n_services + 1, sizeof(*b->services));
	b->segments = calloc(BUSTOP_SEGMENTS_MAX, sizeof(*b->segments));
	b->methods = calloc(BUSTOP_METHODS_MAX, sizeof(*b->methods));
	b->counts = calloc(BUSTOP_SEGMENTS_MAX, sizeof(*b->counts));
	if (!b->services || !b->segments || !b->methods || !b->counts) {
		bustop_deinit(b);
		return -ENOMEM;
	}
	return 0;
}

void bustop_deinit(struct bustop *b)
{
	for (size_t i = 0; i < b->n_segments; i++) {
		window_deinit(&b->segments[i].sizes);
	}
	free(b->services);
	free(b->segments);
	free(b->methods);
	free(b->counts);
	*b = (struct bustop){ 0 };
}

/* ---- messages ---- */

static struct bustop_segment *find_segment(struct bustop *b, const char *name, size_t len)
{
	struct bustop_segment *s;

	for (size_t i = 0; i < b->n_segments; i++) {
		s = &b->segments[i];
		if (strncmp(s->name, name, len) == 0 && !s->name[len]) {
			return s;
		}
	}
	if (b->n_segments == BUSTOP_SEGMENTS_MAX) {
		return &b->segments[BUSTOP_SEGMENTS_MAX - 1];
	}
	s = &b->segments[b->n_segments];
	if (window_init(&s->sizes, BUSTOP_WINDOW) < 0) {
		return NULL;
	}
	b->n_segments++;
	if (b->n_segments == BUSTOP_SEGMENTS_MAX) {
		name = OTHERS;
		len = strlen(OTHERS);
	}
	memcpy(s->name, name, len);
	return s;
}

static void add_publisher(struct bustop_segment *s, size_t service)
{
	for (size_t i = 0; i < s->n_publishers; i++) {
		if (s->publishers[i] == service) {
			return;
		}
	}
	if (s->n_publishers < BUSTOP_PUBLISHERS_MAX) {
		s->publishers[s->n_publishers++] = service;
	}
}

void bustop_message(struct bustop *b, size_t service, const char *topic, size_t size)
{
	struct bustop_segment *s = find_segment(b, topic,
						MIN(strcspn(topic, "/"), BUSTOP_NAME_MAX - 1));

	if (s) {
		add_publisher(s, service);
		s->n_messages++;
		s->n_bytes += size;
		window_add(&s->sizes, (double)size);
	}
}

void bustop_gap(struct bustop *b, size_t service, uint64_t missed)
{
	b->services[service].n_gaps++;
	b->services[service].n_missed += missed;
}

/* ---- counters ---- */

/* "Ops/StartVm" of "xenmesh.v1.Ops/StartVm". */
static const char *short_method(const char *name)
{
	const char *slash = strchr(name, '/');
	const char *begin = slash ? slash : name;

	while (slash && begin > name && begin[-1] != '.') {
		begin--;
	}
	return begin;
}

static struct bustop_method *find_method(struct bustop *b, size_t service, const char *label)
{
	const char *name = short_method(label);
	struct bustop_method *m;

	for (size_t i = 0; i < b->n_methods; i++) {
		m = &b->methods[i];
		if (m->service == service && streq(m->name, name)) {
			return m;
		}
	}
	if (b->n_methods == BUSTOP_METHODS_MAX) {
		return NULL;
	}
	m = &b->methods[b->n_methods++];
	*m = (struct bustop_method){ .service = service, .is_new = true };
	snprintf(m->name, sizeof(m->name), "%.*s", BUSTOP_NAME_MAX - 1, name);
	return m;
}

static void method_stat(struct bustop *b, size_t service, const struct stat_name *name,
			uint64_t value)
{
	struct bustop_method *m = find_method(b, service, name->label);

	if (!m) {
		return;
	}
	if (streq(name->what, "calls")) {
		m->calls = value;
	} else if (streq(name->what, "errors")) {
		m->errors = value;
	} else if (streq(name->what, "in_flight")) {
		m->in_flight = value;
	} else if (streq(name->what, "p50_us")) {
		m->p50_us = value;
	} else if (streq(name->what, "p99_us")) {
		m->p99_us = value;
	}
}

static void segment_stat(struct bustop *b, size_t service, const struct stat_name *name,
			 uint64_t value)
{
	struct bustop_count *c;

	if (!streq(name->what, "subscribers")) {
		return;
	}
	for (size_t i = 0; i < b->n_counts; i++) {
		c = &b->counts[i];
		if (c->service == service && streq(c->segment, name->label)) {
			c->subscribers = value;
			return;
		}
	}
	if (b->n_counts < BUSTOP_SEGMENTS_MAX) {
		c = &b->counts[b->n_counts++];
		*c = (struct bustop_count){ .service = service, .subscribers = value };
		snprintf(c->segment, sizeof(c->segment), "%.*s", BUSTOP_NAME_MAX - 1, name->label);
	}
}

/* Of one process that listens; the service's row has the sum, and the worst queue. */
static void peer_stat(struct bustop_service *s, const struct stat_name *name, uint64_t value)
{
	if (streq(name->what, "queued_bytes")) {
		s->queued_bytes += value;
	} else if (streq(name->what, "high_bytes")) {
		s->high_bytes = MAX(s->high_bytes, value);
	}
}

static void plain_stat(struct bustop_service *s, const char *name, uint64_t value)
{
	const struct {
		const char *name;
		uint64_t *to;
	} rows[] = {
		{ "pub.subscribers", &s->subscribers },
		{ "pub.dropped", &s->dropped },
		{ "rpc.calls", &s->calls },
		{ "rpc.errors", &s->errors },
		{ "rpc.in_flight", &s->in_flight },
		{ "process.rss_kib", &s->rss_kib },
		{ "process.uptime_s", &s->uptime_s },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (streq(name, rows[i].name)) {
			*rows[i].to = value;
		}
	}
}

/* It is away or another process: nothing can be subtracted. */
static void forget(struct bustop *b, size_t service)
{
	const char *name = b->services[service].name;
	uint64_t n_gaps = b->services[service].n_gaps;
	uint64_t n_missed = b->services[service].n_missed;

	b->services[service] = (struct bustop_service){ .name = name,
							.n_gaps = n_gaps,
							.n_missed = n_missed };
	for (size_t i = 0; i < b->n_methods; i++) {
		struct bustop_method *m = &b->methods[i];

		if (m->service == service) {
			m->is_new = true;
			m->calls = m->errors = m->in_flight = m->p50_us = m->p99_us = 0;
		}
	}
}

static uint64_t uptime_of(const Xenmesh__V1__StatsReply *reply)
{
	for (size_t i = 0; i < reply->n_stats; i++) {
		if (streq(reply->stats[i]->name, "process.uptime_s")) {
			return reply->stats[i]->value;
		}
	}
	return 0;
}

static void apply_stat(struct bustop *b, size_t service, const Xenmesh__V1__Stat *stat)
{
	struct stat_name name;

	stat_name_parse(stat->name, &name);
	switch (name.kind) {
	case STAT_METHOD:
		method_stat(b, service, &name, stat->value);
		break;
	case STAT_SEGMENT:
		segment_stat(b, service, &name, stat->value);
		break;
	case STAT_PEER:
		peer_stat(&b->services[service], &name, stat->value);
		break;
	case STAT_PLAIN:
		plain_stat(&b->services[service], name.what, stat->value);
		break;
	}
}

void bustop_stats(struct bustop *b, size_t service, const Xenmesh__V1__StatsReply *reply)
{
	struct bustop_service *s = &b->services[service];

	if (!reply || uptime_of(reply) < s->uptime_s) {
		forget(b, service);
	}
	s->is_up = reply != NULL;
	s->queued_bytes = 0;
	s->high_bytes = 0;
	for (size_t i = 0; reply && i < reply->n_stats; i++) {
		apply_stat(b, service, reply->stats[i]);
	}
	s->n_samples += s->is_up;
}

/* ---- frames ---- */

static uint64_t subscribers_of(const struct bustop *b, const struct bustop_segment *seg)
{
	uint64_t n = 0;

	for (size_t i = 0; i < seg->n_publishers; i++) {
		uint64_t of_service = b->services[seg->publishers[i]].subscribers;

		for (size_t j = 0; j < b->n_counts; j++) {
			if (b->counts[j].service == seg->publishers[i] &&
			    streq(b->counts[j].segment, seg->name)) {
				of_service = b->counts[j].subscribers;
			}
		}
		n += of_service;
	}
	return n;
}

static int compare_doubles(double a, double b)
{
	return (a < b) - (a > b); /* larger first */
}

static int segments_by_rate(const void *a, const void *b)
{
	const struct bustop_segment *x = a;
	const struct bustop_segment *y = b;
	int order = compare_doubles(x->rate, y->rate);

	return order ? order : strcmp(x->name, y->name);
}

static int segments_by_bytes(const void *a, const void *b)
{
	const struct bustop_segment *x = a;
	const struct bustop_segment *y = b;
	int order = compare_doubles(x->byte_rate, y->byte_rate);

	return order ? order : strcmp(x->name, y->name);
}

static int segments_by_name(const void *a, const void *b)
{
	return strcmp(((const struct bustop_segment *)a)->name,
		      ((const struct bustop_segment *)b)->name);
}

static int methods_by_rate(const void *a, const void *b)
{
	const struct bustop_method *x = a;
	const struct bustop_method *y = b;
	int order = compare_doubles(isnan(x->rate) ? -1 : x->rate, isnan(y->rate) ? -1 : y->rate);

	if (order == 0) {
		order = (x->calls < y->calls) - (x->calls > y->calls);
	}
	return order ? order : strcmp(x->name, y->name);
}

static int methods_by_name(const void *a, const void *b)
{
	const struct bustop_method *x = a;
	const struct bustop_method *y = b;
	int order = strcmp(x->name, y->name);

	return order ? order : (x->service > y->service) - (x->service < y->service);
}

static double rate(uint64_t now, uint64_t before, double seconds)
{
	return seconds > 0 && now >= before ? (double)(now - before) / seconds : (double)NAN;
}

void bustop_frame(struct bustop *b, double seconds)
{
	for (size_t i = 0; i < b->n_segments; i++) {
		struct bustop_segment *s = &b->segments[i];

		s->rate = rate(s->n_messages, 0, seconds);
		s->byte_rate = rate(s->n_bytes, 0, seconds);
		s->n_messages = 0;
		s->n_bytes = 0;
		s->subscribers = subscribers_of(b, s);
		window_stats(&s->sizes, &s->size);
	}
	for (size_t i = 0; i < b->n_services; i++) {
		struct bustop_service *s = &b->services[i];

		s->call_rate = s->n_samples > 1 ? rate(s->calls, s->calls_before, seconds)
						: (double)NAN;
		s->calls_before = s->calls;
	}
	for (size_t i = 0; i < b->n_methods; i++) {
		struct bustop_method *m = &b->methods[i];

		m->rate = m->is_new ? (double)NAN : rate(m->calls, m->calls_before, seconds);
		m->calls_before = m->calls;
		m->is_new = false;
	}
}

void bustop_order(struct bustop *b, enum bustop_sort sort)
{
	/* "(others)" is the last, and is written to there. */
	qsort(b->segments, MIN(b->n_segments, BUSTOP_SEGMENTS_MAX - 1), sizeof(*b->segments),
	      sort == BUSTOP_BY_RATE	? segments_by_rate
	      : sort == BUSTOP_BY_BYTES ? segments_by_bytes
					: segments_by_name);
	qsort(b->methods, b->n_methods, sizeof(*b->methods),
	      sort == BUSTOP_BY_NAME ? methods_by_name : methods_by_rate);
}

const char *const bustop_sort_names[] = { "rate", "bytes", "name", NULL };
