/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * xenmesh-ops as a process of its own, with a fake host process and a bus client
 * in the test.
 */
#include <fcntl.h>
#include <ftw.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>

#include "bus/client.h"
#include "tests/unit/ops_fakehost.h"
#include "tests/unit/unit.h"

#define UUID_A "aaaaaaaa-0000-4000-8000-000000000001"
#define UUID_B "bbbbbbbb-0000-4000-8000-000000000002"

#define WAIT_LIMIT_NS (30 * NSEC_PER_SEC) /* of a test that fails */

struct ops_process {
	char dir[64];
	char link[96], state[96], topology_path[96], program[PATH_MAX];
	sd_event *loop;
	struct fakehost host;
	struct topology *topology;
	struct bus_client *client;
	pid_t pid; /* 0 = not running */
};

/* What a call came to. */
struct ops_result {
	bool is_there;
	int code;
	char message[4096];
	ProtobufCMessage *payload; /* heap; NULL when it failed */
};

#define WAIT(p, condition)                                         \
	do {                                                       \
		uint64_t until_ = clock_boot_ns() + WAIT_LIMIT_NS; \
		while (!(condition) && clock_boot_ns() < until_) { \
			sd_event_run((p)->loop, 5000);             \
		}                                                  \
		CU_ASSERT(!!(condition));                          \
	} while (0)

static inline void process_run_for(struct ops_process *p, uint64_t us)
{
	uint64_t until = clock_boot_ns() + us * 1000;

	while (clock_boot_ns() < until) {
		sd_event_run(p->loop, MIN(us, 2000));
	}
}

static inline void process_start(struct ops_process *p)
{
	char *const argv[] = {
		p->program,	  (char *)"--topology",
		p->topology_path, (char *)"--state-dir",
		p->state,	  (char *)"--host-link",
		p->link,	  (char *)"--log-level",
		(char *)"error",  NULL,
	};

	p->pid = 0;
	CU_ASSERT_EQUAL(posix_spawn(&p->pid, p->program, NULL, NULL, argv, environ), 0);
}

static inline void process_kill(struct ops_process *p)
{
	int status;

	if (p->pid > 0) {
		kill(p->pid, SIGKILL);
		waitpid(p->pid, &status, 0);
		p->pid = 0;
	}
}

/* SIGTERM; the exit status. */
static inline int process_stop(struct ops_process *p)
{
	int status = -1;

	if (p->pid > 0) { /* 0 would be ourselves and the runner */
		kill(p->pid, SIGTERM);
		waitpid(p->pid, &status, 0);
		p->pid = 0;
	}
	return status;
}

static inline void process_set_up(struct ops_process *p)
{
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	char self[PATH_MAX] = "";
	FILE *file;

	*p = (struct ops_process){ .dir = "/tmp/xenmesh-ops-XXXXXX" };
	if (!mkdtemp(p->dir) || readlink("/proc/self/exe", self, sizeof(self) - 1) < 0) {
		abort();
	}
	snprintf(p->program, sizeof(p->program), "%.*s/../../xenmesh-ops", PATH_MAX - 32,
		 dirname(self));
	snprintf(p->link, sizeof(p->link), "%s/link", p->dir);
	snprintf(p->state, sizeof(p->state), "%s/state", p->dir);
	snprintf(p->topology_path, sizeof(p->topology_path), "%s/topology.conf", p->dir);
	file = fopen(p->topology_path, "w");
	fprintf(file, "[bus]\nrun_dir = %s/run\n", p->dir);
	fclose(file);
	mkdir(strcat(strcpy(self, p->dir), "/run"), 0755);
	CU_ASSERT_EQUAL(sd_event_new(&p->loop), 0);
	CU_ASSERT_EQUAL(fakehost_init(&p->host, p->loop, p->link), 0);
	CU_ASSERT_EQUAL(topology_load(&p->topology, p->topology_path, &errors), 0);
	CU_ASSERT_EQUAL(bus_client_new(&p->client, p->loop, p->topology, "ops", "test/1"), 0);
	process_start(p);
}

static inline int process_remove(const char *path, const struct stat *st _unused_,
				 int flag _unused_, struct FTW *ftw _unused_)
{
	return remove(path);
}

static inline void process_tear_down(struct ops_process *p)
{
	process_kill(p);
	p->client = bus_client_free(p->client);
	topology_free(p->topology);
	fakehost_deinit(&p->host);
	sd_event_unref(p->loop);
	nftw(p->dir, process_remove, 8, FTW_DEPTH | FTW_PHYS);
}

#define WITH_PROCESS(p)                                    \
	_cleanup_(process_tear_down) struct ops_process p; \
	process_set_up(&p)

static inline void result_deinit(struct ops_result *r)
{
	r->payload = pb_free(r->payload);
}

static inline void process_on_result(struct bus_client *c _unused_, const struct bus_result *result,
				     void *userdata)
{
	struct ops_result *r = userdata;

	r->is_there = true;
	r->code = result->code;
	snprintf(r->message, sizeof(r->message), "%s", result->message);
	r->payload = result->payload ? pb_copy(result->payload) : NULL;
}

/* Does not wait. r, which has an answer or is zero, must stay until is_there. */
static inline uint64_t process_begin_call(struct ops_process *p, const char *method,
					  const ProtobufCMessage *request, const struct uuid *id,
					  struct ops_result *r)
{
	const struct bus_call_options options = { .timeout_ms = 25000, .request_id = id };
	char name[64];
	uint64_t call = 0;

	result_deinit(r);
	*r = (struct ops_result){ .code = -1 }; /* until there is an answer */
	snprintf(name, sizeof(name), "xenmesh.v1.Ops/%s", method);
	CU_ASSERT_EQUAL(
		bus_client_call(p->client, name, request, &options, process_on_result, r, &call),
		0);
	return call;
}

/* An answer that is late must not be written into an r that is gone. */
static inline void process_end_call(struct ops_process *p, uint64_t call, struct ops_result *r)
{
	WAIT(p, r->is_there);
	if (!r->is_there) {
		bus_client_cancel(p->client, call);
		r->code = -1;
	}
}

static inline void process_call(struct ops_process *p, const char *method,
				const ProtobufCMessage *request, const struct uuid *id,
				struct ops_result *r)
{
	process_end_call(p, process_begin_call(p, method, request, id, r), r);
}

/* A method that names only a VM. */
static inline uint64_t process_begin_vm_call(struct ops_process *p, const char *method,
					     const char *vm, const struct uuid *id,
					     struct ops_result *r)
{
	Xenmesh__V1__StartVmRequest start = XENMESH__V1__START_VM_REQUEST__INIT;
	Xenmesh__V1__RebootVmRequest reboot = XENMESH__V1__REBOOT_VM_REQUEST__INIT;
	Xenmesh__V1__ShutdownVmRequest shutdown = XENMESH__V1__SHUTDOWN_VM_REQUEST__INIT;
	Xenmesh__V1__DestroyVmRequest destroy = XENMESH__V1__DESTROY_VM_REQUEST__INIT;
	Xenmesh__V1__UndefineVmRequest undefine = XENMESH__V1__UNDEFINE_VM_REQUEST__INIT;
	Xenmesh__V1__PauseVmRequest pause = XENMESH__V1__PAUSE_VM_REQUEST__INIT;
	Xenmesh__V1__UnpauseVmRequest unpause = XENMESH__V1__UNPAUSE_VM_REQUEST__INIT;
	Xenmesh__V1__GetVmRequest get = XENMESH__V1__GET_VM_REQUEST__INIT;
	const struct {
		const char *method;
		const ProtobufCMessage *request;
	} requests[] = {
		{ "StartVm", &start.base },	  { "RebootVm", &reboot.base },
		{ "ShutdownVm", &shutdown.base }, { "DestroyVm", &destroy.base },
		{ "UndefineVm", &undefine.base }, { "PauseVm", &pause.base },
		{ "UnpauseVm", &unpause.base },	  { "GetVm", &get.base },
	};

	start.vm = reboot.vm = shutdown.vm = destroy.vm = undefine.vm = pause.vm = unpause.vm =
		get.vm = (char *)vm;
	for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
		if (streq(requests[i].method, method)) {
			return process_begin_call(p, method, requests[i].request, id, r);
		}
	}
	abort();
}

/* Its code. */
static inline int process_vm_call(struct ops_process *p, const char *method, const char *vm,
				  const struct uuid *id, struct ops_result *r)
{
	process_end_call(p, process_begin_vm_call(p, method, vm, id, r), r);
	return r->code;
}

/* DefineVm of a small VM; the code. */
static inline int process_define(struct ops_process *p, const char *uuid, const char *name,
				 const struct uuid *id, struct ops_result *r)
{
	Xenmesh__V1__DefineVmRequest q = XENMESH__V1__DEFINE_VM_REQUEST__INIT;
	Xenmesh__V1__VmConfig c = XENMESH__V1__VM_CONFIG__INIT;

	c.uuid = (char *)uuid;
	c.name = (char *)name;
	c.kernel = (char *)"/boot/vmlinuz";
	c.type = VM_TYPE_PV;
	c.vcpus = 1;
	c.memory_kib = 65536;
	q.source_case = XENMESH__V1__DEFINE_VM_REQUEST__SOURCE_CONFIG;
	q.config = &c;
	process_call(p, "DefineVm", &q.base, id, r);
	return r->code;
}

/* WaitTask, over any number of restarts; the task's state. *task is the result's. */
static inline int process_wait(struct ops_process *p, const char *id, struct ops_result *r,
			       const Xenmesh__V1__Task **task)
{
	Xenmesh__V1__WaitTaskRequest q = XENMESH__V1__WAIT_TASK_REQUEST__INIT;

	q.id = (char *)id;
	process_call(p, "WaitTask", &q.base, NULL, r);
	*task = (const Xenmesh__V1__Task *)r->payload;
	return *task ? (int)(*task)->state : -1;
}

static inline const Xenmesh__V1__Task *result_task(const struct ops_result *r)
{
	static const Xenmesh__V1__Task none = XENMESH__V1__TASK__INIT;

	return r->payload ? (const Xenmesh__V1__Task *)r->payload : &none;
}
