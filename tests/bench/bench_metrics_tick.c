/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a sample of N VMs (each 1 vCPU, 1 vif, 1 vbd) costs xenmesh-metrics: the
 * ordinary sample of each second, and the one that ends a slot of 5 s and is
 * written to the archives of all VMs.  The peer is librrd updating as many
 * files of the same sources and geometry, as a metrics daemon on top of it would.
 */
#include <ftw.h>
#include <stdio.h>
#include <sys/resource.h>

#if __has_include(<rrd.h>)
#include <rrd.h>
#define HAS_RRD 1
#else
#define HAS_RRD 0
#endif

#include "libcommon/arena.h"
#include "libcommon/clock.h"
#include "libcommon/log.h"
#include "libcommon/uuid.h"
#include "services/metrics/openmetrics.h"
#include "services/metrics/view.h"
#include "tests/bench/bench.h"

#define SECONDS	  120
#define N_SOURCES 11 /* of such a VM */

static struct arena arena;

static void *make(size_t size)
{
	void *p = arena_alloc(&arena, size);

	if (!p) {
		fputs("bench_metrics_tick: out of memory\n", stderr);
		exit(EXIT_FAILURE);
	}
	return p;
}

static Xenmesh__V1__DomainSample *make_domain(uint32_t domid)
{
	Xenmesh__V1__DomainSample *d = make(sizeof(*d));
	struct uuid uuid;

	xenmesh__v1__domain_sample__init(d);
	uuid_random(&uuid);
	d->uuid = make(37);
	uuid_format(&uuid, d->uuid);
	d->name = arena_printf(&arena, "vm-%u", domid);
	d->domid = domid;
	d->vcpus_online = 1;
	d->memory_kib = 131072;
	d->power_state = XENMESH__V1__POWER_STATE__POWER_STATE_RUNNING;
	d->vcpus = make(sizeof(void *));
	d->vcpus[0] = make(sizeof(**d->vcpus));
	xenmesh__v1__vcpu_sample__init(d->vcpus[0]);
	d->vcpus[0]->online = true;
	d->n_vcpus = 1;
	d->vifs = make(sizeof(void *));
	d->vifs[0] = make(sizeof(**d->vifs));
	xenmesh__v1__vif_sample__init(d->vifs[0]);
	d->n_vifs = 1;
	d->vbds = make(sizeof(void *));
	d->vbds[0] = make(sizeof(**d->vbds));
	xenmesh__v1__vbd_sample__init(d->vbds[0]);
	d->vbds[0]->vdev = (char *)"xvda";
	d->n_vbds = 1;
	return d;
}

static void make_sample(Xenmesh__V1__HostSample *s, size_t n_vms)
{
	xenmesh__v1__host_sample__init(s);
	s->domains = make(n_vms * sizeof(void *));
	for (size_t i = 0; i < n_vms; i++) {
		s->domains[i] = make_domain((uint32_t)i + 1);
	}
	s->n_domains = n_vms;
}

static void advance(Xenmesh__V1__HostSample *s, uint64_t start_s, uint64_t second)
{
	s->realtime_ns = (start_s + second) * NSEC_PER_SEC;
	s->monotonic_ns = s->realtime_ns;
	for (size_t i = 0; i < s->n_domains; i++) {
		s->domains[i]->cpu_ns += 100000000 + i;
		s->domains[i]->vcpus[0]->cpu_ns = s->domains[i]->cpu_ns;
		s->domains[i]->vifs[0]->rx_bytes += 1000 + i;
		s->domains[i]->vbds[0]->rd_sect += i;
	}
}

static void give(struct view *view, Xenmesh__V1__HostSample *s)
{
	Xenmesh__V1__Event event = XENMESH__V1__EVENT__INIT;
	struct bus_sub_event e = { .what = BUS_SUB_STATE, .topic = "host/sample", .event = &event };

	event.body_case = XENMESH__V1__EVENT__BODY_HOST_SAMPLE;
	event.host_sample = s;
	view_take_ops(view, &e);
}

static void run_ours(const char *dir, Xenmesh__V1__HostSample *s, struct bench_times *ordinary,
		     struct bench_times *slot_end, struct bench_times *scrape)
{
	uint64_t start_s = clock_real_ns() / NSEC_PER_SEC / 5 * 5 - 3600;
	struct objects *objects = NULL;
	struct view view;

	if (objects_new(&objects, dir) < 0) {
		exit(EXIT_FAILURE);
	}
	view_init(&view, objects);
	for (uint64_t second = 0; second < SECONDS; second++) {
		_cleanup_(strbuf_deinit) struct strbuf text = STRBUF_NULL;
		uint64_t begin;

		advance(s, start_s, second);
		begin = clock_boot_ns();
		give(&view, s);
		if (second >= 10) {
			bench_times_add(second % 5 ? ordinary : slot_end, clock_boot_ns() - begin);
		}
		begin = clock_boot_ns();
		openmetrics_write(&text, &view);
		bench_times_add(scrape, clock_boot_ns() - begin);
	}
	view_deinit(&view);
	objects_free(objects);
}

#if HAS_RRD
static void run_rrd(const char *dir, const Xenmesh__V1__HostSample *s, struct bench_times *times)
{
	static const char *const archives[] = {
		"RRA:AVERAGE:0.5:1:120", "RRA:AVERAGE:0.5:12:120",    "RRA:MIN:0.5:12:120",
		"RRA:MAX:0.5:12:120",	 "RRA:AVERAGE:0.5:720:168",   "RRA:MIN:0.5:720:168",
		"RRA:MAX:0.5:720:168",	 "RRA:AVERAGE:0.5:17280:366", "RRA:MIN:0.5:17280:366",
		"RRA:MAX:0.5:17280:366",
	};
	const char *arguments[N_SOURCES + ARRAY_LEN(archives)];
	time_t start = (time_t)(clock_real_ns() / NSEC_PER_SEC / 5 * 5 - 3600);
	char path[512];
	int n = 0;

	for (unsigned int i = 0; i < N_SOURCES; i++) {
		arguments[n++] = arena_printf(&arena, "DS:s%u:DERIVE:300:U:U", i);
	}
	for (size_t i = 0; i < ARRAY_LEN(archives); i++) {
		arguments[n++] = archives[i];
	}
	for (size_t i = 0; i < s->n_domains; i++) {
		snprintf(path, sizeof(path), "%s/%zu.rrd", dir, i);
		rrd_create_r(path, 5, start, n, arguments);
	}
	for (time_t t = start + 5; t < start + 5 + SECONDS; t += 5) {
		uint64_t begin = clock_boot_ns();

		for (size_t i = 0; i < s->n_domains; i++) {
			char text[512];
			int len = snprintf(text, sizeof(text), "%lld", (long long)t);
			const char *update = text;

			for (unsigned int k = 0; k < N_SOURCES; k++) {
				len += snprintf(text + len, sizeof(text) - (size_t)len, ":%llu",
						(unsigned long long)t * 1000 + k);
			}
			snprintf(path, sizeof(path), "%s/%zu.rrd", dir, i);
			rrd_update_r(path, NULL, 1, &update);
		}
		bench_times_add(times, clock_boot_ns() - begin);
	}
	if (rrd_test_error()) {
		printf("librrd: %s\n", rrd_get_error());
	}
}
#endif

static int remove_one(const char *path, const struct stat *st _unused_, int flag _unused_,
		      struct FTW *ftw _unused_)
{
	return remove(path);
}

int main(int argc, char **argv)
{
	size_t n_vms = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000;
	char dir[] = "/tmp/xenmesh-bench-XXXXXX";
	struct bench_times ordinary, slot_end, scrape, peer;
	Xenmesh__V1__HostSample sample;
	struct rusage usage;

	log_init("bench_metrics_tick");
	log_set_level(LOG_LEVEL_WARNING);
	arena_init(&arena, 256U << 20);
	bench_times_init(&ordinary, SECONDS);
	bench_times_init(&slot_end, SECONDS);
	bench_times_init(&scrape, SECONDS);
	bench_times_init(&peer, SECONDS);
	if (!n_vms || !mkdtemp(dir)) {
		return EXIT_FAILURE;
	}
	make_sample(&sample, n_vms);
	run_ours(dir, &sample, &ordinary, &slot_end, &scrape);
	getrusage(RUSAGE_SELF, &usage);
#if HAS_RRD
	run_rrd(dir, &sample, &peer);
#else
	puts("librrd: not built in; apt-get install librrd-dev, then make bench again");
#endif
	printf("metrics, %zu VMs of 1 vCPU, 1 vif, 1 vbd:\n", n_vms);
	bench_print("  ordinary sample", &ordinary, NULL, NULL);
	bench_print("  librrd: update all files", &peer, NULL, NULL);
	bench_print("  sample that ends a slot of 5 s", &slot_end, "librrd", &peer);
	bench_print("  OpenMetrics text", &scrape, NULL, NULL);
	printf("  share of one core: %.2f %%, peak RSS with the archives mapped: %ld KiB\n",
	       ((double)bench_percentile(&ordinary, 50) * 4 +
		(double)bench_percentile(&slot_end, 50)) /
		       5e9 * 100,
	       usage.ru_maxrss);
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	arena_deinit(&arena);
	bench_times_deinit(&ordinary);
	bench_times_deinit(&slot_end);
	bench_times_deinit(&scrape);
	bench_times_deinit(&peer);
	return EXIT_SUCCESS;
}
