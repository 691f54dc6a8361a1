/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The lines that calls leave, by fields as the journal gets them, and the trace
 * of calls that an admin can switch on.
 */
#include "bus/audit.h"

#include "bus/transient.h"
#include "libcommon/traceparent.h"
#include "tests/unit/server_util.h"

#define LINES_MAX   256
#define TRACEPARENT "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
#define TRACE_ID    "4bf92f3577b34da6a3ce929d0e0e4736"
#define SET_TRACE   "xenmesh.v1.Bus/SetTrace"

/* ---- what was written ---- */

static struct line {
	enum log_level level;
	char text[1024]; /* "message|NAME=value|...|" */
} lines[LINES_MAX];
static size_t n_lines;

static void sink(enum log_level level, const char *message, const struct log_field *fields,
		 size_t n_fields)
{
	struct strbuf text = STRBUF_NULL;

	strbuf_printf(&text, "%s|", message);
	for (size_t i = 0; i < n_fields; i++) {
		strbuf_printf(&text, "%s=%s|", fields[i].name, fields[i].value);
	}
	if (n_lines < LINES_MAX && strstr(strbuf_str(&text), "|MESSAGE_ID=")) {
		lines[n_lines].level = level;
		snprintf(lines[n_lines++].text, sizeof(lines[0].text), "%s", strbuf_str(&text));
	}
	strbuf_deinit(&text);
}

/* The newest line has this field, or begins with this message. */
static bool has(const char *part)
{
	char field[300];

	if (n_lines == 0) {
		return false;
	}
	snprintf(field, sizeof(field), "|%s|", part);
	return strstr(lines[n_lines - 1].text, field) ||
	       (str_starts(lines[n_lines - 1].text, part) &&
		lines[n_lines - 1].text[strlen(part)] == '|');
}

static bool has_name(const char *name)
{
	return n_lines > 0 && strstr(lines[n_lines - 1].text, name);
}

static void begin(struct fixture *f, struct peer *p)
{
	set_up(f);
	n_lines = 0;
	log_set_level(LOG_LEVEL_ERROR); /* the audit does not ask */
	log_set_sink(sink);
	peer_open(p, f, f->url);
}

static void end(struct fixture *f, struct peer *p)
{
	peer_close(p);
	tear_down(f);
	log_set_sink(NULL);
	log_set_level(LOG_LEVEL_INFO);
}

static void send_traced(struct peer *p, uint32_t id_n, const char *vm, const char *traceparent)
{
	Xenmesh__V1__Call call = XENMESH__V1__CALL__INIT;
	Xenmesh__V1__StartVmRequest request = XENMESH__V1__START_VM_REQUEST__INIT;
	uint8_t id[16], payload[256], bytes[1024];

	make_id(id, id_n);
	request.vm = (char *)vm;
	call.request_id = (ProtobufCBinaryData){ 16, id };
	call.method = (char *)START;
	call.client = (char *)"test/1 uid=0 \n<b>";
	call.traceparent = (char *)traceparent;
	call.payload = (ProtobufCBinaryData){
		xenmesh__v1__start_vm_request__pack(&request, payload), payload
	};
	send_raw(p, bytes, xenmesh__v1__call__pack(&call, bytes));
}

/* ---- tests ---- */

static void test_accepted(void)
{
	char uid[64], pid[64];
	struct fixture f;
	struct peer p;

	begin(&f, &p);
	send_traced(&p, 1, "we\tb", TRACEPARENT);
	wait_reply(&p);
	CU_ASSERT_EQUAL(n_lines, 1);
	CU_ASSERT_EQUAL(lines[0].level, LOG_LEVEL_NOTICE);
	snprintf(uid, sizeof(uid), "StartVm of we\\x09b by uid %u: accepted", geteuid());
	CU_ASSERT(has(uid));
	snprintf(uid, sizeof(uid), "XENMESH_UID=%u", geteuid());
	snprintf(pid, sizeof(pid), "XENMESH_PID=%d", getpid());
	CU_ASSERT(has("MESSAGE_ID=" AUDIT_ID_CALL));
	CU_ASSERT(has("XENMESH_METHOD=" START));
	CU_ASSERT(has("XENMESH_OBJECT=we\\x09b"));
	CU_ASSERT(has("XENMESH_OUTCOME=accepted"));
	CU_ASSERT(has("XENMESH_RESULT=OK"));
	CU_ASSERT(has(uid));
	CU_ASSERT(has(pid));
	CU_ASSERT(has_name("|XENMESH_GID="));
	CU_ASSERT(has_name("|XENMESH_DURATION_US="));
	CU_ASSERT(has("XENMESH_REQUEST_ID=010000005a5a5a5a5a5a5a5a5a5a5a5a"));
	CU_ASSERT(has("TRACE_ID=" TRACE_ID));
	CU_ASSERT(has("TASK=task-1"));
	CU_ASSERT(has("XENMESH_CLIENT=test/1 uid=0 ?<b>"));
	CU_ASSERT(!has_name("|XENMESH_REASON="));
	end(&f, &p);
}

static void test_failed(void)
{
	struct fixture f;
	struct peer p;

	begin(&f, &p);
	start(&p, 1, "fail");
	CU_ASSERT_EQUAL(n_lines, 1);
	CU_ASSERT(has("XENMESH_OUTCOME=failed"));
	CU_ASSERT(has("XENMESH_RESULT=FAILED_PRECONDITION"));
	CU_ASSERT(has("XENMESH_OBJECT=fail"));
	CU_ASSERT(has("XENMESH_REASON=line 1\\x0aline \\x1b[31m2 \\xff3"));
	send_call(&p, 2, START, "\377\377", 2, 0);
	wait_reply(&p);
	CU_ASSERT_EQUAL(n_lines, 2);
	CU_ASSERT(has("XENMESH_RESULT=INVALID_ARGUMENT"));
	CU_ASSERT(!has_name("|XENMESH_OBJECT="));
	send_call(&p, 3, "xenmesh.v1.Ops/PauseVm", "\n\3web", 5, 0); /* nobody serves it here */
	wait_reply(&p);
	CU_ASSERT_EQUAL(n_lines, 3);
	CU_ASSERT(has("XENMESH_RESULT=UNIMPLEMENTED"));
	CU_ASSERT(has("XENMESH_OBJECT=web"));
	end(&f, &p);
}

static void test_denied(void)
{
	struct fixture f;
	struct peer p, tcp;

	begin(&f, &p);
	peer_open(&tcp, &f, f.tcp_url);
	start(&tcp, 1, "web");
	CU_ASSERT_EQUAL(n_lines, 1);
	CU_ASSERT(str_starts(lines[0].text, "StartVm of web by tcp 127.0.0.1"));
	CU_ASSERT(has_name(": denied|"));
	CU_ASSERT(has_name("|XENMESH_ADDRESS=127.0.0.1"));
	CU_ASSERT(has("XENMESH_OUTCOME=denied"));
	CU_ASSERT(has("XENMESH_RESULT=PERMISSION_DENIED"));
	CU_ASSERT(has("XENMESH_OBJECT=web"));
	CU_ASSERT(!has_name("|XENMESH_UID="));
	send_call(&tcp, 2, "xenmesh.v1.Bus/SetLogLevel", "\n\5error", 7, 0); /* for admins */
	wait_reply(&tcp);
	CU_ASSERT_EQUAL(n_lines, 2);
	CU_ASSERT(has("XENMESH_OBJECT=error"));
	peer_close(&tcp);
	end(&f, &p);
}

/* A repeat that waits, one that comes later, and one that is none. */
static void test_repeated(void)
{
	struct fixture f;
	struct peer p;
	uint64_t n;

	begin(&f, &p);
	send_start(&p, 1, "keep", 0);
	CU_ASSERT(bus_run_until(f.loop, &f.n_kept, 1, 5000));
	send_start(&p, 1, "keep", 0);
	bus_run_for(f.loop, 100);
	CU_ASSERT_EQUAL(n_lines, 0);
	n = p.n_replies;
	reply_task(f.kept[0], "the-task");
	CU_ASSERT(bus_run_until(f.loop, &p.n_replies, n + 2, 5000));
	CU_ASSERT_EQUAL(n_lines, 2);
	CU_ASSERT_PTR_NOT_NULL(strstr(lines[0].text, "|XENMESH_OUTCOME=accepted|"));
	CU_ASSERT(has("XENMESH_OUTCOME=repeated"));
	CU_ASSERT(has("XENMESH_RESULT=OK"));
	CU_ASSERT(has("TASK=the-task"));
	start(&p, 1, "keep");
	CU_ASSERT_EQUAL(n_lines, 3);
	CU_ASSERT(has("XENMESH_OUTCOME=repeated"));
	CU_ASSERT(has("XENMESH_RESULT=OK"));
	CU_ASSERT(has("XENMESH_OBJECT=keep"));
	start(&p, 1, "other"); /* the same id for another request */
	CU_ASSERT_EQUAL(n_lines, 4);
	CU_ASSERT(has("XENMESH_OUTCOME=failed"));
	CU_ASSERT(has("XENMESH_RESULT=INVALID_ARGUMENT"));
	end(&f, &p);
}

/* The caller is told that the time is over, but the line comes with the end. */
static void test_end_after_the_deadline(void)
{
	struct fixture f;
	struct peer p;

	begin(&f, &p);
	send_start(&p, 1, "keep", 20);
	CU_ASSERT_EQUAL((int)wait_reply(&p)->code, CODE_DEADLINE_EXCEEDED);
	CU_ASSERT_EQUAL(n_lines, 0);
	reply_task(f.kept[0], "late");
	CU_ASSERT_EQUAL(n_lines, 1);
	CU_ASSERT(has("XENMESH_OUTCOME=accepted"));
	CU_ASSERT(has("TASK=late"));
	end(&f, &p);
}

static void test_service_ends(void)
{
	struct fixture f;
	struct peer p;

	begin(&f, &p);
	send_start(&p, 1, "keep", 0);
	CU_ASSERT(bus_run_until(f.loop, &f.n_kept, 1, 5000));
	f.service = bus_service_free(f.service);
	CU_ASSERT_EQUAL(n_lines, 1);
	CU_ASSERT(has("XENMESH_OUTCOME=unanswered"));
	CU_ASSERT(has("XENMESH_RESULT=CANCELLED"));
	end(&f, &p);
}

/* Neither reading nor a call nobody knows. */
static void test_no_line(void)
{
	struct fixture f;
	struct peer p;

	begin(&f, &p);
	CU_ASSERT(ping(&p));
	send_call(&p, 1, "xenmesh.v1.Ops/Nothing", NULL, 0, 0);
	wait_reply(&p);
	CU_ASSERT_EQUAL(n_lines, 0);
	end(&f, &p);
}

/* Whoever may do nothing gets so many lines and then a number. */
static void test_refusals_are_limited(void)
{
	struct fixture f;
	struct peer p, tcp;

	begin(&f, &p);
	peer_open(&tcp, &f, f.tcp_url);
	for (uint32_t i = 1; i <= AUDIT_REFUSED_MAX + 7; i++) {
		start(&tcp, i, "web");
	}
	CU_ASSERT_EQUAL(n_lines, AUDIT_REFUSED_MAX);
	CU_ASSERT(is_task(start(&p, 1000, "web"), "task-1")); /* others are not concerned */
	CU_ASSERT_EQUAL(n_lines, AUDIT_REFUSED_MAX + 1);
	CU_ASSERT(has("XENMESH_OUTCOME=accepted"));
	start(&p, 1000, "other");
	CU_ASSERT_EQUAL(n_lines, AUDIT_REFUSED_MAX + 2);
	peer_close(&tcp);
	end(&f, &p);
	CU_ASSERT_EQUAL(n_lines, AUDIT_REFUSED_MAX + 3);
	CU_ASSERT(has("MESSAGE_ID=" AUDIT_ID_LEFT_OUT));
	CU_ASSERT(has("XENMESH_LEFT_OUT=7"));
}

static void test_limit_of_many_users(void)
{
	struct bus_peer peer = { .has_creds = true };
	struct audit_limit l;
	sd_event *loop = NULL;
	size_t n_taken = 0;

	n_lines = 0;
	log_set_sink(sink);
	CU_ASSERT_EQUAL(sd_event_new(&loop), 0);
	audit_limit_init(&l, loop);
	for (peer.uid = 0; peer.uid < 3 * AUDIT_USERS; peer.uid++) {
		for (int i = 0; i < AUDIT_REFUSED_MAX + 1; i++) {
			n_taken += audit_limit_take(&l, &peer);
		}
	}
	CU_ASSERT_EQUAL(n_taken, 3 * AUDIT_USERS * AUDIT_REFUSED_MAX);
	CU_ASSERT_EQUAL(n_lines, 2 * AUDIT_USERS); /* those whose place was taken */
	audit_limit_deinit(&l);
	CU_ASSERT_EQUAL(n_lines, 3 * AUDIT_USERS); /* nobody's number is lost */
	CU_ASSERT(has("XENMESH_LEFT_OUT=1"));
	sd_event_unref(loop);
	log_set_sink(NULL);
}

/* Whoever reaches a plain tcp:// port does not hide what callers with a certificate try. */
static void test_limit_of_the_network(void)
{
	const struct bus_peer nobody = { .is_plain_tcp = true };
	const struct bus_peer certified[] = { { .has_cert = true, .name = "alice" },
					      { .has_cert = true, .name = "bob" } };
	struct audit_limit l;
	sd_event *loop;

	if (sd_event_new(&loop) < 0) {
		abort();
	}
	n_lines = 0;
	log_set_sink(sink);
	audit_limit_init(&l, loop);
	for (int i = 0; i < AUDIT_REFUSED_MAX; i++) {
		CU_ASSERT(audit_limit_take(&l, &nobody));
	}
	CU_ASSERT_FALSE(audit_limit_take(&l, &nobody));
	for (size_t c = 0; c < ARRAY_LEN(certified); c++) {
		for (int i = 0; i < AUDIT_REFUSED_MAX; i++) {
			CU_ASSERT(audit_limit_take(&l, &certified[c]));
		}
		CU_ASSERT_FALSE(audit_limit_take(&l, &certified[c]));
	}
	audit_limit_deinit(&l);
	CU_ASSERT_EQUAL(n_lines, 3);
	CU_ASSERT(has("1 more calls by bob were refused, and not told one by one"));
	CU_ASSERT(has("XENMESH_CERTIFICATE=bob"));
	CU_ASSERT_FALSE(has_name("XENMESH_UID"));
	sd_event_unref(loop);
	log_set_sink(NULL);
}

static void test_certificate(void)
{
	const struct bus_peer peer = { .has_cert = true, .name = "alice" };

	n_lines = 0;
	log_set_sink(sink);
	audit_write(&(struct audit_line){
		.message_id = AUDIT_ID_CALL,
		.method = START,
		.object = "",
		.object_id = NULL,
		.outcome = AUDIT_DENIED,
		.code = CODE_PERMISSION_DENIED,
		.peer = &peer,
		.client = "root",
	});
	log_set_sink(NULL);
	CU_ASSERT_EQUAL(n_lines, 1);
	CU_ASSERT(has("StartVm by alice: denied"));
	CU_ASSERT(has("XENMESH_CERTIFICATE=alice"));
	CU_ASSERT(has("XENMESH_CLIENT=root"));
	CU_ASSERT(!has_name("|XENMESH_UID=") && !has_name("|XENMESH_ADDRESS="));
	CU_ASSERT(!has_name("|TRACE_ID=") && !has_name("|XENMESH_REQUEST_ID="));
}

static void test_objects(void)
{
	Xenmesh__V1__DefineVmRequest define = XENMESH__V1__DEFINE_VM_REQUEST__INIT;
	Xenmesh__V1__VmConfig config = XENMESH__V1__VM_CONFIG__INIT;
	Xenmesh__V1__SetTraceRequest set = XENMESH__V1__SET_TRACE_REQUEST__INIT;
	Xenmesh__V1__DefineVmReply defined = XENMESH__V1__DEFINE_VM_REPLY__INIT;
	char out[16];

	config.name = (char *)"a name of some length";
	audit_object(&define.base, "config.name", out, sizeof(out));
	CU_ASSERT_STRING_EQUAL(out, "");
	define.source_case = XENMESH__V1__DEFINE_VM_REQUEST__SOURCE_CONFIG;
	define.config = &config;
	audit_object(&define.base, "config.name", out, sizeof(out));
	CU_ASSERT_STRING_EQUAL(out, "a name of so...");
	define.source_case = XENMESH__V1__DEFINE_VM_REQUEST__SOURCE_XL_CFG;
	audit_object(&define.base, "config.name", out, sizeof(out));
	CU_ASSERT_STRING_EQUAL(out, "");
	audit_object(&define.base, "dry_run", out, sizeof(out));
	CU_ASSERT_STRING_EQUAL(out, "false");
	audit_object(&defined.base, "vm.uuid", out, sizeof(out));
	CU_ASSERT_STRING_EQUAL(out, "");
	audit_object(&defined.base, "warnings", out, sizeof(out));
	CU_ASSERT_STRING_EQUAL(out, "");
	set.seconds = 77;
	audit_object(&set.base, "seconds", out, sizeof(out));
	CU_ASSERT_STRING_EQUAL(out, "77");
	audit_object(&set.base, "", out, sizeof(out));
	CU_ASSERT_STRING_EQUAL(out, "");
	audit_object(&set.base, "no.such", out, sizeof(out));
	CU_ASSERT_STRING_EQUAL(out, "");
}

/* ---- traceparents of calls ---- */

static void test_traceparents(void)
{
	struct fixture f;
	struct peer p;

	begin(&f, &p);
	send_traced(&p, 1, "keep", TRACEPARENT);
	send_traced(&p, 2, "keep", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01");
	send_traced(&p, 3, "keep", "");
	send_wait(&p, 4, "x", 0);
	CU_ASSERT(bus_run_until(f.loop, &f.n_kept, 4, 5000));
	CU_ASSERT_STRING_EQUAL(bus_call_traceparent(f.kept[0]), TRACEPARENT);
	CU_ASSERT(traceparent_is_valid(bus_call_traceparent(f.kept[1])));
	CU_ASSERT(traceparent_is_valid(bus_call_traceparent(f.kept[2])));
	CU_ASSERT_STRING_NOT_EQUAL(bus_call_traceparent(f.kept[1]), TRACEPARENT);
	CU_ASSERT_STRING_EQUAL(bus_call_traceparent(f.kept[3]), "");
	for (size_t i = 0; i < f.n_kept; i++) {
		reply_task(f.kept[i], "t");
	}
	CU_ASSERT(bus_run_until(f.loop, &p.n_replies, 4, 5000));
	end(&f, &p);
}

/* ---- Bus/SetTrace ---- */

struct listener {
	struct bus_socket *socket;
	size_t n_messages, n_traces;
	Xenmesh__V1__Event *last;
};

static void on_publication(struct bus_socket *s _unused_, const struct bus_peer *peer _unused_,
			   const struct bus_route *route _unused_, const void *data, size_t len,
			   void *userdata)
{
	struct listener *l = userdata;
	size_t topic_len = strnlen(data, len) + 1;

	l->n_messages++;
	if (!bus_topic_is_transient(data)) {
		return;
	}
	if (l->last) {
		xenmesh__v1__event__free_unpacked(l->last, NULL);
	}
	l->last = xenmesh__v1__event__unpack(NULL, len - topic_len,
					     (const uint8_t *)data + topic_len);
	l->n_traces++;
}

static void listen_to(struct listener *l, struct fixture *f)
{
	const struct bus_socket_options options = { .max_message = BUS_EVENT_MAX, .queue = 1024 };
	const struct bus_socket_handler handler = { .on_message = on_publication };
	char url[128];

	*l = (struct listener){ 0 };
	snprintf(url, sizeof(url), "ipc://%s/ops/pub", f->dir.path);
	CU_ASSERT_EQUAL(bus_engine_sp.open(&l->socket, f->loop, BUS_SUB, &options, &handler, l), 0);
	CU_ASSERT_EQUAL(bus_engine_sp.dial(l->socket, url), 0);
	CU_ASSERT(bus_run_until(f->loop, &l->n_messages, 1, 5000)); /* a heartbeat */
}

static void listener_close(struct listener *l)
{
	bus_engine_sp.close(l->socket);
	if (l->last) {
		xenmesh__v1__event__free_unpacked(l->last, NULL);
	}
}

static int set_trace(struct peer *p, uint32_t seconds, bool with_callers, uint32_t *previous)
{
	Xenmesh__V1__SetTraceRequest request = XENMESH__V1__SET_TRACE_REQUEST__INIT;
	Xenmesh__V1__SetTraceReply *reply;
	const Xenmesh__V1__Reply *r;
	uint8_t bytes[64];

	request.seconds = seconds;
	request.with_callers = with_callers;
	send_call(p, ++p->next_id, SET_TRACE, bytes,
		  xenmesh__v1__set_trace_request__pack(&request, bytes), 0);
	r = wait_reply(p);
	reply = xenmesh__v1__set_trace_reply__unpack(NULL, r->payload.len, r->payload.data);
	if (r->code == XENMESH__V1__CODE__CODE_OK && reply) {
		CU_ASSERT_STRING_EQUAL(reply->topic, "trace/rpc/ops");
		*previous = reply->previous_seconds;
	}
	xenmesh__v1__set_trace_reply__free_unpacked(reply, NULL);
	return (int)r->code;
}

static void test_trace_of_calls(void)
{
	const Xenmesh__V1__RpcTrace *t;
	uint32_t previous = 99;
	struct listener l;
	struct fixture f;
	struct peer p;

	begin(&f, &p);
	listen_to(&l, &f);
	CU_ASSERT(ping(&p));
	CU_ASSERT_EQUAL(set_trace(&p, 3600, false, &previous), CODE_OK);
	CU_ASSERT_EQUAL(previous, 0);
	CU_ASSERT(has("XENMESH_OBJECT=3600"));
	send_traced(&p, 77, "fail", TRACEPARENT);
	wait_reply(&p);
	CU_ASSERT(bus_run_until(f.loop, &l.n_traces, 2, 5000));
	CU_ASSERT_STRING_EQUAL(l.last->topic, "trace/rpc/ops");
	t = l.last->rpc_trace;
	CU_ASSERT_EQUAL(t->number, 2); /* the first one is of SetTrace */
	CU_ASSERT_STRING_EQUAL(t->method, START);
	CU_ASSERT_EQUAL(t->request_id.len, 16);
	CU_ASSERT_STRING_EQUAL(t->traceparent, TRACEPARENT);
	CU_ASSERT_EQUAL((int)t->code, CODE_FAILED_PRECONDITION);
	CU_ASSERT(t->request_bytes > 100 && t->reply_bytes > 20);
	CU_ASSERT(t->connection > 0);
	CU_ASSERT_FALSE(t->repeated);
	CU_ASSERT_PTR_NULL(t->caller);
	start(&p, 77, "fail"); /* it has another client, not another request */
	CU_ASSERT(bus_run_until(f.loop, &l.n_traces, 3, 5000));
	CU_ASSERT(l.last->rpc_trace->repeated);
	CU_ASSERT_EQUAL(set_trace(&p, 0, false, &previous), CODE_OK);
	CU_ASSERT_EQUAL(previous, 3600);
	CU_ASSERT(ping(&p));
	bus_run_for(f.loop, 50);
	CU_ASSERT_EQUAL(l.n_traces, 3);
	listener_close(&l);
	end(&f, &p);
}

static void test_trace_with_callers(void)
{
	const Xenmesh__V1__RpcCaller *caller;
	uint32_t previous = 0;
	size_t n = 0;
	struct listener l;
	struct fixture f;
	struct peer p;

	begin(&f, &p);
	listen_to(&l, &f);
	CU_ASSERT_EQUAL(set_trace(&p, 3601, true, &previous), CODE_INVALID_ARGUMENT);
	CU_ASSERT_EQUAL(set_trace(&p, 60, true, &previous), CODE_OK);
	CU_ASSERT(ping(&p));
	CU_ASSERT(bus_run_until(f.loop, &l.n_traces, 2, 5000));
	caller = l.last->rpc_trace->caller;
	CU_ASSERT_PTR_NOT_NULL(caller);
	if (caller) {
		CU_ASSERT(caller->local);
		CU_ASSERT_EQUAL(caller->uid, geteuid());
		CU_ASSERT_EQUAL(caller->pid, (uint32_t)getpid());
		CU_ASSERT_STRING_EQUAL(caller->client, "test/1?");
	}
	CU_ASSERT_EQUAL(set_trace(&p, 1, false, &previous), CODE_OK); /* goes off by itself */
	CU_ASSERT(previous > 0 && previous <= 60);
	for (unsigned int i = 0; i < 100 && l.n_traces > n; i++) {
		n = l.n_traces;
		CU_ASSERT(ping(&p));
		bus_run_for(f.loop, 50);
	}
	CU_ASSERT_EQUAL(l.n_traces, n);
	CU_ASSERT_EQUAL(set_trace(&p, 0, false, &previous), CODE_OK);
	CU_ASSERT_EQUAL(previous, 0);
	listener_close(&l);
	end(&f, &p);
}

/* ---- statistics ---- */

static void test_latency(void)
{
	struct fixture f;
	struct peer p;

	begin(&f, &p);
	for (int i = 0; i < 100; i++) {
		CU_ASSERT(ping(&p));
	}
	start(&p, 1, "fail");
	send_start(&p, 2, "keep", 0);
	CU_ASSERT(bus_run_until(f.loop, &f.n_kept, 1, 5000));
	bus_run_for(f.loop, 30);
	CU_ASSERT_EQUAL(stat_of(&p, "rpc.StartVm.in_flight"), 1);
	reply_task(f.kept[0], "t");
	bus_run_for(f.loop, 10);
	CU_ASSERT_EQUAL(stat_of(&p, "rpc.Ping.calls"), 100);
	CU_ASSERT_EQUAL(stat_of(&p, "rpc.Ping.errors"), 0);
	CU_ASSERT(stat_of(&p, "rpc.Ping.p50_us") <= stat_of(&p, "rpc.Ping.p99_us"));
	CU_ASSERT(stat_of(&p, "rpc.Ping.p99_us") <= stat_of(&p, "rpc.Ping.max_us"));
	CU_ASSERT_EQUAL(stat_of(&p, "rpc.StartVm.calls"), 2);
	CU_ASSERT_EQUAL(stat_of(&p, "rpc.StartVm.errors"), 1);
	CU_ASSERT_EQUAL(stat_of(&p, "rpc.StartVm.in_flight"), 0);
	CU_ASSERT(stat_of(&p, "rpc.StartVm.p99_us") >= 30000);
	CU_ASSERT(stat_of(&p, "rpc.StartVm.p50_us") < 30000);
	CU_ASSERT_EQUAL(stat_of(&p, "rpc.PauseVm.calls"), UINT64_MAX); /* never called */
	end(&f, &p);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_accepted),
		UNIT_TEST(test_failed),
		UNIT_TEST(test_denied),
		UNIT_TEST(test_repeated),
		UNIT_TEST(test_end_after_the_deadline),
		UNIT_TEST(test_service_ends),
		UNIT_TEST(test_no_line),
		UNIT_TEST(test_refusals_are_limited),
		UNIT_TEST(test_limit_of_many_users),
		UNIT_TEST(test_limit_of_the_network),
		UNIT_TEST(test_certificate),
		UNIT_TEST(test_objects),
		UNIT_TEST(test_traceparents),
		UNIT_TEST(test_trace_of_calls),
		UNIT_TEST(test_trace_with_callers),
		UNIT_TEST(test_latency),
	};
	int status;

	log_init("test_audit");
	status = unit_run("audit", tests, ARRAY_LEN(tests));
	nng_fini();
	return status;
}
