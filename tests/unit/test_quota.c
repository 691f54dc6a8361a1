/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The shares of users of what is bounded.
 */
#include "bus/quota.h"
#include "tests/unit/unit.h"

static struct quota_user *ref(struct quota_book *b, uid_t uid)
{
	return quota_user_ref(b, &(struct quota_payer){ .uid = uid });
}

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
		users[i] = ref(&b, (uid_t)i);
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
	struct quota_user *root = ref(&b, 0);

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
	struct quota_user *one = ref(&b, 1), *two = ref(&b, 2);

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
	struct quota_user *u = ref(&b, 7);

	CU_ASSERT_PTR_EQUAL(ref(&b, 7), u);
	CU_ASSERT_PTR_NOT_EQUAL(ref(&b, QUOTA_UID_UNKNOWN), u);
	CU_ASSERT_EQUAL(map_size(&b.users), 2);
	quota_user_unref(&b, u);
	CU_ASSERT_EQUAL(map_size(&b.users), 2);
	CU_ASSERT_PTR_NULL(quota_user_unref(&b, u));
	CU_ASSERT_EQUAL(map_size(&b.users), 1);
	CU_ASSERT_PTR_NULL(quota_user_unref(&b, NULL));
	quota_book_deinit(&b);
}

static struct quota_user *ref_peer(struct quota_book *b, const struct bus_peer *peer)
{
	const struct quota_payer payer = quota_payer(peer);

	return quota_user_ref(b, &payer);
}

static void test_payers(void)
{
	struct bus_peer alice = { .has_cert = true, .uid = 7, .name = "alice" };
	struct bus_peer bob = { .has_cert = true, .uid = 7, .name = "bob" };
	struct bus_peer remote = { .is_plain_tcp = true, .uid = 7, .name = "10.0.0.1" };
	struct bus_peer other = { .is_plain_tcp = true, .uid = 8, .name = "10.0.0.2" };
	struct bus_peer local = { .has_creds = true, .uid = 7 };
	struct quota_book b = { .max = { [QUOTA_CALLS] = 1024 } };
	struct quota_user *u = ref_peer(&b, &alice);

	CU_ASSERT_EQUAL(take_all(&b, u), 512);
	CU_ASSERT_PTR_EQUAL(ref_peer(&b, &alice), u);
	CU_ASSERT_EQUAL(take_all(&b, ref_peer(&b, &bob)), 256);
	CU_ASSERT_EQUAL(take_all(&b, ref_peer(&b, &remote)), 128);
	CU_ASSERT_EQUAL(take_all(&b, ref_peer(&b, &other)), 0); /* the network is one */
	CU_ASSERT_EQUAL(take_all(&b, ref_peer(&b, &local)), 64);
	CU_ASSERT_EQUAL(map_size(&b.users), 4);
	quota_give(&b, u, QUOTA_CALLS, 512);
	quota_user_unref(&b, u);
	CU_ASSERT_PTR_NULL(quota_user_unref(&b, u));
	CU_ASSERT_EQUAL(map_size(&b.users), 3);
	quota_book_deinit(&b);
}

UNIT_MAIN("quota", UNIT_TEST(test_each_gets_half_of_the_rest), UNIT_TEST(test_root_is_no_exception),
	  UNIT_TEST(test_a_share_that_shrinks), UNIT_TEST(test_references), UNIT_TEST(test_payers))
