/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A whole service over real sockets: the methods of every service, and what the
 * server does with calls that are wrong, repeated, too many, late or abandoned.
 */
#include "tests/unit/server_util.h"

static void test_bus_methods(void)
{
	const Xenmesh__V1__Reply *reply;
	Xenmesh__V1__PingReply *pong;
	Xenmesh__V1__SetLogLevelReply *level;
	struct fixture f;
	struct peer p;
	uint8_t id[16];

	set_up(&f);
	peer_open(&p, &f, f.url);
	send_call(&p, 7, PING, "\n\2hi", 4, 0);
	reply = wait_reply(&p);
	make_id(id, 7);
	CU_ASSERT(reply->request_id.len == 16 && reply->request_id.data &&
		  memcmp(reply->request_id.data, id, 16) == 0);
	pong = xenmesh__v1__ping_reply__unpack(NULL, reply->payload.len, reply->payload.data);
	CU_ASSERT_STRING_EQUAL(pong->service, "ops");
	CU_ASSERT_EQUAL(pong->echo.len, 2);
	CU_ASSERT_EQUAL(
		memcmp(pong->instance.data, bus_pub_instance(bus_service_pub(f.service)), 16), 0);
	xenmesh__v1__ping_reply__free_unpacked(pong, NULL);
	CU_ASSERT_EQUAL(stat_of(&p, "rpc.Ping.calls"), 1);
	CU_ASSERT_EQUAL(stat_of(&p, "test.started"), 0);
	CU_ASSERT(stat_of(&p, "process.rss_kib") > 1000);
	CU_ASSERT_EQUAL(stat_of(&p, "process.threads"), 1);
	CU_ASSERT(stat_of(&p, "process.fds") > 5);
	CU_ASSERT(stat_of(&p, "process.uptime_s") < 60);
	CU_ASSERT_EQUAL(stat_of(&p, "pub.topics"), 0);
	log_set_level(LOG_LEVEL_WARNING);
	send_call(&p, 8, "xenmesh.v1.Bus/SetLogLevel", "\n\5error", 7, 0);
	reply = wait_reply(&p);
	level = xenmesh__v1__set_log_level_reply__unpack(NULL, reply->payload.len,
							 reply->payload.data);
	CU_ASSERT_STRING_EQUAL(level->previous, "warning");
	CU_ASSERT_EQUAL(log_level(), LOG_LEVEL_ERROR);
	xenmesh__v1__set_log_level_reply__free_unpacked(level, NULL);
	send_call(&p, 9, "xenmesh.v1.Bus/SetLogLevel", "\n\5eeeee", 7, 0);
	CU_ASSERT_EQUAL((int)wait_reply(&p)->code, CODE_INVALID_ARGUMENT);
	log_set_level(LOG_LEVEL_INFO);
	peer_close(&p);
	tear_down(&f);
}

static void test_describe(void)
{
	const Xenmesh__V1__Reply *reply;
	Xenmesh__V1__DescribeReply *d;
	bool has_start = false, has_list = false;
	struct fixture f;
	struct peer p;

	set_up(&f);
	peer_open(&p, &f, f.url);
	send_call(&p, 1, "xenmesh.v1.Bus/Describe", "\10\1", 2, 0);
	reply = wait_reply(&p);
	d = xenmesh__v1__describe_reply__unpack(NULL, reply->payload.len, reply->payload.data);
	CU_ASSERT_STRING_EQUAL(d->service, "ops");
	CU_ASSERT_STRING_EQUAL(d->version, "1.2.3");
	CU_ASSERT_EQUAL(d->pid, (uint32_t)getpid());
	CU_ASSERT_EQUAL(d->n_methods, 7 + ARRAY_LEN(handlers));
	CU_ASSERT_EQUAL(d->descriptors.len, bus_descriptors_len);
	for (size_t i = 0; i < d->n_methods; i++) {
		if (streq(d->methods[i]->name, START)) {
			has_start = d->methods[i]->mutating &&
				    (int)d->methods[i]->role == ROLE_OPERATOR &&
				    streq(d->methods[i]->output, "xenmesh.v1.Task");
		}
		has_list |= streq(d->methods[i]->name, "xenmesh.v1.Ops/ListVms");
	}
	CU_ASSERT(has_start);
	CU_ASSERT_FALSE(has_list);
	xenmesh__v1__describe_reply__free_unpacked(d, NULL);
	peer_close(&p);
	tear_down(&f);
}

static void test_snapshot_and_changes(void)
{
	Xenmesh__V1__Event event = XENMESH__V1__EVENT__INIT;
	Xenmesh__V1__VmState state = XENMESH__V1__VM_STATE__INIT;
	Xenmesh__V1__SnapshotRequest request = XENMESH__V1__SNAPSHOT_REQUEST__INIT;
	const Xenmesh__V1__Reply *reply;
	Xenmesh__V1__ChangesReply *page;
	char *prefixes[BUS_PREFIXES_MAX + 1];
	uint8_t bytes[1024];
	struct fixture f;
	struct peer p;

	set_up(&f);
	event.body_case = XENMESH__V1__EVENT__BODY_VM_STATE;
	event.vm_state = &state;
	CU_ASSERT_EQUAL(bus_pub_publish(bus_service_pub(f.service), "vm/1/state", &event), 0);
	CU_ASSERT_EQUAL(bus_pub_publish(bus_service_pub(f.service), "vm/2/state", &event), 0);
	peer_open(&p, &f, f.url);
	for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
		prefixes[i] = (char *)"vm/2";
	}
	request.prefixes = prefixes;
	request.n_prefixes = 1;
	send_call(&p, 1, "xenmesh.v1.Bus/Snapshot", bytes,
		  xenmesh__v1__snapshot_request__pack(&request, bytes), 0);
	reply = wait_reply(&p);
	page = xenmesh__v1__changes_reply__unpack(NULL, reply->payload.len, reply->payload.data);
	CU_ASSERT(page->full);
	CU_ASSERT_EQUAL(page->n_events, 1);
	CU_ASSERT_EQUAL(page->seq, 2);
	xenmesh__v1__changes_reply__free_unpacked(page, NULL);
	send_call(&p, 2, "xenmesh.v1.Bus/Changes", NULL, 0, 0);
	reply = wait_reply(&p);
	page = xenmesh__v1__changes_reply__unpack(NULL, reply->payload.len, reply->payload.data);
	CU_ASSERT(page->full);
	CU_ASSERT_EQUAL(page->n_events, 2);
	xenmesh__v1__changes_reply__free_unpacked(page, NULL);
	request.n_prefixes = ARRAY_LEN(prefixes);
	send_call(&p, 3, "xenmesh.v1.Bus/Snapshot", bytes,
		  xenmesh__v1__snapshot_request__pack(&request, bytes), 0);
	CU_ASSERT_EQUAL((int)wait_reply(&p)->code, CODE_INVALID_ARGUMENT);
	peer_close(&p);
	tear_down(&f);
}

/* ---- what is refused ---- */

static void test_bad_envelopes(void)
{
	const Xenmesh__V1__Reply *reply;
	static uint8_t bomb[200000];
	struct fixture f;
	struct peer p;

	set_up(&f);
	peer_open(&p, &f, f.url);
	send_raw(&p, "\xff\xff\xff", 3);
	reply = wait_reply(&p);
	CU_ASSERT_EQUAL((int)reply->code, CODE_INVALID_ARGUMENT);
	CU_ASSERT_EQUAL(reply->request_id.len, 0);
	CU_ASSERT(reply->message[0] != '\0');
	send_raw(&p, "", 0);
	CU_ASSERT_EQUAL((int)wait_reply(&p)->code, CODE_INVALID_ARGUMENT);
	send_raw(&p, "\n\3abc\22\1x", 8);
	CU_ASSERT_EQUAL((int)wait_reply(&p)->code, CODE_INVALID_ARGUMENT);
	send_call(&p, 1, "xenmesh.v1.Bus/No\x1b\n", NULL, 0, 0);
	reply = wait_reply(&p);
	CU_ASSERT_EQUAL((int)reply->code, CODE_UNIMPLEMENTED);
	CU_ASSERT_EQUAL(reply->request_id.len, 16);
	CU_ASSERT_PTR_NULL(strchr(reply->message, '\x1b'));
	CU_ASSERT_PTR_NOT_NULL(strstr(reply->message, "Describe"));
	send_call(&p, 2, "Ping", NULL, 0, 0);
	CU_ASSERT_EQUAL((int)wait_reply(&p)->code, CODE_UNIMPLEMENTED);
	send_call(&p, 3, "xenmesh.v1.Ops/ListVms", NULL, 0, 0);
	reply = wait_reply(&p);
	CU_ASSERT_EQUAL((int)reply->code, CODE_UNIMPLEMENTED);
	CU_ASSERT_PTR_NOT_NULL(strstr(reply->message, "'ops'"));
	send_call(&p, 4, START, "\n\5abc", 5, 0);
	CU_ASSERT_EQUAL((int)wait_reply(&p)->code, CODE_INVALID_ARGUMENT);
	send_call(&p, 5, START, "\n\2\xc3\x28", 4, 0);
	reply = wait_reply(&p);
	CU_ASSERT_EQUAL((int)reply->code, CODE_INVALID_ARGUMENT);
	CU_ASSERT_PTR_NOT_NULL(strstr(reply->message, "UTF-8"));
	send_call(&p, 6, "xenmesh.v1.Bus/Snapshot", "\n\1\xff", 3, 0);
	CU_ASSERT_EQUAL((int)wait_reply(&p)->code, CODE_INVALID_ARGUMENT);
	/* 100,000 empty strings unfold to 16 times their bytes and more. */
	for (size_t i = 0; i < sizeof(bomb); i += 2) {
		bomb[i] = '\n';
	}
	send_call(&p, 7, "xenmesh.v1.Bus/Snapshot", bomb, sizeof(bomb), 0);
	CU_ASSERT_EQUAL((int)wait_reply(&p)->code, CODE_INVALID_ARGUMENT);
	CU_ASSERT_EQUAL(f.n_started, 0);
	CU_ASSERT(ping(&p));
	CU_ASSERT_EQUAL(stat_of(&p, "rpc.refused"), 10);
	CU_ASSERT_EQUAL(stat_of(&p, "rpc.in_flight"), 1);
	peer_close(&p);
	tear_down(&f);
}

static void test_handler_answers(void)
{
	const Xenmesh__V1__Reply *reply;
	struct fixture f;
	struct peer p;
	char client[64];

	set_up(&f);
	log_set_level(LOG_LEVEL_ERROR);
	peer_open(&p, &f, f.url);
	CU_ASSERT(is_task(start(&p, 1, "now"), "task-1"));
	snprintf(client, sizeof(client), "test/1? uid=%u", (unsigned int)geteuid());
	CU_ASSERT_STRING_EQUAL(f.client, client);
	reply = start(&p, 2, "fail");
	CU_ASSERT_EQUAL((int)reply->code, CODE_FAILED_PRECONDITION);
	CU_ASSERT_STRING_EQUAL(reply->message, "line 1\nline \\x1b[31m2 \\xff3");
	CU_ASSERT(is_task(start(&p, 3, "twice"), "task-3"));
	CU_ASSERT_EQUAL((int)start(&p, 4, "wrong")->code, CODE_INTERNAL);
	send_call(&p, 5, "xenmesh.v1.Ops/GetVm", NULL, 0, 0);
	CU_ASSERT_EQUAL((int)wait_reply(&p)->code, CODE_RESOURCE_EXHAUSTED);
	bus_run_for(f.loop, 50);
	CU_ASSERT_EQUAL(p.n_replies, 5);
	CU_ASSERT_EQUAL(stat_of(&p, "rpc.StartVm.errors"), 2);
	log_set_level(LOG_LEVEL_INFO);
	peer_close(&p);
	tear_down(&f);
}

static void test_tcp_may_only_read(void)
{
	const Xenmesh__V1__Reply *reply;
	struct fixture f;
	struct peer p;

	set_up(&f);
	log_set_level(LOG_LEVEL_ERROR);
	peer_open(&p, &f, f.tcp_url);
	CU_ASSERT(ping(&p));
	reply = start(&p, 1, "now");
	CU_ASSERT_EQUAL((int)reply->code, CODE_PERMISSION_DENIED);
	CU_ASSERT_PTR_NOT_NULL(strstr(reply->message, "tcp://"));
	send_call(&p, 2, "xenmesh.v1.Bus/SetLogLevel", "\n\5error", 7, 0);
	CU_ASSERT_EQUAL((int)wait_reply(&p)->code, CODE_PERMISSION_DENIED);
	CU_ASSERT_EQUAL(f.n_started, 0);
	CU_ASSERT_EQUAL(stat_of(&p, "rpc.denied"), 2);
	log_set_level(LOG_LEVEL_INFO);
	peer_close(&p);
	tear_down(&f);
}

/* In a process of its own, as another user: one StartVm, the reply goes to stdout. */
static int run_as_other(const char *path)
{
	static const char call[] = "\n\20"
				   "0123456789abcdef"
				   "\22\26" START;
	const uint8_t id[] = { 0x80, 0, 0, 1 };
	const uint8_t hello[] = { 0, 'S', 'P', 0, 0, SP_REQ, 0, 0 };
	uint8_t buffer[8 + 4096];
	int fd = bus_raw_connect(path);
	ssize_t n;

	if (fd < 0 || !bus_raw_send(fd, hello, sizeof(hello)) ||
	    recv(fd, buffer, 8, MSG_WAITALL) != 8 ||
	    !bus_raw_frame(fd, id, sizeof(id), call, sizeof(call) - 1) ||
	    recv(fd, buffer, 9, MSG_WAITALL) != 9) {
		return EXIT_FAILURE;
	}
	n = recv(fd, buffer + 9, ((size_t)buffer[7] << 8 | buffer[8]), MSG_WAITALL);
	close(fd);
	return n > 4 && write(STDOUT_FILENO, buffer + 13, (size_t)n - 4) == n - 4 ? EXIT_SUCCESS
										  : EXIT_FAILURE;
}

static void test_roles(void)
{
	char name[] = "test_server", what[] = "as-other";
	char *const envp[] = { NULL };
	posix_spawn_file_actions_t actions;
	Xenmesh__V1__Reply *reply;
	struct fixture f;
	struct peer p;
	uint8_t buffer[4096];
	int status = -1, fds[2];
	ssize_t n;
	pid_t pid;

	if (geteuid() != 0) {
		puts("skip test_roles: only root can call as another user");
		return;
	}
	set_up(&f);
	log_set_level(LOG_LEVEL_ERROR);
	CU_ASSERT_EQUAL(pipe2(fds, O_CLOEXEC), 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
	CU_ASSERT_EQUAL(posix_spawn(&pid, "/proc/self/exe", &actions, NULL,
				    (char *const[]){ name, what, f.url + 6, NULL }, envp),
			0);
	posix_spawn_file_actions_destroy(&actions);
	while (waitpid(pid, &status, WNOHANG) == 0) {
		sd_event_run(f.loop, 10 * USEC_PER_MSEC);
	}
	CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	n = read(fds[0], buffer, sizeof(buffer));
	reply = n > 0 ? xenmesh__v1__reply__unpack(NULL, (size_t)n, buffer) : NULL;
	CU_ASSERT_PTR_NOT_NULL(reply);
	if (reply) {
		CU_ASSERT_EQUAL((int)reply->code, CODE_PERMISSION_DENIED);
		CU_ASSERT_PTR_NOT_NULL(strstr(reply->message, "role operator"));
		CU_ASSERT_PTR_NOT_NULL(strstr(reply->message, "process of uid 65534 has observer"));
		CU_ASSERT_PTR_NOT_NULL(strstr(reply->message, "topology.conf"));
		xenmesh__v1__reply__free_unpacked(reply, NULL);
	}
	close(fds[0]);
	close(fds[1]);
	CU_ASSERT_EQUAL(f.n_started, 0);
	peer_open(&p, &f, f.url);
	CU_ASSERT_EQUAL(stat_of(&p, "rpc.denied"), 1);
	peer_close(&p);
	log_set_level(LOG_LEVEL_INFO);
	tear_down(&f);
}

/* ---- load, time, departure ---- */

static void test_in_flight_limits(void)
{
	const Xenmesh__V1__Reply *reply;
	struct fixture f;
	struct peer p, q;

	set_up(&f);
	peer_open(&p, &f, f.url);
	peer_open(&q, &f, f.url);
	for (uint32_t i = 0; i < BUS_INFLIGHT_PER_PEER; i++) {
		send_wait(&p, 100 + i, "keep", 0);
	}
	CU_ASSERT(bus_run_until(f.loop, &f.n_kept, BUS_INFLIGHT_PER_PEER, 3000));
	send_wait(&p, 1, "keep", 0);
	reply = wait_reply(&p);
	CU_ASSERT_EQUAL((int)reply->code, CODE_RESOURCE_EXHAUSTED);
	CU_ASSERT_PTR_NOT_NULL(strstr(reply->message, "this connection has 64 calls in flight"));
	CU_ASSERT_PTR_NOT_NULL(strstr(reply->message, "WaitTask is 64"));
	/* What is essential is answered all the same, and slow calls of one delay nobody else. */
	CU_ASSERT(ping(&p));
	CU_ASSERT(ping(&q));
	CU_ASSERT_EQUAL(stat_of(&q, "rpc.in_flight"), BUS_INFLIGHT_PER_PEER + 1);
	for (size_t i = 0; i < f.n_kept; i++) {
		reply_task(f.kept[i], "late");
	}
	CU_ASSERT(bus_run_until(f.loop, &p.n_replies, 2 + BUS_INFLIGHT_PER_PEER, 3000));
	CU_ASSERT(ping(&p));
	peer_close(&q);
	peer_close(&p);
	tear_down(&f);
}

/* A user that waits with all its connections gets its share of the calls and no more. */
static void test_in_flight_limit_of_a_user(void)
{
	enum { SHARE = BUS_INFLIGHT_MAX / 2, N = SHARE / BUS_INFLIGHT_PER_PEER };
	static struct peer peers[N];
	const Xenmesh__V1__Reply *reply;
	struct fixture f;
	struct peer p;

	set_up(&f);
	for (size_t i = 0; i < N; i++) {
		peer_open(&peers[i], &f, f.url);
		for (uint32_t j = 0; j < BUS_INFLIGHT_PER_PEER; j++) {
			send_wait(&peers[i], (uint32_t)(1000 * i + j), "keep", 0);
		}
	}
	CU_ASSERT(bus_run_until(f.loop, &f.n_kept, SHARE, 5000));
	peer_open(&p, &f, f.url);
	send_wait(&p, 1, "keep", 0);
	reply = wait_reply(&p);
	CU_ASSERT_EQUAL((int)reply->code, CODE_RESOURCE_EXHAUSTED);
	CU_ASSERT_PTR_NOT_NULL(strstr(reply->message, "512 of them of this user"));
	CU_ASSERT_PTR_NOT_NULL(strstr(reply->message, "limit is 512 now"));
	CU_ASSERT(ping(&p));
	CU_ASSERT_EQUAL(f.n_kept, SHARE);
	CU_ASSERT_EQUAL(stat_of(&p, "rpc.shed"), 1);
	CU_ASSERT_EQUAL(stat_of(&p, "rpc.from_reserve"), 3);
	CU_ASSERT_EQUAL(stat_of(&p, "rpc.in_flight"), SHARE + 1);
	for (size_t i = 0; i < SHARE; i++) {
		reply_task(f.kept[i], "done");
	}
	send_wait(&p, 2, "keep", 0);
	CU_ASSERT(bus_run_until(f.loop, &f.n_kept, SHARE + 1, 3000));
	reply_task(f.kept[SHARE], "done");
	for (size_t i = 0; i < N; i++) {
		peer_close(&peers[i]);
	}
	peer_close(&p);
	tear_down(&f);
}

/* Large requests that are kept are bounded by their memory, not by their number only. */
static void test_memory_of_a_user(void)
{
	enum { SIZE = 1000000, N = BUS_INFLIGHT_PER_PEER };
	static uint8_t payload[SIZE + 4];
	size_t n_refused = 0;
	struct fixture f;
	struct peer p;

	memset(payload, 'x', sizeof(payload));
	payload[0] = 0x0a; /* id, its length as a varint */
	payload[1] = 0x80 | (SIZE & 0x7f);
	payload[2] = 0x80 | (SIZE >> 7 & 0x7f);
	payload[3] = SIZE >> 14;
	set_up(&f);
	peer_open(&p, &f, f.url);
	for (uint32_t i = 0; i < N; i++) {
		send_call(&p, 100 + i, WAIT, payload, sizeof(payload), 0);
		for (int j = 0; j < 2500 && f.n_kept + p.n_replies <= i; j++) {
			bus_run_for(f.loop, 2);
		}
	}
	CU_ASSERT_EQUAL(f.n_kept + p.n_replies, N);
	CU_ASSERT(f.n_kept >= 16);
	for (size_t i = 0; i < p.n_replies; i++) {
		n_refused += p.replies[i]->code == XENMESH__V1__CODE__CODE_RESOURCE_EXHAUSTED &&
			     strstr(p.replies[i]->message, "bytes in memory");
	}
	CU_ASSERT_EQUAL(n_refused, p.n_replies);
	CU_ASSERT(n_refused > 0);
	CU_ASSERT(ping(&p));
	for (size_t i = 0; i < f.n_kept; i++) {
		reply_task(f.kept[i], "done");
	}
	send_call(&p, 1, WAIT, payload, sizeof(payload), 0);
	CU_ASSERT(bus_run_until(f.loop, &f.n_kept, f.n_kept + 1, 3000));
	reply_task(f.kept[f.n_kept - 1], "done");
	peer_close(&p);
	tear_down(&f);
}

static void test_deadlines(void)
{
	struct fixture f;
	struct peer p;

	set_up(&f);
	peer_open(&p, &f, f.url);
	send_wait(&p, 1, "cancel", 100);
	CU_ASSERT_EQUAL((int)wait_reply(&p)->code, CODE_DEADLINE_EXCEEDED);
	CU_ASSERT_EQUAL(f.n_cancelled, 1);
	/* Without on_cancel the handler may still answer; nobody hears it. */
	send_wait(&p, 2, "keep", 100);
	CU_ASSERT_EQUAL((int)wait_reply(&p)->code, CODE_DEADLINE_EXCEEDED);
	CU_ASSERT_EQUAL(f.n_kept, 2);
	reply_task(f.kept[1], "late");
	bus_run_for(f.loop, 50);
	CU_ASSERT_EQUAL(p.n_replies, 2);
	/* What was begun is not begun again, with or without on_cancel, and that it took long is
	 * not how it ended. */
	send_start(&p, 3, "cancel", 100);
	CU_ASSERT_EQUAL((int)wait_reply(&p)->code, CODE_DEADLINE_EXCEEDED);
	CU_ASSERT_EQUAL(f.n_cancelled, 1);
	send_start(&p, 3, "cancel", 100);
	CU_ASSERT_EQUAL((int)wait_reply(&p)->code, CODE_DEADLINE_EXCEEDED);
	CU_ASSERT_EQUAL(f.n_started, 1);
	reply_task(f.kept[2], "ended");
	CU_ASSERT(is_task(start(&p, 3, "cancel"), "ended"));
	CU_ASSERT_EQUAL(f.n_started, 1);
	send_start(&p, 4, "keep", 100);
	CU_ASSERT_EQUAL((int)wait_reply(&p)->code, CODE_DEADLINE_EXCEEDED);
	send_start(&p, 4, "keep", 100);
	CU_ASSERT_EQUAL((int)wait_reply(&p)->code, CODE_DEADLINE_EXCEEDED);
	CU_ASSERT_EQUAL(f.n_started, 2);
	reply_task(f.kept[f.n_kept - 1], "done");
	CU_ASSERT(is_task(start(&p, 4, "keep"), "done"));
	CU_ASSERT_EQUAL(f.n_started, 2);
	CU_ASSERT_EQUAL(stat_of(&p, "rpc.in_flight"), 1);
	peer_close(&p);
	tear_down(&f);
}

static void test_peer_goes(void)
{
	struct fixture f;
	struct peer p, q;

	set_up(&f);
	peer_open(&q, &f, f.url);
	peer_open(&p, &f, f.url);
	send_wait(&p, 1, "cancel", 0);
	send_wait(&p, 2, "keep", 0);
	send_start(&p, 3, "cancel", 0);
	CU_ASSERT(bus_run_until(f.loop, &f.n_kept, 3, 3000));
	peer_close(&p);
	CU_ASSERT(bus_run_until(f.loop, &f.n_cancelled, 1, 3000));
	/* The mutating one works on, and its caller's repeat gets the answer. */
	CU_ASSERT_EQUAL(f.n_cancelled, 1);
	CU_ASSERT_PTR_NULL(f.kept[0]);
	reply_task(f.kept[1], "nobody hears this");
	send_start(&q, 3, "cancel", 0);
	bus_run_for(f.loop, 50);
	CU_ASSERT_EQUAL(q.n_replies, 0);
	reply_task(f.kept[2], "heard");
	CU_ASSERT(is_task(wait_reply(&q), "heard"));
	CU_ASSERT_EQUAL(f.n_started, 1);
	CU_ASSERT_EQUAL(stat_of(&q, "rpc.in_flight"), 1);
	CU_ASSERT_EQUAL(stat_of(&q, "rpc.abandoned"), 3);
	peer_close(&q);
	tear_down(&f);
}

static void test_repeats(void)
{
	struct fixture f;
	struct peer p, q;

	set_up(&f);
	peer_open(&p, &f, f.url);
	peer_open(&q, &f, f.url);
	CU_ASSERT(is_task(start(&p, 1, "now"), "task-1"));
	CU_ASSERT(is_task(start(&q, 1, "now"), "task-1"));
	CU_ASSERT_EQUAL((int)start(&q, 1, "other")->code, CODE_INVALID_ARGUMENT);
	CU_ASSERT(is_task(start(&q, 2, "now"), "task-2"));
	CU_ASSERT_EQUAL((int)start(&p, 3, "fail")->code, CODE_FAILED_PRECONDITION);
	CU_ASSERT_EQUAL((int)start(&p, 3, "fail")->code, CODE_FAILED_PRECONDITION);
	CU_ASSERT_EQUAL(f.n_started, 3);
	/* "Ask again" is asked again. */
	CU_ASSERT_EQUAL((int)start(&p, 4, "busy")->code, CODE_UNAVAILABLE);
	CU_ASSERT_EQUAL((int)start(&p, 4, "busy")->code, CODE_UNAVAILABLE);
	CU_ASSERT_EQUAL(f.n_started, 5);
	/* While it runs, all wait for one answer. */
	send_start(&p, 5, "keep", 0);
	CU_ASSERT(bus_run_until(f.loop, &f.n_kept, 1, 3000));
	send_start(&p, 5, "keep", 0);
	send_start(&q, 5, "keep", 0);
	CU_ASSERT_EQUAL((int)start(&q, 5, "other")->code, CODE_INVALID_ARGUMENT);
	send_start(&q, 5, "keep", 50);
	CU_ASSERT_EQUAL((int)wait_reply(&q)->code, CODE_DEADLINE_EXCEEDED);
	forget_replies(&p);
	forget_replies(&q);
	reply_task(f.kept[0], "all");
	CU_ASSERT(bus_run_until(f.loop, &p.n_replies, 2, 3000));
	CU_ASSERT(bus_run_until(f.loop, &q.n_replies, 1, 3000));
	CU_ASSERT(is_task(p.replies[0], "all") && is_task(p.replies[1], "all"));
	CU_ASSERT(is_task(q.replies[0], "all"));
	CU_ASSERT_EQUAL(f.n_started, 6);
	CU_ASSERT_EQUAL(stat_of(&q, "rpc.in_flight"), 1);
	peer_close(&p);
	peer_close(&q);
	tear_down(&f);
}

static void test_free_with_calls(void)
{
	struct fixture f;
	struct peer p;

	set_up(&f);
	peer_open(&p, &f, f.url);
	send_wait(&p, 1, "cancel", 0);
	send_start(&p, 2, "cancel", 0);
	send_start(&p, 2, "cancel", 0);
	send_wait(&p, 3, "keep", 0);
	CU_ASSERT(bus_run_until(f.loop, &f.n_kept, 3, 3000));
	f.service = bus_service_free(f.service);
	CU_ASSERT_EQUAL(f.n_cancelled, 2);
	peer_close(&p);
	tear_down(&f);
}

/* ---- a store that outlives the service ---- */

/* One file an answer, named by its request id: fingerprint, then the reply. */
struct file_store {
	char dir[80];
	bool is_broken, is_full;
};

static void file_name(const struct file_store *s, const uint8_t id[16], char out[static 128])
{
	int n = snprintf(out, 128, "%s/", s->dir);

	for (int i = 0; i < 16; i++) {
		n += snprintf(out + n, 128 - (size_t)n, "%02x", id[i]);
	}
}

static int file_find(void *userdata, const uint8_t id[16], const uint8_t fingerprint[16],
		     uint8_t **reply, size_t *len)
{
	char path[128];
	uint8_t bytes[4096];
	FILE *file;
	size_t n;

	file_name(userdata, id, path);
	file = fopen(path, "re");
	if (!file) {
		return 1;
	}
	n = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	if (n < 16 || memcmp(bytes, fingerprint, 16) != 0) {
		return 2;
	}
	*len = n - 16;
	*reply = malloc(*len);
	memcpy(*reply, bytes + 16, *len);
	return 0;
}

static int file_save(void *userdata, const uint8_t id[16], const uint8_t fingerprint[16],
		     const uint8_t *reply, size_t len)
{
	struct file_store *s = userdata;
	char path[128];
	FILE *file;

	if (s->is_broken) {
		return -EIO;
	}
	if (s->is_full) {
		return 1;
	}
	file_name(s, id, path);
	file = fopen(path, "we");
	fwrite(fingerprint, 1, 16, file);
	fwrite(reply, 1, len, file);
	fclose(file);
	return 0;
}

static void test_repeats_across_restart(void)
{
	struct file_store store = { 0 };
	const struct bus_dedup dedup = { file_find, file_save, &store };
	struct fixture f;
	struct peer p;

	set_up(&f);
	f.service = bus_service_free(f.service);
	f.dedup = &dedup;
	snprintf(store.dir, sizeof(store.dir), "%s/answers", f.dir.path);
	CU_ASSERT_EQUAL(mkdir(store.dir, 0700), 0);
	CU_ASSERT_EQUAL(start_service(&f), 0);
	peer_open(&p, &f, f.url);
	CU_ASSERT(is_task(start(&p, 1, "now"), "task-1"));
	f.service = bus_service_free(f.service);
	CU_ASSERT_EQUAL(start_service(&f), 0);
	CU_ASSERT(bus_run_until(f.loop, &p.n_up, 2, 5000));
	CU_ASSERT(is_task(start(&p, 1, "now"), "task-1"));
	CU_ASSERT_EQUAL((int)start(&p, 1, "other")->code, CODE_INVALID_ARGUMENT);
	CU_ASSERT_EQUAL(f.n_started, 1);
	/* What cannot be recorded is not called done. */
	log_set_level(LOG_LEVEL_ERROR);
	store.is_broken = true;
	CU_ASSERT_EQUAL((int)start(&p, 2, "now")->code, CODE_INTERNAL);
	CU_ASSERT_EQUAL(f.n_started, 2);
	store.is_broken = false;
	store.is_full = true;
	CU_ASSERT_EQUAL((int)start(&p, 3, "now")->code, CODE_RESOURCE_EXHAUSTED);
	log_set_level(LOG_LEVEL_INFO);
	peer_close(&p);
	tear_down(&f);
}

static void test_wrong_configuration(void)
{
	static const struct bus_handler unknown[] = { { "xenmesh.v1.Ops/Nothing", on_start } };
	struct bus_service_config config = { .name = "nobody", .handlers = unknown };
	struct bus_service *second = NULL;
	struct fixture f;

	set_up(&f);
	log_set_level(LOG_LEVEL_ERROR);
	config.topology = f.topology;
	CU_ASSERT_EQUAL(bus_service_new(&second, f.loop, &config), -ENOENT);
	config.name = "ops";
	CU_ASSERT_EQUAL(bus_service_new(&second, f.loop, &config), -EADDRINUSE);
	f.service = bus_service_free(f.service);
	config.n_handlers = 1;
	CU_ASSERT_EQUAL(bus_service_new(&second, f.loop, &config), -EINVAL);
	config.n_handlers = 0;
	CU_ASSERT_EQUAL(bus_service_new(&second, f.loop, &config), 0);
	bus_service_free(second);
	log_set_level(LOG_LEVEL_INFO);
	tear_down(&f);
}

static int extra_option(const char *name, const char *value, void *userdata)
{
	const char **got = userdata;

	if (streq(name, "--dir")) {
		*got = value;
		return 1;
	}
	return streq(name, "--flag") ? 0 : -EINVAL;
}

static void test_arguments(void)
{
	static const struct {
		const char *argv[6];
		int result, status;
	} table[] = {
		{ { "p" }, 0, 0 },
		{ { "p", "--topology", "t", "--dir", "d", "--flag" }, 0, 0 },
		{ { "p", "--topology=t", "--dir=d", "--log-level=info" }, 0, 0 },
		{ { "p", "--topology" }, 1, 2 },
		{ { "p", "--dir" }, 1, 2 },
		{ { "p", "--flag=1" }, 1, 2 },
		{ { "p", "--unknown" }, 1, 2 },
		{ { "p", "word" }, 1, 2 },
		{ { "p", "--log-level", "loud" }, 1, 2 },
		{ { "p", "--version" }, 1, 0 },
		{ { "p", "--help", "--unknown" }, 1, 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		const char *dir = NULL;
		struct bus_args args = { .program = "p", .extra = extra_option, .userdata = &dir };
		int argc = 0, status = -1;

		while (argc < 6 && table[i].argv[argc]) {
			argc++;
		}
		CU_ASSERT_EQUAL(bus_args_parse(&args, argc, (char **)table[i].argv, &status),
				table[i].result);
		CU_ASSERT_EQUAL(status, table[i].status);
		if (i == 1 || i == 2) {
			CU_ASSERT(args.topology_path && streq(args.topology_path, "t"));
			CU_ASSERT(dir && streq(dir, "d"));
		}
	}
}

int main(int argc, char **argv)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_bus_methods),
		UNIT_TEST(test_describe),
		UNIT_TEST(test_snapshot_and_changes),
		UNIT_TEST(test_bad_envelopes),
		UNIT_TEST(test_handler_answers),
		UNIT_TEST(test_tcp_may_only_read),
		UNIT_TEST(test_roles),
		UNIT_TEST(test_in_flight_limits),
		UNIT_TEST(test_in_flight_limit_of_a_user),
		UNIT_TEST(test_memory_of_a_user),
		UNIT_TEST(test_deadlines),
		UNIT_TEST(test_peer_goes),
		UNIT_TEST(test_repeats),
		UNIT_TEST(test_free_with_calls),
		UNIT_TEST(test_repeats_across_restart),
		UNIT_TEST(test_wrong_configuration),
		UNIT_TEST(test_arguments),
	};
	int status;

	log_init("test_server");
	if (argc > 2 && streq(argv[1], "as-other")) {
		return setgid(65534) == 0 && setuid(65534) == 0 ? run_as_other(argv[2])
								: EXIT_FAILURE;
	}
	status = unit_run("server", tests, ARRAY_LEN(tests));
	nng_fini();
	return status;
}
