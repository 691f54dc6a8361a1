/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "services/ops/core/vmconfig.h"
#include "services/ops/core/vms.h"
#include "tests/unit/ops_events.h"
#include "tests/unit/unit.h"

#define UUID_A "aaaaaaaa-0000-4000-8000-000000000001"
#define UUID_B "bbbbbbbb-0000-4000-8000-000000000002"
#define UUID_C "cccccccc-0000-4000-8000-000000000003"

struct fixture {
	struct vms vms;
	struct topic_table topics;
	unsigned int n_changes;
};

static void on_change(struct vm *vm _unused_, void *userdata)
{
	((struct fixture *)userdata)->n_changes++;
}

static void set_up(struct fixture *f)
{
	struct events events = topics_events(&f->topics);

	*f = (struct fixture){ 0 };
	events.userdata = &f->topics;
	vms_init(&f->vms, &events, on_change, f);
}

static void tear_down(struct fixture *f)
{
	vms_deinit(&f->vms);
	topics_deinit(&f->topics);
}

#define WITH_FIXTURE(f)                        \
	_cleanup_(tear_down) struct fixture f; \
	set_up(&f)

static Xenmesh__Host__Domain domain(uint32_t domid, const char *uuid, const char *name, int state)
{
	Xenmesh__Host__Domain d = XENMESH__HOST__DOMAIN__INIT;

	d.domid = domid;
	d.uuid = (char *)uuid;
	d.name = (char *)name;
	d.power_state = (Xenmesh__V1__PowerState)state;
	d.started_ns = 1000 + domid;
	return d;
}

static void merge(struct fixture *f, uint32_t domid, const char *uuid, const char *name, int state)
{
	Xenmesh__Host__Domain d = domain(domid, uuid, name, state);

	CU_ASSERT_EQUAL(vms_merge_domain(&f->vms, &d), 0);
}

static void merge_table(struct fixture *f, Xenmesh__Host__Domain *domains, size_t n)
{
	Xenmesh__Host__DomainTable table = XENMESH__HOST__DOMAIN_TABLE__INIT;
	Xenmesh__Host__Domain *pointers[8];

	for (size_t i = 0; i < n; i++) {
		pointers[i] = &domains[i];
	}
	table.domains = pointers;
	table.n_domains = n;
	CU_ASSERT_EQUAL(vms_merge_table(&f->vms, &table), 0);
}

static void gone(struct fixture *f, uint32_t domid, const char *uuid)
{
	Xenmesh__Host__DomainGone g = XENMESH__HOST__DOMAIN_GONE__INIT;

	g.domid = domid;
	g.uuid = (char *)uuid;
	vms_merge_gone(&f->vms, &g);
}

static void define(struct fixture *f, const char *uuid, const char *name)
{
	Xenmesh__V1__VmConfig *c = vmconfig_new();

	pb_set(&c->uuid, uuid);
	pb_set(&c->name, name);
	c->type = VM_TYPE_PV;
	c->vcpus = 3;
	CU_ASSERT_EQUAL(vms_define(&f->vms, c, STORE_DESIRED_UNKNOWN), 0);
}

static struct topic_record *topic(struct fixture *f, const char *uuid)
{
	char name[64];

	snprintf(name, sizeof(name), "vm/%s/state", uuid);
	return topics_get(&f->topics, name);
}

static const Xenmesh__V1__VmState *state(struct fixture *f, const char *uuid)
{
	static const Xenmesh__V1__VmState none = XENMESH__V1__VM_STATE__INIT;
	struct topic_record *r = topic(f, uuid);

	CU_ASSERT_PTR_NOT_NULL(r->event);
	return r->event ? r->event->vm_state : &none;
}

static void test_vms__unmanaged_appear_and_disappear(void)
{
	WITH_FIXTURE(f);

	merge(&f, 5, UUID_A, "one", POWER_RUNNING);
	CU_ASSERT_EQUAL(f.n_changes, 1);
	CU_ASSERT_STRING_EQUAL(state(&f, UUID_A)->name, "one");
	CU_ASSERT_EQUAL(state(&f, UUID_A)->domid, 5);
	CU_ASSERT_EQUAL(state(&f, UUID_A)->power_state, POWER_RUNNING);
	CU_ASSERT(!state(&f, UUID_A)->managed);
	CU_ASSERT_EQUAL(state(&f, UUID_A)->started_ns, 1005);
	gone(&f, 5, UUID_A);
	CU_ASSERT_PTR_NULL(topic(&f, UUID_A)->event);
	CU_ASSERT_EQUAL(topic(&f, UUID_A)->n_removed, 1);
	CU_ASSERT_PTR_NULL(vms_get(&f.vms, UUID_A));
	gone(&f, 5, UUID_A); /* again: nothing */
	CU_ASSERT_EQUAL(topic(&f, UUID_A)->n_removed, 1);
}

static void test_vms__publishes_only_differences(void)
{
	WITH_FIXTURE(f);

	merge(&f, 5, UUID_A, "one", POWER_RUNNING);
	merge(&f, 5, UUID_A, "one", POWER_RUNNING);
	CU_ASSERT_EQUAL(topic(&f, UUID_A)->n_published, 1);
	merge(&f, 5, UUID_A, "one", POWER_PAUSED);
	CU_ASSERT_EQUAL(topic(&f, UUID_A)->n_published, 2);
}

static void test_vms__managed_stay(void)
{
	WITH_FIXTURE(f);

	define(&f, UUID_A, "web");
	CU_ASSERT_EQUAL(state(&f, UUID_A)->power_state, POWER_UNKNOWN);
	CU_ASSERT_EQUAL(state(&f, UUID_A)->domid, -1);
	CU_ASSERT_EQUAL(state(&f, UUID_A)->max_vcpus, 3);
	merge_table(&f, NULL, 0);
	CU_ASSERT_EQUAL(state(&f, UUID_A)->power_state, POWER_HALTED);
	merge(&f, 7, UUID_A, "other", POWER_RUNNING);
	CU_ASSERT_EQUAL(state(&f, UUID_A)->power_state, POWER_RUNNING);
	CU_ASSERT_STRING_EQUAL(state(&f, UUID_A)->name, "web");
	CU_ASSERT(state(&f, UUID_A)->managed);
	CU_ASSERT_PTR_NOT_NULL(state(&f, UUID_A)->config);
	gone(&f, 7, UUID_A);
	CU_ASSERT_EQUAL(state(&f, UUID_A)->power_state, POWER_HALTED);
	CU_ASSERT_EQUAL(state(&f, UUID_A)->started_ns, 0);
	vms_undefine(vms_get(&f.vms, UUID_A));
	CU_ASSERT_PTR_NULL(topic(&f, UUID_A)->event);
}

static void test_vms__undefined_with_a_domain_stays(void)
{
	WITH_FIXTURE(f);

	define(&f, UUID_A, "web");
	merge(&f, 7, UUID_A, "dom", POWER_RUNNING);
	vms_undefine(vms_get(&f.vms, UUID_A));
	CU_ASSERT(!state(&f, UUID_A)->managed);
	CU_ASSERT_STRING_EQUAL(state(&f, UUID_A)->name, "dom");
}

static void test_vms__converges_by_the_table(void)
{
	WITH_FIXTURE(f);
	Xenmesh__Host__Domain d[] = {
		domain(0, "", "Domain-0", POWER_RUNNING),
		domain(6, UUID_B, "two", POWER_RUNNING),
		domain(8, UUID_C, "three", POWER_RUNNING),
	};

	merge(&f, 5, UUID_A, "one", POWER_RUNNING);
	merge(&f, 6, UUID_B, "two", POWER_RUNNING);
	merge_table(&f, d, ARRAY_LEN(d));
	CU_ASSERT_PTR_NULL(topic(&f, UUID_A)->event);
	CU_ASSERT_EQUAL(topic(&f, UUID_B)->n_published, 1);
	CU_ASSERT_STRING_EQUAL(state(&f, UUID_C)->name, "three");
	CU_ASSERT_STRING_EQUAL(state(&f, OPS_ZERO_UUID)->name, "Domain-0");
	CU_ASSERT_EQUAL(vms_n_domains(&f.vms), 3);
	CU_ASSERT(vm_is_dom0(vms_get(&f.vms, OPS_ZERO_UUID)));
}

static void test_vms__domid_changes_hands(void)
{
	WITH_FIXTURE(f);

	merge(&f, 5, UUID_A, "one", POWER_RUNNING);
	merge(&f, 5, UUID_B, "two", POWER_RUNNING);
	CU_ASSERT_PTR_NULL(topic(&f, UUID_A)->event);
	CU_ASSERT_EQUAL(state(&f, UUID_B)->domid, 5);
	gone(&f, 5, UUID_A); /* late news of the old one */
	CU_ASSERT_EQUAL(state(&f, UUID_B)->domid, 5);
}

static void test_vms__newest_living_domain_counts(void)
{
	WITH_FIXTURE(f);

	merge(&f, 5, UUID_A, "one", POWER_DYING);
	CU_ASSERT_EQUAL(state(&f, UUID_A)->power_state, POWER_DYING);
	merge(&f, 9, UUID_A, "one", POWER_RUNNING);
	CU_ASSERT_EQUAL(state(&f, UUID_A)->domid, 9);
	merge(&f, 10, UUID_A, "one", POWER_DYING);
	CU_ASSERT_EQUAL(state(&f, UUID_A)->domid, 9);
	CU_ASSERT_PTR_NOT_NULL(vm_domain_by_id(vms_get(&f.vms, UUID_A), 5));
	CU_ASSERT_PTR_NULL(vm_domain_by_id(vms_get(&f.vms, UUID_A), 6));
	CU_ASSERT_PTR_NULL(vm_domain_by_id(vms_get(&f.vms, UUID_A), -1));
	f.n_changes = 0;
	gone(&f, 5, UUID_A);
	CU_ASSERT_EQUAL(f.n_changes, 1); /* told though not visible in the state */
}

static void test_vms__earliest_start_is_kept(void)
{
	WITH_FIXTURE(f);
	Xenmesh__Host__Domain d = domain(5, UUID_A, "one", POWER_RUNNING);

	merge(&f, 5, UUID_A, "one", POWER_RUNNING);
	d.started_ns = 99999; /* the host process was restarted */
	CU_ASSERT_EQUAL(vms_merge_domain(&f.vms, &d), 0);
	CU_ASSERT_EQUAL(state(&f, UUID_A)->started_ns, 1005);
}

static void test_vms__distrusts_the_host(void)
{
	WITH_FIXTURE(f);

	merge(&f, 5, "not-a-uuid", "one", POWER_RUNNING);
	CU_ASSERT_EQUAL(vms_n_domains(&f.vms), 0);
	merge(&f, 5, "AAAAAAAA-0000-4000-8000-000000000001", "n\xff", POWER_RUNNING);
	CU_ASSERT_STRING_EQUAL(state(&f, UUID_A)->name, "n?");
	gone(&f, 5, "AAAAAAAA-0000-4000-8000-000000000001");
	CU_ASSERT_EQUAL(vms_n_domains(&f.vms), 0);
}

static void test_vms__shows_tasks_and_errors(void)
{
	WITH_FIXTURE(f);
	int queue;

	define(&f, UUID_A, "web");
	vms_set_operation(vms_get(&f.vms, UUID_A), NULL, UUID_B, "it broke");
	CU_ASSERT_EQUAL(topic(&f, UUID_A)->n_published, 2);
	CU_ASSERT_STRING_EQUAL(state(&f, UUID_A)->task, UUID_B);
	CU_ASSERT_STRING_EQUAL(state(&f, UUID_A)->last_error, "it broke");
	vms_set_operation(vms_get(&f.vms, UUID_A), NULL, "", vms_get(&f.vms, UUID_A)->last_error);
	CU_ASSERT_STRING_EQUAL(state(&f, UUID_A)->task, "");
	CU_ASSERT_STRING_EQUAL(state(&f, UUID_A)->last_error, "it broke");
	vms_set_operation(vms_get(&f.vms, UUID_A), NULL, "", NULL);
	CU_ASSERT_STRING_EQUAL(state(&f, UUID_A)->last_error, "");

	/* An operation keeps a VM that has nothing else. */
	merge(&f, 5, UUID_B, "b", POWER_RUNNING);
	vms_set_operation(vms_get(&f.vms, UUID_B), &queue, "", NULL);
	gone(&f, 5, UUID_B);
	CU_ASSERT_PTR_NOT_NULL(vms_get(&f.vms, UUID_B));
	CU_ASSERT_PTR_NOT_NULL(topic(&f, UUID_B)->event);
	vms_set_operation(vms_get(&f.vms, UUID_B), NULL, "", NULL);
	CU_ASSERT_PTR_NULL(vms_get(&f.vms, UUID_B));
	CU_ASSERT_PTR_NULL(topic(&f, UUID_B)->event);
}

static const char *find(struct fixture *f, const char *ref, struct strbuf *error, int *r)
{
	struct vm *vm;

	strbuf_reset(error);
	*r = vms_find(&f->vms, ref, &vm, error);
	return vm ? vm->uuid : "";
}

static void test_vms__are_found(void)
{
	WITH_FIXTURE(f);
	_cleanup_(strbuf_deinit) struct strbuf error = STRBUF_NULL;
	int r;

	merge(&f, 0, "", "Domain-0", POWER_RUNNING);
	merge(&f, 5, UUID_A, "one", POWER_RUNNING);
	define(&f, UUID_B, "7");
	define(&f, UUID_C, "5");
	CU_ASSERT_STRING_EQUAL(find(&f, UUID_A, &error, &r), UUID_A);
	CU_ASSERT_STRING_EQUAL(find(&f, "AAAAAAAA-0000-4000-8000-000000000001", &error, &r),
			       UUID_A);
	CU_ASSERT_STRING_EQUAL(find(&f, "one", &error, &r), UUID_A);
	CU_ASSERT_STRING_EQUAL(find(&f, "0", &error, &r), OPS_ZERO_UUID);
	CU_ASSERT_STRING_EQUAL(find(&f, "7", &error, &r), UUID_B);
	CU_ASSERT_EQUAL(r, 0);

	find(&f, "5", &error, &r); /* a domid and another's name */
	CU_ASSERT_EQUAL(r, 2);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&error),
			       "\"5\" stands for more than one VM, use a UUID: " UUID_A
			       " (one, domid 5), " UUID_C " (5)");
	merge(&f, 6, "dddddddd-0000-4000-8000-000000000004", "one", POWER_RUNNING);
	find(&f, "one", &error, &r);
	CU_ASSERT_EQUAL(r, 2);
	find(&f, "two", &error, &r);
	CU_ASSERT_EQUAL(r, 1);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&error), "there is no VM \"two\"; see: xenmesh vm list");
	find(&f, "", &error, &r);
	CU_ASSERT_EQUAL(r, 1);
	find(&f, "99999999999999999999", &error, &r);
	CU_ASSERT_EQUAL(r, 1);
	find(&f, "a\n\xff", &error, &r);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&error),
			       "there is no VM \"a\\x0a\\xff\"; see: xenmesh vm list");
	find(&f, "eeeeeeee-0000-4000-8000-000000000004", &error, &r);
	CU_ASSERT_EQUAL(r, 1);
}

static void test_vms__a_domid_that_is_its_name_is_not_ambiguous(void)
{
	WITH_FIXTURE(f);
	_cleanup_(strbuf_deinit) struct strbuf error = STRBUF_NULL;
	int r;

	merge(&f, 5, UUID_A, "5", POWER_RUNNING);
	CU_ASSERT_STRING_EQUAL(find(&f, "5", &error, &r), UUID_A);
	CU_ASSERT_EQUAL(r, 0);
}

static void test_vms__are_sorted(void)
{
	WITH_FIXTURE(f);
	_cleanup_(xfreep) struct vm **all = NULL;
	size_t n;

	define(&f, UUID_C, "c");
	define(&f, UUID_A, "a");
	merge(&f, 4, UUID_B, "b", POWER_RUNNING);
	CU_ASSERT_EQUAL(vms_sorted(&f.vms, &all, &n), 0);
	CU_ASSERT_EQUAL(n, 3);
	CU_ASSERT_STRING_EQUAL(all[0]->uuid, UUID_A);
	CU_ASSERT_STRING_EQUAL(all[1]->uuid, UUID_B);
	CU_ASSERT_STRING_EQUAL(all[2]->uuid, UUID_C);
	CU_ASSERT_EQUAL(vms_n_defined(&f.vms), 2);
	CU_ASSERT_PTR_EQUAL(vms_defined_by_name(&f.vms, "c"), all[2]);
	CU_ASSERT_PTR_NULL(vms_defined_by_name(&f.vms, "b"));
}

UNIT_MAIN("ops_vms", UNIT_TEST(test_vms__unmanaged_appear_and_disappear),
	  UNIT_TEST(test_vms__publishes_only_differences), UNIT_TEST(test_vms__managed_stay),
	  UNIT_TEST(test_vms__undefined_with_a_domain_stays),
	  UNIT_TEST(test_vms__converges_by_the_table), UNIT_TEST(test_vms__domid_changes_hands),
	  UNIT_TEST(test_vms__newest_living_domain_counts),
	  UNIT_TEST(test_vms__earliest_start_is_kept), UNIT_TEST(test_vms__distrusts_the_host),
	  UNIT_TEST(test_vms__shows_tasks_and_errors), UNIT_TEST(test_vms__are_found),
	  UNIT_TEST(test_vms__a_domid_that_is_its_name_is_not_ambiguous),
	  UNIT_TEST(test_vms__are_sorted))
