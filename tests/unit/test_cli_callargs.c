/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * FIELD=VALUE words, the embedded schema, and what is told of durations.
 */
#include "clients/cli/callargs.h"

#include "clients/cli/pbjson.h"
#include "clients/cli/schema.h"
#include "clients/cli/summary.h"
#include "tests/unit/unit.h"
#include "xenmesh/v1/bus.pb-c.h"

/* What the words (ended by NULL) become, as JSON of the message; NULL when refused, then the
 * complaint is in `out`. */
static const char *request(const ProtobufCMessageDescriptor *type, struct strbuf *out,
			   const char *const *words)
{
	struct json_object *o = json_object_new_object();
	ProtobufCMessage *m = NULL;
	struct arena arena;
	int r = 0;

	arena_init(&arena, 1 << 20);
	strbuf_reset(out);
	for (; *words && !r; words++) {
		r = callargs_add(o, type, *words, out);
	}
	if (!r) {
		r = pbjson_to(&arena, type, o, &m, out);
	}
	if (!r) {
		struct json_object *back = pbjson_from(m);

		strbuf_reset(out);
		strbuf_puts(out,
			    json_object_to_json_string_ext(
				    back, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
		json_object_put(back);
	}
	json_object_put(o);
	arena_deinit(&arena);
	return r ? NULL : strbuf_str(out);
}

#define WORDS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void test_callargs__fields(void)
{
	struct strbuf out = STRBUF_NULL;
	const char *got;

	got = request(&xenmesh__v1__changes_request__descriptor, &out,
		      WORDS("instance=00fF", "since_seq=18446744073709551615", "prefixes+=vm/",
			    "prefixes[]=a=b", "prefixes[0]=host/"));
	CU_ASSERT(got && streq(got, "{\"instance\":\"00ff\",\"since_seq\":18446744073709551615,"
				    "\"prefixes\":[\"host/\",\"a=b\"]}"));
	got = request(
		&xenmesh__v1__snapshot_request__descriptor, &out,
		WORDS("prefixes=[\"a/\",\"b/\"]", "prefixes+=c/", "after_seq=1", "after_seq=2"));
	CU_ASSERT(got && streq(got, "{\"prefixes\":[\"a/\",\"b/\",\"c/\"],\"after_seq\":2}"));
	strbuf_deinit(&out);
}

static void test_callargs__nested(void)
{
	struct strbuf out = STRBUF_NULL;
	const char *got = request(&xenmesh__v1__define_vm_request__descriptor, &out,
				  WORDS("config.name=web", "config.type=pvh", "config.vcpus=2",
					"config.vifs[].mac=00:16:3e:00:00:01",
					"config.vifs[0].devid=3", "config.vifs+={\"devid\":4}",
					"dry_run=yes"));
	struct json_object *o = got ? json_tokener_parse(got) : NULL;

	CU_ASSERT_PTR_NOT_NULL(o);
	CU_ASSERT_EQUAL(json_object_get_int(pbjson_at(o, "config.vcpus")), 2);
	CU_ASSERT_EQUAL(json_object_get_int(pbjson_at(o, "config.vifs.0.devid")), 3);
	CU_ASSERT_EQUAL(json_object_get_int(pbjson_at(o, "config.vifs.1.devid")), 4);
	CU_ASSERT_PTR_NOT_NULL(pbjson_at(o, "config.vifs.0.mac"));
	CU_ASSERT(json_object_get_boolean(pbjson_at(o, "dry_run")));
	got = json_object_get_string(pbjson_at(o, "config.type"));
	CU_ASSERT(got && streq(got, "VM_TYPE_PVH"));
	json_object_put(o);
	strbuf_deinit(&out);
}

static void test_callargs__bytes(void)
{
	static const struct {
		const char *word;
		const char *json; /* of echo; NULL = refused */
	} cases[] = {
		{ "echo=caf\xc3\xa9", "\"caf\xc3\xa9\"" },
		{ "echo=text:hex:00", "\"hex:00\"" },
		{ "echo=hex:FFfe", "{\"base64\":\"//4=\"}" },
		{ "echo=hex:", "\"\"" },
		{ "echo=hex:0", NULL },
		{ "echo=base64://4=", "{\"base64\":\"//4=\"}" },
		{ "echo=base64:/w==", "{\"base64\":\"/w==\"}" },
		{ "echo=base64:YWJj", "\"abc\"" },
		{ "echo=base64:YWI", "\"ab\"" }, /* without its padding */
		{ "echo=base64:Y", NULL },
		{ "echo=base64:YW=", NULL },
		{ "echo=base64:YWJ*", NULL },
	};
	struct strbuf out = STRBUF_NULL;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *got = request(&xenmesh__v1__ping_request__descriptor, &out,
					  WORDS(cases[i].word));
		char want[64] = "";

		if (cases[i].json) {
			snprintf(want, sizeof(want), "{\"echo\":%s}", cases[i].json);
		}
		CU_ASSERT_EQUAL(got != NULL, cases[i].json != NULL);
		CU_ASSERT(!got || streq(got, want));
		CU_ASSERT(strbuf_str(&out)[0] != '\0');
	}
	strbuf_deinit(&out);
}

static void test_callargs__complaints(void)
{
	static const struct {
		const char *word;
		const char *complaint; /* part of it */
	} cases[] = {
		{ "confg.name=x", "no field \"confg\"; did you mean config?" },
		{ "config.nmae=x", "VmConfig has no field \"nmae\"; did you mean name" },
		{ "zzzzzzzzzz=1", "it has config" },
		{ "config", "not FIELD=VALUE" },
		{ "=x", "not FIELD=VALUE" },
		{ "", "not FIELD=VALUE" },
		{ "config.=x", "not FIELD=VALUE" },
		{ "dry_run.x=1", "dry_run is a bool and has no fields" },
		{ "dry_run+=1", "dry_run is not repeated" },
		{ "dry_run[0]=1", "dry_run is not repeated" },
		{ "config=x", "give its fields as config.FIELD=VALUE" },
		{ "config.vifs=x", "add elements by vifs+=VALUE" },
		{ "config.vifs.mac=x", "write vifs[].FIELD=VALUE" },
		{ "config.vifs[7].mac=x", "vifs has no element 7" },
		{ "config.vifs[x].mac=x", "an index is [] or a number" },
		{ "config.vifs[", "an index is [] or a number" },
		{ "config.vifs[0", "an index is [] or a number" },
		{ "config.vifs[99999999999].mac=x", "an index is [] or a number" },
		{ "config.type=sideways", "wants one of VM_TYPE_UNSPECIFIED" },
		{ "config.vcpus=many", "config.vcpus: wants a number" },
	};
	struct strbuf out = STRBUF_NULL;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CU_ASSERT_PTR_NULL(request(&xenmesh__v1__define_vm_request__descriptor, &out,
					   WORDS(cases[i].word)));
		if (!strstr(strbuf_str(&out), cases[i].complaint)) {
			printf("# %s: %s\n", cases[i].word, strbuf_str(&out));
			CU_FAIL("another complaint");
		}
	}
	strbuf_deinit(&out);
}

static void test_callargs__value_and_fields_of_one_message(void)
{
	struct strbuf out = STRBUF_NULL;

	CU_ASSERT_PTR_NULL(request(&xenmesh__v1__define_vm_request__descriptor, &out,
				   WORDS("config=5", "config.name=x")));
	CU_ASSERT_PTR_NOT_NULL(strstr(strbuf_str(&out), "has a value already"));
	CU_ASSERT_PTR_NULL(request(&xenmesh__v1__define_vm_request__descriptor, &out,
				   WORDS("config={\"vifs\":5}", "config.vifs+={}")));
	CU_ASSERT_PTR_NOT_NULL(strstr(strbuf_str(&out), "no list"));
	strbuf_deinit(&out);
}

/* ---- the schema ---- */

static void count_type(const ProtobufCMessageDescriptor *message,
		       const ProtobufCEnumDescriptor *enumeration, void *userdata)
{
	CU_ASSERT_EQUAL(message == NULL, enumeration != NULL);
	++*(size_t *)userdata;
}

static void test_schema__types(void)
{
	size_t n = 0;

	schema_each_type(count_type, &n);
	CU_ASSERT(n > 50 && n < 256); /* 256 is as many as it can remember */
	CU_ASSERT_PTR_EQUAL(schema_message("Task"), &xenmesh__v1__task__descriptor);
	CU_ASSERT_PTR_EQUAL(schema_message("xenmesh.v1.Task"), &xenmesh__v1__task__descriptor);
	CU_ASSERT_PTR_NULL(schema_message("ask"));
	CU_ASSERT_PTR_NULL(schema_message("TaskState"));
	CU_ASSERT_PTR_EQUAL(schema_enum("TaskState"), &xenmesh__v1__task_state__descriptor);
	CU_ASSERT_PTR_NULL(schema_enum(""));
}

static void test_schema__docs(void)
{
	for (size_t i = 1; i < schema_n_docs; i++) {
		CU_ASSERT(strcmp(schema_docs[i - 1].name, schema_docs[i].name) < 0);
	}
	CU_ASSERT_PTR_NOT_NULL(strstr(schema_doc("xenmesh.v1.Call.request_id"), "16 random bytes"));
	CU_ASSERT_PTR_NOT_NULL(strstr(schema_doc("xenmesh.v1.Code.CODE_ABORTED"), "overtaken"));
	CU_ASSERT(schema_doc("xenmesh.v1.Event")[0] != '\0');
	CU_ASSERT_STRING_EQUAL(schema_doc("xenmesh.v1.Nothing"), "");
}

/* Whatever an event can carry is published under some topic that `bus describe` knows. */
static void test_schema__every_body_has_a_topic(void)
{
	const ProtobufCMessageDescriptor *event = &xenmesh__v1__event__descriptor;

	for (unsigned int i = 0; i < event->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &event->fields[i];
		bool is_found = streq(f->name, "removed"); /* of any topic */

		for (size_t j = 0; j < schema_n_topics; j++) {
			is_found = is_found || streq(schema_topics[j].body, f->name);
		}
		if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF && !is_found) {
			printf("# no topic with body %s\n", f->name);
			CU_FAIL("a body without a topic");
		}
	}
	for (size_t j = 0; j < schema_n_topics; j++) {
		CU_ASSERT_PTR_NOT_NULL(schema_body(schema_topics[j].body));
	}
}

static void test_schema__topics(void)
{
	const struct schema_topic *state = &schema_topics[0];

	CU_ASSERT(schema_topic_matches(state, "vm/"));
	CU_ASSERT(schema_topic_matches(state, "v"));
	CU_ASSERT(schema_topic_matches(state, "vm/<uuid>/state"));
	CU_ASSERT(schema_topic_matches(state, "vm/68df19b9-5b13-486b-ac8f-427b03dfd3b7/state"));
	CU_ASSERT_FALSE(schema_topic_matches(state, "vm/68df19b9/guest"));
	CU_ASSERT_FALSE(schema_topic_matches(state, "vm/<uuid>/state/more"));
	CU_ASSERT_FALSE(schema_topic_matches(state, "task/"));
	CU_ASSERT_FALSE(schema_topic_matches(state, ""));
}

static void test_schema__methods(void)
{
	static const struct {
		const char *name;
		const char *method; /* NULL = none */
		const char *service;
	} cases[] = {
		{ "StartVm", "xenmesh.v1.Ops/StartVm", "" },
		{ "Ops/StartVm", "xenmesh.v1.Ops/StartVm", "" },
		{ "xenmesh.v1.Ops/StartVm", "xenmesh.v1.Ops/StartVm", "" },
		{ "ops.StartVm", "xenmesh.v1.Ops/StartVm", "ops" },
		{ "blue/ops.StartVm", "xenmesh.v1.Ops/StartVm", "blue/ops" },
		{ "a.b/metrics.Ping", "xenmesh.v1.Bus/Ping", "a.b/metrics" },
		{ ".StartVm", NULL, "" },
		{ "ops.", NULL, "" },
		{ "ops.Nothing", NULL, "" },
		{ "", NULL, "" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *service;
		size_t len;
		const struct bus_method *m = schema_method(cases[i].name, &service, &len);

		CU_ASSERT_EQUAL(m != NULL, cases[i].method != NULL);
		if (m && cases[i].method) {
			CU_ASSERT_STRING_EQUAL(m->name, cases[i].method);
			CU_ASSERT_EQUAL(len, strlen(cases[i].service));
			CU_ASSERT_EQUAL(memcmp(service, cases[i].service, len), 0);
		}
	}
}

static void test_schema__distance(void)
{
	CU_ASSERT_EQUAL(schema_distance("name", "name", 3), 0);
	CU_ASSERT_EQUAL(schema_distance("NAME", "name", 3), 0);
	CU_ASSERT_EQUAL(schema_distance("nmae", "name", 3), 2);
	CU_ASSERT_EQUAL(schema_distance("", "name", 3), 4);
	CU_ASSERT_EQUAL(schema_distance("", "abc", 3), 3);
	CU_ASSERT_EQUAL(schema_distance("memory", "memory_kib", 9), 4);
}

/* ---- durations ---- */

static void test_summary(void)
{
	uint64_t times[200];
	struct summary s;

	for (size_t i = 0; i < ARRAY_LEN(times); i++) {
		times[i] = (ARRAY_LEN(times) - i) * 1000; /* 200 .. 1 us, to be sorted */
	}
	s = summary_of(times, ARRAY_LEN(times));
	CU_ASSERT_EQUAL(s.min_us, 1.0);
	CU_ASSERT_EQUAL(s.max_us, 200.0);
	CU_ASSERT_EQUAL(s.avg_us, 100.5);
	CU_ASSERT_EQUAL(s.p50_us, 100.0);
	CU_ASSERT_EQUAL(s.p99_us, 198.0);
	s = summary_of(times, 1);
	CU_ASSERT_EQUAL(s.p50_us, 1.0);
	CU_ASSERT_EQUAL(s.p99_us, 1.0);
	s = summary_of(times, 0);
	CU_ASSERT_EQUAL(s.n, 0);
	CU_ASSERT_EQUAL(s.p99_us, 0.0);
}

UNIT_MAIN("callargs", UNIT_TEST(test_callargs__fields), UNIT_TEST(test_callargs__nested),
	  UNIT_TEST(test_callargs__bytes), UNIT_TEST(test_callargs__complaints),
	  UNIT_TEST(test_callargs__value_and_fields_of_one_message), UNIT_TEST(test_schema__types),
	  UNIT_TEST(test_schema__docs), UNIT_TEST(test_schema__every_body_has_a_topic),
	  UNIT_TEST(test_schema__topics), UNIT_TEST(test_schema__methods),
	  UNIT_TEST(test_schema__distance), UNIT_TEST(test_summary))
