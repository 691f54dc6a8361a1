/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Failures of the disk come from a SQLite VFS of our own in front of the real
 * one: it refuses writing, syncing or opening when told to.
 */
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "libcommon/clock.h"
#include "services/ops/core/limits.h"
#include "services/ops/core/store.h"
#include "tests/unit/log_util.h"
#include "tests/unit/unit.h"

/* ---- a disk that fails ---- */

static struct {
	int write, sync, open, map; /* SQLite's code to return; 0 = works */
} broken;

static sqlite3_vfs shim;
static sqlite3_vfs *real_vfs;
/* The unix VFS has one set of methods for databases and another for their WALs. */
static sqlite3_io_methods patched[4];
static const sqlite3_io_methods *originals[4];
static int (*real_write)(sqlite3_file *, const void *, int, sqlite3_int64);
static int (*real_sync)(sqlite3_file *, int);
static int (*real_map)(sqlite3_file *, int, int, int, void volatile **);

static int shim_write(sqlite3_file *f, const void *data, int len, sqlite3_int64 at)
{
	return broken.write ? broken.write : real_write(f, data, len, at);
}

static int shim_sync(sqlite3_file *f, int flags)
{
	return broken.sync ? broken.sync : real_sync(f, flags);
}

/* The index of the WAL is a file of its own. */
static int shim_map(sqlite3_file *f, int region, int size, int is_growing, void volatile **out)
{
	return broken.map ? broken.map : real_map(f, region, size, is_growing, out);
}

static const sqlite3_io_methods *patch(const sqlite3_io_methods *original)
{
	size_t i = 0;

	while (originals[i] && originals[i] != original) {
		i++;
	}
	originals[i] = original;
	patched[i] = *original;
	real_write = original->xWrite;
	real_sync = original->xSync;
	patched[i].xWrite = shim_write;
	patched[i].xSync = shim_sync;
	if (original->xShmMap) {
		real_map = original->xShmMap;
		patched[i].xShmMap = shim_map;
	}
	return &patched[i];
}

static int shim_open(sqlite3_vfs *vfs _unused_, sqlite3_filename name, sqlite3_file *f, int flags,
		     int *out_flags)
{
	int r;

	if (broken.open && (flags & SQLITE_OPEN_READWRITE)) {
		f->pMethods = NULL;
		return broken.open;
	}
	r = real_vfs->xOpen(real_vfs, name, f, flags, out_flags);
	if (r == SQLITE_OK && f->pMethods) {
		f->pMethods = patch(f->pMethods);
	}
	return r;
}

static void install_shim(void)
{
	real_vfs = sqlite3_vfs_find(NULL);
	shim = *real_vfs;
	shim.zName = "shim";
	shim.xOpen = shim_open;
	sqlite3_vfs_register(&shim, 1);
}

/* ---- a wall clock that steps ---- */

static int64_t real_step_s;

int clock_gettime(clockid_t id, struct timespec *t)
{
	int r = (int)syscall(SYS_clock_gettime, id, t);

	t->tv_sec += id == CLOCK_REALTIME ? real_step_s : 0;
	return r;
}

/* ---- helpers ---- */

static char *make_dir(void)
{
	char *dir = strdup("/tmp/xenmesh-store-XXXXXX");

	if (!mkdtemp(dir)) {
		abort();
	}
	return dir;
}

static void remove_dir(char **dir)
{
	static const char *const names[] = { "ops.db", "ops.db-wal", "ops.db-shm" };
	char path[128];

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", *dir, names[i]);
		unlink(path);
	}
	rmdir(*dir);
	free(*dir);
	memset(&broken, 0, sizeof(broken));
}

#define WITH_DIR(dir) _cleanup_(remove_dir) char *dir = make_dir()

static struct store *reopen(struct store *s, const char *dir)
{
	struct store *out = NULL;

	store_close(s);
	CU_ASSERT_EQUAL(store_open(&out, dir), 0);
	return out;
}

struct seen {
	unsigned int n;
	char ids[8][40];
	char data[8][16];
	int number[8];
};

static int see_vm(const char *uuid, const void *config, size_t len, enum store_desired desired,
		  void *userdata)
{
	struct seen *seen = userdata;

	if (seen->n < 8) {
		snprintf(seen->ids[seen->n], 40, "%s", uuid);
		snprintf(seen->data[seen->n], 16, "%.*s", (int)len, (const char *)config);
		seen->number[seen->n] = (int)desired;
	}
	seen->n++;
	return 0;
}

static struct seen vms_of(struct store *s)
{
	struct seen seen = { 0 };

	CU_ASSERT_EQUAL(store_vm_each(s, see_vm, &seen), 0);
	return seen;
}

static int see_task(const struct store_task *task, void *userdata)
{
	struct seen *seen = userdata;

	if (seen->n < 8) {
		snprintf(seen->ids[seen->n], 40, "%s", task->id);
		snprintf(seen->data[seen->n], 16, "%.*s", (int)task->task_len, task->task);
		seen->number[seen->n] = task->phase * 10000 + (int)task->timeout_s * 100 +
					task->is_forced * 20 + task->is_paused * 10 + task->domid;
	}
	seen->n++;
	return 0;
}

static struct seen tasks_of(struct store *s)
{
	struct seen seen = { 0 };

	CU_ASSERT_EQUAL(store_task_each(s, see_task, &seen), 0);
	return seen;
}

static int put_task(struct store *s, const char *id, int phase, const char *text)
{
	return store_task_put(s, &(struct store_task){
					 .id = id,
					 .phase = phase,
					 .timeout_s = 3,
					 .is_forced = true,
					 .is_paused = true,
					 .domid = 7,
					 .task = (const uint8_t *)text,
					 .task_len = strlen(text),
				 });
}

struct ended {
	int n_committed, n_rolled_back;
};

static void on_end(bool is_committed, void *userdata)
{
	struct ended *e = userdata;

	e->n_committed += is_committed ? 1 : 0;
	e->n_rolled_back += is_committed ? 0 : 1;
}

static const uint8_t id_a[16] = "aaaaaaaaaaaaaaa", id_b[16] = "bbbbbbbbbbbbbbb";
static const uint8_t print_a[16] = "AAAAAAAAAAAAAAA", print_b[16] = "BBBBBBBBBBBBBBB";

static int save(struct store *s, const uint8_t id[16], const uint8_t print[16], int code)
{
	struct bus_dedup d = store_dedup(s);
	Xenmesh__V1__Reply reply = XENMESH__V1__REPLY__INIT;
	uint8_t data[64];

	reply.code = (Xenmesh__V1__Code)code;
	reply.message = (char *)"hello";
	return d.save(d.userdata, id, print, data, xenmesh__v1__reply__pack(&reply, data));
}

/* What find() says: 0 = a reply with our text, else its result. */
static int find(struct store *s, const uint8_t id[16], const uint8_t print[16])
{
	struct bus_dedup d = store_dedup(s);
	_cleanup_(xfreep) uint8_t *data = NULL;
	Xenmesh__V1__Reply *reply;
	size_t len;
	int r = d.find(d.userdata, id, print, &data, &len);

	if (r == 0) {
		reply = xenmesh__v1__reply__unpack(NULL, len, data);
		CU_ASSERT_PTR_NOT_NULL(reply);
		CU_ASSERT_STRING_EQUAL(reply ? reply->message : "", "hello");
		xenmesh__v1__reply__free_unpacked(reply, NULL);
	}
	return r;
}

/* It does not write, and tells why. */
static void check_fault(const struct store *s, const char *part)
{
	const char *fault = store_fault(s);

	CU_ASSERT_PTR_NOT_NULL(fault);
	CU_ASSERT(fault && strstr(fault, part));
}

/* ---- tests ---- */

static void test_store__keeps_definitions(void)
{
	WITH_DIR(dir);
	_cleanup_(store_closep) struct store *s = reopen(NULL, dir);
	struct seen seen;

	CU_ASSERT_PTR_NULL(store_fault(s));
	CU_ASSERT_EQUAL(store_vm_put(s, "u2", "two", 3, STORE_DESIRED_UNKNOWN), 0);
	CU_ASSERT_EQUAL(store_vm_put(s, "u1", "one", 3, STORE_DESIRED_UNKNOWN), 0);
	CU_ASSERT_EQUAL(store_vm_put(s, "u2", "2", 1, STORE_DESIRED_HALTED), 0);
	CU_ASSERT_EQUAL(store_vm_set_desired(s, "u1", STORE_DESIRED_RUNNING), 0);
	CU_ASSERT_EQUAL(store_vm_set_desired(s, "u9", STORE_DESIRED_RUNNING), 0);
	s = reopen(s, dir);
	seen = vms_of(s);
	CU_ASSERT_EQUAL(seen.n, 2);
	CU_ASSERT_STRING_EQUAL(seen.ids[0], "u1");
	CU_ASSERT_STRING_EQUAL(seen.data[0], "one");
	CU_ASSERT_EQUAL(seen.number[0], STORE_DESIRED_RUNNING);
	CU_ASSERT_STRING_EQUAL(seen.data[1], "2");
	CU_ASSERT_EQUAL(seen.number[1], STORE_DESIRED_HALTED);
	CU_ASSERT_EQUAL(store_vm_delete(s, "u1"), 0);
	CU_ASSERT_EQUAL(vms_of(s).n, 1);
}

static void test_store__keeps_tasks_in_order(void)
{
	WITH_DIR(dir);
	_cleanup_(store_closep) struct store *s = reopen(NULL, dir);
	struct seen seen;

	CU_ASSERT_EQUAL(put_task(s, "t3", 0, "x"), 0);
	CU_ASSERT_EQUAL(put_task(s, "t1", 1, "y"), 0);
	CU_ASSERT_EQUAL(put_task(s, "t3", 2, "z"), 0); /* stays first */
	s = reopen(s, dir);
	seen = tasks_of(s);
	CU_ASSERT_EQUAL(seen.n, 2);
	CU_ASSERT_STRING_EQUAL(seen.ids[0], "t3");
	CU_ASSERT_STRING_EQUAL(seen.data[0], "z");
	CU_ASSERT_EQUAL(seen.number[0], 20337);
	CU_ASSERT_STRING_EQUAL(seen.ids[1], "t1");
	CU_ASSERT_EQUAL(store_task_delete(s, "t3"), 0);
	CU_ASSERT_EQUAL(tasks_of(s).n, 1);
}

static void test_store__rolls_back(void)
{
	WITH_DIR(dir);
	_cleanup_(store_closep) struct store *s = reopen(NULL, dir);
	struct ended e = { 0 };

	CU_ASSERT_EQUAL(store_begin(s), 0);
	CU_ASSERT(store_is_in_transaction(s));
	CU_ASSERT_EQUAL(store_vm_put(s, "u1", "one", 3, STORE_DESIRED_UNKNOWN), 0);
	CU_ASSERT_EQUAL(store_on_end(s, on_end, &e), 0);
	store_rollback(s);
	CU_ASSERT_EQUAL(e.n_rolled_back, 1);
	CU_ASSERT_EQUAL(vms_of(s).n, 0);
	store_rollback(s); /* nothing is open */
	CU_ASSERT_EQUAL(e.n_rolled_back, 1);

	CU_ASSERT_EQUAL(store_begin(s), 0);
	CU_ASSERT_EQUAL(store_vm_put(s, "u1", "one", 3, STORE_DESIRED_UNKNOWN), 0);
	CU_ASSERT_EQUAL(store_on_end(s, on_end, &e), 0);
	CU_ASSERT_EQUAL(store_on_end(s, on_end, &e), 0);
	CU_ASSERT_EQUAL(store_commit(s), 0);
	CU_ASSERT_EQUAL(e.n_committed, 2);
	CU_ASSERT_EQUAL(vms_of(s).n, 1);
}

static int see_until(const struct store_task *task, void *userdata)
{
	CU_ASSERT_EQUAL(task->until_ns, *(const uint64_t *)userdata);
	CU_ASSERT_STRING_EQUAL(task->note, "why");
	return 0;
}

static int see_no_wait(const struct store_task *task, void *userdata _unused_)
{
	CU_ASSERT_EQUAL(task->phase, 2);
	CU_ASSERT_EQUAL(task->until_ns, 0);
	CU_ASSERT_STRING_EQUAL(task->note, "");
	return 0;
}

static void test_store__answers_once(void)
{
	WITH_DIR(dir);
	_cleanup_(store_closep) struct store *s = reopen(NULL, dir);

	CU_ASSERT_EQUAL(find(s, id_a, print_a), 1);
	CU_ASSERT_EQUAL(save(s, id_a, print_a, CODE_OK), 0);
	CU_ASSERT_EQUAL(find(s, id_a, print_a), 0);
	CU_ASSERT_EQUAL(find(s, id_a, print_b), 2);
	CU_ASSERT_EQUAL(find(s, id_b, print_a), 1);
	s = reopen(s, dir);
	CU_ASSERT_EQUAL(find(s, id_a, print_a), 0);
	CU_ASSERT_EQUAL(store_purge_answers(s, clock_boot_ns()), 0);
	CU_ASSERT_EQUAL(find(s, id_a, print_a), 0);
	CU_ASSERT_EQUAL(store_purge_answers(s, clock_boot_ns() + 601 * NSEC_PER_SEC), 0);
	CU_ASSERT_EQUAL(find(s, id_a, print_a), 1);
}

static void execute(const char *dir, const char *sql)
{
	char path[128];
	sqlite3 *db;

	snprintf(path, sizeof(path), "%s/ops.db", dir);
	CU_ASSERT_EQUAL(sqlite3_open(path, &db), SQLITE_OK);
	CU_ASSERT_EQUAL(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

/* The store with n answers of others. */
static struct store *crowd(struct store *s, const char *dir, unsigned int n)
{
	char sql[256];

	store_close(s);
	snprintf(sql, sizeof(sql),
		 "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < %u) "
		 "INSERT INTO answers (id, fingerprint, reply, time_ns) "
		 "SELECT CAST(printf('%%016d', n) AS BLOB), x'00', x'00', 1 FROM c",
		 n);
	execute(dir, "DELETE FROM answers");
	execute(dir, sql);
	return reopen(NULL, dir);
}

static void test_store__refusals_leave_room_for_changes(void)
{
	WITH_DIR(dir);
	_cleanup_(store_closep) struct store *s = crowd(reopen(NULL, dir), dir,
							OPS_ANSWERS_MAX / 2 - 1);

	CU_ASSERT_EQUAL(save(s, id_a, print_a, CODE_NOT_FOUND), 0);
	CU_ASSERT_EQUAL(find(s, id_a, print_a), 0);
	CU_ASSERT_EQUAL(save(s, id_b, print_b, CODE_NOT_FOUND), 0);
	CU_ASSERT_EQUAL(find(s, id_b, print_b), 1);
	CU_ASSERT_EQUAL(save(s, id_b, print_b, CODE_OK), 0);
	CU_ASSERT_EQUAL(find(s, id_b, print_b), 0);
}

static void test_store__too_many_answers_change_nothing(void)
{
	WITH_DIR(dir);
	_cleanup_(store_closep) struct store *s = crowd(reopen(NULL, dir), dir,
							OPS_ANSWERS_MAX - 1);
	struct ended e = { 0 };

	CU_ASSERT_EQUAL(save(s, id_a, print_a, CODE_OK), 0);
	CU_ASSERT_EQUAL(store_begin(s), 0);
	CU_ASSERT_EQUAL(store_vm_put(s, "u1", "one", 3, STORE_DESIRED_UNKNOWN), 0);
	CU_ASSERT_EQUAL(store_on_end(s, on_end, &e), 0);
	CU_ASSERT_EQUAL(save(s, id_b, print_b, CODE_OK), 1);
	CU_ASSERT_EQUAL(e.n_rolled_back, 1);
	CU_ASSERT(!store_is_in_transaction(s));
	CU_ASSERT_EQUAL(vms_of(s).n, 0);
	CU_ASSERT_EQUAL(find(s, id_a, print_a), 0);
	CU_ASSERT_EQUAL(find(s, id_b, print_b), 1);
}

static void test_store__answers_outlive_steps_of_the_clock(void)
{
	static const int64_t steps[] = { 86400, -86400, 700, -700 };
	WITH_DIR(dir);
	_cleanup_(store_closep) struct store *s = reopen(NULL, dir);

	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		CU_ASSERT_EQUAL(save(s, id_a, print_a, CODE_OK), 0);
		real_step_s = steps[i];
		CU_ASSERT_EQUAL(store_purge_answers(s, clock_boot_ns()), 0);
		CU_ASSERT_EQUAL(find(s, id_a, print_a), 0);
		s = reopen(s, dir);
		CU_ASSERT_EQUAL(store_purge_answers(s, clock_boot_ns() + 599 * NSEC_PER_SEC), 0);
		CU_ASSERT_EQUAL(find(s, id_a, print_a), 0);
		CU_ASSERT_EQUAL(store_purge_answers(s, clock_boot_ns() + 601 * NSEC_PER_SEC), 0);
		CU_ASSERT_EQUAL(find(s, id_a, print_a), 1);
	}
	real_step_s = 0;
}

/* Answers of another boot have another clock, those of the first schema had the wall clock. */
static void test_store__answers_outlive_a_boot(void)
{
	static const char *const boots[] = {
		"UPDATE answers SET boot = 'other', time_ns = 1",
		"UPDATE answers SET boot = 'other', time_ns = 9000000000000000000",
		"UPDATE answers SET boot = '', time_ns = 1700000000000000000",
	};
	WITH_DIR(dir);
	_cleanup_(store_closep) struct store *s = reopen(NULL, dir);

	for (size_t i = 0; i < ARRAY_LEN(boots); i++) {
		CU_ASSERT_EQUAL(save(s, id_a, print_a, CODE_OK), 0);
		store_close(s);
		execute(dir, boots[i]);
		s = reopen(NULL, dir);
		CU_ASSERT_EQUAL(store_purge_answers(s, clock_boot_ns()), 0);
		CU_ASSERT_EQUAL(find(s, id_a, print_a), 0);
		CU_ASSERT_EQUAL(store_purge_answers(s, clock_boot_ns() + 601 * NSEC_PER_SEC), 0);
		CU_ASSERT_EQUAL(find(s, id_a, print_a), 1);
	}
}

/* As the version before wrote it. */
static void test_store__takes_over_an_older_schema(void)
{
	WITH_DIR(dir);
	_cleanup_(store_closep) struct store *s = NULL;
	struct bus_dedup d;
	uint8_t *reply = NULL;
	size_t len = 0;

	execute(dir,
		"PRAGMA application_id = 2020437872; PRAGMA user_version = 2;"
		"CREATE TABLE vms (uuid TEXT PRIMARY KEY, config BLOB NOT NULL, desired INTEGER "
		"NOT "
		"NULL);"
		"CREATE TABLE tasks (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL "
		"UNIQUE,"
		" phase INTEGER NOT NULL, timeout_s INTEGER NOT NULL, is_forced INTEGER NOT NULL,"
		" is_paused INTEGER NOT NULL, domid INTEGER NOT NULL, task BLOB NOT NULL,"
		" is_cancelled INTEGER NOT NULL DEFAULT 0);"
		"CREATE TABLE answers (id BLOB PRIMARY KEY, fingerprint BLOB NOT NULL,"
		" reply BLOB NOT NULL, time_ns INTEGER NOT NULL);"
		"CREATE INDEX answers_by_time ON answers (time_ns);"
		"INSERT INTO vms VALUES ('u1', x'01', 1);"
		"INSERT INTO tasks VALUES (1, 't', 2, 60, 0, 0, 7, x'01', 0);"
		"INSERT INTO answers VALUES (x'61616161616161616161616161616100',"
		" x'41414141414141414141414141414100', x'0102', 1700000000000000000);");
	s = reopen(NULL, dir);
	CU_ASSERT_PTR_NULL(store_fault(s));
	CU_ASSERT_EQUAL(vms_of(s).n, 1);
	CU_ASSERT_EQUAL(store_task_each(s, see_no_wait, NULL), 0);
	CU_ASSERT_EQUAL(store_purge_answers(s, clock_boot_ns()), 0);
	d = store_dedup(s);
	CU_ASSERT_EQUAL(d.find(d.userdata, id_a, print_a, &reply, &len), 0);
	CU_ASSERT_EQUAL(len, 2);
	free(reply);
}

/* Waits of this boot stay, those of another mean nothing. */
static void test_store__tasks_of_another_boot_wait_no_more(void)
{
	const struct store_task task = { .id = "t",
					 .until_ns = 4711,
					 .note = "why",
					 .task = (const uint8_t *)"x",
					 .task_len = 1 };
	WITH_DIR(dir);
	_cleanup_(store_closep) struct store *s = reopen(NULL, dir);

	CU_ASSERT_EQUAL(store_task_put(s, &task), 0);
	s = reopen(s, dir);
	CU_ASSERT_EQUAL(store_task_each(s, see_until, &(uint64_t){ 4711 }), 0);
	store_close(s);
	execute(dir, "UPDATE tasks SET boot = 'other'");
	s = reopen(NULL, dir);
	CU_ASSERT_EQUAL(store_task_each(s, see_until, &(uint64_t){ 0 }), 0);
}

static void test_store__answer_and_change_are_one(void)
{
	WITH_DIR(dir);
	_cleanup_(store_closep) struct store *s = reopen(NULL, dir);
	struct ended e = { 0 };

	CU_ASSERT_EQUAL(store_begin(s), 0);
	CU_ASSERT_EQUAL(store_vm_put(s, "u1", "one", 3, STORE_DESIRED_UNKNOWN), 0);
	CU_ASSERT_EQUAL(store_on_end(s, on_end, &e), 0);
	CU_ASSERT_EQUAL(save(s, id_a, print_a, CODE_OK), 0);
	CU_ASSERT_EQUAL(e.n_committed, 1);
	CU_ASSERT(!store_is_in_transaction(s));
	s = reopen(s, dir);
	CU_ASSERT_EQUAL(vms_of(s).n, 1);
	CU_ASSERT_EQUAL(find(s, id_a, print_a), 0);
}

static void test_store__refusals_change_nothing(void)
{
	WITH_DIR(dir);
	_cleanup_(store_closep) struct store *s = reopen(NULL, dir);
	struct ended e = { 0 };

	CU_ASSERT_EQUAL(store_begin(s), 0);
	CU_ASSERT_EQUAL(store_vm_put(s, "u1", "one", 3, STORE_DESIRED_UNKNOWN), 0);
	CU_ASSERT_EQUAL(store_on_end(s, on_end, &e), 0);
	CU_ASSERT_EQUAL(save(s, id_a, print_a, CODE_NOT_FOUND), 0);
	CU_ASSERT_EQUAL(e.n_rolled_back, 1);
	CU_ASSERT_EQUAL(vms_of(s).n, 0);
	CU_ASSERT_EQUAL(find(s, id_a, print_a), 0); /* stays refused */
	CU_ASSERT_EQUAL(save(s, id_b, print_b, CODE_UNAVAILABLE), 0);
	CU_ASSERT_EQUAL(find(s, id_b, print_b), 1); /* may be tried again */
}

static void test_store__survives_a_full_disk(void)
{
	WITH_DIR(dir);
	_cleanup_(store_closep) struct store *s = reopen(NULL, dir);
	struct ended e = { 0 };
	int r;

	CU_ASSERT_EQUAL(store_vm_put(s, "u1", "one", 3, STORE_DESIRED_UNKNOWN), 0);
	CU_ASSERT_EQUAL(store_begin(s), 0);
	CU_ASSERT_EQUAL(store_vm_put(s, "u2", "two", 3, STORE_DESIRED_UNKNOWN), 0);
	CU_ASSERT_EQUAL(store_on_end(s, on_end, &e), 0);
	CU_ASSERT_EQUAL(store_flush(s), 0);
	CU_ASSERT_EQUAL(store_vm_put(s, "u3", "three", 5, STORE_DESIRED_UNKNOWN), 0);
	broken.write = SQLITE_FULL;
	CU_ASSERT_EQUAL(store_flush(s), -ENOSPC);
	CU_ASSERT_PTR_NOT_NULL(strstr(store_error(s), "full): free some space"));
	CU_ASSERT_EQUAL(e.n_rolled_back, 0);
	r = save(s, id_a, print_a, CODE_OK);
	CU_ASSERT_EQUAL(r, -ENOSPC);
	CU_ASSERT_EQUAL(store_error_code(r), CODE_RESOURCE_EXHAUSTED);
	CU_ASSERT_PTR_NOT_NULL(strstr(store_error(s), "full): free some space"));
	CU_ASSERT_EQUAL(e.n_rolled_back, 1);
	CU_ASSERT_EQUAL(vms_of(s).n, 1); /* reading goes on */
	CU_ASSERT_EQUAL(find(s, id_a, print_a), 1);
	CU_ASSERT_EQUAL(store_vm_put(s, "u2", "two", 3, STORE_DESIRED_UNKNOWN), -ENOSPC);
	CU_ASSERT_EQUAL(save(s, id_b, print_b, CODE_NOT_FOUND), 0);
	CU_ASSERT_PTR_NULL(store_fault(s));
	broken.write = 0; /* space was made: it works again, without a restart */
	CU_ASSERT_EQUAL(store_vm_put(s, "u2", "two", 3, STORE_DESIRED_UNKNOWN), 0);
	CU_ASSERT_EQUAL(vms_of(s).n, 2);
}

/* Reading needs room, too, for the index of the WAL. */
static void test_store__starts_on_a_full_disk(void)
{
	WITH_DIR(dir);
	_cleanup_(store_closep) struct store *s = reopen(NULL, dir);

	CU_ASSERT_EQUAL(store_vm_put(s, "u1", "one", 3, STORE_DESIRED_UNKNOWN), 0);
	s = store_close(s);
	broken.map = SQLITE_IOERR_SHMSIZE;
	broken.write = SQLITE_FULL;
	s = reopen(s, dir);
	CU_ASSERT_EQUAL(vms_of(s).n, 1);
	CU_ASSERT_EQUAL(store_vm_put(s, "u2", "two", 3, STORE_DESIRED_UNKNOWN), -ENOSPC);
	CU_ASSERT_PTR_NULL(store_fault(s));
	broken.map = broken.write = 0; /* space was made */
	CU_ASSERT_EQUAL(store_vm_put(s, "u2", "two", 3, STORE_DESIRED_UNKNOWN), 0);
	s = reopen(s, dir);
	CU_ASSERT_EQUAL(vms_of(s).n, 2);
}

static void test_store__survives_a_failed_sync(void)
{
	WITH_DIR(dir);
	_cleanup_(store_closep) struct store *s = reopen(NULL, dir);
	int r;

	CU_ASSERT_EQUAL(store_vm_put(s, "u1", "one", 3, STORE_DESIRED_UNKNOWN), 0);
	broken.sync = SQLITE_IOERR_FSYNC;
	r = store_vm_put(s, "u2", "two", 3, STORE_DESIRED_UNKNOWN);
	CU_ASSERT_EQUAL(r, -EIO);
	CU_ASSERT_EQUAL(store_error_code(r), CODE_INTERNAL);
	CU_ASSERT_EQUAL(vms_of(s).n, 1);
	broken.sync = 0;
	CU_ASSERT_EQUAL(store_vm_put(s, "u2", "two", 3, STORE_DESIRED_UNKNOWN), 0);
	s = reopen(s, dir);
	CU_ASSERT_EQUAL(vms_of(s).n, 2);
}

static void test_store__reads_what_it_may_not_write(void)
{
	WITH_DIR(dir);
	_cleanup_(store_closep) struct store *s = reopen(NULL, dir);

	CU_ASSERT_EQUAL(store_vm_put(s, "u1", "one", 3, STORE_DESIRED_UNKNOWN), 0);
	s = store_close(s);
	broken.open = SQLITE_CANTOPEN;
	s = reopen(s, dir);
	check_fault(s, "write access");
	CU_ASSERT_EQUAL(store_begin(s), -EROFS);
	CU_ASSERT_EQUAL(store_vm_put(s, "u2", "two", 3, STORE_DESIRED_UNKNOWN), -EROFS);
	CU_ASSERT_STRING_EQUAL(store_error(s), store_fault(s));
	CU_ASSERT_EQUAL(find(s, id_a, print_a), 1);
	CU_ASSERT(save(s, id_a, print_a, CODE_OK) < 0);
}

/* Nothing can be made beside the file. */
static void test_store__reads_from_a_disk_that_is_read_only(void)
{
	WITH_DIR(dir);
	_cleanup_(store_closep) struct store *s = reopen(NULL, dir);

	CU_ASSERT_EQUAL(store_vm_put(s, "u1", "one", 3, STORE_DESIRED_UNKNOWN), 0);
	s = store_close(s);
	broken.open = broken.map = SQLITE_CANTOPEN;
	s = reopen(s, dir);
	check_fault(s, "write access");
	CU_ASSERT_EQUAL(vms_of(s).n, 1);
	CU_ASSERT_EQUAL(store_vm_put(s, "u2", "two", 3, STORE_DESIRED_UNKNOWN), -EROFS);
}

static void write_file(const char *dir, const char *text, off_t at)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/ops.db", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	CU_ASSERT_EQUAL(pwrite(fd, text, strlen(text), at), (ssize_t)strlen(text));
	close(fd);
}

static bool file_starts_with(const char *dir, const char *text)
{
	char path[128], data[64] = "";
	int fd;

	snprintf(path, sizeof(path), "%s/ops.db", dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CU_ASSERT(read(fd, data, sizeof(data) - 1) > 0);
	close(fd);
	return str_starts(data, text);
}

static void test_store__leaves_foreign_files_alone(void)
{
	WITH_DIR(dir);
	_cleanup_(store_closep) struct store *s = NULL;

	write_file(dir,
		   "this is no database at all, but it is longer than a header of one....."
		   "...............................................................",
		   0);
	s = reopen(NULL, dir);
	CU_ASSERT_PTR_NOT_NULL(store_fault(s));
	CU_ASSERT(store_begin(s) < 0);
	CU_ASSERT(store_vm_each(s, see_vm, NULL) < 0);
	store_close(STEAL(s));
	CU_ASSERT(file_starts_with(dir, "this is no database"));
}

static void test_store__leaves_damaged_files_alone(void)
{
	WITH_DIR(dir);
	_cleanup_(store_closep) struct store *s = reopen(NULL, dir);
	char junk[2000];

	for (int i = 0; i < 200; i++) {
		char uuid[16], config[600];

		memset(config, 'x', sizeof(config));
		snprintf(uuid, sizeof(uuid), "u%d", i);
		CU_ASSERT_EQUAL(store_vm_put(s, uuid, config, sizeof(config), 0), 0);
	}
	store_close(STEAL(s));
	memset(junk, 'j', sizeof(junk) - 1);
	junk[sizeof(junk) - 1] = '\0';
	for (off_t page = 2; page < 20; page++) {
		write_file(dir, junk, page * 4096);
	}
	s = reopen(NULL, dir);
	check_fault(s, "restore the file from a backup");
	CU_ASSERT(store_begin(s) < 0);
}

static void test_store__refuses_a_newer_schema(void)
{
	WITH_DIR(dir);
	_cleanup_(store_closep) struct store *s = reopen(NULL, dir);
	char path[128];
	sqlite3 *db;

	store_close(STEAL(s));
	snprintf(path, sizeof(path), "%s/ops.db", dir);
	CU_ASSERT_EQUAL(sqlite3_open(path, &db), SQLITE_OK);
	CU_ASSERT_EQUAL(sqlite3_exec(db, "PRAGMA user_version = 99", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	s = reopen(NULL, dir);
	check_fault(s, "newer xenmesh-ops");
	CU_ASSERT(store_begin(s) < 0);
}

static void test_store__has_one_owner(void)
{
	WITH_DIR(dir);
	_cleanup_(store_closep) struct store *s = reopen(NULL, dir);
	struct store *other = NULL;

	CU_ASSERT_EQUAL(store_open(&other, dir), -EBUSY);
	CU_ASSERT(store_open(&other, "/nonexistent/dir") < 0);
}

/* Commits until it is killed; tells each commit after it. */
static void commit_for_ever(const char *dir, int out)
{
	struct store *s = NULL;
	char uuid[16];

	if (store_open(&s, dir) < 0) {
		_exit(1);
	}
	for (int i = 0;; i++) {
		snprintf(uuid, sizeof(uuid), "%08d", i);
		if (store_begin(s) < 0 || store_vm_put(s, uuid, "x", 1, 0) < 0 ||
		    put_task(s, uuid, 0, "x") < 0 || store_commit(s) < 0 ||
		    write(out, &i, sizeof(i)) != sizeof(i)) {
			_exit(1);
		}
	}
}

static void test_store__loses_nothing_when_killed(void)
{
	for (int round = 0; round < 5; round++) {
		WITH_DIR(dir);
		_cleanup_(store_closep) struct store *s = NULL;
		int fds[2], status, last = -1, i;
		pid_t child;

		CU_ASSERT_EQUAL(pipe2(fds, O_CLOEXEC), 0);
		child = fork();
		if (child == 0) {
			commit_for_ever(dir, fds[1]);
		}
		close(fds[1]);
		while (last < 20 + 7 * round && read(fds[0], &i, sizeof(i)) == sizeof(i)) {
			last = i;
		}
		kill(child, SIGKILL);
		while (read(fds[0], &i, sizeof(i)) == sizeof(i)) {
			last = i;
		}
		waitpid(child, &status, 0);
		CU_ASSERT(WIFSIGNALED(status));
		close(fds[0]);
		s = reopen(NULL, dir);
		CU_ASSERT_PTR_NULL(store_fault(s));
		CU_ASSERT(vms_of(s).n >= (unsigned int)last + 1);
		CU_ASSERT_EQUAL(vms_of(s).n, tasks_of(s).n); /* both or none */
	}
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_store__keeps_definitions),
		UNIT_TEST(test_store__keeps_tasks_in_order),
		UNIT_TEST(test_store__rolls_back),
		UNIT_TEST(test_store__answers_once),
		UNIT_TEST(test_store__refusals_leave_room_for_changes),
		UNIT_TEST(test_store__too_many_answers_change_nothing),
		UNIT_TEST(test_store__answers_outlive_steps_of_the_clock),
		UNIT_TEST(test_store__answers_outlive_a_boot),
		UNIT_TEST(test_store__takes_over_an_older_schema),
		UNIT_TEST(test_store__tasks_of_another_boot_wait_no_more),
		UNIT_TEST(test_store__answer_and_change_are_one),
		UNIT_TEST(test_store__refusals_change_nothing),
		UNIT_TEST(test_store__survives_a_full_disk),
		UNIT_TEST(test_store__starts_on_a_full_disk),
		UNIT_TEST(test_store__survives_a_failed_sync),
		UNIT_TEST(test_store__reads_what_it_may_not_write),
		UNIT_TEST(test_store__reads_from_a_disk_that_is_read_only),
		UNIT_TEST(test_store__leaves_foreign_files_alone),
		UNIT_TEST(test_store__leaves_damaged_files_alone),
		UNIT_TEST(test_store__refuses_a_newer_schema),
		UNIT_TEST(test_store__has_one_owner),
		UNIT_TEST(test_store__loses_nothing_when_killed),
	};

	log_set_sink(log_swallow);
	install_shim();
	return unit_run("ops_store", tests, ARRAY_LEN(tests));
}
