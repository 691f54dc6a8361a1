/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The list is by age of creation; the ended ones are purged from its old end.
 */
#include "services/ops/core/tasks.h"

#include <stdio.h>

#include "bus/audit.h"
#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/uuid.h"
#include "services/ops/core/limits.h"
#include "services/ops/core/pb.h"

#define PREFIX_MIN	4
#define PURGE_PERIOD_NS (60 * NSEC_PER_SEC)

static const char *const methods[N_TASK_KINDS] = {
	[TASK_START] = "StartVm",
	[TASK_SHUTDOWN] = "ShutdownVm",
	[TASK_REBOOT] = "RebootVm",
	[TASK_DESTROY] = "DestroyVm",
	[TASK_PAUSE] = "PauseVm",
	[TASK_UNPAUSE] = "UnpauseVm",
	[TASK_POLICY_DESTROY] = "PolicyDestroy",
	[TASK_POLICY_RESTART] = "PolicyRestart",
};

const char *task_method(const struct task *task)
{
	return methods[task->kind];
}

/* ---- making and freeing ---- */

static struct task *task_free(struct task *task)
{
	if (!task) {
		return NULL;
	}
	list_unlink(&task->by_age);
	for (struct list *w; (w = task->waiters.next) && w != &task->waiters;) {
		list_unlink(w);
	}
	sd_event_source_disable_unref(task->publish_timer);
	for (size_t i = 0; i < task->n_log; i++) {
		free(task->log[i]);
	}
	free(task->log);
	free(task->message);
	free(task->step);
	free(task->client);
	free(task->vm_name);
	free(task);
	return NULL;
}

static struct task *make(struct tasks *t)
{
	struct task *task = calloc(1, sizeof(*task));

	if (task) {
		task->tasks = t;
		task->state = TASK_PENDING;
		task->domid = -1;
		task->target_domid = -1;
		list_init(&task->by_age);
		list_init(&task->waiters);
	}
	return task;
}

struct task *tasks_new(struct tasks *t, enum task_kind kind, const char *vm, const char *vm_name,
		       const struct task_origin *origin)
{
	struct task *task = make(t);
	struct uuid u;

	if (!task) {
		return NULL;
	}
	uuid_random(&u);
	uuid_format(&u, task->id);
	task->kind = kind;
	snprintf(task->vm, sizeof(task->vm), "%s", vm);
	task->vm_name = text_clean(vm_name, strlen(vm_name), 128);
	task->client = text_clean(origin->client, strlen(origin->client), 256);
	if (origin->request_id) {
		memcpy(task->request_id, origin->request_id, sizeof(task->request_id));
	}
	if (origin->traceparent && traceparent_is_valid(origin->traceparent)) {
		memcpy(task->traceparent, origin->traceparent, sizeof(task->traceparent));
	} else {
		traceparent_new(task->traceparent);
	}
	task->created_ns = clock_real_ns();
	task->is_cancellable = true;
	return task->vm_name && task->client ? task : task_free(task);
}

struct task *tasks_discard(struct task *task)
{
	return task_free(task);
}

/* ---- what is told ---- */

static bool has_request(const struct task *task)
{
	static const uint8_t no_request[sizeof(task->request_id)];

	return memcmp(task->request_id, no_request, sizeof(no_request)) != 0;
}

void task_fill(const struct task *task, Xenmesh__V1__Task *out, Xenmesh__V1__TaskError *error)
{
	xenmesh__v1__task__init(out);
	xenmesh__v1__task_error__init(error);
	out->id = (char *)task->id;
	out->method = (char *)task_method(task);
	out->vm = (char *)task->vm;
	out->vm_name = task->vm_name;
	out->state = (Xenmesh__V1__TaskState)task->state;
	out->progress = task->progress;
	if (task->step) {
		out->step = task->step;
	}
	out->created_ns = task->created_ns;
	out->started_ns = task->started_ns;
	out->finished_ns = task->finished_ns;
	out->domid = task->domid;
	out->client = task->client;
	out->cancellable = task->is_cancellable && !task_is_ended(task);
	out->traceparent = (char *)task->traceparent;
	if (has_request(task)) {
		out->request_id.data = (uint8_t *)task->request_id;
		out->request_id.len = sizeof(task->request_id);
	}
	if (task->state == TASK_FAILED || task->state == TASK_CANCELLED) {
		out->error = error;
		error->code = (Xenmesh__V1__Code)task->code;
		if (task->message) {
			error->message = task->message;
		}
		error->log = task->log;
		error->n_log = task->n_log;
	}
}

static void topic_of(const struct task *task, char out[static 48])
{
	snprintf(out, 48, "task/%.36s", task->id);
}

static void publish(struct task *task)
{
	Xenmesh__V1__Event event = XENMESH__V1__EVENT__INIT;
	Xenmesh__V1__TaskError error;
	Xenmesh__V1__Task t;
	char topic[48];
	int r;

	task->publish_timer = sd_event_source_disable_unref(task->publish_timer);
	if (!task->is_shown) {
		return;
	}
	task_fill(task, &t, &error);
	event.body_case = XENMESH__V1__EVENT__BODY_TASK;
	event.task = &t;
	topic_of(task, topic);
	task->published_ns = clock_boot_ns();
	r = task->tasks->events.publish(task->tasks->events.userdata, topic, &event);
	if (r < 0) {
		log_warning("task %s cannot be published: %s", task->id, err_text(r));
	}
}

static int on_publish_timer(sd_event_source *s _unused_, uint64_t usec _unused_, void *userdata)
{
	publish(userdata);
	return 0;
}

static void publish_soon(struct task *task)
{
	uint64_t age_us = (clock_boot_ns() - task->published_ns) / 1000;
	uint64_t period_us = OPS_TASK_PUBLISH_MS * USEC_PER_MSEC;

	if (!task->is_shown || task->publish_timer) {
		return;
	}
	if (age_us >= period_us || loop_after(task->tasks->loop, &task->publish_timer,
					      period_us - age_us, on_publish_timer, task) < 0) {
		publish(task);
	}
}

/* ---- journal ---- */

static int save(struct task *task, const Xenmesh__V1__Task *t)
{
	_cleanup_(xfreep) uint8_t *bytes = NULL;
	size_t len;
	int r = pb_pack(&t->base, &bytes, &len);

	if (r < 0) {
		return r;
	}
	return store_task_put(task->tasks->store, &(struct store_task){
							  .id = task->id,
							  .phase = task->phase,
							  .timeout_s = task->timeout_s,
							  .is_forced = task->is_forced,
							  .is_paused = task->is_paused,
							  .is_cancelled = task->is_cancelled,
							  .domid = task->target_domid,
							  .until_ns = task->until_ns,
							  .note = task->note,
							  .task = bytes,
							  .task_len = len,
						  });
}

int task_save(struct task *task)
{
	Xenmesh__V1__TaskError error;
	Xenmesh__V1__Task t;

	task_fill(task, &t, &error);
	return save(task, &t);
}

int task_save_ended(struct task *task, int state, int code, const char *message)
{
	Xenmesh__V1__TaskError error;
	Xenmesh__V1__Task t;

	task_fill(task, &t, &error);
	t.state = (Xenmesh__V1__TaskState)state;
	t.cancellable = false;
	t.finished_ns = clock_real_ns();
	if (state != TASK_DONE) {
		t.error = &error;
		error.code = (Xenmesh__V1__Code)code;
		error.message = (char *)message;
	}
	return save(task, &t);
}

static void set_unsaved(struct task *task, bool is_unsaved)
{
	if (task->is_unsaved != is_unsaved) {
		task->is_unsaved = is_unsaved;
		task->tasks->n_unsaved += is_unsaved ? 1 : -(size_t)1;
	}
}

bool task_save_soon(struct task *task)
{
	int r = task_save(task);

	if (r < 0 && !task->is_unsaved) {
		log_error("task %s is not written yet: %s", task->id,
			  store_error(task->tasks->store));
	}
	set_unsaved(task, r < 0);
	return r == 0;
}

/* ---- changes ---- */

void tasks_show(struct task *task)
{
	struct tasks *t = task->tasks;

	if (map_set_str(&t->by_id, task->id, task, NULL) < 0) {
		log_error("out of memory: task %s cannot be asked for", task->id);
	}
	list_append(&t->by_age, &task->by_age);
	task->is_shown = true;
	t->n_active += task_is_ended(task) ? 0 : 1;
	t->n_ended += task_is_ended(task) ? 1 : 0;
	publish(task);
}

void task_set_running(struct task *task)
{
	if (task->state == TASK_PENDING) {
		task->state = TASK_RUNNING;
		task->started_ns = clock_real_ns();
		publish(task);
	}
}

void task_set_step(struct task *task, const char *step)
{
	if (streq(task->step ? task->step : "", step)) {
		return;
	}
	free(task->step);
	task->step = text_clean(step, strlen(step), OPS_TASK_TEXT_MAX);
	publish_soon(task);
}

void task_set_progress(struct task *task, double progress)
{
	/* Never backwards; also refuses NaN. */
	if (progress > task->progress && progress <= 1.0) {
		task->progress = progress;
		publish_soon(task);
	}
}

void task_add_log(struct task *task, const char *line)
{
	char **grown;
	char *text;

	if (task->n_log >= OPS_TASK_LOG_LINES) {
		return;
	}
	text = text_clean(line, strlen(line), OPS_TASK_LOG_LINE_MAX);
	grown = text ? reallocarray(task->log, task->n_log + 1, sizeof(*grown)) : NULL;
	if (!grown) {
		free(text);
		return;
	}
	task->log = grown;
	task->log[task->n_log++] = text;
}

void task_wait(struct task *task, struct task_waiter *w)
{
	list_append(&task->waiters, &w->list);
}

static void count_end(struct tasks *t, int state)
{
	t->n_active--;
	t->n_ended++;
	t->n_done += state == TASK_DONE ? 1 : 0;
	t->n_failed += state == TASK_FAILED ? 1 : 0;
	t->n_cancelled += state == TASK_CANCELLED ? 1 : 0;
}

void task_enter(const struct task *task, struct trace_scope *scope)
{
	trace_enter(scope, task->traceparent, task->id);
}

static void audit_end(const struct task *task)
{
	audit_write(&(struct audit_line){
		.message_id = AUDIT_ID_TASK,
		.method = task_method(task),
		.object = task->vm_name,
		.object_id = task->vm,
		.outcome = task->state == TASK_DONE	   ? AUDIT_DONE
			   : task->state == TASK_CANCELLED ? AUDIT_CANCELLED
							   : AUDIT_FAILED,
		.code = task->state == TASK_DONE ? CODE_OK : task->code,
		.reason = task->message,
		.client = task->client,
		.duration_us = (task->finished_ns - MIN(task->created_ns, task->finished_ns)) /
			       1000,
		.request_id = has_request(task) ? task->request_id : NULL,
		.traceparent = task->traceparent,
		.task = task->id,
	});
}

static void purge(struct tasks *t);

void task_end(struct task *task, int state, int code, const char *message)
{
	struct tasks *t = task->tasks;

	task->state = state;
	task->finished_ns = clock_real_ns();
	task->ended_boot_ns = (int64_t)clock_boot_ns();
	task->progress = state == TASK_DONE ? 1.0 : task->progress;
	free(task->step);
	task->step = NULL;
	if (state != TASK_DONE) {
		task->code = code;
		free(task->message);
		task->message = text_clean(message, strlen(message), OPS_TASK_TEXT_MAX);
	}
	count_end(t, state);
	audit_end(task); /* rather twice, when ops dies now, than not at all */
	task_save_soon(task);
	publish(task);
	for (struct task_waiter *w; (w = list_first(&task->waiters, struct task_waiter, list));) {
		list_unlink(&w->list);
		w->fn(w, task);
	}
	if (t->n_ended > OPS_TASKS_KEPT + OPS_TASKS_KEPT / 10) {
		purge(t);
	}
}

/* ---- purging ---- */

static void forget(struct task *task)
{
	struct tasks *t = task->tasks;
	char topic[48];

	topic_of(task, topic);
	map_remove_str(&t->by_id, task->id);
	set_unsaved(task, false);
	t->n_ended--;
	task_free(task);
	t->events.remove(t->events.userdata, topic, "ended long ago");
}

/* The rows of what goes are deleted in one transaction; if that fails they are met again at the
 * next start. */
static void purge(struct tasks *t)
{
	const int64_t kept_ns = OPS_TASK_KEPT_S * (int64_t)NSEC_PER_SEC;
	int64_t now = (int64_t)clock_boot_ns();
	bool is_writing;

	if (store_is_in_transaction(t->store)) {
		return; /* somebody else's; the next tick does it */
	}
	is_writing = !store_fault(t->store) && store_begin(t->store) == 0;
	t->purged_ns = (uint64_t)now;
	list_for_each_safe (i, &t->by_age) {
		struct task *task = list_entry(i, struct task, by_age);
		bool is_old = task->ended_boot_ns + kept_ns < now;

		if (!task_is_ended(task) || task->operation ||
		    !(is_old || t->n_ended > OPS_TASKS_KEPT)) {
			continue;
		}
		if (is_writing) {
			is_writing = store_task_delete(t->store, task->id) == 0;
		}
		forget(task);
	}
	if (store_is_in_transaction(t->store)) {
		store_commit(t->store);
	}
}

static int on_tick(void *userdata)
{
	struct tasks *t = userdata;

	if (t->n_unsaved > 0) {
		list_for_each (i, &t->by_age) {
			struct task *task = list_entry(i, struct task, by_age);

			if (task->is_unsaved) {
				task_save_soon(task);
			}
			if (task->is_unsaved) {
				break; /* nor could the others be written */
			}
		}
	}
	if (clock_boot_ns() - t->purged_ns >= PURGE_PERIOD_NS) {
		purge(t);
		store_purge_answers(t->store, clock_boot_ns());
	}
	return 0;
}

/* ---- loading ---- */

static int kind_of(const char *method)
{
	for (int i = 0; i < N_TASK_KINDS; i++) {
		if (streq(methods[i], method)) {
			return i;
		}
	}
	return -1;
}

static int load_error(struct task *task, const Xenmesh__V1__TaskError *error)
{
	task->code = (int)error->code;
	task->message = strdup(error->message);
	for (size_t i = 0; i < error->n_log; i++) {
		task_add_log(task, error->log[i]);
	}
	return task->message ? 0 : -ENOMEM;
}

/* Of a moment of the wall clock; now, if it was put back to before that. */
static int64_t boot_time_of(uint64_t real_ns)
{
	uint64_t now_ns = clock_real_ns();

	return (int64_t)clock_boot_ns() - (int64_t)(now_ns - MIN(real_ns, now_ns));
}

static struct task *load_one(struct tasks *t, const struct store_task *row,
			     const Xenmesh__V1__Task *pb)
{
	struct task *task = make(t);

	if (!task) {
		return NULL;
	}
	snprintf(task->id, sizeof(task->id), "%s", pb->id);
	snprintf(task->vm, sizeof(task->vm), "%s", pb->vm);
	task->kind = (enum task_kind)kind_of(pb->method);
	task->vm_name = strdup(pb->vm_name);
	task->client = strdup(pb->client);
	if (pb->request_id.len == sizeof(task->request_id)) {
		memcpy(task->request_id, pb->request_id.data, sizeof(task->request_id));
	}
	if (traceparent_is_valid(pb->traceparent)) {
		memcpy(task->traceparent, pb->traceparent, sizeof(task->traceparent));
	}
	task->state = (int)pb->state;
	task->progress = pb->progress;
	task->created_ns = pb->created_ns;
	task->started_ns = pb->started_ns;
	task->finished_ns = pb->finished_ns;
	task->domid = pb->domid;
	task->is_cancellable = pb->cancellable;
	task->phase = row->phase;
	task->timeout_s = row->timeout_s;
	task->is_forced = row->is_forced;
	task->is_paused = row->is_paused;
	task->is_cancelled = row->is_cancelled;
	task->target_domid = row->domid;
	task->until_ns = row->until_ns;
	snprintf(task->note, sizeof(task->note), "%s", row->note);
	task->ended_boot_ns = boot_time_of(task->finished_ns);
	if (!task->vm_name || !task->client || (pb->error && load_error(task, pb->error) < 0)) {
		return task_free(task);
	}
	return task;
}

static int on_row(const struct store_task *row, void *userdata)
{
	struct tasks *t = userdata;
	Xenmesh__V1__Task *pb = xenmesh__v1__task__unpack(NULL, row->task_len, row->task);
	struct task *task;

	if (!pb || !streq(pb->id, row->id) || kind_of(pb->method) < 0 || pb->state < TASK_PENDING ||
	    pb->state > TASK_CANCELLED) {
		log_error("task %s of the journal cannot be read and is left out", row->id);
		pb_free((ProtobufCMessage *)pb);
		return 0;
	}
	task = load_one(t, row, pb);
	pb_free((ProtobufCMessage *)pb);
	if (!task) {
		return -ENOMEM;
	}
	tasks_show(task);
	return 0;
}

int tasks_load(struct tasks *t, void (*on_active)(struct task *task, void *userdata),
	       void *userdata)
{
	int r = store_task_each(t->store, on_row, t);

	list_for_each_safe (i, &t->by_age) {
		struct task *task = list_entry(i, struct task, by_age);

		if (!task_is_ended(task)) {
			on_active(task, userdata);
		}
	}
	purge(t);
	return r < 0 ? err_trace(r) : 0;
}

int tasks_init(struct tasks *t, sd_event *loop, struct store *store, const struct events *events)
{
	*t = (struct tasks){
		.loop = loop,
		.store = store,
		.events = *events,
		.by_id = MAP_NULL,
		.purged_ns = clock_boot_ns(),
	};
	list_init(&t->by_age);
	return loop_ticker_new(&t->ticker, loop, USEC_PER_SEC, on_tick, t);
}

void tasks_deinit(struct tasks *t)
{
	t->ticker = loop_ticker_free(t->ticker);
	for (struct task *task; (task = list_first(&t->by_age, struct task, by_age));) {
		task_free(task);
	}
	map_deinit(&t->by_id);
}

/* ---- finding ---- */

int tasks_find(const struct tasks *t, const char *ref, struct task **out, struct strbuf *error)
{
	struct task *task = map_get_str(&t->by_id, ref);
	size_t len = strlen(ref), n = task ? 1 : 0;

	*out = task;
	if (!task && len >= PREFIX_MIN && len < 36) {
		list_for_each (i, &t->by_age) {
			task = list_entry(i, struct task, by_age);
			if (strncasecmp(task->id, ref, len) == 0) {
				*out = task;
				n++;
			}
		}
	}
	if (n == 1) {
		return 0;
	}
	*out = NULL;
	if (n > 1) {
		strbuf_printf(error, "%zu tasks begin with \"%s\": give more of the id", n,
			      text_quote(ref).text);
		return 2;
	}
	if (len < PREFIX_MIN) {
		strbuf_printf(error, "\"%s\" is too short for a task: give at least %d characters",
			      text_quote(ref).text, PREFIX_MIN);
	} else {
		strbuf_printf(error, "there is no task \"%s\" (ended ones are kept for an hour)",
			      text_quote(ref).text);
	}
	return 1;
}

void tasks_stats(const struct tasks *t, bus_stat_fn fn, void *userdata)
{
	fn("tasks.active", t->n_active, userdata);
	fn("tasks.ended", t->n_ended, userdata);
	fn("tasks.unsaved", t->n_unsaved, userdata);
	fn("tasks.done", t->n_done, userdata);
	fn("tasks.failed", t->n_failed, userdata);
	fn("tasks.cancelled", t->n_cancelled, userdata);
}
