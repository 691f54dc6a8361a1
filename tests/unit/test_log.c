/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libcommon/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "libcommon/clock.h"
#include "libcommon/strbuf.h"
#include "tests/unit/log_util.h"
#include "tests/unit/unit.h"

static void check_sunk(const char *expected)
{
	CU_ASSERT_STRING_EQUAL(strbuf_str(&log_collected), expected);
	strbuf_reset(&log_collected);
}

static void start(enum log_level level)
{
	log_init("test");
	log_set_level(level);
	log_set_sink(log_collect);
	strbuf_reset(&log_collected);
}

static void test_levels(void)
{
	enum log_level level;

	start(LOG_LEVEL_WARNING);
	log_error("e%d", 1);
	log_warning("w");
	log_info("i");
	log_debug("d");
	check_sunk("error:e1\nwarning:w\n");
	CU_ASSERT_EQUAL(log_level_parse("debug", &level), 0);
	CU_ASSERT_EQUAL(level, LOG_LEVEL_DEBUG);
	CU_ASSERT_EQUAL(log_level_parse("Debug", &level), -EINVAL);
	log_set_level(level);
	log_debug("d");
	check_sunk("debug:d\n");
}

static void test_fields_and_escaping(void)
{
	start(LOG_LEVEL_INFO);
	log_fields(LOG_LEVEL_INFO, LOG_FIELDS({ "VM", "a\nb" }, { "TASK", NULL }), "%s",
		   "one\ntwo\x1b[31m");
	check_sunk("info:one\\x0atwo\\x1b[31m|VM=a\\x0ab|TASK=\n");
}

static void test_lines(void)
{
	start(LOG_LEVEL_INFO);
	log_lines(LOG_LEVEL_ERROR, "one\n\ntwo\x1b\n");
	log_lines(LOG_LEVEL_ERROR, "");
	check_sunk("error:one\nerror:two\\x1b\n");
}

static void test_closed_streams(void)
{
	int kept = dup(STDIN_FILENO);
	int fd;

	CU_ASSERT_TRUE_FATAL(kept > STDERR_FILENO);
	close(STDIN_FILENO);
	log_init("test");
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	CU_ASSERT_TRUE(fd > STDERR_FILENO);
	CU_ASSERT_EQUAL(write(STDIN_FILENO, "x", 1), -1);
	close(fd);
	CU_ASSERT_EQUAL(dup2(kept, STDIN_FILENO), STDIN_FILENO);
	close(kept);
}

static void test_scopes(void)
{
	struct log_scope outer = { .fields = { { "TRACE_ID", "t1" }, { "TASK", "x\ny" } },
				   .n_fields = 2 };
	struct log_scope inner = { .fields = { { "TRACE_ID", "t2" } }, .n_fields = 1 };

	start(LOG_LEVEL_INFO);
	log_enter(&outer);
	log_info("1");
	log_fields(LOG_LEVEL_INFO, LOG_FIELDS({ "TASK", "own" }), "2");
	log_enter(&inner);
	log_info("3");
	log_leave(&inner);
	log_info("4");
	log_leave(&outer);
	log_info("5");
	check_sunk("info:1|TRACE_ID=t1|TASK=x\\x0ay\n"
		   "info:2|TASK=own|TRACE_ID=t1\n"
		   "info:3|TRACE_ID=t2\n"
		   "info:4|TRACE_ID=t1|TASK=x\\x0ay\n"
		   "info:5\n");
}

static void test_escape(void)
{
	static const struct {
		const char *text, *escaped;
	} cases[] = {
		{ "plain \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "plain \xc3\xa4\xe2\x82\xac"
								"\xf0\x9f\x98\x80" },
		{ "\t\r\n\x7f", "\\x09\\x0d\\x0a\\x7f" },
		{ "\xc2\x9b\x31m", "\\xc2\\x9b1m" }, /* C1 CSI */
		{ "\xc2\xa0", "\xc2\xa0" },	     /* first beyond C1 */
		{ "a\x80\xff", "a\\x80\\xff" },	     /* no UTF-8 */
		{ "\xe2\x82", "\\xe2\\x82" },	     /* cut off */
		{ "\xe2\x80\xa8\xe2\x80\xae", "\\xe2\\x80\\xa8\\xe2\\x80\\xae" }, /* bidi */
		{ "\xe2\x81\xa6\xe2\x80\xa6", "\\xe2\\x81\\xa6\xe2\x80\xa6" },
	};
	char out[256];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		log_escape(out, sizeof(out), cases[i].text, strlen(cases[i].text));
		CU_ASSERT_STRING_EQUAL(out, cases[i].escaped);
	}
	log_escape(out, sizeof(out), "a\0b", 3);
	CU_ASSERT_STRING_EQUAL(out, "a\\x00b");
}

/* Whatever the room, the result is terminated and made of whole characters. */
static void test_escape_cuts(void)
{
	static const struct {
		size_t room_min, room_max;
		const char *text;
	} cases[] = {
		{ 1, 1, "" },
		{ 2, 2, "." },
		{ 3, 3, ".." },
		{ 4, 6, "..." },
		{ 7, 10, "\xe2\x82\xac..." },
		{ 11, 14, "\xe2\x82\xac\\x0a..." },
		{ 15, 15, "\xe2\x82\xac\\x0a\\x0a..." },
		{ 16, 16, "\xe2\x82\xac\\x0a\\x0a\\x0a" },
	};
	char out[17];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		for (size_t room = cases[i].room_min; room <= cases[i].room_max; room++) {
			memset(out, 'x', sizeof(out));
			log_escape(out, room, "\xe2\x82\xac\n\n\n", 6);
			CU_ASSERT_STRING_EQUAL(out, cases[i].text);
			CU_ASSERT_EQUAL(out[room], 'x');
		}
	}
	log_escape(out, 4, "abc", 3);
	CU_ASSERT_STRING_EQUAL(out, "abc");
	log_escape(out, 4, "abcd", 4);
	CU_ASSERT_STRING_EQUAL(out, "...");
	log_escape(out, 6, "abcdef", 6);
	CU_ASSERT_STRING_EQUAL(out, "ab...");
	log_escape(out, 0, "abc", 3);
}

static void test_long_lines_are_cut(void)
{
	static char text[10000];
	size_t len;

	start(LOG_LEVEL_INFO);
	memset(text, 'a', sizeof(text) - 1);
	log_fields(LOG_LEVEL_INFO, LOG_FIELDS({ "A", text }, { "B", "short" }, { "C", text }), "%s",
		   text);
	CU_ASSERT_PTR_NOT_NULL(strstr(strbuf_str(&log_collected), "aaa...|A=aaa"));
	CU_ASSERT_PTR_NOT_NULL(strstr(strbuf_str(&log_collected), "aaa...|B=short|C=aaa"));
	len = log_collected.len;
	CU_ASSERT_TRUE(len < 5200);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&log_collected) + len - 4, "...\n");
}

static void test_site_is_limited(void)
{
	struct log_site a = { 0 }, b = { 0 };
	char expected[64];

	start(LOG_LEVEL_INFO);
	for (int i = 0; i < 50; i++) {
		log_write(&a, LOG_LEVEL_INFO, NULL, 0, "%d", i);
		if (i < 20) {
			snprintf(expected, sizeof(expected), "info:%d\n", i);
			check_sunk(expected);
		} else {
			check_sunk("");
		}
	}
	log_write(&b, LOG_LEVEL_INFO, NULL, 0, "other");
	check_sunk("info:other\n");
	a.window_ns -= 10 * NSEC_PER_SEC; /* as if it were over */
	log_write(&b, LOG_LEVEL_INFO, NULL, 0, "other");
	check_sunk("info:30 more lines were left out, like: %d\ninfo:other\n");
	log_write(&a, LOG_LEVEL_INFO, NULL, 0, "%d", 51);
	check_sunk("info:51\n");
	log_flush();
	check_sunk("");
}

static void test_flush_tells_left_out(void)
{
	struct log_site a = { 0 };

	start(LOG_LEVEL_INFO);
	for (int i = 0; i < 21; i++) {
		log_write(&a, LOG_LEVEL_WARNING, NULL, 0, "x\n");
	}
	strbuf_reset(&log_collected);
	log_flush();
	check_sunk("warning:1 more lines were left out, like: x\\x0a\n");
	log_flush();
	check_sunk("");
}

/* ---- what comes out of stderr ---- */

static int saved_stderr = -1;

/* A pipe in place of stderr; its read end. */
static int redirect(void)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0) {
		abort();
	}
	saved_stderr = dup(STDERR_FILENO);
	dup2(fds[1], STDERR_FILENO);
	close(fds[1]);
	start(LOG_LEVEL_INFO);
	log_set_sink(NULL);
	return fds[0];
}

static void restore(int fd)
{
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	close(fd);
}

static void check_stderr(int fd, const char *expected)
{
	char got[8192];
	ssize_t n = read(fd, got, sizeof(got) - 1);

	got[MAX(n, 0)] = '\0';
	CU_ASSERT_STRING_EQUAL(got, expected);
}

static void test_stderr_line(void)
{
	int fd = redirect();

	log_fields(LOG_LEVEL_WARNING,
		   LOG_FIELDS({ "VM", "x" }, { "TEXT", "a \"b\"" }, { "EMPTY", "" }), "hello");
	check_stderr(fd, "test: warning hello vm=x text=\"a \\\"b\\\"\" empty=\"\"\n");
	log_fields(
		LOG_LEVEL_INFO,
		LOG_FIELDS({ "A", "x \\" }, { "B", "\\\" c=d" }, { "E", "\\n" }, { "F", " \\n" }),
		"forged");
	check_stderr(fd, "test: info forged a=\"x \\\\\" b=\"\\\\\\\" c=d\" e=\\n f=\" \\n\"\n");
	log_write(NULL, LOG_LEVEL_NOTICE,
		  LOG_FIELDS({ "MESSAGE_ID", "abc" }, { "XENMESH_UID", "7" }), 2, "told");
	check_stderr(fd, "test: notice told uid=7\n");
	restore(fd);
}

static void test_stderr_leaves_fields_out(void)
{
	int fd = redirect();
	static char text[3000], value[1500], got[8192];
	ssize_t n;

	memset(text, 'a', sizeof(text) - 1);
	memset(value, '"', sizeof(value) - 1); /* each takes two */
	log_fields(LOG_LEVEL_INFO, LOG_FIELDS({ "A", "short" }, { "B", value }), "%s", text);
	n = read(fd, got, sizeof(got) - 1);
	CU_ASSERT_TRUE(n > 3000 && n < 4096);
	CU_ASSERT_PTR_NOT_NULL(strstr(got, "aaa a=short ...\n"));
	restore(fd);
}

static void test_keeps_errno(void)
{
	int fd = redirect();

	errno = ENOSPC;
	log_fields(LOG_LEVEL_INFO, LOG_FIELDS({ "A", "b" }), "errno is kept");
	CU_ASSERT_EQUAL(errno, ENOSPC);
	check_stderr(fd, "test: info errno is kept a=b\n");
	restore(fd);
}

static void test_stderr_of_the_journal(void)
{
	int fd = redirect();
	char stream[64];
	struct stat st;

	CU_ASSERT_EQUAL(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	CU_ASSERT_TRUE(log_stderr_is_journal());
	log_error("hello");
	check_stderr(fd, "<3>error hello\n");
	setenv("JOURNAL_STREAM", "1:1", 1);
	CU_ASSERT_FALSE(log_stderr_is_journal());
	log_use_journal();
	log_error("hello");
	check_stderr(fd, "test: error hello\n");
	unsetenv("JOURNAL_STREAM");
	restore(fd);
}

/* A reader that stands still costs one short wait, not the program; it is told what it missed. */
static void test_full_stderr_does_not_block(void)
{
	int fd = redirect();
	static char block[4096];
	uint64_t start_ns;

	while (write(STDERR_FILENO, block, sizeof(block)) > 0) {
	}
	start_ns = clock_boot_ns();
	for (int i = 0; i < 10; i++) {
		log_info("lost");
	}
	log_flush();
	CU_ASSERT_TRUE(clock_boot_ns() - start_ns < 5 * NSEC_PER_SEC);
	while (read(fd, block, sizeof(block)) > 0) {
	}
	log_info("there again");
	check_stderr(fd, "test: warning 10 lines were lost, standard error was full\n"
			 "test: info there again\n");
	while (write(STDERR_FILENO, block, sizeof(block)) > 0) {
	}
	log_info("lost");
	while (read(fd, block, sizeof(block)) > 0) {
	}
	log_flush();
	check_stderr(fd, "test: warning 1 lines were lost, standard error was full\n");
	restore(fd);
}

/* A journal of the test's own: its socket, at path. */
static int open_journal(char path[static 64])
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(path, 64, "/tmp/xenmesh-test-journal.%d", (int)getpid());
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	unlink(path);
	CU_ASSERT_EQUAL(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	CU_ASSERT_EQUAL(log_use_journal_at(path), 0);
	return fd;
}

static void check_entry(int fd, const char *expected, size_t len)
{
	char text[9000];
	ssize_t n = recv(fd, text, sizeof(text), 0);

	CU_ASSERT_EQUAL(n, (ssize_t)len);
	CU_ASSERT(n == (ssize_t)len && memcmp(text, expected, len) == 0);
}

static void test_journal_entries(void)
{
	static const char plain[] = "MESSAGE=hello\nPRIORITY=4\nSYSLOG_IDENTIFIER=test\n"
				    "VM=a\n";
	static const char lines[] = "MESSAGE=a\\x0ab\nPRIORITY=3\nSYSLOG_IDENTIFIER=test\n";
	char path[64];
	int fd;

	start(LOG_LEVEL_INFO);
	fd = open_journal(path);
	log_fields(LOG_LEVEL_WARNING, LOG_FIELDS({ "VM", "a" }), "hello");
	check_entry(fd, plain, sizeof(plain) - 1);
	log_error("a\nb");
	check_entry(fd, lines, sizeof(lines) - 1);
	close(fd);
	unlink(path);
	log_set_sink(NULL);
}

/* A journal that stands still costs nothing but lines, which are counted. */
static void test_full_journal_does_not_block(void)
{
	char path[64], text[9000], number[64];
	unsigned int n_sent = 0, n_got = 0, n_lost = 0;
	uint64_t start_ns = clock_boot_ns();
	ssize_t n;
	int fd;

	start(LOG_LEVEL_INFO);
	fd = open_journal(path);
	for (; n_sent < 5000; n_sent++) {
		log_write(NULL, LOG_LEVEL_INFO, NULL, 0, "line %u", n_sent);
	}
	CU_ASSERT(clock_boot_ns() - start_ns < 5 * NSEC_PER_SEC);
	while ((n = recv(fd, text, sizeof(text) - 1, 0)) > 0) {
		text[n] = '\0';
		snprintf(number, sizeof(number), "MESSAGE=line %u\n", n_got);
		CU_ASSERT(str_starts(text, number));
		n_got++;
	}
	CU_ASSERT(n_got > 0 && n_got < n_sent);
	log_info("there again");
	n = recv(fd, text, sizeof(text) - 1, 0);
	text[MAX(n, 0)] = '\0';
	CU_ASSERT_EQUAL(sscanf(text, "MESSAGE=%u lines are missing here", &n_lost), 1);
	CU_ASSERT_EQUAL(n_lost + n_got, n_sent);
	n = recv(fd, text, sizeof(text) - 1, 0);
	text[MAX(n, 0)] = '\0';
	CU_ASSERT(str_starts(text, "MESSAGE=there again\n"));
	close(fd);
	unlink(path);
	log_set_sink(NULL);
}

/* At the end: to the journal if it goes on, else to stderr. */
static void test_flush_tells_lost(void)
{
	static const char missing[] = "lines are missing here: the journal was too slow for them\n";
	int fd = redirect();
	char path[64], text[9000];
	int journal = open_journal(path);
	unsigned int n_sent = 0, n_got = 0, n_lost = 0;
	ssize_t n;

	for (; n_sent < 5000; n_sent++) {
		log_write(NULL, LOG_LEVEL_INFO, NULL, 0, "line");
	}
	log_flush();
	n = read(fd, text, sizeof(text) - 1);
	text[MAX(n, 0)] = '\0';
	CU_ASSERT_EQUAL(sscanf(text, "test: warning %u", &n_lost), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, missing));
	log_flush();
	check_stderr(fd, "");
	log_info("one more");
	while (recv(journal, text, sizeof(text), 0) > 0) {
		n_got++;
	}
	CU_ASSERT_EQUAL(n_got + n_lost, n_sent);
	log_flush();
	n = recv(journal, text, sizeof(text) - 1, 0);
	text[MAX(n, 0)] = '\0';
	CU_ASSERT(str_starts(text, "MESSAGE=1 lines are missing here"));
	log_flush();
	CU_ASSERT_EQUAL(recv(journal, text, sizeof(text), 0), -1);
	check_stderr(fd, "");
	close(journal);
	unlink(path);
	restore(fd);
}

/* Without a journal the lines go where it would have got them from too. */
static void test_absent_journal(void)
{
	int fd = redirect();
	char path[64];
	int journal = open_journal(path);

	close(journal);
	log_info("nobody there");
	check_stderr(fd, "test: info nobody there\n");
	unlink(path);
	log_info("nor a socket");
	check_stderr(fd, "test: info nor a socket\n");
	restore(fd);
}

static void logging_sink(enum log_level level, const char *message, const struct log_field *fields,
			 size_t n_fields)
{
	log_error("the sink logs");
	log_collect(level, message, fields, n_fields);
}

static void test_sink_that_logs(void)
{
	int fd = redirect();

	log_set_sink(logging_sink);
	log_info("x");
	check_sunk("info:x\n");
	check_stderr(fd, "test: error the sink logs\n");
	restore(fd);
}

UNIT_MAIN("log", UNIT_TEST(test_levels), UNIT_TEST(test_fields_and_escaping), UNIT_TEST(test_lines),
	  UNIT_TEST(test_closed_streams), UNIT_TEST(test_scopes), UNIT_TEST(test_escape),
	  UNIT_TEST(test_escape_cuts), UNIT_TEST(test_long_lines_are_cut),
	  UNIT_TEST(test_site_is_limited), UNIT_TEST(test_flush_tells_left_out),
	  UNIT_TEST(test_stderr_leaves_fields_out), UNIT_TEST(test_keeps_errno),
	  UNIT_TEST(test_stderr_line), UNIT_TEST(test_stderr_of_the_journal),
	  UNIT_TEST(test_full_stderr_does_not_block), UNIT_TEST(test_journal_entries),
	  UNIT_TEST(test_full_journal_does_not_block), UNIT_TEST(test_flush_tells_lost),
	  UNIT_TEST(test_absent_journal), UNIT_TEST(test_sink_that_logs))
