/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What topics that a subscriber does not want cost it: SP filters in the
 * subscriber, so they come to it all the same.  A publisher of one process, a
 * bus_sub of another whose CPU time is measured:
 *   wanted    its prefix matches every event
 *   segment   it wants other topics of the same first segment: an event is
 *             decoded to follow prev_seq, then left
 *   other     it wants another segment: an event is left at its first bytes
 * Events come as fast as they are read ("burst"), or one by one with a wake-up
 * each ("single").
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "bus/service.h"
#include "bus/sub.h"
#include "libcommon/clock.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"
#include "tests/unit/bus_util.h"

#define N_BURST	   300000
#define N_SINGLE   20000
#define SINGLE_US  200 /* 5,000 a second */
#define LEAD	   512 /* events that may wait, so that none is dropped */
#define CHECK_EACH 64

struct run {
	const char *name, *prefix;
};

static const struct run runs[] = {
	{ "wanted", "vm/" },
	{ "segment", "vm/none/" },
	{ "other", "host/" },
};

static void die(const char *what, int r)
{
	fprintf(stderr, "bench_bus_filter: %s: %s\n", what, strerror(-r));
	exit(EXIT_FAILURE);
}

static struct topology *load(const char *dir)
{
	struct strbuf errors = STRBUF_NULL;
	struct topology *t = NULL;
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/topology.conf", dir);
	f = fopen(path, "we");
	if (!f) {
		die(path, -errno);
	}
	fprintf(f,
		"[bus]\nrun_dir = %s\n[service test]\npub = ipc://@run@/test/pub\n"
		"rpc = ipc://@run@/test/rpc\n",
		dir);
	fclose(f);
	if (topology_load(&t, path, &errors) < 0) {
		fputs(strbuf_str(&errors), stderr);
		exit(EXIT_FAILURE);
	}
	strbuf_deinit(&errors);
	return t;
}

/* ---- the subscriber ---- */

struct subscriber {
	int ready_fd;
	uint64_t n_states;
};

static void on_event(struct bus_sub *s _unused_, const struct bus_sub_event *e, void *userdata)
{
	struct subscriber *sub = userdata;

	sub->n_states += e->what == BUS_SUB_STATE;
	if (e->what == BUS_SUB_RESYNCED && sub->ready_fd >= 0) {
		sub->ready_fd = xclose(sub->ready_fd);
	}
	if (e->what == BUS_SUB_GAP) {
		fprintf(stderr, "bench_bus_filter: %llu events up to %llu were lost: no figure\n",
			(unsigned long long)e->missed, (unsigned long long)e->seq);
		_exit(EXIT_FAILURE);
	}
}

static double cpu_us(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return ((double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec) * 1e6 +
	       (double)u.ru_utime.tv_usec + (double)u.ru_stime.tv_usec;
}

/* Until SIGTERM; the CPU time since it was synced and the events it delivered go to out_fd. */
static void subscribe(const struct topology *t, const char *prefix, int ready_fd, int out_fd)
{
	struct subscriber sub = { .ready_fd = ready_fd };
	struct bus_sub *s;
	sd_event *loop;
	double before, result[2];
	sigset_t set;
	int r;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sd_event_new(&loop);
	sd_event_add_signal(loop, NULL, SIGTERM, NULL, NULL);
	r = bus_sub_new(&s, loop, t, "test", &prefix, 1, "bench/1", on_event, &sub);
	if (r < 0) {
		die("subscriber", r);
	}
	while (sub.ready_fd >= 0) {
		sd_event_run(loop, UINT64_MAX);
	}
	before = cpu_us();
	sd_event_loop(loop);
	result[0] = cpu_us() - before;
	result[1] = (double)sub.n_states;
	if (write(out_fd, result, sizeof(result)) != sizeof(result)) {
		_exit(EXIT_FAILURE);
	}
	_exit(EXIT_SUCCESS);
}

/* ---- the publisher ---- */

static void add_queued(const char *name, uint64_t value, void *userdata)
{
	const char *dot = str_starts(name, "pub.peer.") ? strrchr(name, '.') : NULL;

	if (dot && streq(dot, ".queued")) {
		*(uint64_t *)userdata += value;
	}
}

static uint64_t queued(struct bus_pub *pub)
{
	uint64_t n = 0;

	bus_pub_stats(pub, add_queued, &n);
	return n;
}

static void publish(struct bus_pub *pub, unsigned int n, size_t size)
{
	Xenmesh__V1__Event event = XENMESH__V1__EVENT__INIT;
	Xenmesh__V1__VmState state = XENMESH__V1__VM_STATE__INIT;
	char name[2048], topic[32];
	int r;

	memset(name, 'n', size);
	name[size] = '\0';
	snprintf(topic, sizeof(topic), "vm/%u/state", n % 100);
	state.name = name;
	event.body_case = XENMESH__V1__EVENT__BODY_VM_STATE;
	event.vm_state = &state;
	r = bus_pub_publish(pub, topic, &event);
	if (r < 0) {
		die("publish", r);
	}
}

static void publish_all(sd_event *loop, struct bus_pub *pub, bool is_single, size_t size)
{
	unsigned int n = is_single ? N_SINGLE : N_BURST;
	uint64_t next = clock_boot_ns();

	for (unsigned int i = 0; i < n; i++) {
		publish(pub, i, size);
		if (is_single) {
			next += SINGLE_US * 1000;
			while (clock_boot_ns() < next) {
				sd_event_run(loop, 0);
			}
		} else if (i % CHECK_EACH == 0) {
			do {
				sd_event_run(loop, 0);
			} while (queued(pub) > LEAD);
		}
	}
	while (queued(pub) > 0) {
		sd_event_run(loop, 1000);
	}
}

static void measure(struct topology *t, const struct run *run, bool is_single, size_t size)
{
	const struct bus_service_config config = { .topology = t, .name = "test", .version = "1" };
	unsigned int n = is_single ? N_SINGLE : N_BURST;
	struct bus_service *service;
	int ready[2], out[2], status, r;
	sd_event *loop;
	double result[2], seconds;
	uint64_t begin;
	char byte;
	pid_t pid;

	if (pipe2(ready, O_CLOEXEC | O_NONBLOCK) < 0 || pipe2(out, O_CLOEXEC) < 0) {
		die("pipe", -errno);
	}
	pid = fork();
	if (pid == 0) {
		close(ready[0]);
		subscribe(t, run->prefix, ready[1], out[1]);
	}
	close(ready[1]);
	close(out[1]);
	sd_event_new(&loop);
	r = bus_service_new(&service, loop, &config);
	if (r < 0) {
		die("service", r);
	}
	while (read(ready[0], &byte, 1) < 0) {
		sd_event_run(loop, 1000);
	}
	bus_run_for(loop, 100); /* the publisher's half of the connection may be later */
	begin = clock_boot_ns();
	publish_all(loop, bus_service_pub(service), is_single, size);
	seconds = (double)(clock_boot_ns() - begin) / NSEC_PER_SEC;
	bus_run_for(loop, 100); /* what is in the socket still */
	kill(pid, SIGTERM);
	if (read(out[0], result, sizeof(result)) != sizeof(result) ||
	    waitpid(pid, &status, 0) != pid || status != 0) {
		die("the subscriber failed", -EIO);
	}
	printf("%-8s %-8s %5zu B  %8.0f events/s  %6.2f us of CPU for each  (%.0f of %u wanted)\n",
	       run->name, is_single ? "single" : "burst", size, n / seconds, result[0] / n,
	       result[1], n);
	fflush(stdout);
	bus_service_free(service);
	sd_event_unref(loop);
	close(ready[0]);
	close(out[0]);
}

int main(void)
{
	static const size_t sizes[] = { 64, 1024 };
	struct topology *t;
	struct bus_dir dir;

	log_init("bench_bus_filter");
	bus_dir_make(&dir);
	t = load(dir.path);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		for (int is_single = 0; is_single < 2; is_single++) {
			for (size_t j = 0; j < ARRAY_LEN(runs); j++) {
				measure(t, &runs[j], is_single, sizes[i]);
			}
		}
	}
	topology_free(t);
	bus_dir_remove(&dir);
	return EXIT_SUCCESS;
}
