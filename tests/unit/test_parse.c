/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libcommon/parse.h"

#include "tests/unit/unit.h"

static void test_u64(void)
{
	static const struct {
		const char *text;
		uint64_t max;
		int r;
		uint64_t value;
	} cases[] = {
		{ "0", 0, 0, 0 },
		{ "007", 7, 0, 7 },
		{ "18446744073709551615", UINT64_MAX, 0, UINT64_MAX },
		{ "18446744073709551616", UINT64_MAX, -ERANGE, 0 },
		{ "99999999999999999999999", UINT64_MAX, -ERANGE, 0 },
		{ "99999999999999999999x", UINT64_MAX, -EINVAL, 0 },
		{ "8", 7, -ERANGE, 0 },
		{ "", 7, -EINVAL, 0 },
		{ " 1", 7, -EINVAL, 0 },
		{ "1 ", 7, -EINVAL, 0 },
		{ "+1", 7, -EINVAL, 0 },
		{ "-1", 7, -EINVAL, 0 },
		{ "0x1", 7, -EINVAL, 0 },
		{ "1\n", 7, -EINVAL, 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint64_t value = 0;

		CU_ASSERT_EQUAL(
			parse_u64(cases[i].text, strlen(cases[i].text), cases[i].max, &value),
			cases[i].r);
		CU_ASSERT_EQUAL(value, cases[i].value);
	}
}

static void test_u64_stops_at_len(void)
{
	uint64_t value;

	CU_ASSERT_EQUAL(parse_u64("12345", 2, 99, &value), 0);
	CU_ASSERT_EQUAL(value, 12);
	CU_ASSERT_EQUAL(parse_u64("1\0002", 3, 99, &value), -EINVAL);
}

static void test_u32(void)
{
	uint32_t value = 5;

	CU_ASSERT_EQUAL(parse_u32("4294967295", 10, UINT32_MAX, &value), 0);
	CU_ASSERT_EQUAL(value, UINT32_MAX);
	CU_ASSERT_EQUAL(parse_u32("4294967296", 10, UINT32_MAX, &value), -ERANGE);
	CU_ASSERT_EQUAL(value, UINT32_MAX);
}

static void test_i64(void)
{
	static const struct {
		const char *text;
		int r;
		int64_t value;
	} cases[] = {
		{ "9223372036854775807", 0, INT64_MAX },
		{ "9223372036854775808", -ERANGE, 1 },
		{ "-9223372036854775808", 0, INT64_MIN },
		{ "-9223372036854775809", -ERANGE, 1 },
		{ "-0", 0, 0 },
		{ "-", -EINVAL, 1 },
		{ "--1", -EINVAL, 1 },
		{ "", -EINVAL, 1 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int64_t value = 1;

		CU_ASSERT_EQUAL(parse_i64(cases[i].text, strlen(cases[i].text), &value),
				cases[i].r);
		CU_ASSERT_EQUAL(value, cases[i].value);
	}
}

static void test_bool(void)
{
	static const char *const words[] = { "no", "yes", "off", "on", "false", "true", "0", "1" };
	bool value;

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		CU_ASSERT_EQUAL(parse_bool(words[i], &value), 0);
		CU_ASSERT_EQUAL(value, i % 2 == 1);
	}
	CU_ASSERT_EQUAL(parse_bool("Yes", &value), -EINVAL);
	CU_ASSERT_EQUAL(parse_bool("2", &value), -EINVAL);
	CU_ASSERT_EQUAL(parse_bool("", &value), -EINVAL);
}

static void test_duration(void)
{
	static const struct {
		const char *text;
		int r;
		uint64_t ms;
	} cases[] = {
		{ "5", 0, 5000 },
		{ "5s", 0, 5000 },
		{ "500ms", 0, 500 },
		{ "2m", 0, 120000 },
		{ "1h", 0, 3600000 },
		{ "0", 0, 0 },
		{ "18446744073709551615ms", 0, UINT64_MAX },
		{ "18446744073709551615", -ERANGE, 1 },
		{ "5124095576031h", -ERANGE, 1 },
		{ "", -EINVAL, 1 },
		{ "s", -EINVAL, 1 },
		{ "5 s", -EINVAL, 1 },
		{ "1d", -EINVAL, 1 },
		{ "-1s", -EINVAL, 1 },
		{ "1.5s", -EINVAL, 1 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint64_t ms = 1;

		CU_ASSERT_EQUAL(parse_duration_ms(cases[i].text, &ms), cases[i].r);
		CU_ASSERT_EQUAL(ms, cases[i].ms);
	}
}

static void test_utf8(void)
{
	static const struct {
		const char *text;
		bool is_valid;
	} cases[] = {
		{ "", true },
		{ "plain", true },
		{ "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", true },
		{ "\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf", true },
		{ "\x80", false },
		{ "\xc3", false },
		{ "\xc3\x28", false },
		{ "\xc0\xaf", false },	       /* overlong */
		{ "\xc1\xbf", false },	       /* overlong */
		{ "\xe0\x9f\xbf", false },     /* overlong */
		{ "\xf0\x8f\xbf\xbf", false }, /* overlong */
		{ "\xed\xa0\x80", false },     /* surrogate */
		{ "\xf4\x90\x80\x80", false }, /* beyond U+10FFFF */
		{ "\xf5\x80\x80\x80", false },
		{ "\xff", false },
		{ "\xe2\x82", false },
		{ "\xf0\x9f\x98", false },
		{ "\xf0\x9f\x98\x28", false },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CU_ASSERT_EQUAL(utf8_is_valid(cases[i].text, strlen(cases[i].text)),
				cases[i].is_valid);
	}
	CU_ASSERT_TRUE(utf8_is_valid("a\0b", 3));
	CU_ASSERT_EQUAL(utf8_sequence_len("\xe2\x82\xac", 3), 3);
	CU_ASSERT_EQUAL(utf8_sequence_len("\xe2\x82\xac", 2), 0);
	CU_ASSERT_EQUAL(utf8_sequence_len("", 0), 0);
}

UNIT_MAIN("parse", UNIT_TEST(test_u64), UNIT_TEST(test_u64_stops_at_len), UNIT_TEST(test_u32),
	  UNIT_TEST(test_i64), UNIT_TEST(test_bool), UNIT_TEST(test_duration), UNIT_TEST(test_utf8))
