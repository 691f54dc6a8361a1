/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The worker with its link, on a libxl that is played.
 */
#include "services/ops/worker/worker.h"

#include <ftw.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "services/ops/core/names.h"
#include "tests/unit/fake_libxl.h"

/* ---- the core's side ---- */

struct outcome {
	int status;
	int n_done;
	bool is_done_last;
	unsigned int code;
	char message[1200];
	int rc;
	int domid;
	char steps[512];
	char lines[1024];
};

static char dir[] = "/tmp/xenmesh-worker-XXXXXX", lock_path[64];
static struct worker_paths paths = { .lock = lock_path, .marks = dir };

static void setup(void)
{
	static unsigned int n; /* a process keeps its locks */

	snprintf(lock_path, sizeof(lock_path), "%s/lock%u", dir, n++);
	memset(&host, 0, sizeof(host));
	host.free_kib = 1 << 20;
	host.cancel_fd = host.close_fd = -1;
}

static void take_message(struct outcome *o, const Xenmesh__Host__FromWorker *m)
{
	size_t at;

	o->is_done_last = m->body_case == XENMESH__HOST__FROM_WORKER__BODY_DONE;
	switch (m->body_case) {
	case XENMESH__HOST__FROM_WORKER__BODY_DONE:
		o->n_done++;
		o->code = m->done->code;
		snprintf(o->message, sizeof(o->message), "%s", m->done->message);
		o->rc = m->done->libxl_rc;
		o->domid = m->done->domid;
		break;
	case XENMESH__HOST__FROM_WORKER__BODY_PROGRESS:
		at = strlen(o->steps);
		snprintf(o->steps + at, sizeof(o->steps) - at, "%s|", m->progress->step);
		CU_ASSERT(m->progress->progress >= 0 && m->progress->progress <= 1);
		break;
	case XENMESH__HOST__FROM_WORKER__BODY_LOG:
		at = strlen(o->lines);
		snprintf(o->lines + at, sizeof(o->lines) - at, "%u %s|", m->log->level,
			 m->log->text);
		break;
	default:
		CU_FAIL("unknown message");
	}
}

/* All that is in the socket. */
static void read_answers(struct outcome *o, int fd)
{
	static uint8_t data[1 << 18];
	size_t len = 0;
	ssize_t n;

	while ((n = recv(fd, data + len, sizeof(data) - len, MSG_DONTWAIT)) > 0) {
		len += (size_t)n;
	}
	for (size_t at = 0; at + 4 <= len;) {
		Xenmesh__Host__FromWorker *m;
		uint32_t size;

		memcpy(&size, data + at, 4);
		m = xenmesh__host__from_worker__unpack(NULL, size, data + at + 4);
		CU_ASSERT_PTR_NOT_NULL(m);
		if (!m) {
			return;
		}
		take_message(o, m);
		xenmesh__host__from_worker__free_unpacked(m, NULL);
		at += 4 + size;
	}
}

static void send_request(int fd, const Xenmesh__Host__ToWorker *message)
{
	uint8_t packed[4096];
	uint32_t len = (uint32_t)xenmesh__host__to_worker__pack(message, packed + 4);

	memcpy(packed, &len, sizeof(len));
	CU_ASSERT_EQUAL(send(fd, packed, len + 4, 0), (ssize_t)len + 4);
}

enum meanwhile { NOTHING, CANCEL, CANCEL_BEFORE, CLOSE };

static struct outcome run(const Xenmesh__Host__ToWorker *request, enum meanwhile meanwhile)
{
	struct outcome o = { 0 };
	int fds[2];

	CU_ASSERT_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0); /* as it comes from an exec */
	host.link_fd = fds[1];
	if (request) {
		send_request(fds[0], request);
	} else {
		shutdown(fds[0], SHUT_WR);
	}
	if (meanwhile == CANCEL_BEFORE) {
		send_cancel(fds[0]);
	}
	host.cancel_fd = meanwhile == CANCEL ? fds[0] : -1;
	host.close_fd = meanwhile == CLOSE ? dup(fds[0]) : -1;
	if (meanwhile == CLOSE) {
		close(fds[0]);
		o.status = worker_run(fds[1], &paths);
		return o;
	}
	o.status = worker_run(fds[1], &paths);
	read_answers(&o, fds[0]);
	close(fds[0]);
	CU_ASSERT_EQUAL(o.status, 0);
	CU_ASSERT_EQUAL(o.n_done, request ? 1 : 0);
	CU_ASSERT_EQUAL(o.is_done_last, request != NULL);
	return o;
}

static struct outcome act(Xenmesh__Host__DomainAction action, uint32_t domid, const char *uuid,
			  enum meanwhile meanwhile)
{
	Xenmesh__Host__ToWorker message = XENMESH__HOST__TO_WORKER__INIT;
	Xenmesh__Host__ActOnDomain body = XENMESH__HOST__ACT_ON_DOMAIN__INIT;
	Xenmesh__Host__DomainRef ref = XENMESH__HOST__DOMAIN_REF__INIT;

	ref.domid = domid;
	ref.uuid = (char *)uuid;
	body.domain = &ref;
	body.action = action;
	message.body_case = XENMESH__HOST__TO_WORKER__BODY_ACT;
	message.act = &body;
	return run(&message, meanwhile);
}

static Xenmesh__V1__VmConfig good_config(void)
{
	Xenmesh__V1__VmConfig c;

	xenmesh__v1__vm_config__init(&c);
	c.uuid = (char *)UUID;
	c.name = (char *)"g1";
	c.type = VM_TYPE_PV;
	c.vcpus = 1;
	c.memory_kib = 65536;
	c.kernel = (char *)"/proc/self/exe"; /* a file that there is */
	return c;
}

static struct outcome create(Xenmesh__V1__VmConfig *c, bool is_paused, enum meanwhile meanwhile)
{
	Xenmesh__Host__ToWorker message = XENMESH__HOST__TO_WORKER__INIT;
	Xenmesh__Host__CreateDomain body = XENMESH__HOST__CREATE_DOMAIN__INIT;

	body.config = c;
	body.paused = is_paused;
	message.body_case = XENMESH__HOST__TO_WORKER__BODY_CREATE;
	message.create = &body;
	return run(&message, meanwhile);
}

/* ---- creating ---- */

static void test_create(void)
{
	Xenmesh__V1__VmConfig c = good_config();
	struct outcome o;

	setup();
	o = create(&c, false, NOTHING);
	CU_ASSERT_EQUAL(o.code, CODE_OK);
	CU_ASSERT_EQUAL(o.domid, NEW_DOMID);
	CU_ASSERT_STRING_EQUAL(o.message, "");
	CU_ASSERT_STRING_EQUAL(host.calls, "create mark unpause ");
	CU_ASSERT_EQUAL(the_domain(NEW_DOMID)->n_pauses, 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(o.steps, "building|")); /* libxl's own progress */
	CU_ASSERT_STRING_EQUAL(o.lines, "");
}

/* A worker that was left over by another core is at it. */
static void test_create_one_at_a_time(void)
{
	Xenmesh__V1__VmConfig c = good_config();
	struct outcome o;
	int ready[2], end[2], status;
	char byte;
	pid_t pid, holder = 0;

	setup();
	CU_ASSERT_EQUAL(pipe(ready), 0);
	CU_ASSERT_EQUAL(pipe(end), 0);
	pid = fork();
	if (pid == 0) {
		close(end[1]);
		byte = vmlock_take(paths.lock, UUID, &holder) == 0 ? 'y' : 'n';
		_exit(write(ready[1], &byte, 1) != 1 || read(end[0], &byte, 1) < 0);
	}
	CU_ASSERT_EQUAL(read(ready[0], &byte, 1), 1);
	CU_ASSERT_EQUAL(byte, 'y');
	o = create(&c, false, NOTHING);
	CU_ASSERT_EQUAL(o.code, CODE_UNAVAILABLE);
	CU_ASSERT_PTR_NOT_NULL(strstr(o.message, "is making a domain of this VM"));
	CU_ASSERT_EQUAL(strtol(strstr(o.message, "process ") + 8, NULL, 10), pid);
	CU_ASSERT_STRING_EQUAL(host.calls, "");
	CU_ASSERT_EQUAL(vmlock_take(paths.lock, OTHER_UUID, &holder), 0); /* others may */
	close(end[1]);
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_EQUAL(status, 0);
	CU_ASSERT_EQUAL(create(&c, false, NOTHING).code, CODE_OK);
	close(ready[0]);
	close(ready[1]);
	close(end[0]);
}

static void test_create_cannot_lock(void)
{
	Xenmesh__V1__VmConfig c = good_config();
	const char *lock = paths.lock;
	struct outcome o;

	setup();
	paths.lock = "/nonexistent/lock";
	o = create(&c, false, NOTHING);
	paths.lock = lock;
	CU_ASSERT_EQUAL(o.code, CODE_INTERNAL);
	CU_ASSERT_PTR_NOT_NULL(
		strstr(o.message, "cannot lock the VM in /nonexistent/lock: No such"));
	CU_ASSERT_STRING_EQUAL(host.calls, "");
}

static void touch(const char *name)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", paths.marks, name);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	CU_ASSERT(fd >= 0);
	close(fd);
}

static bool is_there(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", paths.marks, name);
	return access(path, F_OK) == 0;
}

/* Marks of before a power loss would speak for a domain that gets the same domid. */
static void test_create_clears_old_marks(void)
{
	Xenmesh__V1__VmConfig c = good_config();

	setup();
	touch("userdata-d.9." UUID ".xenmesh");
	touch("userdata-d.12." UUID ".xenmesh");
	touch("userdata-d.9." UUID ".libxl-json");
	touch("userdata-d.9." OTHER_UUID ".xenmesh");
	host.create_rc = ERROR_FAIL;
	CU_ASSERT_NOT_EQUAL(create(&c, false, NOTHING).code, CODE_OK);
	CU_ASSERT_FALSE(is_there("userdata-d.9." UUID ".xenmesh"));
	CU_ASSERT_FALSE(is_there("userdata-d.12." UUID ".xenmesh"));
	CU_ASSERT(is_there("userdata-d.9." UUID ".libxl-json"));
	CU_ASSERT(is_there("userdata-d.9." OTHER_UUID ".xenmesh"));
}

static void test_create_paused(void)
{
	Xenmesh__V1__VmConfig c = good_config();
	struct outcome o;

	setup();
	o = create(&c, true, NOTHING);
	CU_ASSERT_EQUAL(o.code, CODE_OK);
	CU_ASSERT_STRING_EQUAL(host.calls, "create mark ");
	CU_ASSERT_EQUAL(the_domain(NEW_DOMID)->n_pauses, 1);
}

static void test_create_refused(void)
{
	Xenmesh__V1__VmConfig c = good_config();
	struct outcome o;

	setup();
	c.name = (char *)"no good";
	o = create(&c, false, NOTHING);
	CU_ASSERT_EQUAL(o.code, CODE_INVALID_ARGUMENT);
	CU_ASSERT_PTR_NOT_NULL(strstr(o.message, "name: "));
	CU_ASSERT_PTR_NULL(strchr(o.message, '\n'));
	c = good_config();
	c.uuid = (char *)"";
	CU_ASSERT_EQUAL(create(&c, false, NOTHING).code, CODE_INVALID_ARGUMENT);
	CU_ASSERT_EQUAL(create(NULL, false, NOTHING).code, CODE_INVALID_ARGUMENT);
	c = good_config();
	c.kernel = (char *)"/nonexistent/vmlinuz";
	o = create(&c, false, NOTHING);
	CU_ASSERT_EQUAL(o.code, CODE_FAILED_PRECONDITION);
	CU_ASSERT_STRING_EQUAL(o.message, "kernel /nonexistent/vmlinuz: No such file or directory");
	c.kernel = (char *)"/proc";
	CU_ASSERT_EQUAL(create(&c, false, NOTHING).code, CODE_FAILED_PRECONDITION);
	c = good_config();
	host.free_kib = 65536;
	o = create(&c, false, NOTHING);
	CU_ASSERT_EQUAL(o.code, CODE_RESOURCE_EXHAUSTED);
	CU_ASSERT_PTR_NOT_NULL(strstr(o.message, "needs 65 MiB and the host has 64 MiB"));
	host.free_kib = 1 << 20;
	host.is_name_taken = true;
	o = create(&c, false, NOTHING);
	CU_ASSERT_EQUAL(o.code, CODE_ALREADY_EXISTS);
	host.is_name_taken = false;
	add_domain(4, UUID);
	o = create(&c, false, NOTHING);
	CU_ASSERT_EQUAL(o.code, CODE_ALREADY_EXISTS);
	CU_ASSERT_STRING_EQUAL(o.message, "domain 4 has this UUID already");
	CU_ASSERT_EQUAL(o.domid, -1);
	CU_ASSERT_STRING_EQUAL(host.calls, "");
	CU_ASSERT_PTR_NOT_NULL(find_domain(4));
}

static void test_create_disk_missing(void)
{
	Xenmesh__V1__VmConfig c = good_config();
	Xenmesh__V1__VbdConfig vbd, *vbds[] = { &vbd };
	struct outcome o;

	setup();
	xenmesh__v1__vbd_config__init(&vbd);
	vbd.vdev = (char *)"xvda";
	vbd.target = (char *)"/nonexistent/disk";
	c.n_vbds = 1;
	c.vbds = vbds;
	o = create(&c, false, NOTHING);
	CU_ASSERT_EQUAL(o.code, CODE_FAILED_PRECONDITION);
	CU_ASSERT_PTR_NOT_NULL(strstr(o.message, "disk image /nonexistent/disk"));
	/* What a target means to a script of its own only that script knows. */
	vbd.script = (char *)"block-iscsi";
	CU_ASSERT_EQUAL(create(&c, false, NOTHING).code, CODE_OK);
}

static void test_create_fails(void)
{
	Xenmesh__V1__VmConfig c = good_config();
	struct outcome o;

	setup();
	host.create_rc = ERROR_FAIL;
	host.is_create_left = true;
	o = create(&c, false, NOTHING);
	CU_ASSERT_EQUAL(o.code, CODE_INTERNAL);
	CU_ASSERT_EQUAL(o.rc, ERROR_FAIL);
	CU_ASSERT_EQUAL(o.domid, -1);
	CU_ASSERT_STRING_EQUAL(o.message, "cannot create the domain: the first reason; "
					  "Domain 9:the second (ERROR_FAIL)");
	CU_ASSERT_STRING_EQUAL(host.calls, "create destroy ");
	CU_ASSERT_PTR_NULL(find_domain(NEW_DOMID));
	CU_ASSERT_PTR_NOT_NULL(strstr(o.lines, "8 libxl: libxl_dom.c:571:libxl__build_dom: "));
	CU_ASSERT_PTR_NOT_NULL(strstr(o.lines, "the third"));
	CU_ASSERT_PTR_NULL(strstr(o.lines, "not for the core"));
	/* libxl has cleaned up itself. */
	setup();
	host.create_rc = ERROR_FAIL;
	o = create(&c, false, NOTHING);
	CU_ASSERT_EQUAL(o.code, CODE_INTERNAL);
	CU_ASSERT_STRING_EQUAL(host.calls, "create ");
}

static void test_create_cannot_be_undone(void)
{
	Xenmesh__V1__VmConfig c = good_config();
	struct outcome o;

	setup();
	host.create_rc = ERROR_FAIL;
	host.is_create_left = true;
	host.destroy_failures = 3;
	o = create(&c, false, NOTHING);
	CU_ASSERT_STRING_EQUAL(host.calls, "create destroy destroy destroy ");
	CU_ASSERT_PTR_NOT_NULL(
		strstr(o.message, "domain 9 was half made and could not be removed"));
}

static void test_create_does_not_run(void)
{
	Xenmesh__V1__VmConfig c = good_config();
	struct outcome o;

	setup();
	host.pause_rc = ERROR_FAIL;
	o = create(&c, false, NOTHING);
	CU_ASSERT_EQUAL(o.code, CODE_INTERNAL);
	CU_ASSERT_STRING_EQUAL(host.calls, "create mark unpause destroy ");
	CU_ASSERT_PTR_NULL(find_domain(NEW_DOMID));
}

static void test_create_cancelled(void)
{
	Xenmesh__V1__VmConfig c = good_config();
	struct outcome o;

	setup();
	host.is_create_left = true;
	o = create(&c, false, CANCEL);
	CU_ASSERT_EQUAL(o.code, CODE_CANCELLED);
	CU_ASSERT_EQUAL(o.rc, ERROR_ABORTED);
	CU_ASSERT_EQUAL(o.domid, -1);
	CU_ASSERT_STRING_EQUAL(host.calls, "create abort destroy ");
	CU_ASSERT_PTR_NULL(find_domain(NEW_DOMID));
	/* Before anything was done. */
	setup();
	o = create(&c, false, CANCEL_BEFORE);
	CU_ASSERT_EQUAL(o.code, CODE_CANCELLED);
	CU_ASSERT_STRING_EQUAL(host.calls, "");
}

static void test_core_vanishes(void)
{
	Xenmesh__V1__VmConfig c = good_config();
	struct outcome o;

	setup();
	o = create(&c, false, CLOSE);
	CU_ASSERT_EQUAL(o.status, 0);
	CU_ASSERT_STRING_EQUAL(host.calls, "create mark unpause ");
	CU_ASSERT_EQUAL(the_domain(NEW_DOMID)->n_pauses, 0);
}

/* ---- acting ---- */

static void test_destroy(void)
{
	struct outcome o;

	setup();
	add_domain(5, UUID);
	o = act(ACT_DESTROY, 5, UUID, NOTHING);
	CU_ASSERT_EQUAL(o.code, CODE_OK);
	CU_ASSERT_EQUAL(o.domid, -1);
	CU_ASSERT_PTR_NULL(find_domain(5));
	/* It is gone already, or the domid is another's. */
	host.calls[0] = '\0';
	CU_ASSERT_EQUAL(act(ACT_DESTROY, 5, UUID, NOTHING).code, CODE_OK);
	add_domain(5, OTHER_UUID);
	CU_ASSERT_EQUAL(act(ACT_DESTROY, 5, UUID, NOTHING).code, CODE_OK);
	CU_ASSERT_STRING_EQUAL(host.calls, "");
	CU_ASSERT_PTR_NOT_NULL(find_domain(5));
}

static void test_destroy_takes_a_while(void)
{
	struct outcome o;

	setup();
	add_domain(5, UUID)->dying_looks = 3;
	o = act(ACT_DESTROY, 5, UUID, CANCEL); /* a destroy cannot be cancelled */
	CU_ASSERT_EQUAL(o.code, CODE_OK);
	CU_ASSERT_STRING_EQUAL(host.calls, "destroy ");
	CU_ASSERT_PTR_NULL(find_domain(5));
	/* Somebody else has begun to destroy it. */
	setup();
	*add_domain(5, UUID) = (struct fake_domain){ 5, UUID, 0, false, true, 2 };
	o = act(ACT_DESTROY, 5, UUID, NOTHING);
	CU_ASSERT_EQUAL(o.code, CODE_OK);
	CU_ASSERT_STRING_EQUAL(host.calls, "");
}

static void test_destroy_again(void)
{
	struct outcome o;

	setup();
	add_domain(5, UUID);
	host.destroy_failures = 2;
	o = act(ACT_DESTROY, 5, UUID, NOTHING);
	CU_ASSERT_EQUAL(o.code, CODE_OK);
	CU_ASSERT_STRING_EQUAL(host.calls, "destroy destroy destroy ");
	setup();
	add_domain(5, UUID);
	host.destroy_failures = 3;
	o = act(ACT_DESTROY, 5, UUID, NOTHING);
	CU_ASSERT_EQUAL(o.code, CODE_INTERNAL);
	CU_ASSERT_EQUAL(o.rc, ERROR_FAIL);
}

static void test_zombie(void)
{
	struct outcome o;

	setup();
	host.is_hasty = true;
	add_domain(5, UUID)->dying_looks = -1;
	o = act(ACT_DESTROY, 5, UUID, NOTHING);
	CU_ASSERT_EQUAL(o.code, CODE_DEADLINE_EXCEEDED);
	CU_ASSERT_PTR_NOT_NULL(strstr(o.message, "something still holds its memory"));
	CU_ASSERT_STRING_EQUAL(host.calls, "destroy ");
}

static void test_pause_is_idempotent(void)
{
	setup();
	add_domain(5, UUID);
	CU_ASSERT_EQUAL(act(ACT_PAUSE, 5, UUID, NOTHING).code, CODE_OK);
	CU_ASSERT_EQUAL(act(ACT_PAUSE, 5, UUID, NOTHING).code, CODE_OK);
	CU_ASSERT_STRING_EQUAL(host.calls, "pause ");
	CU_ASSERT_EQUAL(the_domain(5)->n_pauses, 1);
	the_domain(5)->n_pauses = 3; /* others paused it too */
	CU_ASSERT_EQUAL(act(ACT_UNPAUSE, 5, UUID, NOTHING).code, CODE_OK);
	CU_ASSERT_EQUAL(the_domain(5)->n_pauses, 0);
	host.calls[0] = '\0';
	CU_ASSERT_EQUAL(act(ACT_UNPAUSE, 5, UUID, NOTHING).code, CODE_OK);
	CU_ASSERT_STRING_EQUAL(host.calls, "");
	the_domain(5)->n_pauses = 100;
	CU_ASSERT_EQUAL(act(ACT_UNPAUSE, 5, UUID, NOTHING).code, CODE_UNAVAILABLE);
	host.pause_rc = ERROR_FAIL;
	CU_ASSERT_EQUAL(act(ACT_UNPAUSE, 5, UUID, NOTHING).code, CODE_INTERNAL);
}

static void test_shutdown(void)
{
	struct outcome o;

	setup();
	add_domain(5, UUID);
	CU_ASSERT_EQUAL(act(ACT_SHUTDOWN, 5, UUID, NOTHING).code, CODE_OK);
	host.guest_rc = ERROR_GUEST_TIMEDOUT;
	o = act(ACT_SHUTDOWN, 5, UUID, NOTHING);
	CU_ASSERT_EQUAL(o.code, CODE_DEADLINE_EXCEEDED);
	CU_ASSERT_STRING_EQUAL(o.message, "cannot shut down the guest: it did not acknowledge the "
					  "request; destroy it if need be");
	host.guest_rc = 0;
	o = act(ACT_SHUTDOWN, 5, UUID, CANCEL);
	CU_ASSERT_EQUAL(o.code, CODE_CANCELLED);
	host.guest_rc = ERROR_NOPARAVIRT;
	o = act(ACT_REBOOT, 5, UUID, NOTHING);
	CU_ASSERT_EQUAL(o.code, CODE_FAILED_PRECONDITION);
	CU_ASSERT_STRING_EQUAL(host.calls, "shutdown shutdown shutdown abort reboot ");
	the_domain(5)->n_pauses = 1;
	o = act(ACT_SHUTDOWN, 5, UUID, NOTHING);
	CU_ASSERT_EQUAL(o.code, CODE_FAILED_PRECONDITION);
	CU_ASSERT_PTR_NOT_NULL(strstr(o.message, "unpause it first"));
	the_domain(5)->is_shutdown = true;
	o = act(ACT_SHUTDOWN, 5, UUID, NOTHING);
	CU_ASSERT_EQUAL(o.code, CODE_FAILED_PRECONDITION);
	CU_ASSERT_STRING_EQUAL(o.message, "domain 5 has shut down already");
}

static void test_wrong_domain(void)
{
	struct outcome o;

	setup();
	add_domain(5, OTHER_UUID);
	o = act(ACT_PAUSE, 5, UUID, NOTHING);
	CU_ASSERT_EQUAL(o.code, CODE_NOT_FOUND);
	CU_ASSERT_EQUAL(act(ACT_SHUTDOWN, 6, UUID, NOTHING).code, CODE_NOT_FOUND);
	/* dom0 is nobody's to act on. */
	CU_ASSERT_EQUAL(act(ACT_DESTROY, 0, OPS_ZERO_UUID, NOTHING).code, CODE_INVALID_ARGUMENT);
	CU_ASSERT_EQUAL(act(ACT_PAUSE, 0x7ff0, UUID, NOTHING).code, CODE_INVALID_ARGUMENT);
	CU_ASSERT_EQUAL(act(ACT_PAUSE, 5, "", NOTHING).code, CODE_INVALID_ARGUMENT);
	CU_ASSERT_EQUAL(act(77, 5, OTHER_UUID, NOTHING).code, CODE_UNIMPLEMENTED);
	CU_ASSERT_STRING_EQUAL(host.calls, "");
}

/* ---- the link ---- */

static void test_without_libxl(void)
{
	struct outcome o;

	setup();
	host.alloc_rc = ERROR_FAIL;
	o = act(ACT_PAUSE, 5, UUID, NOTHING);
	CU_ASSERT_EQUAL(o.code, CODE_UNAVAILABLE);
	CU_ASSERT_STRING_EQUAL(o.message, "libxl cannot be used on this host: "
					  "cannot open libxc handle (ERROR_FAIL)");
}

static void test_core_goes_before_it_asks(void)
{
	setup();
	CU_ASSERT_EQUAL(run(NULL, NOTHING).status, 0);
	CU_ASSERT_STRING_EQUAL(host.calls, "");
}

static void test_nonsense(void)
{
	int fds[2];

	setup();
	CU_ASSERT_EQUAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	CU_ASSERT_EQUAL(send(fds[0], "\xff\xff\xff\xff", 4, 0), 4);
	CU_ASSERT_EQUAL(worker_run(fds[1], &paths), 0);
	close(fds[0]);
	/* A message of no kind. */
	CU_ASSERT_EQUAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	CU_ASSERT_EQUAL(send(fds[0], "\0\0\0\0", 4, 0), 4);
	CU_ASSERT_EQUAL(worker_run(fds[1], &paths), 0);
	close(fds[0]);
	CU_ASSERT_STRING_EQUAL(host.calls, "");
}

static int remove_one(const char *path, const struct stat *st _unused_, int flag _unused_,
		      struct FTW *ftw _unused_)
{
	return remove(path);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_create),
		UNIT_TEST(test_create_one_at_a_time),
		UNIT_TEST(test_create_cannot_lock),
		UNIT_TEST(test_create_clears_old_marks),
		UNIT_TEST(test_create_paused),
		UNIT_TEST(test_create_refused),
		UNIT_TEST(test_create_disk_missing),
		UNIT_TEST(test_create_fails),
		UNIT_TEST(test_create_cannot_be_undone),
		UNIT_TEST(test_create_does_not_run),
		UNIT_TEST(test_create_cancelled),
		UNIT_TEST(test_core_vanishes),
		UNIT_TEST(test_destroy),
		UNIT_TEST(test_destroy_takes_a_while),
		UNIT_TEST(test_destroy_again),
		UNIT_TEST(test_zombie),
		UNIT_TEST(test_pause_is_idempotent),
		UNIT_TEST(test_shutdown),
		UNIT_TEST(test_wrong_domain),
		UNIT_TEST(test_without_libxl),
		UNIT_TEST(test_core_goes_before_it_asks),
		UNIT_TEST(test_nonsense),
	};
	int status;

	if (!mkdtemp(dir)) {
		return EXIT_FAILURE;
	}
	status = unit_run("worker_run", tests, ARRAY_LEN(tests));
	nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	return status;
}
