/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The simulated host's lower half against the distribution's real xenstored: the preload shim, its
 * launcher and table of domains (sim_xenstored) and the guests' rings (guest_ring).  Each test has
 * a state directory and a xenstored of its own.
 */

#include "services/simhost/xenstored/guest_ring.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <xen/sched.h>
#include <xenstore.h>

#include "libcommon/base.h"
#include "libcommon/clock.h"
#include "services/simhost/xenstored/sim_xenstored.h"
#include "tests/unit/unit.h"

/* Longest wait for an event that is expected; generous, because it is only used up by a failure. */
#define PATIENCE_MS 20000

#define MAX_EVENTS 64

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

static void on_reply(struct guest_ring *ring, int error, const char *data, size_t len,
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

static void on_watch(struct guest_ring *ring, const char *path, const char *token, void *userdata)
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

static void on_broken(struct guest_ring *ring, int error, void *userdata)
{
	struct heard *heard = userdata;

	CU_ASSERT(guest_ring_in_flight(ring) == 0);
	heard->n_broken++;
	heard->broken_error = error;
}

static void on_stray(struct guest_ring *ring, const struct xsd_sockmsg *header, const char *data,
		     void *userdata)
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

static void on_death(struct sim_xenstored *xs, const char *what, void *userdata)
{
	struct host *host = userdata;

	CU_ASSERT(xs == host->xs);
	host->n_deaths++;
	snprintf(host->death, sizeof(host->death), "%s", what);
}

/* --- fixture ---------------------------------------------------------------------------- */

/* Built beside the programs, two levels above the tests. */
static void find_shim(char out[static PATH_MAX])
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

static bool host_prepare(struct host *host)
{
	const char *tmp = getenv("TMPDIR");

	*host = (struct host){ 0 };
	find_shim(host->shim);
	snprintf(host->dir, sizeof(host->dir), "%s/simxen-XXXXXX", tmp ? tmp : "/tmp");
	CU_ASSERT(mkdtemp(host->dir) != NULL);
	CU_ASSERT(sd_event_new(&host->event) >= 0);
	return host->event != NULL;
}

static bool host_open(struct host *host, const char *const *args, bool survives)
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

static bool host_start(struct host *host, const char *const *args)
{
	return host_prepare(host) && host_open(host, args, false);
}

static void host_close(struct host *host)
{
	host->hub = guest_ring_hub_free(host->hub);
	if (host->dom0) {
		xs_close(host->dom0);
		host->dom0 = NULL;
	}
	host->xs = sim_xenstored_free(host->xs);
}

static void host_end(struct host *host)
{
	char command[PATH_MAX + 16];

	host_close(host);
	host->event = sd_event_unref(host->event);
	snprintf(command, sizeof(command), "rm -rf '%s'", host->dir);
	CU_ASSERT(system(command) == 0);
}

/* Run the loop until *counter is at least n. */
static bool wait_for(struct host *host, const unsigned int *counter, unsigned int n)
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

static void dom0_set_owner(struct host *host, const char *path, uint32_t owner)
{
	struct xs_permissions perms = { .id = owner, .perms = XS_PERM_NONE };

	CU_ASSERT(xs_set_permissions(host->dom0, XBT_NULL, path, &perms, 1));
}

static void dom0_write(struct host *host, const char *path, const char *value)
{
	CU_ASSERT(xs_write(host->dom0, XBT_NULL, path, value, (unsigned int)strlen(value)));
}

static bool dom0_reads(struct host *host, const char *path, const char *expected)
{
	_cleanup_(xfreep) char *value = xs_read(host->dom0, XBT_NULL, path, NULL);

	return expected ? value && streq(value, expected) : !value && errno == ENOENT;
}

/* A domain with what a toolstack gives it: a tree it may read, and data/ that is its own. */
static bool add_domain(struct host *host, uint32_t domid)
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

static struct guest_ring *add_guest(struct host *host, uint32_t domid, struct heard *heard)
{
	struct guest_ring *ring = NULL;

	memset(heard, 0, sizeof(*heard));
	CU_ASSERT(add_domain(host, domid));
	CU_ASSERT(guest_ring_new(&ring, host->hub, domid, &callbacks, heard) == 0);
	return ring;
}

/* Wait for an event of that token; others are passed over. */
static bool dom0_hears(struct host *host, const char *token)
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
static bool dom0_has_heard(struct host *host, const char *token)
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
static void dom0_watch_domains(struct host *host)
{
	CU_ASSERT(xs_watch(host->dom0, "@introduceDomain", "in"));
	CU_ASSERT(xs_watch(host->dom0, "@releaseDomain", "out"));
	CU_ASSERT(dom0_hears(host, "in"));
	CU_ASSERT(dom0_hears(host, "out"));
}

/* --- requests of one guest -------------------------------------------------------------- */

static int guest_write(struct host *host, struct guest_ring *ring, struct heard *heard,
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

static int guest_read(struct host *host, struct guest_ring *ring, struct heard *heard,
		      const char *path)
{
	unsigned int n = heard->n_replies + 1;
	int r = guest_ring_read(ring, path, on_reply, heard);

	if (r < 0) {
		return r;
	}
	return wait_for(host, &heard->n_replies, n) ? heard->last_error : -ETIMEDOUT;
}

/* --- tests ------------------------------------------------------------------------------ */

static void test_dom0_is_set_up(void)
{
	struct host host;

	if (host_start(&host, NULL)) {
		CU_ASSERT(dom0_reads(&host, "/local/domain/0/domid", "0"));
		CU_ASSERT(dom0_reads(&host, "/local/domain/0/name", "Domain-0"));
		CU_ASSERT(dom0_reads(&host, "/local/pool/0/name", "Pool-0"));
		CU_ASSERT(dom0_reads(&host, "/tool/xenstored", ""));
		CU_ASSERT(!sim_xenstored_is_adopted(host.xs));
		CU_ASSERT(kill(sim_xenstored_pid(host.xs), 0) == 0);
		CU_ASSERT(sim_domain_flags(host.xs, 0) == SIM_DOMAIN_PRESENT);
		CU_ASSERT(sim_domain_next(host.xs, 0) == 0);
	}
	host_end(&host);
}

static void test_guest_has_its_permissions(void)
{
	struct guest_ring *ring;
	struct heard heard;
	struct host host;

	if (host_start(&host, NULL) && (ring = add_guest(&host, 5, &heard))) {
		CU_ASSERT(add_domain(&host, 6));
		CU_ASSERT(guest_write(&host, ring, &heard, "data/os", "minix") == 0);
		CU_ASSERT(dom0_reads(&host, "/local/domain/5/data/os", "minix"));
		CU_ASSERT(guest_read(&host, ring, &heard, "data/os") == 0);
		CU_ASSERT(heard.last_len == 5);
		CU_ASSERT(streq(heard.last_data, "minix"));
		CU_ASSERT(guest_read(&host, ring, &heard, "name") == 0);
		CU_ASSERT(guest_read(&host, ring, &heard, "data/none") == -ENOENT);
		CU_ASSERT(guest_write(&host, ring, &heard, "name", "dom0") == -EACCES);
		CU_ASSERT(guest_write(&host, ring, &heard, "new", "x") == -EACCES);
		CU_ASSERT(guest_write(&host, ring, &heard, "/local/domain/6/data/x", "x") ==
			  -EACCES);
		CU_ASSERT(guest_read(&host, ring, &heard, "/local/domain/6/data") == -EACCES);
		CU_ASSERT(guest_ring_rm(ring, "data/os", on_reply, &heard) == 0);
		CU_ASSERT(wait_for(&host, &heard.n_replies, 9));
		CU_ASSERT(heard.last_error == 0);
		CU_ASSERT(guest_read(&host, ring, &heard, "data/os") == -ENOENT);
		CU_ASSERT(guest_ring_domid(ring) == 5);
		CU_ASSERT(guest_ring_in_flight(ring) == 0);
	}
	host_end(&host);
}

static void test_quotas_are_errno(void)
{
	static const char *const args[] = { "-E", "20", NULL };
	char path[64], value[2100];
	struct guest_ring *ring;
	struct heard heard;
	struct host host;
	int r = 0;
	int n = 0;

	if (host_start(&host, args) && (ring = add_guest(&host, 5, &heard))) {
		memset(value, 'v', sizeof(value) - 1);
		value[sizeof(value) - 1] = '\0';
		CU_ASSERT(guest_write(&host, ring, &heard, "data/big", value) == -ENOSPC);
		for (; n < 40 && r == 0; n++) {
			snprintf(path, sizeof(path), "data/%d", n);
			r = guest_write(&host, ring, &heard, path, "x");
		}
		CU_ASSERT(r == -ENOSPC);
		/* data/ itself is its first node. */
		CU_ASSERT(n == 20);
	}
	host_end(&host);
}

static void test_watches_reach_the_guest(void)
{
	struct guest_ring *ring;
	struct heard heard;
	unsigned int n;
	struct host host;

	if (host_start(&host, NULL) && (ring = add_guest(&host, 5, &heard))) {
		CU_ASSERT(guest_ring_watch(ring, "data", "token 1", on_reply, &heard) == 0);
		CU_ASSERT(wait_for(&host, &heard.n_watches, 1));
		CU_ASSERT(wait_for(&host, &heard.n_replies, 1));
		CU_ASSERT(heard.last_error == 0);
		CU_ASSERT(streq(heard.last_path, "data"));
		CU_ASSERT(streq(heard.last_token, "token 1"));
		dom0_write(&host, "/local/domain/5/data/request", "now");
		CU_ASSERT(wait_for(&host, &heard.n_watches, 2));
		CU_ASSERT(streq(heard.last_path, "data/request"));
		CU_ASSERT(guest_ring_unwatch(ring, "data", "token 1", on_reply, &heard) == 0);
		CU_ASSERT(wait_for(&host, &heard.n_replies, 2));
		CU_ASSERT(heard.last_error == 0);
		n = heard.n_watches;
		dom0_write(&host, "/local/domain/5/data/request", "later");
		/* A round trip: an event would have come before the reply. */
		CU_ASSERT(guest_read(&host, ring, &heard, "name") == 0);
		CU_ASSERT(heard.n_watches == n);
	}
	host_end(&host);
}

static void test_replies_larger_than_the_ring(void)
{
	char path[256], value[2000];
	struct guest_ring *ring;
	size_t pos = 0, n = 0;
	struct heard heard;
	struct host host;

	if (host_start(&host, NULL) && (ring = add_guest(&host, 5, &heard))) {
		memset(value, 'v', sizeof(value) - 1);
		value[sizeof(value) - 1] = '\0';
		CU_ASSERT(guest_write(&host, ring, &heard, "data/big", value) == 0);
		CU_ASSERT(guest_read(&host, ring, &heard, "data/big") == 0);
		CU_ASSERT(heard.last_len == sizeof(value) - 1);
		CU_ASSERT(memcmp(heard.last_data, value, sizeof(value)) == 0);
		for (int i = 0; i < 8; i++) {
			snprintf(path, sizeof(path), "data/dir/%d-%0200d", i, i);
			CU_ASSERT(guest_write(&host, ring, &heard, path, "") == 0);
		}
		CU_ASSERT(guest_ring_directory(ring, "data/dir", on_reply, &heard) == 0);
		CU_ASSERT(wait_for(&host, &heard.n_replies, 11));
		CU_ASSERT(heard.last_error == 0);
		while (guest_ring_next_string(heard.last_data, heard.last_len, &pos)) {
			n++;
		}
		CU_ASSERT(n == 8);
		CU_ASSERT(guest_ring_mkdir(ring, "data/d", on_reply, &heard) == 0);
		CU_ASSERT(guest_ring_directory(ring, "data/d", on_reply, &heard) == 0);
		CU_ASSERT(wait_for(&host, &heard.n_replies, 13));
		CU_ASSERT(heard.last_error == 0);
		CU_ASSERT(heard.last_len == 0);
	}
	host_end(&host);
}

static void test_transactions(void)
{
	static const char payload[] = "data/t\0value";
	struct guest_ring *ring;
	uint32_t tx_id = 0;
	struct heard heard;
	struct host host;

	if (host_start(&host, NULL) && (ring = add_guest(&host, 5, &heard))) {
		CU_ASSERT(guest_ring_request(ring, XS_TRANSACTION_START, 0, "", 1, on_reply,
					     &heard) == 0);
		CU_ASSERT(wait_for(&host, &heard.n_replies, 1));
		CU_ASSERT(sscanf(heard.last_data, "%u", &tx_id) == 1);
		CU_ASSERT(guest_ring_request(ring, XS_WRITE, tx_id, payload, sizeof(payload) - 1,
					     on_reply, &heard) == 0);
		CU_ASSERT(wait_for(&host, &heard.n_replies, 2));
		CU_ASSERT(heard.last_error == 0);
		CU_ASSERT(dom0_reads(&host, "/local/domain/5/data/t", NULL));
		CU_ASSERT(guest_ring_request(ring, XS_TRANSACTION_END, tx_id, "T", 2, on_reply,
					     &heard) == 0);
		CU_ASSERT(wait_for(&host, &heard.n_replies, 3));
		CU_ASSERT(heard.last_error == 0);
		CU_ASSERT(dom0_reads(&host, "/local/domain/5/data/t", "value"));
	}
	host_end(&host);
}

static void test_requests_are_bounded(void)
{
	char value[4000] = { 0 };
	struct guest_ring *ring;
	unsigned int n = 0;
	struct heard heard;
	struct host host;
	int r = 0;

	if (host_start(&host, NULL) && (ring = add_guest(&host, 5, &heard))) {
		kill(sim_xenstored_pid(host.xs), SIGSTOP);
		while (r == 0 && n <= GUEST_RING_MAX_REQUESTS) {
			r = guest_ring_read(ring, "name", on_reply, &heard);
			n += r == 0;
		}
		CU_ASSERT(r == -ENOBUFS);
		CU_ASSERT(n == GUEST_RING_MAX_REQUESTS);
		CU_ASSERT(guest_ring_in_flight(ring) == n);
		CU_ASSERT(heard.n_replies == 0);
		kill(sim_xenstored_pid(host.xs), SIGCONT);
		CU_ASSERT(wait_for(&host, &heard.n_replies, n));
		CU_ASSERT(guest_ring_in_flight(ring) == 0);

		/* Bytes fill before requests do. */
		kill(sim_xenstored_pid(host.xs), SIGSTOP);
		for (n = 0, r = 0; r == 0 && n <= GUEST_RING_MAX_REQUESTS; n += r == 0) {
			r = guest_ring_write(ring, "data/x", value, sizeof(value), NULL, NULL);
		}
		CU_ASSERT(r == -ENOBUFS);
		CU_ASSERT(n == (GUEST_RING_MAX_UNSENT_BYTES + XENSTORE_RING_SIZE) / 4023);
		CU_ASSERT(guest_ring_write(ring, "data/x", value, XENSTORE_PAYLOAD_MAX, NULL,
					   NULL) == -E2BIG);
		kill(sim_xenstored_pid(host.xs), SIGCONT);
		/* Behind them all. */
		for (n = 0, r = -ENOBUFS; r == -ENOBUFS && n < PATIENCE_MS; n++) {
			CU_ASSERT(sd_event_run(host.event, USEC_PER_MSEC) >= 0);
			r = guest_ring_read(ring, "name", on_reply, &heard);
		}
		CU_ASSERT(r == 0);
		CU_ASSERT(wait_for(&host, &heard.n_replies, GUEST_RING_MAX_REQUESTS + 1));
		CU_ASSERT(guest_ring_in_flight(ring) == 0);
	}
	host_end(&host);
}

static void test_domains_come_and_go(void)
{
	struct guest_ring *ring;
	struct heard heard;
	struct host host;

	if (!host_start(&host, NULL)) {
		host_end(&host);
		return;
	}
	dom0_watch_domains(&host);
	ring = add_guest(&host, 5, &heard);
	CU_ASSERT(dom0_hears(&host, "in"));
	CU_ASSERT(!dom0_has_heard(&host, "out"));
	CU_ASSERT(guest_write(&host, ring, &heard, "data/x", "1") == 0);

	/* Stopping is told, but the domain stays. */
	CU_ASSERT(sim_domain_shutdown(host.xs, 5, SHUTDOWN_poweroff) == 0);
	CU_ASSERT(dom0_hears(&host, "out"));
	CU_ASSERT(xs_is_domain_introduced(host.dom0, 5));
	CU_ASSERT(sim_domain_flags(host.xs, 5) & SIM_DOMAIN_SHUTDOWN);

	/* Suspended and resumed: told again the next time. */
	CU_ASSERT(sim_domain_resume(host.xs, 5) == 0);
	CU_ASSERT(xs_resume_domain(host.dom0, 5));
	CU_ASSERT(sim_domain_flags(host.xs, 5) == SIM_DOMAIN_PRESENT);
	CU_ASSERT(!dom0_has_heard(&host, "out"));
	CU_ASSERT(sim_domain_shutdown(host.xs, 5, SHUTDOWN_crash) == 0);
	CU_ASSERT(dom0_hears(&host, "out"));

	/* Dying ends its connection. */
	ring = guest_ring_free(ring);
	CU_ASSERT(sim_domain_set_dying(host.xs, 5) == 0);
	CU_ASSERT(dom0_hears(&host, "out"));
	CU_ASSERT(!xs_is_domain_introduced(host.dom0, 5));
	CU_ASSERT(sim_domain_next(host.xs, 0) == 5);
	CU_ASSERT(sim_domain_remove(host.xs, 5) == 0);
	CU_ASSERT(sim_domain_next(host.xs, 0) == 0);
	CU_ASSERT(sim_domain_remove(host.xs, 5) == -ESRCH);
	host_end(&host);
}

static void test_domids_are_reused_with_care(void)
{
	struct guest_ring *ring;
	struct heard heard;
	struct host host;

	if (!host_start(&host, NULL)) {
		host_end(&host);
		return;
	}
	dom0_watch_domains(&host);
	CU_ASSERT(sim_domain_add(host.xs, 0) == -EINVAL);
	CU_ASSERT(sim_domain_add(host.xs, SIM_MAX_DOMAINS) == -EINVAL);
	CU_ASSERT(guest_ring_new(&ring, host.hub, 5, &callbacks, &heard) == -ESRCH);
	CU_ASSERT(sim_domain_add(host.xs, 5) == 0);
	CU_ASSERT(guest_ring_new(&ring, host.hub, 5, &callbacks, &heard) == -ENOTCONN);
	CU_ASSERT(sim_domain_add(host.xs, 5) == -EEXIST);
	CU_ASSERT(xs_introduce_domain(host.dom0, 5, 0, SIM_GUEST_PORT));
	CU_ASSERT(!xs_introduce_domain(host.dom0, 6, 0, SIM_GUEST_PORT));

	/* Gone, but xenstored could not yet look. */
	kill(sim_xenstored_pid(host.xs), SIGSTOP);
	CU_ASSERT(sim_domain_remove(host.xs, 5) == 0);
	CU_ASSERT(sim_domain_add(host.xs, 5) == -EBUSY);
	kill(sim_xenstored_pid(host.xs), SIGCONT);
	CU_ASSERT(dom0_hears(&host, "out"));
	ring = add_guest(&host, 5, &heard);
	CU_ASSERT(ring && guest_write(&host, ring, &heard, "data/x", "again") == 0);

	/* The highest there can be. */
	ring = add_guest(&host, SIM_MAX_DOMAINS - 1, &heard);
	CU_ASSERT(ring && guest_write(&host, ring, &heard, "data/x", "1") == 0);
	host_end(&host);
}

static void test_nodes_go_with_the_domain(void)
{
	struct guest_ring *ring;
	struct heard heard;
	struct host host;

	if (host_start(&host, NULL) && (ring = add_guest(&host, 5, &heard))) {
		dom0_watch_domains(&host);
		CU_ASSERT(guest_write(&host, ring, &heard, "data/x", "1") == 0);
		guest_ring_free(ring);
		CU_ASSERT(sim_domain_remove(host.xs, 5) == 0);
		CU_ASSERT(dom0_hears(&host, "out"));
		CU_ASSERT(dom0_reads(&host, "/local/domain/5/data/x", NULL));
	}
	host_end(&host);
}

static void test_two_hubs(void)
{
	struct guest_ring_hub *other = NULL;
	struct guest_ring *ring, *second;
	struct heard heard, heard2;
	struct host host;

	if (host_start(&host, NULL) && (ring = add_guest(&host, 5, &heard))) {
		CU_ASSERT(guest_ring_hub_new(&other, host.event, host.dir) == 0);
		CU_ASSERT(guest_ring_new(&second, host.hub, 5, &callbacks, &heard2) == -EBUSY);
		CU_ASSERT(guest_ring_new(&second, other, 5, &callbacks, &heard2) == -EBUSY);
		CU_ASSERT(add_domain(&host, 6));
		memset(&heard2, 0, sizeof(heard2));
		CU_ASSERT(guest_ring_new(&second, other, 6, &callbacks, &heard2) == 0);
		CU_ASSERT(guest_write(&host, ring, &heard, "data/x", "5") == 0);
		CU_ASSERT(guest_write(&host, second, &heard2, "data/x", "6") == 0);
		ring = guest_ring_free(ring);
		CU_ASSERT(guest_ring_new(&ring, other, 5, &callbacks, &heard) == 0);
		CU_ASSERT(guest_write(&host, ring, &heard, "data/x", "7") == 0);
		guest_ring_hub_free(other);
	}
	CU_ASSERT(guest_ring_hub_new(&other, host.event, "/nonexistent") == -ENOENT);
	host_end(&host);
}

static void test_hubs_are_limited(void)
{
	struct guest_ring_hub *hubs[SIM_MAX_HUBS] = { NULL };
	struct host host;
	size_t n = 0;
	int r = 0;

	if (host_start(&host, NULL)) {
		while (r == 0 && n < ARRAY_LEN(hubs)) {
			r = guest_ring_hub_new(&hubs[n], host.event, host.dir);
			n += r == 0;
		}
		CU_ASSERT(r == -EUSERS);
		CU_ASSERT(n == SIM_MAX_HUBS - 1);
		while (n > 0) {
			guest_ring_hub_free(hubs[--n]);
		}
	}
	host_end(&host);
}

static void test_free_inside_callbacks(void)
{
	struct guest_ring *ring, *other;
	struct heard heard, other_heard;
	struct host host;

	if (host_start(&host, NULL) && (ring = add_guest(&host, 5, &heard)) &&
	    (other = add_guest(&host, 6, &other_heard))) {
		CU_ASSERT(guest_ring_read(ring, "name", on_reply, &heard) == 0);
		CU_ASSERT(guest_ring_read(ring, "name", on_reply, &heard) == 0);
		heard.free_on_reply = &ring;
		CU_ASSERT(wait_for(&host, &heard.n_replies, 2));
		CU_ASSERT(ring == NULL);
		CU_ASSERT(heard.n_replies == 2);
		CU_ASSERT(heard.last_error == -ECANCELED);
		CU_ASSERT(guest_ring_watch(other, "data", "t", on_reply, &other_heard) == 0);
		other_heard.free_on_watch = &other;
		CU_ASSERT(wait_for(&host, &other_heard.n_watches, 1));
		CU_ASSERT(other == NULL);
		/* Without a peer the requests in flight are given back too. */
		ring = add_guest(&host, 7, &heard);
		CU_ASSERT(guest_ring_read(ring, "name", on_reply, &heard) == 0);
		guest_ring_free(ring);
		CU_ASSERT(heard.n_replies == 1);
		CU_ASSERT(heard.last_error == -ECANCELED);
	}
	host_end(&host);
}

static void test_hostile_bytes(void)
{
	struct xsd_sockmsg bad = { .type = 9999, .req_id = 77, .len = 1 };
	struct guest_ring *ring, *good;
	struct heard heard, good_heard;
	struct host host;

	if (host_start(&host, NULL) && (ring = add_guest(&host, 5, &heard)) &&
	    (good = add_guest(&host, 6, &good_heard))) {
		/* An unknown type is only refused. */
		CU_ASSERT(guest_ring_send_raw(ring, &bad, sizeof(bad)) == 0);
		CU_ASSERT(guest_ring_send_raw(ring, "", 1) == 0);
		CU_ASSERT(wait_for(&host, &heard.n_strays, 1));
		CU_ASSERT(heard.last_stray.req_id == 77);
		CU_ASSERT(heard.last_stray.type == XS_ERROR);
		CU_ASSERT(streq(heard.last_data, "ENOSYS"));
		CU_ASSERT(guest_write(&host, ring, &heard, "data/x", "1") == 0);
		/* A length over the limit ends the connection. */
		bad.len = XENSTORE_PAYLOAD_MAX + 1;
		CU_ASSERT(guest_ring_send_raw(ring, &bad, sizeof(bad)) == 0);
		CU_ASSERT(guest_ring_read(ring, "name", on_reply, &heard) == 0);
		CU_ASSERT(wait_for(&host, &heard.n_broken, 1));
		CU_ASSERT(heard.broken_error == -EPROTO);
		CU_ASSERT(heard.last_error == -ECONNRESET);
		CU_ASSERT(guest_ring_read(ring, "name", on_reply, &heard) == -ECONNRESET);
		CU_ASSERT(guest_write(&host, good, &good_heard, "data/x", "1") == 0);
	}
	host_end(&host);
}

static void test_hostile_indexes(void)
{
	struct xenstore_domain_interface *page;
	struct guest_ring *ring, *good;
	struct heard heard, good_heard;
	struct host host;

	if (host_start(&host, NULL) && (ring = add_guest(&host, 5, &heard)) &&
	    (good = add_guest(&host, 6, &good_heard))) {
		page = guest_ring_page(ring);
		page->req_prod = page->req_cons + 5000;
		guest_ring_kick(ring);
		CU_ASSERT(wait_for(&host, &heard.n_broken, 1));
		CU_ASSERT(heard.broken_error == -EIO);
		CU_ASSERT(guest_write(&host, good, &good_heard, "data/x", "1") == 0);

		/* Our own side does not trust the page either. */
		page = guest_ring_page(good);
		page->rsp_prod = page->rsp_cons + 5000;
		CU_ASSERT(guest_ring_read(good, "name", on_reply, &good_heard) == 0);
		CU_ASSERT(wait_for(&host, &good_heard.n_broken, 1));
		CU_ASSERT(good_heard.broken_error == -EIO);
		CU_ASSERT(good_heard.last_error == -ECONNRESET);
		CU_ASSERT(dom0_reads(&host, "/local/domain/0/domid", "0"));
	}
	host_end(&host);
}

static void test_a_thousand_domains(void)
{
	enum { N = 1000 };
	uint64_t start_ns, added_ns, wrote_ns, removed_ns;
	struct guest_ring *rings[N];
	char path[64], value[16];
	struct heard heard = { 0 };
	unsigned int n_bad = 0;
	struct host host;

	if (!host_start(&host, NULL)) {
		host_end(&host);
		return;
	}
	dom0_watch_domains(&host);
	start_ns = clock_boot_ns();
	for (uint32_t i = 0; i < N; i++) {
		n_bad += !add_domain(&host, i + 1);
		n_bad += guest_ring_new(&rings[i], host.hub, i + 1, &callbacks, &heard) != 0;
	}
	CU_ASSERT(n_bad == 0);
	added_ns = clock_boot_ns();
	if (n_bad == 0) {
		for (uint32_t i = 0; i < N; i++) {
			snprintf(value, sizeof(value), "%u", i + 1);
			n_bad += guest_ring_write(rings[i], "data/me", value, strlen(value),
						  on_reply, &heard) != 0;
		}
		CU_ASSERT(wait_for(&host, &heard.n_replies, N));
		CU_ASSERT(n_bad == 0);
	}
	wrote_ns = clock_boot_ns();
	for (uint32_t i = 0; i < N; i++) {
		snprintf(path, sizeof(path), "/local/domain/%u/data/me", i + 1);
		snprintf(value, sizeof(value), "%u", i + 1);
		n_bad += !dom0_reads(&host, path, value);
	}
	CU_ASSERT(n_bad == 0);
	CU_ASSERT(dom0_hears(&host, "in"));
	CU_ASSERT(!dom0_has_heard(&host, "out"));
	removed_ns = clock_boot_ns();
	for (uint32_t i = 0; i < N; i++) {
		guest_ring_free(rings[i]);
		n_bad += sim_domain_remove(host.xs, i + 1) != 0;
	}
	CU_ASSERT(dom0_hears(&host, "out"));
	while ((xs_is_domain_introduced(host.dom0, N) || xs_is_domain_introduced(host.dom0, 1)) &&
	       dom0_hears(&host, "out")) {
	}
	CU_ASSERT(!xs_is_domain_introduced(host.dom0, 1));
	CU_ASSERT(!xs_is_domain_introduced(host.dom0, N));
	CU_ASSERT(n_bad == 0);
	printf("# %d domains: introduced in %llu ms, all wrote in %llu ms, released in %llu ms\n",
	       N, (unsigned long long)((added_ns - start_ns) / NSEC_PER_MSEC),
	       (unsigned long long)((wrote_ns - added_ns) / NSEC_PER_MSEC),
	       (unsigned long long)((clock_boot_ns() - removed_ns) / NSEC_PER_MSEC));
	CU_ASSERT(added_ns - start_ns < 30 * NSEC_PER_SEC);
	CU_ASSERT(clock_boot_ns() - removed_ns < 30 * NSEC_PER_SEC);
	host_end(&host);
}

static void test_death_is_noticed(void)
{
	struct guest_ring *ring;
	struct heard heard;
	struct host host;

	if (host_start(&host, NULL) && (ring = add_guest(&host, 5, &heard))) {
		kill(sim_xenstored_pid(host.xs), SIGKILL);
		CU_ASSERT(wait_for(&host, &host.n_deaths, 1));
		CU_ASSERT(strstr(host.death, "ended by signal 9") != NULL);
		/* Nothing goes wrong any more than it has. */
		CU_ASSERT(guest_ring_read(ring, "name", on_reply, &heard) == 0);
		guest_ring_free(ring);
		CU_ASSERT(heard.last_error == -ECANCELED);
		CU_ASSERT(sim_domain_remove(host.xs, 5) == 0);
		host_close(&host);
		/* And the directory is good for the next. */
		host.n_deaths = 0;
		if (host_open(&host, NULL, false)) {
			CU_ASSERT(!sim_xenstored_is_adopted(host.xs));
			CU_ASSERT(sim_domain_next(host.xs, 0) == 0);
			CU_ASSERT(add_domain(&host, 5));
		}
	}
	host_end(&host);
}

static void test_survivor_is_adopted(void)
{
	struct guest_ring *ring;
	struct heard heard;
	struct host host;
	pid_t pid;

	if (host_prepare(&host) && host_open(&host, NULL, true) &&
	    (ring = add_guest(&host, 5, &heard))) {
		CU_ASSERT(guest_write(&host, ring, &heard, "data/x", "before") == 0);
		CU_ASSERT(guest_ring_watch(ring, "data", "old", NULL, NULL) == 0);
		CU_ASSERT(guest_read(&host, ring, &heard, "name") == 0);
		/* Leave with an answer and an event untaken. */
		kill(sim_xenstored_pid(host.xs), SIGSTOP);
		CU_ASSERT(guest_ring_write(ring, "data/x", "last", 4, on_reply, &heard) == 0);
		pid = sim_xenstored_pid(host.xs);
		host_close(&host);
		CU_ASSERT(heard.last_error == -ECANCELED);
		CU_ASSERT(kill(pid, SIGCONT) == 0);
		memset(&heard, 0, sizeof(heard));
		if (host_open(&host, NULL, false)) {
			CU_ASSERT(sim_xenstored_is_adopted(host.xs));
			CU_ASSERT(sim_xenstored_pid(host.xs) == pid);
			CU_ASSERT(sim_domain_next(host.xs, 0) == 5);
			CU_ASSERT(dom0_reads(&host, "/local/domain/5/data/x", "last"));
			CU_ASSERT(guest_ring_new(&ring, host.hub, 5, &callbacks, &heard) == 0);
			CU_ASSERT(wait_for(&host, &heard.n_strays, 1));
			CU_ASSERT(wait_for(&host, &heard.n_watches, 1));
			CU_ASSERT(heard.last_stray.type == XS_WRITE);
			CU_ASSERT(streq(heard.last_token, "old"));
			CU_ASSERT(guest_ring_reset_watches(ring, on_reply, &heard) == 0);
			CU_ASSERT(wait_for(&host, &heard.n_replies, 1));
			CU_ASSERT(heard.last_error == 0);
			CU_ASSERT(guest_write(&host, ring, &heard, "data/x", "after") == 0);
			CU_ASSERT(dom0_reads(&host, "/local/domain/5/data/x", "after"));
			CU_ASSERT(heard.n_watches == 1);
			kill(pid, SIGKILL);
			CU_ASSERT(wait_for(&host, &host.n_deaths, 1));
			CU_ASSERT(strstr(host.death, "has ended") != NULL);
			waitpid(pid, NULL, 0);
		}
	}
	host_end(&host);
}

/* A process that opens and is gone takes xenstored with it. */
static void test_xenstored_dies_with_its_owner(void)
{
	struct pollfd p = { .fd = -1, .events = POLLIN };
	struct host host;
	pid_t child, pid = 0;
	int fds[2];

	CU_ASSERT(host_prepare(&host));
	CU_ASSERT(pipe(fds) == 0);
	child = fork();
	if (child == 0) {
		const struct sim_xenstored_options options = { .state_dir = host.dir,
							       .shim_path = host.shim };

		if (sim_xenstored_open(&host.xs, &options, host.error) == 0) {
			pid = sim_xenstored_pid(host.xs);
			(void)!write(fds[1], &pid, sizeof(pid));
			pause();
		}
		_exit(0);
	}
	CU_ASSERT(read(fds[0], &pid, sizeof(pid)) == sizeof(pid));
	p.fd = pid > 0 ? pidfd_open(pid, 0) : -1;
	CU_ASSERT(p.fd >= 0);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	CU_ASSERT(poll(&p, 1, PATIENCE_MS) == 1);
	close(p.fd);
	close(fds[0]);
	close(fds[1]);
	host_end(&host);
}

static int try_open(struct host *host, const struct sim_xenstored_options *options)
{
	int r = sim_xenstored_open(&host->xs, options, host->error);

	CU_ASSERT((r == 0) == (host->error[0] == '\0'));
	return r;
}

static void test_errors_say_what_to_do(void)
{
	static const char *const bad_args[] = { "unwanted", NULL };
	struct sim_xenstored_options options;
	char path[PATH_MAX + 128];
	struct host host;

	CU_ASSERT(host_prepare(&host));
	options = (struct sim_xenstored_options){ .state_dir = host.dir, .shim_path = host.shim };

	options.xenstored_path = "/nonexistent/xenstored";
	CU_ASSERT(try_open(&host, &options) == -ENOENT);
	CU_ASSERT(strstr(host.error, "xen-utils-4.17") != NULL);
	options.xenstored_path = NULL;

	options.shim_path = "/nonexistent/shim.so";
	CU_ASSERT(try_open(&host, &options) == -ENOENT);
	CU_ASSERT(strstr(host.error, "/nonexistent/shim.so") != NULL);
	options.shim_path = host.shim;

	options.extra_args = bad_args;
	CU_ASSERT(try_open(&host, &options) == -ECHILD);
	CU_ASSERT(strstr(host.error, "No arguments desired") != NULL);
	options.extra_args = NULL;

	/* Not xenstored at all, and never ready. */
	options.xenstored_path = "/bin/true";
	CU_ASSERT(try_open(&host, &options) == -ECHILD);
	options.xenstored_path = NULL;

	snprintf(path, sizeof(path), "%s/%0100d", host.dir, 0);
	options.state_dir = path;
	CU_ASSERT(try_open(&host, &options) == -ENAMETOOLONG);
	snprintf(path, sizeof(path), "%s/no/dir", host.dir);
	CU_ASSERT(try_open(&host, &options) == -ENOENT);
	options.state_dir = host.dir;

	chmod(host.dir, 0777);
	CU_ASSERT(try_open(&host, &options) == -EPERM);
	chmod(host.dir, 0700);

	if (host_open(&host, NULL, false)) {
		struct sim_xenstored *first = STEAL(host.xs);

		CU_ASSERT(try_open(&host, &options) == -EBUSY);
		host.xs = first;
	}
	host_end(&host);
}

static void test_slow_start_times_out(void)
{
	struct host host;
	char script[PATH_MAX + 16];
	struct sim_xenstored_options options;
	FILE *file;

	CU_ASSERT(host_prepare(&host));
	snprintf(script, sizeof(script), "%s/slow", host.dir);
	file = fopen(script, "w");
	if (file) {
		fputs("#!/bin/sh\necho I am slow >&2\nexec sleep 600\n", file);
		fclose(file);
	}
	chmod(script, 0700);
	options = (struct sim_xenstored_options){ .state_dir = host.dir,
						  .shim_path = host.shim,
						  .xenstored_path = script,
						  .start_timeout_ms = 300 };
	CU_ASSERT(try_open(&host, &options) == -ETIMEDOUT);
	CU_ASSERT(strstr(host.error, "I am slow") != NULL);
	/* It was ended, so the directory is free. */
	options.xenstored_path = NULL;
	options.start_timeout_ms = 0;
	CU_ASSERT(try_open(&host, &options) == 0);
	host_end(&host);
}

UNIT_MAIN("guest_ring", UNIT_TEST(test_dom0_is_set_up), UNIT_TEST(test_guest_has_its_permissions),
	  UNIT_TEST(test_quotas_are_errno), UNIT_TEST(test_watches_reach_the_guest),
	  UNIT_TEST(test_replies_larger_than_the_ring), UNIT_TEST(test_transactions),
	  UNIT_TEST(test_requests_are_bounded), UNIT_TEST(test_domains_come_and_go),
	  UNIT_TEST(test_domids_are_reused_with_care), UNIT_TEST(test_nodes_go_with_the_domain),
	  UNIT_TEST(test_two_hubs), UNIT_TEST(test_hubs_are_limited),
	  UNIT_TEST(test_free_inside_callbacks), UNIT_TEST(test_hostile_bytes),
	  UNIT_TEST(test_hostile_indexes), UNIT_TEST(test_a_thousand_domains),
	  UNIT_TEST(test_death_is_noticed), UNIT_TEST(test_survivor_is_adopted),
	  UNIT_TEST(test_xenstored_dies_with_its_owner), UNIT_TEST(test_errors_say_what_to_do),
	  UNIT_TEST(test_slow_start_times_out))
