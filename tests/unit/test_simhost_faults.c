/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "services/simhost/faults.h"

#include "services/simhost/xstree.h"
#include "tests/unit/unit.h"

#define UUID "11111111-1111-4111-8111-111111111111"

static int add(struct faults *f, const char *rule)
{
	char why[256] = "";
	int r = faults_add(f, rule, why, sizeof(why));

	CU_ASSERT((r == 1) == (why[0] != '\0'));
	return r;
}

static void test_once(void)
{
	struct faults f;

	faults_init(&f);
	CU_ASSERT_EQUAL(add(&f, "create web fail"), 0);
	CU_ASSERT_EQUAL(faults_take(&f, FAULT_CREATE, "db", UUID).effect, FAULT_NONE);
	CU_ASSERT_EQUAL(faults_take(&f, FAULT_DESTROY, "web", UUID).effect, FAULT_NONE);
	CU_ASSERT_EQUAL(faults_take(&f, FAULT_CREATE, "web", UUID).effect, FAULT_FAIL);
	CU_ASSERT_EQUAL(faults_take(&f, FAULT_CREATE, "web", UUID).effect, FAULT_NONE);
	faults_clear(&f);
}

static void test_count_and_uuid(void)
{
	struct faults f;

	faults_init(&f);
	CU_ASSERT_EQUAL(add(&f, "pause " UUID " die count=2"), 0);
	CU_ASSERT_EQUAL(add(&f, "unpause * hang count=0 delay=2s"), 0);
	for (int i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(faults_take(&f, FAULT_PAUSE, "web", UUID).effect, FAULT_DIE);
	}
	CU_ASSERT_EQUAL(faults_take(&f, FAULT_PAUSE, "web", UUID).effect, FAULT_NONE);
	for (int i = 0; i < 100; i++) {
		struct fault fault = faults_take(&f, FAULT_UNPAUSE, "any", UUID);

		CU_ASSERT_EQUAL(fault.effect, FAULT_HANG);
		CU_ASSERT_EQUAL(fault.delay_ms, 2000);
	}
	faults_clear(&f);
	CU_ASSERT_EQUAL(faults_take(&f, FAULT_UNPAUSE, "any", UUID).effect, FAULT_NONE);
}

/* "any" is of the workers' operations. */
static void test_any(void)
{
	struct faults f;

	faults_init(&f);
	CU_ASSERT_EQUAL(add(&f, "any * fail count=0"), 0);
	CU_ASSERT_EQUAL(faults_take(&f, FAULT_REBOOT, "a", UUID).effect, FAULT_FAIL);
	CU_ASSERT_EQUAL(faults_take(&f, FAULT_SPAWN, "", "").effect, FAULT_NONE);
	CU_ASSERT_EQUAL(faults_take(&f, FAULT_GUEST, "a", UUID).effect, FAULT_NONE);
	faults_clear(&f);
}

static void test_guest(void)
{
	struct faults f;
	struct fault fault;

	faults_init(&f);
	CU_ASSERT_EQUAL(add(&f, "guest a ignore-shutdown boot=1500ms crash-after=1m"), 0);
	CU_ASSERT_EQUAL(add(&f, "guest a never-ends no-agent stop=0"), 0);
	fault = faults_take(&f, FAULT_GUEST, "a", UUID);
	CU_ASSERT(fault.ignores_shutdown && !fault.never_ends && !fault.has_no_agent);
	CU_ASSERT_EQUAL(fault.boot_ms, 1500);
	CU_ASSERT_EQUAL(fault.stop_ms, FAULT_UNSET);
	CU_ASSERT_EQUAL(fault.crash_after_ms, 60000);
	fault = faults_take(&f, FAULT_GUEST, "a", UUID);
	CU_ASSERT(!fault.ignores_shutdown && fault.never_ends && fault.has_no_agent);
	CU_ASSERT_EQUAL(fault.stop_ms, 0);
	faults_clear(&f);
}

static void test_refused(void)
{
	static const char *const rules[] = {
		"",
		" ",
		"create",
		"explode * fail",
		"create * explode",
		"create * boot=1s",
		"guest * fail",
		"spawn * die",
		"create * count=",
		"create * count=x",
		"create * delay=-1s",
		"guest * delay=1s",
		"guest * boot=soon",
		"create * =",
		"create * fail count",
	};
	char *huge = malloc(2000);
	struct faults f;

	faults_init(&f);
	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		CU_ASSERT_EQUAL(add(&f, rules[i]), 1);
	}
	memset(huge, 'x', 1999);
	huge[1999] = '\0';
	CU_ASSERT_EQUAL(add(&f, huge), 1);
	memcpy(huge, "create ", 7);
	huge[100] = '\0'; /* the name alone is too long */
	CU_ASSERT_EQUAL(add(&f, huge), 1);
	CU_ASSERT(list_is_empty(&f.rules));
	free(huge);
}

static void test_vdev_numbers(void)
{
	static const struct {
		const char *vdev;
		int r;
		uint32_t number;
	} cases[] = {
		{ "xvda", 0, 51712 },
		{ "xvdb", 0, 51728 },
		{ "xvda1", 0, 51713 },
		{ "xvdp15", 0, 51967 },
		{ "xvdq", 0, 1 << 28 | 16 << 8 },
		{ "xvdaa", 0, 1 << 28 | 26 << 8 },
		{ "xvda16", 0, 1 << 28 | 16 },
		{ "hda", 0, 768 },
		{ "hdc", 0, 5632 },
		{ "hdd2", 0, 5698 },
		{ "sda", 0, 2048 },
		{ "sdb3", 0, 2067 },
		{ "hde", -EINVAL, 0 },
		{ "sdq", -EINVAL, 0 },
		{ "sda16", -EINVAL, 0 },
		{ "xvd", -EINVAL, 0 },
		{ "xvd1", -EINVAL, 0 },
		{ "xvda1x", -EINVAL, 0 },
		{ "xvda256", -EINVAL, 0 },
		{ "xvdzzzzzz", -EINVAL, 0 },
		{ "", -EINVAL, 0 },
		{ "vda", -EINVAL, 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint32_t number = 0;

		CU_ASSERT_EQUAL(xstree_vdev_number(cases[i].vdev, &number), cases[i].r);
		CU_ASSERT_EQUAL(number, cases[i].number);
	}
}

UNIT_MAIN("simhost_faults", UNIT_TEST(test_once), UNIT_TEST(test_count_and_uuid),
	  UNIT_TEST(test_any), UNIT_TEST(test_guest), UNIT_TEST(test_refused),
	  UNIT_TEST(test_vdev_numbers))
