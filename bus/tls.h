/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What this process has for TLS: its key, its certificate, the authority that
 * signs those of the peers, and the list of those it took back.  Read from the
 * files of [tls] when the first tls+tcp:// address is used, and again when one
 * of them has changed, so renewed certificates need no restart.
 *
 * libssl is loaded with the first address too: a process that uses none does
 * not pay for it.
 */
#include "libcommon/base.h"
#include "libcommon/strbuf.h"

#define BUS_TLS_WARN_DAYS 30

enum bus_tls_file { BUS_TLS_CA, BUS_TLS_CERT, BUS_TLS_KEY, BUS_TLS_CRL, BUS_TLS_FILES };

struct bus_tls;
struct ssl_ctx_st;

/* "ca", "cert", "key", "crl" */
const char *bus_tls_file_name(enum bus_tls_file file);

/* With one reference. Reads nothing yet. NULL when out of memory. */
struct bus_tls *bus_tls_new(void);
/* NULL is allowed in both; unref returns NULL. */
struct bus_tls *bus_tls_ref(struct bus_tls *t);
struct bus_tls *bus_tls_unref(struct bus_tls *t);
static inline void bus_tls_unrefp(struct bus_tls **t)
{
	*t = bus_tls_unref(*t);
}
/* Where a file is, and the line of the configuration that says so. 0 or -ENOMEM. */
int bus_tls_set(struct bus_tls *t, enum bus_tls_file file, const char *path, const char *conf,
		unsigned int line);
/* NULL when it was not given. */
const char *bus_tls_path(const struct bus_tls *t, enum bus_tls_file file);
/* The text of a file, malloc'ed; NULL with errno. */
char *bus_tls_text(const char *path);
/* All but the crl are given. */
bool bus_tls_is_complete(const struct bus_tls *t);

/* Read and check the files, unless that was done and none has changed since; blocks on the file
 * system.
 * 0; 1 = usable, with complaints: the certificate or the crl has expired, peers will refuse it;
 * -EINVAL with complaints; -ENOSYS: no libssl; -ENOMEM. After a failure the files of before stay
 * in use, if there were any. */
int bus_tls_load(struct bus_tls *t, struct strbuf *errors);
/* The same with the complaints in the log, looking at the files once a second at most.
 * 0; -errno: there is nothing usable. */
int bus_tls_refresh(struct bus_tls *t);

/* After a load. NULL before. */
struct ssl_ctx_st *bus_tls_context(const struct bus_tls *t);
/* Grows with each load: what was verified before may not be valid any more. */
uint64_t bus_tls_generation(const struct bus_tls *t);
