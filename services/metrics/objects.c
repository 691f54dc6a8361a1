/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "services/metrics/objects.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>

#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/strbuf.h"
#include "libcommon/uuid.h"

#define SUFFIX		  ".xma"
#define CLOSE_AFTER_SLOTS 120 /* ten minutes: the finest archive says nothing more */
#define FUTURE_SLOTS	  720 /* an hour; see set_future_aside() */
#define STEP_BACK_SLOTS	  12  /* a clock set back by less just waits for its time */
#define HOLD_MAX_NS	  (60 * NSEC_PER_SEC)
#define GONE_MAX	  2048 /* VMs that are no more: half a GiB of archives */
#define EXPIRE_SLOTS	  720  /* an hour between two looks for more of them */

struct objects {
	char *dir;
	struct map by_uuid;
	struct object **sorted; /* by uuid: the host's is empty, so it is first */
	size_t n;
	size_t size;
	int64_t slot;	      /* that readings belong to now; 0 = none yet */
	int64_t expired_slot; /* when the old ones were looked for */
	double values[ARCHIVE_SOURCES_MAX];
};

/* ---- table ---- */

static char *archive_path(const struct objects *o, const char *uuid)
{
	char *path = NULL;
	int n = *uuid ? asprintf(&path, "%s/vm-%s" SUFFIX, o->dir, uuid)
		      : asprintf(&path, "%s/host" SUFFIX, o->dir);

	return n < 0 ? NULL : path;
}

static struct object *object_free(struct object *obj)
{
	if (obj) {
		archive_close(obj->archive);
		map_deinit(&obj->by_name);
		free(obj->sources);
		free(obj->uuid);
		free(obj);
	}
	return NULL;
}

static size_t position(const struct objects *o, const char *uuid)
{
	size_t low = 0;
	size_t high = o->n;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (strcmp(o->sorted[middle]->uuid, uuid) < 0) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return low;
}

static int insert(struct objects *o, struct object *obj)
{
	size_t at;

	if (o->n == o->size) {
		size_t size = o->size ? o->size * 2 : 64;
		struct object **sorted = reallocarray(o->sorted, size, sizeof(struct object *));

		if (!sorted) {
			return -ENOMEM;
		}
		o->sorted = sorted;
		o->size = size;
	}
	if (map_set_str(&o->by_uuid, obj->uuid, obj, NULL) < 0) {
		return -ENOMEM;
	}
	at = position(o, obj->uuid);
	memmove(o->sorted + at + 1, o->sorted + at, (o->n - at) * sizeof(struct object *));
	o->sorted[at] = obj;
	o->n++;
	return 0;
}

struct object *objects_get(struct objects *o, const char *uuid)
{
	struct object *obj = map_get_str(&o->by_uuid, uuid);

	if (obj || (*uuid && !uuid_is_canonical(uuid))) {
		return obj;
	}
	obj = calloc(1, sizeof(*obj));
	if (obj) {
		obj->uuid = strdup(uuid);
	}
	if (!obj || !obj->uuid || insert(o, obj) < 0) {
		return object_free(obj);
	}
	return obj;
}

static bool open_archive(struct objects *o, struct object *obj, bool create)
{
	_cleanup_(xfreep) char *path = NULL;
	int r;

	if (obj->archive) {
		return true;
	}
	path = archive_path(o, obj->uuid);
	if (!path) {
		return false;
	}
	r = create ? archive_open(&obj->archive, path) : archive_open_existing(&obj->archive, path);
	if (r < 0 && r != -ENOENT && !obj->archive_failed) {
		log_error("%s: %s; the values are served but not kept", path, err_text(r));
		obj->archive_failed = true;
	}
	return r >= 0;
}

struct object *objects_find(struct objects *o, const char *uuid)
{
	struct object *obj = map_get_str(&o->by_uuid, uuid);

	if (obj && open_archive(o, obj, false)) {
		obj->used_slot = MAX(obj->used_slot, o->slot); /* closed again in ten minutes */
	}
	return obj;
}

/* ---- expiry ---- */

static int64_t slot_of_now(void)
{
	return (int64_t)(clock_real_ns() / NSEC_PER_SEC / ARCHIVE_STEP_S);
}

/* Takes it out of the table, and its archive off the disk. */
static void forget(struct objects *o, size_t at)
{
	struct object *obj = o->sorted[at];
	_cleanup_(xfreep) char *path = archive_path(o, obj->uuid);

	if (path && unlink(path) == 0) {
		log_info("%s: removed, there are newer ones of %d VMs that are no more", path,
			 GONE_MAX);
	}
	map_remove_str(&o->by_uuid, obj->uuid);
	memmove(o->sorted + at, o->sorted + at + 1, (--o->n - at) * sizeof(struct object *));
	object_free(obj);
}

static bool is_gone(const struct object *obj, int64_t now)
{
	return *obj->uuid && now - obj->seen_slot > CLOSE_AFTER_SLOTS;
}

/* Of the VMs that are no more only those seen last stay, so that short-lived ones do not fill the
 * disk. Age alone removes nothing: it is the clock's word, and a clock may be years ahead. */
static void expire(struct objects *o, int64_t now)
{
	size_t n_gone = 0;

	o->expired_slot = now;
	for (size_t i = 0; i < o->n; i++) {
		n_gone += is_gone(o->sorted[i], now);
	}
	for (; n_gone > GONE_MAX; n_gone--) {
		size_t oldest = o->n;

		for (size_t i = 0; i < o->n; i++) {
			if (is_gone(o->sorted[i], now) &&
			    (oldest == o->n ||
			     o->sorted[i]->seen_slot < o->sorted[oldest]->seen_slot)) {
				oldest = i;
			}
		}
		forget(o, oldest);
	}
}

/* ---- start ---- */

static void find_archive(struct objects *o, const char *file)
{
	size_t len = strlen(file);
	char uuid[37];
	struct object *obj;

	if (len != 3 + 36 + strlen(SUFFIX) || !str_starts(file, "vm-") ||
	    !streq(file + 3 + 36, SUFFIX)) {
		return;
	}
	memcpy(uuid, file + 3, 36);
	uuid[36] = 0;
	obj = objects_get(o, uuid);
	if (obj) {
		obj->seen_slot = slot_of_now(); /* if it cannot be read: not the first to go */
	}
	if (obj && open_archive(o, obj, false)) {
		obj->seen_slot = archive_last_slot(obj->archive);
		obj->archive = archive_close(obj->archive);
	}
}

static int scan(struct objects *o)
{
	struct dirent *entry;
	DIR *dir;

	if (mkdir(o->dir, 0750) < 0 && errno != EEXIST) {
		return err_errno();
	}
	dir = opendir(o->dir);
	if (!dir) {
		return err_errno();
	}
	while ((entry = readdir(dir))) {
		find_archive(o, entry->d_name);
	}
	closedir(dir);
	expire(o, slot_of_now());
	return 0;
}

int objects_new(struct objects **out, const char *dir)
{
	struct objects *o = calloc(1, sizeof(*o));
	int r = -ENOMEM;

	if (o) {
		o->dir = strdup(dir);
		r = o->dir ? scan(o) : -ENOMEM;
	}
	if (r < 0) {
		objects_free(o);
		return r;
	}
	*out = o;
	return 0;
}

struct objects *objects_free(struct objects *o)
{
	if (o) {
		for (size_t i = 0; i < o->n; i++) {
			object_free(o->sorted[i]);
		}
		map_deinit(&o->by_uuid);
		free(o->sorted);
		free(o->dir);
		free(o);
	}
	return NULL;
}

/* ---- readings ---- */

void object_begin(struct object *obj, uint64_t generation)
{
	if (obj->generation == generation) {
		return;
	}
	for (size_t i = 0; i < obj->n_sources; i++) {
		if (obj->sources[i].type->kind != SOURCE_GAUGE) {
			obj->sources[i].raw_ns = 0;
			obj->sources[i].slot_ns = 0;
		}
	}
	obj->generation = generation;
}

void object_restart(struct object *obj, const struct source_type *type)
{
	size_t index = (size_t)(uintptr_t)map_get_str(&obj->by_name, type->name);

	if (index) {
		obj->sources[index - 1].slot_ns = 0;
	}
}

/* Index + 1 of the source in by_name, because the array moves when it grows. */
static struct object_source *source_get(struct object *obj, const struct source_type *type,
					const char *name)
{
	size_t index = (size_t)(uintptr_t)map_get_str(&obj->by_name, name);
	struct object_source *s;

	if (index) {
		return &obj->sources[index - 1];
	}
	if (obj->n_sources >= ARCHIVE_SOURCES_MAX) {
		return NULL;
	}
	s = reallocarray(obj->sources, obj->n_sources + 1, sizeof(*s));
	if (!s) {
		return NULL;
	}
	obj->sources = s;
	if (map_set_str(&obj->by_name, name, (void *)(uintptr_t)(obj->n_sources + 1), NULL) < 0) {
		return NULL;
	}
	s += obj->n_sources++;
	*s = (struct object_source){ .type = type, .column = -1, .last = (double)NAN };
	memcpy(s->name, name, strlen(name) + 1);
	return s;
}

/* The type's name with its %s or %u filled in. */
static bool make_name(char out[static ARCHIVE_NAME_MAX], const char *pattern, const char *text,
		      unsigned int number)
{
	const char *mark = strchr(pattern, '%');
	int n;

	if (!mark) {
		n = snprintf(out, ARCHIVE_NAME_MAX, "%s", pattern);
	} else if (mark[1] == 's') {
		n = snprintf(out, ARCHIVE_NAME_MAX, "%.*s%s%s", (int)(mark - pattern), pattern,
			     text, mark + 2);
	} else {
		n = snprintf(out, ARCHIVE_NAME_MAX, "%.*s%u%s", (int)(mark - pattern), pattern,
			     number, mark + 2);
	}
	return n > 0 && n < ARCHIVE_NAME_MAX;
}

void object_read(struct object *obj, const struct source_type *type, const char *text_arg,
		 unsigned int number_arg, double value, uint64_t at_ns)
{
	char name[ARCHIVE_NAME_MAX];
	struct object_source *s;

	if (!make_name(name, type->name, text_arg, number_arg)) {
		return;
	}
	s = source_get(obj, type, name);
	if (s) {
		s->raw = value * type->scale;
		s->raw_ns = at_ns;
		s->seen = true;
	}
}

void object_hold(struct object *obj, const struct source_type *type)
{
	for (size_t i = 0; i < obj->n_sources; i++) {
		obj->sources[i].held |= obj->sources[i].type == type;
	}
}

/* ---- slots ---- */

/* now_ns: of the newest reading of its object. */
static double slot_value(const struct object_source *s, uint64_t now_ns)
{
	double v = (double)NAN;

	if (!s->seen) {
		return s->held && now_ns - s->raw_ns <= HOLD_MAX_NS ? s->last : v;
	}
	if (s->type->kind == SOURCE_GAUGE) {
		v = s->raw;
	} else if (s->slot_ns && s->raw_ns > s->slot_ns && s->raw >= s->slot_raw) {
		v = (s->raw - s->slot_raw) / ((double)(s->raw_ns - s->slot_ns) / 1e9);
		v = s->type->kind == SOURCE_IDLE_RATE ? 1 - v : v;
	}
	/* A rate may exceed its bound a little, because the two clocks are not read at once. */
	if (s->type->kind != SOURCE_GAUGE && v > s->type->max && v <= s->type->max * 1.05) {
		v = s->type->max;
	}
	if (s->type->kind == SOURCE_IDLE_RATE && v < 0 && v >= -0.05) {
		v = 0;
	}
	return v >= s->type->min && v <= s->type->max ? v : (double)NAN;
}

static void forget_columns(struct object *obj)
{
	for (size_t i = 0; i < obj->n_sources; i++) {
		obj->sources[i].column = -1;
	}
}

/* The archive was written while the clock was far ahead: it would take nothing until then. It is
 * kept beside, because the clock of now may be the wrong one. */
static void set_future_aside(struct objects *o, struct object *obj)
{
	_cleanup_(xfreep) char *path = archive_path(o, obj->uuid);
	_cleanup_(xfreep) char *aside = NULL;
	int64_t until = (archive_last_slot(obj->archive) + 1) * ARCHIVE_STEP_S;

	if (!path || asprintf(&aside, "%s.%" PRId64, path, until) < 0) {
		return;
	}
	obj->archive = archive_close(obj->archive);
	forget_columns(obj);
	if (rename(path, aside) == 0) {
		log_warning("%s ends in the future, the clock was set back; kept as %s, a new one "
			    "begins",
			    path, aside);
	}
}

static void tell_without_column(struct object *obj, const struct object_source *s)
{
	if (s->column < 0 && !obj->archive_failed) {
		log_error("%s: no place for %s in the archive: %s; values that have none are "
			  "served but not kept",
			  *obj->uuid ? obj->uuid : "host", s->name, err_text(s->column));
		obj->archive_failed = true;
	}
}

static void commit_object(struct objects *o, struct object *obj, int64_t slot)
{
	bool kept = open_archive(o, obj, true);
	uint64_t now_ns = 0;

	for (size_t i = 0; i < obj->n_sources; i++) {
		now_ns = MAX(now_ns, obj->sources[i].raw_ns);
	}
	for (size_t i = 0; i < obj->n_sources; i++) {
		struct object_source *s = &obj->sources[i];

		s->last = slot_value(s, now_ns);
		s->slot_raw = s->raw;
		s->slot_ns = s->raw_ns;
		s->seen = false;
		s->held = false;
		if (kept && s->column < 0) {
			s->column = archive_column(obj->archive, s->name, s->type->units);
			tell_without_column(obj, s);
		}
	}
	if (!kept) {
		return;
	}
	for (size_t i = 0; i < archive_n_columns(obj->archive); i++) {
		o->values[i] = (double)NAN;
	}
	for (size_t i = 0; i < obj->n_sources; i++) {
		if (obj->sources[i].column >= 0) {
			o->values[obj->sources[i].column] = obj->sources[i].last;
		}
	}
	if (archive_commit(obj->archive, slot, o->values) &&
	    archive_last_slot(obj->archive) - slot > FUTURE_SLOTS) {
		set_future_aside(o, obj);
	}
}

static void close_if_idle(struct object *obj, int64_t slot)
{
	if (obj->archive && slot - obj->used_slot > CLOSE_AFTER_SLOTS) {
		obj->archive = archive_close(obj->archive);
		forget_columns(obj);
	}
}

static bool was_read(const struct object *obj)
{
	for (size_t i = 0; i < obj->n_sources; i++) {
		if (obj->sources[i].seen) {
			return true;
		}
	}
	return false;
}

static void commit_all(struct objects *o, int64_t slot)
{
	for (size_t i = 0; i < o->n; i++) {
		if (was_read(o->sorted[i])) {
			o->sorted[i]->seen_slot = slot;
			o->sorted[i]->used_slot = slot;
			commit_object(o, o->sorted[i], slot);
		} else {
			close_if_idle(o->sorted[i], slot);
		}
	}
}

static void step_back(struct objects *o, int64_t slot)
{
	log_warning("the clock was set back by %" PRId64 " s; values from after are forgotten",
		    (o->slot - slot) * ARCHIVE_STEP_S);
	o->expired_slot = MIN(o->expired_slot, slot);
	for (size_t i = 0; i < o->n; i++) {
		if (open_archive(o, o->sorted[i], false)) {
			archive_rewind(o->sorted[i]->archive, slot);
		}
		o->sorted[i]->seen_slot = MIN(o->sorted[i]->seen_slot, slot);
		o->sorted[i]->used_slot = MIN(o->sorted[i]->used_slot, slot);
	}
}

void objects_tick(struct objects *o, uint64_t realtime_ns)
{
	int64_t slot = (int64_t)(realtime_ns / NSEC_PER_SEC / ARCHIVE_STEP_S);

	if (slot <= o->slot && o->slot - slot <= STEP_BACK_SLOTS) {
		return;
	}
	if (slot < o->slot) {
		step_back(o, slot - 1);
	} else if (o->slot) {
		commit_all(o, o->slot);
	}
	o->slot = slot;
	if (slot - o->expired_slot >= EXPIRE_SLOTS) {
		expire(o, slot);
	}
}

int objects_each(struct objects *o, int (*fn)(struct object *obj, void *userdata), void *userdata)
{
	int r = 0;

	for (size_t i = 0; !r && i < o->n; i++) {
		r = fn(o->sorted[i], userdata);
	}
	return r;
}

size_t objects_count(const struct objects *o)
{
	return o->n;
}

size_t objects_n_sources(const struct objects *o)
{
	size_t n = 0;

	for (size_t i = 0; i < o->n; i++) {
		n += o->sorted[i]->n_sources;
	}
	return n;
}
