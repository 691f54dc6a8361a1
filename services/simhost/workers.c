/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A worker is a chain of steps with a timer between them.  Its domain may go
 * away between two steps, so each step looks it up by domid and UUID again.
 *
 * finish() and die() free the worker: nothing of it is used after them.
 */
#include "services/simhost/workers.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>

#include "libcommon/err.h"
#include "libcommon/link.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"
#include "libcommon/xenstore.h"

#define ARENA_LIMIT    (1U << 20)
#define FLUSH_LIMIT_MS 200 /* a few hundred bytes; waits only for a core that hangs */

#define STEP_MS		4  /* of anything */
#define BUILD_MS	40 /* a domain's kernel and memory ... */
#define BUILD_GIB_MS	8  /* ... and for each GiB */
#define BUILD_MOST_MS	400
#define DEVICE_MS	10 /* a hotplug script */
#define TEAR_DOWN_MS	30
#define XTL_LEVEL_ERROR 8 /* of xentoollog.h */

#define ACKNOWLEDGE_LIMIT_MS 60000 /* libxl's */
#define KIB_PER_GIB	     (1U << 20)

/* libxl_error */
#define RC_NONE		  0
#define RC_FAIL		  (-3)
#define RC_NOMEM	  (-5)
#define RC_INVAL	  (-6)
#define RC_GUEST_TIMEDOUT (-8)
#define RC_NOTFOUND	  (-21)
#define RC_ABORTED	  (-22)
#define RC_DESTROYED	  (-24)

#define CODE(name) XENMESH__V1__CODE__CODE_##name

struct sim_worker;
typedef void (*step_fn)(struct sim_worker *w);

struct sim_worker {
	struct list list;
	struct sim_workers *workers;
	struct link *link; /* NULL: the core is gone */
	sd_event_source *timer;
	struct arena arena;
	enum fault_operation operation;
	struct fault fault;
	Xenmesh__V1__VmConfig *config; /* of a creation */
	bool leave_paused;
	uint32_t domid; /* 0 = none yet */
	char uuid[37];
	step_fn next;
	struct xenstore_watch *watch; /* of control/shutdown */
	bool has_begun;
	bool is_hanging;
};

struct sim_workers {
	struct machine *machine;
	struct xenstore *xs;
	struct faults *faults;
	struct list list;
	size_t n;
};

/* ---- what is told ---- */

static void send_message(struct sim_worker *w, Xenmesh__Host__FromWorker *message)
{
	int r = w->link ? link_send(w->link, &message->base, -1) : 0;

	if (r < 0 && r != -EPIPE) {
		log_warning("cannot answer the core: %s", err_text(r));
	}
}

static void say_progress(struct sim_worker *w, double progress, const char *step)
{
	Xenmesh__Host__WorkerProgress body = XENMESH__HOST__WORKER_PROGRESS__INIT;
	Xenmesh__Host__FromWorker message = XENMESH__HOST__FROM_WORKER__INIT;

	body.progress = progress;
	body.step = (char *)step;
	message.body_case = XENMESH__HOST__FROM_WORKER__BODY_PROGRESS;
	message.progress = &body;
	send_message(w, &message);
}

_printf_(3, 4) static void say_log(struct sim_worker *w, uint32_t level, const char *format, ...)
{
	Xenmesh__Host__WorkerLog body = XENMESH__HOST__WORKER_LOG__INIT;
	Xenmesh__Host__FromWorker message = XENMESH__HOST__FROM_WORKER__INIT;
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	body.level = level;
	body.text = text;
	message.body_case = XENMESH__HOST__FROM_WORKER__BODY_LOG;
	message.log = &body;
	send_message(w, &message);
}

static void worker_free(struct sim_worker *w)
{
	list_unlink(&w->list);
	w->workers->n--;
	xenstore_unwatch(w->watch);
	sd_event_source_disable_unref(w->timer);
	link_free(w->link);
	arena_deinit(&w->arena);
	free(w);
}

static void finish(struct sim_worker *w, Xenmesh__V1__Code code, int libxl_rc, const char *text)
{
	Xenmesh__Host__WorkerDone body = XENMESH__HOST__WORKER_DONE__INIT;
	Xenmesh__Host__FromWorker message = XENMESH__HOST__FROM_WORKER__INIT;
	bool has_domain = code == CODE(OK) && w->operation == FAULT_CREATE;

	body.code = code;
	body.message = (char *)text;
	body.libxl_rc = libxl_rc;
	body.domid = has_domain ? (int32_t)w->domid : -1;
	message.body_case = XENMESH__HOST__FROM_WORKER__BODY_DONE;
	message.done = &body;
	send_message(w, &message);
	if (w->link && link_flush(w->link, FLUSH_LIMIT_MS) < 0) {
		log_warning("the core did not take the result of an operation");
	}
	worker_free(w);
}

/* ---- steps ---- */

static int on_step(sd_event_source *s _unused_, uint64_t usec _unused_, void *userdata)
{
	struct sim_worker *w = userdata;

	w->next(w);
	return 0;
}

static void after(struct sim_worker *w, uint64_t delay_ms, step_fn next)
{
	int r;

	w->next = next;
	r = loop_after(machine_loop(w->workers->machine), &w->timer, delay_ms * USEC_PER_MSEC,
		       on_step, w);
	if (r < 0) {
		finish(w, CODE(INTERNAL), RC_FAIL, "the simulated host is out of memory");
	}
}

/* The domain, or NULL after the operation has failed because it is no more. */
static struct machine_domain *domain_or_finish(struct sim_worker *w)
{
	struct machine_domain *d = machine_find_exactly(w->workers->machine, w->domid, w->uuid);
	char text[160];

	if (!d) {
		snprintf(text, sizeof(text), "domain %u of UUID %s is gone", w->domid, w->uuid);
		finish(w, CODE(NOT_FOUND), RC_NOTFOUND, text);
	}
	return d;
}

/* The same for a domain that lives. */
static struct machine_domain *live_domain_or_finish(struct sim_worker *w)
{
	struct machine_domain *d = domain_or_finish(w);
	char text[96];

	if (d && (d->is_dying || d->is_stopped)) {
		snprintf(text, sizeof(text), "domain %u has %s", w->domid,
			 d->is_dying ? "been destroyed and is going away" : "shut down already");
		finish(w, CODE(FAILED_PRECONDITION), RC_NONE, text);
		return NULL;
	}
	return d;
}

/* The operation fails as libxl does, with its line. */
static void finish_failed(struct sim_worker *w, const char *what)
{
	char text[160];

	say_log(w, XTL_LEVEL_ERROR, "libxl: simhost: Domain %u:cannot %s: simulated failure",
		w->domid, what);
	snprintf(text, sizeof(text), "cannot %s: Domain %u:simulated failure (libxl: ERROR_FAIL)",
		 what, w->domid);
	finish(w, CODE(INTERNAL), RC_FAIL, text);
}

/* At the middle of an operation. True: the fault took over, w may be freed. */
static bool fault_strikes(struct sim_worker *w)
{
	if (w->fault.effect == FAULT_DIE) {
		log_info("a worker dies, as it was told");
		worker_free(w);
		return true;
	}
	if (w->fault.effect == FAULT_HANG) {
		log_info("a worker hangs, as it was told");
		w->is_hanging = true;
		if (!w->link) {
			worker_free(w); /* there is nobody left to wait for it */
		}
		return true;
	}
	return false;
}

/* ---- create ---- */

static void undo_create(struct sim_worker *w)
{
	struct machine_domain *d = machine_find_exactly(w->workers->machine, w->domid, w->uuid);

	if (d && w->domid > 0) {
		machine_remove(d);
	}
}

static void create_finish(struct sim_worker *w)
{
	struct machine_domain *d = domain_or_finish(w);
	int r;

	if (!d) {
		return;
	}
	machine_set_complete(d);
	r = w->leave_paused ? 0 : machine_unpause(d);
	if (r < 0) {
		undo_create(w);
		finish(w, CODE(INTERNAL), RC_FAIL, "the domain cannot be unpaused");
		return;
	}
	say_progress(w, 1, w->leave_paused ? "created, paused" : "running");
	finish(w, CODE(OK), RC_NONE, "");
}

static void create_devices(struct sim_worker *w)
{
	struct machine_domain *d = domain_or_finish(w);
	char text[160];
	int r;

	if (!d) {
		return;
	}
	say_progress(w, 0.7, "attaching devices");
	r = machine_attach(d);
	if (r < 0) {
		say_log(w, XTL_LEVEL_ERROR, "libxl: simhost: Domain %u:cannot add devices: %s",
			w->domid, err_text(r));
		undo_create(w);
		snprintf(text, sizeof(text), "the VM's devices cannot be attached: %s",
			 err_text(r));
		finish(w, CODE(INTERNAL), RC_FAIL, text);
		return;
	}
	after(w, STEP_MS, create_finish);
}

static void create_loaded(struct sim_worker *w)
{
	size_t devices = w->config->n_vifs + w->config->n_vbds;

	if (fault_strikes(w)) {
		return;
	}
	if (w->fault.effect == FAULT_FAIL) {
		say_log(w, XTL_LEVEL_ERROR, "xc: simhost: cannot load %s: simulated failure",
			w->config->kernel);
		undo_create(w);
		finish_failed(w, "create the domain");
		return;
	}
	after(w, devices * DEVICE_MS, create_devices);
}

static void create_build(struct sim_worker *w)
{
	struct machine_domain *d;
	char why[256] = "";
	uint64_t build_ms;
	int r = machine_build(w->workers->machine, w->config, false, why, sizeof(why), &d);

	if (r < 0) {
		say_log(w, XTL_LEVEL_ERROR, "libxl: simhost: cannot make domain: %s",
			why[0] ? why : err_text(r));
		finish(w,
		       r == -EEXIST   ? CODE(ALREADY_EXISTS)
		       : r == -ENOMEM ? CODE(RESOURCE_EXHAUSTED)
		       : r == -EINVAL ? CODE(INVALID_ARGUMENT)
				      : CODE(INTERNAL),
		       r == -ENOMEM   ? RC_NOMEM
		       : r == -EINVAL ? RC_INVAL
				      : RC_FAIL,
		       why[0] ? why : err_text(r));
		return;
	}
	w->domid = d->state.domid;
	build_ms = BUILD_MS + d->state.memory_kib * BUILD_GIB_MS / KIB_PER_GIB;
	say_progress(w, 0.2, "loading the kernel");
	after(w, MIN(build_ms, BUILD_MOST_MS) + w->fault.delay_ms, create_loaded);
}

static int begin_create(struct sim_worker *w, const Xenmesh__Host__CreateDomain *create)
{
	size_t len;
	_cleanup_(xfreep) uint8_t *packed = NULL;

	if (!create->config) {
		return -EBADMSG;
	}
	len = xenmesh__v1__vm_config__get_packed_size(create->config);
	packed = malloc(MAX(len, 1));
	if (!packed) {
		return -ENOMEM;
	}
	xenmesh__v1__vm_config__pack(create->config, packed);
	w->config = (void *)arena_unpack(&w->arena, &xenmesh__v1__vm_config__descriptor, packed,
					 len);
	if (!w->config) {
		return -E2BIG;
	}
	w->operation = FAULT_CREATE;
	w->leave_paused = create->paused;
	snprintf(w->uuid, sizeof(w->uuid), "%s", w->config->uuid);
	w->fault = faults_take(w->workers->faults, FAULT_CREATE, w->config->name, w->uuid);
	say_progress(w, 0.05, "creating the domain");
	after(w, STEP_MS, create_build);
	return 0;
}

/* ---- destroy ---- */

static void destroy_gone(struct sim_worker *w)
{
	struct machine_domain *d = machine_find_exactly(w->workers->machine, w->domid, w->uuid);

	/* Somebody else may have been faster. */
	if (d) {
		machine_remove(d);
	}
	finish(w, CODE(OK), RC_NONE, "");
}

static void destroy_begin(struct sim_worker *w)
{
	struct machine_domain *d = machine_find_exactly(w->workers->machine, w->domid, w->uuid);

	if (!d) {
		finish(w, CODE(OK), RC_NONE, ""); /* it is what was wanted */
		return;
	}
	if (fault_strikes(w)) {
		return;
	}
	if (w->fault.effect == FAULT_FAIL) {
		finish_failed(w, "destroy the domain");
		return;
	}
	say_progress(w, 0.1, "destroying the domain");
	machine_set_dying(d);
	after(w, TEAR_DOWN_MS, destroy_gone);
}

/* ---- shutdown and reboot ---- */

static void on_control(struct xenstore *xs, const char *path, void *userdata)
{
	_cleanup_(xfreep) char *value = NULL;
	struct sim_worker *w = userdata;
	size_t len;
	int r = xenstore_read(xs, path, &value, &len);

	if (r == 0 && len == 0) {
		finish(w, CODE(OK), RC_NONE, "");
	}
}

/* As libxl does. */
static void request_unheard(struct sim_worker *w)
{
	struct machine_domain *d = domain_or_finish(w);

	if (d) {
		machine_request_shutdown(d, "");
		finish(w, CODE(DEADLINE_EXCEEDED), RC_GUEST_TIMEDOUT,
		       "the guest did not acknowledge the request");
	}
}

static void request_begin(struct sim_worker *w)
{
	struct machine_domain *d = live_domain_or_finish(w);
	char path[64];
	int r;

	if (!d) {
		return;
	}
	if (d->is_paused) {
		finish(w, CODE(FAILED_PRECONDITION), RC_NONE,
		       "the guest is paused and cannot answer; unpause it first");
		return;
	}
	r = machine_request_shutdown(d, w->operation == FAULT_REBOOT ? "reboot" : "poweroff");
	if (fault_strikes(w)) {
		return;
	}
	if (r == 0) {
		say_progress(w, 0.2, "waiting for the guest to acknowledge");
		machine_shutdown_path(w->domid, path);
		r = xenstore_watch(w->workers->xs, &w->watch, path, on_control, w);
	}
	if (r < 0 || w->fault.effect == FAULT_FAIL) {
		finish_failed(w, "ask the guest");
		return;
	}
	after(w, ACKNOWLEDGE_LIMIT_MS, request_unheard);
}

void sim_workers_notice(struct sim_workers *workers, const struct machine_domain *d)
{
	list_for_each_safe (i, &workers->list) {
		struct sim_worker *w = list_entry(i, struct sim_worker, list);
		bool is_of_it = w->domid == d->state.domid && streq(w->uuid, d->state.uuid);

		if (!is_of_it || !w->watch) {
			continue;
		}
		if (d->is_stopped) {
			finish(w, CODE(OK), RC_NONE, "");
		} else {
			finish(w, CODE(ABORTED), RC_DESTROYED,
			       "the domain was destroyed meanwhile");
		}
	}
}

/* ---- pause and unpause ---- */

static void pause_now(struct sim_worker *w)
{
	struct machine_domain *d = live_domain_or_finish(w);
	int r = 0;

	if (!d || fault_strikes(w)) {
		return;
	}
	if (w->fault.effect == FAULT_FAIL) {
		finish_failed(w, w->operation == FAULT_PAUSE ? "pause the domain"
							     : "unpause the domain");
		return;
	}
	if (w->operation == FAULT_PAUSE) {
		machine_pause(d);
	} else {
		r = machine_unpause(d);
	}
	finish(w, r < 0 ? CODE(INTERNAL) : CODE(OK), r < 0 ? RC_FAIL : RC_NONE,
	       r < 0 ? err_text(r) : "");
}

/* ---- the link ---- */

static const struct {
	Xenmesh__Host__DomainAction action;
	enum fault_operation operation;
	step_fn begin;
} actions[] = {
	{ XENMESH__HOST__DOMAIN_ACTION__DOMAIN_ACTION_DESTROY, FAULT_DESTROY, destroy_begin },
	{ XENMESH__HOST__DOMAIN_ACTION__DOMAIN_ACTION_SHUTDOWN, FAULT_SHUTDOWN, request_begin },
	{ XENMESH__HOST__DOMAIN_ACTION__DOMAIN_ACTION_REBOOT, FAULT_REBOOT, request_begin },
	{ XENMESH__HOST__DOMAIN_ACTION__DOMAIN_ACTION_PAUSE, FAULT_PAUSE, pause_now },
	{ XENMESH__HOST__DOMAIN_ACTION__DOMAIN_ACTION_UNPAUSE, FAULT_UNPAUSE, pause_now },
};

static int begin_act(struct sim_worker *w, const Xenmesh__Host__ActOnDomain *act)
{
	const struct machine_domain *d;

	if (!act->domain || act->domain->domid == 0 ||
	    strlen(act->domain->uuid) >= sizeof(w->uuid)) {
		return -EBADMSG;
	}
	w->domid = act->domain->domid;
	snprintf(w->uuid, sizeof(w->uuid), "%s", act->domain->uuid);
	for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
		if (actions[i].action != act->action) {
			continue;
		}
		w->operation = actions[i].operation;
		d = machine_find_exactly(w->workers->machine, w->domid, w->uuid);
		if (d) {
			w->fault = faults_take(w->workers->faults, w->operation, d->state.name,
					       w->uuid);
		}
		after(w, STEP_MS + w->fault.delay_ms, actions[i].begin);
		return 0;
	}
	return -EBADMSG;
}

/* What is done is undone; what cannot be, goes on. */
static void cancel(struct sim_worker *w, const char *reason)
{
	struct machine_domain *d = machine_find_exactly(w->workers->machine, w->domid, w->uuid);
	char text[256];

	if (w->fault.effect == FAULT_HANG || (w->operation == FAULT_DESTROY && d && d->is_dying)) {
		return;
	}
	if (w->operation == FAULT_CREATE) {
		undo_create(w);
	} else if (w->watch && d) {
		machine_request_shutdown(d, "");
	}
	snprintf(text, sizeof(text), "cancelled: %.200s", reason);
	finish(w, CODE(CANCELLED), RC_ABORTED, text);
}

static int on_message(struct link *l _unused_, const ProtobufCMessage *base, int fd, void *userdata)
{
	const Xenmesh__Host__ToWorker *message = (const void *)base;
	struct sim_worker *w = userdata;
	bool is_cancel = message->body_case == XENMESH__HOST__TO_WORKER__BODY_CANCEL;

	xclose(fd);
	if (is_cancel == !w->has_begun) {
		return -EPROTO; /* one operation, then at most a cancellation */
	}
	w->has_begun = true;
	switch (message->body_case) {
	case XENMESH__HOST__TO_WORKER__BODY_CREATE:
		return begin_create(w, message->create);
	case XENMESH__HOST__TO_WORKER__BODY_ACT:
		return begin_act(w, message->act);
	case XENMESH__HOST__TO_WORKER__BODY_CANCEL:
		cancel(w, message->cancel->reason);
		return 0;
	default:
		return -EPROTO;
	}
}

static void on_closed(struct link *l _unused_, int error, void *userdata)
{
	struct sim_worker *w = userdata;

	if (error < 0) {
		log_warning("a worker's link closed: %s", err_text(error));
	}
	w->link = link_free(w->link);
	if (!w->next || w->watch || w->is_hanging) {
		worker_free(w);
	}
}

/* ---- life ---- */

int sim_workers_new(struct sim_workers **out, struct machine *machine, struct xenstore *xs,
		    struct faults *faults)
{
	struct sim_workers *w = calloc(1, sizeof(*w));

	if (!w) {
		return -ENOMEM;
	}
	w->machine = machine;
	w->xs = xs;
	w->faults = faults;
	list_init(&w->list);
	*out = w;
	return 0;
}

struct sim_workers *sim_workers_free(struct sim_workers *workers)
{
	if (workers) {
		list_for_each_safe (i, &workers->list) {
			worker_free(list_entry(i, struct sim_worker, list));
		}
		free(workers);
	}
	return NULL;
}

int sim_workers_spawn(struct sim_workers *workers, int *fd)
{
	struct sim_worker *w;
	int fds[2], r;

	if (faults_take(workers->faults, FAULT_SPAWN, "", "").effect == FAULT_FAIL) {
		return -EIO;
	}
	if (workers->n >= SIM_WORKERS_MAX) {
		return -EBUSY;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
		return err_errno();
	}
	w = calloc(1, sizeof(*w));
	if (!w) {
		close(fds[0]);
		close(fds[1]);
		return -ENOMEM;
	}
	w->workers = workers;
	w->fault = FAULT_NULL;
	arena_init(&w->arena, ARENA_LIMIT);
	list_append(&workers->list, &w->list);
	workers->n++;
	r = link_new(&w->link, machine_loop(workers->machine), fds[0],
		     &xenmesh__host__to_worker__descriptor, on_message, on_closed, w);
	if (r < 0) {
		close(fds[1]);
		worker_free(w);
		return err_trace(r);
	}
	*fd = fds[1];
	return 0;
}

size_t sim_workers_count(const struct sim_workers *w)
{
	return w->n;
}
