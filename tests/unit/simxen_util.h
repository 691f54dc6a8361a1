/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Fixture of the tests of simhost's lower half: a state directory with a real xenstored, dom0's
 * connection to it by libxenstore, and guests that write down what they hear.
 */

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <xenstore.h>

#include "libcommon/base.h"
#include "libcommon/clock.h"
#include "services/simhost/xenstored/guest_ring.h"
#include "services/simhost/xenstored/sim_xenstored.h"
#include "tests/unit/unit.h"

/* Longest wait for an event that is expected; generous, because it is only used up by a failure. */
#define PATIENCE_MS 20000

struct host {
	char dir[PATH_MAX];
	char shim[PATH_MAX];
	char error[SIM_ERROR_BYTES];
	sd_event *event;
	struct sim_xenstored *xs;
	struct guest_ring_hub *hub;
	struct xs_handle *dom0;
	unsigned int n_deaths;
	char death[256];
};

/* What a guest heard. */
struct heard {
	unsigned int n_replies;
	int last_error;
	char last_data[XENSTORE_PAYLOAD_MAX + 1];
	size_t last_len;
	unsigned int n_watches;
	char last_path[256];
	char last_token[64];
	unsigned int n_strays;
	struct xsd_sockmsg last_stray;
	unsigned int n_broken;
	int broken_error;
	struct guest_ring **free_on_reply;
	struct guest_ring **free_on_watch;
};

/* --- callbacks -------------------------------------------------------------------------- */

static inline void on_reply(struct guest_ring *ring, int error, const char *data, size_t len,
			    void *userdata)
{
	struct heard *heard = userdata;

	(void)ring;
	heard->n_replies++;
	heard->last_error = error;
	heard->last_len = len;
	CU_ASSERT((data != NULL) == (error == 0));
	if (data) {
		CU_ASSERT(data[len] == '\0');
		memcpy(heard->last_data, data, len + 1);
	}
	if (heard->free_on_reply) {
		*heard->free_on_reply = guest_ring_free(*heard->free_on_reply);
	}
}

static inline void on_watch(struct guest_ring *ring, const char *path, const char *token,
			    void *userdata)
{
	struct heard *heard = userdata;

	(void)ring;
	heard->n_watches++;
	snprintf(heard->last_path, sizeof(heard->last_path), "%s", path);
	snprintf(heard->last_token, sizeof(heard->last_token), "%s", token);
	if (heard->free_on_watch) {
		*heard->free_on_watch = guest_ring_free(*heard->free_on_watch);
	}
}

static inline void on_broken(struct guest_ring *ring, int error, void *userdata)
{
	struct heard *heard = userdata;

	CU_ASSERT(guest_ring_in_flight(ring) == 0);
	heard->n_broken++;
	heard->broken_error = error;
}

static inline void on_stray(struct guest_ring *ring, const struct xsd_sockmsg *header,
			    const char *data, void *userdata)
{
	struct heard *heard = userdata;

	(void)ring;
	heard->n_strays++;
	heard->last_stray = *header;
	snprintf(heard->last_data, sizeof(heard->last_data), "%s", data);
}

static const struct guest_ring_callbacks callbacks = {
	.watch = on_watch,
	.broken = on_broken,
	.stray = on_stray,
};

static inline void on_death(struct sim_xenstored *xs, const char *what, void *userdata)
{
	struct host *host = userdata;

	CU_ASSERT(xs == host->xs);
	host->n_deaths++;
	snprintf(host->death, sizeof(host->death), "%s", what);
}

/* --- fixture ---------------------------------------------------------------------------- */

/* Built beside the programs, two levels above the tests. */
static inline void find_shim(char out[static PATH_MAX])
{
	char path[PATH_MAX - 64];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	out[0] = '\0';
	for (int i = 0; n > 0 && i < 3; i++) {
		path[n] = '\0';
		n = strrchr(path, '/') - path;
		path[n] = '\0';
	}
	if (n > 0) {
		snprintf(out, PATH_MAX, "%s/xenmesh-simxen.so", path);
	}
}

static inline bool host_prepare(struct host *host)
{
	const char *tmp = getenv("TMPDIR");

	*host = (struct host){ 0 };
	find_shim(host->shim);
	snprintf(host->dir, sizeof(host->dir), "%s/simxen-XXXXXX", tmp ? tmp : "/tmp");
	CU_ASSERT(mkdtemp(host->dir) != NULL);
	CU_ASSERT(sd_event_new(&host->event) >= 0);
	return host->event != NULL;
}

static inline bool host_open(struct host *host, const char *const *args, bool survives)
{
	const struct sim_xenstored_options options = {
		.state_dir = host->dir,
		.shim_path = host->shim,
		.extra_args = args,
		.survives = survives,
	};
	int r;

	r = sim_xenstored_open(&host->xs, &options, host->error);
	CU_ASSERT(r == 0);
	if (r < 0) {
		printf("%s\n", host->error);
		return false;
	}
	setenv("XENSTORED_PATH", sim_xenstored_socket(host->xs), 1);
	host->dom0 = xs_open(0);
	CU_ASSERT(host->dom0 != NULL);
	CU_ASSERT(guest_ring_hub_new(&host->hub, host->event, host->dir) == 0);
	CU_ASSERT(sim_xenstored_watch_death(host->xs, host->event, on_death, host) == 0);
	return host->dom0 && host->hub;
}

static inline bool host_start(struct host *host, const char *const *args)
{
	return host_prepare(host) && host_open(host, args, false);
}

static inline void host_close(struct host *host)
{
	host->hub = guest_ring_hub_free(host->hub);
	if (host->dom0) {
		xs_close(host->dom0);
		host->dom0 = NULL;
	}
	host->xs = sim_xenstored_free(host->xs);
}

static inline void host_end(struct host *host)
{
	char command[PATH_MAX + 16];

	host_close(host);
	host->event = sd_event_unref(host->event);
	snprintf(command, sizeof(command), "rm -rf '%s'", host->dir);
	CU_ASSERT(system(command) == 0);
}

/* Run the loop until *counter is at least n. */
static inline bool wait_for(struct host *host, const unsigned int *counter, unsigned int n)
{
	uint64_t end_ns = clock_boot_ns() + PATIENCE_MS * NSEC_PER_MSEC;

	while (*counter < n && clock_boot_ns() < end_ns) {
		if (sd_event_run(host->event, 100 * USEC_PER_MSEC) < 0) {
			break;
		}
	}
	CU_ASSERT(*counter >= n);
	return *counter >= n;
}

/* --- dom0's side ------------------------------------------------------------------------ */

static inline void dom0_set_owner(struct host *host, const char *path, uint32_t owner)
{
	struct xs_permissions perms = { .id = owner, .perms = XS_PERM_NONE };

	CU_ASSERT(xs_set_permissions(host->dom0, XBT_NULL, path, &perms, 1));
}

static inline void dom0_write(struct host *host, const char *path, const char *value)
{
	CU_ASSERT(xs_write(host->dom0, XBT_NULL, path, value, (unsigned int)strlen(value)));
}

static inline bool dom0_reads(struct host *host, const char *path, const char *expected)
{
	_cleanup_(xfreep) char *value = xs_read(host->dom0, XBT_NULL, path, NULL);

	return expected ? value && streq(value, expected) : !value && errno == ENOENT;
}

/* A domain with what a toolstack gives it: a tree it may read, and data/ that is its own. */
static inline bool add_domain(struct host *host, uint32_t domid)
{
	struct xs_permissions perms[] = { { .id = 0, .perms = XS_PERM_NONE },
					  { .id = domid, .perms = XS_PERM_READ } };
	char path[64];

	if (sim_domain_add(host->xs, domid) < 0) {
		return false;
	}
	snprintf(path, sizeof(path), "/local/domain/%u", domid);
	if (!xs_mkdir(host->dom0, XBT_NULL, path) ||
	    !xs_set_permissions(host->dom0, XBT_NULL, path, perms, 2)) {
		return false;
	}
	snprintf(path, sizeof(path), "/local/domain/%u/name", domid);
	dom0_write(host, path, "guest");
	snprintf(path, sizeof(path), "/local/domain/%u/data", domid);
	if (!xs_mkdir(host->dom0, XBT_NULL, path)) {
		return false;
	}
	dom0_set_owner(host, path, domid);
	return xs_introduce_domain(host->dom0, domid, 0, SIM_GUEST_PORT);
}

static inline struct guest_ring *add_guest(struct host *host, uint32_t domid, struct heard *heard)
{
	struct guest_ring *ring = NULL;

	memset(heard, 0, sizeof(*heard));
	CU_ASSERT(add_domain(host, domid));
	CU_ASSERT(guest_ring_new(&ring, host->hub, domid, &callbacks, heard) == 0);
	return ring;
}

/* Wait for an event of that token; others are passed over. */
static inline bool dom0_hears(struct host *host, const char *token)
{
	struct pollfd p = { .fd = xs_fileno(host->dom0), .events = POLLIN };
	uint64_t end_ns = clock_boot_ns() + PATIENCE_MS * NSEC_PER_MSEC;
	bool found = false;
	char **event;

	while (!found && clock_boot_ns() < end_ns) {
		if (poll(&p, 1, 100) <= 0) {
			continue;
		}
		while (!found && (event = xs_check_watch(host->dom0))) {
			found = streq(event[XS_WATCH_TOKEN], token);
			free(event);
		}
	}
	return found;
}

/* Whether an event of that token has come; the round trip proves that none is on its way. */
static inline bool dom0_has_heard(struct host *host, const char *token)
{
	bool found = false;
	char **event;

	CU_ASSERT(dom0_reads(host, "/local/domain/0/domid", "0"));
	while ((event = xs_check_watch(host->dom0))) {
		found |= streq(event[XS_WATCH_TOKEN], token);
		free(event);
	}
	return found;
}

/* Both watches, and their first events away. */
static inline void dom0_watch_domains(struct host *host)
{
	CU_ASSERT(xs_watch(host->dom0, "@introduceDomain", "in"));
	CU_ASSERT(xs_watch(host->dom0, "@releaseDomain", "out"));
	CU_ASSERT(dom0_hears(host, "in"));
	CU_ASSERT(dom0_hears(host, "out"));
}

/* --- requests of one guest -------------------------------------------------------------- */

static inline int guest_write(struct host *host, struct guest_ring *ring, struct heard *heard,
			      const char *path, const char *value)
{
	unsigned int n = heard->n_replies + 1;
	int r = guest_ring_write(ring, path, value, strlen(value), on_reply, heard);

	if (r < 0) {
		return r;
	}
	CU_ASSERT(heard->n_replies == n - 1);
	return wait_for(host, &heard->n_replies, n) ? heard->last_error : -ETIMEDOUT;
}

static inline int guest_read(struct host *host, struct guest_ring *ring, struct heard *heard,
			     const char *path)
{
	unsigned int n = heard->n_replies + 1;
	int r = guest_ring_read(ring, path, on_reply, heard);

	if (r < 0) {
		return r;
	}
	return wait_for(host, &heard->n_replies, n) ? heard->last_error : -ETIMEDOUT;
}
