/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <ftw.h>
#include <sqlite3.h>
#include <stdio.h>

#include "libcommon/clock.h"
#include "services/ops/core/limits.h"
#include "services/ops/core/tasks.h"
#include "tests/unit/log_util.h"
#include "tests/unit/ops_events.h"
#include "tests/unit/unit.h"

#define UUID_A "aaaaaaaa-0000-4000-8000-000000000001"

struct fixture {
	char dir[64];
	sd_event *loop;
	struct store *store;
	struct topic_table topics;
	struct tasks tasks;
	unsigned int n_active;
};

static void open_tasks(struct fixture *f)
{
	struct events events = topics_events(&f->topics);

	CU_ASSERT_EQUAL(store_open(&f->store, f->dir), 0);
	CU_ASSERT_EQUAL(tasks_init(&f->tasks, f->loop, f->store, &events), 0);
}

static void close_tasks(struct fixture *f)
{
	tasks_deinit(&f->tasks);
	f->store = store_close(f->store);
}

static void set_up(struct fixture *f)
{
	*f = (struct fixture){ .dir = "/tmp/xenmesh-tasks-XXXXXX" };
	if (!mkdtemp(f->dir)) {
		abort();
	}
	CU_ASSERT_EQUAL(sd_event_new(&f->loop), 0);
	open_tasks(f);
}

static int remove_one(const char *path, const struct stat *st _unused_, int flag _unused_,
		      struct FTW *ftw _unused_)
{
	return remove(path);
}

static void tear_down(struct fixture *f)
{
	close_tasks(f);
	topics_deinit(&f->topics);
	sd_event_unref(f->loop);
	nftw(f->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

#define WITH_FIXTURE(f)                        \
	_cleanup_(tear_down) struct fixture f; \
	set_up(&f)

static void on_active(struct task *task _unused_, void *userdata)
{
	((struct fixture *)userdata)->n_active++;
}

static void reload(struct fixture *f)
{
	close_tasks(f);
	open_tasks(f);
	f->n_active = 0;
	CU_ASSERT_EQUAL(tasks_load(&f->tasks, on_active, f), 0);
}

#define TRACE_ID    "4bf92f3577b34da6a3ce929d0e0e4736"
#define TRACEPARENT "00-" TRACE_ID "-00f067aa0ba902b7-01"

static struct task *make(struct fixture *f)
{
	const struct task_origin origin = { .client = "test uid=0", .traceparent = TRACEPARENT };
	struct task *task = tasks_new(&f->tasks, TASK_START, UUID_A, "web", &origin);

	CU_ASSERT_EQUAL(task_save(task), 0);
	tasks_show(task);
	return task;
}

static struct topic_record *topic(struct fixture *f, const char *id)
{
	char name[64];

	snprintf(name, sizeof(name), "task/%s", id);
	return topics_get(&f->topics, name);
}

static void test_tasks__are_published_as_they_go(void)
{
	WITH_FIXTURE(f);
	struct task *task = make(&f);
	struct topic_record *r = topic(&f, task->id);

	CU_ASSERT_EQUAL(r->event->task->state, TASK_PENDING);
	CU_ASSERT_STRING_EQUAL(r->event->task->method, "StartVm");
	CU_ASSERT_STRING_EQUAL(r->event->task->vm, UUID_A);
	CU_ASSERT_STRING_EQUAL(r->event->task->vm_name, "web");
	CU_ASSERT_STRING_EQUAL(r->event->task->client, "test uid=0");
	CU_ASSERT_EQUAL(r->event->task->request_id.len, 0);
	CU_ASSERT(r->event->task->created_ns > 0);
	CU_ASSERT(r->event->task->cancellable);
	task_set_running(task);
	CU_ASSERT_EQUAL(r->event->task->state, TASK_RUNNING);
	task_add_log(task, "it said so");
	task_end(task, TASK_FAILED, CODE_INTERNAL, "broken");
	CU_ASSERT_EQUAL(r->event->task->state, TASK_FAILED);
	CU_ASSERT_EQUAL(r->event->task->error->code, CODE_INTERNAL);
	CU_ASSERT_STRING_EQUAL(r->event->task->error->message, "broken");
	CU_ASSERT_EQUAL(r->event->task->error->n_log, 1);
	CU_ASSERT(!r->event->task->cancellable);
}

static struct strbuf sunk;

static void sink(enum log_level level _unused_, const char *message, const struct log_field *fields,
		 size_t n_fields)
{
	strbuf_printf(&sunk, "%s|", message);
	for (size_t i = 0; i < n_fields; i++) {
		if (!streq(fields[i].name, "XENMESH_DURATION_US") &&
		    !streq(fields[i].name, "TASK")) {
			strbuf_printf(&sunk, "%s=%s|", fields[i].name, fields[i].value);
		}
	}
	strbuf_putc(&sunk, '\n');
}

/* One line when it ends, and the trace is that of the call, also after a restart. */
static void test_tasks__trace_and_audit(void)
{
	static const uint8_t request_id[16] = { 0xab, [15] = 0xcd };
	const struct task_origin origin = {
		.client = "test uid=0",
		.request_id = request_id,
		.traceparent = TRACEPARENT,
	};
	const struct task_origin itself = { .client = "policy", .traceparent = "junk" };
	WITH_FIXTURE(f);
	struct task *task = tasks_new(&f.tasks, TASK_PAUSE, UUID_A, "we\nb", &origin);
	struct task *own = tasks_new(&f.tasks, TASK_POLICY_DESTROY, UUID_A, "web", &itself);
	struct trace_scope scope;
	char id[37];

	memcpy(id, task->id, sizeof(id));
	CU_ASSERT_EQUAL(task_save(task), 0);
	tasks_show(task);
	CU_ASSERT_STRING_EQUAL(topic(&f, id)->event->task->traceparent, TRACEPARENT);
	CU_ASSERT(traceparent_is_valid(own->traceparent));
	tasks_discard(own);
	reload(&f);
	task = map_get_str(&f.tasks.by_id, id);
	CU_ASSERT_PTR_NOT_NULL(task);
	if (!task) {
		return;
	}
	CU_ASSERT_STRING_EQUAL(task->traceparent, TRACEPARENT);
	log_set_sink(sink);
	task_enter(task, &scope);
	log_warning("at work");
	trace_leave(&scope);
	task_end(task, TASK_FAILED, CODE_INTERNAL, "broken");
	log_set_sink(NULL);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&sunk),
			       "at work|TRACE_ID=" TRACE_ID "|\n"
			       "PauseVm of we\\x0ab by test uid=0: failed: broken|"
			       "MESSAGE_ID=c56d3adc46b24b57a46abb0423e92fc8|XENMESH_METHOD=PauseVm|"
			       "XENMESH_OBJECT=we\\x0ab|XENMESH_OBJECT_ID=" UUID_A "|"
			       "XENMESH_OUTCOME=failed|XENMESH_RESULT=INTERNAL|"
			       "XENMESH_REQUEST_ID=ab0000000000000000000000000000cd|"
			       "TRACE_ID=" TRACE_ID "|XENMESH_CLIENT=test uid=0|"
			       "XENMESH_REASON=broken|\n");
	strbuf_deinit(&sunk);
}

static void test_tasks__invisible_until_shown(void)
{
	WITH_FIXTURE(f);
	const struct task_origin origin = { .client = "test" };
	struct task *task = tasks_new(&f.tasks, TASK_START, UUID_A, "web", &origin);
	char id[37];

	memcpy(id, task->id, sizeof(id));
	CU_ASSERT_PTR_NULL(topic(&f, id)->event);
	CU_ASSERT_PTR_NULL(tasks_discard(task));
	reload(&f);
	CU_ASSERT_EQUAL(f.n_active, 0);
}

static void test_tasks__progress_is_throttled(void)
{
	WITH_FIXTURE(f);
	struct task *task = make(&f);
	struct topic_record *r = topic(&f, task->id);
	uint64_t began = clock_boot_ns(), now = began;
	unsigned int n = 0, allowed;
	char step[32];

	task_set_running(task);
	while (now - began < 900 * NSEC_PER_MSEC) {
		task_set_progress(task, (double)(now - began) / 1e9);
		snprintf(step, sizeof(step), "step %u", n++);
		task_set_step(task, step);
		sd_event_run(f.loop, 1000);
		now = clock_boot_ns();
	}
	/* pending, running, then at most one in 200 ms */
	allowed = 3 + (unsigned int)((now - began) / (OPS_TASK_PUBLISH_MS * NSEC_PER_MSEC));
	CU_ASSERT(n > 50);
	CU_ASSERT(r->n_published >= 5);
	CU_ASSERT(r->n_published <= allowed);
	while (strcmp(r->event->task->step, step) != 0 && now - began < 5 * NSEC_PER_SEC) {
		sd_event_run(f.loop, 10000); /* the last one is not lost */
		now = clock_boot_ns();
	}
	CU_ASSERT_STRING_EQUAL(r->event->task->step, step);
	task_set_progress(task, 0.1); /* never backwards, never nonsense */
	task_set_progress(task, 7.0);
	CU_ASSERT(task->progress > 0.5 && task->progress <= 1.0);
}

static void test_tasks__texts_are_bounded(void)
{
	WITH_FIXTURE(f);
	struct task *task = make(&f);
	char text[5000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	for (int i = 0; i < 60; i++) {
		task_add_log(task, text);
	}
	CU_ASSERT_EQUAL(task->n_log, OPS_TASK_LOG_LINES);
	CU_ASSERT_EQUAL(strlen(task->log[0]), OPS_TASK_LOG_LINE_MAX);
	task_set_step(task, text);
	CU_ASSERT_EQUAL(strlen(task->step), OPS_TASK_TEXT_MAX);
	task_end(task, TASK_FAILED, CODE_INTERNAL, text);
	CU_ASSERT_EQUAL(strlen(task->message), OPS_TASK_TEXT_MAX);
}

static void test_tasks__are_found(void)
{
	WITH_FIXTURE(f);
	_cleanup_(strbuf_deinit) struct strbuf error = STRBUF_NULL;
	struct task *a = make(&f), *b = make(&f), *found;
	char prefix[37];

	memcpy(b->id, a->id, 8); /* the map knows the old id; the prefix search does not use it */
	CU_ASSERT_EQUAL(tasks_find(&f.tasks, a->id, &found, &error), 0);
	CU_ASSERT_PTR_EQUAL(found, a);
	snprintf(prefix, sizeof(prefix), "%.8s", a->id);
	CU_ASSERT_EQUAL(tasks_find(&f.tasks, prefix, &found, &error), 2);
	CU_ASSERT_PTR_NULL(found);
	snprintf(prefix, sizeof(prefix), "%.13s", a->id);
	CU_ASSERT_EQUAL(tasks_find(&f.tasks, prefix, &found, &error), 0);
	CU_ASSERT_PTR_EQUAL(found, a);
	snprintf(prefix, sizeof(prefix), "%.3s", a->id);
	strbuf_reset(&error);
	CU_ASSERT_EQUAL(tasks_find(&f.tasks, prefix, &found, &error), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(strbuf_str(&error), "too short"));
	CU_ASSERT_EQUAL(tasks_find(&f.tasks, "", &found, &error), 1);
	CU_ASSERT_EQUAL(tasks_find(&f.tasks, "zzzzzz", &found, &error), 1);
	CU_ASSERT_EQUAL(
		tasks_find(&f.tasks, "01234567-0123-0123-0123-0123456789012345678", &found, &error),
		1);
}

struct waiting {
	struct task_waiter waiter;
	unsigned int n;
	int state;
};

static void on_ended(struct task_waiter *w, struct task *task)
{
	struct waiting *waiting = container_of(w, struct waiting, waiter);

	waiting->n++;
	waiting->state = task->state;
}

static void test_tasks__tell_waiters(void)
{
	WITH_FIXTURE(f);
	struct task *task = make(&f);
	struct waiting a = { .waiter.fn = on_ended }, b = { .waiter.fn = on_ended };

	task_wait(task, &a.waiter);
	task_wait(task, &b.waiter);
	list_unlink(&b.waiter.list); /* it does not want to know any more */
	task_end(task, TASK_DONE, CODE_OK, "");
	CU_ASSERT_EQUAL(a.n, 1);
	CU_ASSERT_EQUAL(a.state, TASK_DONE);
	CU_ASSERT_EQUAL(b.n, 0);
}

static void test_tasks__survive(void)
{
	WITH_FIXTURE(f);
	struct task *task = make(&f), *other = make(&f);
	struct task *found = NULL;
	char id[37];

	memcpy(id, task->id, sizeof(id));
	task->timeout_s = 77;
	task->is_forced = true;
	task->phase = 3;
	task->target_domid = 9;
	task_set_running(task);
	CU_ASSERT_EQUAL(task_save(task), 0);
	task_end(other, TASK_CANCELLED, CODE_ABORTED, "overtaken");
	reload(&f);
	CU_ASSERT_EQUAL(f.n_active, 1);
	found = map_get_str(&f.tasks.by_id, id);
	CU_ASSERT_PTR_NOT_NULL(found);
	if (found) {
		CU_ASSERT_EQUAL(found->state, TASK_RUNNING);
		CU_ASSERT_EQUAL(found->timeout_s, 77);
		CU_ASSERT(found->is_forced);
		CU_ASSERT(!found->is_paused);
		CU_ASSERT_EQUAL(found->phase, 3);
		CU_ASSERT_EQUAL(found->target_domid, 9);
	}
}

static void test_tasks__ended_as_saved_before(void)
{
	WITH_FIXTURE(f);
	struct task *task = make(&f);
	struct task *found;
	char id[37];

	memcpy(id, task->id, sizeof(id));
	CU_ASSERT_EQUAL(task_save_ended(task, TASK_CANCELLED, CODE_ABORTED, "overtaken"), 0);
	CU_ASSERT_EQUAL(task->state, TASK_PENDING);
	reload(&f); /* killed right after the commit */
	found = map_get_str(&f.tasks.by_id, id);
	CU_ASSERT_PTR_NOT_NULL(found);
	CU_ASSERT_EQUAL(found ? found->state : -1, TASK_CANCELLED);
	CU_ASSERT_STRING_EQUAL(found ? found->message : "", "overtaken");
	CU_ASSERT_EQUAL(f.n_active, 0);
}

static void test_tasks__old_ones_go(void)
{
	WITH_FIXTURE(f);
	struct task *active = make(&f), *task = NULL;
	struct topic_record *first = NULL;
	unsigned int n_removed = 0;

	CU_ASSERT_EQUAL(store_begin(f.store), 0); /* one sync instead of thousands */
	for (int i = 0; i < OPS_TASKS_KEPT + 200; i++) {
		task = make(&f);
		first = first ? first : topic(&f, task->id);
		task_end(task, TASK_DONE, CODE_OK, "");
	}
	CU_ASSERT_EQUAL(store_commit(f.store), 0);
	task = make(&f);
	task_end(task, TASK_DONE, CODE_OK, "");
	CU_ASSERT_EQUAL(f.tasks.n_ended, OPS_TASKS_KEPT);
	CU_ASSERT_EQUAL(f.tasks.n_active, 1);
	CU_ASSERT_EQUAL(first->n_removed, 1);
	for (struct map_iter i = map_begin(&f.topics.topics); map_next(&f.topics.topics, &i);) {
		n_removed += ((struct topic_record *)i.value)->n_removed;
	}
	CU_ASSERT_EQUAL(n_removed, 201);
	CU_ASSERT_PTR_NOT_NULL(topic(&f, active->id)->event);
	reload(&f);
	CU_ASSERT_EQUAL(map_size(&f.tasks.by_id), OPS_TASKS_KEPT + 1);
}

static void test_tasks__go_after_an_hour(void)
{
	WITH_FIXTURE(f);
	struct task *task = make(&f);

	task_end(task, TASK_DONE, CODE_OK, "");
	task->finished_ns -= (OPS_TASK_KEPT_S + 1) * NSEC_PER_SEC;
	CU_ASSERT_EQUAL(task_save(task), 0);
	reload(&f);
	CU_ASSERT_EQUAL(map_size(&f.tasks.by_id), 0);
	reload(&f);
	CU_ASSERT_EQUAL(map_size(&f.tasks.by_id), 0);
}

static void test_tasks__end_although_the_journal_fails(void)
{
	WITH_FIXTURE(f);
	struct task *task = make(&f), *found;
	uint64_t until = clock_boot_ns() + 10 * NSEC_PER_SEC;
	char id[37], path[96];
	sqlite3 *other;

	memcpy(id, task->id, sizeof(id));
	/* Another program holds the file: nothing can be written. */
	snprintf(path, sizeof(path), "%s/ops.db", f.dir);
	CU_ASSERT_EQUAL(sqlite3_open(path, &other), SQLITE_OK);
	CU_ASSERT_EQUAL(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	task_end(task, TASK_DONE, CODE_OK, "");
	CU_ASSERT_EQUAL(topic(&f, id)->event->task->state, TASK_DONE);
	CU_ASSERT_EQUAL(f.tasks.n_unsaved, 1);
	CU_ASSERT_EQUAL(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(other);
	while (f.tasks.n_unsaved > 0 && clock_boot_ns() < until) {
		sd_event_run(f.loop, 100000);
	}
	CU_ASSERT_EQUAL(f.tasks.n_unsaved, 0);
	reload(&f);
	found = map_get_str(&f.tasks.by_id, id);
	CU_ASSERT_EQUAL(found ? found->state : -1, TASK_DONE);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_tasks__are_published_as_they_go),
		UNIT_TEST(test_tasks__trace_and_audit),
		UNIT_TEST(test_tasks__invisible_until_shown),
		UNIT_TEST(test_tasks__progress_is_throttled),
		UNIT_TEST(test_tasks__texts_are_bounded),
		UNIT_TEST(test_tasks__are_found),
		UNIT_TEST(test_tasks__tell_waiters),
		UNIT_TEST(test_tasks__survive),
		UNIT_TEST(test_tasks__ended_as_saved_before),
		UNIT_TEST(test_tasks__old_ones_go),
		UNIT_TEST(test_tasks__go_after_an_hour),
		UNIT_TEST(test_tasks__end_although_the_journal_fails),
	};

	log_set_sink(log_swallow);
	return unit_run("ops_tasks", tests, ARRAY_LEN(tests));
}
