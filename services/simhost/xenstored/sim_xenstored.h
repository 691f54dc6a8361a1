/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The distribution's real xenstored without a hypervisor, and the table of domains that it
 * believes Xen has.  One object is one state directory (layout: sim_table.h).
 *
 * Unless said otherwise functions return 0 or -errno and do not block.  One thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "services/simhost/xenstored/sim_table.h"

/* Where Debian's xen-utils-4.17 has it; other Xen versions use library calls the shim lacks. */
#define SIM_XENSTORED_PATH "/usr/lib/xen-4.17/bin/xenstored"

/* Enough for one sentence, a path (PATH_MAX is cut) and a line of xenstored's log. */
#define SIM_ERROR_BYTES 1024

struct sim_xenstored;

struct sim_xenstored_options {
	/*
	 * State directory, made (0700) if only its last part does not exist; must be writable for
	 * this user alone.  xenstored's socket lies in it, so its absolute path has at most 96
	 * bytes.  Required.
	 */
	const char *state_dir;
	/* xenmesh-simxen.so; NULL = beside the running executable. */
	const char *shim_path;
	/* xenstored; NULL = SIM_XENSTORED_PATH. */
	const char *xenstored_path;
	/* Further arguments to xenstored (quotas: "-E", "200"), NULL-terminated; NULL = none. */
	const char *const *extra_args;
	/* Longest wait for xenstored to answer, ms; 0 = 10000 (it takes about 10). */
	uint32_t start_timeout_ms;
	/*
	 * false: the kernel kills xenstored when the calling thread ends in whatever way.
	 * true: it stays, and the next sim_xenstored_open() of the directory adopts it, with the
	 * table of domains as it was.
	 */
	bool survives;
};

/* Called once, from the loop, after xenstored has ended.  what: one sentence.  May call
 * sim_xenstored_free(). */
typedef void (*sim_xenstored_death_fn)(struct sim_xenstored *xs, const char *what, void *userdata);

/*
 * Adopt the xenstored that runs in the directory, or else make the directory's files anew and
 * start one with domain 0 and the nodes xen-init-dom0 makes.  After adoption the domains are those
 * of sim_domain_next() and guest_ring_new() goes on with their rings (see there); no XS_INTRODUCE:
 * xenstored 4.17 frees a half received message by it, but goes on using it.  extra_args are
 * ignored when adopting.
 *
 * Blocks until xenstored answers, at most start_timeout_ms.  On failure `error` (size
 * SIM_ERROR_BYTES) holds a sentence for people: what happened, what to do.  -ENOENT: xenstored or
 * shim not installed; -ENAMETOOLONG: directory path; -ETIMEDOUT: never answered;
 * -ECHILD: ended at once, the sentence has its last log line; -EBUSY: another simhost uses the
 * directory; -EPROTO: the xenstored running there belongs to another version of xenmesh; -EPERM:
 * others could write to the directory; others from the system.
 */
int sim_xenstored_open(struct sim_xenstored **out, const struct sim_xenstored_options *options,
		       char error[static SIM_ERROR_BYTES]);

/*
 * Unless it survives, end xenstored (SIGKILL: its database is in memory, there is nothing to save)
 * and reap it; unmap, close.  Blocks until the process is gone, some ms.  The directory's files
 * stay.  NULL is fine.  Returns NULL.
 */
struct sim_xenstored *sim_xenstored_free(struct sim_xenstored *xs);
void sim_xenstored_freep(struct sim_xenstored **xs);

/* As _free, and ends xenstored also if it survives. */
struct sim_xenstored *sim_xenstored_stop(struct sim_xenstored *xs);

/*
 * Tell `fn` from `event` when xenstored ends.  The process is reaped here by its pidfd: the
 * caller must not wait for arbitrary children (waitpid(-1)).  Once per object.
 */
int sim_xenstored_watch_death(struct sim_xenstored *xs, sd_event *event, sim_xenstored_death_fn fn,
			      void *userdata);

bool sim_xenstored_is_adopted(const struct sim_xenstored *xs);
pid_t sim_xenstored_pid(const struct sim_xenstored *xs);
/* Owned by xs. */
const char *sim_xenstored_state_dir(const struct sim_xenstored *xs);
/* What libxenstore wants in $XENSTORED_PATH.  Owned by xs. */
const char *sim_xenstored_socket(const struct sim_xenstored *xs);

/*
 * Domains.  domid is 1..SIM_MAX_DOMAINS-1 (else -EINVAL); domain 0 exists always and can't be
 * changed.  -ESRCH: no such domain.  Making a domain is: sim_domain_add(), write its tree as dom0,
 * XS_INTRODUCE as dom0 (gfn any, port SIM_GUEST_PORT), guest_ring_new().  Ending it:
 * guest_ring_free(), sim_domain_shutdown(), ..., sim_domain_remove(), remove its tree as dom0.
 */

/* A new domain with a zeroed ring page.  -EEXIST: is there.  -EBUSY: xenstored has not let go of
 * the ring page of the last domain of this number; take another or try after @releaseDomain. */
int sim_domain_add(struct sim_xenstored *xs, uint32_t domid);

/* The domain stopped by itself with a SHUTDOWN_* reason (xen/sched.h); raises VIRQ_DOM_EXC, so
 * that @releaseDomain fires.  Calling it again changes only the reason. */
int sim_domain_shutdown(struct sim_xenstored *xs, uint32_t domid, uint8_t reason);

/* It runs again, after suspend (the toolstack also does XS_RESUME).  No event. */
int sim_domain_resume(struct sim_xenstored *xs, uint32_t domid);

/* Being torn down: xenstored drops connection, watches and nodes owned by it, @releaseDomain
 * fires.  Still present. */
int sim_domain_set_dying(struct sim_xenstored *xs, uint32_t domid);

/* Gone; raises VIRQ_DOM_EXC. */
int sim_domain_remove(struct sim_xenstored *xs, uint32_t domid);

/* SIM_DOMAIN_* flags; 0 if there is no such domain or domid is out of range. */
uint32_t sim_domain_flags(const struct sim_xenstored *xs, uint32_t domid);

/* The lowest existing domid > after; 0 if none.  For walking what an adopted directory holds. */
uint32_t sim_domain_next(const struct sim_xenstored *xs, uint32_t after);
