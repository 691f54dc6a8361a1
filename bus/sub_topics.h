/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The topics of one publisher that a subscriber was told of, and how far: the
 * seq of what was told last.  Says what is news; telling it is the owner's.
 */
#include "libcommon/map.h"

struct sub_topics {
	struct map map;
	uint64_t round; /* the full answer that comes in, or the last that came */
	/* NULL, or why a topic was left out of what is known since the owner last set it to NULL;
	 * static. */
	const char *no_room_why;
};

/* Of a zeroed one; idempotent. */
void sub_topics_deinit(struct sub_topics *t);

/* The topic has a state of that seq, and is a part of the round. Whether that is news. With no room
 * for a new topic it is not, and no_room_why is set. */
bool sub_topics_put(struct sub_topics *t, const char *topic, uint64_t seq);
/* The topic was removed at seq. Whether that is news. */
bool sub_topics_remove(struct sub_topics *t, const char *topic, uint64_t seq);

/* Another instance of the publisher: any seq is news, all topics stay. */
void sub_topics_renumber(struct sub_topics *t);
/* A full answer begins. */
void sub_topics_begin_round(struct sub_topics *t);
/* It has ended: fn is told each topic that was no part of it, which is forgotten. fn returns false
 * to stop, as it must when it has freed `t`; then so does this. */
bool sub_topics_sweep(struct sub_topics *t, bool (*fn)(const char *topic, void *userdata),
		      void *userdata);
