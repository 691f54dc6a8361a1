/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Samples go in, slots come out: rates, gauges, restarts of counters, clocks.
 */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>

#include "libcommon/clock.h"
#include "libcommon/log.h"
#include "services/metrics/openmetrics.h"
#include "services/metrics/sources.h"
#include "services/metrics/view.h"
#include "tests/unit/log_util.h"
#include "tests/unit/unit.h"

#define UUID "11111111-2222-4333-8444-555555555555"

/* Two hours ago, at the beginning of a slot. */
static uint64_t base_s;
static char dir[] = "/tmp/xenmesh-objects-XXXXXX";

struct host {
	struct objects *objects;
	struct view view;
	Xenmesh__V1__HostSample sample;
	Xenmesh__V1__PcpuSample pcpu;
	Xenmesh__V1__PcpuSample *pcpus[1];
	Xenmesh__V1__DomainSample domain;
	Xenmesh__V1__DomainSample *domains[1];
	Xenmesh__V1__VcpuSample vcpu;
	Xenmesh__V1__VcpuSample *vcpus[1];
	Xenmesh__V1__VifSample vif;
	Xenmesh__V1__VifSample *vifs[1];
	Xenmesh__V1__VbdSample vbd;
	Xenmesh__V1__VbdSample *vbds[1];
};

static void empty_dir(void)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	char file[400];

	while (d && (e = readdir(d))) {
		snprintf(file, sizeof(file), "%s/%s", dir, e->d_name);
		unlink(file);
	}
	if (d) {
		closedir(d);
	}
}

static void host_init(struct host *h)
{
	*h = (struct host){ 0 };
	CU_ASSERT_EQUAL(objects_new(&h->objects, dir), 0);
	view_init(&h->view, h->objects);
	xenmesh__v1__host_sample__init(&h->sample);
	xenmesh__v1__pcpu_sample__init(&h->pcpu);
	xenmesh__v1__domain_sample__init(&h->domain);
	xenmesh__v1__vcpu_sample__init(&h->vcpu);
	xenmesh__v1__vif_sample__init(&h->vif);
	xenmesh__v1__vbd_sample__init(&h->vbd);
	h->pcpus[0] = &h->pcpu;
	h->sample.pcpus = h->pcpus;
	h->sample.n_pcpus = 1;
	h->domains[0] = &h->domain;
	h->sample.domains = h->domains;
	h->sample.n_domains = 1;
	h->domain.uuid = (char *)UUID;
	h->domain.name = (char *)"web \"1\"\n";
	h->domain.domid = 3;
	h->domain.vcpus_online = 2;
	h->domain.memory_kib = 1024;
	h->domain.power_state = XENMESH__V1__POWER_STATE__POWER_STATE_RUNNING;
	h->vcpu.online = true;
	h->vcpus[0] = &h->vcpu;
	h->domain.vcpus = h->vcpus; /* none is told before give_vcpu() */
	h->vifs[0] = &h->vif;
	h->domain.vifs = h->vifs;
	h->domain.n_vifs = 1;
	h->vbd.vdev = (char *)"xvda";
	h->vbds[0] = &h->vbd;
	h->domain.vbds = h->vbds;
	h->domain.n_vbds = 1;
}

static void host_deinit(struct host *h)
{
	view_deinit(&h->view);
	objects_free(h->objects);
}

/* One sample as the subscriber would hand it over. */
static void give(struct host *h, uint64_t second)
{
	Xenmesh__V1__Event event = XENMESH__V1__EVENT__INIT;
	struct bus_sub_event e = { .what = BUS_SUB_STATE, .topic = "host/sample", .event = &event };

	h->sample.realtime_ns = (base_s + second) * NSEC_PER_SEC;
	h->sample.monotonic_ns = (1000 + second) * NSEC_PER_SEC;
	event.body_case = XENMESH__V1__EVENT__BODY_HOST_SAMPLE;
	event.host_sample = &h->sample;
	view_take_ops(&h->view, &e);
}

/* 1 s of a busy domain: half of two vCPUs, 1000 B/s in, 10 sectors/s read. */
static void advance(struct host *h)
{
	h->domain.cpu_ns += NSEC_PER_SEC;
	h->vif.rx_bytes += 1000;
	h->vbd.rd_sect += 10;
	h->vbd.rd_req += 2;
	h->pcpu.idle_ns += NSEC_PER_SEC / 4;
}

static double value(struct host *h, const char *uuid, const char *name, uint64_t second)
{
	struct object *obj = objects_find(h->objects, uuid);
	int column = obj && obj->archive ? archive_find(obj->archive, name) : -1;

	CU_ASSERT(column >= 0);
	return column < 0 ? (double)NAN
			  : archive_value(obj->archive, 0, ARCHIVE_AVERAGE,
					  (int64_t)(base_s + second) / 5, (size_t)column);
}

static void run(struct host *h, uint64_t from, uint64_t to)
{
	for (uint64_t s = from; s <= to; s++) {
		advance(h);
		give(h, s);
	}
}

static void test_objects__rates_and_gauges(void)
{
	struct host h;

	empty_dir();
	host_init(&h);
	run(&h, 0, 20);
	CU_ASSERT_DOUBLE_EQUAL(value(&h, UUID, "cpu_usage", 10), 0.5, 1e-9);
	CU_ASSERT_DOUBLE_EQUAL(value(&h, UUID, "vif_0_rx", 10), 1000, 1e-6);
	CU_ASSERT_DOUBLE_EQUAL(value(&h, UUID, "vbd_xvda_read", 10), 5120, 1e-6);
	CU_ASSERT_DOUBLE_EQUAL(value(&h, UUID, "vbd_xvda_iops_read", 10), 2, 1e-9);
	CU_ASSERT_DOUBLE_EQUAL(value(&h, UUID, "memory", 0), 1048576, 0);
	CU_ASSERT_DOUBLE_EQUAL(value(&h, "", "cpu0", 10), 0.75, 1e-9);
	CU_ASSERT_DOUBLE_EQUAL(value(&h, "", "cpu_avg", 10), 0.75, 1e-9);
	/* The first slot has nothing to compare with. */
	CU_ASSERT(isnan(value(&h, UUID, "cpu_usage", 0)));
	host_deinit(&h);
}

static void test_objects__a_new_domain_restarts_counters(void)
{
	struct host h;

	empty_dir();
	host_init(&h);
	run(&h, 0, 9);
	h.domain.domid = 4;
	h.domain.cpu_ns = 0;
	h.vif.rx_bytes = 5000000; /* as large as one likes: it is another counter */
	run(&h, 10, 24);
	CU_ASSERT(isnan(value(&h, UUID, "vif_0_rx", 10)));
	CU_ASSERT_DOUBLE_EQUAL(value(&h, UUID, "vif_0_rx", 15), 1000, 1e-6);
	host_deinit(&h);
}

static void test_objects__a_counter_going_back_is_unknown(void)
{
	struct host h;

	empty_dir();
	host_init(&h);
	run(&h, 0, 9);
	h.vif.rx_bytes = 1;
	run(&h, 10, 24);
	CU_ASSERT(isnan(value(&h, UUID, "vif_0_rx", 10)));
	CU_ASSERT_DOUBLE_EQUAL(value(&h, UUID, "cpu_usage", 10), 0.5, 1e-9);
	CU_ASSERT_DOUBLE_EQUAL(value(&h, UUID, "vif_0_rx", 15), 1000, 1e-6);
	host_deinit(&h);
}

static void test_objects__missing_samples_leave_unknown_slots(void)
{
	struct host h;

	empty_dir();
	host_init(&h);
	run(&h, 0, 9);
	for (int i = 0; i < 20; i++) {
		advance(&h);
	}
	run(&h, 30, 45);
	CU_ASSERT_DOUBLE_EQUAL(value(&h, UUID, "vif_0_rx", 5), 1000, 1e-6);
	CU_ASSERT(isnan(value(&h, UUID, "vif_0_rx", 15)));
	/* The rate over the pause is right, because it is divided by the real time. */
	CU_ASSERT_DOUBLE_EQUAL(value(&h, UUID, "vif_0_rx", 30), 1000, 1e-6);
	host_deinit(&h);
}

static void test_objects__clock_steps(void)
{
	struct host h;

	empty_dir();
	host_init(&h);
	run(&h, 3600, 3620);
	give(&h, 3615); /* a small step back waits */
	CU_ASSERT_DOUBLE_EQUAL(value(&h, UUID, "memory", 3615), 1048576, 0);
	run(&h, 0, 20); /* a large one is believed */
	CU_ASSERT(isnan(value(&h, UUID, "memory", 3605)));
	CU_ASSERT_DOUBLE_EQUAL(value(&h, UUID, "memory", 10), 1048576, 0);
	host_deinit(&h);
}

static void test_objects__history_survives_a_restart(void)
{
	struct host h;

	empty_dir();
	host_init(&h);
	run(&h, 0, 20);
	host_deinit(&h);
	host_init(&h);
	CU_ASSERT_EQUAL(objects_count(h.objects), 1); /* the host comes with its first sample */
	CU_ASSERT_DOUBLE_EQUAL(value(&h, UUID, "vif_0_rx", 10), 1000, 1e-6);
	h.domain.cpu_ns = 100 * NSEC_PER_SEC;
	run(&h, 25, 45);
	CU_ASSERT_DOUBLE_EQUAL(value(&h, UUID, "vif_0_rx", 10), 1000, 1e-6);
	CU_ASSERT_DOUBLE_EQUAL(value(&h, UUID, "cpu_usage", 35), 0.5, 1e-9);
	host_deinit(&h);
}

static void test_objects__malformed_uuids_are_refused(void)
{
	struct host h;

	empty_dir();
	host_init(&h);
	h.domain.uuid = (char *)"../../../../etc/passwd";
	run(&h, 0, 10);
	CU_ASSERT_PTR_NULL(objects_find(h.objects, "../../../../etc/passwd"));
	CU_ASSERT_EQUAL(objects_count(h.objects), 1);
	host_deinit(&h);
}

static bool has_line(const struct strbuf *text, const char *line)
{
	const char *start = strbuf_str(text);

	for (const char *at = strstr(start, line); at; at = strstr(at + 1, line)) {
		if ((at == start || at[-1] == '\n') && at[strlen(line)] == '\n') {
			return true;
		}
	}
	return false;
}

static void test_objects__one_domain_of_each_uuid(void)
{
	Xenmesh__V1__DomainSample successor;
	Xenmesh__V1__DomainSample *both[2];
	struct strbuf text = STRBUF_NULL;
	struct host h;
	const char *first;

	empty_dir();
	host_init(&h);
	run(&h, 0, 4);
	h.domain.power_state = XENMESH__V1__POWER_STATE__POWER_STATE_DYING;
	successor = h.domain;
	successor.domid = 9;
	successor.power_state = XENMESH__V1__POWER_STATE__POWER_STATE_RUNNING;
	both[0] = &h.domain;
	both[1] = &successor;
	h.sample.domains = both;
	h.sample.n_domains = 2;
	for (uint64_t s = 5; s <= 20; s++) {
		successor.cpu_ns += NSEC_PER_SEC;
		give(&h, s);
	}
	CU_ASSERT_DOUBLE_EQUAL(value(&h, UUID, "cpu_usage", 10), 0.5, 1e-9);
	CU_ASSERT_EQUAL(openmetrics_write(&text, &h.view), 0);
	first = strstr(strbuf_str(&text), "xen_domain_info{");
	CU_ASSERT_PTR_NOT_NULL(first);
	CU_ASSERT(first && strstr(first, "domid=\"9\""));
	CU_ASSERT(first && !strstr(first + 1, "xen_domain_info{"));
	strbuf_deinit(&text);
	host_deinit(&h);
}

static void test_objects__unplugged_vcpus_are_no_load(void)
{
	struct host h;

	empty_dir();
	host_init(&h);
	h.domain.cpu_ns = 10 * NSEC_PER_SEC;
	for (uint64_t s = 0; s <= 20; s++) {
		h.domain.vcpus_online = s < 8 ? 4 : 2;
		give(&h, s);
	}
	CU_ASSERT(isnan(value(&h, UUID, "cpu_usage", 5)));
	CU_ASSERT_DOUBLE_EQUAL(value(&h, UUID, "cpu_usage", 10), 0, 0);
	host_deinit(&h);
}

/* 1 s in which the vCPU was busy half of the time; the sample may leave it out. */
static void give_vcpu(struct host *h, uint64_t second, bool is_told)
{
	h->vcpu.cpu_ns += NSEC_PER_SEC / 2;
	h->domain.n_vcpus = is_told;
	give(h, second);
}

/* On large hosts a domain's vCPUs are in one of eight samples only. */
static void test_objects__vcpus_that_take_turns_have_no_gaps(void)
{
	struct host h;

	empty_dir();
	host_init(&h);
	for (uint64_t s = 0; s <= 80; s++) {
		give_vcpu(&h, s, s % 8 == 0 && s <= 40);
	}
	for (uint64_t s = 10; s <= 60; s += 5) {
		CU_ASSERT_DOUBLE_EQUAL(value(&h, UUID, "cpu0", s), 0.5, 1e-9);
	}
	host_deinit(&h);
}

static void test_objects__a_vcpu_never_told_again_becomes_unknown(void)
{
	struct host h;

	empty_dir();
	host_init(&h);
	for (uint64_t s = 0; s <= 120; s++) {
		give_vcpu(&h, s, s <= 20);
	}
	CU_ASSERT_DOUBLE_EQUAL(value(&h, UUID, "cpu0", 60), 0.5, 1e-9);
	CU_ASSERT(isnan(value(&h, UUID, "cpu0", 110)));
	host_deinit(&h);
}

static size_t files_in_dir(void)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	size_t n = 0;

	while (d && (e = readdir(d))) {
		n += e->d_name[0] != '.';
	}
	if (d) {
		closedir(d);
	}
	return n;
}

static void test_objects__short_lived_vms_do_not_fill_the_disk(void)
{
	char uuid[sizeof(UUID)];
	struct host h;

	empty_dir();
	host_init(&h);
	h.domain.uuid = uuid;
	for (unsigned int i = 0; i < 2100; i++) {
		snprintf(uuid, sizeof(uuid), "11111111-2222-4333-8444-%012x", i);
		give(&h, 5ULL * i);
	}
	h.sample.n_domains = 0;
	for (unsigned int i = 0; i < 4; i++) {
		give(&h, 20000 + 3600 * i);
	}
	CU_ASSERT_EQUAL(objects_count(h.objects), 2048 + 1);
	CU_ASSERT_EQUAL(files_in_dir(), 2048 + 1);
	/* The first ones went. */
	CU_ASSERT_PTR_NULL(objects_find(h.objects, "11111111-2222-4333-8444-000000000000"));
	CU_ASSERT_PTR_NOT_NULL(objects_find(h.objects, "11111111-2222-4333-8444-000000000833"));
	host_deinit(&h);
	host_init(&h);
	CU_ASSERT_EQUAL(objects_count(h.objects), 2048);
	host_deinit(&h);
	empty_dir();
}

/* A directory in the place of the wider file: more than 16 columns cannot be made. */
static void test_objects__values_without_a_place_are_told(void)
{
	Xenmesh__V1__VbdSample vbds[4];
	Xenmesh__V1__VbdSample *list[4];
	char names[4][8], block[128];
	struct host h;

	empty_dir();
	snprintf(block, sizeof(block), "%s/vm-" UUID ".xma.wider.tmp", dir);
	CU_ASSERT_EQUAL(mkdir(block, 0700), 0);
	host_init(&h);
	for (int i = 0; i < 4; i++) {
		xenmesh__v1__vbd_sample__init(&vbds[i]);
		snprintf(names[i], sizeof(names[i]), "xvd%c", 'a' + i);
		vbds[i].vdev = names[i];
		list[i] = &vbds[i];
	}
	h.domain.vbds = list;
	h.domain.n_vbds = 4; /* 16 of the 22 sources */
	log_set_sink(log_collect);
	run(&h, 0, 20);
	log_set_sink(NULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(strbuf_str(&log_collected), "served but not kept"));
	CU_ASSERT_PTR_EQUAL(strchr(strbuf_str(&log_collected), '\n'),
			    strrchr(strbuf_str(&log_collected), '\n')); /* once */
	CU_ASSERT_DOUBLE_EQUAL(value(&h, UUID, "memory", 10), 1048576, 0);
	strbuf_deinit(&log_collected);
	host_deinit(&h);
	rmdir(block);
	empty_dir();
}

/* The same when the clock had been ahead for a while. */
static void test_objects__the_disk_does_not_fill_after_a_wrong_clock(void)
{
	char uuid[sizeof(UUID)];
	struct host h;

	empty_dir();
	host_init(&h);
	h.domain.uuid = uuid;
	for (unsigned int i = 0; i < 2100; i++) {
		snprintf(uuid, sizeof(uuid), "11111111-2222-4333-8444-%012x", i);
		give(&h, 10 * 86400 + 5ULL * i);
	}
	for (unsigned int i = 0; i < 5; i++) {
		give(&h, 3600 * i);
	}
	CU_ASSERT_EQUAL(objects_count(h.objects), 2048 + 1);
	host_deinit(&h);
	empty_dir();
}

static void test_objects__archive_of_the_future_is_kept_aside(void)
{
	struct host h;

	empty_dir();
	host_init(&h);
	run(&h, 0, 20);
	host_deinit(&h);
	base_s -= 86400; /* it began with a clock that was a day ahead */
	host_init(&h);
	run(&h, 0, 40);
	CU_ASSERT_DOUBLE_EQUAL(value(&h, UUID, "vif_0_rx", 30), 1000, 1e-6);
	host_deinit(&h);
	base_s += 86400;
}

static void test_openmetrics__text(void)
{
	struct strbuf text = STRBUF_NULL;
	struct host h;

	empty_dir();
	host_init(&h);
	CU_ASSERT_EQUAL(openmetrics_write(&text, &h.view), 0);
	CU_ASSERT(has_line(&text, "xenmesh_ops_up 0"));
	strbuf_reset(&text);
	h.domain.cpu_ns = 1500000000;
	h.vbd.wr_sect = 3;
	give(&h, 0);
	CU_ASSERT_EQUAL(openmetrics_write(&text, &h.view), 0);
	CU_ASSERT(has_line(&text, "xenmesh_ops_up 1"));
	CU_ASSERT(has_line(&text, "# TYPE xen_domain_cpu_seconds counter"));
	CU_ASSERT(has_line(&text, "# UNIT xen_domain_cpu_seconds seconds"));
	CU_ASSERT(has_line(&text, "xen_domain_cpu_seconds_total{uuid=\"" UUID "\"} 1.5"));
	CU_ASSERT(has_line(&text,
			   "xen_domain_vbd_written_bytes_total{uuid=\"" UUID "\",vbd=\"xvda\"} "
			   "1536"));
	CU_ASSERT(has_line(&text, "xen_domain_info{uuid=\"" UUID "\",domid=\"3\",name=\"web "
				  "\\\"1\\\"\\n\"} 1"));
	CU_ASSERT(has_line(&text,
			   "xen_domain_state{uuid=\"" UUID "\",xen_domain_state=\"running\"} 1"));
	CU_ASSERT(has_line(&text,
			   "xen_domain_state{uuid=\"" UUID "\",xen_domain_state=\"paused\"} 0"));
	CU_ASSERT_STRING_EQUAL(strbuf_str(&text) + text.len - 6, "# EOF\n");
	strbuf_deinit(&text);
	host_deinit(&h);
}

int main(void)
{
	const struct unit_test tests[] = {
		UNIT_TEST(test_objects__rates_and_gauges),
		UNIT_TEST(test_objects__a_new_domain_restarts_counters),
		UNIT_TEST(test_objects__a_counter_going_back_is_unknown),
		UNIT_TEST(test_objects__missing_samples_leave_unknown_slots),
		UNIT_TEST(test_objects__clock_steps),
		UNIT_TEST(test_objects__history_survives_a_restart),
		UNIT_TEST(test_objects__malformed_uuids_are_refused),
		UNIT_TEST(test_objects__one_domain_of_each_uuid),
		UNIT_TEST(test_objects__unplugged_vcpus_are_no_load),
		UNIT_TEST(test_objects__vcpus_that_take_turns_have_no_gaps),
		UNIT_TEST(test_objects__a_vcpu_never_told_again_becomes_unknown),
		UNIT_TEST(test_objects__short_lived_vms_do_not_fill_the_disk),
		UNIT_TEST(test_objects__values_without_a_place_are_told),
		UNIT_TEST(test_objects__the_disk_does_not_fill_after_a_wrong_clock),
		UNIT_TEST(test_objects__archive_of_the_future_is_kept_aside),
		UNIT_TEST(test_openmetrics__text),
	};
	int status;

	base_s = (clock_real_ns() / NSEC_PER_SEC - 7200) / 5 * 5;
	log_init("test_metrics_objects");
	log_set_level(LOG_LEVEL_ERROR);
	if (!mkdtemp(dir)) {
		return EXIT_FAILURE;
	}
	status = unit_run("objects", tests, ARRAY_LEN(tests));
	empty_dir();
	rmdir(dir);
	return status;
}
