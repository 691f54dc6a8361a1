/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Against the distribution's real xenstored, which is killed and started again.
 */
#include "libcommon/xenstore.h"

#include "libcommon/log.h"
#include "tests/unit/simxen_util.h"

struct fixture {
	struct host host;
	struct xenstore *xs;
	struct xenstore_watch *watch;
	struct xenstore_watch *other;
	unsigned int n_events;
	unsigned int n_resets;
	unsigned int n_events_at_reset;
	char last_path[256];
	unsigned int n_bodies;
	unsigned int n_conflicts; /* that the body makes */
	int result;		  /* of the body */
};

static bool set_up(struct fixture *f)
{
	*f = (struct fixture){ 0 };
	log_set_level(LOG_LEVEL_ERROR); /* it tells of each death */
	if (!host_start(&f->host, NULL) || xenstore_open(&f->xs) < 0) {
		CU_FAIL("there is no xenstored to test with");
		return false;
	}
	return true;
}

static void tear_down(struct fixture *f)
{
	f->xs = xenstore_close(f->xs);
	host_end(&f->host);
}

/* xenstored dies by SIGKILL; returns when it is gone. */
static void kill_xenstored(struct fixture *f)
{
	host_close(&f->host);
}

static bool start_xenstored(struct fixture *f)
{
	return host_open(&f->host, NULL, false);
}

static void check_value(struct fixture *f, const char *path, const char *expected, size_t len)
{
	_cleanup_(xfreep) char *value = NULL;
	size_t got_len = 0;

	CU_ASSERT_EQUAL(xenstore_read(f->xs, path, &value, &got_len), 0);
	CU_ASSERT_EQUAL(got_len, len);
	if (value && got_len == len) {
		CU_ASSERT_EQUAL(memcmp(value, expected, len), 0);
		CU_ASSERT_EQUAL(value[len], '\0');
	}
}

/* ---- requests ---- */

static void test_values(void)
{
	static char big[XENSTORE_VALUE_MAX + 1];
	struct fixture f;
	uint64_t n = 1;
	char *value;
	size_t len;

	if (set_up(&f)) {
		CU_ASSERT_EQUAL(xenstore_write_str(f.xs, "/t/a", "text"), 0);
		check_value(&f, "/t/a", "text", 4);
		CU_ASSERT_EQUAL(xenstore_write(f.xs, "/t/nul", "a\0b", 3), 0);
		check_value(&f, "/t/nul", "a\0b", 3);
		CU_ASSERT_EQUAL(xenstore_write(f.xs, "/t/empty", "", 0), 0);
		check_value(&f, "/t/empty", "", 0);
		CU_ASSERT_EQUAL(xenstore_read(f.xs, "/t/none", &value, &len), XENSTORE_ABSENT);
		CU_ASSERT_EQUAL(xenstore_write(f.xs, "/t/big", big, 4000), 0);
		CU_ASSERT_EQUAL(xenstore_write(f.xs, "/t/big", big, 4096), -E2BIG);
		CU_ASSERT_EQUAL(xenstore_write(f.xs, "/t/big", big, 4097), -E2BIG);
		CU_ASSERT_EQUAL(xenstore_write(f.xs, "/t/big", big, SIZE_MAX), -E2BIG);

		CU_ASSERT_EQUAL(xenstore_write_str(f.xs, "/t/n", "18446744073709551615"), 0);
		CU_ASSERT_EQUAL(xenstore_read_u64(f.xs, "/t/n", &n), 0);
		CU_ASSERT_EQUAL(n, UINT64_MAX);
		CU_ASSERT_EQUAL(xenstore_read_u64(f.xs, "/t/a", &n), -EINVAL);
		CU_ASSERT_EQUAL(xenstore_read_u64(f.xs, "/t/empty", &n), -EINVAL);
		CU_ASSERT_EQUAL(xenstore_read_u64(f.xs, "/t/none", &n), XENSTORE_ABSENT);
	}
	tear_down(&f);
}

static void test_nodes(void)
{
	_cleanup_(xfreep) char **names = NULL;
	char **none = NULL;
	struct fixture f;
	char path[64];
	size_t n = 0;

	if (set_up(&f)) {
		CU_ASSERT_EQUAL(xenstore_mkdir(f.xs, "/d"), 0);
		CU_ASSERT_EQUAL(xenstore_mkdir(f.xs, "/d"), 0);
		CU_ASSERT_EQUAL(xenstore_list(f.xs, "/d", &none, &n), 0);
		CU_ASSERT_EQUAL(n, 0);
		free(none);
		/* More than one reply of the wire protocol holds. */
		for (int i = 0; i < 1000; i++) {
			snprintf(path, sizeof(path), "/d/%d", i);
			CU_ASSERT_EQUAL(xenstore_mkdir(f.xs, path), 0);
		}
		CU_ASSERT_EQUAL(xenstore_list(f.xs, "/d", &names, &n), 0);
		CU_ASSERT_EQUAL(n, 1000);
		CU_ASSERT_EQUAL(xenstore_list(f.xs, "/none", &none, &n), XENSTORE_ABSENT);
		CU_ASSERT_EQUAL(xenstore_remove(f.xs, "/d"), 0);
		CU_ASSERT_EQUAL(xenstore_remove(f.xs, "/d"), 0);
		CU_ASSERT_EQUAL(xenstore_remove(f.xs, "/d/below"), 0);
		CU_ASSERT_EQUAL(xenstore_list(f.xs, "/d", &none, &n), XENSTORE_ABSENT);
	}
	tear_down(&f);
}

/* A request that is refused does not look like a dead connection. */
static void test_bad_paths(void)
{
	static const char *const paths[] = { "", "/a b", "/a//b", "/a/", "/\xff", "/\n" };
	struct fixture f;
	char *value;
	size_t len;

	if (set_up(&f)) {
		for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
			CU_ASSERT_EQUAL(xenstore_read(f.xs, paths[i], &value, &len), -EINVAL);
			CU_ASSERT_EQUAL(xenstore_write_str(f.xs, paths[i], "x"), -EINVAL);
			CU_ASSERT_TRUE(xenstore_is_connected(f.xs));
		}
	}
	tear_down(&f);
}

static void test_perms(void)
{
	static const char *const bad[] = { "",	    "n",   "5",	   "x0",     "n0,",    ",n0",
					   "n0 r5", "n-1", "n0r5", "n65536", "n0,r5,x" };
	struct heard heard;
	struct guest_ring *ring = NULL;
	struct fixture f;

	if (set_up(&f) && (ring = add_guest(&f.host, 5, &heard))) {
		CU_ASSERT_EQUAL(xenstore_write_str(f.xs, "/p", "x"), 0);
		CU_ASSERT_EQUAL(xenstore_set_perms(f.xs, "/p", "n0"), 0);
		CU_ASSERT_EQUAL(guest_read(&f.host, ring, &heard, "/p"), -EACCES);
		CU_ASSERT_EQUAL(xenstore_set_perms(f.xs, "/p", "n0,r5"), 0);
		CU_ASSERT_EQUAL(guest_read(&f.host, ring, &heard, "/p"), 0);
		CU_ASSERT_EQUAL(guest_write(&f.host, ring, &heard, "/p", "y"), -EACCES);
		CU_ASSERT_EQUAL(xenstore_set_perms(f.xs, "/p", "n0,w5"), 0);
		CU_ASSERT_EQUAL(guest_read(&f.host, ring, &heard, "/p"), -EACCES);
		CU_ASSERT_EQUAL(guest_write(&f.host, ring, &heard, "/p", "y"), 0);
		CU_ASSERT_EQUAL(xenstore_set_perms(f.xs, "/p", "n0,b5"), 0);
		CU_ASSERT_EQUAL(guest_read(&f.host, ring, &heard, "/p"), 0);
		for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
			CU_ASSERT_EQUAL(xenstore_set_perms(f.xs, "/p", bad[i]), -EINVAL);
		}
		CU_ASSERT_EQUAL(xenstore_set_perms(f.xs, "/p",
						   "n0,r1,r2,r3,r4,r5,r6,r7,r8,r9,r10,r11,r12,"
						   "r13,r14,r15"),
				0);
		CU_ASSERT_EQUAL(xenstore_set_perms(f.xs, "/p",
						   "n0,r1,r2,r3,r4,r5,r6,r7,r8,r9,r10,r11,r12,"
						   "r13,r14,r15,r16"),
				-EINVAL);
		CU_ASSERT_EQUAL(xenstore_set_perms(f.xs, "/none", "n0"), -ENOENT);
	}
	guest_ring_free(ring);
	tear_down(&f);
}

/* ---- transactions ---- */

static int body(struct xenstore *xs, void *userdata)
{
	struct fixture *f = userdata;
	uint64_t n = 0;
	char text[24];

	f->n_bodies++;
	CU_ASSERT_TRUE(xenstore_read_u64(xs, "/n", &n) >= 0);
	if (f->n_conflicts > 0) {
		f->n_conflicts--;
		dom0_write(&f->host, "/n", "100");
	}
	snprintf(text, sizeof(text), "%llu", (unsigned long long)n + 1);
	CU_ASSERT_EQUAL(xenstore_write_str(xs, "/n", text), 0);
	CU_ASSERT_EQUAL(xenstore_transaction(xs, body, f), -EINVAL); /* not to be nested */
	return f->result;
}

static void test_transactions(void)
{
	struct fixture f;

	if (set_up(&f)) {
		CU_ASSERT_EQUAL(xenstore_write_str(f.xs, "/n", "1"), 0);
		CU_ASSERT_EQUAL(xenstore_transaction(f.xs, body, &f), 0);
		check_value(&f, "/n", "2", 1);
		f.result = 7;
		CU_ASSERT_EQUAL(xenstore_transaction(f.xs, body, &f), 7);
		check_value(&f, "/n", "3", 1);
		f.result = -EDOM;
		CU_ASSERT_EQUAL(xenstore_transaction(f.xs, body, &f), -EDOM);
		check_value(&f, "/n", "3", 1);
		CU_ASSERT_EQUAL(f.n_bodies, 3);

		f.result = 0;
		f.n_conflicts = 3;
		CU_ASSERT_EQUAL(xenstore_transaction(f.xs, body, &f), 0);
		check_value(&f, "/n", "101", 3);
		CU_ASSERT_EQUAL(f.n_bodies, 7);
		f.n_conflicts = 1000;
		CU_ASSERT_EQUAL(xenstore_transaction(f.xs, body, &f), -EAGAIN);
		CU_ASSERT_EQUAL(f.n_bodies, 7 + 32);
		CU_ASSERT_EQUAL(xenstore_write_str(f.xs, "/n", "1"), 0);
	}
	tear_down(&f);
}

static int killing_body(struct xenstore *xs, void *userdata)
{
	kill_xenstored(userdata);
	return xenstore_write_str(xs, "/n", "2") == -ENOTCONN ? 0 : -EDOM;
}

static void test_death_in_transaction(void)
{
	struct fixture f;

	if (set_up(&f)) {
		CU_ASSERT_EQUAL(xenstore_transaction(f.xs, killing_body, &f), -ENOTCONN);
		CU_ASSERT_EQUAL(xenstore_transaction(f.xs, body, &f), -ENOTCONN);
		CU_ASSERT_EQUAL(f.n_bodies, 0);
	}
	tear_down(&f);
}

/* ---- watches ---- */

static void on_event(struct xenstore *xs, const char *path, void *userdata)
{
	struct fixture *f = userdata;

	CU_ASSERT_PTR_EQUAL(xs, f->xs);
	f->n_events++;
	snprintf(f->last_path, sizeof(f->last_path), "%s", path);
}

static void on_event_unwatch(struct xenstore *xs, const char *path, void *userdata)
{
	struct fixture *f = userdata;

	on_event(xs, path, userdata);
	f->watch = xenstore_unwatch(f->watch);
	f->other = xenstore_unwatch(f->other);
}

static void on_event_close(struct xenstore *xs, const char *path, void *userdata)
{
	struct fixture *f = userdata;

	on_event(xs, path, userdata);
	f->xs = xenstore_close(f->xs);
}

static void on_reset(struct xenstore *xs, void *userdata)
{
	struct fixture *f = userdata;

	CU_ASSERT_TRUE(xenstore_is_connected(xs));
	f->n_resets++;
	f->n_events_at_reset = f->n_events;
	CU_ASSERT_EQUAL(xenstore_write_str(xs, "/reset", "x"), 0);
}

/* A round trip: what was to come is here. Then deliver all. */
static void settle(struct fixture *f)
{
	check_value(f, "/local/domain/0/domid", "0", 1);
	while (xenstore_dispatch(f->xs) > 0) {
	}
}

/* Poll like a program without sd-event until n events came. */
static void wait_events(struct fixture *f, unsigned int n)
{
	uint64_t end_ns = clock_boot_ns() + PATIENCE_MS * NSEC_PER_MSEC;

	while (f->n_events < n && clock_boot_ns() < end_ns) {
		struct pollfd p = { .fd = xenstore_fd(f->xs), .events = POLLIN };

		poll(&p, 1, 100);
		while (xenstore_dispatch(f->xs) > 0) {
		}
	}
	CU_ASSERT_EQUAL(f->n_events, n);
}

static void test_watch(void)
{
	struct fixture f;

	if (set_up(&f)) {
		CU_ASSERT_EQUAL(xenstore_watch(f.xs, &f.watch, "/w", on_event, &f), 0);
		CU_ASSERT_EQUAL(f.n_events, 0); /* never from inside */
		wait_events(&f, 1);
		CU_ASSERT_STRING_EQUAL(f.last_path, "/w");
		dom0_write(&f.host, "/w/below/it", "x");
		wait_events(&f, 2);
		CU_ASSERT_STRING_EQUAL(f.last_path, "/w/below/it");
		dom0_write(&f.host, "/elsewhere", "x");
		settle(&f);
		CU_ASSERT_EQUAL(f.n_events, 2);
		f.watch = xenstore_unwatch(f.watch);
		CU_ASSERT_PTR_NULL(xenstore_unwatch(NULL));
		dom0_write(&f.host, "/w", "x");
		settle(&f);
		CU_ASSERT_EQUAL(f.n_events, 2);
	}
	tear_down(&f);
}

/* Two watches on one path are two; events that wait when a watch goes are dropped. */
static void test_unwatch_drops_pending(void)
{
	struct fixture f;

	if (set_up(&f)) {
		CU_ASSERT_EQUAL(xenstore_watch(f.xs, &f.watch, "/w", on_event, &f), 0);
		CU_ASSERT_EQUAL(xenstore_watch(f.xs, &f.other, "/w", on_event, &f), 0);
		wait_events(&f, 2);
		dom0_write(&f.host, "/w/1", "x");
		dom0_write(&f.host, "/w/2", "x");
		check_value(&f, "/w/2", "x", 1);
		f.other = xenstore_unwatch(f.other);
		settle(&f);
		CU_ASSERT_EQUAL(f.n_events, 4);

		f.n_events = 0;
		CU_ASSERT_EQUAL(xenstore_watch(f.xs, &f.other, "/w", on_event_unwatch, &f), 0);
		dom0_write(&f.host, "/w/1", "x");
		settle(&f);
		CU_ASSERT_PTR_NULL(f.watch);
		CU_ASSERT_TRUE(f.n_events <= 2);
		f.n_events = 0;
		dom0_write(&f.host, "/w/1", "x");
		settle(&f);
		CU_ASSERT_EQUAL(f.n_events, 0);
	}
	tear_down(&f);
}

static void test_dispatch_is_bounded(void)
{
	struct fixture f;
	char path[32];

	if (set_up(&f)) {
		CU_ASSERT_EQUAL(xenstore_watch(f.xs, &f.watch, "/w", on_event, &f), 0);
		wait_events(&f, 1);
		for (int i = 0; i < 600; i++) {
			snprintf(path, sizeof(path), "/w/%d", i);
			dom0_write(&f.host, path, "x");
		}
		check_value(&f, "/w/599", "x", 1);
		CU_ASSERT_EQUAL(xenstore_dispatch(f.xs), 256);
		CU_ASSERT_EQUAL(xenstore_dispatch(f.xs), 256);
		wait_events(&f, 601);
	}
	tear_down(&f);
}

static void test_close_in_callback(void)
{
	struct fixture f;

	if (set_up(&f)) {
		CU_ASSERT_EQUAL(xenstore_watch(f.xs, &f.watch, "/w", on_event_close, &f), 0);
		CU_ASSERT_EQUAL(xenstore_watch(f.xs, &f.other, "/w", on_event_close, &f), 0);
		check_value(&f, "/local/domain/0/domid", "0", 1);
		CU_ASSERT_EQUAL(xenstore_dispatch(f.xs), -ENOTCONN);
		CU_ASSERT_EQUAL(f.n_events, 1);
		CU_ASSERT_PTR_NULL(f.xs);
	}
	tear_down(&f);
}

/* ---- xenstored dies ---- */

static void test_death_and_reconnect(void)
{
	struct fixture f;
	char *value;
	size_t len;

	if (set_up(&f)) {
		xenstore_on_reset(f.xs, on_reset, &f);
		CU_ASSERT_EQUAL(xenstore_probe(f.xs), 0);
		CU_ASSERT_EQUAL(xenstore_watch(f.xs, &f.watch, "/w", on_event, &f), 0);
		wait_events(&f, 1);

		kill_xenstored(&f);
		/* Not EINVAL, by which libxenstore calls it. */
		CU_ASSERT_EQUAL(xenstore_read(f.xs, "/w", &value, &len), -ENOTCONN);
		CU_ASSERT_FALSE(xenstore_is_connected(f.xs));
		CU_ASSERT_EQUAL(xenstore_fd(f.xs), -1);
		CU_ASSERT_EQUAL(xenstore_write_str(f.xs, "/w", "x"), -ENOTCONN);
		CU_ASSERT_EQUAL(xenstore_mkdir(f.xs, "/w"), -ENOTCONN);
		CU_ASSERT_EQUAL(xenstore_remove(f.xs, "/w"), -ENOTCONN);
		CU_ASSERT_EQUAL(xenstore_set_perms(f.xs, "/w", "n0"), -ENOTCONN);
		CU_ASSERT_EQUAL(xenstore_dispatch(f.xs), -ENOTCONN);
		CU_ASSERT_EQUAL(xenstore_probe(f.xs), -ENOTCONN);
		CU_ASSERT_EQUAL(xenstore_watch(f.xs, &f.other, "/v", on_event, &f), 0);
		CU_ASSERT_EQUAL(f.n_resets, 0);

		if (start_xenstored(&f)) {
			CU_ASSERT_EQUAL(xenstore_probe(f.xs), 1);
			CU_ASSERT_EQUAL(f.n_resets, 1);
			CU_ASSERT_EQUAL(f.n_events_at_reset, 1);
			CU_ASSERT_EQUAL(xenstore_probe(f.xs), 0);
			wait_events(&f, 3); /* the first of each */
			dom0_write(&f.host, "/w/1", "x");
			wait_events(&f, 4);
			dom0_write(&f.host, "/v/1", "x");
			wait_events(&f, 5);
		}
	}
	tear_down(&f);
}

/* The probe is the first to see it; nobody had asked anything. */
static void test_probe_finds_death(void)
{
	struct fixture f;

	if (set_up(&f)) {
		CU_ASSERT_EQUAL(xenstore_watch(f.xs, &f.watch, "/w", on_event, &f), 0);
		wait_events(&f, 1);
		kill_xenstored(&f);
		CU_ASSERT_TRUE(xenstore_is_connected(f.xs));
		CU_ASSERT_EQUAL(xenstore_probe(f.xs), -ENOTCONN);
		if (start_xenstored(&f)) {
			kill_xenstored(&f);
			CU_ASSERT_EQUAL(xenstore_probe(f.xs), -ENOTCONN);
		}
		if (start_xenstored(&f)) {
			CU_ASSERT_EQUAL(xenstore_probe(f.xs), 1);
			wait_events(&f, 2);
		}
	}
	tear_down(&f);
}

static void test_open_without_xenstored(void)
{
	struct xenstore *xs = NULL;

	setenv("XENSTORED_PATH", "/nowhere/socket", 1);
	CU_ASSERT_EQUAL(xenstore_open(&xs), -ENOTCONN);
	CU_ASSERT_PTR_NULL(xs);
	CU_ASSERT_PTR_NULL(xenstore_close(NULL));
}

/* ---- on sd-event ---- */

static void test_attached(void)
{
	struct fixture f;
	char path[32];

	if (set_up(&f)) {
		xenstore_on_reset(f.xs, on_reset, &f);
		CU_ASSERT_EQUAL(xenstore_attach(f.xs, f.host.event), 0);
		CU_ASSERT_EQUAL(xenstore_attach(f.xs, f.host.event), -EALREADY);
		CU_ASSERT_EQUAL(xenstore_watch(f.xs, &f.watch, "/w", on_event, &f), 0);
		wait_for(&f.host, &f.n_events, 1);
		for (int i = 0; i < 600; i++) {
			snprintf(path, sizeof(path), "/w/%d", i);
			dom0_write(&f.host, path, "x");
		}
		wait_for(&f.host, &f.n_events, 601);

		kill_xenstored(&f);
		if (start_xenstored(&f)) {
			wait_for(&f.host, &f.n_resets, 1);
			wait_for(&f.host, &f.n_events, 602);
			dom0_write(&f.host, "/w", "x");
			wait_for(&f.host, &f.n_events, 603);
		}
	}
	tear_down(&f);
}

static void test_attached_close_in_callback(void)
{
	struct fixture f;

	if (set_up(&f)) {
		CU_ASSERT_EQUAL(xenstore_attach(f.xs, f.host.event), 0);
		CU_ASSERT_EQUAL(xenstore_watch(f.xs, &f.watch, "/w", on_event_close, &f), 0);
		wait_for(&f.host, &f.n_events, 1);
		while (sd_event_run(f.host.event, 0) > 0) {
		}
		CU_ASSERT_EQUAL(f.n_events, 1);
	}
	tear_down(&f);
}

UNIT_MAIN("xenstore", UNIT_TEST(test_values), UNIT_TEST(test_nodes), UNIT_TEST(test_bad_paths),
	  UNIT_TEST(test_perms), UNIT_TEST(test_transactions), UNIT_TEST(test_death_in_transaction),
	  UNIT_TEST(test_watch), UNIT_TEST(test_unwatch_drops_pending),
	  UNIT_TEST(test_dispatch_is_bounded), UNIT_TEST(test_close_in_callback),
	  UNIT_TEST(test_death_and_reconnect), UNIT_TEST(test_probe_finds_death),
	  UNIT_TEST(test_open_without_xenstored), UNIT_TEST(test_attached),
	  UNIT_TEST(test_attached_close_in_callback))
