/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libcommon/uuid.h"

#include <sys/wait.h>

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

static void test_random_is_never_repeated(void)
{
	uint64_t seen[3000], in_child = 0;
	int fds[2];

	for (size_t i = 0; i < ARRAY_LEN(seen); i++) {
		random_bytes(&seen[i], sizeof(seen[i]));
	}
	for (size_t i = 1; i < ARRAY_LEN(seen); i++) {
		CU_ASSERT(seen[i] != seen[i - 1]);
	}
	CU_ASSERT_FATAL(pipe(fds) == 0);
	if (fork() == 0) {
		random_bytes(&in_child, sizeof(in_child));
		_exit(write(fds[1], &in_child, sizeof(in_child)) == sizeof(in_child) ? 0 : 1);
	}
	CU_ASSERT_EQUAL(read(fds[0], &in_child, sizeof(in_child)), sizeof(in_child));
	wait(NULL);
	random_bytes(&seen[0], sizeof(seen[0]));
	CU_ASSERT(seen[0] != in_child);
	close(fds[0]);
	close(fds[1]);
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
	  UNIT_TEST(test_random), UNIT_TEST(test_random_is_never_repeated),
	  UNIT_TEST(test_zero_and_canonical))
