/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A map topic -> seq.
 *
 * Invariant: within an instance the seq of a topic never goes back.
 */
#include "bus/sub_topics.h"

#define TOPICS_MAX (1U << 18) /* 5,000 VMs have 15,000; this is 40 MB */

struct topic {
	uint64_t seq;	/* told last; 0 = of an older instance */
	uint64_t round; /* the full answer that had it last */
	char name[];
};

void sub_topics_deinit(struct sub_topics *t)
{
	for (struct map_iter i = map_begin(&t->map); map_next(&t->map, &i);) {
		free(i.value);
	}
	map_deinit(&t->map);
}

static struct topic *ensure(struct sub_topics *t, const char *name)
{
	struct topic *topic = map_get_str(&t->map, name);
	size_t size = strlen(name) + 1;

	if (topic) {
		return topic;
	}
	if (map_size(&t->map) >= TOPICS_MAX) {
		t->no_room_why = "it publishes more topics than a subscriber keeps";
		return NULL;
	}
	topic = calloc(1, sizeof(*topic) + size);
	if (!topic) {
		t->no_room_why = "out of memory";
		return NULL;
	}
	memcpy(topic->name, name, size);
	if (map_set_str(&t->map, name, topic, NULL) < 0) {
		t->no_room_why = "out of memory";
		free(topic);
		return NULL;
	}
	return topic;
}

bool sub_topics_put(struct sub_topics *t, const char *topic, uint64_t seq)
{
	struct topic *known = ensure(t, topic);

	if (!known) {
		return false;
	}
	known->round = t->round;
	if (known->seq >= seq) {
		return false;
	}
	known->seq = seq;
	return true;
}

bool sub_topics_remove(struct sub_topics *t, const char *topic, uint64_t seq)
{
	struct topic *known = map_get_str(&t->map, topic);

	if (!known || known->seq >= seq) {
		return false;
	}
	map_remove_str(&t->map, topic);
	free(known);
	return true;
}

void sub_topics_renumber(struct sub_topics *t)
{
	for (struct map_iter i = map_begin(&t->map); map_next(&t->map, &i);) {
		((struct topic *)i.value)->seq = 0;
	}
}

void sub_topics_begin_round(struct sub_topics *t)
{
	t->round++;
}

bool sub_topics_sweep(struct sub_topics *t, bool (*fn)(const char *topic, void *userdata),
		      void *userdata)
{
	for (struct map_iter i = map_begin(&t->map); map_next(&t->map, &i);) {
		_cleanup_(xfreep) struct topic *topic = NULL;

		if (((struct topic *)i.value)->round == t->round) {
			continue;
		}
		topic = i.value;
		map_remove(&t->map, i.key, i.key_len);
		if (!fn(topic->name, userdata)) {
			return false;
		}
	}
	return true;
}
