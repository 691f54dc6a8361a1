/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Everything that happens only sets a flag and a time; one place publishes.
 *
 * A guest that was suspended, migrated or restored is a new domain whose
 * xenstore knows nothing.  The kernel then registers our watches again, and
 * xenstored fires each watch at its registration: so any later firing of the
 * sentinel means that everything must be told again.
 */
#include "services/guest-agent/platform/agent.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <time.h>

#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/xenstore.h"
#include "services/guest-agent/logic/keys.h"
#include "services/guest-agent/logic/meminfo.h"
#include "services/guest-agent/logic/text.h"
#include "services/guest-agent/platform/files.h"
#include "services/guest-agent/platform/netlink.h"
#include "services/guest-agent/platform/publisher.h"

/* Changes come in groups (a link comes up, then its addresses): tell them together. */
#define COALESCE_NS (200 * NSEC_PER_MSEC)
/* A dump may take one part in 20 of the time: a container host changes links all day. */
#define DUMP_PAUSE_FACTOR 20
/* libxenstore does not notice the end of a socket's other side; the kernel's device has no end. */
#define PROBE_NS (2 * NSEC_PER_SEC)

/* The toolstack of XenServer makes it anew with each domain; elsewhere it is not there, and can
 * be watched all the same. */
#define SENTINEL_PATH "unique-domain-id"

#define NEVER UINT64_MAX

struct agent {
	const struct agent_config *config;
	struct xenstore *xs;
	struct xenstore_watch *sentinel;
	struct agent_netlink *netlink;
	struct agent_publisher *publisher;
	int hostname_fd;
	int signal_fd;
	struct guest_facts facts;
	struct guest_meminfo_gate gate;
	bool is_sentinel_armed;
	bool is_network_dirty;
	char domain[GUEST_TEXT_SIZE]; /* which domain this is, "" = not yet known */
	/* CLOCK_BOOTTIME, NEVER = not planned */
	uint64_t publish_ns;
	uint64_t tick_ns;
	uint64_t probe_ns;
	uint64_t dump_allowed_ns;
};

static void plan_publish(struct agent *a, uint64_t at_ns)
{
	a->publish_ns = MIN(a->publish_ns, at_ns);
}

static int classify(const char *ifname, uint32_t *devid, void *userdata)
{
	const struct agent *a = userdata;

	return agent_files_classify(a->config->root, ifname, devid);
}

static void forget(struct agent *a)
{
	agent_publisher_forget(a->publisher);
	a->gate = (struct guest_meminfo_gate){ 0 };
	a->tick_ns = MIN(a->tick_ns, clock_boot_ns() + COALESCE_NS);
}

static void on_sentinel(struct xenstore *xs _unused_, const char *path _unused_, void *userdata)
{
	struct agent *a = userdata;

	if (a->is_sentinel_armed) {
		log_debug("resumed or moved: publishing everything again");
		forget(a);
	}
	a->is_sentinel_armed = true;
}

static void on_reset(struct xenstore *xs _unused_, void *userdata)
{
	forget(userdata);
}

/* ---- looking ---- */

static int make_path(const struct agent *a, const char *key, char out[static XENSTORE_PATH_MAX])
{
	const char *home = a->config->home;
	int n = snprintf(out, XENSTORE_PATH_MAX, "%s%s%s", home, home[0] ? "/" : "", key);

	return n < 0 || n >= XENSTORE_PATH_MAX ? -ENAMETOOLONG : 0;
}

/* "" when there is no such key. */
static void read_key(struct agent *a, const char *key, char *out, size_t size)
{
	_cleanup_(xfreep) char *value = NULL;
	char path[XENSTORE_PATH_MAX];
	size_t len = 0;

	out[0] = '\0';
	if (make_path(a, key, path) == 0 && xenstore_read(a->xs, path, &value, &len) == 0) {
		guest_text_copy(out, size, value, len);
	}
}

/* In case the sentinel was missed. */
static void look_at_domain(struct agent *a)
{
	char domid[GUEST_WORD_SIZE], id[GUEST_WORD_SIZE], domain[GUEST_TEXT_SIZE];

	read_key(a, "domid", domid, sizeof(domid));
	read_key(a, SENTINEL_PATH, id, sizeof(id));
	snprintf(domain, sizeof(domain), "%s %s", domid, id);
	if (a->domain[0] != '\0' && !streq(domain, a->domain)) {
		log_debug("domain \"%s\" became \"%s\"", a->domain, domain);
		agent_publisher_forget(a->publisher);
	}
	memcpy(a->domain, domain, sizeof(a->domain));
}

static void look_at_network(struct agent *a)
{
	struct guest_netview view = { 0 };
	uint64_t started_ns = clock_boot_ns();
	uint64_t ended_ns;
	int r;

	r = agent_netlink_dump(a->netlink, &view);
	if (r == 0) {
		r = guest_netview_vifs(&view, &a->facts);
	}
	agent_netview_deinit(&view);
	ended_ns = clock_boot_ns();
	a->dump_allowed_ns = ended_ns + DUMP_PAUSE_FACTOR * (ended_ns - started_ns);
	a->is_network_dirty = false;
	if (r < 0) {
		log_warning("can't list network devices (%s): their addresses may be out of date",
			    err_text(r));
	}
	for (size_t i = 0; i < a->facts.n_vifs; i++) {
		if (a->facts.vifs[i].n_left_out > 0) {
			log_debug("vif %u has %zu more addresses than are published",
				  a->facts.vifs[i].devid, a->facts.vifs[i].n_left_out);
		}
	}
}

static void look_at_memory(struct agent *a, uint64_t now_ns)
{
	struct guest_meminfo now;
	int r;

	r = agent_files_meminfo(a->config->root, &now);
	if (r < 0) {
		log_warning("can't read /proc/meminfo: %s", err_text(r));
		return;
	}
	if (guest_meminfo_gate_pass(&a->gate, &now, now_ns, a->config->interval_s * NSEC_PER_SEC)) {
		a->facts.memory_total_kib = now.total_kib;
		a->facts.memory_free_kib = now.free_kib;
	}
}

/* ---- publishing ---- */

static void make_now(char *out, size_t size)
{
	time_t now = time(NULL);
	struct tm tm;

	if (!localtime_r(&now, &tm) || strftime(out, size, "%a %b %e %H:%M:%S %Y", &tm) == 0) {
		out[0] = '\0';
	}
}

/* As agent_publisher_apply(). */
static int publish(struct agent *a)
{
	_cleanup_(guest_tree_deinit) struct guest_tree wanted = GUEST_TREE_NULL;
	char now[64];
	int r;

	r = guest_keys_build(&a->facts, &wanted);
	if (r < 0) {
		return err_trace(r);
	}
	make_now(now, sizeof(now));
	return agent_publisher_apply(a->publisher, &wanted, now);
}

static int publish_now(struct agent *a, uint64_t now_ns)
{
	int r;

	a->publish_ns = NEVER;
	if (a->is_network_dirty) {
		if (now_ns < a->dump_allowed_ns) {
			plan_publish(a, a->dump_allowed_ns);
		} else {
			look_at_network(a);
		}
	}
	r = publish(a);
	if (r == -ENOTCONN) {
		/* The probe finds it again, and on_reset publishes all. */
		a->probe_ns = now_ns + PROBE_NS;
		return 0;
	}
	return r;
}

static void tick(struct agent *a, uint64_t now_ns)
{
	a->tick_ns = now_ns + a->config->interval_s * NSEC_PER_SEC;
	look_at_domain(a);
	agent_files_identity(a->config->root, &a->facts);
	look_at_memory(a, now_ns);
	a->is_network_dirty = true;
	plan_publish(a, now_ns);
}

/* ---- the loop ---- */

static uint64_t next_probe_ns(const struct agent *a, uint64_t now_ns)
{
	bool is_socket = a->config->home[0] != '\0' || getenv("XENSTORED_PATH");

	return is_socket || !xenstore_is_connected(a->xs) ? now_ns + PROBE_NS : NEVER;
}

static int run_due(struct agent *a)
{
	uint64_t now_ns = clock_boot_ns();
	int r = 0;

	if (now_ns >= a->probe_ns) {
		xenstore_probe(a->xs);
		a->probe_ns = next_probe_ns(a, now_ns);
	}
	if (now_ns >= a->tick_ns) {
		tick(a, now_ns);
	}
	if (now_ns >= a->publish_ns) {
		r = publish_now(a, now_ns);
	}
	return r < 0 ? err_trace(r) : 0;
}

static int timeout_ms(const struct agent *a)
{
	uint64_t next_ns = MIN(MIN(a->publish_ns, a->tick_ns), a->probe_ns);
	uint64_t now_ns = clock_boot_ns();

	if (next_ns <= now_ns) {
		return 0;
	}
	return (int)MIN((next_ns - now_ns) / NSEC_PER_MSEC + 1, (uint64_t)INT32_MAX);
}

static int handle(struct agent *a, const struct pollfd *fds)
{
	uint64_t soon_ns = clock_boot_ns() + COALESCE_NS;
	int r;

	if (fds[1].revents) {
		r = xenstore_dispatch(a->xs);
		if (r < 0) {
			a->probe_ns = soon_ns;
		}
	}
	if (fds[2].revents) {
		r = agent_netlink_drain(a->netlink);
		if (r < 0) {
			return err_trace(r);
		}
		if (r > 0) {
			a->is_network_dirty = true;
			plan_publish(a, soon_ns);
		}
	}
	if (fds[3].revents) {
		agent_files_identity(a->config->root, &a->facts);
		plan_publish(a, soon_ns);
	}
	return 0;
}

/* 0 after a signal to end. */
static int loop(struct agent *a)
{
	int r;

	while ((r = run_due(a)) == 0) {
		struct pollfd fds[] = {
			{ .fd = a->signal_fd, .events = POLLIN },
			{ .fd = xenstore_fd(a->xs), .events = POLLIN },
			{ .fd = agent_netlink_fd(a->netlink), .events = POLLIN },
			/* A change of a sysctl is POLLERR | POLLPRI; POLLIN is always there. */
			{ .fd = a->hostname_fd, .events = POLLPRI },
		};
		if (poll(fds, ARRAY_LEN(fds), timeout_ms(a)) < 0) {
			if (errno != EINTR) {
				return err_trace(err_errno());
			}
			continue;
		}
		if (fds[0].revents) {
			return 0;
		}
		r = handle(a, fds);
		if (r < 0) {
			break;
		}
	}
	return r;
}

/* ---- start and end ---- */

static int open_signals(struct agent *a)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0) {
		return err_trace(err_errno());
	}
	a->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	return a->signal_fd < 0 ? err_trace(err_errno()) : 0;
}

/* 0, or the exit status after saying why. */
static int open_xenstore(struct agent *a)
{
	const struct agent_config *config = a->config;
	uint64_t domid;
	int r;

	if (!getenv("XENSTORED_PATH") && !agent_files_have_xenbus(config->root)) {
		log_error("not a Xen guest: there is neither /dev/xen/xenbus nor /proc/xen/xenbus; "
			  "if it is one, its kernel lacks the xenbus device (CONFIG_XENFS)");
		return AGENT_EXIT_NO_XEN;
	}
	r = xenstore_open(&a->xs);
	if (r < 0) {
		log_error("can't connect to xenstore (%s); only root may by default", err_text(r));
		return EXIT_FAILURE;
	}
	if (config->home[0] == '\0') {
		r = xenstore_read_u64(a->xs, "domid", &domid);
		if (r == 0 && domid == 0) {
			log_error("not a Xen guest: this is domain 0, the host itself; the agent "
				  "belongs into the guests");
			return AGENT_EXIT_NO_XEN;
		}
	}
	xenstore_on_reset(a->xs, on_reset, a);
	return 0;
}

static int open_rest(struct agent *a)
{
	int r;

	r = agent_publisher_new(&a->publisher, a->xs, a->config->home);
	if (r < 0) {
		return r;
	}
	r = agent_netlink_new(&a->netlink, classify, a);
	if (r < 0) {
		log_error("can't open a netlink socket: %s", err_text(r));
		return r;
	}
	/* Without it a new host name is told at the next tick. */
	a->hostname_fd = agent_files_hostname_fd(a->config->root);
	return open_signals(a);
}

static int watch_sentinel(struct agent *a)
{
	char path[XENSTORE_PATH_MAX];
	int r;

	r = make_path(a, SENTINEL_PATH, path);
	return r < 0 ? r : xenstore_watch(a->xs, &a->sentinel, path, on_sentinel, a);
}

static int run(struct agent *a)
{
	uint64_t now_ns = clock_boot_ns();
	int r;

	r = open_rest(a);
	if (r < 0) {
		return err_trace(r);
	}
	if (a->config->is_once) {
		tick(a, now_ns);
		look_at_network(a);
		r = publish(a);
		if (r > 0) {
			log_error("not everything could be published: quota of this guest reached");
		}
		return r > 0 ? -ENOSPC : r;
	}
	r = watch_sentinel(a);
	if (r < 0) {
		return err_trace(r);
	}
	a->probe_ns = next_probe_ns(a, now_ns);
	return loop(a);
}

int agent_run(const struct agent_config *config)
{
	struct agent *a = calloc(1, sizeof(*a));
	int r, status;

	if (!a) {
		return EXIT_FAILURE;
	}
	a->config = config;
	a->hostname_fd = -1;
	a->signal_fd = -1;
	a->publish_ns = NEVER;
	a->probe_ns = NEVER;
	guest_text_copy(a->facts.agent_version, sizeof(a->facts.agent_version), config->version,
			strlen(config->version));
	status = open_xenstore(a);
	if (status == 0) {
		r = run(a);
		if (r < 0) {
			log_error("ended: %s", err_text(r));
			status = EXIT_FAILURE;
		}
	}
	xenstore_unwatch(a->sentinel);
	agent_publisher_free(a->publisher);
	xenstore_close(a->xs);
	agent_netlink_free(a->netlink);
	xclose(a->hostname_fd);
	xclose(a->signal_fd);
	free(a);
	return status;
}
