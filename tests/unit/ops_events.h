/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A bus of one table, for tests of the modules of ops: topic to the last event,
 * and how often each was published.
 */
#include "libcommon/map.h"
#include "services/ops/core/events.h"
#include "services/ops/core/pb.h"

struct topic_record {
	Xenmesh__V1__Event *event; /* NULL = removed */
	unsigned int n_published, n_removed;
};

struct topic_table {
	struct map topics;
};

static inline struct topic_record *topics_get(struct topic_table *t, const char *topic)
{
	struct topic_record *r = map_get_str(&t->topics, topic);

	if (!r) {
		r = calloc(1, sizeof(*r));
		map_set_str(&t->topics, topic, r, NULL);
	}
	return r;
}

static inline int topics_publish(void *userdata, const char *topic, Xenmesh__V1__Event *event)
{
	struct topic_record *r = topics_get(userdata, topic);

	pb_free((ProtobufCMessage *)r->event);
	r->event = (Xenmesh__V1__Event *)pb_copy(&event->base);
	r->n_published++;
	return 0;
}

static inline int topics_remove(void *userdata, const char *topic, const char *reason _unused_)
{
	struct topic_record *r = topics_get(userdata, topic);

	r->event = pb_free((ProtobufCMessage *)r->event);
	r->n_removed++;
	return 0;
}

static inline struct events topics_events(struct topic_table *t)
{
	return (struct events){ .publish = topics_publish, .remove = topics_remove, .userdata = t };
}

static inline void topics_deinit(struct topic_table *t)
{
	for (struct map_iter i = map_begin(&t->topics); map_next(&t->topics, &i);) {
		struct topic_record *r = i.value;

		pb_free((ProtobufCMessage *)r->event);
		free(r);
	}
	map_deinit(&t->topics);
}
