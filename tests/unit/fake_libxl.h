/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A libxl that is played: the functions of libxl that would touch a host are
 * defined here and take the place of the library's in the test that includes
 * this.  Its operations end at the sixth poll after their start, so that things
 * can happen while they run.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

#include "libcommon/base.h"
#include "libcommon/uuid.h"
#include "services/ops/worker/libxl_api.h"
#include "tests/unit/unit.h"
#include "xenmesh/host/host.pb-c.h"

#define UUID	   "4cf699c4-e648-11f1-bdcd-61e86813cd81"
#define OTHER_UUID "4cf699c4-e648-11f1-bdcd-61e86813cd82"
#define NEW_DOMID  9
#define N_DOMAINS  4

struct fake_domain {
	uint32_t domid; /* 0 = none */
	const char *uuid;
	unsigned int n_pauses;
	bool is_shutdown;
	bool is_dying;
	int dying_looks; /* how often it is still seen dying, -1 = for ever */
};

/* The host, and what libxl shall do. */
static struct {
	struct fake_domain domains[N_DOMAINS];
	xentoollog_logger *logger;
	char calls[512];

	/* The operation that runs. */
	const libxl_asyncop_how *how;
	int rc;
	int n_polls;
	void (*at_end)(void);
	uint32_t domid;
	uint32_t *domid_out;

	/* What shall happen. */
	int alloc_rc, create_rc, guest_rc, pause_rc;
	int destroy_failures; /* so many fail before one works */
	bool is_create_left;  /* a failed create leaves its domain */
	bool is_name_taken;
	bool is_hasty; /* each look at the clock takes a second */
	time_t extra_s;
	uint64_t free_kib;
	int cancel_fd; /* >= 0: the core's end; a cancel comes from it while the operation runs */
	int close_fd;  /* >= 0: the core's end closes meanwhile */
	int link_fd;   /* > 0: the worker's end, which what libxl starts must not inherit */
} host;

static void note(const char *call)
{
	size_t len = strlen(host.calls);

	snprintf(host.calls + len, sizeof(host.calls) - len, "%s ", call);
}

static struct fake_domain *find_domain(uint32_t domid)
{
	for (size_t i = 0; i < N_DOMAINS; i++) {
		if (host.domains[i].domid == domid && domid != 0) {
			return &host.domains[i];
		}
	}
	return NULL;
}

/* One that the test knows to be there. */
__attribute__((noinline)) static struct fake_domain *the_domain(uint32_t domid)
{
	struct fake_domain *domain = find_domain(domid);

	if (!domain) {
		abort();
	}
	return domain;
}

static struct fake_domain *add_domain(uint32_t domid, const char *uuid)
{
	size_t i = 0;

	while (host.domains[i].domid != 0) {
		i++;
	}
	host.domains[i] = (struct fake_domain){ .domid = domid, .uuid = uuid };
	return &host.domains[i];
}

static void _printf_(2, 3) write_log(xentoollog_level level, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	host.logger->vmessage(host.logger, level, -1, "libxl", format, args);
	va_end(args);
}

int clock_gettime(clockid_t id, struct timespec *t)
{
	int r = (int)syscall(SYS_clock_gettime, id, t);

	host.extra_s += host.is_hasty;
	t->tv_sec += host.extra_s;
	return r;
}

/* ---- libxl ---- */

int libxl_ctx_alloc(libxl_ctx **out, int version, unsigned int flags _unused_,
		    xentoollog_logger *logger)
{
	CU_ASSERT_EQUAL(version, LIBXL_VERSION);
	host.logger = logger;
	*out = (libxl_ctx *)(void *)&host;
	if (host.alloc_rc) {
		write_log(XTL_ERROR, "libxl.c:1:libxl_ctx_alloc: cannot open libxc handle");
	}
	return host.alloc_rc;
}

int libxl_ctx_free(libxl_ctx *ctx _unused_)
{
	CU_ASSERT_PTR_NULL(host.how);
	return 0;
}

void libxl_childproc_setmode(libxl_ctx *ctx _unused_, const libxl_childproc_hooks *hooks,
			     void *user _unused_)
{
	CU_ASSERT_EQUAL(hooks->chldowner, libxl_sigchld_owner_libxl);
}

int libxl_osevent_beforepoll(libxl_ctx *ctx _unused_, int *nfds, struct pollfd *fds _unused_,
			     int *timeout_ms, struct timeval now _unused_)
{
	*nfds = 0;
	if (host.how || host.is_hasty) {
		*timeout_ms = 1;
	}
	return 0;
}

static void send_cancel(int fd)
{
	Xenmesh__Host__ToWorker message = XENMESH__HOST__TO_WORKER__INIT;
	Xenmesh__Host__CancelOperation cancel = XENMESH__HOST__CANCEL_OPERATION__INIT;
	uint8_t packed[64];
	uint32_t len;

	message.body_case = XENMESH__HOST__TO_WORKER__BODY_CANCEL;
	message.cancel = &cancel;
	len = (uint32_t)xenmesh__host__to_worker__pack(&message, packed + 4);
	memcpy(packed, &len, sizeof(len));
	CU_ASSERT_EQUAL(send(fd, packed, len + 4, 0), (ssize_t)len + 4);
}

void libxl_osevent_afterpoll(libxl_ctx *ctx, int nfds, const struct pollfd *fds _unused_,
			     struct timeval now _unused_)
{
	const libxl_asyncop_how *how = host.how;

	CU_ASSERT_EQUAL(nfds, 0);
	if (!how) {
		return;
	}
	host.n_polls++;
	if (host.n_polls == 1 && host.cancel_fd >= 0) {
		send_cancel(host.cancel_fd);
		host.cancel_fd = -1;
	}
	if (host.n_polls == 1 && host.close_fd >= 0) {
		close(host.close_fd);
		host.close_fd = -1;
	}
	if (host.n_polls < 6) {
		return;
	}
	host.how = NULL;
	if (host.at_end) {
		host.at_end();
	}
	how->callback(ctx, host.rc, how->u.for_callback);
}

static int begin(const libxl_asyncop_how *how, uint32_t domid, int rc, void (*at_end)(void))
{
	CU_ASSERT_PTR_NULL(host.how);
	CU_ASSERT_PTR_NOT_NULL(how);
	host.how = how;
	host.rc = rc;
	host.domid = domid;
	host.at_end = at_end;
	host.n_polls = 0;
	return 0;
}

int libxl_ao_abort(libxl_ctx *ctx _unused_, const libxl_asyncop_how *how)
{
	note("abort");
	CU_ASSERT_PTR_EQUAL(how, host.how);
	if (how != host.how) {
		return ERROR_NOTFOUND;
	}
	host.rc = ERROR_ABORTED;
	host.n_polls = 100;
	return 0;
}

static void end_create(void)
{
	*host.domid_out = NEW_DOMID;
	if (host.rc == 0 || host.is_create_left) {
		add_domain(NEW_DOMID, UUID)->n_pauses = 1;
	}
}

int libxl_domain_create_new(libxl_ctx *ctx _unused_, libxl_domain_config *config, uint32_t *domid,
			    const libxl_asyncop_how *how,
			    const libxl_asyncprogress_how *console _unused_)
{
	note("create");
	CU_ASSERT(host.link_fd == 0 || (fcntl(host.link_fd, F_GETFD) & FD_CLOEXEC));
	CU_ASSERT_STRING_EQUAL(config->c_info.name, "g1");
	host.domid_out = domid;
	host.logger->progress(host.logger, "xc", "building", 40, 4, 10);
	if (host.create_rc) {
		write_log(XTL_ERROR, "libxl_dom.c:571:libxl__build_dom: the first reason");
		write_log(XTL_ERROR, "libxl_create.c:12:domcreate: Domain 9:the second");
		write_log(XTL_ERROR, "libxl_create.c:13:domcreate: Domain 9:the third");
	}
	write_log(XTL_DEBUG, "libxl.c:1:f: not for the core");
	return begin(how, NEW_DOMID, host.create_rc, end_create);
}

static void end_destroy(void)
{
	struct fake_domain *domain = find_domain(host.domid);

	if (domain && host.rc == 0) {
		if (domain->dying_looks != 0) {
			domain->is_dying = true;
		} else {
			domain->domid = 0;
		}
	}
}

int libxl_domain_destroy(libxl_ctx *ctx _unused_, uint32_t domid, const libxl_asyncop_how *how)
{
	note("destroy");
	return begin(how, domid, host.destroy_failures-- > 0 ? ERROR_FAIL : 0, end_destroy);
}

int libxl_domain_shutdown(libxl_ctx *ctx _unused_, uint32_t domid, const libxl_asyncop_how *how)
{
	note("shutdown");
	return begin(how, domid, host.guest_rc, NULL);
}

int libxl_domain_reboot(libxl_ctx *ctx _unused_, uint32_t domid,
			const libxl_asyncop_how *how _unused_)
{
	note("reboot");
	(void)domid;
	return host.guest_rc; /* at once, the callback is never called */
}

static void end_pause(void)
{
	the_domain(host.domid)->n_pauses++;
}

static void end_unpause(void)
{
	the_domain(host.domid)->n_pauses--;
}

int libxl_domain_pause(libxl_ctx *ctx _unused_, uint32_t domid, const libxl_asyncop_how *how)
{
	note("pause");
	return begin(how, domid, host.pause_rc, host.pause_rc ? NULL : end_pause);
}

int libxl_domain_unpause(libxl_ctx *ctx _unused_, uint32_t domid, const libxl_asyncop_how *how)
{
	note("unpause");
	return begin(how, domid, host.pause_rc, host.pause_rc ? NULL : end_unpause);
}

static void fill_info(libxl_dominfo *info, const struct fake_domain *domain)
{
	struct uuid uuid;

	CU_ASSERT_EQUAL(uuid_parse(domain->uuid, &uuid), 0);
	memcpy(libxl_uuid_bytearray(&info->uuid), uuid.bytes, sizeof(uuid.bytes));
	info->domid = domain->domid;
	info->paused = domain->n_pauses > 0;
	info->shutdown = domain->is_shutdown;
	info->dying = domain->is_dying;
}

int libxl_domain_info(libxl_ctx *ctx _unused_, libxl_dominfo *info, uint32_t domid)
{
	struct fake_domain *domain = find_domain(domid);

	if (!domain) {
		return ERROR_DOMAIN_NOTFOUND;
	}
	fill_info(info, domain);
	if (domain->is_dying && domain->dying_looks > 0 && --domain->dying_looks == 0) {
		domain->domid = 0;
	}
	return 0;
}

libxl_dominfo *libxl_list_domain(libxl_ctx *ctx _unused_, int *n)
{
	libxl_dominfo *list = calloc(N_DOMAINS, sizeof(*list));

	*n = 0;
	for (size_t i = 0; list && i < N_DOMAINS; i++) {
		if (host.domains[i].domid != 0) {
			fill_info(&list[(*n)++], &host.domains[i]);
		}
	}
	return list;
}

int libxl_name_to_domid(libxl_ctx *ctx _unused_, const char *name _unused_, uint32_t *domid)
{
	*domid = 3;
	return host.is_name_taken ? 0 : ERROR_INVAL;
}

int libxl_domain_need_memory(libxl_ctx *ctx _unused_, libxl_domain_config *config,
			     uint32_t domid _unused_, uint64_t *need_kib)
{
	*need_kib = config->b_info.max_memkb + 1024;
	return 0;
}

int libxl_get_free_memory(libxl_ctx *ctx _unused_, uint64_t *kib)
{
	*kib = host.free_kib;
	return 0;
}

int libxl_userdata_store(libxl_ctx *ctx _unused_, uint32_t domid, const char *name,
			 const uint8_t *data, int len)
{
	Xenmesh__V1__VmConfig *c;

	note("mark");
	CU_ASSERT_EQUAL(domid, NEW_DOMID);
	CU_ASSERT_STRING_EQUAL(name, "xenmesh");
	c = xenmesh__v1__vm_config__unpack(NULL, (size_t)len, data);
	CU_ASSERT(c && streq(c->uuid, UUID));
	if (c) {
		xenmesh__v1__vm_config__free_unpacked(c, NULL);
	}
	return 0;
}
