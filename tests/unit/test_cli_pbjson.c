/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "clients/cli/pbjson.h"

#include <math.h>

#include "tests/unit/unit.h"
#include "xenmesh/v1/bus.pb-c.h"
#include "xenmesh/v1/metrics.pb-c.h"

/* JSON text to a message and back to text; NULL when refused. */
static const char *round_trip(const ProtobufCMessageDescriptor *type, const char *text,
			      struct strbuf *out)
{
	struct json_object *in = json_tokener_parse(text);
	struct arena arena;
	ProtobufCMessage *m = NULL;
	const char *result = NULL;

	arena_init(&arena, 1 << 20);
	strbuf_reset(out);
	CU_ASSERT_PTR_NOT_NULL(in);
	if (pbjson_to(&arena, type, in, &m, out) == 0) {
		struct json_object *back = pbjson_from(m);

		strbuf_reset(out);
		strbuf_puts(out, json_object_to_json_string_ext(back, JSON_C_TO_STRING_PLAIN));
		json_object_put(back);
		result = strbuf_str(out);
	}
	json_object_put(in);
	arena_deinit(&arena);
	return result;
}

static void test_pbjson__round_trip(void)
{
	static const char *const texts[] = {
		"{\"vm\":\"web\",\"timeout_s\":4294967295,\"force\":true}",
		"{\"owner\":\"vm\",\"uuid\":\"\",\"names\":[\"a\",\"b\"],\"start_s\":-600,"
		"\"end_s\":0,\"interval_s\":0,\"cf\":\"CONSOLIDATION_FUNCTION_MAX\"}",
	};
	struct strbuf out = STRBUF_NULL;
	const char *got;

	got = round_trip(&xenmesh__v1__shutdown_vm_request__descriptor, texts[0], &out);
	CU_ASSERT(got && streq(got, texts[0]));
	got = round_trip(&xenmesh__v1__query_request__descriptor, texts[1], &out);
	CU_ASSERT(got && streq(got, texts[1]));
	strbuf_deinit(&out);
}

static void test_pbjson__oneof_and_nested(void)
{
	struct strbuf out = STRBUF_NULL;
	const char *got = round_trip(
		&xenmesh__v1__define_vm_request__descriptor,
		"{\"config\":{\"name\":\"web\",\"type\":\"VM_TYPE_PVH\",\"vcpus\":\"2\",\"vifs\":"
		"[{\"devid\":1,\"mac\":\"00:16:3e:00:00:01\"}]},\"dry_run\":\"yes\"}",
		&out);

	CU_ASSERT_PTR_NOT_NULL(got);
	if (got) {
		struct json_object *o = json_tokener_parse(got);

		CU_ASSERT_EQUAL(json_object_get_int(pbjson_at(o, "config.vcpus")), 2);
		CU_ASSERT_STRING_EQUAL(json_object_get_string(pbjson_at(o, "config.vifs.0.mac")),
				       "00:16:3e:00:00:01");
		CU_ASSERT_PTR_NULL(pbjson_at(o, "config.vifs.1.mac"));
		CU_ASSERT_PTR_NULL(pbjson_at(o, "vm_file"));
		CU_ASSERT(json_object_get_boolean(pbjson_at(o, "dry_run")));
		json_object_put(o);
	}
	strbuf_deinit(&out);
}

static void test_pbjson__refuses_what_does_not_fit(void)
{
	static const struct {
		const char *text;
		const char *complaint; /* part of it */
	} cases[] = {
		{ "{\"vn\":\"web\"}", "vn: " },
		{ "{\"vm\":5}", "vm: wants a string" },
		{ "{\"timeout_s\":4294967296}", "timeout_s: number is too large" },
		{ "{\"timeout_s\":-1}", "timeout_s: wants a number >= 0" },
		{ "{\"timeout_s\":\"5x\"}", "timeout_s: wants a number >= 0" },
		{ "{\"force\":\"perhaps\"}", "force: wants true or false" },
		{ "{\"vm\":\"a\\u0000b\"}", "vm: must not contain NUL" },
		{ "{\"vm\":\"a\xff\"}", "vm: must be UTF-8" },
		{ "[]", "wants an object" },
	};
	struct strbuf out = STRBUF_NULL;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CU_ASSERT_PTR_NULL(round_trip(&xenmesh__v1__shutdown_vm_request__descriptor,
					      cases[i].text, &out));
		CU_ASSERT_PTR_NOT_NULL(strstr(strbuf_str(&out), cases[i].complaint));
	}
	CU_ASSERT_PTR_NULL(round_trip(&xenmesh__v1__define_vm_request__descriptor,
				      "{\"config\":{\"vifs\":[{},{\"mac\":7}]}}", &out));
	CU_ASSERT_PTR_NOT_NULL(strstr(strbuf_str(&out), "config.vifs[1].mac: wants a string"));
	CU_ASSERT_PTR_NULL(round_trip(&xenmesh__v1__define_vm_request__descriptor,
				      "{\"vm_file\":\"a\",\"xl_cfg\":\"b\"}", &out));
	CU_ASSERT_PTR_NOT_NULL(strstr(strbuf_str(&out), "oneof"));
	CU_ASSERT_PTR_NULL(
		round_trip(&xenmesh__v1__query_request__descriptor, "{\"cf\":\"MEAN\"}", &out));
	CU_ASSERT_PTR_NOT_NULL(strstr(strbuf_str(&out), "CONSOLIDATION_FUNCTION_AVERAGE"));
	strbuf_deinit(&out);
}

static void test_pbjson__bytes(void)
{
	static uint8_t id[] = { 0x00, 0xff, 0x10 };
	static uint8_t text[] = { 'c', 'a', 'f', 0xc3, 0xa9 };
	static uint8_t binary[] = { 0xff, 0xfe };
	Xenmesh__V1__Reply reply = XENMESH__V1__REPLY__INIT;
	Xenmesh__V1__GuestKey key = XENMESH__V1__GUEST_KEY__INIT;
	struct json_object *o;

	reply.request_id = (ProtobufCBinaryData){ sizeof(id), id };
	o = pbjson_from(&reply.base);
	CU_ASSERT_STRING_EQUAL(json_object_get_string(pbjson_at(o, "request_id")), "00ff10");
	json_object_put(o);
	key.key = (ProtobufCBinaryData){ sizeof(text), text };
	key.value = (ProtobufCBinaryData){ sizeof(binary), binary };
	o = pbjson_from(&key.base);
	CU_ASSERT_STRING_EQUAL(json_object_get_string(pbjson_at(o, "key")), "caf\xc3\xa9");
	CU_ASSERT_STRING_EQUAL(json_object_get_string(pbjson_at(o, "value.base64")), "//4=");
	json_object_put(o);
}

static void test_pbjson__numbers(void)
{
	Xenmesh__V1__DataSource d = XENMESH__V1__DATA_SOURCE__INIT;
	struct json_object *o;

	d.last = (double)NAN;
	d.min = 0.25;
	d.last_ns = UINT64_MAX;
	o = pbjson_from(&d.base);
	CU_ASSERT_PTR_NULL(pbjson_at(o, "last"));
	CU_ASSERT_EQUAL(json_object_get_double(pbjson_at(o, "min")), 0.25);
	CU_ASSERT_EQUAL(json_object_get_uint64(pbjson_at(o, "last_ns")), UINT64_MAX);
	json_object_put(o);
}

static void test_pbjson__whole_text(void)
{
	static const struct {
		const char *text;
		size_t len;
		const char *error; /* NULL = it is JSON */
	} cases[] = {
		{ "{\"a\": 5}", 8, NULL },
		{ " {} \r\n\t", 7, NULL },
		{ "5", 1, NULL },
		{ "{} x", 4, "there is more behind the value, at byte 3" },
		{ "{}{}", 4, "there is more behind the value, at byte 2" },
		{ "{}\0{}", 5, "there is more behind the value, at byte 2" },
		{ "{\"a\":", 5, "it ends within a value" },
		{ "", 0, "it ends within a value" },
		{ "null", 4, "it is null" },
		{ "{a}", 3, "quoted object property name expected at byte 1" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		_cleanup_(strbuf_deinit) struct strbuf error = STRBUF_NULL;
		struct json_object *o = pbjson_parse(cases[i].text, cases[i].len, &error);

		CU_ASSERT_EQUAL(o == NULL, cases[i].error != NULL);
		CU_ASSERT_STRING_EQUAL(strbuf_str(&error), cases[i].error ? cases[i].error : "");
		json_object_put(o);
	}
}

UNIT_MAIN("pbjson", UNIT_TEST(test_pbjson__round_trip), UNIT_TEST(test_pbjson__oneof_and_nested),
	  UNIT_TEST(test_pbjson__refuses_what_does_not_fit), UNIT_TEST(test_pbjson__bytes),
	  UNIT_TEST(test_pbjson__numbers), UNIT_TEST(test_pbjson__whole_text))
