/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libcommon/conf.h"

#include <stdio.h>
#include <sys/stat.h>

#include "tests/unit/unit.h"

/* Writes "section.key=value@line;" for each key into the strbuf; refuses the value "bad", and
 * "silent" without a complaint. */
static int note(const char *section, const char *key, const char *value, const struct conf_pos *pos,
		struct strbuf *errors, void *userdata)
{
	strbuf_printf(userdata, "%s.%s=%s@%u;", section, key, value, pos->line);
	if (streq(value, "bad")) {
		conf_complain(errors, pos, "%s is bad", key);
		return -EINVAL;
	}
	return streq(value, "silent") ? -EINVAL : 0;
}

static void check(const char *text, size_t len, int r, const char *keys, const char *complaints)
{
	_cleanup_(strbuf_deinit) struct strbuf got = STRBUF_NULL, errors = STRBUF_NULL;

	CU_ASSERT_EQUAL(conf_parse("f", text, len, note, &got, &errors), r);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&got), keys);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&errors), complaints);
}

static void check_str(const char *text, int r, const char *keys, const char *complaints)
{
	check(text, strlen(text), r, keys, complaints);
}

static void test_keys_with_lines(void)
{
	check_str("", 0, "", "");
	check_str("top = 1\n"
		  "; comment\n"
		  "# comment\n"
		  "\n"
		  "[service ops]   ; comment\n"
		  "rpc=ipc:///run/x\n"
		  "   indented = a = b\n"
		  "empty =\n"
		  "comment = a;b ; c\r\n"
		  "last = x",
		  0,
		  ".top=1@1;service ops.rpc=ipc:///run/x@6;service ops.indented=a = b@7;"
		  "service ops.empty=@8;service ops.comment=a;b@9;service ops.last=x@10;",
		  "");
	check_str("\xef\xbb\xbf[a]\nk=v\n", 0, "a.k=v@2;", "");
}

static void test_all_mistakes_are_told(void)
{
	check_str("no equals sign\n"
		  "[unclosed\n"
		  "a = bad\n"
		  "= no key\n"
		  "key: value\n"
		  "a:b = c\n"
		  "[x] y = 1\n"
		  "[x ; y]\n"
		  "b = silent\n"
		  "c ; d = e\n"
		  "d = fine",
		  -EINVAL, ".a=bad@3;.b=silent@9;.d=fine@11;",
		  "f:1: neither [section] nor key = value\n"
		  "f:2: the section's ']' is missing\n"
		  "f:3: a is bad\n"
		  "f:4: there is no key before the '='\n"
		  "f:5: neither [section] nor key = value\n"
		  "f:6: a key cannot contain ':'\n"
		  "f:7: there is something after the section's ']'\n"
		  "f:8: a section's name cannot contain ';'\n"
		  "f:9: the value of b is not acceptable\n"
		  "f:10: neither [section] nor key = value\n");
	check("k\0 = v\n", 7, -EINVAL, "", "f:1: there is a NUL byte in the line\n");
	check_str("\x1b[2J\n", -EINVAL, "", "f:1: neither [section] nor key = value\n");
	check_str("k\x1b = silent\n", -EINVAL, ".k\x1b=silent@1;",
		  "f:1: the value of k\\x1b is not acceptable\n");
}

static void test_lengths(void)
{
	_cleanup_(strbuf_deinit) struct strbuf text = STRBUF_NULL, keys = STRBUF_NULL;

	strbuf_printf(&text, "k=%0*d\n[%0*d]\nk=v", CONF_LINE_MAX - 2, 1, CONF_SECTION_MAX, 2);
	strbuf_printf(&keys, ".k=%0*d@1;%0*d.k=v@3;", CONF_LINE_MAX - 2, 1, CONF_SECTION_MAX, 2);
	check_str(strbuf_str(&text), 0, strbuf_str(&keys), "");

	strbuf_reset(&text);
	strbuf_printf(&text, "k=%0*d\n[%0*d]\nk=v", CONF_LINE_MAX - 1, 1, CONF_SECTION_MAX + 1, 2);
	check_str(strbuf_str(&text), -EINVAL, ".k=v@3;",
		  "f:1: the line is longer than 4000 bytes\n"
		  "f:2: the section's name is longer than 49 bytes\n");
}

static void write_file(const char *dir, const char *name, const char *text)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	if (f) {
		fputs(text, f);
		fclose(f);
	}
}

static void check_load(const char *path, bool with_dropins, int r, const char *keys,
		       const char *complaint)
{
	_cleanup_(strbuf_deinit) struct strbuf got = STRBUF_NULL, errors = STRBUF_NULL;

	CU_ASSERT_EQUAL(conf_load(path, with_dropins, note, &got, &errors), r);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&got), keys);
	CU_ASSERT_PTR_NOT_NULL(strstr(strbuf_str(&errors), complaint));
	CU_ASSERT_EQUAL(errors.len == 0, complaint[0] == '\0');
}

static void test_files_and_dropins(void)
{
	char dir[] = "/tmp/test_conf.XXXXXX";
	char path[64], sub[64], command[64];

	CU_ASSERT_PTR_NOT_NULL(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/t.conf", dir);
	snprintf(sub, sizeof(sub), "%s/t.d", dir);
	check_load(path, true, -ENOENT, "", "");

	CU_ASSERT_EQUAL(mkdir(sub, 0700), 0);
	write_file(sub, "20-b.conf", "[s]\nk=20\n");
	write_file(sub, "10-a.conf", "[s]\nk=10\n");
	write_file(sub, ".hidden.conf", "[s]\nk=hidden\n");
	write_file(sub, "30-c.conf~", "[s]\nk=backup\n");
	check_load(path, true, -ENOENT, "s.k=10@2;s.k=20@2;", "");

	write_file(dir, "t.conf", "[s]\nk=0\n");
	check_load(path, true, 0, "s.k=0@2;s.k=10@2;s.k=20@2;", "");
	check_load(path, false, 0, "s.k=0@2;", "");

	write_file(sub, "20-b.conf", "[s]\nk=bad\n");
	check_load(path, true, -EINVAL, "s.k=0@2;s.k=10@2;s.k=bad@2;",
		   "/t.d/20-b.conf:2: k is bad");
	check_load(sub, false, -EINVAL, "", "t.d: cannot be read: Is a directory");

	snprintf(command, sizeof(command), "rm -r %s", dir);
	CU_ASSERT_EQUAL(system(command), 0);
}

static void test_file_too_big(void)
{
	char path[] = "/tmp/test_conf.XXXXXX";
	int fd = mkstemp(path);

	CU_ASSERT_EQUAL(ftruncate(fd, CONF_FILE_MAX + 1), 0);
	check_load(path, false, -EINVAL, "", "cannot be read: File too large");
	close(fd);
	unlink(path);
}

UNIT_MAIN("conf", UNIT_TEST(test_keys_with_lines), UNIT_TEST(test_all_mistakes_are_told),
	  UNIT_TEST(test_lengths), UNIT_TEST(test_files_and_dropins), UNIT_TEST(test_file_too_big))
