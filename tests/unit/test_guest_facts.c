/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the guest agent reads out of files: text, os-release, meminfo. */
#include <stdio.h>

#include "services/guest-agent/logic/meminfo.h"
#include "services/guest-agent/logic/osrelease.h"
#include "services/guest-agent/logic/text.h"
#include "tests/unit/unit.h"

static void test_text__is_bounded_and_clean(void)
{
	static const struct {
		const char *in;
		const char *out;
	} cases[] = {
		{ "plain", "plain" },
		{ "", "" },
		{ "  b o \t ", "b o" },
		{ "a\x1b[31mb\nc\x7f", "a[31mbc" },
		{ "1234567", "1234567" },
		{ "12345678", "1234567" },
		{ "12345\xc3\xa4", "12345\xc3\xa4" },
		{ "123456\xc3\xa4", "123456" },
		{ "12345\xe2\x82\xac", "12345" },
		{ "1234 \xe2\x82\xac", "1234" },
		{ "\x80\x80\x80\x80\x80\x80\x80\x80\x80", "" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char out[8];

		guest_text_copy(out, sizeof(out), cases[i].in, strlen(cases[i].in));
		CU_ASSERT_STRING_EQUAL(out, cases[i].out);
	}
}

static void test_osrelease__table(void)
{
	static const struct {
		const char *text;
		const char *name, *distro, *major, *minor;
	} cases[] = {
		{ "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\n"
		  "VERSION_ID=\"12\"\nID=debian\n",
		  "Debian GNU/Linux 12 (bookworm)", "debian", "12", "" },
		{ "ID=\"rhel\"\nVERSION_ID='9.4'\nPRETTY_NAME='Red Hat'", "Red Hat", "rhel", "9",
		  "4" },
		{ "ID=alpine\nVERSION_ID=3.19.1\nNAME=\"Alpine Linux\"\n", "Alpine Linux 3.19.1",
		  "alpine", "3", "19" },
		{ "NAME=Arch\\ Linux\nID=arch\n", "Arch Linux", "arch", "", "" },
		{ "", "Linux", "linux", "", "" },
		{ "# ID=comment\n\n  ID=indented\r\nPRETTY_NAME=\"crlf\"\r\n", "crlf", "indented",
		  "", "" },
		{ "PRETTY_NAME=\"say \\\"hi\\\" \\$5 \\n\"\n", "say \"hi\" $5 \\n", "linux", "",
		  "" },
		{ "PRETTY_NAME='no \\escape'\n", "no \\escape", "linux", "", "" },
		{ "PRETTY_NAME=\"one\"' two'\n", "one two", "linux", "", "" },
		{ "PRETTY_NAME=word # comment\n", "word", "linux", "", "" },
		{ "PRETTY_NAME=\"open\nID=debian\n", "Linux", "debian", "", "" },
		{ "ID=first\nID=second\n", "Linux", "second", "", "" },
		{ "ID=Upper\nVERSION_ID=rolling\n", "Linux", "linux", "", "" },
		{ "ID=a/b\nVERSION_ID=123456789012345678\n", "Linux", "linux", "", "" },
		{ "VERSION_ID=10.\nXID=no\nID\n=\n", "Linux", "linux", "10", "" },
		{ "VERSION_ID=7.123456789012345678\n", "Linux", "linux", "7", "" },
		{ "PRETTY_NAME=\"\"\nNAME=\"Only\"\n", "Only", "linux", "", "" },
		{ "PRETTY_NAME=\"tail\\", "Linux", "linux", "", "" },
		{ "ID=end\\", "Linux", "linux", "", "" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct guest_os os;

		guest_osrelease_parse(cases[i].text, strlen(cases[i].text), &os);
		CU_ASSERT_STRING_EQUAL(os.name, cases[i].name);
		CU_ASSERT_STRING_EQUAL(os.distro, cases[i].distro);
		CU_ASSERT_STRING_EQUAL(os.major, cases[i].major);
		CU_ASSERT_STRING_EQUAL(os.minor, cases[i].minor);
	}
}

static void test_osrelease__bounds_long_values(void)
{
	static char text[4096];
	struct guest_os os;
	size_t len;

	len = (size_t)snprintf(text, sizeof(text), "PRETTY_NAME=\"%02000d\"\nID=%0100d\n", 7, 7);
	guest_osrelease_parse(text, len, &os);
	CU_ASSERT_EQUAL(strlen(os.name), sizeof(os.name) - 1);
	CU_ASSERT_STRING_EQUAL(os.distro, "linux");
}

static void test_osrelease__does_not_read_past_len(void)
{
	char text[] = "ID=debianXXX";
	struct guest_os os;

	guest_osrelease_parse(text, strlen("ID=debian"), &os);
	CU_ASSERT_STRING_EQUAL(os.distro, "debian");
	guest_osrelease_parse(NULL, 0, &os);
	CU_ASSERT_STRING_EQUAL(os.distro, "linux");
}

static void test_meminfo__table(void)
{
	static const struct {
		const char *text;
		int r;
		uint64_t total, free_kib;
	} cases[] = {
		{ "MemTotal:        8049032 kB\nMemFree:          100 kB\nMemAvailable:     200 "
		  "kB\n",
		  0, 8049032, 200 },
		{ "MemTotal: 100 kB\nMemFree: 50 kB\nBuffers: 1 kB\n", 0, 100, 50 },
		{ "MemAvailable: 5 kB\nMemTotal: 9 kB", 0, 9, 5 },
		{ "MemTotal: 100 kB\n", -EINVAL, 0, 0 },
		{ "MemFree: 100 kB\n", -EINVAL, 0, 0 },
		{ "MemTotal: 100 MB\nMemFree: 50 kB\n", -EINVAL, 0, 0 },
		{ "MemTotal: -1 kB\nMemFree: 50 kB\n", -EINVAL, 0, 0 },
		{ "MemTotal: 99999999999999999999 kB\nMemFree: 50 kB\n", -EINVAL, 0, 0 },
		{ "MemTotal: 4611686018427387904 kB\nMemFree: 50 kB\n", -EINVAL, 0, 0 },
		{ "MemTotal: 100 kB\nMemAvailable: x kB\nMemFree: 50 kB\n", 0, 100, 50 },
		{ "XMemTotal: 100 kB\nMemFree: 50 kB\n", -EINVAL, 0, 0 },
		{ "MemTotal: kB\nMemFree: 50 kB\n", -EINVAL, 0, 0 },
		{ "", -EINVAL, 0, 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct guest_meminfo m = { 0 };

		CU_ASSERT_EQUAL(guest_meminfo_parse(cases[i].text, strlen(cases[i].text), &m),
				cases[i].r);
		CU_ASSERT_EQUAL(m.total_kib, cases[i].total);
		CU_ASSERT_EQUAL(m.free_kib, cases[i].free_kib);
	}
}

static void test_meminfo_gate__tells_large_changes_after_the_interval(void)
{
	static const struct {
		uint64_t at_s, total, free_kib;
		bool passes;
	} steps[] = {
		{ 0, 1000, 500, true },				      /* the first */
		{ 59, 1000, 100, false },			      /* too soon */
		{ 60, 1000, 525, false },			      /* 5 % is not more than 5 % */
		{ 61, 1000, 526, true },   { 120, 1000, 100, false }, /* 59 s after the last told */
		{ 121, 1000, 499, true },			      /* 5.1 % less */
		{ 600, 1000, 500, false }, { 601, 900, 499, true },   /* ballooned */
		{ 700, 900, 0, true },	   { 800, 900, 0, false },    { 801, 900, 1, true },
	};
	struct guest_meminfo_gate gate = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		struct guest_meminfo now = { steps[i].total, steps[i].free_kib };

		CU_ASSERT_EQUAL(guest_meminfo_gate_pass(&gate, &now,
							(1000 + steps[i].at_s) * NSEC_PER_SEC,
							60 * NSEC_PER_SEC),
				steps[i].passes);
	}
}

UNIT_MAIN("guest facts", UNIT_TEST(test_text__is_bounded_and_clean),
	  UNIT_TEST(test_osrelease__table), UNIT_TEST(test_osrelease__bounds_long_values),
	  UNIT_TEST(test_osrelease__does_not_read_past_len), UNIT_TEST(test_meminfo__table),
	  UNIT_TEST(test_meminfo_gate__tells_large_changes_after_the_interval))
