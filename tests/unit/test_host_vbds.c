/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "services/ops/host/vbds.h"

#include "tests/unit/host_fixture.h"

#define DEVICES "bus/xen-backend/devices"

struct fixture {
	struct fixture_dir dir;
	struct host_vbds *vbds;
};

static void setup(struct fixture *f)
{
	f->vbds = NULL;
	fixture_dir_make(&f->dir);
	CU_ASSERT_EQUAL(host_vbds_new(&f->vbds, f->dir.path), 0);
}

static void teardown(struct fixture *f)
{
	host_vbds_free(f->vbds);
	fixture_dir_remove(&f->dir, "");
}

static void write_counter(struct fixture *f, const char *vbd, const char *counter,
			  const char *value)
{
	char name[128];

	snprintf(name, sizeof(name), DEVICES "/%s/statistics/%s", vbd, counter);
	fixture_write(&f->dir, name, value);
}

/* As a real host had them, with another first value. */
static void write_vbd(struct fixture *f, const char *vbd, const char *rd_req)
{
	write_counter(f, vbd, "rd_req", rd_req);
	write_counter(f, vbd, "wr_req", "4\n");
	write_counter(f, vbd, "rd_sect", "8472\n");
	write_counter(f, vbd, "wr_sect", "800\n");
	write_counter(f, vbd, "oo_req", "3\n");
	write_counter(f, vbd, "f_req", "1\n");
	write_counter(f, vbd, "ds_req", "2\n");
}

static void test_reads_counters(void)
{
	const struct host_vbd_counters *c;
	struct fixture f;
	size_t n;

	setup(&f);
	write_vbd(&f, "vbd-1-51712", "36\n");
	CU_ASSERT_EQUAL(host_vbds_read(f.vbds), 0);
	c = host_vbds_of(f.vbds, 1, &n);
	CU_ASSERT_EQUAL(n, 1);
	if (n == 1) {
		CU_ASSERT_EQUAL(c->device.domid, 1);
		CU_ASSERT_EQUAL(c->device.devid, 51712);
		CU_ASSERT_EQUAL(c->rd_req, 36);
		CU_ASSERT_EQUAL(c->wr_req, 4);
		CU_ASSERT_EQUAL(c->rd_sect, 8472);
		CU_ASSERT_EQUAL(c->wr_sect, 800);
		CU_ASSERT_EQUAL(c->oo_req, 3);
		CU_ASSERT_EQUAL(c->f_req, 1);
		CU_ASSERT_EQUAL(c->ds_req, 2);
	}
	write_counter(&f, "vbd-1-51712", "rd_req", "18446744073709551615\n");
	CU_ASSERT_EQUAL(host_vbds_read(f.vbds), 0);
	c = host_vbds_of(f.vbds, 1, &n);
	CU_ASSERT_EQUAL(n, 1);
	if (n == 1) {
		CU_ASSERT_EQUAL(c->rd_req, UINT64_MAX);
	}
	teardown(&f);
}

static void test_finds_a_domain_among_many(void)
{
	const struct host_vbd_counters *c;
	struct fixture f;
	char name[64];
	size_t n;

	setup(&f);
	for (int i = 1; i <= 20; i++) {
		snprintf(name, sizeof(name), "vbd-%d-51728", i * 3);
		write_vbd(&f, name, "1\n");
		snprintf(name, sizeof(name), "vbd-%d-51712", i * 3);
		write_vbd(&f, name, "2\n");
	}
	CU_ASSERT_EQUAL(host_vbds_read(f.vbds), 0);
	for (uint32_t domid = 0; domid <= 62; domid++) {
		c = host_vbds_of(f.vbds, domid, &n);
		CU_ASSERT_EQUAL(n, domid > 0 && domid % 3 == 0 ? 2 : 0);
		if (n == 2) {
			CU_ASSERT_EQUAL(c[0].device.devid, 51712);
			CU_ASSERT_EQUAL(c[0].rd_req, 2);
			CU_ASSERT_EQUAL(c[1].device.devid, 51728);
			CU_ASSERT_EQUAL(c[1].rd_req, 1);
		}
	}
	teardown(&f);
}

static void test_without_backends(void)
{
	struct fixture f;
	size_t n;

	setup(&f);
	CU_ASSERT_EQUAL(host_vbds_read(f.vbds), 0);
	host_vbds_of(f.vbds, 1, &n);
	CU_ASSERT_EQUAL(n, 0);
	teardown(&f);
}

static void test_what_is_no_vbd_with_counters(void)
{
	struct fixture f;
	size_t n;

	setup(&f);
	fixture_write(&f.dir, DEVICES "/vbd-2-51712/state", "Initialising\n");
	fixture_write(&f.dir, DEVICES "/vif-3-0/statistics/rd_req", "1\n");
	fixture_write(&f.dir, DEVICES "/vbd-4-x/statistics/rd_req", "1\n");
	fixture_write(&f.dir, DEVICES "/vbd-5-51712-1/statistics/rd_req", "1\n");
	write_vbd(&f, "vbd-6-51712", "nonsense\n");
	write_vbd(&f, "vbd-7-51712", "");
	CU_ASSERT_EQUAL(host_vbds_read(f.vbds), 0);
	for (uint32_t domid = 0; domid < 8; domid++) {
		host_vbds_of(f.vbds, domid, &n);
		CU_ASSERT_EQUAL(n, 0);
	}
	/* Its counters come a moment later. */
	write_vbd(&f, "vbd-2-51712", "9\n");
	CU_ASSERT_EQUAL(host_vbds_read(f.vbds), 0);
	host_vbds_of(f.vbds, 2, &n);
	CU_ASSERT_EQUAL(n, 1);
	teardown(&f);
}

/* Kernels before 3.x have no discards: the counter is 0, the others are there. */
static void test_older_kernel(void)
{
	const struct host_vbd_counters *c;
	struct fixture f;
	size_t n;

	setup(&f);
	write_counter(&f, "vbd-1-768", "rd_req", "7\n");
	write_counter(&f, "vbd-1-768", "wr_req", "8\n");
	CU_ASSERT_EQUAL(host_vbds_read(f.vbds), 0);
	c = host_vbds_of(f.vbds, 1, &n);
	CU_ASSERT_EQUAL(n, 1);
	if (n == 1) {
		CU_ASSERT_EQUAL(c->rd_req, 7);
		CU_ASSERT_EQUAL(c->wr_req, 8);
		CU_ASSERT_EQUAL(c->ds_req, 0);
	}
	teardown(&f);
}

static void test_unplugged_and_plugged_again(void)
{
	const struct host_vbd_counters *c;
	struct fixture f;
	size_t n;

	setup(&f);
	write_vbd(&f, "vbd-1-51712", "36\n");
	CU_ASSERT_EQUAL(host_vbds_read(f.vbds), 0);
	fixture_dir_remove(&f.dir, "/" DEVICES "/vbd-1-51712");
	CU_ASSERT_EQUAL(host_vbds_read(f.vbds), 0);
	host_vbds_of(f.vbds, 1, &n);
	CU_ASSERT_EQUAL(n, 0);
	write_vbd(&f, "vbd-1-51712", "1\n");
	CU_ASSERT_EQUAL(host_vbds_read(f.vbds), 0);
	c = host_vbds_of(f.vbds, 1, &n);
	CU_ASSERT_EQUAL(n, 1);
	if (n == 1) {
		CU_ASSERT_EQUAL(c->rd_req, 1);
	}
	/* Both between two looks: the old files cannot be read any more. */
	write_vbd(&f, "vbd-1-51712", "");
	fixture_dir_remove(&f.dir, "/" DEVICES "/vbd-1-51712");
	write_vbd(&f, "vbd-1-51712", "2\n");
	CU_ASSERT_EQUAL(host_vbds_read(f.vbds), 0);
	c = host_vbds_of(f.vbds, 1, &n);
	CU_ASSERT_EQUAL(n, 1);
	if (n == 1) {
		CU_ASSERT_EQUAL(c->rd_req, 2);
	}
	teardown(&f);
}

UNIT_MAIN("host_vbds", UNIT_TEST(test_reads_counters), UNIT_TEST(test_finds_a_domain_among_many),
	  UNIT_TEST(test_without_backends), UNIT_TEST(test_what_is_no_vbd_with_counters),
	  UNIT_TEST(test_older_kernel), UNIT_TEST(test_unplugged_and_plugged_again))
