/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libcommon/strbuf.h"

#include "tests/unit/unit.h"

static void test_empty_is_a_string(void)
{
	struct strbuf s = STRBUF_NULL;
	char *text;

	CU_ASSERT_STRING_EQUAL(strbuf_str(&s), "");
	CU_ASSERT_EQUAL(strbuf_error(&s), 0);
	strbuf_reset(&s);
	text = strbuf_steal(&s);
	CU_ASSERT_STRING_EQUAL(text, "");
	free(text);
	strbuf_deinit(&s);
	strbuf_deinit(&s);
}

static void test_appends(void)
{
	_cleanup_(strbuf_deinit) struct strbuf s = STRBUF_NULL;
	char *room;

	strbuf_puts(&s, "one");
	strbuf_putc(&s, ' ');
	strbuf_printf(&s, "%d %s", 2, "three");
	strbuf_append(&s, "\0x", 2);
	CU_ASSERT_EQUAL(s.len, 13);
	CU_ASSERT_EQUAL(memcmp(strbuf_str(&s), "one 2 three\0x", 14), 0);
	room = strbuf_extend(&s, 3);
	memset(room, 'y', 3);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&s) + 12, "xyyy");
	strbuf_reset(&s);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&s), "");
	strbuf_append(&s, NULL, 0);
	CU_ASSERT_EQUAL(s.len, 0);
}

static void test_printf_grows(void)
{
	_cleanup_(strbuf_deinit) struct strbuf s = STRBUF_NULL;
	_cleanup_(xfreep) char *text = NULL;

	for (int i = 0; i < 1000; i++) {
		strbuf_printf(&s, "%0*d", i, 7);
	}
	CU_ASSERT_EQUAL(strbuf_error(&s), 0);
	CU_ASSERT_EQUAL(s.len, 1 + 999 * 1000 / 2);
	CU_ASSERT_EQUAL(strlen(strbuf_str(&s)), s.len);
	CU_ASSERT_EQUAL(strbuf_str(&s)[s.len - 1], '7');
	text = strbuf_steal(&s);
	CU_ASSERT_EQUAL(strlen(text), 499501);
	CU_ASSERT_EQUAL(s.len, 0);
}

static void test_error_sticks(void)
{
	_cleanup_(strbuf_deinit) struct strbuf s = STRBUF_NULL;

	strbuf_puts(&s, "before");
	CU_ASSERT_PTR_NULL(strbuf_extend(&s, SIZE_MAX));
	CU_ASSERT_EQUAL(strbuf_error(&s), -ENOMEM);
	strbuf_puts(&s, "after");
	strbuf_printf(&s, "%d", 1);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&s), "before");
	CU_ASSERT_PTR_NULL(strbuf_steal(&s));
	CU_ASSERT_EQUAL(strbuf_error(&s), 0);
	strbuf_puts(&s, "again");
	CU_ASSERT_PTR_NULL(strbuf_extend(&s, PTRDIFF_MAX));
	strbuf_reset(&s);
	CU_ASSERT_EQUAL(strbuf_error(&s), 0);
}

UNIT_MAIN("strbuf", UNIT_TEST(test_empty_is_a_string), UNIT_TEST(test_appends),
	  UNIT_TEST(test_printf_grows), UNIT_TEST(test_error_sticks))
