/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Preload shim: lets the distribution's unmodified C xenstored 4.17 run without a hypervisor.
 * It replaces the calls of libxenctrl, libxengnttab and libxenevtchn that xenstored makes, and
 * the two files of /proc/xen that it opens, by the state directory of sim_table.h.
 *
 * xenstored is single-threaded; so is this.  The table and rings are shared with simhost and its
 * guests: every index read from them is checked.  No function here falls through to the real
 * library.  Live update is not supported: xenevtchn_fdopen() refuses.
 *
 * This object is loaded into a foreign program: it links libc only, and is never built with
 * a sanitizer, whose runtime that program lacks.
 */

/* Fortified headers define some of the very functions that are replaced here. */
#undef _FORTIFY_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>
#include <xen/io/xs_wire.h>
#include <xenctrl.h>
#include <xenevtchn.h>
#include <xengnttab.h>

#include "services/simhost/xenstored/sim_table.h"

#define EXPORT __attribute__((visibility("default")))

/* What glibc's fortified syslog() calls. */
void __syslog_chk(int priority, int flag, const char *format, ...);

/* The shim's state: it has no caller to keep it. */
static struct {
	struct sim_table *table;
	char *rings;
	int bell_fd;
	int hub_fds[SIM_MAX_HUBS];	  /* -1 = not opened yet */
	bool port_bound[SIM_MAX_DOMAINS]; /* event channel to domid */
	/* bit = domid: xenstored may have looked at its ring since it last slept. */
	uint64_t active[SIM_PENDING_WORDS];
} shim = { .bell_fd = -1 };

/* Handles are never dereferenced by xenstored; any address that is not NULL will do. */
static char handle;

static int shim_path(char *out, size_t size, const char *name)
{
	const char *dir = getenv(SIM_ENV_DIR);
	int n;

	if (!dir) {
		errno = ENOENT;
		return -1;
	}
	n = snprintf(out, size, "%s/%s", dir, name);
	if (n < 0 || (size_t)n >= size) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return 0;
}

static int shim_open(const char *name, int flags)
{
	char path[PATH_MAX];

	if (shim_path(path, sizeof(path), name)) {
		return -1;
	}
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0);
}

/* Map all of a file that must be exactly size bytes. */
static void *shim_map(const char *name, size_t size)
{
	void *address = MAP_FAILED;
	struct stat st;
	int fd;

	fd = shim_open(name, O_RDWR);
	if (fd < 0) {
		return NULL;
	}
	if (fstat(fd, &st) == 0) {
		if (st.st_size == (off_t)size) {
			address = mmap(NULL, size, PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_NORESERVE, fd, 0);
		} else {
			errno = EINVAL;
		}
	}
	close(fd);
	return address == MAP_FAILED ? NULL : address;
}

static int shim_attach(void)
{
	size_t i;

	if (shim.table) {
		return 0;
	}
	for (i = 0; i < SIM_MAX_HUBS; i++) {
		shim.hub_fds[i] = -1;
	}
	shim.rings = shim_map(SIM_FILE_RINGS, SIM_RINGS_BYTES);
	shim.table = shim_map(SIM_FILE_TABLE, sizeof(struct sim_table));
	if (!shim.rings || !shim.table) {
		fprintf(stderr, "simxen: can't map the state directory: %s\n", strerror(errno));
		shim.table = NULL;
		return -1;
	}
	if (shim.table->magic != SIM_TABLE_MAGIC || shim.table->version != SIM_TABLE_VERSION) {
		fprintf(stderr, "simxen: state directory of another version of xenmesh\n");
		shim.table = NULL;
		errno = EPROTO;
		return -1;
	}
	return 0;
}

static bool shim_domain_exists(uint32_t domid)
{
	return domid < SIM_MAX_DOMAINS &&
	       (atomic_load(&shim.table->domains[domid].flags) & SIM_DOMAIN_PRESENT);
}

/* --- libxenctrl ------------------------------------------------------------------------- */

EXPORT xc_interface *xc_interface_open(xentoollog_logger *logger,
				       xentoollog_logger *dombuild_logger, unsigned int flags)
{
	(void)logger;
	(void)dombuild_logger;
	(void)flags;
	return shim_attach() ? NULL : (xc_interface *)(void *)&handle;
}

EXPORT int xc_interface_close(xc_interface *xch)
{
	(void)xch;
	return 0;
}

static bool fill_info(uint32_t domid, xc_dominfo_t *info)
{
	uint32_t flags = atomic_load(&shim.table->domains[domid].flags);

	if (!(flags & SIM_DOMAIN_PRESENT)) {
		return false;
	}
	memset(info, 0, sizeof(*info));
	info->domid = domid;
	if (flags & SIM_DOMAIN_DYING) {
		info->dying = 1;
	}
	if (flags & SIM_DOMAIN_SHUTDOWN) {
		info->shutdown_reason = (flags & SIM_DOMAIN_REASON_MASK) >> SIM_DOMAIN_REASON_SHIFT;
		/* As libxenctrl does: a crash is not also a shutdown. */
		if (info->shutdown_reason == SHUTDOWN_crash) {
			info->crashed = 1;
		} else {
			info->shutdown = 1;
		}
	}
	return true;
}

/*
 * xenstored asks for one domain at a time, for each of its domains at each VIRQ_DOM_EXC.  That
 * must not turn into a search of the table: asked for one, this answers about that one alone,
 * where Xen would go on to the next that exists.
 */
EXPORT int xc_domain_getinfo(xc_interface *xch, uint32_t first_domid, unsigned int max_doms,
			     xc_dominfo_t *info)
{
	uint32_t domid, end;
	unsigned int n = 0;

	(void)xch;
	if (first_domid >= SIM_MAX_DOMAINS || max_doms == 0) {
		errno = ESRCH;
		return -1;
	}
	end = max_doms == 1 ? first_domid + 1 : SIM_MAX_DOMAINS;
	for (domid = first_domid; domid < end && n < max_doms; domid++) {
		if (fill_info(domid, &info[n])) {
			n++;
		}
	}
	if (n == 0) {
		errno = ESRCH;
		return -1;
	}
	return (int)n;
}

/* --- libxengnttab ----------------------------------------------------------------------- */

EXPORT xengnttab_handle *xengnttab_open(struct xentoollog_logger *logger, unsigned int open_flags)
{
	(void)logger;
	(void)open_flags;
	return (xengnttab_handle *)(void *)&handle;
}

EXPORT int xengnttab_close(xengnttab_handle *xgt)
{
	(void)xgt;
	return 0;
}

EXPORT int xengnttab_set_max_grants(xengnttab_handle *xgt, uint32_t nr_grants)
{
	(void)xgt;
	(void)nr_grants;
	return 0;
}

/* All rings are one mapping: thousands of single pages would meet vm.max_map_count. */
EXPORT void *xengnttab_map_grant_ref(xengnttab_handle *xgt, uint32_t domid, uint32_t ref, int prot)
{
	(void)xgt;
	(void)prot;
	if (ref != GNTTAB_RESERVED_XENSTORE) {
		errno = EINVAL;
		return NULL;
	}
	if (!shim_domain_exists(domid)) {
		errno = ESRCH;
		return NULL;
	}
	atomic_store(&shim.table->domains[domid].mapped, 1);
	return shim.rings + (size_t)domid * SIM_PAGE_SIZE;
}

EXPORT int xengnttab_unmap(xengnttab_handle *xgt, void *start_address, uint32_t count)
{
	size_t offset = (size_t)((char *)start_address - shim.rings);

	(void)xgt;
	if (count != 1 || offset >= SIM_RINGS_BYTES || offset % SIM_PAGE_SIZE) {
		errno = EINVAL;
		return -1;
	}
	atomic_store(&shim.table->domains[offset / SIM_PAGE_SIZE].mapped, 0);
	return 0;
}

/* --- libxenevtchn ----------------------------------------------------------------------- */

EXPORT xenevtchn_handle *xenevtchn_open(struct xentoollog_logger *logger, unsigned int flags)
{
	(void)logger;
	(void)flags;
	shim.bell_fd = shim_open(SIM_FILE_BELL_XENSTORED, O_RDWR | O_NONBLOCK);
	return shim.bell_fd < 0 ? NULL : (xenevtchn_handle *)(void *)&handle;
}

/* Only live update asks for it. */
EXPORT xenevtchn_handle *xenevtchn_fdopen(struct xentoollog_logger *logger, int fd,
					  unsigned int open_flags)
{
	(void)logger;
	(void)fd;
	(void)open_flags;
	errno = ENOTSUP;
	return NULL;
}

EXPORT int xenevtchn_fd(xenevtchn_handle *xce)
{
	(void)xce;
	return shim.bell_fd;
}

EXPORT xenevtchn_port_or_error_t xenevtchn_bind_virq(xenevtchn_handle *xce, unsigned int virq)
{
	(void)xce;
	if (virq != VIRQ_DOM_EXC) {
		errno = EINVAL;
		return -1;
	}
	return SIM_PORT_VIRQ;
}

EXPORT xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle *xce, uint32_t domid,
							    evtchn_port_t remote_port)
{
	(void)xce;
	(void)remote_port;
	if (!shim_domain_exists(domid)) {
		errno = ESRCH;
		return -1;
	}
	shim.port_bound[domid] = true;
	return (xenevtchn_port_or_error_t)(SIM_PORT_DOMAIN0 + domid);
}

EXPORT int xenevtchn_unbind(xenevtchn_handle *xce, evtchn_port_t port)
{
	(void)xce;
	if (port >= SIM_PORT_DOMAIN0 && port - SIM_PORT_DOMAIN0 < SIM_MAX_DOMAINS) {
		shim.port_bound[port - SIM_PORT_DOMAIN0] = false;
	}
	return 0;
}

EXPORT int xenevtchn_unmask(xenevtchn_handle *xce, evtchn_port_t port)
{
	(void)xce;
	(void)port;
	return 0;
}

/*
 * xenstored tells only the virq from all others: on anything else it looks at every ring.  So
 * one call takes the events of all guests.  It must never fail (xenstored would end); woken for
 * nothing it reports a guest event, which is harmless.
 */
EXPORT xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle *xce)
{
	char bytes[64];
	size_t i;

	(void)xce;
	while (read(shim.bell_fd, bytes, sizeof(bytes)) == (ssize_t)sizeof(bytes)) {
	}
	atomic_store(&shim.table->xenstored_rung, 0);
	for (i = 0; i < SIM_PENDING_WORDS; i++) {
		if (atomic_load(&shim.table->xenstored_pending[i])) {
			shim.active[i] |= atomic_exchange(&shim.table->xenstored_pending[i], 0);
		}
	}
	if (atomic_exchange(&shim.table->virq_pending, 0)) {
		return SIM_PORT_VIRQ;
	}
	return SIM_PORT_GUESTS;
}

static void ring_hub(uint32_t hub)
{
	char name[32];

	if (hub >= SIM_MAX_HUBS || atomic_exchange(&shim.table->hub_rung[hub], 1)) {
		return;
	}
	if (shim.hub_fds[hub] < 0) {
		snprintf(name, sizeof(name), SIM_FILE_BELL_GUESTS, hub);
		shim.hub_fds[hub] = shim_open(name, O_RDWR | O_NONBLOCK);
	}
	/* A full FIFO is a rung bell. */
	if (shim.hub_fds[hub] < 0 || (write(shim.hub_fds[hub], "", 1) < 0 && errno != EAGAIN)) {
		fprintf(stderr, "simxen: can't ring guests' bell %u: %s\n", hub, strerror(errno));
	}
}

static void raise_guest(uint32_t domid)
{
	atomic_fetch_or(&shim.table->guest_pending[domid / 64], UINT64_C(1) << (domid % 64));
	ring_hub(atomic_load(&shim.table->domains[domid].hub));
}

EXPORT int xenevtchn_notify(xenevtchn_handle *xce, evtchn_port_t port)
{
	uint32_t domid = port - SIM_PORT_DOMAIN0;

	(void)xce;
	if (domid >= SIM_MAX_DOMAINS || !shim.port_bound[domid]) {
		errno = EINVAL;
		return -1;
	}
	shim.active[domid / 64] |= UINT64_C(1) << (domid % 64);
	raise_guest(domid);
	return 0;
}

/* --- libc ------------------------------------------------------------------------------- */

static int shim_openat(int dir_fd, const char *path, int flags, mode_t mode)
{
	if (strcmp(path, "/proc/xen/xsd_port") == 0) {
		return shim_open(SIM_FILE_XSD_PORT, O_RDONLY);
	}
	if (strcmp(path, "/proc/xen/xsd_kva") == 0) {
		/* dom0's ring is mapped from here, at offset 0: the page of domid 0. */
		if (shim_attach()) {
			return -1;
		}
		atomic_store(&shim.table->domains[0].mapped, 1);
		return shim_open(SIM_FILE_RINGS, O_RDWR);
	}
	return (int)syscall(SYS_openat, dir_fd, path, flags, mode);
}

/* The mode is there only if a file may be made. */
#define OPEN_MODE(mode, flags)                                               \
	do {                                                                 \
		if (((flags)&O_CREAT) || ((flags)&O_TMPFILE) == O_TMPFILE) { \
			va_list args_;                                       \
			va_start(args_, flags);                              \
			(mode) = va_arg(args_, mode_t);                      \
			va_end(args_);                                       \
		}                                                            \
	} while (0)

EXPORT int open(const char *path, int flags, ...)
{
	mode_t mode = 0;

	OPEN_MODE(mode, flags);
	return shim_openat(AT_FDCWD, path, flags, mode);
}

EXPORT int openat(int dir_fd, const char *path, int flags, ...)
{
	mode_t mode = 0;

	OPEN_MODE(mode, flags);
	return shim_openat(dir_fd, path, flags, mode);
}

static void raise_if_error(uint32_t domid)
{
	const struct xenstore_domain_interface *page =
		(const void *)(shim.rings + (size_t)domid * SIM_PAGE_SIZE);

	if (page->error != XENSTORE_ERROR_NONE) {
		raise_guest(domid);
	}
}

/*
 * xenstored gives up a connection by a field of the ring page, and sends no event with it.  Before
 * it sleeps, the guests it has dealt with are told.
 */
EXPORT int poll(struct pollfd *fds, nfds_t n_fds, int timeout_ms)
{
	const struct timespec timeout = { .tv_sec = timeout_ms / 1000,
					  .tv_nsec = timeout_ms % 1000 * 1000000L };
	uint32_t i, bit;

	for (i = 0; i < SIM_PENDING_WORDS; i++) {
		for (bit = 0; shim.active[i]; bit++) {
			if (shim.active[i] & (UINT64_C(1) << bit)) {
				shim.active[i] &= ~(UINT64_C(1) << bit);
				raise_if_error(i * 64 + bit);
			}
		}
	}
	return ppoll(fds, n_fds, timeout_ms < 0 ? NULL : &timeout, NULL);
}

/* A simulated host's complaints belong in its own log, not in this machine's. */
EXPORT void __syslog_chk(int priority, int flag, const char *format, ...)
{
	va_list args;

	(void)priority;
	(void)flag;
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}
