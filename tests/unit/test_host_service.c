/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The whole host process but for Xen: cores connect to its socket, fake domains
 * come and go, workers are started (a script that sends back what it gets).
 */
#include "services/ops/host/service.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "libcommon/clock.h"
#include "libcommon/link.h"
#include "libcommon/loop.h"
#include "services/ops/host/server.h"
#include "services/ops/host/workers.h"
#include "tests/unit/host_fixture.h"
#include "xenmesh/host/host.pb-c.h"

#define LIMIT_NS (20 * NSEC_PER_SEC)

struct core {
	struct fixture *fixture;
	struct link *link;
	bool is_closed;
	char log[8192]; /* what came, one word a message */
	char domain_log[4096];
	size_t n_table_domains; /* of the newest table */
	uint64_t table_ns;
	uint64_t worker_id;
	bool worker_ok;
	char worker_error[128];
	int worker_fd;
};

struct fixture {
	struct fixture_dir dir;
	char path[96];
	char worker[96];
	sd_event *loop;
	struct fake_hv *hv;
	struct xenstore *xs;
	struct host_service *service;
	struct core cores[2];
};

static void setup(struct fixture *f)
{
	struct host_service_config config;

	*f = (struct fixture){ .hv = fake_hv_new(), .xs = calloc(1, sizeof(struct xenstore)) };
	fixture_dir_make(&f->dir);
	snprintf(f->path, sizeof(f->path), "%s/run/link", f->dir.path);
	snprintf(f->worker, sizeof(f->worker), "%s/worker", f->dir.path);
	fixture_write(&f->dir, "worker", "#!/bin/sh\nexec cat <&3 >&3\n");
	CU_ASSERT_EQUAL(chmod(f->worker, 0755), 0);
	CU_ASSERT_EQUAL(loop_new(&f->loop), 0);
	fake_add(f->hv, 0, 0);
	fake_add(f->hv, 1, 1);
	fake_guest(f->xs, 1, "g1");
	config = (struct host_service_config){
		.hv = &f->hv->hv,
		.xs = f->xs,
		.link = f->path,
		.link_group = (gid_t)-1,
		.worker = f->worker,
		.sysfs_root = f->dir.path,
	};
	CU_ASSERT_EQUAL(host_service_new(&f->service, f->loop, &config), 0);
}

static void teardown(struct fixture *f)
{
	for (size_t i = 0; i < ARRAY_LEN(f->cores); i++) {
		link_free(f->cores[i].link);
	}
	host_service_free(f->service);
	CU_ASSERT_EQUAL(access(f->path, F_OK), -1);
	CU_ASSERT_EQUAL(f->xs->n_watches, 0);
	sd_event_unref(f->loop);
	free(f->xs);
	free(f->hv);
	fixture_dir_remove(&f->dir, "");
}

static void add_word(char *log, size_t size, const char *word)
{
	size_t len = strlen(log);

	snprintf(log + len, size - len, "%s ", word);
}

static void log_domain(struct core *c, const Xenmesh__Host__Domain *domain)
{
	char text[128];

	snprintf(text, sizeof(text), "%u:%s:%u", domain->domid, domain->name,
		 (unsigned int)domain->power_state);
	add_word(c->domain_log, sizeof(c->domain_log), text);
}

static int on_message(struct link *l _unused_, const ProtobufCMessage *base, int fd, void *userdata)
{
	const Xenmesh__Host__FromHost *m = (const void *)base;
	struct core *c = userdata;

	switch (m->body_case) {
	case XENMESH__HOST__FROM_HOST__BODY_HELLO:
		add_word(c->log, sizeof(c->log), "hello");
		break;
	case XENMESH__HOST__FROM_HOST__BODY_STATE:
		add_word(c->log, sizeof(c->log), "state");
		break;
	case XENMESH__HOST__FROM_HOST__BODY_TABLE:
		add_word(c->log, sizeof(c->log), "table");
		c->n_table_domains = m->table->n_domains;
		c->table_ns = m->table->read_ns;
		for (size_t i = 0; i < m->table->n_domains; i++) {
			log_domain(c, m->table->domains[i]);
		}
		break;
	case XENMESH__HOST__FROM_HOST__BODY_DOMAIN:
		log_domain(c, m->domain);
		break;
	case XENMESH__HOST__FROM_HOST__BODY_GONE:
		add_word(c->domain_log, sizeof(c->domain_log), "gone");
		break;
	case XENMESH__HOST__FROM_HOST__BODY_SAMPLE:
		add_word(c->log, sizeof(c->log), "sample");
		break;
	case XENMESH__HOST__FROM_HOST__BODY_WORKER:
		c->worker_id = m->worker->id;
		c->worker_ok = m->worker->ok;
		snprintf(c->worker_error, sizeof(c->worker_error), "%s", m->worker->error);
		c->worker_fd = fd;
		return 0;
	default:
		CU_FAIL("unknown message");
	}
	CU_ASSERT_EQUAL(fd, -1);
	return 0;
}

static void on_closed(struct link *l _unused_, int error _unused_, void *userdata)
{
	struct core *c = userdata;

	c->is_closed = true;
	c->link = link_free(c->link);
}

/* Waits while the backlog is full. */
static int connect_fd(struct fixture *f)
{
	uint64_t end_ns = clock_boot_ns() + LIMIT_NS;
	int fd;

	while ((fd = link_connect(f->path)) == -EAGAIN && clock_boot_ns() < end_ns) {
		sd_event_run(f->loop, 100 * USEC_PER_MSEC);
	}
	CU_ASSERT(fd >= 0);
	return fd;
}

static struct core *connect_core(struct fixture *f, size_t i)
{
	struct core *c = &f->cores[i];

	*c = (struct core){ .fixture = f, .worker_fd = -1 };
	CU_ASSERT_EQUAL(link_new(&c->link, f->loop, connect_fd(f),
				 &xenmesh__host__from_host__descriptor, on_message, on_closed, c),
			0);
	return c;
}

static void send_hello(struct core *c)
{
	Xenmesh__Host__ToHost message = XENMESH__HOST__TO_HOST__INIT;
	Xenmesh__Host__CoreHello hello = XENMESH__HOST__CORE_HELLO__INIT;

	message.body_case = XENMESH__HOST__TO_HOST__BODY_HELLO;
	message.hello = &hello;
	CU_ASSERT_EQUAL(link_send(c->link, &message.base, -1), 0);
}

static void send_spawn(struct core *c, uint64_t id)
{
	Xenmesh__Host__ToHost message = XENMESH__HOST__TO_HOST__INIT;
	Xenmesh__Host__SpawnWorker spawn = XENMESH__HOST__SPAWN_WORKER__INIT;

	spawn.id = id;
	message.body_case = XENMESH__HOST__TO_HOST__BODY_SPAWN_WORKER;
	message.spawn_worker = &spawn;
	CU_ASSERT_EQUAL(link_send(c->link, &message.base, -1), 0);
}

/* Run the loop until the condition holds. */
#define RUN_UNTIL(f, condition)                                                \
	do {                                                                   \
		uint64_t end_ns_ = clock_boot_ns() + LIMIT_NS;                 \
		bool holds_;                                                   \
		while (!(holds_ = (condition)) && clock_boot_ns() < end_ns_) { \
			sd_event_run((f)->loop, 100 * USEC_PER_MSEC);          \
		}                                                              \
		CU_ASSERT(holds_);                                             \
	} while (0)

static void send_resync(struct core *c)
{
	Xenmesh__Host__ToHost message = XENMESH__HOST__TO_HOST__INIT;
	Xenmesh__Host__Resync resync = XENMESH__HOST__RESYNC__INIT;

	message.body_case = XENMESH__HOST__TO_HOST__BODY_RESYNC;
	message.resync = &resync;
	CU_ASSERT_EQUAL(link_send(c->link, &message.base, -1), 0);
}

static void pause_domain(struct fixture *f, unsigned int domid)
{
	xc_domaininfo_t *info = fake_find(f->hv, domid);

	CU_ASSERT_PTR_NOT_NULL(info);
	if (info) {
		info->flags |= XEN_DOMINF_paused;
	}
}

static void test_everything_after_the_hello(void)
{
	struct fixture f;
	struct core *c;

	setup(&f);
	c = connect_core(&f, 0);
	send_hello(c);
	RUN_UNTIL(&f, strstr(c->log, "sample"));
	CU_ASSERT(str_starts(c->log, "hello state table "));
	CU_ASSERT_STRING_EQUAL(c->domain_log, "0:Domain-0:2 1:g1:2 ");
	teardown(&f);
}

static void test_changes(void)
{
	struct fixture f;
	struct core *c;

	setup(&f);
	c = connect_core(&f, 0);
	send_hello(c);
	RUN_UNTIL(&f, strstr(c->log, "table"));
	c->domain_log[0] = '\0';
	/* As xl create does it. */
	fake_add(f.hv, 2, 2);
	fake_guest(f.xs, 2, "g2");
	fake_fire(f.xs, "@introduceDomain");
	RUN_UNTIL(&f, strstr(c->domain_log, "2:g2:2"));
	fake_set(f.xs, "/local/domain/2/name", "other");
	RUN_UNTIL(&f, strstr(c->domain_log, "2:other:2"));
	/* Nothing in xenstore tells of a pause. */
	pause_domain(&f, 2);
	RUN_UNTIL(&f, strstr(c->domain_log, "2:other:3"));
	fake_drop(f.hv, 2);
	fake_fire(f.xs, "@releaseDomain");
	RUN_UNTIL(&f, strstr(c->domain_log, "gone"));
	teardown(&f);
}

static void test_several_cores(void)
{
	struct core *first, *second;
	struct fixture f;

	setup(&f);
	first = connect_core(&f, 0);
	send_hello(first);
	RUN_UNTIL(&f, strstr(first->log, "table"));
	second = connect_core(&f, 1);
	send_hello(second);
	RUN_UNTIL(&f, strstr(second->log, "table"));
	fake_set(f.xs, "/local/domain/1/name", "both");
	RUN_UNTIL(&f, strstr(first->domain_log, "both") && strstr(second->domain_log, "both"));
	/* One asks again, the other does not notice. */
	first->log[0] = second->log[0] = '\0';
	send_resync(first);
	RUN_UNTIL(&f, strstr(first->log, "state table"));
	CU_ASSERT_PTR_NULL(strstr(second->log, "table"));
	/* One goes, the other goes on. */
	first->link = link_free(first->link);
	fake_set(f.xs, "/local/domain/1/name", "alone");
	RUN_UNTIL(&f, strstr(second->domain_log, "alone"));
	teardown(&f);
}

/* The answer is what Xen says after the question, not what was known before. */
static void test_resync_reads_anew(void)
{
	uint64_t asked_ns;
	struct fixture f;
	struct core *c;

	setup(&f);
	c = connect_core(&f, 0);
	send_hello(c);
	RUN_UNTIL(&f, strstr(c->log, "sample")); /* the next scan is a second away */
	CU_ASSERT_EQUAL(c->n_table_domains, 2);
	c->log[0] = c->domain_log[0] = '\0';
	fake_add(f.hv, 2, 2);
	fake_drop(f.hv, 1);
	asked_ns = clock_boot_ns();
	send_resync(c);
	RUN_UNTIL(&f, strstr(c->log, "table"));
	CU_ASSERT_PTR_NULL(strstr(c->log, "sample"));
	CU_ASSERT_EQUAL(c->n_table_domains, 2);
	CU_ASSERT_PTR_NOT_NULL(strstr(c->domain_log, "2::2"));
	CU_ASSERT_PTR_NULL(strstr(c->domain_log, "1:"));
	CU_ASSERT(c->table_ns >= asked_ns && c->table_ns <= clock_boot_ns());
	/* Xen does not answer: what was known, of no age. */
	c->log[0] = '\0';
	f.hv->error = -EIO;
	send_resync(c);
	RUN_UNTIL(&f, strstr(c->log, "table"));
	CU_ASSERT_EQUAL(c->n_table_domains, 2);
	CU_ASSERT_EQUAL(c->table_ns, 0);
	f.hv->error = 0;
	teardown(&f);
}

static void test_xenstored_comes_back(void)
{
	struct fixture f;
	struct core *c;

	setup(&f);
	c = connect_core(&f, 0);
	send_hello(c);
	RUN_UNTIL(&f, strstr(c->log, "table"));
	f.xs->error = -ENOTCONN;
	fake_set(f.xs, "/local/domain/1/name", "meanwhile");
	fake_set(f.xs, "/libxl/1/device/vif/1/backend", "/local/domain/0/backend/vif/1/1");
	c->log[0] = '\0';
	RUN_UNTIL(&f, strstr(c->log, "sample sample"));
	CU_ASSERT_PTR_NULL(strstr(c->domain_log, "meanwhile"));
	f.xs->error = 0;
	f.xs->on_reset(f.xs, f.xs->reset_userdata);
	RUN_UNTIL(&f, strstr(c->domain_log, "1:meanwhile:2"));
	teardown(&f);
}

/* Close it and wait for its end. */
static void end_worker(int fd)
{
	struct timeval limit = { .tv_sec = 20 };
	char byte;

	shutdown(fd, SHUT_WR);
	CU_ASSERT_EQUAL(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	CU_ASSERT_EQUAL(recv(fd, &byte, 1, 0), 0);
	xclose(fd);
}

static void test_worker(void)
{
	struct timeval limit = { .tv_sec = 20 };
	char text[8] = "";
	struct fixture f;
	struct core *c;

	setup(&f);
	c = connect_core(&f, 0);
	send_hello(c);
	send_spawn(c, 77);
	RUN_UNTIL(&f, c->worker_id == 77);
	CU_ASSERT(c->worker_ok);
	CU_ASSERT_STRING_EQUAL(c->worker_error, "");
	CU_ASSERT(c->worker_fd >= 0);
	setsockopt(c->worker_fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	CU_ASSERT_EQUAL(send(c->worker_fd, "ping", 4, 0), 4);
	CU_ASSERT_EQUAL(recv(c->worker_fd, text, sizeof(text), 0), 4);
	CU_ASSERT_STRING_EQUAL(text, "ping");
	end_worker(c->worker_fd);
	teardown(&f);
}

static void test_worker_that_cannot_start(void)
{
	struct fixture f;
	struct core *c;

	setup(&f);
	CU_ASSERT_EQUAL(unlink(f.worker), 0);
	c = connect_core(&f, 0);
	send_hello(c);
	send_spawn(c, 78);
	RUN_UNTIL(&f, c->worker_id == 78);
	CU_ASSERT_FALSE(c->worker_ok);
	CU_ASSERT_PTR_NOT_NULL(strstr(c->worker_error, "No such file"));
	CU_ASSERT_EQUAL(c->worker_fd, -1);
	teardown(&f);
}

static void test_too_many_workers(void)
{
	int fds[HOST_WORKERS_MAX];
	struct fixture f;
	struct core *c;

	setup(&f);
	c = connect_core(&f, 0);
	send_hello(c);
	for (int i = 0; i < HOST_WORKERS_MAX; i++) {
		send_spawn(c, (uint64_t)i + 1);
		RUN_UNTIL(&f, c->worker_id == (uint64_t)i + 1);
		CU_ASSERT(c->worker_ok);
		fds[i] = c->worker_fd;
	}
	send_spawn(c, 1000);
	RUN_UNTIL(&f, c->worker_id == 1000);
	CU_ASSERT_FALSE(c->worker_ok);
	CU_ASSERT_PTR_NOT_NULL(strstr(c->worker_error, "try again later"));
	/* One ends, there is room. */
	shutdown(fds[0], SHUT_WR);
	for (uint64_t id = 1001; !c->worker_ok && id < 2000; id++) {
		send_spawn(c, id);
		RUN_UNTIL(&f, c->worker_id == id);
	}
	CU_ASSERT(c->worker_ok);
	end_worker(c->worker_fd);
	for (int i = 0; i < HOST_WORKERS_MAX; i++) {
		end_worker(fds[i]);
	}
	teardown(&f);
}

static void test_no_hello(void)
{
	struct fixture f;
	struct core *c;

	setup(&f);
	/* Asking before the hello. */
	c = connect_core(&f, 0);
	send_spawn(c, 1);
	RUN_UNTIL(&f, c->is_closed);
	/* Saying nothing. */
	c = connect_core(&f, 0);
	RUN_UNTIL(&f, c->is_closed);
	CU_ASSERT_STRING_EQUAL(c->log, "");
	teardown(&f);
}

static void test_silent_connections(void)
{
	int fds[1000];
	struct fixture f;
	struct core *c;

	setup(&f);
	/* More than there is room for, and half a message on each. */
	for (int i = 0; i < 1000; i++) {
		fds[i] = connect_fd(&f);
		CU_ASSERT_EQUAL(send(fds[i], "\x10\0\0\0x", 5, MSG_NOSIGNAL), 5);
	}
	c = connect_core(&f, 0);
	send_hello(c);
	RUN_UNTIL(&f, strstr(c->log, "table"));
	for (int i = 0; i < 1000; i++) {
		xclose(fds[i]);
	}
	c->log[0] = '\0';
	RUN_UNTIL(&f, strstr(c->log, "sample"));
	teardown(&f);
}

static void test_places_are_limited(void)
{
	struct core *cores = calloc(HOST_PEERS_MAX + 1, sizeof(*cores));
	struct fixture f;

	setup(&f);
	for (int i = 0; i <= HOST_PEERS_MAX; i++) {
		CU_ASSERT_EQUAL(link_new(&cores[i].link, f.loop, link_connect(f.path),
					 &xenmesh__host__from_host__descriptor, on_message,
					 on_closed, &cores[i]),
				0);
		if (i < HOST_PEERS_MAX) {
			send_hello(&cores[i]);
			RUN_UNTIL(&f, strstr(cores[i].log, "table"));
		}
	}
	RUN_UNTIL(&f, cores[HOST_PEERS_MAX].is_closed);
	for (int i = 0; i < HOST_PEERS_MAX; i++) {
		CU_ASSERT_FALSE(cores[i].is_closed);
		link_free(cores[i].link);
	}
	free(cores);
	teardown(&f);
}

static void test_socket_that_cannot_be_made(void)
{
	struct fixture f;
	struct host_service_config config;
	struct host_service *second = NULL;
	char path[128];

	setup(&f);
	config = (struct host_service_config){
		.hv = &f.hv->hv,
		.xs = f.xs,
		.link = f.path,
		.link_group = (gid_t)-1,
		.worker = f.worker,
		.sysfs_root = f.dir.path,
	};
	CU_ASSERT_EQUAL(host_service_new(&second, f.loop, &config), -EADDRINUSE);
	snprintf(path, sizeof(path), "%s/none/none/link", f.dir.path);
	config.link = path;
	CU_ASSERT_EQUAL(host_service_new(&second, f.loop, &config), -ENOENT);
	CU_ASSERT_EQUAL(access(f.path, F_OK), 0);
	teardown(&f);
}

UNIT_MAIN("host_service", UNIT_TEST(test_everything_after_the_hello), UNIT_TEST(test_changes),
	  UNIT_TEST(test_several_cores), UNIT_TEST(test_resync_reads_anew),
	  UNIT_TEST(test_xenstored_comes_back), UNIT_TEST(test_worker),
	  UNIT_TEST(test_worker_that_cannot_start), UNIT_TEST(test_too_many_workers),
	  UNIT_TEST(test_no_hello), UNIT_TEST(test_silent_connections),
	  UNIT_TEST(test_places_are_limited), UNIT_TEST(test_socket_that_cannot_be_made))
