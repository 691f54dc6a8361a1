/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two ends in one loop, or one end against a raw socket that plays a hostile peer.
 */
#include "libcommon/link.h"

#include <endian.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "libcommon/clock.h"
#include "libcommon/loop.h"
#include "libcommon/strbuf.h"
#include "tests/unit/unit.h"
#include "xenmesh/host/host.pb-c.h"

#define PATIENCE_NS (20 * NSEC_PER_SEC)

struct end {
	struct link *link;
	int raw;	   /* when there is no link */
	struct strbuf got; /* "text@fd;" a message */
	unsigned int n_messages;
	unsigned int n_closed;
	int error;
	int result; /* of on_message */
	bool is_freed_by_message;
	bool is_answering;
};

struct fixture {
	sd_event *loop;
	struct end a, b;
};

static int send_text(struct link *l, const char *text, int fd)
{
	Xenmesh__Host__Resync resync = XENMESH__HOST__RESYNC__INIT;
	Xenmesh__Host__ToHost message = XENMESH__HOST__TO_HOST__INIT;

	resync.reason = (char *)text;
	message.body_case = XENMESH__HOST__TO_HOST__BODY_RESYNC;
	message.resync = &resync;
	return link_send(l, &message.base, fd);
}

static int on_message(struct link *l, const ProtobufCMessage *message, int fd, void *userdata)
{
	const Xenmesh__Host__ToHost *m = (const void *)message;
	struct end *e = userdata;

	CU_ASSERT_PTR_EQUAL(l, e->link);
	CU_ASSERT_PTR_EQUAL(message->descriptor, &xenmesh__host__to_host__descriptor);
	e->n_messages++;
	if (m->body_case == XENMESH__HOST__TO_HOST__BODY_RESYNC && strlen(m->resync->reason) < 80) {
		strbuf_printf(&e->got, "%s%s;", m->resync->reason, fd >= 0 ? "@fd" : "");
	}
	if (fd >= 0) {
		CU_ASSERT_TRUE(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		close(fd);
	}
	if (e->is_answering) {
		CU_ASSERT_EQUAL(send_text(l, "answer", -1), 0);
	}
	if (e->is_freed_by_message) {
		e->link = link_free(e->link);
		CU_ASSERT_STRING_EQUAL(m->resync->reason, "free");
	}
	return e->result;
}

static void on_closed(struct link *l, int error, void *userdata)
{
	struct end *e = userdata;

	CU_ASSERT_PTR_EQUAL(l, e->link);
	e->n_closed++;
	e->error = error;
	e->link = link_free(e->link);
}

static void make_end(struct fixture *f, struct end *e, int fd,
		     const ProtobufCMessageDescriptor *type)
{
	*e = (struct end){ .raw = -1 };
	if (!type) {
		e->raw = fd;
	} else if (link_new(&e->link, f->loop, fd, type, on_message, on_closed, e) < 0) {
		abort();
	}
}

static void set_up(struct fixture *f, bool b_is_raw)
{
	int fds[2];

	*f = (struct fixture){ 0 };
	if (loop_new(&f->loop) < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
		abort();
	}
	make_end(f, &f->a, fds[0], &xenmesh__host__to_host__descriptor);
	make_end(f, &f->b, fds[1], b_is_raw ? NULL : &xenmesh__host__to_host__descriptor);
}

static void tear_down(struct fixture *f)
{
	struct end *ends[] = { &f->a, &f->b };

	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		ends[i]->link = link_free(ends[i]->link);
		ends[i]->raw = xclose(ends[i]->raw);
		strbuf_deinit(&ends[i]->got);
	}
	sd_event_unref(f->loop);
}

/* Run the loop until *counter reaches n. */
static void run_until(struct fixture *f, const unsigned int *counter, unsigned int n)
{
	uint64_t end_ns = clock_boot_ns() + PATIENCE_NS;

	while (*counter < n) {
		if (clock_boot_ns() > end_ns || sd_event_run(f->loop, USEC_PER_SEC) < 0) {
			CU_FAIL("what was waited for did not happen");
			return;
		}
	}
}

/* Run whatever is ready now. */
static void run_ready(struct fixture *f)
{
	while (sd_event_run(f->loop, 0) > 0) {
	}
}

static int n_open_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++) {
		n += fcntl(fd, F_GETFD) >= 0;
	}
	return n;
}

/* ---- two links ---- */

static void test_messages_in_order(void)
{
	_cleanup_(strbuf_deinit) struct strbuf expected = STRBUF_NULL;
	struct fixture f;
	char text[16];

	set_up(&f, false);
	f.b.is_answering = true;
	for (int i = 0; i < 500; i++) {
		snprintf(text, sizeof(text), "%d", i);
		CU_ASSERT_EQUAL(send_text(f.a.link, text, -1), 0);
		strbuf_printf(&expected, "%s;", text);
	}
	run_until(&f, &f.b.n_messages, 500);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&f.b.got), strbuf_str(&expected));
	run_until(&f, &f.a.n_messages, 500);
	CU_ASSERT_EQUAL(f.a.n_closed + f.b.n_closed, 0);
	tear_down(&f);
}

static void test_fds_stay_with_their_messages(void)
{
	struct fixture f;
	int n = n_open_fds();

	set_up(&f, false);
	CU_ASSERT_EQUAL(send_text(f.a.link, "1", -1), 0);
	CU_ASSERT_EQUAL(send_text(f.a.link, "2", open("/dev/null", O_RDONLY)), 0);
	CU_ASSERT_EQUAL(send_text(f.a.link, "3", open("/dev/null", O_RDONLY)), 0);
	CU_ASSERT_EQUAL(send_text(f.a.link, "4", -1), 0);
	CU_ASSERT_EQUAL(send_text(f.a.link, "5", open("/dev/null", O_RDONLY)), 0);
	run_until(&f, &f.b.n_messages, 5);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&f.b.got), "1;2@fd;3@fd;4;5@fd;");
	tear_down(&f);
	CU_ASSERT_EQUAL(n_open_fds(), n);
}

/* More than the socket holds, so that it goes out in pieces as the other end reads. */
static void test_big_messages_and_fds(void)
{
	static char big[4 << 20];
	struct fixture f;
	int n = n_open_fds();

	memset(big, 'x', sizeof(big) - 1);
	set_up(&f, false);
	for (int i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(send_text(f.a.link, big, open("/dev/null", O_RDONLY)), 0);
		CU_ASSERT_EQUAL(send_text(f.a.link, "small", i % 2 ? -1 : dup(0)), 0);
	}
	run_until(&f, &f.b.n_messages, 6);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&f.b.got), "small@fd;small;small@fd;");
	/* Idle: nothing wakes the loop. */
	run_ready(&f);
	CU_ASSERT_EQUAL(sd_event_run(f.loop, 0), 0);
	tear_down(&f);
	CU_ASSERT_EQUAL(n_open_fds(), n);
}

static void test_close_by_peer(void)
{
	struct fixture f;

	set_up(&f, false);
	CU_ASSERT_EQUAL(send_text(f.a.link, "last words", -1), 0);
	f.a.link = link_free(f.a.link);
	run_until(&f, &f.b.n_closed, 1);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&f.b.got), "last words;");
	CU_ASSERT_EQUAL(f.b.error, 0);
	run_ready(&f);
	CU_ASSERT_EQUAL(f.b.n_closed, 1);
	tear_down(&f);
}

/* Our own sending fails first, what the peer said before must still come. */
static void test_last_words_after_epipe(void)
{
	struct fixture f;

	set_up(&f, false);
	CU_ASSERT_EQUAL(send_text(f.a.link, "last words", -1), 0);
	f.a.link = link_free(f.a.link);
	CU_ASSERT_EQUAL(send_text(f.b.link, "too late", open("/dev/null", O_RDONLY)), 0);
	CU_ASSERT_EQUAL(send_text(f.b.link, "too late", open("/dev/null", O_RDONLY)), -EPIPE);
	CU_ASSERT_EQUAL(link_flush(f.b.link, 1000), -EPIPE);
	run_until(&f, &f.b.n_closed, 1);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&f.b.got), "last words;");
	tear_down(&f);
}

static void test_callback_closes(void)
{
	struct fixture f;

	set_up(&f, false);
	f.b.result = -EACCES;
	send_text(f.a.link, "1", -1);
	send_text(f.a.link, "2", -1);
	run_until(&f, &f.b.n_closed, 1);
	CU_ASSERT_EQUAL(f.b.error, -EACCES);
	CU_ASSERT_EQUAL(f.b.n_messages, 1);
	run_until(&f, &f.a.n_closed, 1);
	tear_down(&f);
}

static void test_callback_frees(void)
{
	struct fixture f;

	set_up(&f, false);
	f.b.is_freed_by_message = true;
	send_text(f.a.link, "free", -1);
	send_text(f.a.link, "never read", open("/dev/null", O_RDONLY));
	run_until(&f, &f.b.n_messages, 1);
	run_until(&f, &f.a.n_closed, 1);
	CU_ASSERT_EQUAL(f.b.n_messages, 1);
	CU_ASSERT_EQUAL(f.b.n_closed, 0);
	tear_down(&f);
}

static void test_queue_is_bounded(void)
{
	static char big[LINK_MESSAGE_MAX - 64];
	struct fixture f;
	int r = 0, n = 0;

	memset(big, 'x', sizeof(big) - 1);
	set_up(&f, true);
	for (; r == 0 && n < 10; n++) {
		r = send_text(f.a.link, big, -1);
	}
	CU_ASSERT_EQUAL(r, -ENOBUFS);
	CU_ASSERT_EQUAL(n, LINK_QUEUE_MAX / LINK_MESSAGE_MAX + 1);
	CU_ASSERT_EQUAL(f.a.n_closed, 0); /* never from inside */
	CU_ASSERT_EQUAL(send_text(f.a.link, "x", -1), -EPIPE);
	run_until(&f, &f.a.n_closed, 1);
	CU_ASSERT_EQUAL(f.a.error, -ENOBUFS);
	tear_down(&f);
}

static void test_send_refuses(void)
{
	static char big[LINK_MESSAGE_MAX];
	Xenmesh__Host__DomainTable broken = XENMESH__HOST__DOMAIN_TABLE__INIT;
	Xenmesh__Host__Domain *domains[] = { NULL };
	struct fixture f;
	int n = n_open_fds();

	memset(big, 'x', sizeof(big) - 1);
	set_up(&f, false);
	CU_ASSERT_EQUAL(send_text(f.a.link, big, open("/dev/null", O_RDONLY)), -EMSGSIZE);
	broken.n_domains = 1;
	broken.domains = domains;
	CU_ASSERT_EQUAL(link_send(f.a.link, &broken.base, open("/dev/null", O_RDONLY)), -EINVAL);
	CU_ASSERT_EQUAL(send_text(f.a.link, "fine", -1), 0);
	run_until(&f, &f.b.n_messages, 1);
	tear_down(&f);
	CU_ASSERT_EQUAL(n_open_fds(), n);
}

static void test_flush(void)
{
	static char big[4 << 20];
	struct fixture f;
	ssize_t n = 1;
	size_t total = 0;

	memset(big, 'x', sizeof(big) - 1);
	set_up(&f, true);
	CU_ASSERT_EQUAL(link_flush(f.a.link, 0), 0);
	CU_ASSERT_EQUAL(send_text(f.a.link, big, -1), 0);
	CU_ASSERT_EQUAL(link_flush(f.a.link, 1), -ETIMEDOUT);
	for (; n > 0; total += (size_t)n) {
		char block[65536];

		n = recv(f.b.raw, block, sizeof(block), MSG_DONTWAIT);
		n = MAX(n, 0);
		link_flush(f.a.link, 0);
	}
	CU_ASSERT_EQUAL(link_flush(f.a.link, 0), 0);
	CU_ASSERT_TRUE(total > sizeof(big));
	tear_down(&f);
}

/* ---- a hostile peer ---- */

static void put_raw(struct fixture *f, uint32_t len, const void *data, size_t data_len)
{
	len = htole32(len);
	CU_ASSERT_EQUAL(send(f->b.raw, &len, sizeof(len), MSG_NOSIGNAL), sizeof(len));
	if (data_len > 0) {
		CU_ASSERT_EQUAL(send(f->b.raw, data, data_len, MSG_NOSIGNAL), (ssize_t)data_len);
	}
}

static void check_closed(struct fixture *f, int error)
{
	run_until(f, &f->a.n_closed, 1);
	CU_ASSERT_EQUAL(f->a.error, error);
	tear_down(f);
}

static const uint8_t hello[] = { 0x1a, 0x04, 0x0a, 0x02, 'h', 'i' }; /* resync.reason = "hi" */

static void test_byte_by_byte(void)
{
	struct fixture f;
	uint8_t bytes[4 + sizeof(hello)] = { sizeof(hello) };

	memcpy(bytes + 4, hello, sizeof(hello));
	set_up(&f, true);
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < sizeof(bytes); i++) {
			CU_ASSERT_EQUAL(send(f.b.raw, bytes + i, 1, MSG_NOSIGNAL), 1);
			run_ready(&f);
		}
	}
	put_raw(&f, 0, NULL, 0); /* an empty message is one */
	run_until(&f, &f.a.n_messages, 3);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&f.a.got), "hi;hi;");
	tear_down(&f);
}

static void test_too_long(void)
{
	struct fixture f;

	set_up(&f, true);
	put_raw(&f, LINK_MESSAGE_MAX + 1, NULL, 0);
	check_closed(&f, -EMSGSIZE);
}

static void test_garbage(void)
{
	struct fixture f;

	set_up(&f, true);
	put_raw(&f, 3, "\xff\xff\xff", 3);
	check_closed(&f, -EBADMSG);
}

static void test_cut_off(void)
{
	struct fixture f;

	set_up(&f, true);
	put_raw(&f, sizeof(hello), hello, sizeof(hello));
	put_raw(&f, sizeof(hello), hello, 3);
	f.b.raw = xclose(f.b.raw);
	run_until(&f, &f.a.n_closed, 1);
	CU_ASSERT_EQUAL(f.a.n_messages, 1);
	check_closed(&f, -EPROTO);
}

/* 64 KiB of empty submessages, 160 bytes of memory each: more than any honest message unfolds to.
 */
static void test_memory_bomb(void)
{
	static const uint8_t table[] = { 0x1a, 0x80, 0x80, 0x04 }; /* FromHost.table: 64 KiB of */
	static uint8_t bomb[sizeof(table) + (64 << 10)];
	struct fixture f;
	int fds[2];

	set_up(&f, true);
	f.a.link = link_free(f.a.link);
	f.b.raw = xclose(f.b.raw);
	CU_ASSERT_EQUAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	make_end(&f, &f.a, fds[0], &xenmesh__host__from_host__descriptor);
	make_end(&f, &f.b, fds[1], NULL);
	memcpy(bomb, table, sizeof(table));
	for (size_t i = sizeof(table); i < sizeof(bomb); i += 2) {
		bomb[i] = 0x0a; /* DomainTable.domains, empty */
	}
	put_raw(&f, sizeof(bomb), bomb, sizeof(bomb));
	check_closed(&f, -EBADMSG);
}

static void send_fds(int socket_fd, const void *data, size_t len, int n_fds)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int) * 64)];
	} control = { 0 };
	struct iovec iov = { (void *)data, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control };

	msg.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)n_fds);
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(int) * (size_t)n_fds);
	for (int i = 0; i < n_fds; i++) {
		int fd = STDIN_FILENO;

		memcpy(CMSG_DATA(&control.header) + (size_t)i * sizeof(int), &fd, sizeof(fd));
	}
	CU_ASSERT_EQUAL(sendmsg(socket_fd, &msg, MSG_NOSIGNAL), (ssize_t)len);
}

static void test_too_many_fds(void)
{
	static const int counts[] = { 2, 8, 9, 64 };
	int n = n_open_fds();

	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		struct fixture f;

		set_up(&f, true);
		send_fds(f.b.raw, "\1\0", 2, counts[i]);
		check_closed(&f, -EPROTO);
		CU_ASSERT_EQUAL(n_open_fds(), n);
	}
}

/* More descriptors than one for a message that never ends. */
static void test_fd_with_each_byte(void)
{
	int n = n_open_fds();
	struct fixture f;

	set_up(&f, true);
	for (int i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(f.a.n_closed, 0);
		send_fds(f.b.raw, "\6", 1, 1);
		run_ready(&f);
	}
	check_closed(&f, -EPROTO);
	CU_ASSERT_EQUAL(n_open_fds(), n);
}

/* ---- sockets ---- */

static void test_listen_and_connect(void)
{
	char dir[] = "/tmp/test_link.XXXXXX";
	char path[64], long_path[200];
	uid_t uid;
	gid_t gid;
	pid_t pid;
	struct fixture f;
	struct stat st;
	int listener, fd;
	mode_t old_umask = umask(0077);

	CU_ASSERT_PTR_NOT_NULL(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	CU_ASSERT_EQUAL(link_connect(path), -ENOENT);
	listener = link_listen(path);
	CU_ASSERT_TRUE(listener >= 0);
	umask(old_umask);
	CU_ASSERT_EQUAL(stat(path, &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 07777, 0660);
	CU_ASSERT_EQUAL(link_listen(path), -EADDRINUSE);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC); /* the question of link_listen() */
	close(fd);

	set_up(&f, true);
	f.b.raw = xclose(f.b.raw);
	fd = link_connect(path);
	CU_ASSERT_TRUE(fd >= 0);
	make_end(&f, &f.b, fd, &xenmesh__host__to_host__descriptor);
	CU_ASSERT_EQUAL(link_peer(f.b.link, &uid, &gid, &pid), 0);
	CU_ASSERT_EQUAL(uid, getuid());
	CU_ASSERT_EQUAL(gid, getgid());
	CU_ASSERT_EQUAL(pid, getpid());
	tear_down(&f);

	close(listener); /* leaves a stale socket */
	CU_ASSERT_EQUAL(link_connect(path), -ECONNREFUSED);
	listener = link_listen(path);
	CU_ASSERT_TRUE(listener >= 0);
	close(listener);
	unlink(path);

	close(open(path, O_CREAT | O_WRONLY, 0600));
	CU_ASSERT_EQUAL(link_listen(path), -EEXIST);
	unlink(path);
	rmdir(dir);
	memset(long_path, 'x', sizeof(long_path) - 1);
	long_path[sizeof(long_path) - 1] = '\0';
	CU_ASSERT_EQUAL(link_listen(long_path), -ENAMETOOLONG);
	CU_ASSERT_EQUAL(link_connect(""), -EINVAL);
}

static void test_new_refuses(void)
{
	int n = n_open_fds();
	struct fixture f;
	struct link *l = NULL;

	set_up(&f, false);
	CU_ASSERT_EQUAL(link_new(&l, f.loop, open("/dev/null", O_RDONLY),
				 &xenmesh__host__to_host__descriptor, on_message, on_closed, NULL),
			-ENOTSOCK);
	CU_ASSERT_PTR_NULL(l);
	CU_ASSERT_PTR_NULL(link_free(NULL));
	tear_down(&f);
	CU_ASSERT_EQUAL(n_open_fds(), n);
}

UNIT_MAIN("link", UNIT_TEST(test_messages_in_order), UNIT_TEST(test_fds_stay_with_their_messages),
	  UNIT_TEST(test_big_messages_and_fds), UNIT_TEST(test_close_by_peer),
	  UNIT_TEST(test_last_words_after_epipe), UNIT_TEST(test_callback_closes),
	  UNIT_TEST(test_callback_frees), UNIT_TEST(test_queue_is_bounded),
	  UNIT_TEST(test_send_refuses), UNIT_TEST(test_flush), UNIT_TEST(test_byte_by_byte),
	  UNIT_TEST(test_too_long), UNIT_TEST(test_garbage), UNIT_TEST(test_cut_off),
	  UNIT_TEST(test_memory_bomb), UNIT_TEST(test_too_many_fds),
	  UNIT_TEST(test_fd_with_each_byte), UNIT_TEST(test_listen_and_connect),
	  UNIT_TEST(test_new_refuses))
