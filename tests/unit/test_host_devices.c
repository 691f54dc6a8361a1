/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "services/ops/host/devices.h"

#include "tests/unit/host_fixture.h"

static struct xenstore *xs;

static void setup(void)
{
	xs = calloc(1, sizeof(*xs));
	CU_ASSERT_PTR_NOT_NULL(xs);
}

static void test_reads_the_toolstacks_records(void)
{
	struct host_devices d = { 0 };

	setup();
	fake_guest(xs, 1, "g1");
	CU_ASSERT_EQUAL(host_devices_read(&d, xs, 1), 0);
	CU_ASSERT_EQUAL(d.n_vifs, 1);
	CU_ASSERT_EQUAL(d.n_vbds, 1);
	if (d.n_vifs == 1 && d.n_vbds == 1) {
		CU_ASSERT_EQUAL(d.vifs[0]->devid, 0);
		CU_ASSERT_STRING_EQUAL(d.vifs[0]->mac, "00:16:3e:00:00:01");
		CU_ASSERT_STRING_EQUAL(d.vifs[0]->bridge, "xenbr0");
		CU_ASSERT_EQUAL(d.vifs[0]->backend_domid, 0);
		CU_ASSERT_EQUAL(d.vifs[0]->xenbus_state, 2);
		CU_ASSERT_EQUAL(d.vbds[0]->devid, 51712);
		CU_ASSERT_STRING_EQUAL(d.vbds[0]->vdev, "xvda");
		CU_ASSERT_STRING_EQUAL(d.vbds[0]->target, "/dev/loop0");
		CU_ASSERT_FALSE(d.vbds[0]->readonly);
		CU_ASSERT_EQUAL(d.vbds[0]->xenbus_state, 4);
	}
	host_devices_deinit(&d);
	free(xs);
}

static void test_only_states(void)
{
	struct host_devices d = { 0 };
	size_t n_reads;

	setup();
	fake_guest(xs, 1, "g1");
	CU_ASSERT_EQUAL(host_devices_read(&d, xs, 1), 0);
	fake_set(xs, "/local/domain/0/backend/vif/1/0/state", "4");
	fake_set(xs, "/local/domain/0/backend/vbd/1/51712/state", "nonsense");
	n_reads = xs->n_reads;
	CU_ASSERT_EQUAL(host_devices_read_states(&d, xs), 0);
	CU_ASSERT_EQUAL(xs->n_reads - n_reads, 2);
	CU_ASSERT_EQUAL(d.vifs[0]->xenbus_state, 4);
	CU_ASSERT_EQUAL(d.vbds[0]->xenbus_state, 0);
	fake_set(xs, "/local/domain/0/backend/vbd/1/51712/state", "77");
	CU_ASSERT_EQUAL(host_devices_read_states(&d, xs), 0);
	CU_ASSERT_EQUAL(d.vbds[0]->xenbus_state, 0);
	host_devices_deinit(&d);
	free(xs);
}

static void test_order_and_kinds(void)
{
	struct host_devices d = { 0 };

	setup();
	fake_set(xs, "/libxl/3/device/vif/10/backend", "/local/domain/0/backend/vif/3/10");
	fake_set(xs, "/libxl/3/device/vif/9/backend", "/local/domain/7/backend/vif/3/9");
	fake_set(xs, "/local/domain/7/backend/vif/3/9/state", "4");
	fake_set(xs, "/libxl/3/device/vif/x/backend", "/local/domain/0/backend/vif/3/1");
	fake_set(xs, "/libxl/3/device/vbd/51728/backend", "/local/domain/0/backend/qdisk/3/51728");
	fake_set(xs, "/libxl/3/device/vbd/51728/params", "qcow2:/images/a b.qcow2");
	fake_set(xs, "/libxl/3/device/vbd/51728/mode", "r");
	fake_set(xs, "/local/domain/0/backend/qdisk/3/51728/state", "4");
	CU_ASSERT_EQUAL(host_devices_read(&d, xs, 3), 0);
	CU_ASSERT_EQUAL(d.n_vifs, 2);
	CU_ASSERT_EQUAL(d.n_vbds, 1);
	if (d.n_vifs == 2 && d.n_vbds == 1) {
		CU_ASSERT_EQUAL(d.vifs[0]->devid, 9);
		CU_ASSERT_EQUAL(d.vifs[0]->backend_domid, 7);
		CU_ASSERT_EQUAL(d.vifs[0]->xenbus_state, 0); /* domain 7 may write what it likes */
		CU_ASSERT_EQUAL(d.vifs[1]->devid, 10);
		CU_ASSERT_STRING_EQUAL(d.vbds[0]->target, "/images/a b.qcow2");
		CU_ASSERT(d.vbds[0]->readonly);
		CU_ASSERT_EQUAL(d.vbds[0]->xenbus_state, 4);
	}
	host_devices_deinit(&d);
	free(xs);
}

/* A record that points elsewhere is not followed. */
static void test_backends_that_do_not_match(void)
{
	static const char *const backends[] = {
		"/local/domain/0/backend/vif/2/0",  "/local/domain/0/backend/vif/1/1",
		"/local/domain/0/backend/vif/1/0/", "/local/domain/0/backend/vif/1/0/../1",
		"/local/domain/-1/backend/vif/1/0", "/local/domain/0/device/vif/1/0",
		"/local/domain/0/backend/v..f/1/0", "",
	};
	struct host_devices d = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(backends); i++) {
		setup();
		fake_set(xs, "/libxl/1/device/vif/0/backend", backends[i]);
		CU_ASSERT_EQUAL(host_devices_read(&d, xs, 1), 0);
		CU_ASSERT_EQUAL(d.n_vifs, 0);
		free(xs);
	}
	host_devices_deinit(&d);
}

static void test_texts_are_made_safe(void)
{
	struct host_devices d = { 0 };

	setup();
	fake_set(xs, "/libxl/1/device/vif/0/backend", "/local/domain/0/backend/vif/1/0");
	fake_set(xs, "/libxl/1/device/vif/0/bridge", "br\x01\xff");
	CU_ASSERT_EQUAL(host_devices_read(&d, xs, 1), 0);
	CU_ASSERT_EQUAL(d.n_vifs, 1);
	if (d.n_vifs == 1) {
		CU_ASSERT_STRING_EQUAL(d.vifs[0]->bridge, "br\\x01\\xff");
		CU_ASSERT_STRING_EQUAL(d.vifs[0]->mac, "");
	}
	host_devices_deinit(&d);
	free(xs);
}

static void test_keeps_what_it_had_when_xenstore_is_away(void)
{
	struct host_devices d = { 0 };

	setup();
	fake_guest(xs, 1, "g1");
	CU_ASSERT_EQUAL(host_devices_read(&d, xs, 1), 0);
	xs->error = -ENOTCONN;
	CU_ASSERT_EQUAL(host_devices_read(&d, xs, 1), -ENOTCONN);
	CU_ASSERT_EQUAL(host_devices_read_states(&d, xs), -ENOTCONN);
	CU_ASSERT_EQUAL(d.n_vifs, 1);
	CU_ASSERT_EQUAL(d.n_vbds, 1);
	xs->error = 0;
	fake_unset(xs, "/libxl/1");
	CU_ASSERT_EQUAL(host_devices_read(&d, xs, 1), 0);
	CU_ASSERT_EQUAL(d.n_vifs, 0);
	CU_ASSERT_EQUAL(d.n_vbds, 0);
	host_devices_deinit(&d);
	free(xs);
}

UNIT_MAIN("host_devices", UNIT_TEST(test_reads_the_toolstacks_records), UNIT_TEST(test_only_states),
	  UNIT_TEST(test_order_and_kinds), UNIT_TEST(test_backends_that_do_not_match),
	  UNIT_TEST(test_texts_are_made_safe),
	  UNIT_TEST(test_keeps_what_it_had_when_xenstore_is_away))
