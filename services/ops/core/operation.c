/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Each step waits for one thing, with one timer.  Whatever ends the wait goes
 * on to the next step, the next phase or the end; after that `op` may be freed,
 * so nothing touches it any more.
 */
#include "services/ops/core/operation.h"

#include <stdarg.h>
#include <stdio.h>
#include <xentoollog.h>

#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "services/ops/core/engine.h"
#include "services/ops/core/limits.h"

#define STORE_RETRY_MS	1000
#define SETTLE_FIRST_MS 300 /* events of the host process usually take a few ms */

/* ---- steps and ends ---- */

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata);

void operation_set_step(struct operation *op, enum operation_step step, uint64_t wait_ms,
			const char *text)
{
	op->step = step;
	op->timer = sd_event_source_disable_unref(op->timer);
	if (wait_ms &&
	    loop_after(op->engine->loop, &op->timer, wait_ms * USEC_PER_MSEC, on_timer, op) < 0) {
		log_error("out of memory: task %s has no time limit", op->task->id);
	}
	if (text) {
		task_set_step(op->task, text);
	}
}

static void drop_worker(struct operation *op)
{
	op->worker = workerlink_free(op->worker);
	engine_leave_place(op->engine, op);
	op->reservation = memory_release(op->reservation, clock_boot_ns());
}

void operation_free(struct operation *op)
{
	op->timer = sd_event_source_disable_unref(op->timer);
	op->worker = workerlink_free(op->worker);
	op->reservation = memory_release(op->reservation, clock_boot_ns());
	list_unlink(&op->in_line);
	list_unlink(&op->in_queue);
	op->task->operation = NULL;
	free(op);
}

void operation_end(struct operation *op, int state, int code, const char *format, ...)
{
	struct engine *e = op->engine;
	struct task *task = op->task;
	char text[OPS_TASK_TEXT_MAX];
	const char *last_error = NULL;
	char uuid[37];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	drop_worker(op);
	memcpy(uuid, op->vm->uuid, sizeof(uuid));
	task->domid = vm_domid(op->vm);
	if (state == TASK_FAILED) {
		last_error = text;
	} else if (task->note[0]) {
		snprintf(text, sizeof(text), "%s", task->note); /* a task that is done tells none */
		last_error = text;
	}
	engine_operation_ended(e, op, last_error);
	task_end(task, state, code, text);
	engine_consider_policy(e, uuid);
}

static void end_done(struct operation *op)
{
	operation_end(op, TASK_DONE, CODE_OK, "%s", "");
}

static void end_cancelled(struct operation *op)
{
	operation_end(op, TASK_CANCELLED, op->cancel_code, "%s", op->cancel_reason);
}

/* ---- what is true of the VM ---- */

static const Xenmesh__Host__Domain *target(const struct operation *op)
{
	return vm_domain_by_id(op->vm, op->task->target_domid);
}

static bool is_guest_ended(const struct operation *op)
{
	const Xenmesh__Host__Domain *d = target(op);

	return !d || d->power_state == POWER_SHUTDOWN || d->power_state == POWER_DYING;
}

/* What no worker of ours has told of may be paused because it is half built: then its mark decides.
 */
static bool is_created(const struct operation *op, const Xenmesh__Host__Domain *d)
{
	if (!d || d->power_state == POWER_DYING) {
		return false;
	}
	return d->power_state != POWER_PAUSED ||
	       (op->task->is_paused && (d->complete || !op->is_recovered));
}

bool operation_is_reached(const struct operation *op)
{
	const Xenmesh__Host__Domain *d = target(op);

	switch (op->phase) {
	case PHASE_ASK:
	case PHASE_GUEST:
		return is_guest_ended(op);
	case PHASE_DESTROY:
		return !d || d->power_state == POWER_DYING;
	case PHASE_CREATE:
		return is_created(op, vm_domain(op->vm));
	case PHASE_ACT:
		return !d || (d->power_state == POWER_PAUSED) == (op->task->kind == TASK_PAUSE);
	default:
		return true;
	}
}

/* ---- phases ---- */

static const char *phase_text(const struct operation *op)
{
	switch (op->phase) {
	case PHASE_ASK:
		return op->task->kind == TASK_REBOOT ? "asking the guest to reboot"
						     : "asking the guest to shut down";
	case PHASE_GUEST:
		return "waiting for the guest to end";
	case PHASE_DESTROY:
		return "destroying the domain";
	case PHASE_CREATE:
		return "creating the domain";
	default:
		return op->task->kind == TASK_PAUSE ? "pausing" : "unpausing";
	}
}

/* Progress of the whole: phases count alike. */
static void set_progress(struct operation *op, double in_phase)
{
	static const struct {
		uint8_t first, n;
	} programs[N_TASK_KINDS] = {
		[TASK_START] = { PHASE_CREATE, 1 },
		[TASK_SHUTDOWN] = { PHASE_ASK, 3 },
		[TASK_REBOOT] = { PHASE_ASK, 4 },
		[TASK_DESTROY] = { PHASE_DESTROY, 1 },
		[TASK_PAUSE] = { PHASE_ACT, 1 },
		[TASK_UNPAUSE] = { PHASE_ACT, 1 },
		[TASK_POLICY_DESTROY] = { PHASE_DESTROY, 1 },
		[TASK_POLICY_RESTART] = { PHASE_DESTROY, 2 },
	};
	double before = (double)op->phase - programs[op->task->kind].first;

	task_set_progress(op->task, (before + in_phase) / programs[op->task->kind].n);
}

static void want_worker(struct operation *op);

static uint64_t guest_ms_left(const struct operation *op)
{
	uint64_t until_ns = op->task->until_ns;

	return (until_ns - MIN(clock_boot_ns(), until_ns)) / NSEC_PER_MSEC;
}

/* The guest's time begins when it is about to be asked, and goes on over a restart of ops. */
static void start_guest_time(struct operation *op)
{
	struct task *task = op->task;
	uint64_t latest_ns = clock_boot_ns() + task->timeout_s * NSEC_PER_SEC;

	task->until_ns = task->until_ns ? MIN(task->until_ns, latest_ns) : latest_ns;
}

static void enter_guest(struct operation *op)
{
	if (is_guest_ended(op)) {
		operation_next(op);
		return;
	}
	start_guest_time(op);
	if (op->task->phase != PHASE_GUEST) { /* if it fails, the guest may be asked twice */
		op->task->phase = PHASE_GUEST;
		task_save(op->task);
	}
	operation_set_step(op, STEP_GUEST, 1 + guest_ms_left(op), phase_text(op));
}

void operation_enter(struct operation *op, enum operation_phase phase)
{
	op->phase = phase;
	op->until_ns = 0;
	op->is_stopping = false;
	/* What is being destroyed is past saving; and the create of a restart can be left out. */
	op->task->is_cancellable = phase != PHASE_DESTROY && phase != PHASE_ACT;
	set_progress(op, 0);
	if (op->is_cancelled) {
		end_cancelled(op);
	} else if (phase == PHASE_GUEST) {
		enter_guest(op);
	} else if (phase == PHASE_DESTROY && operation_is_reached(op)) {
		operation_next(op);
	} else {
		want_worker(op);
	}
}

/* Whether the ended guest's domain stays: it is not ours, or is to be preserved. */
static bool is_left_alone(const struct operation *op)
{
	if (op->is_force_due) {
		return false;
	}
	return !op->vm->config || (op->task->kind == TASK_SHUTDOWN && target(op) &&
				   op->vm->config->on_poweroff == ACTION_PRESERVE);
}

void operation_next(struct operation *op)
{
	bool is_restart = op->task->kind == TASK_REBOOT || op->task->kind == TASK_POLICY_RESTART;

	switch (op->phase) {
	case PHASE_ASK:
		operation_enter(op, PHASE_GUEST);
		return;
	case PHASE_GUEST:
		if (!is_left_alone(op)) {
			operation_enter(op, PHASE_DESTROY);
			return;
		}
		break;
	case PHASE_DESTROY:
		if (is_restart && op->vm->config) {
			operation_enter(op, PHASE_CREATE);
			return;
		}
		break;
	default:
		break;
	}
	end_done(op);
}

/* The guest had its time. */
static void guest_time_over(struct operation *op)
{
	if (op->task->is_forced) {
		op->is_force_due = true;
		operation_enter(op, PHASE_DESTROY);
		return;
	}
	operation_end(op, TASK_FAILED, CODE_DEADLINE_EXCEEDED,
		      "the guest did not end within %u s; it may still do so; try again with "
		      "force, or destroy it%s%s",
		      op->task->timeout_s,
		      op->ask_error[0] ? "; it could not be asked the last time: " : "",
		      op->ask_error);
}

/* ---- the end of a worker's work ---- */

static void settle(struct operation *op)
{
	if (op->phase == PHASE_ASK || operation_is_reached(op) || !op->engine->host->is_connected) {
		operation_next(op);
		return;
	}
	op->settle_ns = clock_boot_ns();
	op->is_asked_again = false;
	/* Nothing on the host tells of a pause: ask at once. */
	operation_set_step(op, STEP_SETTLE, op->phase == PHASE_ACT ? 1 : SETTLE_FIRST_MS, NULL);
}

static void settle_time_over(struct operation *op)
{
	if (op->is_asked_again) {
		log_debug("the host process does not tell the outcome of task %s", op->task->id);
		operation_next(op);
		return;
	}
	op->is_asked_again = true;
	hostlink_resync(op->engine->hostlink, "an operation ended");
	operation_set_step(op, STEP_SETTLE, op->engine->waits.settle_ms, NULL);
}

/* The guest keeps its time, whatever happened to the worker. */
static void ask_failed(struct operation *op, const struct workerlink_result *result)
{
	if (op->is_stopping || guest_ms_left(op) == 0) {
		guest_time_over(op);
		return;
	}
	snprintf(op->ask_error, sizeof(op->ask_error), "%.*s", (int)sizeof(op->ask_error) - 1,
		 result->message);
	operation_set_step(op, STEP_AGAIN,
			   1 + MIN(op->engine->waits.ask_again_ms, guest_ms_left(op)),
			   "the guest could not be asked; it is asked again");
}

/* It does not listen to such requests, or has ended and only the worker knows. */
static void ask_refused(struct operation *op, const struct workerlink_result *result)
{
	snprintf(op->ask_error, sizeof(op->ask_error), "%.*s", (int)sizeof(op->ask_error) - 1,
		 result->message);
	op->settle_ns = clock_boot_ns();
	operation_set_step(op, STEP_REFUSED, op->engine->waits.settle_ms, NULL);
}

/* Waiting is of no use. */
static void refusal_stands(struct operation *op)
{
	if (op->task->is_forced) {
		guest_time_over(op);
	} else {
		operation_end(op, TASK_FAILED, CODE_FAILED_PRECONDITION, "%s", op->ask_error);
	}
}

static void phase_failed(struct operation *op, const struct workerlink_result *result)
{
	bool is_refused = result->is_told && result->code == CODE_FAILED_PRECONDITION;

	hostlink_resync(op->engine->hostlink, "an operation failed");
	if (op->is_cancelled) {
		end_cancelled(op);
	} else if (op->phase == PHASE_ASK && is_refused) {
		ask_refused(op, result);
	} else if (op->phase == PHASE_ASK) {
		ask_failed(op, result);
	} else {
		operation_end(op, TASK_FAILED, result->code, "%s",
			      result->message[0] ? result->message
						 : "the worker gave no reason; see the log lines");
	}
}

/* Nothing was asked of a worker. */
static void no_worker(struct operation *op, const char *what, int r)
{
	struct workerlink_result result = { .code = CODE_INTERNAL, .domid = -1 };
	char text[OPS_TASK_TEXT_MAX];

	snprintf(text, sizeof(text), "%s: %s", what, err_text(r));
	result.message = text;
	drop_worker(op);
	phase_failed(op, &result);
}

static void on_done(const struct workerlink_result *result, void *userdata)
{
	struct operation *op = userdata;
	bool was_at_work = workerlink_is_at_work(op->worker);
	struct workerlink_result copy = *result;
	char message[OPS_TASK_TEXT_MAX];
	_cleanup_(trace_leave) struct trace_scope scope;

	task_enter(op->task, &scope);
	snprintf(message, sizeof(message), "%s", result->message);
	copy.message = message;
	drop_worker(op);
	op->timer = sd_event_source_disable_unref(op->timer);
	if (!was_at_work && !op->engine->host->is_connected) {
		want_worker(op); /* nothing was done: wait for the host process */
	} else if (copy.is_told && copy.code == CODE_OK) {
		if (op->phase == PHASE_CREATE) {
			op->task->target_domid = copy.domid;
		}
		op->ask_error[0] = '\0';
		settle(op);
	} else if (was_at_work && (op->phase == PHASE_ASK || op->phase == PHASE_DESTROY) &&
		   operation_is_reached(op)) {
		operation_next(op);
	} else {
		phase_failed(op, &copy);
	}
}

/* ---- a worker ---- */

static void on_progress(double progress, const char *text, void *userdata)
{
	struct operation *op = userdata;

	if (progress >= 0 && progress <= 1) {
		set_progress(op, progress);
	}
	if (text[0] && !op->is_cancelled) {
		task_set_step(op->task, text);
	}
}

static void on_log(uint32_t level, const char *text, void *userdata)
{
	struct operation *op = userdata;

	if (level >= XTL_WARN) {
		task_add_log(op->task, text);
	}
}

static int send_request(struct operation *op)
{
	Xenmesh__Host__ToWorker message = XENMESH__HOST__TO_WORKER__INIT;
	Xenmesh__Host__CreateDomain create = XENMESH__HOST__CREATE_DOMAIN__INIT;
	Xenmesh__Host__ActOnDomain act = XENMESH__HOST__ACT_ON_DOMAIN__INIT;
	Xenmesh__Host__DomainRef domain = XENMESH__HOST__DOMAIN_REF__INIT;

	message.task = op->task->id;
	if (op->phase == PHASE_CREATE) {
		create.config = op->vm->config;
		create.paused = op->task->is_paused;
		message.body_case = XENMESH__HOST__TO_WORKER__BODY_CREATE;
		message.create = &create;
		return workerlink_request(op->worker, &message);
	}
	domain.domid = (uint32_t)op->task->target_domid;
	domain.uuid = op->vm->uuid;
	act.domain = &domain;
	if (op->phase == PHASE_ASK) {
		act.action = op->task->kind == TASK_REBOOT ? ACT_REBOOT : ACT_SHUTDOWN;
	} else if (op->phase == PHASE_DESTROY) {
		act.action = ACT_DESTROY;
	} else {
		act.action = op->task->kind == TASK_PAUSE ? ACT_PAUSE : ACT_UNPAUSE;
	}
	message.body_case = XENMESH__HOST__TO_WORKER__BODY_ACT;
	message.act = &act;
	return workerlink_request(op->worker, &message);
}

/* These need no journal: doing them twice is the same as doing them once, and a policy's cause can
 * be seen on the host. */
static bool is_repeatable(const struct operation *op)
{
	return op->task->kind == TASK_DESTROY || op->task->kind == TASK_POLICY_DESTROY ||
	       op->task->kind == TASK_POLICY_RESTART || op->phase == PHASE_ACT;
}

/* r: of the store. */
static void wait_for_store(struct operation *op, int r)
{
	const char *why = store_error(op->engine->store);
	uint64_t now = clock_boot_ns();

	if (!op->store_until_ns) {
		op->store_until_ns = now + op->engine->waits.store_ms * NSEC_PER_MSEC;
	}
	if (now >= op->store_until_ns) {
		operation_end(op, TASK_FAILED, store_error_code(r),
			      "the journal cannot be written: %s", why);
		return;
	}
	operation_set_step(op, STEP_STORE, STORE_RETRY_MS, why);
}

static void on_ready(void *userdata)
{
	struct operation *op = userdata;
	int r, phase_before = op->task->phase;
	_cleanup_(trace_leave) struct trace_scope scope;

	task_enter(op->task, &scope);
	op->task->phase = (int)op->phase;
	r = task_save(op->task);
	if (r < 0 && !is_repeatable(op)) {
		op->task->phase = phase_before; /* it was not begun */
		drop_worker(op);
		wait_for_store(op, r);
		return;
	}
	op->store_until_ns = 0;
	r = send_request(op);
	if (r < 0) {
		no_worker(op, "the worker cannot be given its request", r);
		return;
	}
	if (op->phase == PHASE_ASK) {
		operation_set_step(op, STEP_WORKER, 1 + guest_ms_left(op), phase_text(op));
	} else {
		operation_set_step(op, STEP_WORKER, 0, phase_text(op));
	}
}

static const struct workerlink_handler worker_handler = {
	.on_ready = on_ready,
	.on_progress = on_progress,
	.on_log = on_log,
	.on_done = on_done,
};

/* ---- before a worker ---- */

static void wait_for_host(struct operation *op)
{
	operation_set_step(op, STEP_HOST, op->engine->waits.host_ms,
			   "waiting for the host process");
}

static void want_worker(struct operation *op)
{
	struct engine *e = op->engine;
	int r;

	if (!e->host->is_connected) {
		wait_for_host(op);
		return;
	}
	/* It was not writable the last time: no worker before it is again. */
	r = op->store_until_ns ? task_save(op->task) : 0;
	if (r < 0) {
		wait_for_store(op, r);
		return;
	}
	if (op->phase == PHASE_CREATE &&
	    (!operation_is_predecessor_gone(op) || !operation_has_memory(op))) {
		return;
	}
	if (!engine_take_place(e, op)) {
		operation_set_step(
			op, STEP_PLACE,
			op->phase == PHASE_ASK && op->task->until_ns ? 1 + guest_ms_left(op) : 0,
			"waiting for other operations");
		return;
	}
	if (op->phase == PHASE_ASK) {
		start_guest_time(op);
	}
	operation_set_step(op, STEP_SPAWN, 0, "starting a worker");
	r = workerlink_new(&op->worker, e->loop, e->hostlink, op->task->traceparent,
			   &worker_handler, op);
	if (r == -ENOTCONN) {
		drop_worker(op);
		wait_for_host(op);
	} else if (r < 0) {
		no_worker(op, "no worker can be started", r);
	}
}

void operation_go_on(struct operation *op)
{
	_cleanup_(trace_leave) struct trace_scope scope;

	task_enter(op->task, &scope);
	want_worker(op);
}

/* ---- the beginning ---- */

/* The host is known: the first phase, or the end already. */
static void first_phase(struct operation *op)
{
	struct task *task = op->task;
	char text[OPS_TASK_TEXT_MAX] = "";
	int code = CODE_OK;
	int state;

	switch (operation_judge(op->vm, task->kind, task->is_forced, task->target_domid, &code,
				text, sizeof(text))) {
	case VERDICT_DONE:
		end_done(op);
		return;
	case VERDICT_REFUSED:
		operation_end(op, TASK_FAILED, code, "%s", text);
		return;
	case VERDICT_GO:
		break;
	}
	state = vm_power_state(op->vm);
	task->target_domid = vm_domid(op->vm);
	task->until_ns = 0;
	switch (task->kind) {
	case TASK_START:
		operation_enter(op, PHASE_CREATE);
		break;
	case TASK_SHUTDOWN:
	case TASK_REBOOT:
		op->is_force_due = state == POWER_PAUSED;
		operation_enter(op, op->is_force_due	 ? PHASE_DESTROY
				    : is_guest_ended(op) ? PHASE_GUEST
							 : PHASE_ASK);
		break;
	case TASK_PAUSE:
	case TASK_UNPAUSE:
		operation_enter(op, PHASE_ACT);
		break;
	default:
		operation_enter(op, PHASE_DESTROY);
		break;
	}
}

/* Facts are needed from here on. */
static void begin_with_host(struct operation *op)
{
	if (!op->engine->host->is_connected) {
		wait_for_host(op);
	} else if (op->is_recovered) {
		operation_recover(op);
	} else {
		first_phase(op);
	}
}

/* What is left of a restart's delay, also after a restart of ops. */
static uint64_t delay_ms(const struct operation *op)
{
	uint64_t now = clock_boot_ns(), until_ns = op->task->until_ns;

	if (op->task->kind != TASK_POLICY_RESTART || op->is_recovered || until_ns <= now) {
		return 0;
	}
	return MIN(1 + (until_ns - now) / NSEC_PER_MSEC, OPS_REBOOT_DELAY_MS);
}

void operation_begin(struct operation *op)
{
	uint64_t wait_ms = delay_ms(op);
	char text[96];
	_cleanup_(trace_leave) struct trace_scope scope;

	task_enter(op->task, &scope);
	op->is_begun = true;
	if (op->is_cancelled && !op->is_recovered) { /* before a restart; nothing was done yet */
		end_cancelled(op);
		return;
	}
	if (op->is_recovered) { /* its worker goes on without us; a guest is only waited for */
		op->task->is_cancellable = op->task->phase == PHASE_GUEST;
	}
	task_set_running(op->task);
	if (wait_ms) {
		snprintf(text, sizeof(text),
			 "waiting %llu s, because the guest reboots so soon after its start",
			 (unsigned long long)(wait_ms + 999) / 1000);
		operation_set_step(op, STEP_DELAY, wait_ms, text);
		return;
	}
	begin_with_host(op);
}

/* ---- events ---- */

static void on_host_absent(struct operation *op)
{
	if (op->is_recovered) {
		operation_end(op, TASK_FAILED, CODE_UNKNOWN,
			      "ops was restarted during the operation, and there is no host "
			      "process to tell what became of it; look at the VM");
		return;
	}
	if (op->task->kind == TASK_POLICY_DESTROY || op->task->kind == TASK_POLICY_RESTART) {
		op->vm->policy_domid = -1; /* to be seen to when the host process is back */
	}
	operation_end(op, TASK_FAILED, CODE_UNAVAILABLE,
		      "there is no host process; start xenmesh-ops-host and try again");
}

/* A worker did not obey in time. What it does goes on without us. */
static void abandon_worker(struct operation *op)
{
	log_warning("the worker of task %s does not stop; it is left alone", op->task->id);
	drop_worker(op);
	if (op->is_cancelled) {
		end_cancelled(op);
	} else {
		guest_time_over(op);
	}
}

/* First it is told to stop, then it is left alone. Only asking has a time of its own: the guest
 * may not even acknowledge. */
static void worker_time_over(struct operation *op)
{
	if (op->is_stopping) {
		abandon_worker(op);
		return;
	}
	op->is_stopping = true;
	workerlink_cancel(op->worker, "the guest does not react");
	operation_set_step(op, STEP_WORKER, op->engine->waits.cancel_ms, NULL);
}

static int on_timer(sd_event_source *s _unused_, uint64_t usec _unused_, void *userdata)
{
	struct operation *op = userdata;
	_cleanup_(trace_leave) struct trace_scope scope;

	task_enter(op->task, &scope);
	op->timer = sd_event_source_disable_unref(op->timer);
	switch (op->step) {
	case STEP_DELAY:
		begin_with_host(op);
		break;
	case STEP_HOST:
		on_host_absent(op);
		break;
	case STEP_DYING:
	case STEP_MEMORY:
	case STEP_STORE:
		want_worker(op);
		break;
	case STEP_AGAIN:
		if (guest_ms_left(op) == 0) {
			guest_time_over(op);
		} else {
			operation_enter(op, PHASE_ASK);
		}
		break;
	case STEP_REFUSED:
		refusal_stands(op);
		break;
	case STEP_WORKER:
		worker_time_over(op);
		break;
	case STEP_PLACE:
	case STEP_GUEST:
		guest_time_over(op);
		break;
	case STEP_SETTLE:
		settle_time_over(op);
		break;
	case STEP_RECOVER:
		operation_recover_look(op, true);
		break;
	default:
		break;
	}
	return 0;
}

static void host_is_back(struct operation *op)
{
	if (op->phase == PHASE_NONE || op->is_recovered) {
		begin_with_host(op);
	} else {
		want_worker(op);
	}
}

void operation_look(struct operation *op, enum host_news news)
{
	struct host *host = op->engine->host;
	_cleanup_(trace_leave) struct trace_scope scope;

	task_enter(op->task, &scope);
	switch (op->step) {
	case STEP_HOST:
		if (host->is_connected) {
			host_is_back(op);
		}
		break;
	case STEP_DYING:
		if (host->is_connected && !vm_dying(op->vm)) {
			want_worker(op);
		}
		break;
	case STEP_MEMORY:
		if (news == HOST_NEWS_SAMPLE || news == HOST_NEWS_LINK) {
			want_worker(op);
		}
		break;
	case STEP_AGAIN:
	case STEP_REFUSED:
	case STEP_GUEST:
		if (host->is_connected && is_guest_ended(op)) {
			operation_next(op);
		} else if (op->step == STEP_REFUSED && news == HOST_NEWS_TABLE &&
			   host->table_ns >= op->settle_ns) {
			refusal_stands(op);
		}
		break;
	case STEP_SETTLE:
		if (operation_is_reached(op) ||
		    (news == HOST_NEWS_TABLE && host->table_ns >= op->settle_ns)) {
			operation_next(op);
		}
		break;
	case STEP_RECOVER:
		operation_recover_look(op, false);
		break;
	default:
		break;
	}
}

void operation_cancel(struct operation *op, int code, const char *reason, bool must_end)
{
	_cleanup_(trace_leave) struct trace_scope scope;

	task_enter(op->task, &scope);
	op->is_cancelled = true;
	op->cancel_code = code;
	snprintf(op->cancel_reason, sizeof(op->cancel_reason), "%s", reason);
	switch (op->step) {
	case STEP_WORKER:
		if (op->phase != PHASE_DESTROY && op->phase != PHASE_ACT) {
			task_set_step(op->task, "stopping");
			workerlink_cancel(op->worker, reason);
		}
		if (must_end) {
			op->is_stopping = true;
			operation_set_step(op, STEP_WORKER, op->engine->waits.cancel_ms, NULL);
		}
		break;
	case STEP_SETTLE: /* it is done, only to be seen */
		break;
	case STEP_HOST: /* what a worker makes meanwhile has to be seen before it is destroyed */
		if (!op->is_recovered || op->task->phase != PHASE_CREATE) {
			end_cancelled(op);
		}
		break;
	case STEP_RECOVER: /* nothing to act on yet */
		if (vm_domain(op->vm)) {
			end_cancelled(op);
		}
		break;
	default:
		end_cancelled(op);
		break;
	}
}
