/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The history of one object (the host or a VM): a memory-mapped file with four
 * archives of fixed geometry, xcp-rrdd's: 5 s x 120, 1 min x 120, 1 h x 168,
 * 1 day x 366.  The finest keeps the value itself, the others AVERAGE, MIN and
 * MAX of the known values.  NaN = unknown.
 *
 * Time is counted in slots of 5 s since the epoch.  Each slot is committed by
 * one aligned store after everything else is written, and everything else is
 * a function of the committed state, so kill -9 at any moment loses at most the
 * slot in flight and never spoils an older one.
 */
#include "libcommon/base.h"

#define ARCHIVE_STEP_S	    5
#define ARCHIVE_NAME_MAX    64
#define ARCHIVE_UNITS_MAX   16
#define ARCHIVE_SOURCES_MAX 1024 /* 128 vCPUs, 16 vifs, 64 vbds make about 500 */

enum archive_cf { ARCHIVE_AVERAGE, ARCHIVE_MIN, ARCHIVE_MAX };

struct archive_level {
	uint32_t step_s;
	uint32_t rows;
	uint32_t slots_per_row;
};
#define ARCHIVE_N_LEVELS 4
extern const struct archive_level archive_levels[ARCHIVE_N_LEVELS];

struct archive;

/* Opens or makes the file. A file that is no archive of this version is moved aside to
 * PATH.bad and a new one begins (logged). 0 or negative errno. */
int archive_open(struct archive **out, const char *path);
/* Only if it exists: -ENOENT. */
int archive_open_existing(struct archive **out, const char *path);
struct archive *archive_close(struct archive *a);

/* Column of a source, made if new. units are stored with it. Negative: -EINVAL name, -ENOSPC
 * too many, or errno of growing the file. */
int archive_column(struct archive *a, const char *name, const char *units);
size_t archive_n_columns(const struct archive *a);
const char *archive_name(const struct archive *a, size_t column);
const char *archive_units(const struct archive *a, size_t column);
/* -1 = none of that name. */
int archive_find(const struct archive *a, const char *name);

/* Commit the slot with one value for each column. Slots left out since the last one become
 * unknown. Returns 0; 1 = slot is not newer than the last one, nothing done. */
int archive_commit(struct archive *a, int64_t slot, const double *values);
/* The clock was set back to before `slot`: what is newer is forgotten. */
void archive_rewind(struct archive *a, int64_t slot);
/* 0 = nothing committed yet. */
int64_t archive_last_slot(const struct archive *a);

/* Level for a wanted resolution and start: the finest whose step is at least interval_s and that
 * still reaches back to start_s; else the one that reaches farthest. now_s: end of the range. */
size_t archive_choose(uint32_t interval_s, int64_t start_s, int64_t now_s);
/* Row `index` of a level covers [index * step, (index + 1) * step). NaN when it is not kept or
 * not complete. */
double archive_value(const struct archive *a, size_t level, enum archive_cf cf, int64_t index,
		     size_t column);
/* Newest complete row of a level; 0 = none. */
int64_t archive_last_row(const struct archive *a, size_t level);
