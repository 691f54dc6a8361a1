/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/bench/bus_idle.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "bus/client.h"
#include "libcommon/clock.h"
#include "libcommon/loop.h"
#include "tests/bench/bus_process.h"

#define START_NS (20 * NSEC_PER_SEC)
#define IDLE_US	 (3 * USEC_PER_SEC) /* a few heartbeats and samples of the host */
#define RETRY_US (20 * USEC_PER_MSEC)

struct ping {
	bool is_done, is_good;
};

static pid_t run(const char *bin_dir, const char *dir, const char *const argv[])
{
	pid_t pid = bench_fork();
	char path[PATH_MAX];
	int log;

	if (pid > 0) {
		return pid;
	}
	log = open(bench_path(dir, "services.log"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
		   0600);
	dup2(log, STDOUT_FILENO);
	dup2(log, STDERR_FILENO);
	setenv("XENMESH_TOPOLOGY", bench_path(dir, "services.conf"), true);
	unsetenv("NOTIFY_SOCKET");
	snprintf(path, sizeof(path), "%s/%s", bin_dir, argv[0]);
	execv(path, (char *const *)argv);
	_exit(127);
}

static void on_pong(struct bus_client *c _unused_, const struct bus_result *result, void *userdata)
{
	struct ping *p = userdata;

	p->is_done = true;
	p->is_good = result->code == CODE_OK;
}

/* In a process of its own: the driver has no loop. */
static bool answers(const char *dir, const char *service)
{
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	Xenmesh__V1__PingRequest request = XENMESH__V1__PING_REQUEST__INIT;
	struct topology *t = NULL;
	struct bus_client *client = NULL;
	struct ping ping = { 0 };
	sd_event *loop = NULL;

	if (topology_load(&t, bench_path(dir, "services.conf"), &errors) == 0 &&
	    sd_event_new(&loop) >= 0 && bus_client_new(&client, loop, t, service, "bench") == 0 &&
	    bus_client_call(client, "xenmesh.v1.Bus/Ping", &request.base, NULL, on_pong, &ping,
			    NULL) == 0) {
		while (!ping.is_done) {
			sd_event_run(loop, UINT64_MAX);
		}
	}
	bus_client_free(client);
	sd_event_unref(loop);
	topology_free(t);
	return ping.is_good;
}

/* False when the program has ended. */
static bool wait_for_file(const char *path)
{
	uint64_t end = clock_boot_ns() + START_NS;

	while (access(path, F_OK) != 0 && clock_boot_ns() < end) {
		usleep(RETRY_US);
	}
	return access(path, F_OK) == 0;
}

static void look(struct bench_idle *out, const char *name, pid_t pid, const char *dir,
		 const char *service)
{
	*out = (struct bench_idle){ .name = name };
	if (!answers(dir, service)) {
		out->trouble = "does not answer";
		return;
	}
	usleep(IDLE_US);
	out->threads = bench_status(pid, "Threads:");
	out->rss_kib = bench_status(pid, "VmRSS:");
	out->private_kib = bench_status(pid, "RssAnon:");
}

static void write_topology(const char *dir)
{
	FILE *f = fopen(bench_path(dir, "services.conf"), "we");

	bench_expect(f, "services.conf");
	fprintf(f, "[bus]\nrun_dir = %s/run\n", dir);
	fclose(f);
	mkdir(bench_path(dir, "run"), 0755);
	mkdir(bench_path(dir, "ops"), 0755);
	mkdir(bench_path(dir, "metrics"), 0755);
}

void bench_idle_measure(const char *bin_dir, const char *dir, struct bench_idle out[BENCH_N_IDLE])
{
	char link[PATH_MAX], host[PATH_MAX], ops[PATH_MAX], metrics[PATH_MAX];
	const char *const run_host[] = { "xenmesh-simhost", "--state-dir", host, "--link", link,
					 "--vms",	    "0",	   NULL };
	const char *const run_ops[] = {
		"xenmesh-ops", "--state-dir", ops, "--host-link", link, NULL
	};
	const char *const run_metrics[] = { "xenmesh-metrics", "--state-dir", metrics,
					    "--http",	       "127.0.0.1:0", NULL };
	pid_t pids[3];

	snprintf(link, sizeof(link), "%s/link", dir);
	snprintf(host, sizeof(host), "%s/host", dir);
	snprintf(ops, sizeof(ops), "%s/ops", dir);
	snprintf(metrics, sizeof(metrics), "%s/metrics", dir);
	write_topology(dir);
	pids[0] = run(bin_dir, dir, run_host);
	wait_for_file(link);
	pids[1] = run(bin_dir, dir, run_ops);
	pids[2] = run(bin_dir, dir, run_metrics);
	look(&out[0], "xenmesh-ops", pids[1], dir, "ops");
	look(&out[1], "xenmesh-metrics", pids[2], dir, "metrics");
	for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
		bench_kill(&pids[i]);
	}
}
