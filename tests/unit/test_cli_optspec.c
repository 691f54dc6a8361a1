/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What completion reads out of usage texts.
 */
#include "clients/cli/optspec.h"

#include "clients/cli/cli.h"
#include "tests/unit/unit.h"

/* The value of an option in the text, "" = a flag, NULL = no such option. */
static const char *value_of(const char *text, const char *option)
{
	static char value[64];
	static struct optspec s;
	const struct optspec_option *o;
	const char *rest;

	s.n = 0;
	optspec_add(&s, text);
	o = optspec_find(&s, option, &rest);
	if (!o) {
		return NULL;
	}
	snprintf(value, sizeof(value), "%.*s", (int)o->value.len, o->value.text);
	return value;
}

static void assert_value(const char *text, const char *option, const char *want)
{
	const char *value = value_of(text, option);

	if (!value != !want || (value && want && strcmp(value, want) != 0)) {
		printf("# \"%s\": %s is %s\n", text, option, value ? value : "unknown");
		CU_FAIL("another value");
	}
}

static void test_optspec__forms(void)
{
	assert_value("VM... [--force] [--deadline S]", "--force", "");
	assert_value("VM... [--force] [--deadline S]", "--deadline", "S");
	assert_value("[--format vm|xl|json]", "--format", "vm|xl|json");
	assert_value("-o FILE [TOPIC...]", "-o", "FILE");
	assert_value("  --output FILE, -o  where to\n", "-o", "FILE");
	assert_value("  -c, --count N     how often\n", "-c", "N");
	assert_value("  -c, --count N     how often\n", "--count", "N");
	assert_value("  -b, --batch  print\n", "-b", "");
	assert_value("[--speed N|max]", "--speed", "N|max");
	assert_value("as long as --for says, unless --count was reached", "--for", "");
	assert_value("with --for it ends\n  --for S  so long\n", "--for", "S");
	assert_value("as with (--no-color too)", "--no-color", "");
	assert_value("a - b -- c well-known e--f", "--f", NULL);
	assert_value("a - b -- c well-known e--f", "-k", NULL);
	assert_value("--one", "--on", NULL);
	assert_value("--one", "--onee", NULL);
	assert_value("--one", "-", NULL);
	assert_value("--one", "one", NULL);
	assert_value("", "--one", NULL);
}

static void test_optspec__value_in_the_word(void)
{
	struct optspec s = { .n = 0 };
	const char *value;

	optspec_add(&s, "-c, --count N");
	CU_ASSERT_EQUAL(s.n, 1);
	CU_ASSERT(optspec_find(&s, "--count=5", &value) && value && streq(value, "5"));
	CU_ASSERT(optspec_find(&s, "--count=", &value) && value && streq(value, ""));
	CU_ASSERT(optspec_find(&s, "-c5", &value) && value && streq(value, "5"));
	CU_ASSERT(optspec_find(&s, "-c", &value) && !value);
}

/* The text of the index-th argument, "" when there is none. */
static void assert_argument(const char *args, size_t index, const char *want)
{
	struct optspec_word w = optspec_argument(args, index);

	if (!optspec_is(w, want)) {
		printf("# \"%s\", %zu: %.*s\n", args, index, (int)w.len, w.text);
		CU_FAIL("another argument");
	}
}

static void test_optspec__arguments(void)
{
	assert_argument("host|VM [NAME...] [--start S] [--cf avg|min]", 0, "host|VM");
	assert_argument("host|VM [NAME...] [--start S] [--cf avg|min]", 1, "NAME...");
	assert_argument("host|VM [NAME...] [--start S] [--cf avg|min]", 9, "NAME...");
	assert_argument("-o FILE [TOPIC...] [--for S] | --show FILE", 0, "TOPIC...");
	assert_argument("METHOD [FIELD=VALUE...|@FILE|-] [--dry-run]", 1, "FIELD=VALUE...|@FILE|-");
	assert_argument("METHOD [FIELD=VALUE...|@FILE|-] [--dry-run]", 5, "FIELD=VALUE...|@FILE|-");
	assert_argument("SERVICE error|warning", 1, "error|warning");
	assert_argument("SERVICE error|warning", 2, "");
	assert_argument("[--all]", 0, "");
	assert_argument("", 0, "");
}

static void test_optspec__alternatives(void)
{
	struct optspec_word rest = { "FIELD=VALUE...|@FILE|-", 22 };

	CU_ASSERT(optspec_is(optspec_next(&rest), "FIELD=VALUE"));
	CU_ASSERT(optspec_is(optspec_next(&rest), "@FILE"));
	CU_ASSERT(optspec_is(optspec_next(&rest), "-"));
	CU_ASSERT_EQUAL(rest.len, 0);
}

/* No command has more options than can be remembered. */
static void test_optspec__all_commands_fit(void)
{
	for (const struct cli_command *c = cli_commands; c->words; c++) {
		struct optspec s = { .n = 0 };

		optspec_add(&s, cli_global_options);
		optspec_add(&s, c->args);
		optspec_add(&s, c->help ? c->help : "");
		CU_ASSERT(s.n < OPTSPEC_MAX);
	}
}

UNIT_MAIN("optspec", UNIT_TEST(test_optspec__forms), UNIT_TEST(test_optspec__value_in_the_word),
	  UNIT_TEST(test_optspec__arguments), UNIT_TEST(test_optspec__alternatives),
	  UNIT_TEST(test_optspec__all_commands_fit))
