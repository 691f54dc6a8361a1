/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The two programs together: the guest agent writes into the real xenstored,
 * the bridge publishes, and a client of the bus sees it.
 */
#include <spawn.h>
#include <sys/wait.h>

#include "bus/client.h"
#include "bus/sub.h"
#include "tests/unit/simxen_util.h"

extern char **environ;

#define UUID_A "0a0a0a0a-1111-4222-8333-444444444444"
#define HOME   "/local/domain/5"

struct fixture {
	struct host host;
	struct topology *topology;
	pid_t bridge;
	struct bus_client *client;
	struct bus_sub *sub;
	/* of topic vm/UUID_A/guest */
	unsigned int n_states;
	unsigned int n_removed;
	unsigned int n_installed; /* of n_states: with an agent */
	unsigned int n_renamed;	  /* of n_states: with the host name "changed" */
	/* of the last call */
	unsigned int n_results;
	int code;
	char message[256];
	uint32_t domid;
	size_t n_guests;
};

static pid_t spawn(struct fixture *f, const char *name, const char *const *more)
{
	char program[PATH_MAX];
	char *argv[6] = { program };
	pid_t pid = -1;

	snprintf(program, sizeof(program), "%s", f->host.shim);
	snprintf(strrchr(program, '/'), 64, "/%s", name);
	for (size_t i = 0; more[i]; i++) {
		argv[1 + i] = (char *)(uintptr_t)more[i];
	}
	CU_ASSERT_EQUAL(posix_spawn(&pid, program, NULL, NULL, argv, environ), 0);
	return pid;
}

static int wait_exit(pid_t pid)
{
	int status = -1;

	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void on_event(struct bus_sub *s _unused_, const struct bus_sub_event *e, void *userdata)
{
	struct fixture *f = userdata;
	const Xenmesh__V1__GuestInfo *info;

	if (e->what == BUS_SUB_REMOVED) {
		CU_ASSERT_STRING_EQUAL(e->topic, "vm/" UUID_A "/guest");
		f->n_removed++;
	}
	if (e->what != BUS_SUB_STATE ||
	    e->event->body_case != XENMESH__V1__EVENT__BODY_GUEST_INFO) {
		return;
	}
	info = e->event->guest_info;
	CU_ASSERT_STRING_EQUAL(e->topic, "vm/" UUID_A "/guest");
	CU_ASSERT_STRING_EQUAL(info->uuid, UUID_A);
	f->n_installed += info->agent->installed;
	f->n_renamed += info->hostname.len == 7 && memcmp(info->hostname.data, "changed", 7) == 0;
	f->n_states++;
}

static void on_result(struct bus_client *c _unused_, const struct bus_result *result,
		      void *userdata)
{
	struct fixture *f = userdata;
	const ProtobufCMessage *payload = result->payload;

	f->n_results++;
	f->code = result->code;
	snprintf(f->message, sizeof(f->message), "%s", result->message);
	if (payload && payload->descriptor == &xenmesh__v1__guest_info__descriptor) {
		f->domid = ((const Xenmesh__V1__GuestInfo *)(const void *)payload)->domid;
	}
	if (payload && payload->descriptor == &xenmesh__v1__list_guests_reply__descriptor) {
		f->n_guests =
			((const Xenmesh__V1__ListGuestsReply *)(const void *)payload)->n_guests;
	}
}

static int call(struct fixture *f, const char *method, const ProtobufCMessage *request)
{
	unsigned int n = f->n_results + 1;

	CU_ASSERT_EQUAL(bus_client_call(f->client, method, request, NULL, on_result, f, NULL), 0);
	return wait_for(&f->host, &f->n_results, n) ? f->code : -ETIMEDOUT;
}

static int get_guest(struct fixture *f, const char *vm)
{
	Xenmesh__V1__GetGuestRequest request = XENMESH__V1__GET_GUEST_REQUEST__INIT;

	request.vm = (char *)(uintptr_t)vm;
	return call(f, "xenmesh.v1.Guest/GetGuest", &request.base);
}

static int list_guests(struct fixture *f, const char *after, uint32_t limit)
{
	Xenmesh__V1__ListGuestsRequest request = XENMESH__V1__LIST_GUESTS_REQUEST__INIT;

	request.after_uuid = (char *)(uintptr_t)after;
	request.limit = limit;
	return call(f, "xenmesh.v1.Guest/ListGuests", &request.base);
}

static bool start(struct fixture *f)
{
	static const char *const prefixes[] = { "vm/" };
	const char *more[] = { "--topology", NULL, NULL };
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	char path[PATH_MAX];
	FILE *file;

	*f = (struct fixture){ .bridge = -1 };
	if (!host_start(&f->host, NULL)) {
		return false;
	}
	snprintf(path, sizeof(path), "%.1000s/topology.conf", f->host.dir);
	file = fopen(path, "w");
	if (!file) {
		return false;
	}
	fprintf(file, "[bus]\nrun_dir = %s\n", f->host.dir);
	fclose(file);
	CU_ASSERT_EQUAL(topology_load(&f->topology, path, &errors), 0);
	more[1] = path;
	f->bridge = spawn(f, "xenmesh-agent-bridge", more);
	CU_ASSERT_EQUAL(
		bus_client_new(&f->client, f->host.event, f->topology, "agent-bridge", "test"), 0);
	CU_ASSERT_EQUAL(bus_sub_new(&f->sub, f->host.event, f->topology, "agent-bridge", prefixes,
				    1, "test", on_event, f),
			0);
	return f->client && f->sub;
}

static void end(struct fixture *f)
{
	if (f->bridge > 0) {
		CU_ASSERT_EQUAL(kill(f->bridge, SIGTERM), 0);
		CU_ASSERT_EQUAL(wait_exit(f->bridge), 0);
	}
	bus_sub_free(f->sub);
	bus_client_free(f->client);
	topology_free(f->topology);
	host_end(&f->host);
}

static void check_calls(struct fixture *f)
{
	CU_ASSERT_EQUAL(get_guest(f, UUID_A), CODE_OK);
	CU_ASSERT_EQUAL(f->domid, 5);
	CU_ASSERT_EQUAL(get_guest(f, "5"), CODE_OK);
	CU_ASSERT_EQUAL(get_guest(f, "6"), CODE_NOT_FOUND);
	CU_ASSERT(strstr(f->message, "\"6\"") != NULL);
	CU_ASSERT_EQUAL(get_guest(f, "0"), CODE_NOT_FOUND);
	CU_ASSERT_EQUAL(list_guests(f, "", 0), CODE_OK);
	CU_ASSERT_EQUAL(f->n_guests, 1);
	CU_ASSERT_EQUAL(list_guests(f, UUID_A, 0), CODE_OK);
	CU_ASSERT_EQUAL(f->n_guests, 0);
	CU_ASSERT_EQUAL(list_guests(f, "junk", 0), CODE_INVALID_ARGUMENT);
	CU_ASSERT_EQUAL(list_guests(f, "", 501), CODE_INVALID_ARGUMENT);
}

static void test_service__from_the_agent_to_a_client(void)
{
	static const char *const once[] = { "--once", NULL };
	struct fixture f;

	if (start(&f) && add_domain(&f.host, 5)) {
		dom0_write(&f.host, HOME "/vm", "/vm/" UUID_A);
		if (wait_for(&f.host, &f.n_states, 1)) {
			CU_ASSERT_EQUAL(f.n_installed, 0);
			/* This machine plays the guest. */
			setenv("XENMESH_GUEST_HOME", HOME, 1);
			CU_ASSERT_EQUAL(wait_exit(spawn(&f, "xenmesh-guest-agent", once)), 0);
			wait_for(&f.host, &f.n_installed, 1);
			dom0_write(&f.host, HOME "/data/host_name_dns", "changed");
			wait_for(&f.host, &f.n_renamed, 1);
			check_calls(&f);
			CU_ASSERT(xs_rm(f.host.dom0, XBT_NULL, HOME));
			wait_for(&f.host, &f.n_removed, 1);
			CU_ASSERT_EQUAL(get_guest(&f, UUID_A), CODE_NOT_FOUND);
		}
	}
	end(&f);
}

static void test_service__says_why_it_does_not_start(void)
{
	static const char *const none[] = { NULL };
	struct fixture f;

	if (start(&f)) {
		list_guests(&f, "", 0);
		setenv("XENSTORED_PATH", "/nonexistent", 1);
		CU_ASSERT_EQUAL(wait_exit(spawn(&f, "xenmesh-agent-bridge", none)), 1);
	}
	end(&f);
}

UNIT_MAIN("bridge service", UNIT_TEST(test_service__from_the_agent_to_a_client),
	  UNIT_TEST(test_service__says_why_it_does_not_start))
