/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The schema's number is SQLite's user_version; migrations[n] leads from n to
 * n + 1, all in one transaction.  A file of a newer number is left alone.
 *
 * Times that decide something are CLOCK_BOOTTIME, each with the id of its boot:
 * the wall clock may step at any time.
 *
 * The fault, once set, stays: a damaged file is never written again, so that
 * what can still be rescued from it stays as it is.
 */
#include "services/ops/core/store.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/strbuf.h"
#include "services/ops/core/limits.h"

#define APPLICATION_ID 0x786d6f70 /* "xmop", for file(1) */
#define BUSY_MS	       100	  /* somebody looks at the file with another tool */

static const char *const migrations[] = {
	"CREATE TABLE vms (uuid TEXT PRIMARY KEY, config BLOB NOT NULL, desired INTEGER NOT NULL);"
	"CREATE TABLE tasks (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,"
	" phase INTEGER NOT NULL, timeout_s INTEGER NOT NULL, is_forced INTEGER NOT NULL,"
	" is_paused INTEGER NOT NULL, domid INTEGER NOT NULL, task BLOB NOT NULL);"
	"CREATE TABLE answers (id BLOB PRIMARY KEY, fingerprint BLOB NOT NULL,"
	" reply BLOB NOT NULL, time_ns INTEGER NOT NULL);"
	"CREATE INDEX answers_by_time ON answers (time_ns);",
	"ALTER TABLE tasks ADD COLUMN is_cancelled INTEGER NOT NULL DEFAULT 0;",
	/* Answers of before have times of the wall clock, and no boot. */
	"ALTER TABLE answers ADD COLUMN boot TEXT NOT NULL DEFAULT '';"
	"ALTER TABLE tasks ADD COLUMN boot TEXT NOT NULL DEFAULT '';"
	"ALTER TABLE tasks ADD COLUMN until_ns INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE tasks ADD COLUMN note TEXT NOT NULL DEFAULT '';",
};

enum statement {
	ST_BEGIN,
	ST_COMMIT,
	ST_ROLLBACK,
	ST_VM_PUT,
	ST_VM_DESIRED,
	ST_VM_DELETE,
	ST_VM_EACH,
	ST_TASK_PUT,
	ST_TASK_DELETE,
	ST_TASK_EACH,
	ST_ANSWER_FIND,
	ST_ANSWER_PUT,
	ST_ANSWER_COUNT,
	ST_ANSWER_ADOPT,
	ST_ANSWER_PURGE,
	N_STATEMENTS,
};

static const char *const statements[N_STATEMENTS] = {
	[ST_BEGIN] = "BEGIN IMMEDIATE",
	[ST_COMMIT] = "COMMIT",
	[ST_ROLLBACK] = "ROLLBACK",
	[ST_VM_PUT] = "INSERT INTO vms (uuid, config, desired) VALUES (?1, ?2, ?3) "
		      "ON CONFLICT (uuid) DO UPDATE SET config = ?2, desired = ?3",
	[ST_VM_DESIRED] = "UPDATE vms SET desired = ?2 WHERE uuid = ?1",
	[ST_VM_DELETE] = "DELETE FROM vms WHERE uuid = ?1",
	[ST_VM_EACH] = "SELECT uuid, config, desired FROM vms ORDER BY uuid",
	[ST_TASK_PUT] =
		"INSERT INTO tasks (id, phase, timeout_s, is_forced, is_paused, domid, task, "
		"is_cancelled, boot, until_ns, note) "
		"VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) "
		"ON CONFLICT (id) DO UPDATE SET phase = ?2, timeout_s = ?3, is_forced = ?4, "
		"is_paused = ?5, domid = ?6, task = ?7, is_cancelled = ?8, boot = ?9, "
		"until_ns = ?10, note = ?11",
	[ST_TASK_DELETE] = "DELETE FROM tasks WHERE id = ?1",
	[ST_TASK_EACH] = "SELECT id, phase, timeout_s, is_forced, is_paused, domid, task, "
			 "is_cancelled, boot, until_ns, note FROM tasks ORDER BY seq",
	[ST_ANSWER_FIND] = "SELECT fingerprint, reply FROM answers WHERE id = ?1",
	[ST_ANSWER_PUT] = "INSERT OR REPLACE INTO answers (id, fingerprint, reply, time_ns, boot) "
			  "VALUES (?1, ?2, ?3, ?4, ?5)",
	[ST_ANSWER_COUNT] = "SELECT count(*) FROM answers",
	[ST_ANSWER_ADOPT] = "UPDATE answers SET boot = ?1, time_ns = ?2 "
			    "WHERE boot <> ?1 OR time_ns > ?2",
	[ST_ANSWER_PURGE] = "DELETE FROM answers WHERE time_ns < ?1",
};

struct hook {
	struct hook *next;
	store_end_fn fn;
	void *userdata;
};

struct store {
	char *path;
	int lock_fd;
	sqlite3 *db;
	sqlite3_stmt *statements[N_STATEMENTS];
	bool is_open; /* a transaction */
	struct hook *hooks;
	char fault[384];
	int fault_r; /* for who tries to write */
	char error[512];
	uint64_t n_answers;
	bool is_adopted; /* all answers are of this boot */
	char boot[37];	 /* its id */
	uint64_t n_commits, n_failures;
};

/* ---- errors ---- */

static const char *advice(int sqlite_code)
{
	switch (sqlite_code & 0xff) {
	case SQLITE_FULL:
		return "free some space and try again";
	case SQLITE_READONLY:
	case SQLITE_CANTOPEN:
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return "give xenmesh-ops write access to it and restart xenmesh-ops";
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return "stop xenmesh-ops, restore the file from a backup or move it away, and "
		       "start xenmesh-ops";
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return "end the other program that has it open for writing and try again";
	default:
		return "see to the disk below it and try again";
	}
}

static int to_errno(int sqlite_code)
{
	switch (sqlite_code & 0xff) {
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_READONLY:
	case SQLITE_CANTOPEN:
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return -EROFS;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EUCLEAN;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EAGAIN;
	default:
		return -EIO;
	}
}

int store_error_code(int r)
{
	switch (r) {
	case -ENOSPC:
	case -ENOMEM:
	case -EDQUOT:
		return CODE_RESOURCE_EXHAUSTED;
	case -EAGAIN:
		return CODE_UNAVAILABLE;
	case -EUCLEAN:
		return CODE_DATA_LOSS;
	default:
		return CODE_INTERNAL;
	}
}

static void set_fault(struct store *s, const char *what, int sqlite_code)
{
	if (!s->fault[0]) {
		s->fault_r = to_errno(sqlite_code);
		snprintf(s->fault, sizeof(s->fault), "the store %.128s %.64s (%.64s): %s", s->path,
			 what, sqlite3_errstr(sqlite_code), advice(sqlite_code));
		log_error("%s", s->fault);
	}
}

/* Remember what SQLite said; the negative errno for it. */
static int fail(struct store *s, int sqlite_code)
{
	int r = to_errno(sqlite_code);

	s->n_failures++;
	if (r == -EUCLEAN) {
		set_fault(s, "is damaged", sqlite_code);
	}
	snprintf(s->error, sizeof(s->error), "the store %.128s cannot be used now (%.64s): %s",
		 s->path, sqlite3_errstr(sqlite_code), advice(sqlite_code));
	return r;
}

const char *store_fault(const struct store *s)
{
	return s->fault[0] ? s->fault : NULL;
}

const char *store_error(const struct store *s)
{
	return s->fault[0] ? s->fault : s->error;
}

/* ---- statements ---- */

static int begin_statement(struct store *s, enum statement which, sqlite3_stmt **out)
{
	*out = s->statements[which];
	if (!*out) {
		return -EROFS; /* there is a fault then */
	}
	sqlite3_reset(*out);
	return 0;
}

/* One step to the end. */
static int run(struct store *s, sqlite3_stmt *st)
{
	int code = sqlite3_step(st);

	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	return code == SQLITE_DONE || code == SQLITE_ROW ? 0 : fail(s, code);
}

static int run_plain(struct store *s, enum statement which)
{
	sqlite3_stmt *st;
	int r = begin_statement(s, which, &st);

	return r < 0 ? r : run(s, st);
}

/* A writing statement, refused while there is a fault. */
static int begin_write(struct store *s, enum statement which, sqlite3_stmt **out)
{
	if (s->fault[0]) {
		*out = NULL;
		return s->fault_r < 0 ? s->fault_r : -EROFS;
	}
	return begin_statement(s, which, out);
}

static void bind_text(sqlite3_stmt *st, int i, const char *text)
{
	sqlite3_bind_text(st, i, text, -1, SQLITE_STATIC);
}

static void bind_blob(sqlite3_stmt *st, int i, const void *data, size_t len)
{
	sqlite3_bind_blob64(st, i, len ? data : "", len, SQLITE_STATIC);
}

/* ---- opening ---- */

static int exec(struct store *s, const char *sql)
{
	return sqlite3_exec(s->db, sql, NULL, NULL, NULL);
}

/* SQLite's code; *out is the number in the first row. */
static int query_number(struct store *s, const char *sql, int64_t *out)
{
	sqlite3_stmt *st = NULL;
	int code = sqlite3_prepare_v2(s->db, sql, -1, &st, NULL);

	if (code == SQLITE_OK) {
		code = sqlite3_step(st);
		*out = code == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;
		code = code == SQLITE_ROW ? SQLITE_OK : code == SQLITE_DONE ? SQLITE_CORRUPT : code;
	}
	sqlite3_finalize(st);
	return code;
}

/* "ok" or the first damage. */
static int check_pages(struct store *s)
{
	sqlite3_stmt *st = NULL;
	int code = sqlite3_prepare_v2(s->db, "PRAGMA quick_check(1)", -1, &st, NULL);

	if (code == SQLITE_OK) {
		code = sqlite3_step(st);
		if (code == SQLITE_ROW) {
			const char *text = (const char *)sqlite3_column_text(st, 0);

			code = text && streq(text, "ok") ? SQLITE_OK : SQLITE_CORRUPT;
		}
	}
	sqlite3_finalize(st);
	return code;
}

static int migrate(struct store *s, int64_t from)
{
	char sql[64];
	int code = SQLITE_OK;

	if (from == (int64_t)ARRAY_LEN(migrations)) {
		return SQLITE_OK;
	}
	code = exec(s, "BEGIN IMMEDIATE");
	for (size_t i = (size_t)from; code == SQLITE_OK && i < ARRAY_LEN(migrations); i++) {
		code = exec(s, migrations[i]);
	}
	if (code == SQLITE_OK) {
		snprintf(sql, sizeof(sql), "PRAGMA user_version = %zu", ARRAY_LEN(migrations));
		code = exec(s, sql);
	}
	if (code == SQLITE_OK) {
		code = exec(s, "COMMIT");
	}
	if (code != SQLITE_OK) {
		exec(s, "ROLLBACK");
	}
	return code;
}

/* How the file is opened, the better first. */
enum way {
	WAY_WRITE,
	WAY_ALONE, /* likewise; no room is needed for what else is shared with other readers */
	WAY_READ,
	WAY_FROZEN, /* likewise; nothing can be made beside the file, which has no WAL then */
};

/* "file:///PATH?immutable=1", NULL = out of memory or the WAL has something. */
static char *frozen_uri(const struct store *s)
{
	_cleanup_(strbuf_deinit) struct strbuf uri = STRBUF_NULL;
	_cleanup_(xfreep) char *wal = NULL;
	struct stat st;

	if (asprintf(&wal, "%s-wal", s->path) < 0) {
		wal = NULL;
	}
	if (!wal || (stat(wal, &st) == 0 && st.st_size > 0)) {
		return NULL;
	}
	strbuf_puts(&uri, "file:");
	for (const char *p = s->path; *p; p++) {
		if (strchr("%?#", *p)) {
			strbuf_printf(&uri, "%%%02X", *p);
		} else {
			strbuf_putc(&uri, *p);
		}
	}
	strbuf_puts(&uri, "?immutable=1");
	return strbuf_error(&uri) < 0 ? NULL : STEAL(uri.data);
}

static int open_db(struct store *s, enum way way)
{
	_cleanup_(xfreep) char *uri = way == WAY_FROZEN ? frozen_uri(s) : NULL;
	int flags = way < WAY_READ ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
				   : SQLITE_OPEN_READONLY;
	int code;

	if (way == WAY_FROZEN && !uri) {
		return SQLITE_CANTOPEN;
	}
	sqlite3_close(s->db);
	code = sqlite3_open_v2(uri ? uri : s->path, &s->db,
			       flags | SQLITE_OPEN_NOMUTEX | (uri ? SQLITE_OPEN_URI : 0), NULL);
	if (code != SQLITE_OK) {
		return code;
	}
	sqlite3_busy_timeout(s->db, BUSY_MS);
	code = exec(s, "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;");
	if (code == SQLITE_OK && way == WAY_ALONE) {
		code = exec(s, "PRAGMA locking_mode = EXCLUSIVE");
	}
	return code == SQLITE_OK ? check_pages(s) : code;
}

/* Everything that has to work for a store that can be written. */
static int set_up(struct store *s, enum way way)
{
	int64_t version = 0, id = 0;
	int code = open_db(s, way);
	char sql[64];

	if (code != SQLITE_OK) {
		return code;
	}
	code = query_number(s, "PRAGMA user_version", &version);
	if (code == SQLITE_OK) {
		code = query_number(s, "PRAGMA application_id", &id);
	}
	if (code != SQLITE_OK) {
		return code;
	}
	if (version < 0 || version > (int64_t)ARRAY_LEN(migrations)) {
		set_fault(s, "was written by a newer xenmesh-ops", SQLITE_READONLY);
		return SQLITE_READONLY;
	}
	if (id != APPLICATION_ID && (id != 0 || version != 0)) {
		set_fault(s, "is not a store of xenmesh-ops", SQLITE_NOTADB);
		return SQLITE_NOTADB;
	}
	code = exec(s, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
		       "PRAGMA journal_size_limit = 4194304;");
	if (code == SQLITE_OK && id == 0) {
		snprintf(sql, sizeof(sql), "PRAGMA application_id = %d", APPLICATION_ID);
		code = exec(s, sql);
	}
	return code == SQLITE_OK ? migrate(s, version) : code;
}

static int prepare_all(struct store *s)
{
	for (int i = 0; i < N_STATEMENTS; i++) {
		int code = sqlite3_prepare_v3(s->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT,
					      &s->statements[i], NULL);

		if (code != SQLITE_OK) {
			return code;
		}
	}
	return SQLITE_OK;
}

static int count_answers(struct store *s)
{
	sqlite3_stmt *st;
	int r = begin_statement(s, ST_ANSWER_COUNT, &st);

	if (r == 0 && sqlite3_step(st) == SQLITE_ROW) {
		s->n_answers = (uint64_t)sqlite3_column_int64(st, 0);
	}
	if (r == 0) {
		sqlite3_reset(st);
	}
	return r;
}

/* Something is wrong: go on with what can be read. */
static void fall_back(struct store *s, int code)
{
	set_fault(s, "cannot be opened for writing", code);
	if (open_db(s, WAY_READ) == SQLITE_OK || open_db(s, WAY_FROZEN) == SQLITE_OK) {
		prepare_all(s);
	}
}

static int lock_dir(struct store *s, const char *dir)
{
	if (mkdir(dir, 0750) < 0 && errno != EEXIST) {
		return err_errno();
	}
	s->lock_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->lock_fd < 0) {
		return err_errno();
	}
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		return errno == EWOULDBLOCK ? -EBUSY : err_errno();
	}
	return 0;
}

/* Without one all boots are the same: answers of before then go early, or ten minutes late. */
static void read_boot_id(char out[static 37])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, 36);

	snprintf(out + MAX(n, 0), (size_t)(37 - MAX(n, 0)), "%s", n == 36 ? "" : "?");
	xclose(fd);
}

int store_open(struct store **out, const char *dir)
{
	_cleanup_(store_closep) struct store *s = calloc(1, sizeof(*s));
	int code, r;

	if (!s) {
		return -ENOMEM;
	}
	s->lock_fd = -1;
	read_boot_id(s->boot);
	if (asprintf(&s->path, "%s/ops.db", dir) < 0) {
		s->path = NULL;
		return -ENOMEM;
	}
	r = lock_dir(s, dir);
	if (r < 0) {
		return err_trace(r);
	}
	code = set_up(s, WAY_WRITE);
	if ((code & 0xff) == SQLITE_IOERR || (code & 0xff) == SQLITE_FULL) {
		code = set_up(s, WAY_ALONE); /* a full disk has no room for the index of a WAL */
		if (code == SQLITE_OK) {
			log_warning("there is no room beside the store %s: until the next start "
				    "no other program can read it",
				    s->path);
		}
	}
	if (code == SQLITE_OK) {
		code = prepare_all(s);
	}
	if (code != SQLITE_OK) {
		fall_back(s, code);
	}
	count_answers(s);
	*out = STEAL(s);
	return 0;
}

struct store *store_close(struct store *s)
{
	if (s) {
		store_rollback(s);
		for (int i = 0; i < N_STATEMENTS; i++) {
			sqlite3_finalize(s->statements[i]);
		}
		sqlite3_close(s->db);
		xclose(s->lock_fd);
		free(s->path);
		free(s);
	}
	return NULL;
}

/* ---- transactions ---- */

bool store_is_in_transaction(const struct store *s)
{
	return s->is_open;
}

int store_begin(struct store *s)
{
	int r;

	if (s->fault[0]) {
		return s->fault_r;
	}
	if (s->is_open) {
		return -EALREADY;
	}
	r = run_plain(s, ST_BEGIN);
	s->is_open = r == 0;
	return r;
}

int store_flush(struct store *s)
{
	int code = sqlite3_db_cacheflush(s->db);

	return code == SQLITE_OK ? 0 : fail(s, code);
}

int store_on_end(struct store *s, store_end_fn fn, void *userdata)
{
	struct hook **link = &s->hooks;
	struct hook *hook = malloc(sizeof(*hook));

	if (!hook) {
		return -ENOMEM;
	}
	*hook = (struct hook){ .fn = fn, .userdata = userdata };
	while (*link) {
		link = &(*link)->next;
	}
	*link = hook;
	return 0;
}

static void end(struct store *s, bool is_committed)
{
	struct hook *hook = STEAL(s->hooks);

	s->is_open = false;
	while (hook) {
		struct hook *next = hook->next;

		hook->fn(is_committed, hook->userdata);
		free(hook);
		hook = next;
	}
}

int store_commit(struct store *s)
{
	int r = run_plain(s, ST_COMMIT);

	if (r < 0) {
		store_rollback(s);
		return r;
	}
	s->n_commits++;
	end(s, true);
	return 0;
}

void store_rollback(struct store *s)
{
	if (!s->is_open) {
		return;
	}
	if (!sqlite3_get_autocommit(s->db)) { /* some errors have rolled back already */
		run_plain(s, ST_ROLLBACK);
	}
	end(s, false);
}

/* ---- definitions ---- */

int store_vm_put(struct store *s, const char *uuid, const void *config, size_t len,
		 enum store_desired desired)
{
	sqlite3_stmt *st;
	int r = begin_write(s, ST_VM_PUT, &st);

	if (r < 0) {
		return r;
	}
	bind_text(st, 1, uuid);
	bind_blob(st, 2, config, len);
	sqlite3_bind_int(st, 3, (int)desired);
	return run(s, st);
}

int store_vm_set_desired(struct store *s, const char *uuid, enum store_desired desired)
{
	sqlite3_stmt *st;
	int r = begin_write(s, ST_VM_DESIRED, &st);

	if (r < 0) {
		return r;
	}
	bind_text(st, 1, uuid);
	sqlite3_bind_int(st, 2, (int)desired);
	return run(s, st);
}

static int delete_by_text(struct store *s, enum statement which, const char *key)
{
	sqlite3_stmt *st;
	int r = begin_write(s, which, &st);

	if (r < 0) {
		return r;
	}
	bind_text(st, 1, key);
	return run(s, st);
}

int store_vm_delete(struct store *s, const char *uuid)
{
	return delete_by_text(s, ST_VM_DELETE, uuid);
}

/* Never NULL. */
static const char *column_text(sqlite3_stmt *st, int i)
{
	const char *text = (const char *)sqlite3_column_text(st, i);

	return text ? text : "";
}

static int finish_each(struct store *s, sqlite3_stmt *st, int code, int r)
{
	sqlite3_reset(st);
	return r < 0 || code == SQLITE_DONE ? r : fail(s, code);
}

int store_vm_each(struct store *s, store_vm_fn fn, void *userdata)
{
	sqlite3_stmt *st;
	int code = SQLITE_ROW, r = begin_statement(s, ST_VM_EACH, &st);

	if (r < 0) {
		return r;
	}
	while (r >= 0 && (code = sqlite3_step(st)) == SQLITE_ROW) {
		r = fn(column_text(st, 0), sqlite3_column_blob(st, 1),
		       (size_t)sqlite3_column_bytes(st, 1),
		       (enum store_desired)sqlite3_column_int(st, 2), userdata);
	}
	return finish_each(s, st, code, r);
}

/* ---- journal ---- */

int store_task_put(struct store *s, const struct store_task *task)
{
	sqlite3_stmt *st;
	int r = begin_write(s, ST_TASK_PUT, &st);

	if (r < 0) {
		return r;
	}
	bind_text(st, 1, task->id);
	sqlite3_bind_int(st, 2, task->phase);
	sqlite3_bind_int64(st, 3, task->timeout_s);
	sqlite3_bind_int(st, 4, task->is_forced);
	sqlite3_bind_int(st, 5, task->is_paused);
	sqlite3_bind_int(st, 6, task->domid);
	bind_blob(st, 7, task->task, task->task_len);
	sqlite3_bind_int(st, 8, task->is_cancelled);
	bind_text(st, 9, s->boot);
	sqlite3_bind_int64(st, 10, (int64_t)task->until_ns);
	bind_text(st, 11, task->note ? task->note : "");
	return run(s, st);
}

int store_task_delete(struct store *s, const char *id)
{
	return delete_by_text(s, ST_TASK_DELETE, id);
}

int store_task_each(struct store *s, store_task_fn fn, void *userdata)
{
	sqlite3_stmt *st;
	int code = SQLITE_ROW, r = begin_statement(s, ST_TASK_EACH, &st);

	if (r < 0) {
		return r;
	}
	while (r >= 0 && (code = sqlite3_step(st)) == SQLITE_ROW) {
		bool is_of_this_boot = streq(column_text(st, 8), s->boot);
		struct store_task task = {
			.id = column_text(st, 0),
			.phase = sqlite3_column_int(st, 1),
			.timeout_s = (uint32_t)sqlite3_column_int64(st, 2),
			.is_forced = sqlite3_column_int(st, 3) != 0,
			.is_paused = sqlite3_column_int(st, 4) != 0,
			.is_cancelled = sqlite3_column_int(st, 7) != 0,
			.domid = sqlite3_column_int(st, 5),
			.until_ns = is_of_this_boot ? (uint64_t)sqlite3_column_int64(st, 9) : 0,
			.note = column_text(st, 10),
			.task = sqlite3_column_blob(st, 6),
			.task_len = (size_t)sqlite3_column_bytes(st, 6),
		};

		r = fn(&task, userdata);
	}
	return finish_each(s, st, code, r);
}

/* ---- answers ---- */

static int find_answer(void *userdata, const uint8_t id[16], const uint8_t fingerprint[16],
		       uint8_t **reply, size_t *len)
{
	struct store *s = userdata;
	sqlite3_stmt *st;
	int code, r = begin_statement(s, ST_ANSWER_FIND, &st);

	if (r < 0) {
		return 1; /* the handler will refuse for the same reason, and say why */
	}
	bind_blob(st, 1, id, 16);
	code = sqlite3_step(st);
	if (code == SQLITE_DONE) {
		r = 1;
	} else if (code != SQLITE_ROW) {
		r = fail(s, code);
	} else if (sqlite3_column_bytes(st, 0) != 16 ||
		   memcmp(sqlite3_column_blob(st, 0), fingerprint, 16) != 0) {
		r = 2;
	} else {
		*len = (size_t)sqlite3_column_bytes(st, 1);
		*reply = malloc(*len ? *len : 1);
		r = *reply ? 0 : -ENOMEM;
		if (r == 0 && *len) {
			memcpy(*reply, sqlite3_column_blob(st, 1), *len);
		}
	}
	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	return r;
}

static int put_answer(struct store *s, const uint8_t id[16], const uint8_t fingerprint[16],
		      const uint8_t *reply, size_t len)
{
	sqlite3_stmt *st;
	int r = begin_write(s, ST_ANSWER_PUT, &st);

	if (r < 0) {
		return r;
	}
	if (s->n_answers >= OPS_ANSWERS_MAX) {
		s->n_failures++;
		return 1;
	}
	bind_blob(st, 1, id, 16);
	bind_blob(st, 2, fingerprint, 16);
	bind_blob(st, 3, reply, len);
	sqlite3_bind_int64(st, 4, (int64_t)clock_boot_ns());
	bind_text(st, 5, s->boot);
	r = run(s, st);
	s->n_answers += r == 0 ? 1 : 0;
	return r;
}

static int reply_code(const uint8_t *reply, size_t len)
{
	Xenmesh__V1__Reply *r = xenmesh__v1__reply__unpack(NULL, len, reply);
	int code = r ? (int)r->code : CODE_OK;

	if (r) {
		xenmesh__v1__reply__free_unpacked(r, NULL);
	}
	return code;
}

static int commit_answer(struct store *s, const uint8_t id[16], const uint8_t fingerprint[16],
			 const uint8_t *reply, size_t len)
{
	int r = s->is_open ? 0 : store_begin(s);

	if (r == 0) {
		r = put_answer(s, id, fingerprint, reply, len);
	}
	if (r != 0) {
		store_rollback(s);
		return r;
	}
	return store_commit(s);
}

/* A refusal has changed nothing. One that says "now is not possible" is not kept, and one that
 * cannot be kept is sent all the same: a repeat is judged anew. Refusals cost nothing, so they get
 * half of the room: the other half is for changes. */
static int save_answer(void *userdata, const uint8_t id[16], const uint8_t fingerprint[16],
		       const uint8_t *reply, size_t len)
{
	struct store *s = userdata;
	int code = reply_code(reply, len);
	int r;

	if (code == CODE_OK) {
		r = commit_answer(s, id, fingerprint, reply, len);
		return r < 0 ? err_trace(r) : r;
	}
	store_rollback(s);
	if (code != CODE_UNAVAILABLE && code != CODE_RESOURCE_EXHAUSTED && code != CODE_INTERNAL &&
	    code != CODE_DATA_LOSS && s->n_answers < OPS_ANSWERS_MAX / 2 && !s->fault[0]) {
		commit_answer(s, id, fingerprint, reply, len);
	}
	return 0;
}

struct bus_dedup store_dedup(struct store *s)
{
	return (struct bus_dedup){ .find = find_answer, .save = save_answer, .userdata = s };
}

/* Nobody knows how long the host was off: what was answered before is as new as can be. */
static int adopt_answers(struct store *s, uint64_t now_ns)
{
	sqlite3_stmt *st;
	int r = begin_write(s, ST_ANSWER_ADOPT, &st);

	if (r < 0) {
		return r;
	}
	bind_text(st, 1, s->boot);
	sqlite3_bind_int64(st, 2, (int64_t)now_ns);
	r = run(s, st);
	s->is_adopted = r == 0;
	return r;
}

int store_purge_answers(struct store *s, uint64_t now_ns)
{
	const uint64_t span_ns = OPS_ANSWER_SECONDS * NSEC_PER_SEC;
	sqlite3_stmt *st = NULL;
	int r = s->is_adopted ? 0 : adopt_answers(s, now_ns);

	if (r == 0) {
		r = begin_write(s, ST_ANSWER_PURGE, &st);
	}
	if (r < 0) {
		return r;
	}
	sqlite3_bind_int64(st, 1, (int64_t)(now_ns - MIN(now_ns, span_ns)));
	r = run(s, st);
	return r < 0 ? r : count_answers(s);
}

void store_stats(const struct store *s, bus_stat_fn fn, void *userdata)
{
	fn("store.commits", s->n_commits, userdata);
	fn("store.failures", s->n_failures, userdata);
	fn("store.answers", s->n_answers, userdata);
}
