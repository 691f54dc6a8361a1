/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The launcher of the real xenstored, its preload shim and the table of domains.  Each test has a
 * state directory and a xenstored of its own.
 */

#include "services/simhost/xenstored/sim_xenstored.h"

#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <xen/sched.h>

#include "tests/unit/simxen_util.h"

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
	guest_ring_free(ring);
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

UNIT_MAIN("sim_xenstored", UNIT_TEST(test_dom0_is_set_up), UNIT_TEST(test_domains_come_and_go),
	  UNIT_TEST(test_domids_are_reused_with_care), UNIT_TEST(test_nodes_go_with_the_domain),
	  UNIT_TEST(test_a_thousand_domains), UNIT_TEST(test_death_is_noticed),
	  UNIT_TEST(test_survivor_is_adopted), UNIT_TEST(test_xenstored_dies_with_its_owner),
	  UNIT_TEST(test_errors_say_what_to_do), UNIT_TEST(test_slow_start_times_out))
