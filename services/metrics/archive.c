/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * File: header | source table | accumulators (two copies) | rings.  A row holds
 * all columns side by side, so that a tick touches one or two pages of a file.
 * The accumulators of slot s are in copy s & 1 and are computed from copy
 * (s - 1) & 1: an interrupted commit is simply done again.
 */
#include "services/metrics/archive.h"

#include <fcntl.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "libcommon/err.h"
#include "libcommon/log.h"

#define MAGIC	      0x3130565250584d58ULL /* "XMXPRV01", little-endian hosts only */
#define VERSION	      1
#define COLUMNS_FIRST 16 /* a VM with 4 vCPUs, 1 vif and 1 vbd has 15 sources; 266 KB */
#define N_COARSE      (ARCHIVE_N_LEVELS - 1)
#define N_CF	      3

const struct archive_level archive_levels[ARCHIVE_N_LEVELS] = {
	{ 5, 120, 1 },
	{ 60, 120, 12 },
	{ 3600, 168, 720 },
	{ 86400, 366, 17280 },
};

struct source {
	char name[ARCHIVE_NAME_MAX];
	char units[ARCHIVE_UNITS_MAX];
	int64_t since_slot; /* rows before it are unknown */
};

struct accumulator {
	double sum, min, max;
	uint32_t n_known;
	uint32_t reserved;
};

struct header {
	uint64_t magic;
	uint32_t version;
	uint32_t n_columns;
	uint32_t capacity;
	uint32_t reserved;
	_Atomic int64_t last_slot; /* the commit */
	int64_t first_slot;
};

struct archive {
	char *path;
	struct header *header;
	struct source *sources;
	struct accumulator *accumulators; /* [copy][coarse level][column] */
	double *rings[ARCHIVE_N_LEVELS];
	size_t size;
};

/* ---- layout ---- */

static size_t cfs_of(size_t level)
{
	return level ? N_CF : 1;
}

struct offsets {
	size_t sources;
	size_t accumulators;
	size_t rings[ARCHIVE_N_LEVELS];
	size_t end;
};

static struct offsets offsets_for(uint32_t capacity)
{
	struct offsets o = { .sources = sizeof(struct header) };

	o.accumulators = o.sources + capacity * sizeof(struct source);
	o.end = o.accumulators + 2ULL * N_COARSE * capacity * sizeof(struct accumulator);
	for (size_t level = 0; level < ARCHIVE_N_LEVELS; level++) {
		o.rings[level] = o.end;
		o.end += (size_t)archive_levels[level].rows * cfs_of(level) * capacity *
			 sizeof(double);
	}
	return o;
}

static void layout(struct archive *a, uint32_t capacity)
{
	struct offsets o = offsets_for(capacity);
	char *base = (char *)a->header;

	a->sources = (struct source *)(void *)(base + o.sources);
	a->accumulators = (struct accumulator *)(void *)(base + o.accumulators);
	for (size_t level = 0; level < ARCHIVE_N_LEVELS; level++) {
		a->rings[level] = (double *)(void *)(base + o.rings[level]);
	}
}

static struct accumulator *accumulator(const struct archive *a, int64_t slot, size_t coarse)
{
	size_t copy = (size_t)(slot & 1);

	return a->accumulators + (copy * N_COARSE + coarse) * a->header->capacity;
}

static double *row(const struct archive *a, size_t level, size_t cf, int64_t index)
{
	const struct archive_level *l = &archive_levels[level];
	size_t i = (size_t)(index % l->rows);

	return a->rings[level] + (i * cfs_of(level) + cf) * a->header->capacity;
}

/* ---- open, close, grow ---- */

static void clear_accumulators(struct accumulator *acc, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		acc[i] = (struct accumulator){ .min = (double)INFINITY, .max = -(double)INFINITY };
	}
}

static void format_file(struct archive *a, uint32_t capacity)
{
	a->header->version = VERSION;
	a->header->capacity = capacity;
	clear_accumulators(a->accumulators, 2UL * N_COARSE * capacity);
	atomic_thread_fence(memory_order_release);
	a->header->magic = MAGIC;
}

static bool header_is_sane(const struct header *h, size_t size)
{
	if (h->magic != MAGIC || h->version != VERSION || h->capacity > ARCHIVE_SOURCES_MAX ||
	    h->capacity < COLUMNS_FIRST || h->n_columns > h->capacity ||
	    size != offsets_for(h->capacity).end || h->last_slot < 0 || h->first_slot < 0) {
		return false;
	}
	for (uint32_t i = 0; i < h->n_columns; i++) {
		const struct source *s = (const struct source *)(const void *)(h + 1) + i;

		if (!memchr(s->name, 0, sizeof(s->name)) ||
		    !memchr(s->units, 0, sizeof(s->units))) {
			return false;
		}
	}
	return true;
}

static int map_file(struct archive *a, int fd, size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (!p || p == MAP_FAILED) {
		return err_errno();
	}
	a->header = p;
	a->size = size;
	return 0;
}

/* 1 = the file is not an archive. */
static int map_existing(struct archive *a, int fd)
{
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0) {
		return err_errno();
	}
	if (!S_ISREG(st.st_mode) || (size_t)st.st_size < offsets_for(COLUMNS_FIRST).end ||
	    (size_t)st.st_size > offsets_for(ARCHIVE_SOURCES_MAX).end) {
		return 1;
	}
	/* Restored from a backup it may have holes, see map_new(). */
	r = st.st_blocks * 512 < st.st_size ? -posix_fallocate(fd, 0, st.st_size) : 0;
	if (r < 0) {
		return err_trace(r);
	}
	r = map_file(a, fd, (size_t)st.st_size);
	if (!a->header) {
		return r;
	}
	if (!header_is_sane(a->header, a->size)) {
		munmap(a->header, a->size);
		a->header = NULL;
		return 1;
	}
	layout(a, a->header->capacity);
	return 0;
}

/* A complete file appears under its name by rename, or not at all. Blocks are reserved, because
 * a full disk would otherwise be a SIGBUS at some later store. */
static int map_new(struct archive *a, const char *path, uint32_t capacity)
{
	_cleanup_(xfreep) char *temporary = NULL;
	size_t size = offsets_for(capacity).end;
	int r;

	if (asprintf(&temporary, "%s.tmp", path) < 0) {
		return -ENOMEM;
	}
	_cleanup_(xclosep) int fd = open(temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

	if (fd < 0) {
		return err_errno();
	}
	r = -posix_fallocate(fd, 0, (off_t)size);
	if (r >= 0) {
		r = map_file(a, fd, size);
	}
	if (!a->header) {
		unlink(temporary);
		return r;
	}
	layout(a, capacity);
	format_file(a, capacity);
	if (rename(temporary, path) < 0) {
		r = err_errno();
		unlink(temporary);
		return r;
	}
	return 0;
}

static int set_aside(const char *path)
{
	_cleanup_(xfreep) char *bad = NULL;

	if (asprintf(&bad, "%s.bad", path) < 0) {
		return -ENOMEM;
	}
	if (rename(path, bad) < 0) {
		return err_errno();
	}
	log_warning("%s is not an archive of this version; kept as %s, a new one begins", path,
		    bad);
	return 0;
}

static int open_file(struct archive *a, const char *path, bool create)
{
	_cleanup_(xclosep) int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	int r;

	if (fd >= 0) {
		r = map_existing(a, fd);
		if (r <= 0) {
			return r;
		}
		r = set_aside(path);
		if (r < 0) {
			return r;
		}
	} else if (errno != ENOENT) {
		return err_errno();
	}
	return create ? map_new(a, path, COLUMNS_FIRST) : -ENOENT;
}

static int open_archive(struct archive **out, const char *path, bool create)
{
	struct archive *a = calloc(1, sizeof(*a));
	int r = -ENOMEM;

	if (a) {
		a->path = strdup(path);
		r = a->path ? open_file(a, path, create) : -ENOMEM;
	}
	if (r < 0) {
		archive_close(a);
		return r;
	}
	*out = a;
	return 0;
}

int archive_open(struct archive **out, const char *path)
{
	return open_archive(out, path, true);
}

int archive_open_existing(struct archive **out, const char *path)
{
	return open_archive(out, path, false);
}

struct archive *archive_close(struct archive *a)
{
	if (a) {
		if (a->header) {
			munmap(a->header, a->size);
		}
		free(a->path);
		free(a);
	}
	return NULL;
}

static void copy_columns(struct archive *to, const struct archive *from)
{
	uint32_t n = from->header->n_columns;

	memcpy(to->sources, from->sources, n * sizeof(*to->sources));
	for (int64_t copy = 0; copy < 2; copy++) {
		for (size_t i = 0; i < N_COARSE; i++) {
			memcpy(accumulator(to, copy, i), accumulator(from, copy, i),
			       n * sizeof(struct accumulator));
		}
	}
	for (size_t level = 0; level < ARCHIVE_N_LEVELS; level++) {
		for (uint32_t i = 0; i < archive_levels[level].rows; i++) {
			for (size_t cf = 0; cf < cfs_of(level); cf++) {
				memcpy(row(to, level, cf, i), row(from, level, cf, i),
				       n * sizeof(double));
			}
		}
	}
	to->header->n_columns = n;
	to->header->first_slot = from->header->first_slot;
	to->header->last_slot = from->header->last_slot;
}

/* Twice as many columns: a new file takes the old one's name when it is complete. */
static int grow(struct archive *a)
{
	uint32_t capacity = MIN(a->header->capacity * 2, ARCHIVE_SOURCES_MAX);
	_cleanup_(xfreep) char *wider = NULL;
	struct archive b = { 0 };
	int r;

	if (capacity == a->header->capacity) {
		return -ENOSPC;
	}
	if (asprintf(&wider, "%s.wider", a->path) < 0) {
		return -ENOMEM;
	}
	r = map_new(&b, wider, capacity);
	if (r < 0 || !b.header) {
		return err_trace(r);
	}
	copy_columns(&b, a);
	if (rename(wider, a->path) < 0) {
		r = err_errno();
		munmap(b.header, b.size);
		unlink(wider);
		return r;
	}
	munmap(a->header, a->size);
	b.path = a->path;
	*a = b;
	return 0;
}

/* ---- columns ---- */

int archive_find(const struct archive *a, const char *name)
{
	for (uint32_t i = 0; i < a->header->n_columns; i++) {
		if (streq(a->sources[i].name, name)) {
			return (int)i;
		}
	}
	return -1;
}

int archive_column(struct archive *a, const char *name, const char *units)
{
	int column = archive_find(a, name);
	struct source *s;

	if (column >= 0) {
		return column;
	}
	if (!*name || strlen(name) >= ARCHIVE_NAME_MAX || strlen(units) >= ARCHIVE_UNITS_MAX) {
		return -EINVAL;
	}
	if (a->header->n_columns == a->header->capacity) {
		int r = grow(a);

		if (r < 0) {
			return r;
		}
	}
	s = &a->sources[a->header->n_columns];
	*s = (struct source){ .since_slot = a->header->last_slot + 1 };
	memcpy(s->name, name, strlen(name) + 1);
	memcpy(s->units, units, strlen(units) + 1);
	for (int64_t copy = 0; copy < 2; copy++) {
		for (size_t i = 0; i < N_COARSE; i++) {
			clear_accumulators(accumulator(a, copy, i) + a->header->n_columns, 1);
		}
	}
	atomic_thread_fence(memory_order_release);
	return (int)a->header->n_columns++;
}

size_t archive_n_columns(const struct archive *a)
{
	return a->header->n_columns;
}

const char *archive_name(const struct archive *a, size_t column)
{
	return a->sources[column].name;
}

const char *archive_units(const struct archive *a, size_t column)
{
	return a->sources[column].units;
}

/* ---- commit ---- */

static void accumulate(struct accumulator *acc, double value)
{
	if (!isnan(value)) {
		acc->sum += value;
		acc->min = fmin(acc->min, value);
		acc->max = fmax(acc->max, value);
		acc->n_known++;
	}
}

static void write_coarse_row(struct archive *a, size_t level, int64_t index,
			     const struct accumulator *acc)
{
	for (uint32_t i = 0; i < a->header->n_columns; i++) {
		bool known = acc[i].n_known > 0;

		row(a, level, ARCHIVE_AVERAGE, index)[i] = known ? acc[i].sum / acc[i].n_known
								 : (double)NAN;
		row(a, level, ARCHIVE_MIN, index)[i] = known ? acc[i].min : (double)NAN;
		row(a, level, ARCHIVE_MAX, index)[i] = known ? acc[i].max : (double)NAN;
	}
}

static void commit_coarse(struct archive *a, int64_t slot, const double *values)
{
	uint32_t n = a->header->n_columns;

	for (size_t i = 0; i < N_COARSE; i++) {
		const struct accumulator *old = accumulator(a, slot - 1, i);
		struct accumulator *new = accumulator(a, slot, i);
		int64_t per_row = archive_levels[i + 1].slots_per_row;

		if (slot % per_row == 0) {
			clear_accumulators(new, n);
		} else {
			memcpy(new, old, n * sizeof(*new));
		}
		for (uint32_t c = 0; values && c < n; c++) {
			accumulate(&new[c], values[c]);
		}
		if (slot % per_row == per_row - 1) {
			write_coarse_row(a, i + 1, slot / per_row, new);
		}
	}
}

/* values NULL = all unknown. */
static void commit_one(struct archive *a, int64_t slot, const double *values)
{
	double *fine = row(a, 0, 0, slot);

	for (uint32_t i = 0; i < a->header->n_columns; i++) {
		fine[i] = values ? values[i] : (double)NAN;
	}
	commit_coarse(a, slot, values);
	if (!a->header->first_slot) {
		a->header->first_slot = slot;
	}
	atomic_store_explicit(&a->header->last_slot, slot, memory_order_release);
}

/* Rows of all levels that [from_slot, to_slot] touches; at most one turn of each ring. */
static void mark_rows_unknown(struct archive *a, int64_t from_slot, int64_t to_slot)
{
	for (size_t level = 0; level < ARCHIVE_N_LEVELS; level++) {
		const struct archive_level *l = &archive_levels[level];
		int64_t last = to_slot / l->slots_per_row;
		int64_t first = MAX(from_slot / l->slots_per_row, last - (int64_t)l->rows + 1);

		for (int64_t index = first; index <= last; index++) {
			for (size_t cf = 0; cf < cfs_of(level); cf++) {
				double *r = row(a, level, cf, index);

				for (uint32_t i = 0; i < a->header->n_columns; i++) {
					r[i] = (double)NAN;
				}
			}
		}
	}
}

/* A gap of up to a day is filled slot by slot, so that the averages around it stay right; beyond
 * that whole rows are marked, which costs the partial rows at its ends. */
#define GAP_STEPPED 17280

int archive_commit(struct archive *a, int64_t slot, const double *values)
{
	int64_t last = a->header->last_slot;

	if (slot <= last) {
		return 1;
	}
	if (last && slot - last > GAP_STEPPED) {
		mark_rows_unknown(a, last + 1, slot);
		clear_accumulators(a->accumulators, 2UL * N_COARSE * a->header->capacity);
	} else if (last) {
		for (int64_t s = last + 1; s < slot; s++) {
			commit_one(a, s, NULL);
		}
	} else {
		clear_accumulators(a->accumulators, 2UL * N_COARSE * a->header->capacity);
	}
	commit_one(a, slot, values);
	return 0;
}

void archive_rewind(struct archive *a, int64_t slot)
{
	int64_t last = a->header->last_slot;

	if (slot >= last) {
		return;
	}
	mark_rows_unknown(a, slot + 1, last);
	clear_accumulators(a->accumulators, 2UL * N_COARSE * a->header->capacity);
	a->header->first_slot = MIN(a->header->first_slot, slot);
	for (uint32_t i = 0; i < a->header->n_columns; i++) {
		a->sources[i].since_slot = MIN(a->sources[i].since_slot, slot);
	}
	atomic_store_explicit(&a->header->last_slot, slot, memory_order_release);
}

int64_t archive_last_slot(const struct archive *a)
{
	return a->header->last_slot;
}

/* ---- reading ---- */

size_t archive_choose(uint32_t interval_s, int64_t start_s, int64_t now_s)
{
	for (size_t level = 0; level < ARCHIVE_N_LEVELS; level++) {
		const struct archive_level *l = &archive_levels[level];

		if (l->step_s >= interval_s && now_s - start_s <= (int64_t)l->step_s * l->rows) {
			return level;
		}
	}
	return ARCHIVE_N_LEVELS - 1;
}

int64_t archive_last_row(const struct archive *a, size_t level)
{
	int64_t last = a->header->last_slot;

	/* The row of the last slot is complete when that slot is its last. */
	return last ? (last + 1) / archive_levels[level].slots_per_row - 1 : 0;
}

double archive_value(const struct archive *a, size_t level, enum archive_cf cf, int64_t index,
		     size_t column)
{
	const struct archive_level *l = &archive_levels[level];
	int64_t newest = archive_last_row(a, level);

	if (!a->header->last_slot || column >= a->header->n_columns || index > newest ||
	    index <= newest - (int64_t)l->rows ||
	    (index + 1) * l->slots_per_row <=
		    MAX(a->header->first_slot, a->sources[column].since_slot)) {
		return (double)NAN;
	}
	return row(a, level, level ? (size_t)cf : 0, index)[column];
}
