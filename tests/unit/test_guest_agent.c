/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest agent as a program, against the distribution's real xenstored, with
 * a root directory made up for it and, where they are to be had, devices in a
 * network namespace of the test's own.
 */
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/unit/guest_net.h"
#include "tests/unit/simxen_util.h"

extern char **environ;

#define HOME "/local/domain/5"

struct fixture {
	struct host host;
	char root[PATH_MAX];
	char program[PATH_MAX];
	pid_t pid;
};

/* ---- the guest's files ---- */

static void put_file(struct fixture *f, const char *path, const char *text)
{
	char command[2 * PATH_MAX];
	FILE *file;

	snprintf(command, sizeof(command), "mkdir -p \"$(dirname '%s%s')\"", f->root, path);
	CU_ASSERT_EQUAL(system(command), 0);
	snprintf(command, sizeof(command), "%s%s", f->root, path);
	file = fopen(command, "w");
	CU_ASSERT(file != NULL);
	if (file) {
		fputs(text, file);
		fclose(file);
	}
}

static void put_meminfo(struct fixture *f, unsigned int available_kib)
{
	char text[128];

	snprintf(text, sizeof(text), "MemTotal: 2000000 kB\nMemAvailable: %u kB\n", available_kib);
	put_file(f, "/proc/meminfo", text);
}

static void put_root(struct fixture *f)
{
	put_file(f, "/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian 12\"\n");
	put_file(f, "/proc/sys/kernel/hostname", "web1\n");
	put_file(f, "/proc/sys/kernel/osrelease", "6.1.0-test\n");
	put_file(f, "/dev/xen/xenbus", "");
	put_meminfo(f, 1000000);
	put_file(f, "/sys/devices/system/xen_memory/xen_memory0/target", "");
	put_file(f, "/sys/class/net/enX0/device/nodename", "device/vif/0\n");
}

/* ---- the program ---- */

static pid_t spawn(struct fixture *f, const char *const *more)
{
	char *argv[12] = { f->program, (char *)"--root", f->root };
	pid_t pid = -1;

	for (size_t i = 0; more[i]; i++) {
		argv[3 + i] = (char *)(uintptr_t)more[i];
	}
	CU_ASSERT_EQUAL(posix_spawn(&pid, f->program, NULL, NULL, argv, environ), 0);
	return pid;
}

static int wait_exit(pid_t pid)
{
	int status = -1;

	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool start(struct fixture *f)
{
	*f = (struct fixture){ .pid = -1 };
	if (!host_start(&f->host, NULL)) {
		return false;
	}
	snprintf(f->root, sizeof(f->root), "%.1000s/guest", f->host.dir);
	snprintf(f->program, sizeof(f->program), "%s", f->host.shim);
	snprintf(strrchr(f->program, '/'), 64, "/xenmesh-guest-agent");
	setenv("XENMESH_GUEST_HOME", HOME, 1);
	put_root(f);
	return add_domain(&f->host, 5);
}

static void run(struct fixture *f)
{
	static const char *const more[] = { "--interval", "1", "--log-level", "warning", NULL };

	f->pid = spawn(f, more);
}

static void stop(struct fixture *f)
{
	if (f->pid > 0) {
		CU_ASSERT_EQUAL(kill(f->pid, SIGTERM), 0);
		CU_ASSERT_EQUAL(wait_exit(f->pid), 0);
		f->pid = -1;
	}
}

static void end(struct fixture *f)
{
	stop(f);
	host_end(&f->host);
}

static bool has(struct fixture *f, const char *key, const char *value)
{
	char path[256];

	snprintf(path, sizeof(path), HOME "/%s", key);
	return dom0_reads(&f->host, path, value);
}

/* Wait until the key has the value (NULL: is gone), woken by xenstored. */
static bool comes(struct fixture *f, const char *key, const char *value)
{
	struct pollfd p = { .events = POLLIN };
	uint64_t end_ns = clock_boot_ns() + PATIENCE_MS * NSEC_PER_MSEC;
	bool found;

	CU_ASSERT(xs_watch(f->host.dom0, HOME, "comes"));
	p.fd = xs_fileno(f->host.dom0);
	while (!(found = has(f, key, value)) && clock_boot_ns() < end_ns) {
		char **event;

		if (poll(&p, 1, 1000) > 0 && (event = xs_check_watch(f->host.dom0))) {
			free(event);
		}
	}
	xs_unwatch(f->host.dom0, HOME, "comes");
	if (!found) {
		printf("%s never became %s\n", key, value ? value : "absent");
	}
	return found;
}

static void dom0_remove(struct fixture *f, const char *key)
{
	char path[256];

	snprintf(path, sizeof(path), HOME "/%s", key);
	CU_ASSERT(xs_rm(f->host.dom0, XBT_NULL, path));
}

/* ---- tests ---- */

static void test_once__publishes_and_exits(void)
{
	static const char *const more[] = { "--once", NULL };
	struct fixture f;

	if (start(&f)) {
		dom0_write(&f.host, HOME "/attr/vif/7/ipv4/0", "10.9.9.9");
		CU_ASSERT_EQUAL(wait_exit(spawn(&f, more)), 0);
		CU_ASSERT(has(&f, "data/os_name", "Debian 12"));
		CU_ASSERT(has(&f, "data/os_distro", "debian"));
		CU_ASSERT(has(&f, "data/os_majorver", "12"));
		CU_ASSERT(has(&f, "data/os_minorver", NULL));
		CU_ASSERT(has(&f, "data/os_uname", "6.1.0-test"));
		CU_ASSERT(has(&f, "data/host_name_dns", "web1"));
		CU_ASSERT(has(&f, "data/meminfo_total", "2000000"));
		CU_ASSERT(has(&f, "data/meminfo_free", "1000000"));
		CU_ASSERT(has(&f, "control/feature-balloon", "1"));
		CU_ASSERT(has(&f, "feature/hotplug/vif", NULL));
		CU_ASSERT(has(&f, "attr/PVAddons/Installed", "1"));
		CU_ASSERT(has(&f, "attr/PVAddons/BuildVersion", "xenmesh"));
		CU_ASSERT_FALSE(has(&f, "data/updated", NULL));
		/* Left by an agent before. */
		CU_ASSERT(has(&f, "attr/vif/7/ipv4/0", NULL));
	}
	end(&f);
}

static void test_run__not_a_guest(void)
{
	static const char *const once[] = { "--once", NULL };
	static const char *const wrong[] = { "--interval", "x", NULL };
	struct fixture f;

	if (start(&f)) {
		/* Through the socket, without a home of its own: domain 0's. */
		unsetenv("XENMESH_GUEST_HOME");
		CU_ASSERT_EQUAL(wait_exit(spawn(&f, once)), 69);
		unsetenv("XENSTORED_PATH");
		snprintf(f.root, sizeof(f.root), "%.1000s/empty", f.host.dir);
		CU_ASSERT_EQUAL(wait_exit(spawn(&f, once)), 69);
		CU_ASSERT_EQUAL(wait_exit(spawn(&f, wrong)), 64);
	}
	end(&f);
}

static void test_run__follows_files(void)
{
	struct fixture f;

	if (start(&f)) {
		run(&f);
		CU_ASSERT(comes(&f, "attr/PVAddons/Installed", "1"));
		put_file(&f, "/proc/sys/kernel/hostname", "web2\n");
		CU_ASSERT(comes(&f, "data/host_name_dns", "web2"));
		put_meminfo(&f, 500000);
		CU_ASSERT(comes(&f, "data/meminfo_free", "500000"));
		put_file(&f, "/etc/os-release", "ID=debian\nVERSION_ID=\"13\"\n");
		CU_ASSERT(comes(&f, "data/os_majorver", "13"));
		/* At its end the keys stay. */
		stop(&f);
		CU_ASSERT(has(&f, "data/host_name_dns", "web2"));
	}
	end(&f);
}

/* Memory alone wakes nobody who looks at the whole guest. */
static void test_run__memory_is_no_news(void)
{
	char *before, *after;
	struct fixture f;

	if (start(&f)) {
		run(&f);
		CU_ASSERT(comes(&f, "attr/PVAddons/Installed", "1"));
		dom0_write(&f.host, HOME "/data/updated", "marked");
		dom0_write(&f.host, HOME "/attr/PVAddons/Installed", "marked");
		for (unsigned int kib = 100000; kib <= 300000; kib += 100000) {
			char text[16];

			put_meminfo(&f, kib);
			snprintf(text, sizeof(text), "%u", kib);
			CU_ASSERT(comes(&f, "data/meminfo_free", text));
		}
		before = xs_read(f.host.dom0, XBT_NULL, HOME "/data/updated", NULL);
		after = xs_read(f.host.dom0, XBT_NULL, HOME "/attr/PVAddons/Installed", NULL);
		CU_ASSERT(before && streq(before, "marked"));
		CU_ASSERT(after && streq(after, "marked"));
		free(before);
		free(after);
	}
	end(&f);
}

/* What xenstored does to watches of a guest that was migrated, restored or soft-reset. */
static void test_run__publishes_all_again_after_resume(void)
{
	struct fixture f;

	if (start(&f)) {
		run(&f);
		CU_ASSERT(comes(&f, "attr/PVAddons/Installed", "1"));
		dom0_remove(&f, "attr");
		dom0_remove(&f, "data");
		dom0_remove(&f, "control");
		dom0_write(&f.host, HOME "/unique-domain-id", "another");
		CU_ASSERT(comes(&f, "attr/PVAddons/Installed", "1"));
		CU_ASSERT(has(&f, "data/os_name", "Debian 12"));
		CU_ASSERT(has(&f, "data/meminfo_free", "1000000"));
		CU_ASSERT(has(&f, "control/feature-balloon", "1"));
	}
	end(&f);
}

static void test_run__survives_a_restart_of_xenstored(void)
{
	struct fixture f;

	if (start(&f)) {
		run(&f);
		CU_ASSERT(comes(&f, "attr/PVAddons/Installed", "1"));
		host_close(&f.host);
		if (host_open(&f.host, NULL, false) && add_domain(&f.host, 5)) {
			CU_ASSERT(comes(&f, "attr/PVAddons/Installed", "1"));
			CU_ASSERT(has(&f, "data/host_name_dns", "web1"));
		}
	}
	end(&f);
}

/* From the kernel's event, with the real files: the next look at them is an hour away. */
static void test_run__hears_of_a_new_host_name(void)
{
	static const char *const more[] = { "--root", "", "--interval", "3600", NULL };
	struct fixture f;

	if (start(&f)) {
		CU_ASSERT_EQUAL(sethostname("before", 6), 0);
		f.pid = spawn(&f, more);
		CU_ASSERT(comes(&f, "attr/PVAddons/Installed", "1"));
		CU_ASSERT(has(&f, "data/host_name_dns", "before"));
		CU_ASSERT_EQUAL(sethostname("after", 5), 0);
		CU_ASSERT(comes(&f, "data/host_name_dns", "after"));
	}
	end(&f);
}

static void test_run__follows_addresses(void)
{
	struct fixture f;

	if (start(&f)) {
		run(&f);
		CU_ASSERT(comes(&f, "attr/PVAddons/Installed", "1"));
		CU_ASSERT_EQUAL(net_add_link("enX0", net_base_kind(), NULL), 0);
		CU_ASSERT(comes(&f, "attr/vif/0/name", "enX0"));
		CU_ASSERT_EQUAL(net_add_address("enX0", "192.0.2.1", 24), 0);
		CU_ASSERT(comes(&f, "attr/vif/0/ipv4/0", "192.0.2.1"));
		CU_ASSERT(comes(&f, "attr/vif/0/ipv4/0/prefix", "24"));
		CU_ASSERT_EQUAL(net_add_address("enX0", "2001:db8::1", 64), 0);
		CU_ASSERT_EQUAL(net_add_address("enX0", "198.51.100.2", 24), 0);
		CU_ASSERT(comes(&f, "attr/vif/0/ipv4/1", "198.51.100.2"));
		CU_ASSERT(comes(&f, "attr/vif/0/ipv6/0", "2001:db8::1"));
		/* Key 0 is never empty. */
		CU_ASSERT_EQUAL(net_change_address(RTM_DELADDR, "enX0", "192.0.2.1", 24, NULL), 0);
		CU_ASSERT(comes(&f, "attr/vif/0/ipv4/0", "198.51.100.2"));
		CU_ASSERT(comes(&f, "attr/vif/0/ipv4/1", NULL));
		CU_ASSERT_EQUAL(net_change_link(RTM_DELLINK, "enX0", NULL, NULL), 0);
		CU_ASSERT(comes(&f, "attr/vif/0", NULL));
	}
	end(&f);
}

int main(void)
{
	struct unit_test tests[8] = {
		UNIT_TEST(test_once__publishes_and_exits),
		UNIT_TEST(test_run__not_a_guest),
		UNIT_TEST(test_run__follows_files),
		UNIT_TEST(test_run__memory_is_no_news),
		UNIT_TEST(test_run__publishes_all_again_after_resume),
		UNIT_TEST(test_run__survives_a_restart_of_xenstored),
	};
	size_t n = 6;

	if (net_enter() == 0 && net_base_kind()) {
		tests[n++] = (struct unit_test)UNIT_TEST(test_run__follows_addresses);
	} else {
		puts("skip test_run__follows_addresses: no network namespace with devices to be "
		     "had");
	}
	if (unshare(CLONE_NEWUTS) == 0) {
		tests[n++] = (struct unit_test)UNIT_TEST(test_run__hears_of_a_new_host_name);
	} else {
		puts("skip test_run__hears_of_a_new_host_name: no namespace for host names to be "
		     "had");
	}
	return unit_run("guest agent", tests, n);
}
