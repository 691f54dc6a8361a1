/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Objects (the host, VMs) with their data sources: turns raw readings into a
 * value per 5 s slot and puts it into the object's archive.
 *
 * A gauge's value in a slot is its last reading.  A counter's is its rate
 * between the last readings of two slots; unknown after a restart of the
 * counter, of the domain, or of this process.
 */
#include "libcommon/base.h"
#include "libcommon/map.h"
#include "services/metrics/archive.h"

enum source_kind {
	SOURCE_GAUGE,
	SOURCE_RATE,	  /* counter, per second */
	SOURCE_IDLE_RATE, /* counter of idle seconds: 1 - rate */
};

/* What a data source is; static. `name` may hold one %s (vdev) or %u (number). */
struct source_type {
	const char *name;
	const char *units;
	const char *description;
	enum source_kind kind;
	double scale;	 /* of the reading, before anything else */
	double min, max; /* outside is unknown */
};

struct object_source {
	const struct source_type *type;
	char name[ARCHIVE_NAME_MAX];
	int column;	  /* in the archive */
	double raw;	  /* newest reading, scaled */
	uint64_t raw_ns;  /* CLOCK_BOOTTIME of it, 0 = none */
	double slot_raw;  /* reading at the end of the last slot */
	uint64_t slot_ns; /* 0 = none */
	double last;	  /* value of the last slot */
	bool seen;	  /* read since the last slot */
	bool held;	  /* see object_hold() */
};

struct object {
	char *uuid; /* "" for the host */
	struct map by_name;
	struct object_source *sources;
	size_t n_sources;
	uint64_t generation; /* of the counters, e.g. domid + 1; a change restarts them */
	struct archive *archive;
	bool archive_failed; /* told once */
	uint32_t vcpus_online;
	int64_t seen_slot; /* of the newest values */
	int64_t used_slot; /* when the archive was needed last */
};

struct objects;

/* Archives are kept in dir (made if missing; its parent must exist): host.xma, vm-<uuid>.xma.
 * Existing ones are found. Of the VMs that were not read for ten minutes the 2,048 seen last
 * keep theirs. */
int objects_new(struct objects **out, const char *dir);
struct objects *objects_free(struct objects *o);

/* uuid "" = the host. Made on first use; NULL when out of memory or the uuid is malformed. */
struct object *objects_get(struct objects *o, const char *uuid);
/* Its archive is open afterwards if there is one on disk. NULL if not known. */
struct object *objects_find(struct objects *o, const char *uuid);
/* Counters of this object begin anew when `generation` differs from the last one. */
void object_begin(struct object *obj, uint64_t generation);
/* The counter of that source begins anew. Its name has no argument. */
void object_restart(struct object *obj, const struct source_type *type);
/* One reading at at_ns (CLOCK_BOOTTIME). Reading the same time twice is harmless. */
void object_read(struct object *obj, const struct source_type *type, const char *text_arg,
		 unsigned int number_arg, double value, uint64_t at_ns);
/* The sources of that type were not told this time, though they are there: in a slot without any
 * reading they keep the value of the slot before, for up to a minute. */
void object_hold(struct object *obj, const struct source_type *type);

/* The next readings are of realtime_ns (wall clock). When the slot of those before has ended,
 * commits it for every object that was read. Archives of objects not read for ten minutes are
 * closed. A clock set back by up to a minute waits for its time, by more forgets the future. */
void objects_tick(struct objects *o, uint64_t realtime_ns);

/* In order of owner ("host" first) and uuid; callback returns non-zero to stop. */
int objects_each(struct objects *o, int (*fn)(struct object *obj, void *userdata), void *userdata);
size_t objects_count(const struct objects *o);
size_t objects_n_sources(const struct objects *o);
