/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <unistd.h>

#include "tests/unit/log_util.h"
#include "tests/unit/ops_fixture.h"

struct seen {
	unsigned int n_up, n_down, n_messages;
	int answer; /* of on_message */
};

static int on_message(Xenmesh__Host__FromHost *message _unused_, void *userdata)
{
	struct seen *s = userdata;

	s->n_messages++;
	return s->answer;
}

static void on_link(bool is_up, void *userdata)
{
	struct seen *s = userdata;

	s->n_up += is_up ? 1 : 0;
	s->n_down += is_up ? 0 : 1;
}

static const struct hostlink_handler handler = { .on_message = on_message, .on_link = on_link };

static struct hostlink *connect_to(struct ops_fixture *f, struct seen *s)
{
	const struct hostlink_config config = {
		.path = f->link,
		.handler = &handler,
		.userdata = s,
	};
	struct hostlink *h = NULL;

	CU_ASSERT_EQUAL(hostlink_new(&h, f->loop, &config), 0);
	return h;
}

#define WITH_HOST(f)                                   \
	_cleanup_(ops_tear_down) struct ops_fixture f; \
	ops_set_up_stopped(&f)

static void test_hostlink__connects_and_reconnects(void)
{
	WITH_HOST(f);
	struct seen s = { 0 };
	struct hostlink *h;

	fakehost_hang_up(&f.host); /* nobody is there at first */
	h = connect_to(&f, &s);
	ops_run_for(&f, 100);
	CU_ASSERT(!hostlink_is_up(h));
	CU_ASSERT_EQUAL(fakehost_listen(&f.host), 0);
	WAIT(&f, s.n_up == 1 && s.n_messages == 2); /* state and table */
	fakehost_hang_up(&f.host);
	WAIT(&f, s.n_down == 1);
	CU_ASSERT(!hostlink_is_up(h));
	CU_ASSERT_EQUAL(fakehost_listen(&f.host), 0);
	WAIT(&f, s.n_up == 2 && s.n_messages == 4);
	hostlink_free(h);
}

static void test_hostlink__closes_when_the_owner_cannot_follow(void)
{
	WITH_HOST(f);
	struct seen s = { .answer = -ENOMEM };
	struct hostlink *h = connect_to(&f, &s);

	WAIT(&f, s.n_down >= 2);
	s.answer = 0;
	WAIT(&f, f.host.n_hellos >= 3 && hostlink_is_up(h));
	hostlink_free(h);
}

static void test_hostlink__resyncs_are_gathered(void)
{
	WITH_HOST(f);
	struct seen s = { 0 };
	struct hostlink *h = connect_to(&f, &s);

	hostlink_resync(h, "not yet up: nothing");
	WAIT(&f, s.n_messages == 2);
	for (int i = 0; i < 50; i++) {
		hostlink_resync(h, "again");
	}
	WAIT(&f, f.host.n_resyncs == 2); /* at once, and once more for the rest */
	ops_run_for(&f, 300);
	CU_ASSERT_EQUAL(f.host.n_resyncs, 2);
	hostlink_free(h);
}

struct spawned {
	unsigned int n;
	int fd;
	char error[64];
};

static void on_spawned(int fd, const char *error, void *userdata)
{
	struct spawned *s = userdata;

	s->n++;
	s->fd = fd;
	snprintf(s->error, sizeof(s->error), "%s", error ? error : "");
}

static void test_hostlink__spawns(void)
{
	WITH_HOST(f);
	struct seen s = { 0 };
	struct spawned a = { 0 }, b = { 0 }, c = { 0 }, d = { 0 };
	struct hostlink_spawn *spawn;
	struct hostlink *h = connect_to(&f, &s);

	CU_ASSERT_EQUAL(hostlink_spawn(h, "", on_spawned, &a, &spawn), -ENOTCONN);
	WAIT(&f, hostlink_is_up(h));
	CU_ASSERT_EQUAL(hostlink_spawn(h, "", on_spawned, &a, &spawn), 0);
	WAIT(&f, a.n == 1);
	CU_ASSERT(a.fd >= 0);
	close(a.fd);

	f.host.has_no_workers = true;
	CU_ASSERT_EQUAL(hostlink_spawn(h, "", on_spawned, &b, &spawn), 0);
	WAIT(&f, b.n == 1);
	CU_ASSERT_EQUAL(b.fd, -1);
	CU_ASSERT_STRING_EQUAL(b.error, "no worker program");

	f.host.has_no_workers = false;
	CU_ASSERT_EQUAL(hostlink_spawn(h, "", on_spawned, &c, &spawn), 0);
	spawn = hostlink_spawn_cancel(spawn);
	WAIT(&f, f.host.n_spawned == 2); /* it came, and was sent away */
	WAIT(&f, list_is_empty(&f.host.workers));
	CU_ASSERT_EQUAL(c.n, 0);

	CU_ASSERT_EQUAL(hostlink_spawn(h, "", on_spawned, &d, &spawn), 0);
	fakehost_hang_up(&f.host);
	WAIT(&f, d.n == 1);
	CU_ASSERT_STRING_EQUAL(d.error, "the host process went away");
	hostlink_free(h);
}

static void test_hostlink__trusts_few(void)
{
	struct hostlink_config config = { .uid = 0 };
	uid_t other = geteuid() + 4711;

	CU_ASSERT(hostlink_trusts(&config, 0));
	CU_ASSERT(hostlink_trusts(&config, geteuid()));
	CU_ASSERT(!hostlink_trusts(&config, other));
	config.uid = other;
	CU_ASSERT(hostlink_trusts(&config, other));
	CU_ASSERT(!hostlink_trusts(&config, other + 1));
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_hostlink__connects_and_reconnects),
		UNIT_TEST(test_hostlink__closes_when_the_owner_cannot_follow),
		UNIT_TEST(test_hostlink__resyncs_are_gathered),
		UNIT_TEST(test_hostlink__spawns),
		UNIT_TEST(test_hostlink__trusts_few),
	};

	log_set_sink(log_swallow);
	return unit_run("ops_hostlink", tests, ARRAY_LEN(tests));
}
