/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Checks that can say clearly what is wrong come first; libxl's own failures
 * are only told by its log.  Whatever fails after the domain exists, it is
 * removed again.
 */
#include "services/ops/worker/operation.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/uuid.h"
#include "services/ops/core/vmconfig.h"
#include "services/ops/mark.h"
#include "services/ops/worker/codes.h"
#include "services/ops/worker/config.h"
#include "services/ops/worker/domain.h"

struct create_args {
	libxl_domain_config *config;
	uint32_t *domid;
};

static void _printf_(3, 4) finish(struct operation *op, enum bus_code code, const char *format, ...)
{
	va_list args;

	op->code = code;
	va_start(args, format);
	vsnprintf(op->message, sizeof(op->message), format, args);
	va_end(args);
}

/* What libxl failed to do, with the reason it gave to its log. */
static void finish_libxl(struct operation *op, int rc, const char *what)
{
	char reason[LINES_ERRORS_KEPT * LINES_TEXT_MAX];

	op->rc = rc;
	if (rc == 0) {
		op->code = CODE_OK;
		return;
	}
	if (rc == ERROR_ABORTED) {
		finish(op, CODE_CANCELLED, "cancelled before it could %s", what);
		return;
	}
	lines_error_text(op->lines, reason, sizeof(reason));
	finish(op, worker_code_of(rc), "cannot %s: %s (%s)", what,
	       *reason ? reason : "libxl gives no reason", worker_error_name(rc));
}

/* ---- create ---- */

/* "a\nb\n" to "a; b" */
static void join_lines(char *text)
{
	size_t len = strlen(text);

	while (len > 0 && text[len - 1] == '\n') {
		text[--len] = '\0';
	}
	for (char *p = text; (p = strchr(p, '\n'));) {
		*p = ';';
	}
}

static bool check_config(struct operation *op, const Xenmesh__V1__VmConfig *c)
{
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;

	if (!c || !uuid_is_canonical(c->uuid)) {
		finish(op, CODE_INVALID_ARGUMENT, "the request has no definition with a UUID");
		return false;
	}
	if (vmconfig_check(c, &errors) != 0) {
		if (errors.data) {
			join_lines(errors.data);
		}
		finish(op, CODE_INVALID_ARGUMENT, "the definition is not acceptable: %.900s",
		       strbuf_str(&errors));
		return false;
	}
	return true;
}

static bool check_file(struct operation *op, const char *what, const char *path, bool is_disk)
{
	struct stat st;

	if (stat(path, &st) < 0) {
		finish(op, CODE_FAILED_PRECONDITION, "%s %.300s: %s", what, path,
		       err_text(err_errno()));
		return false;
	}
	if (!S_ISREG(st.st_mode) && !(is_disk && S_ISBLK(st.st_mode))) {
		finish(op, CODE_FAILED_PRECONDITION, "%s %.300s is not a file%s", what, path,
		       is_disk ? " or block device" : "");
		return false;
	}
	return true;
}

static bool check_files(struct operation *op, const Xenmesh__V1__VmConfig *c)
{
	if (!check_file(op, "kernel", c->kernel, false) ||
	    (*c->ramdisk && !check_file(op, "ramdisk", c->ramdisk, false))) {
		return false;
	}
	for (size_t i = 0; i < c->n_vbds; i++) {
		/* A script of its own may give the target any meaning. */
		if (!*c->vbds[i]->script &&
		    !check_file(op, "disk image", c->vbds[i]->target, true)) {
			return false;
		}
	}
	return true;
}

/* From here on no other worker makes a domain of this VM. */
static bool lock_vm(struct operation *op, const char *uuid)
{
	pid_t holder = 0;
	int r = vmlock_take(op->paths->lock, uuid, &holder);

	if (r > 0) {
		finish(op, CODE_UNAVAILABLE,
		       "another worker, process %d, is making a domain of this VM; wait until it "
		       "has ended",
		       holder);
	} else if (r < 0) {
		finish(op, CODE_INTERNAL, "cannot lock the VM in %.300s: %s", op->paths->lock,
		       err_text(r));
	}
	return r == 0;
}

/* Xen allows two domains of one UUID or name; nobody else could cope. */
static bool check_unique(struct operation *op, const Xenmesh__V1__VmConfig *c)
{
	libxl_dominfo *list;
	uint32_t domid;
	int n = 0;

	list = libxl_list_domain(op->xl->ctx, &n);
	if (!list) {
		finish_libxl(op, ERROR_FAIL, "list the domains");
		return false;
	}
	for (int i = 0; i < n; i++) {
		struct uuid uuid;
		char text[37];

		memcpy(uuid.bytes, libxl_uuid_bytearray_const(&list[i].uuid), sizeof(uuid.bytes));
		uuid_format(&uuid, text);
		if (streq(text, c->uuid)) {
			finish(op, CODE_ALREADY_EXISTS, "domain %u has this UUID already%s",
			       list[i].domid, list[i].dying ? " and is still dying" : "");
			break;
		}
	}
	libxl_dominfo_list_free(list, n);
	if (op->code == CODE_OK && libxl_name_to_domid(op->xl->ctx, c->name, &domid) == 0) {
		finish(op, CODE_ALREADY_EXISTS, "domain %u has the name %s already", domid,
		       c->name);
	}
	return op->code == CODE_OK;
}

static bool check_memory(struct operation *op, libxl_domain_config *config)
{
	uint64_t need_kib = 0, free_kib = 0;
	int rc = libxl_domain_need_memory(op->xl->ctx, config, (uint32_t)INVALID_DOMID, &need_kib);

	if (rc == 0) {
		rc = libxl_get_free_memory(op->xl->ctx, &free_kib);
	}
	if (rc) {
		finish_libxl(op, rc, "find out how much memory is free");
		return false;
	}
	if (need_kib > free_kib) {
		finish(op, CODE_RESOURCE_EXHAUSTED,
		       "the domain needs %llu MiB and the host has %llu MiB free; "
		       "shut another down or give dom0 less memory",
		       (unsigned long long)(need_kib + 1023) / 1024,
		       (unsigned long long)free_kib / 1024);
		return false;
	}
	return true;
}

static int start_create(libxl_ctx *ctx, const libxl_asyncop_how *how, void *args)
{
	const struct create_args *create = args;

	return libxl_domain_create_new(ctx, create->config, create->domid, how, NULL);
}

/* Only after a restart of the core it is looked for, and the user told to destroy a domain that has
 * none: no reason to undo a create that worked. */
static void mark_domain(struct operation *op, uint32_t domid, const Xenmesh__V1__VmConfig *c)
{
	size_t len = xenmesh__v1__vm_config__get_packed_size(c);
	_cleanup_(xfreep) uint8_t *packed = malloc(MAX(len, 1));

	if (!packed) {
		return;
	}
	xenmesh__v1__vm_config__pack(c, packed);
	if (libxl_userdata_store(op->xl->ctx, domid, OPERATION_USERDATA, packed, (int)len)) {
		lines_add(op->lines, XTL_WARN, "domain %u could not be marked as xenmesh's", domid);
	}
}

/* The outcome stands already; add to it when the domain stays. */
static void undo_create(struct operation *op, uint32_t domid, const char *uuid)
{
	size_t len = strlen(op->message);
	int rc;

	if (domid == 0 || !libxl_domid_valid_guest(domid)) {
		return;
	}
	op->tell(0.95, "removing what was made", op->userdata);
	rc = domain_destroy(op->xl, domid, uuid);
	if (rc) {
		snprintf(op->message + len, sizeof(op->message) - len,
			 "; domain %u was half made and could not be removed (%s)", domid,
			 worker_error_name(rc));
	}
}

static void create(struct operation *op, libxl_domain_config *config,
		   const Xenmesh__Host__CreateDomain *request)
{
	const Xenmesh__V1__VmConfig *c = request->config;
	uint32_t domid = (uint32_t)INVALID_DOMID;
	struct create_args args = { .config = config, .domid = &domid };
	int rc;

	op->tell(0.1, "building the domain", op->userdata);
	rc = xl_run(op->xl, true, start_create, &args);
	if (rc == 0 && op->xl->is_cancelled) {
		rc = ERROR_ABORTED; /* it came too late to abort, not too late to obey */
	}
	if (rc == 0) {
		mark_domain(op, domid, c);
		if (!request->paused) {
			op->tell(0.9, "letting it run", op->userdata);
			rc = domain_unpause(op->xl, domid, c->uuid);
		}
	}
	finish_libxl(op, rc, "create the domain");
	if (rc) {
		undo_create(op, domid, c->uuid);
	} else {
		op->domid = (int)domid;
	}
}

static void clear_outcome(struct operation *op)
{
	op->code = CODE_OK;
	op->message[0] = '\0';
	op->rc = 0;
	op->domid = -1;
}

void operation_create(struct operation *op, const Xenmesh__Host__CreateDomain *request)
{
	libxl_domain_config config;
	int r;

	clear_outcome(op);
	op->tell(0, "checking the definition", op->userdata);
	if (!check_config(op, request->config) || !check_files(op, request->config) ||
	    !lock_vm(op, request->config->uuid) || !check_unique(op, request->config)) {
		return;
	}
	vmlock_clear_marks(op->paths->marks, request->config->uuid);
	r = worker_config_build(&config, request->config);
	if (r < 0) {
		finish(op, CODE_INTERNAL, "the definition cannot be translated for libxl: %s",
		       err_text(r));
	} else if (check_memory(op, &config)) {
		create(op, &config, request);
	}
	libxl_domain_config_dispose(&config);
}

/* ---- acting on a domain ---- */

static int start_shutdown(libxl_ctx *ctx, const libxl_asyncop_how *how, void *args)
{
	return libxl_domain_shutdown(ctx, *(uint32_t *)args, how);
}

static int start_reboot(libxl_ctx *ctx, const libxl_asyncop_how *how, void *args)
{
	return libxl_domain_reboot(ctx, *(uint32_t *)args, how);
}

static int start_pause(libxl_ctx *ctx, const libxl_asyncop_how *how, void *args)
{
	return libxl_domain_pause(ctx, *(uint32_t *)args, how);
}

static void destroy(struct operation *op, uint32_t domid, const char *uuid)
{
	int rc;

	op->tell(0.1, "destroying the domain", op->userdata);
	rc = domain_destroy(op->xl, domid, uuid);
	if (rc == ERROR_TIMEDOUT) {
		op->rc = rc;
		finish(op, CODE_DEADLINE_EXCEEDED,
		       "domain %u is dead, but after %d s something still holds its memory, "
		       "most often a backend of one of its devices",
		       domid, DOMAIN_GONE_LIMIT_MS / 1000);
		return;
	}
	finish_libxl(op, rc, "destroy the domain");
}

/* Ask the guest by way of control/shutdown. */
static void ask_guest(struct operation *op, uint32_t domid, const libxl_dominfo *info,
		      xl_start_fn start, const char *what)
{
	if (info->paused) {
		finish(op, CODE_FAILED_PRECONDITION,
		       "cannot %s: it is paused and cannot answer; unpause it first", what);
		return;
	}
	op->tell(0.1, "waiting for the guest to acknowledge", op->userdata);
	op->rc = xl_run(op->xl, true, start, &domid);
	switch (op->rc) {
	case ERROR_GUEST_TIMEDOUT:
	case ERROR_TIMEDOUT:
		finish(op, CODE_DEADLINE_EXCEEDED,
		       "cannot %s: it did not acknowledge the request; destroy it if need be",
		       what);
		break;
	case ERROR_NOPARAVIRT:
		finish(op, CODE_FAILED_PRECONDITION,
		       "cannot %s: it does not listen to such requests; destroy it instead", what);
		break;
	default:
		finish_libxl(op, op->rc, what);
		break;
	}
}

static void pause_domain(struct operation *op, uint32_t domid, const libxl_dominfo *info)
{
	/* Each pause counts in the hypervisor: a second one would need a second unpause. */
	if (!info->paused) {
		finish_libxl(op, xl_run(op->xl, false, start_pause, &domid), "pause the domain");
	}
}

static void unpause(struct operation *op, uint32_t domid, const char *uuid)
{
	int rc = domain_unpause(op->xl, domid, uuid);

	if (rc == ERROR_NOT_READY) {
		op->rc = rc;
		finish(op, CODE_UNAVAILABLE,
		       "domain %u is still paused: another tool pauses it again and again", domid);
		return;
	}
	finish_libxl(op, rc, "unpause the domain");
}

static void act_on_live(struct operation *op, Xenmesh__Host__DomainAction action, uint32_t domid,
			const char *uuid, const libxl_dominfo *info)
{
	if (info->dying || info->shutdown) {
		finish(op, CODE_FAILED_PRECONDITION, "domain %u has %s", domid,
		       info->dying ? "been destroyed and is going away" : "shut down already");
		return;
	}
	switch (action) {
	case XENMESH__HOST__DOMAIN_ACTION__DOMAIN_ACTION_SHUTDOWN:
		ask_guest(op, domid, info, start_shutdown, "shut down the guest");
		break;
	case XENMESH__HOST__DOMAIN_ACTION__DOMAIN_ACTION_REBOOT:
		ask_guest(op, domid, info, start_reboot, "reboot the guest");
		break;
	case XENMESH__HOST__DOMAIN_ACTION__DOMAIN_ACTION_PAUSE:
		pause_domain(op, domid, info);
		break;
	case XENMESH__HOST__DOMAIN_ACTION__DOMAIN_ACTION_UNPAUSE:
		unpause(op, domid, uuid);
		break;
	default:
		finish(op, CODE_UNIMPLEMENTED, "unknown action %d", action);
		break;
	}
}

void operation_act(struct operation *op, const Xenmesh__Host__ActOnDomain *request)
{
	const Xenmesh__Host__DomainRef *ref = request->domain;
	libxl_dominfo info;
	int rc;

	clear_outcome(op);
	if (!ref || !uuid_is_canonical(ref->uuid)) {
		finish(op, CODE_INVALID_ARGUMENT, "the request names no domain");
		return;
	}
	if (ref->domid == 0 || !libxl_domid_valid_guest(ref->domid)) {
		finish(op, CODE_INVALID_ARGUMENT, "domain %u is not a guest", ref->domid);
		return;
	}
	if (request->action == XENMESH__HOST__DOMAIN_ACTION__DOMAIN_ACTION_DESTROY) {
		destroy(op, ref->domid, ref->uuid);
		return;
	}
	rc = domain_look(op->xl, ref->domid, ref->uuid, &info);
	if (rc == ERROR_DOMAIN_NOTFOUND) {
		op->rc = rc;
		finish(op, CODE_NOT_FOUND, "domain %u of UUID %s is gone", ref->domid, ref->uuid);
	} else if (rc) {
		finish_libxl(op, rc, "look at the domain");
	} else {
		act_on_live(op, request->action, ref->domid, ref->uuid, &info);
	}
	libxl_dominfo_dispose(&info);
}
