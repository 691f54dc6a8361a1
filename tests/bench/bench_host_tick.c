/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a sample of N domains (each 4 vCPUs and 2 vbds) costs xenmesh-ops-host,
 * hypercalls not counted: they are answered by a function here.  The vbds are
 * files of the same names and contents as the kernel's.  The peer reads the
 * same counters as libxenstat does, opening and closing each file.
 */
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "libcommon/clock.h"
#include "libcommon/log.h"
#include "libcommon/xenstore.h"
#include "services/ops/host/sampler.h"
#include "tests/bench/bench.h"

#define TIMES	      50
#define VCPUS	      4
#define VBDS	      2
#define DOMAINS_MAX   5000
#define ALL_DAY_US    (86400 * USEC_PER_SEC)
#define DEVICES	      "bus/xen-backend/devices"
#define ARENA_LIMIT   (256U << 20)
#define FIRST_VBD     51712
#define FILES_OF_PEER 5 /* those that libxenstat reads */

static const char *const counters[] = { "oo_req",  "rd_req", "wr_req", "rd_sect",
					"wr_sect", "f_req",  "ds_req" };

static uint32_t n_domains;
static char root[] = "/tmp/bench_host_tick.XXXXXX";

static void fail(const char *what)
{
	fprintf(stderr, "bench_host_tick: %s\n", what);
	exit(EXIT_FAILURE);
}

static int list(void *userdata _unused_, uint32_t first, unsigned int max, xc_domaininfo_t *out)
{
	unsigned int n = 0;

	for (; n < max && first + n < n_domains; n++) {
		out[n] = (xc_domaininfo_t){
			.domain = (domid_t)(first + n),
			.flags = XEN_DOMINF_blocked,
			.tot_pages = 262144,
			.max_pages = 262144,
			.cpu_time = clock_boot_ns(),
			.nr_online_vcpus = VCPUS,
			.max_vcpu_id = VCPUS - 1,
		};
		out[n].handle[0] = (uint8_t)((first + n) >> 8);
		out[n].handle[1] = (uint8_t)(first + n);
	}
	return (int)n;
}

static int physinfo(void *userdata _unused_, xc_physinfo_t *out)
{
	*out = (xc_physinfo_t){ .nr_cpus = 64, .max_cpu_id = 63, .total_pages = 1 << 26 };
	return 0;
}

static int pcpus(void *userdata _unused_, unsigned int max, xc_cpuinfo_t *out)
{
	memset(out, 1, max * sizeof(*out));
	return (int)max;
}

static int vcpu(void *userdata _unused_, uint32_t domid _unused_, uint32_t number,
		xc_vcpuinfo_t *out)
{
	*out = (xc_vcpuinfo_t){ .vcpu = number, .online = 1, .cpu_time = 1ULL << 40 };
	return 0;
}

/* An empty xenstore. */
int xenstore_read(struct xenstore *xs _unused_, const char *path _unused_, char **out _unused_,
		  size_t *len _unused_)
{
	return XENSTORE_ABSENT;
}

int xenstore_read_u64(struct xenstore *xs _unused_, const char *path _unused_,
		      uint64_t *out _unused_)
{
	return XENSTORE_ABSENT;
}

int xenstore_list(struct xenstore *xs _unused_, const char *path _unused_, char ***out _unused_,
		  size_t *n _unused_)
{
	return XENSTORE_ABSENT;
}

int xenstore_watch(struct xenstore *xs _unused_, struct xenstore_watch **out,
		   const char *path _unused_, xenstore_watch_fn fn _unused_,
		   void *userdata _unused_)
{
	*out = NULL;
	return 0;
}

struct xenstore_watch *xenstore_unwatch(struct xenstore_watch *w _unused_)
{
	return NULL;
}

static void on_domain(const struct host_domain *domain _unused_, void *userdata _unused_)
{
}

static void on_marked(void *userdata _unused_)
{
}

static void make_counter(uint32_t domid, uint32_t devid, const char *name)
{
	char path[160];
	FILE *f;

	snprintf(path, sizeof(path), "%s/" DEVICES "/vbd-%u-%u/statistics/%s", root, domid, devid,
		 name);
	for (char *p = path + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		mkdir(path, 0755);
		*p = '/';
	}
	f = fopen(path, "w");
	if (!f || fprintf(f, "%u\n", domid * 1000003U) < 0 || fclose(f) != 0) {
		fail("cannot write the files of the vbds");
	}
}

static void make_tree(void)
{
	if (!mkdtemp(root)) {
		fail("cannot make a directory in /tmp");
	}
	for (uint32_t domid = 0; domid < n_domains; domid++) {
		for (uint32_t i = 0; i < VBDS; i++) {
			for (size_t k = 0; k < ARRAY_LEN(counters); k++) {
				make_counter(domid, FIRST_VBD + 16 * i, counters[k]);
			}
		}
	}
}

static int remove_one(const char *path, const struct stat *st _unused_, int flag _unused_,
		      struct FTW *ftw _unused_)
{
	return remove(path);
}

static void read_as_libxenstat(void)
{
	char path[160], text[32];

	for (uint32_t domid = 0; domid < n_domains; domid++) {
		for (uint32_t i = 0; i < VBDS * FILES_OF_PEER; i++) {
			int fd;

			snprintf(path, sizeof(path), "%s/" DEVICES "/vbd-%u-%u/statistics/%s", root,
				 domid, FIRST_VBD + 16 * (i / FILES_OF_PEER),
				 counters[i % FILES_OF_PEER]);
			fd = open(path, O_RDONLY | O_CLOEXEC);
			if (fd < 0 || read(fd, text, sizeof(text)) <= 0) {
				fail("a file of a vbd is gone");
			}
			close(fd);
		}
	}
}

static void measure(struct host_sampler *sampler, struct host_vbds *vbds)
{
	struct bench_times tick, files, peer;
	Xenmesh__V1__HostSample *sample = NULL;
	size_t packed = 0;

	bench_times_init(&tick, TIMES);
	bench_times_init(&files, TIMES);
	bench_times_init(&peer, TIMES);
	for (int i = 0; i < TIMES; i++) {
		_cleanup_(arena_deinit) struct arena arena;
		uint64_t begin_ns = clock_boot_ns();

		arena_init(&arena, ARENA_LIMIT);
		if (host_sampler_take(sampler, &arena, &sample) < 0) {
			fail("no sample");
		}
		packed = xenmesh__v1__host_sample__get_packed_size(sample);
		bench_times_add(&tick, clock_boot_ns() - begin_ns);
		begin_ns = clock_boot_ns();
		if (host_vbds_read(vbds) < 0) {
			fail("no counters of vbds");
		}
		bench_times_add(&files, clock_boot_ns() - begin_ns);
		begin_ns = clock_boot_ns();
		read_as_libxenstat();
		bench_times_add(&peer, clock_boot_ns() - begin_ns);
	}
	printf("%u domains, %d vCPUs and %d vbds each; a sample has %zu bytes\n", n_domains, VCPUS,
	       VBDS, packed);
	bench_print("open, read and close 5 files a vbd", &peer, NULL, NULL);
	bench_print("counters of all vbds, 7 files each", &files, "libxenstat's way", &peer);
	bench_print("whole sample", &tick, NULL, NULL);
	bench_times_deinit(&tick);
	bench_times_deinit(&files);
	bench_times_deinit(&peer);
}

static void run(void)
{
	static const struct hypervisor_ops ops = {
		.list = list, .physinfo = physinfo, .pcpus = pcpus, .vcpu = vcpu
	};
	static const struct host_domains_events events = { on_domain, on_domain, on_marked };
	struct hypervisor hv = { .ops = &ops };
	struct host_sampler_sources s = { .hv = &hv };
	struct host_sampler *sampler;

	if (host_domains_new(&s.domains, &hv, NULL, &events, NULL) < 0 ||
	    host_vifs_new(&s.vifs, "/sys") < 0 || host_vbds_new(&s.vbds, root) < 0 ||
	    host_sampler_new(&sampler, &s) < 0 || host_domains_scan(s.domains) < 0) {
		fail("cannot start");
	}
	host_domains_refresh(s.domains, ALL_DAY_US);
	measure(sampler, s.vbds);
	host_sampler_free(sampler);
	host_vbds_free(s.vbds);
	host_vifs_free(s.vifs);
	host_domains_free(s.domains);
}

int main(int argc, char **argv)
{
	struct rlimit limit;

	n_domains = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1000;
	if (n_domains == 0 || n_domains > DOMAINS_MAX) {
		fail("usage: bench_host_tick [DOMAINS], 1 to 5000");
	}
	log_init("bench_host_tick");
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	make_tree();
	run();
	nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return EXIT_SUCCESS;
}
