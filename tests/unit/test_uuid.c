/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libcommon/uuid.h"

#include "tests/unit/unit.h"

static const char text[] = "0123abcd-89ef-4bcd-8def-00ff10a0fe55";

static void test_format_and_parse(void)
{
	struct uuid u;
	char out[37];

	CU_ASSERT_EQUAL(uuid_parse(text, &u), 0);
	CU_ASSERT_EQUAL(u.bytes[0], 0x01);
	CU_ASSERT_EQUAL(u.bytes[15], 0x55);
	uuid_format(&u, out);
	CU_ASSERT_STRING_EQUAL(out, text);
	CU_ASSERT_EQUAL(uuid_parse("0123ABCD-89EF-4bcd-8DEF-00FF10A0FE55", &u), 0);
	uuid_format(&u, out);
	CU_ASSERT_STRING_EQUAL(out, text);
}

/* One byte more, less or changed at every place. */
static void test_rejects_near_misses(void)
{
	struct uuid u;
	char bad[40];

	for (size_t i = 0; i < UUID_STR_LEN_; i++) {
		memcpy(bad, text, sizeof(text));
		bad[i] = text[i] == '-' ? '0' : '-';
		CU_ASSERT_EQUAL(uuid_parse(bad, &u), -EINVAL);
		bad[i] = 'g';
		CU_ASSERT_EQUAL(uuid_parse(bad, &u), -EINVAL);
		bad[i] = '\0';
		CU_ASSERT_EQUAL(uuid_parse(bad, &u), -EINVAL);
	}
	memcpy(bad, text, sizeof(text));
	memcpy(bad + UUID_STR_LEN_, "0", 2);
	CU_ASSERT_EQUAL(uuid_parse(bad, &u), -EINVAL);
	CU_ASSERT_EQUAL(uuid_parse("", &u), -EINVAL);
}

static void test_random(void)
{
	struct uuid a, b;

	uuid_random(&a);
	uuid_random(&b);
	CU_ASSERT_NOT_EQUAL(memcmp(&a, &b, sizeof(a)), 0);
	CU_ASSERT_EQUAL(a.bytes[6] >> 4, 4);
	CU_ASSERT_EQUAL(a.bytes[8] >> 6, 2);
	CU_ASSERT_FALSE(uuid_is_zero(&a));
}

static void test_zero_and_canonical(void)
{
	struct uuid zero;

	CU_ASSERT_EQUAL(uuid_parse("00000000-0000-0000-0000-000000000000", &zero), 0);
	CU_ASSERT_TRUE(uuid_is_zero(&zero));
	CU_ASSERT_TRUE(uuid_is_canonical(text));
	CU_ASSERT_FALSE(uuid_is_canonical("0123ABCD-89ef-4bcd-8def-00ff10a0fe55"));
	CU_ASSERT_FALSE(uuid_is_canonical("0123abcd89ef4bcd8def00ff10a0fe55"));
}

UNIT_MAIN("uuid", UNIT_TEST(test_format_and_parse), UNIT_TEST(test_rejects_near_misses),
	  UNIT_TEST(test_random), UNIT_TEST(test_zero_and_canonical))
