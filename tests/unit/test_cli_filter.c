/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "clients/cli/event_text.h"
#include "clients/cli/filter.h"
#include "tests/unit/unit.h"

static const char document[] =
	"{\"service\":\"ops\",\"kind\":\"state\",\"topic\":\"vm/1/"
	"state\",\"seq\":18446744073709551615,"
	"\"size\":44,\"replayed\":false,\"event\":{\"seq\":9,\"time_ns\":1795355665745870549,"
	"\"vm_state\":{\"name\":\"web && db\",\"domid\":-1,\"power_state\":\"POWER_STATE_RUNNING\","
	"\"load\":0.25,\"paused\":true,\"vifs\":[{\"mac\":\"00:16\"},{\"mac\":\"00:17\"}],"
	"\"tags\":[\"blue\",\"7\",7],\"none\":[],\"empty\":\"\"}}}";

/* 1 or 0; -1 when the expression is refused. */
static int holds(const char *expression)
{
	_cleanup_(filter_freep) struct filter *f = NULL;
	struct strbuf error = STRBUF_NULL;
	struct json_object *o = json_tokener_parse(document);
	int result = -1;

	if (filter_parse(&f, expression, &error) == 0) {
		result = filter_match(f, event_lookup, o);
	} else {
		CU_ASSERT(error.len > 0);
	}
	json_object_put(o);
	strbuf_deinit(&error);
	return result;
}

static void is_refused_at(const char *expression, const char *place)
{
	struct filter *f = NULL;
	struct strbuf error = STRBUF_NULL;

	CU_ASSERT_EQUAL(filter_parse(&f, expression, &error), -EINVAL);
	CU_ASSERT_PTR_NULL(f);
	CU_ASSERT_PTR_NOT_NULL(strstr(strbuf_str(&error), place));
	strbuf_deinit(&error);
}

static void compares(void)
{
	CU_ASSERT_EQUAL(holds("service==ops"), 1);
	CU_ASSERT_EQUAL(holds("service == op"), 0);
	CU_ASSERT_EQUAL(holds("service!=metrics"), 1);
	CU_ASSERT_EQUAL(holds("size<45"), 1);
	CU_ASSERT_EQUAL(holds("size<44"), 0);
	CU_ASSERT_EQUAL(holds("size<=44"), 1);
	CU_ASSERT_EQUAL(holds("size>43.5"), 1);
	CU_ASSERT_EQUAL(holds("size>=45"), 0);
	CU_ASSERT_EQUAL(holds("domid==-1"), 1);
	CU_ASSERT_EQUAL(holds("domid<0"), 1);
	CU_ASSERT_EQUAL(holds("load==0.25"), 1);
	CU_ASSERT_EQUAL(holds("load<1"), 1);
	CU_ASSERT_EQUAL(holds("paused==true"), 1);
	CU_ASSERT_EQUAL(holds("replayed==false"), 1);
	CU_ASSERT_EQUAL(holds("power_state==POWER_STATE_RUNNING"), 1);
	CU_ASSERT_EQUAL(holds("power_state contains RUNN"), 1);
	CU_ASSERT_EQUAL(holds("power_state contains run"), 0);
}

/* A double would not tell these apart. */
static void compares_large_numbers(void)
{
	CU_ASSERT_EQUAL(holds("seq==18446744073709551615"), 1);
	CU_ASSERT_EQUAL(holds("seq==18446744073709551614"), 0);
	CU_ASSERT_EQUAL(holds("seq>18446744073709551614"), 1);
	CU_ASSERT_EQUAL(holds("time_ns>1795355665745870548"), 1);
	CU_ASSERT_EQUAL(holds("time_ns>1795355665745870549"), 0);
	CU_ASSERT_EQUAL(holds("seq>-1"), 1);
}

static void finds_fields(void)
{
	/* Of the whole first, then of the event, then of its body. */
	CU_ASSERT_EQUAL(holds("event.seq==9"), 1);
	CU_ASSERT_EQUAL(holds("vm_state.domid==-1"), 1);
	CU_ASSERT_EQUAL(holds("event.vm_state.domid==-1"), 1);
	CU_ASSERT_EQUAL(holds("vifs.1.mac==\"00:17\""), 1);
	CU_ASSERT_EQUAL(holds("vifs.2.mac==\"00:17\""), 0);
	CU_ASSERT_EQUAL(holds("nothing==1"), 0);
	CU_ASSERT_EQUAL(holds("nothing!=1"), 0);
	CU_ASSERT_EQUAL(holds("!(nothing==1)"), 1);
	CU_ASSERT_EQUAL(holds("vm_state.name.more==1"), 0);
}

static void is_there_or_not(void)
{
	CU_ASSERT_EQUAL(holds("paused"), 1);
	CU_ASSERT_EQUAL(holds("replayed"), 0);
	CU_ASSERT_EQUAL(holds("!replayed"), 1);
	CU_ASSERT_EQUAL(holds("none"), 0);
	CU_ASSERT_EQUAL(holds("empty"), 0);
	CU_ASSERT_EQUAL(holds("vm_state"), 1);
	CU_ASSERT_EQUAL(holds("load"), 1);
	CU_ASSERT_EQUAL(holds("contains"), 0);
}

static void contains_parts(void)
{
	CU_ASSERT_EQUAL(holds("topic contains /1/"), 1);
	CU_ASSERT_EQUAL(holds("tags contains blue"), 1);
	CU_ASSERT_EQUAL(holds("tags contains 7"), 1);
	CU_ASSERT_EQUAL(holds("tags contains blu"), 0);
	CU_ASSERT_EQUAL(holds("size contains 4"), 0);
	CU_ASSERT_EQUAL(holds("vm_state contains name"), 0);
}

static void quotes(void)
{
	CU_ASSERT_EQUAL(holds("name==\"web && db\""), 1);
	CU_ASSERT_EQUAL(holds("name=='web && db'&&size==44"), 1);
	CU_ASSERT_EQUAL(holds("name contains '\\''"), 0);
	CU_ASSERT_EQUAL(holds("empty==''"), 1);
	CU_ASSERT_EQUAL(holds("empty==\"\\\\\""), 0);
	CU_ASSERT_EQUAL(holds("(size==44)"), 1);
}

static void binds_and_before_or(void)
{
	CU_ASSERT_EQUAL(holds("size==44 || size==1 && size==2"), 1);
	CU_ASSERT_EQUAL(holds("(size==44 || size==1) && size==2"), 0);
	CU_ASSERT_EQUAL(holds("size==1&&size==44||size==44"), 1);
	CU_ASSERT_EQUAL(holds("!size==44 || size==1"), 0);
	CU_ASSERT_EQUAL(holds("!(size==44 && size==1)"), 1);
	CU_ASSERT_EQUAL(holds("! !paused"), 1);
}

static void refuses(void)
{
	is_refused_at("", "something is missing at character 1");
	is_refused_at("a=1", "== at character 2");
	is_refused_at("a==", "a value is wanted at character 4");
	is_refused_at("a==1 b==2", "&& or || is wanted at character 6");
	is_refused_at("a==1 &&", "something is missing at character 8");
	is_refused_at("(a==1", "a ) is wanted at character 6");
	is_refused_at("a==1)", "at character 5");
	is_refused_at("a=='x", "a quote is not closed");
	is_refused_at("==1", "a field's name is wanted at character 1");
	is_refused_at("a contains", "a value is wanted");
}

static void is_bounded(void)
{
	char text[FILTER_TEXT_MAX + 8];

	memset(text, '!', sizeof(text));
	text[FILTER_DEPTH_MAX] = 'a';
	text[FILTER_DEPTH_MAX + 1] = 0;
	CU_ASSERT_EQUAL(holds(text), 0);
	text[FILTER_DEPTH_MAX] = '!';
	text[FILTER_DEPTH_MAX + 1] = 'a';
	text[FILTER_DEPTH_MAX + 2] = 0;
	is_refused_at(text, "nested too deeply");
	memset(text, '(', sizeof(text));
	text[FILTER_TEXT_MAX - 1] = 0;
	is_refused_at(text, "nested too deeply");
	memset(text, 'a', sizeof(text));
	text[FILTER_TEXT_MAX - 1] = 0;
	is_refused_at(text, "too long");
	text[FILTER_TEXT_MAX - 1] = 'a';
	text[FILTER_TEXT_MAX] = 0;
	is_refused_at(text, "at most");
	for (size_t i = 0; i <= FILTER_NODES_MAX / 2; i++) {
		memcpy(text + 6 * i, "||a==1", 7);
	}
	is_refused_at(text + strlen("||"), "too many conditions");
}

UNIT_MAIN("cli_filter", UNIT_TEST(compares), UNIT_TEST(compares_large_numbers),
	  UNIT_TEST(finds_fields), UNIT_TEST(is_there_or_not), UNIT_TEST(contains_parts),
	  UNIT_TEST(quotes), UNIT_TEST(binds_and_before_or), UNIT_TEST(refuses),
	  UNIT_TEST(is_bounded))
