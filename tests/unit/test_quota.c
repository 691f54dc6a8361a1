/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The shares of users of what is bounded.
 */
#include "bus/quota.h"
#include "tests/unit/unit.h"

/* Take one by one until it is refused. */
static size_t take_all(struct quota_book *b, struct quota_user *u)
{
	size_t n = 0;

	while (quota_take(b, u, QUOTA_CALLS, 1)) {
		n++;
	}
	return n;
}

static void test_each_gets_half_of_the_rest(void)
{
	static const size_t want[] = { 512, 256, 128, 64, 32, 16, 8, 4, 2, 1, 1, 0 };
	struct quota_book b = { .max = { [QUOTA_CALLS] = 1024 } };
	struct quota_user *users[ARRAY_LEN(want)];

	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		users[i] = quota_user_ref(&b, (uid_t)i);
		CU_ASSERT_EQUAL(take_all(&b, users[i]), want[i]);
	}
	CU_ASSERT_EQUAL(b.used[QUOTA_CALLS], 1024);
	/* What one gives back the others may have. */
	quota_give(&b, users[0], QUOTA_CALLS, 512);
	CU_ASSERT_EQUAL(take_all(&b, users[11]), 256);
	CU_ASSERT_EQUAL(take_all(&b, users[1]), 0);
	CU_ASSERT_EQUAL(take_all(&b, users[0]), 128);
	quota_book_deinit(&b);
	quota_book_deinit(&b);
}

static void test_root_is_no_exception(void)
{
	struct quota_book b = { .max = { [QUOTA_BYTES] = 100 } };
	struct quota_user *root = quota_user_ref(&b, 0);

	CU_ASSERT_EQUAL(quota_share(&b, root, QUOTA_BYTES), 50);
	CU_ASSERT_FALSE(quota_take(&b, root, QUOTA_BYTES, 51));
	CU_ASSERT_FALSE(quota_take(&b, root, QUOTA_BYTES, SIZE_MAX));
	CU_ASSERT(quota_take(&b, root, QUOTA_BYTES, 50));
	CU_ASSERT_FALSE(quota_take(&b, root, QUOTA_BYTES, 1));
	/* One kind says nothing about another. */
	CU_ASSERT_EQUAL(root->used[QUOTA_CALLS], 0);
	CU_ASSERT_FALSE(quota_take(&b, root, QUOTA_CALLS, 1));
	quota_book_deinit(&b);
}

/* A share that became smaller than what is held already: nothing more, until it is given back. */
static void test_a_share_that_shrinks(void)
{
	struct quota_book b = { .max = { [QUOTA_BYTES] = 100 } };
	struct quota_user *one = quota_user_ref(&b, 1), *two = quota_user_ref(&b, 2);

	CU_ASSERT(quota_take(&b, one, QUOTA_BYTES, 40));
	CU_ASSERT(quota_take(&b, two, QUOTA_BYTES, 30));
	CU_ASSERT_EQUAL(quota_share(&b, one, QUOTA_BYTES), 35);
	CU_ASSERT_FALSE(quota_take(&b, one, QUOTA_BYTES, 1));
	quota_give(&b, one, QUOTA_BYTES, 10);
	CU_ASSERT(quota_take(&b, one, QUOTA_BYTES, 5));
	CU_ASSERT_EQUAL(b.used[QUOTA_BYTES], 65);
	quota_book_deinit(&b);
}

static void test_references(void)
{
	struct quota_book b = { .max = { [QUOTA_CALLS] = 10 } };
	struct quota_user *u = quota_user_ref(&b, 7);

	CU_ASSERT_PTR_EQUAL(quota_user_ref(&b, 7), u);
	CU_ASSERT_PTR_NOT_EQUAL(quota_user_ref(&b, QUOTA_UID_UNKNOWN), u);
	CU_ASSERT_EQUAL(map_size(&b.users), 2);
	quota_user_unref(&b, u);
	CU_ASSERT_EQUAL(map_size(&b.users), 2);
	CU_ASSERT_PTR_NULL(quota_user_unref(&b, u));
	CU_ASSERT_EQUAL(map_size(&b.users), 1);
	CU_ASSERT_PTR_NULL(quota_user_unref(&b, NULL));
	quota_book_deinit(&b);
}

UNIT_MAIN("quota", UNIT_TEST(test_each_gets_half_of_the_rest), UNIT_TEST(test_root_is_no_exception),
	  UNIT_TEST(test_a_share_that_shrinks), UNIT_TEST(test_references))
