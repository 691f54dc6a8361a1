/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libcommon/list.h"

#include "tests/unit/unit.h"

struct item {
	int value;
	struct list list;
};

static int digits(const struct list *head)
{
	int n = 0;

	list_for_each (i, head) {
		n = n * 10 + list_entry(i, struct item, list)->value;
	}
	return n;
}

static void test_append_and_unlink(void)
{
	struct item a = { 1, { 0 } }, b = { 2, { 0 } }, c = { 3, { 0 } };
	struct list head;

	list_init(&head);
	CU_ASSERT_TRUE(list_is_empty(&head));
	CU_ASSERT_PTR_NULL(list_first(&head, struct item, list));
	list_append(&head, &a.list);
	list_append(&head, &b.list);
	list_append(&head, &c.list);
	CU_ASSERT_EQUAL(digits(&head), 123);
	CU_ASSERT_PTR_EQUAL(list_first(&head, struct item, list), &a);
	list_unlink(&b.list);
	list_unlink(&b.list);
	CU_ASSERT_FALSE(list_is_linked(&b.list));
	CU_ASSERT_EQUAL(digits(&head), 13);
	list_append(&head, &b.list);
	CU_ASSERT_EQUAL(digits(&head), 132);
}

static void test_pop(void)
{
	struct item a = { 1, { 0 } }, b = { 2, { 0 } };
	struct list head;

	list_init(&head);
	CU_ASSERT_PTR_NULL(list_pop(&head));
	list_append(&head, &a.list);
	list_append(&head, &b.list);
	CU_ASSERT_PTR_EQUAL(list_pop(&head), &a.list);
	CU_ASSERT_FALSE(list_is_linked(&a.list));
	CU_ASSERT_EQUAL(digits(&head), 2);
	CU_ASSERT_PTR_EQUAL(list_pop(&head), &b.list);
	CU_ASSERT_PTR_NULL(list_pop(&head));
	list_append(&head, &a.list);
	CU_ASSERT_EQUAL(digits(&head), 1);
}

static void test_zeroed_is_unlinked(void)
{
	struct list zeroed = { 0 };

	CU_ASSERT_TRUE(list_is_empty(&zeroed));
	CU_ASSERT_EQUAL(digits(&zeroed), 0);
	list_for_each_safe (i, &zeroed) {
		CU_FAIL("a zeroed head has no items");
	}
	list_unlink(&zeroed);
	CU_ASSERT_TRUE(list_is_empty(&zeroed));
}

static void test_unlink_while_iterating(void)
{
	struct item items[5] = { 0 };
	struct list head;

	list_init(&head);
	for (int i = 0; i < 5; i++) {
		items[i].value = i + 1;
		list_append(&head, &items[i].list);
	}
	list_for_each_safe (i, &head) {
		if (list_entry(i, struct item, list)->value % 2) {
			list_unlink(i);
		}
	}
	CU_ASSERT_EQUAL(digits(&head), 24);
	list_for_each_safe (i, &head) {
		list_unlink(i);
	}
	CU_ASSERT_TRUE(list_is_empty(&head));
}

UNIT_MAIN("list", UNIT_TEST(test_append_and_unlink), UNIT_TEST(test_pop),
	  UNIT_TEST(test_zeroed_is_unlinked), UNIT_TEST(test_unlink_while_iterating))
