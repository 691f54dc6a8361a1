/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The HTTP server with real sockets, also against peers that do not speak HTTP.
 */
#include "services/metrics/httpd.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>

#include "libcommon/clock.h"
#include "libcommon/log.h"
#include "tests/unit/unit.h"

static unsigned int handle(const char *path, struct strbuf *body, const char **type,
			   void *userdata _unused_)
{
	if (streq(path, "/large")) {
		for (int i = 0; i < 100000; i++) {
			strbuf_printf(body, "line %06d\n", i);
		}
		return 200;
	}
	if (streq(path, "/x")) {
		*type = "text/x-test";
		strbuf_puts(body, "hello\n");
		return 200;
	}
	strbuf_puts(body, "no such thing\n");
	return 404;
}

static int dial(unsigned int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	inet_pton(AF_INET, "127.0.0.1", &a.sin_addr);
	CU_ASSERT_EQUAL(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

/* Send text and run the loop until the peer closes, `until` is in the answer, or 5 s passed. */
static void exchange(sd_event *loop, unsigned int port, const char *text, const char *until,
		     struct strbuf *answer)
{
	uint64_t end = clock_boot_ns() + 5 * NSEC_PER_SEC;
	int fd = dial(port);

	strbuf_reset(answer);
	CU_ASSERT_EQUAL(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
	while (clock_boot_ns() < end && !strstr(strbuf_str(answer), until)) {
		char buf[65536];
		ssize_t n;

		sd_event_run(loop, 1000);
		n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
		if (n > 0) {
			strbuf_append(answer, buf, (size_t)n);
		} else if (n == 0) {
			break;
		}
	}
	close(fd);
}

static bool contains(const struct strbuf *answer, const char *text)
{
	return strstr(strbuf_str(answer), text) != NULL;
}

struct fixture {
	sd_event *loop;
	struct httpd *httpd;
	struct strbuf answer;
};

static void setup(struct fixture *f)
{
	*f = (struct fixture){ 0 };
	CU_ASSERT(sd_event_new(&f->loop) >= 0);
	CU_ASSERT_EQUAL(httpd_new(&f->httpd, f->loop, "127.0.0.1:0", handle, NULL), 0);
}

static void teardown(struct fixture *f)
{
	httpd_free(f->httpd);
	sd_event_unref(f->loop);
	strbuf_deinit(&f->answer);
}

static bool is_library_mapped(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	bool is_mapped = false;
	char line[512];

	CU_ASSERT_PTR_NOT_NULL_FATAL(maps);
	while (fgets(line, sizeof(line), maps)) {
		is_mapped |= strstr(line, "libmicrohttpd") != NULL;
	}
	fclose(maps);
	return is_mapped;
}

static void test_httpd__loads_its_library_when_asked(void)
{
	struct fixture f;

	setup(&f);
	CU_ASSERT_EQUAL(sd_event_run(f.loop, 0), 0);
	CU_ASSERT_FALSE(is_library_mapped());
	exchange(f.loop, httpd_port(f.httpd), "GET /x HTTP/1.1\r\nHost: x\r\n\r\n", "hello\n",
		 &f.answer);
	CU_ASSERT(contains(&f.answer, "hello\n"));
	CU_ASSERT(is_library_mapped());
	teardown(&f);
}

static void test_httpd__answers(void)
{
	struct fixture f;
	unsigned int port;

	setup(&f);
	port = httpd_port(f.httpd);
	CU_ASSERT(port > 0);
	exchange(f.loop, port, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n", "hello\n", &f.answer);
	CU_ASSERT(contains(&f.answer, "HTTP/1.1 200"));
	CU_ASSERT(contains(&f.answer, "Content-Type: text/x-test"));
	CU_ASSERT(contains(&f.answer, "\r\n\r\nhello\n"));
	exchange(f.loop, port, "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", "thing\n", &f.answer);
	CU_ASSERT(contains(&f.answer, "HTTP/1.1 404"));
	exchange(f.loop, port, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
		 "allowed\n", &f.answer);
	CU_ASSERT(contains(&f.answer, "HTTP/1.1 405"));
	exchange(f.loop, port, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n", "line 099999\n",
		 &f.answer);
	CU_ASSERT(contains(&f.answer, "line 099999\n"));
	teardown(&f);
}

static void test_httpd__bad_requests_do_not_hurt(void)
{
	static const char *const requests[] = {
		"\r\n\r\n\r\n\r\n",
		"GET /%41%%% HTTP/1.1\r\nHost: x\r\n\r\n",
		"GARBAGE\r\n\r\n",
		"GET / HTTP/9.9\r\n\r\n",
	};
	struct fixture f;
	int held[100];

	setup(&f);
	for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
		exchange(f.loop, httpd_port(f.httpd), requests[i], "HTTP/1", &f.answer);
	}
	/* More half-open requests than there are places must not lock out for ever: some are
	 * refused, and when they go there is room again. */
	for (size_t i = 0; i < ARRAY_LEN(held); i++) {
		held[i] = dial(httpd_port(f.httpd));
		send(held[i], "GET /x HT", 9, MSG_NOSIGNAL);
		sd_event_run(f.loop, 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(held); i++) {
		close(held[i]);
	}
	exchange(f.loop, httpd_port(f.httpd), "GET /x HTTP/1.1\r\nHost: x\r\n\r\n", "hello\n",
		 &f.answer);
	CU_ASSERT(contains(&f.answer, "hello\n"));
	teardown(&f);
}

/* Requests that never become complete hold no place that another one needs. */
static void test_httpd__half_requests_do_not_lock_out(void)
{
	struct fixture f;
	int held[100];

	setup(&f);
	for (size_t i = 0; i < ARRAY_LEN(held); i++) {
		held[i] = dial(httpd_port(f.httpd));
		send(held[i], "GET /x HT", 9, MSG_NOSIGNAL);
		sd_event_run(f.loop, 0);
		if (i % 50 == 49) {
			exchange(f.loop, httpd_port(f.httpd), "GET /x HTTP/1.1\r\nHost: x\r\n\r\n",
				 "hello\n", &f.answer);
			CU_ASSERT(contains(&f.answer, "hello\n"));
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(held); i++) {
		close(held[i]);
	}
	teardown(&f);
}

static void test_httpd__addresses(void)
{
	static const char *const bad[] = { "",	      "127.0.0.1",	 "127.0.0.1:",
					   ":9780",   "127.0.0.1:65536", "localhost:80",
					   "[::1:80", "127.0.0.1:80 80" };
	struct httpd *second = NULL;
	struct fixture f;
	char address[64];

	setup(&f);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		CU_ASSERT_EQUAL(httpd_new(&second, f.loop, bad[i], handle, NULL), -EINVAL);
	}
	snprintf(address, sizeof(address), "127.0.0.1:%u", httpd_port(f.httpd));
	CU_ASSERT_EQUAL(httpd_new(&second, f.loop, address, handle, NULL), -EADDRINUSE);
	teardown(&f);
}

UNIT_MAIN("httpd", UNIT_TEST_APART(test_httpd__loads_its_library_when_asked),
	  UNIT_TEST(test_httpd__answers), UNIT_TEST(test_httpd__bad_requests_do_not_hurt),
	  UNIT_TEST(test_httpd__half_requests_do_not_lock_out), UNIT_TEST(test_httpd__addresses))
