/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libcommon/loop.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "libcommon/clock.h"
#include "tests/unit/unit.h"

/* Ends a loop whose test has failed. */
#define PATIENCE_US (20 * USEC_PER_SEC)

struct fixture {
	sd_event *loop;
	sd_event_source *patience;
	struct loop_ticker *ticker;
	sd_event_source *source;
	unsigned int n_calls;
	unsigned int n_wanted;
	uint64_t at_ns[16];
	int result;
};

static int on_patience(sd_event_source *s, uint64_t at_us _unused_, void *userdata _unused_)
{
	CU_FAIL("what was waited for did not happen");
	return sd_event_exit(sd_event_source_get_event(s), -ETIMEDOUT);
}

static void set_up(struct fixture *f)
{
	*f = (struct fixture){ 0 };
	if (loop_new(&f->loop) < 0 ||
	    loop_after(f->loop, &f->patience, PATIENCE_US, on_patience, NULL) < 0) {
		abort();
	}
}

static void tear_down(struct fixture *f)
{
	loop_ticker_free(f->ticker);
	loop_source_unrefp(&f->source);
	loop_source_unrefp(&f->patience);
	sd_event_unref(f->loop);
}

static int on_tick(void *userdata)
{
	struct fixture *f = userdata;

	f->at_ns[f->n_calls++] = clock_boot_ns();
	if (f->n_calls == f->n_wanted) {
		sd_event_exit(f->loop, 7);
	}
	return f->result;
}

static void test_ticker_keeps_its_grid(void)
{
	struct fixture f;
	uint64_t start_ns;

	set_up(&f);
	f.n_wanted = 5;
	start_ns = clock_boot_ns();
	CU_ASSERT_EQUAL(loop_ticker_new(&f.ticker, f.loop, 20 * USEC_PER_MSEC, on_tick, &f), 0);
	CU_ASSERT_EQUAL(loop_run(f.loop), 7);
	CU_ASSERT_EQUAL(f.n_calls, 5);
	for (unsigned int i = 0; i < f.n_calls; i++) {
		CU_ASSERT_TRUE(f.at_ns[i] - start_ns >=
			       (i + 1) * 20 * NSEC_PER_MSEC - NSEC_PER_MSEC);
	}
	tear_down(&f);
}

static int on_slow_tick(void *userdata)
{
	struct fixture *f = userdata;

	if (f->n_calls == 0) {
		/* Sits out three whole periods and a half. */
		uint64_t end_ns = clock_boot_ns() + 35 * NSEC_PER_MSEC;

		while (clock_boot_ns() < end_ns) {
		}
	}
	return on_tick(userdata);
}

static void test_late_ticks_are_not_made_up_for(void)
{
	struct fixture f;

	set_up(&f);
	f.n_wanted = 4;
	CU_ASSERT_EQUAL(loop_ticker_new(&f.ticker, f.loop, 10 * USEC_PER_MSEC, on_slow_tick, &f),
			0);
	CU_ASSERT_EQUAL(loop_run(f.loop), 7);
	/* The one that was due during the first comes at once, those after it a period apart. */
	CU_ASSERT_TRUE(f.at_ns[3] - f.at_ns[1] >= 10 * NSEC_PER_MSEC);
	tear_down(&f);
}

static void test_ticker_error_stops_the_loop(void)
{
	struct fixture f;

	set_up(&f);
	f.result = -ENOSPC;
	CU_ASSERT_EQUAL(loop_ticker_new(&f.ticker, f.loop, 1000, on_tick, &f), 0);
	CU_ASSERT_EQUAL(loop_run(f.loop), -ENOSPC);
	CU_ASSERT_EQUAL(loop_ticker_new(&f.ticker, f.loop, 0, on_tick, &f), -EINVAL);
	tear_down(&f);
}

static int free_ticker(void *userdata)
{
	struct fixture *f = userdata;

	f->ticker = loop_ticker_free(f->ticker);
	sd_event_exit(f->loop, 3);
	return 0;
}

static void test_ticker_freed_in_its_callback(void)
{
	struct fixture f;

	set_up(&f);
	CU_ASSERT_EQUAL(loop_ticker_new(&f.ticker, f.loop, 1000, free_ticker, &f), 0);
	CU_ASSERT_EQUAL(loop_run(f.loop), 3);
	tear_down(&f);
}

static int on_time(sd_event_source *s _unused_, uint64_t at_us _unused_, void *userdata)
{
	struct fixture *f = userdata;

	f->n_calls++;
	return sd_event_exit(f->loop, 1);
}

static int on_defer(sd_event_source *s _unused_, void *userdata)
{
	struct fixture *f = userdata;

	f->n_calls++;
	/* Replaces the source that is being dispatched. */
	return loop_after(f->loop, &f->source, 0, on_time, f);
}

static void test_after_and_defer(void)
{
	struct fixture f;
	uint64_t start_ns = clock_boot_ns();

	set_up(&f);
	CU_ASSERT_EQUAL(loop_after(f.loop, &f.source, UINT64_MAX, on_time, &f), 0);
	CU_ASSERT_EQUAL(loop_after(f.loop, &f.source, 1, on_time, &f), 0);
	CU_ASSERT_EQUAL(loop_after(f.loop, &f.source, 30 * USEC_PER_MSEC, on_time, &f), 0);
	CU_ASSERT_EQUAL(loop_run(f.loop), 1);
	CU_ASSERT_EQUAL(f.n_calls, 1);
	CU_ASSERT_TRUE(clock_boot_ns() - start_ns >= 30 * NSEC_PER_MSEC);
	tear_down(&f);

	set_up(&f);
	CU_ASSERT_EQUAL(loop_defer(f.loop, &f.source, on_defer, &f), 0);
	CU_ASSERT_EQUAL(f.n_calls, 0);
	CU_ASSERT_EQUAL(loop_run(f.loop), 1);
	CU_ASSERT_EQUAL(f.n_calls, 2);
	tear_down(&f);
}

static void test_signals(void)
{
	static const int signals[] = { SIGTERM, SIGINT };
	struct fixture f;

	for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
		set_up(&f);
		raise(SIGPIPE); /* would kill the test */
		raise(signals[i]);
		CU_ASSERT_EQUAL(loop_run(f.loop), 0);
		tear_down(&f);
	}
}

static void test_fd_limit(void)
{
	struct rlimit limit;
	struct fixture f;

	CU_ASSERT_EQUAL(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = 256;
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &limit), 0);
	set_up(&f);
	CU_ASSERT_EQUAL(getrlimit(RLIMIT_NOFILE, &limit), 0);
	CU_ASSERT_EQUAL(limit.rlim_cur, limit.rlim_max);
	tear_down(&f);
}

/* We play systemd. */
static void test_notifies_systemd(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(address.sun_family);
	char name[32], text[256];
	struct fixture f;
	ssize_t n;

	/* The kernel chooses an abstract name. */
	CU_ASSERT_EQUAL(bind(fd, (struct sockaddr *)&address, len), 0);
	len = sizeof(address);
	CU_ASSERT_EQUAL(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	snprintf(name, sizeof(name), "@%.5s", address.sun_path + 1);
	setenv("NOTIFY_SOCKET", name, 1);

	set_up(&f);
	loop_ready(f.loop, "7 VMs");
	n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);
	text[MAX(n, 0)] = '\0';
	CU_ASSERT_STRING_EQUAL(text, "READY=1\nSTATUS=7 VMs");
	sd_event_exit(f.loop, 0);
	CU_ASSERT_EQUAL(loop_run(f.loop), 0);
	n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);
	text[MAX(n, 0)] = '\0';
	CU_ASSERT_STRING_EQUAL(text, "STOPPING=1");
	tear_down(&f);
	unsetenv("NOTIFY_SOCKET");
	close(fd);
}

UNIT_MAIN("loop", UNIT_TEST(test_ticker_keeps_its_grid),
	  UNIT_TEST(test_late_ticks_are_not_made_up_for),
	  UNIT_TEST(test_ticker_error_stops_the_loop), UNIT_TEST(test_ticker_freed_in_its_callback),
	  UNIT_TEST(test_after_and_defer), UNIT_TEST(test_signals), UNIT_TEST(test_fd_limit),
	  UNIT_TEST(test_notifies_systemd))
