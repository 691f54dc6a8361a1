/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/client.h"

#include <stdio.h>

#include "bus/methods.h"
#include "tests/unit/fake_service.h"
#include "tests/unit/unit.h"

#define PING "xenmesh.v1.Bus/Ping"

/* What came of a call. */
struct outcome {
	bool done;
	unsigned int n;
	int code;
	char message[256];
	char echo[64];
	bool has_payload;
	bool was_sent;
	struct uuid id;
	char traceparent[TRACEPARENT_SIZE];
	struct bus_client **free_client; /* to be freed in the callback */
};

static void on_result(struct bus_client *c _unused_, const struct bus_result *result,
		      void *userdata)
{
	struct outcome *o = userdata;

	o->done = true;
	o->n++;
	o->code = result->code;
	o->id = result->request_id;
	memcpy(o->traceparent, result->traceparent, sizeof(o->traceparent));
	o->has_payload = result->payload != NULL;
	o->was_sent = result->was_sent;
	snprintf(o->message, sizeof(o->message), "%s", result->message);
	if (result->payload &&
	    result->payload->descriptor == &xenmesh__v1__ping_reply__descriptor) {
		const Xenmesh__V1__PingReply *reply = (const Xenmesh__V1__PingReply *)
							      result->payload;

		memcpy(o->echo, reply->echo.data, MIN(reply->echo.len, sizeof(o->echo) - 1));
	}
	if (o->free_client) {
		*o->free_client = bus_client_free(*o->free_client);
	}
}

static int ping(struct bus_client *c, const char *echo, const struct bus_call_options *options,
		struct outcome *o, uint64_t *id)
{
	Xenmesh__V1__PingRequest request = XENMESH__V1__PING_REQUEST__INIT;

	request.echo.data = (uint8_t *)echo;
	request.echo.len = strlen(echo);
	return bus_client_call(c, PING, &request.base, options, on_result, o, id);
}

static void answer_echo(struct fake_service *f, const struct bus_route *route,
			const Xenmesh__V1__Call *call)
{
	Xenmesh__V1__PingReply reply = XENMESH__V1__PING_REPLY__INIT;
	Xenmesh__V1__PingRequest *request = xenmesh__v1__ping_request__unpack(
		NULL, call->payload.len, call->payload.data);

	reply.echo = request->echo;
	CU_ASSERT_EQUAL(fake_reply(f, route, &call->request_id, CODE_OK, "", &reply.base), 0);
	xenmesh__v1__ping_request__free_unpacked(request, NULL);
}

/* A listening service and a client of it. */
static bool set_up(struct fake_service *f, struct bus_client **c)
{
	bool ok = fake_init(f) == 0 && fake_listen_rpc(f) == 0 &&
		  bus_client_new(c, f->loop, f->topology, "fake", "test/1") == 0;

	CU_ASSERT(ok);
	f->on_call = answer_echo;
	return ok;
}

static void tear_down(struct fake_service *f, struct bus_client *c)
{
	bus_client_free(c);
	fake_deinit(f);
}

static void test_client__returns_the_payload(void)
{
	struct fake_service f;
	struct bus_client *c = NULL;
	struct outcome o = { 0 };
	struct uuid id;

	uuid_random(&id);
	if (set_up(&f, &c)) {
		const struct bus_call_options options = { .request_id = &id };

		CU_ASSERT_EQUAL(ping(c, "hello", &options, &o, NULL), 0);
		CU_ASSERT_FALSE(o.done); /* never from the caller's stack */
		CU_ASSERT(fake_run(&f, &o.done, 5000));
		CU_ASSERT_EQUAL(o.code, CODE_OK);
		CU_ASSERT_STRING_EQUAL(o.message, "");
		CU_ASSERT_STRING_EQUAL(o.echo, "hello");
		CU_ASSERT_EQUAL(memcmp(&o.id, &id, sizeof(id)), 0);
		CU_ASSERT(bus_client_is_connected(c));
	}
	tear_down(&f, c);
}

#define TRACEPARENT "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"

static void answer_traceparent(struct fake_service *f, const struct bus_route *route,
			       const Xenmesh__V1__Call *call)
{
	Xenmesh__V1__PingReply reply = XENMESH__V1__PING_REPLY__INIT;

	reply.echo.data = (uint8_t *)call->traceparent;
	reply.echo.len = strlen(call->traceparent);
	CU_ASSERT_EQUAL(fake_reply(f, route, &call->request_id, CODE_OK, "", &reply.base), 0);
}

/* The traceparent that the service gets with a call. */
static void traced_ping(struct fake_service *f, struct bus_client *c,
			const struct bus_call_options *options, struct outcome *o)
{
	*o = (struct outcome){ 0 };
	f->on_call = answer_traceparent;
	CU_ASSERT_EQUAL(ping(c, "", options, o, NULL), 0);
	CU_ASSERT(fake_run(f, &o->done, 5000));
	CU_ASSERT_STRING_EQUAL(o->traceparent, o->echo);
	CU_ASSERT(traceparent_is_valid(o->echo));
}

static void test_client__each_call_begins_a_trace(void)
{
	const struct bus_call_options given = { .traceparent = TRACEPARENT };
	const struct bus_call_options wrong = { .traceparent = TRACEPARENT "-" };
	struct fake_service f;
	struct bus_client *c = NULL;
	struct outcome a, b;

	unsetenv("TRACEPARENT");
	if (set_up(&f, &c)) {
		traced_ping(&f, c, NULL, &a);
		traced_ping(&f, c, NULL, &b);
		CU_ASSERT_NOT_EQUAL(strncmp(a.echo, b.echo, 35), 0);
		traced_ping(&f, c, &given, &a);
		CU_ASSERT_STRING_EQUAL(a.echo, TRACEPARENT);
		CU_ASSERT_EQUAL(ping(c, "", &wrong, &a, NULL), -EINVAL);
	}
	tear_down(&f, c);
}

static void test_client__continues_the_trace_of_its_process(void)
{
	const struct bus_call_options given = {
		.traceparent = "00-11112222333344445555666677778888-"
			       "00f067aa0ba902b7-01"
	};
	struct fake_service f;
	struct bus_client *c = NULL;
	struct outcome a, b;

	setenv("TRACEPARENT", TRACEPARENT, 1);
	if (set_up(&f, &c)) {
		traced_ping(&f, c, NULL, &a);
		traced_ping(&f, c, NULL, &b);
		CU_ASSERT_EQUAL(strncmp(a.echo, TRACEPARENT, 36), 0);
		CU_ASSERT_EQUAL(strncmp(b.echo, TRACEPARENT, 36), 0);
		CU_ASSERT_NOT_EQUAL(strcmp(a.echo, b.echo), 0); /* each is a child of its own */
		CU_ASSERT_STRING_NOT_EQUAL(a.echo, TRACEPARENT);
		traced_ping(&f, c, &given, &a);
		CU_ASSERT_STRING_EQUAL(a.echo, given.traceparent);
	}
	tear_down(&f, c);
	setenv("TRACEPARENT", "00-none", 1);
	c = NULL;
	if (set_up(&f, &c)) {
		traced_ping(&f, c, NULL, &a);
	}
	tear_down(&f, c);
	unsetenv("TRACEPARENT");
}

static void test_client__rejects_bad_requests(void)
{
	struct fake_service f;
	struct bus_client *c = NULL, *none = NULL;
	struct outcome o = { 0 };

	if (set_up(&f, &c)) {
		Xenmesh__V1__PingRequest request = XENMESH__V1__PING_REQUEST__INIT;
		Xenmesh__V1__StatsRequest other = XENMESH__V1__STATS_REQUEST__INIT;
		uint8_t *large = calloc(1, BUS_CALL_MAX);

		CU_ASSERT_EQUAL(bus_client_call(c, "xenmesh.v1.Bus/Nothing", &request.base, NULL,
						on_result, &o, NULL),
				-EINVAL);
		CU_ASSERT_EQUAL(bus_client_call(c, PING, &other.base, NULL, on_result, &o, NULL),
				-EINVAL);
		request.echo.data = large;
		request.echo.len = BUS_CALL_MAX;
		CU_ASSERT_EQUAL(bus_client_call(c, PING, &request.base, NULL, on_result, &o, NULL),
				-EMSGSIZE);
		free(large);
		CU_ASSERT_EQUAL(bus_client_new(&none, f.loop, f.topology, "nobody", "test/1"),
				-ENOENT);
	}
	tear_down(&f, c);
	CU_ASSERT_EQUAL(o.n, 0);
}

static void answer_not_found(struct fake_service *f, const struct bus_route *route,
			     const Xenmesh__V1__Call *call)
{
	fake_reply(f, route, &call->request_id, CODE_NOT_FOUND, "no such VM", NULL);
}

static void answer_unknown_code(struct fake_service *f, const struct bus_route *route,
				const Xenmesh__V1__Call *call)
{
	fake_reply(f, route, &call->request_id, 99, "from the future", NULL);
}

static void answer_unread(struct fake_service *f, const struct bus_route *route,
			  const Xenmesh__V1__Call *call _unused_)
{
	const ProtobufCBinaryData none = { 0 };

	fake_reply(f, route, &none, CODE_INVALID_ARGUMENT, "not a Call", NULL);
}

static void answer_other_id(struct fake_service *f, const struct bus_route *route,
			    const Xenmesh__V1__Call *call _unused_)
{
	Xenmesh__V1__PingReply reply = XENMESH__V1__PING_REPLY__INIT;
	uint8_t zero[16] = { 0 };
	const ProtobufCBinaryData id = { .len = sizeof(zero), .data = zero };

	fake_reply(f, route, &id, CODE_OK, "", &reply.base);
}

static void answer_noise(struct fake_service *f, const struct bus_route *route,
			 const Xenmesh__V1__Call *call _unused_)
{
	struct bus_route to = *route;

	bus_engine_sp.send(f->rep, &to, "\xff\xff\xff", 3);
}

static void answer_bad_payload(struct fake_service *f, const struct bus_route *route,
			       const Xenmesh__V1__Call *call)
{
	/* A PingReply whose echo is announced longer than it is. */
	static uint8_t bytes[] = { 0x0a, 0x7f, 'x' };
	Xenmesh__V1__Reply reply = XENMESH__V1__REPLY__INIT;
	struct bus_route to = *route;
	uint8_t data[64];

	reply.request_id = call->request_id;
	reply.payload.data = bytes;
	reply.payload.len = sizeof(bytes);
	bus_engine_sp.send(f->rep, &to, data, xenmesh__v1__reply__pack(&reply, data));
}

static void test_client__tells_what_the_service_says(void)
{
	static const struct {
		void (*on_call)(struct fake_service *f, const struct bus_route *route,
				const Xenmesh__V1__Call *call);
		int code;
		const char *message;
	} cases[] = {
		{ answer_not_found, CODE_NOT_FOUND, "no such VM" },
		{ answer_unknown_code, 99, "from the future" },
		{ answer_unread, CODE_INVALID_ARGUMENT, "not a Call" },
		{ answer_other_id, CODE_INTERNAL,
		  "the service's answer carries the id of another request" },
		{ answer_noise, CODE_INTERNAL, "the service's answer is no xenmesh.v1.Reply" },
		{ answer_bad_payload, CODE_INTERNAL,
		  "the service's answer has a payload that cannot be read" },
	};
	struct fake_service f;
	struct bus_client *c = NULL;

	if (set_up(&f, &c)) {
		for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
			struct outcome o = { 0 };

			f.on_call = cases[i].on_call;
			CU_ASSERT_EQUAL(ping(c, "x", NULL, &o, NULL), 0);
			CU_ASSERT(fake_run(&f, &o.done, 5000));
			CU_ASSERT_EQUAL(o.code, cases[i].code);
			CU_ASSERT_STRING_EQUAL(o.message, cases[i].message);
			CU_ASSERT_FALSE(o.has_payload);
		}
	}
	tear_down(&f, c);
}

/* The service of the repeat test: it executes a request id once, and dies the
 * first time before it answers. */
struct mortal {
	uint8_t ids[4][16];
	uint32_t timeouts_ms[4];
	unsigned int n_executed;
	bool died;
};

static void execute_once(struct fake_service *f, const struct bus_route *route,
			 const Xenmesh__V1__Call *call)
{
	struct mortal *m = f->userdata;
	unsigned int n = f->n_calls - 1;

	if (n >= ARRAY_LEN(m->ids)) {
		return;
	}
	memcpy(m->ids[n], call->request_id.data, 16);
	m->timeouts_ms[n] = call->timeout_ms;
	if (n == 0 || memcmp(m->ids[0], m->ids[n], 16) != 0) {
		m->n_executed++;
	}
	if (n == 0) {
		m->died = true;
		return;
	}
	answer_echo(f, route, call);
}

static void test_client__repeats_with_the_same_id(void)
{
	struct fake_service f;
	struct bus_client *c = NULL;
	struct outcome o = { 0 };
	struct mortal m = { 0 };

	if (set_up(&f, &c)) {
		f.on_call = execute_once;
		f.userdata = &m;
		CU_ASSERT_EQUAL(ping(c, "once", NULL, &o, NULL), 0);
		CU_ASSERT(fake_run(&f, &m.died, 5000));
		fake_close_rpc(&f);
		CU_ASSERT_EQUAL(fake_listen_rpc(&f), 0);
		CU_ASSERT(fake_run(&f, &o.done, 10000));
		CU_ASSERT_EQUAL(o.code, CODE_OK);
		CU_ASSERT_STRING_EQUAL(o.echo, "once");
		CU_ASSERT_EQUAL(o.n, 1);
		CU_ASSERT_EQUAL(f.n_calls, 2);
		CU_ASSERT_EQUAL(m.n_executed, 1);
		CU_ASSERT(m.timeouts_ms[0] <= BUS_TIMEOUT_DEFAULT_MS);
		CU_ASSERT(m.timeouts_ms[0] > BUS_TIMEOUT_DEFAULT_MS - 5000);
		CU_ASSERT(m.timeouts_ms[1] < m.timeouts_ms[0]); /* what is left */
	}
	tear_down(&f, c);
}

static void test_client__no_retry_fails_when_cut(void)
{
	const struct bus_call_options options = { .no_retry = true };
	struct fake_service f;
	struct bus_client *c = NULL;
	struct outcome o = { 0 };
	struct mortal m = { 0 };

	if (set_up(&f, &c)) {
		f.on_call = execute_once;
		f.userdata = &m;
		CU_ASSERT_EQUAL(ping(c, "x", &options, &o, NULL), 0);
		CU_ASSERT(fake_run(&f, &m.died, 5000));
		fake_close_rpc(&f);
		CU_ASSERT(fake_run(&f, &o.done, 900)); /* at once, not after 1 s */
		CU_ASSERT_EQUAL(o.code, CODE_UNAVAILABLE);
		CU_ASSERT_PTR_NOT_NULL(strstr(o.message, "broke"));
		CU_ASSERT(o.was_sent);
		CU_ASSERT_EQUAL(f.n_calls, 1);
	}
	tear_down(&f, c);
}

static uint64_t elapsed_ms(uint64_t since_ns)
{
	return (clock_boot_ns() - since_ns) / NSEC_PER_MSEC;
}

static void test_client__says_who_is_not_there(void)
{
	const struct bus_call_options brief = { .timeout_ms = 300 };
	const struct bus_call_options no_retry = { .no_retry = true };
	struct fake_service f;
	struct bus_client *c = NULL;
	struct outcome at_deadline = { 0 }, at_once = { 0 };
	uint64_t begin_ns = clock_boot_ns();

	CU_ASSERT_EQUAL(fake_init(&f), 0);
	CU_ASSERT_EQUAL(bus_client_new(&c, f.loop, f.topology, "fake", "test/1"), 0);
	if (c) {
		CU_ASSERT_EQUAL(ping(c, "x", &brief, &at_deadline, NULL), 0);
		CU_ASSERT_EQUAL(ping(c, "x", &no_retry, &at_once, NULL), 0);
		CU_ASSERT(fake_run(&f, &at_deadline.done, 5000));
		CU_ASSERT(elapsed_ms(begin_ns) >= 300);
		CU_ASSERT_EQUAL(at_deadline.code, CODE_UNAVAILABLE);
		CU_ASSERT_FALSE(at_deadline.was_sent);
		CU_ASSERT_PTR_NOT_NULL(strstr(at_deadline.message, f.rpc_url));
		CU_ASSERT_PTR_NOT_NULL(
			strstr(at_deadline.message, "systemctl status xenmesh-fake"));
		CU_ASSERT_FALSE(at_once.done);
		CU_ASSERT(fake_run(&f, &at_once.done, 5000));
		CU_ASSERT_EQUAL(at_once.code, CODE_UNAVAILABLE);
		CU_ASSERT_FALSE(at_once.was_sent);
		CU_ASSERT(elapsed_ms(begin_ns) >= 1000);
		CU_ASSERT(elapsed_ms(begin_ns) < 3000);
		CU_ASSERT_FALSE(bus_client_is_connected(c));
	}
	tear_down(&f, c);
}

static void test_client__waits_for_a_service_that_starts(void)
{
	struct fake_service f;
	struct bus_client *c = NULL;
	struct outcome o = { 0 };

	CU_ASSERT_EQUAL(fake_init(&f), 0);
	CU_ASSERT_EQUAL(bus_client_new(&c, f.loop, f.topology, "fake", "test/1"), 0);
	if (c) {
		f.on_call = answer_echo;
		CU_ASSERT_EQUAL(ping(c, "late", NULL, &o, NULL), 0);
		CU_ASSERT_FALSE(fake_run(&f, &o.done, 200));
		CU_ASSERT_EQUAL(fake_listen_rpc(&f), 0);
		CU_ASSERT(fake_run(&f, &o.done, 5000));
		CU_ASSERT_EQUAL(o.code, CODE_OK);
		CU_ASSERT_STRING_EQUAL(o.echo, "late");
	}
	tear_down(&f, c);
}

/* Keeps the calls and answers when the test says so. */
struct keeper {
	struct {
		struct bus_route route;
		uint8_t id[16];
		unsigned int number; /* from the echo */
	} calls[256];
	unsigned int n, enough;
	bool has_enough;
};

static void keep(struct fake_service *f, const struct bus_route *route,
		 const Xenmesh__V1__Call *call)
{
	struct keeper *k = f->userdata;
	Xenmesh__V1__PingRequest *request = xenmesh__v1__ping_request__unpack(
		NULL, call->payload.len, call->payload.data);

	if (k->n < ARRAY_LEN(k->calls)) {
		char number[8] = "";

		memcpy(number, request->echo.data, MIN(request->echo.len, sizeof(number) - 1));
		k->calls[k->n].route = *route;
		k->calls[k->n].number = (unsigned int)atoi(number);
		memcpy(k->calls[k->n].id, call->request_id.data, 16);
		k->n++;
	}
	k->has_enough = k->n >= k->enough;
	xenmesh__v1__ping_request__free_unpacked(request, NULL);
}

static void answer_kept(struct fake_service *f, unsigned int i)
{
	struct keeper *k = f->userdata;
	const ProtobufCBinaryData id = { .len = 16, .data = k->calls[i].id };
	Xenmesh__V1__PingReply reply = XENMESH__V1__PING_REPLY__INIT;
	char number[8];

	snprintf(number, sizeof(number), "%u", k->calls[i].number);
	reply.echo.data = (uint8_t *)number;
	reply.echo.len = strlen(number);
	CU_ASSERT_EQUAL(fake_reply(f, &k->calls[i].route, &id, CODE_OK, "", &reply.base), 0);
}

static void test_client__has_64_calls_under_way(void)
{
	enum { N = 200 };
	static struct outcome o[N];
	static struct keeper k;
	struct fake_service f;
	struct bus_client *c = NULL;

	memset(o, 0, sizeof(o));
	k = (struct keeper){ .enough = 64 };
	if (set_up(&f, &c)) {
		bool never = false;

		f.on_call = keep;
		f.userdata = &k;
		for (unsigned int i = 0; i < N; i++) {
			char number[8];

			snprintf(number, sizeof(number), "%u", i);
			CU_ASSERT_EQUAL(ping(c, number, NULL, &o[i], NULL), 0);
		}
		CU_ASSERT(fake_run(&f, &k.has_enough, 5000));
		fake_run(&f, &never, 100);
		CU_ASSERT_EQUAL(k.n, BUS_INFLIGHT_PER_PEER);
		/* The newest first; each answer lets one more call go. */
		for (unsigned int n_done = 0; n_done < N; n_done++) {
			unsigned int i = n_done <= N - 64 ? 63 + n_done : N - 1 - n_done;

			CU_ASSERT_EQUAL(k.calls[i].number, i); /* sent in order */
			answer_kept(&f, i);
			k.enough = MIN(k.n + 1, N);
			k.has_enough = k.n >= k.enough;
			CU_ASSERT(fake_run(&f, &o[i].done, 5000));
			CU_ASSERT_EQUAL((unsigned int)atoi(o[i].echo), i);
			CU_ASSERT(fake_run(&f, &k.has_enough, 5000));
		}
		for (unsigned int i = 0; i < N; i++) {
			CU_ASSERT_EQUAL(o[i].n, 1);
			CU_ASSERT_EQUAL(o[i].code, CODE_OK);
		}
	}
	tear_down(&f, c);
}

static void test_client__deadline_and_late_answer(void)
{
	const struct bus_call_options brief = { .timeout_ms = 200 };
	static struct keeper k;
	struct fake_service f;
	struct bus_client *c = NULL;
	struct outcome o = { 0 }, second = { 0 };

	k = (struct keeper){ .enough = 1 };
	if (set_up(&f, &c)) {
		uint64_t begin_ns = clock_boot_ns();

		f.on_call = keep;
		f.userdata = &k;
		CU_ASSERT_EQUAL(ping(c, "1", &brief, &o, NULL), 0);
		CU_ASSERT(fake_run(&f, &o.done, 5000));
		CU_ASSERT(elapsed_ms(begin_ns) >= 200);
		CU_ASSERT(elapsed_ms(begin_ns) < 2000);
		CU_ASSERT_EQUAL(o.code, CODE_DEADLINE_EXCEEDED);
		CU_ASSERT_PTR_NOT_NULL(strstr(o.message, PING));
		answer_kept(&f, 0); /* nobody waits for it */
		CU_ASSERT_EQUAL(ping(c, "2", NULL, &second, NULL), 0);
		k.enough = 2;
		k.has_enough = false;
		CU_ASSERT(fake_run(&f, &k.has_enough, 5000));
		answer_kept(&f, 1);
		CU_ASSERT(fake_run(&f, &second.done, 5000));
		CU_ASSERT_STRING_EQUAL(second.echo, "2");
		CU_ASSERT_EQUAL(o.n, 1);
	}
	tear_down(&f, c);
}

static void test_client__cancelled_calls_are_not_told(void)
{
	static struct keeper k;
	struct fake_service f;
	struct bus_client *c = NULL;
	struct outcome sent = { 0 }, queued = { 0 }, last = { 0 };
	uint64_t sent_id, queued_id;

	k = (struct keeper){ .enough = 1 };
	if (set_up(&f, &c)) {
		f.on_call = keep;
		f.userdata = &k;
		CU_ASSERT_EQUAL(ping(c, "0", NULL, &queued, &queued_id), 0);
		bus_client_cancel(c, queued_id);
		CU_ASSERT_EQUAL(ping(c, "1", NULL, &sent, &sent_id), 0);
		CU_ASSERT(fake_run(&f, &k.has_enough, 5000));
		CU_ASSERT_EQUAL(k.calls[0].number, 1); /* the queued one was never sent */
		bus_client_cancel(c, sent_id);
		bus_client_cancel(c, sent_id);
		answer_kept(&f, 0);
		f.on_call = answer_echo;
		CU_ASSERT_EQUAL(ping(c, "last", NULL, &last, NULL), 0);
		CU_ASSERT(fake_run(&f, &last.done, 5000));
		CU_ASSERT_STRING_EQUAL(last.echo, "last");
		CU_ASSERT_EQUAL(sent.n, 0);
		CU_ASSERT_EQUAL(queued.n, 0);
	}
	tear_down(&f, c);
}

static void test_client__may_be_freed_in_the_callback(void)
{
	const struct bus_call_options brief = { .timeout_ms = 100 };
	struct fake_service f;
	struct bus_client *c = NULL;
	struct outcome o = { .free_client = &c }, other = { 0 };

	if (set_up(&f, &c)) {
		CU_ASSERT_EQUAL(ping(c, "1", NULL, &o, NULL), 0);
		CU_ASSERT_EQUAL(ping(c, "2", NULL, &other, NULL), 0);
		CU_ASSERT(fake_run(&f, &o.done, 5000));
		CU_ASSERT_PTR_NULL(c);
	}
	/* And in that of a failure. */
	fake_close_rpc(&f);
	o = (struct outcome){ .free_client = &c };
	CU_ASSERT_EQUAL(bus_client_new(&c, f.loop, f.topology, "fake", "test/1"), 0);
	if (c) {
		CU_ASSERT_EQUAL(ping(c, "1", &brief, &o, NULL), 0);
		CU_ASSERT_EQUAL(ping(c, "2", &brief, &other, NULL), 0);
		CU_ASSERT(fake_run(&f, &o.done, 5000));
		CU_ASSERT_EQUAL(o.code, CODE_UNAVAILABLE);
	}
	CU_ASSERT_EQUAL(other.n, 0);
	tear_down(&f, c);
}

UNIT_MAIN("client", UNIT_TEST(test_client__returns_the_payload),
	  UNIT_TEST(test_client__each_call_begins_a_trace),
	  UNIT_TEST(test_client__continues_the_trace_of_its_process),
	  UNIT_TEST(test_client__rejects_bad_requests),
	  UNIT_TEST(test_client__tells_what_the_service_says),
	  UNIT_TEST(test_client__repeats_with_the_same_id),
	  UNIT_TEST(test_client__no_retry_fails_when_cut),
	  UNIT_TEST(test_client__says_who_is_not_there),
	  UNIT_TEST(test_client__waits_for_a_service_that_starts),
	  UNIT_TEST(test_client__has_64_calls_under_way),
	  UNIT_TEST(test_client__deadline_and_late_answer),
	  UNIT_TEST(test_client__cancelled_calls_are_not_told),
	  UNIT_TEST(test_client__may_be_freed_in_the_callback))
