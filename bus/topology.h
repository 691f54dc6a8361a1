/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Who listens where, and who may do what.  Read from topology.conf and its
 * drop-ins topology.d/NAME.conf (ini); compiled-in defaults equal the shipped file,
 * so an empty /etc works.
 *
 *   [bus]             run_dir = /run/xenmesh
 *                     engine = native    (or nng: for all URLs)
 *   [service ops]     pub = URL...   rpc = URL...   (blank-separated; the first is
 *                     the one local clients dial; ipc://, tcp://, tls+tcp://)
 *   [host NAME]       ops.pub = URL   ops.rpc = URL  (services of a remote host)
 *   [tls]             ca = FILE   cert = FILE   key = FILE   crl = FILE
 *                     (for tls+tcp://; all in PEM, crl is not needed)
 *   [access]          observer = *   operator = @xenmesh  admin = root @xenmesh-admin
 *                     (user names, numeric uids, @groups, * = anybody)
 *
 * `@run@` in a URL stands for run_dir.  Unknown sections and keys are errors.
 */
#include "libcommon/base.h"
#include "libcommon/conf.h"
#include "libcommon/strbuf.h"

#define TOPOLOGY_URLS_MAX     4
#define TOPOLOGY_DEFAULT_PATH "/etc/xenmesh/topology.conf"

struct bus_engine;
struct bus_tls;

struct topology_endpoint {
	char *urls[TOPOLOGY_URLS_MAX];
	size_t n_urls;
	const struct bus_engine *engine; /* that moves the bytes of all of them */
	struct bus_tls *tls;		 /* the topology's; its files are not read yet */
};

struct topology_service {
	char *name; /* "ops"; "HOST/ops" for a remote host's */
	struct topology_endpoint pub;
	struct topology_endpoint rpc;
};

struct topology;

/* path NULL: $XENMESH_TOPOLOGY, else TOPOLOGY_DEFAULT_PATH if it is there, else the defaults.
 * A path that was named must exist.  -EINVAL with complaints (file:line: what, what to do). */
int topology_load(struct topology **out, const char *path, struct strbuf *errors);
/* The same with another run_dir than the files say; NULL = theirs. */
int topology_load_in(struct topology **out, const char *path, const char *run_dir,
		     struct strbuf *errors);
struct topology *topology_free(struct topology *t);
static inline void topology_freep(struct topology **t)
{
	*t = topology_free(*t);
}

/* NULL when unknown. */
const struct topology_service *topology_service(const struct topology *t, const char *name);
size_t topology_n_services(const struct topology *t);
const struct topology_service *topology_service_at(const struct topology *t, size_t i);
/* Of this host. */
const char *topology_run_dir(const struct topology *t);
/* Where it was read from; "(defaults)". */
const char *topology_origin(const struct topology *t);

/* Find the numbers of the users and groups of [access], once: for services, at their start. Asks
 * NSS, which may block. Names that do not exist are told. 0; -ENOMEM. */
int topology_resolve_access(struct topology *t);
/* Role (enum bus_role) of a local process: the highest that any of its uid, gid and supplementary
 * groups has in [access]; root (uid 0) and the uid that runs this process are always admin.
 * Never blocks; before topology_resolve_access() nobody else has one. */
int topology_role(const struct topology *t, uid_t uid, gid_t gid, const gid_t *gids, size_t n_gids);
/* The files of [tls]. Never NULL. */
struct bus_tls *topology_tls(const struct topology *t);
/* Path of an ipc:// URL, NULL for others. */
const char *topology_url_path(const char *url);

/* Every value that holds, as written, with the place it is from; strings live during the call.
 * Sections as in the file ("service ops"), in the order in which they were first read. */
typedef void (*topology_setting_fn)(const char *section, const char *key, const char *value,
				    const struct conf_pos *pos, void *userdata);
void topology_each_setting(const struct topology *t, topology_setting_fn fn, void *userdata);
