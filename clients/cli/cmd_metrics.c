/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "clients/cli/cli.h"
#include "clients/cli/pbjson.h"
#include "clients/cli/table.h"
#include "libcommon/parse.h"
#include "xenmesh/v1/metrics.pb-c.h"

/* "host" or a VM to owner and uuid. */
static int resolve_owner(struct cli *cli, const char *word, char **owner, char **uuid)
{
	const char *text = "";
	int r = CLI_OK;

	*owner = (char *)(streq(word, "host") ? "host" : "vm");
	if (!streq(word, "host")) {
		r = cli_resolve_vm(cli, word, &text);
	}
	*uuid = (char *)text;
	return r;
}

static void value_cell(struct table *table, double value)
{
	if (isnan(value)) {
		table_cell(table, "-");
	} else {
		table_cell(table, "%.6g", value);
	}
}

int cmd_metrics_list(struct cli *cli, int argc, char **argv)
{
	static const char *const titles[] = { "OWNER", "NAME", ">LAST", "UNITS", "DESCRIPTION" };
	Xenmesh__V1__ListDataSourcesRequest request = XENMESH__V1__LIST_DATA_SOURCES_REQUEST__INIT;
	_cleanup_(table_freep) struct table *table = table_new(titles, ARRAY_LEN(titles));
	const Xenmesh__V1__ListDataSourcesReply *reply;
	int r = cli_options(&argc, argv, NULL, 0);

	if (r || argc > 1) {
		return r ? r : cli_usage("metrics list takes host or one VM");
	}
	if (argc == 1) {
		r = resolve_owner(cli, argv[0], &request.owner, &request.uuid);
		if (r) {
			return r;
		}
	}
	do {
		r = cli_call_ok(cli, "metrics", "xenmesh.v1.Metrics/ListDataSources", &request.base,
				&reply);
		if (r) {
			return r;
		}
		for (size_t i = 0; i < reply->n_sources; i++) {
			const Xenmesh__V1__DataSource *s = reply->sources[i];

			if (cli->json) {
				cli_print_message(&s->base);
				continue;
			}
			table_cell(table, "%s%s%s", s->owner, *s->uuid ? ":" : "", s->uuid);
			table_cell(table, "%s", s->name);
			value_cell(table, s->last);
			table_cell(table, "%s", s->units);
			table_cell(table, "%s", s->description);
		}
		request.after = reply->next;
	} while (*reply->next);
	if (!cli->json) {
		table_print(table);
	}
	return CLI_OK;
}

static int seconds_option(const char *name, const char *text, int64_t *out)
{
	if (text && parse_i64(text, strlen(text), out)) {
		return cli_usage("--%s wants seconds, got \"%s\"", name, text);
	}
	return CLI_OK;
}

static int query_options(int *argc, char **argv, Xenmesh__V1__QueryRequest *request)
{
	const char *start = NULL;
	const char *end = NULL;
	const char *interval = NULL;
	const char *cf = "avg";
	const struct cli_option options[] = {
		{ "start", 's', &start, NULL },
		{ "end", 'e', &end, NULL },
		{ "interval", 'i', &interval, NULL },
		{ "cf", 0, &cf, NULL },
	};
	int64_t start_s = 0;
	int64_t end_s = 0;
	int r = cli_options(argc, argv, options, ARRAY_LEN(options));

	r = r ? r : seconds_option("start", start, &start_s);
	r = r ? r : seconds_option("end", end, &end_s);
	if (r) {
		return r;
	}
	request->start_s = start && !start_s ? 1 : start_s; /* 0 would be the default */
	request->end_s = end_s;
	if (interval && parse_u32(interval, strlen(interval), 31622400, &request->interval_s)) {
		return cli_usage("--interval wants seconds, got \"%s\"", interval);
	}
	if (streq(cf, "min")) {
		request->cf = XENMESH__V1__CONSOLIDATION_FUNCTION__CONSOLIDATION_FUNCTION_MIN;
	} else if (streq(cf, "max")) {
		request->cf = XENMESH__V1__CONSOLIDATION_FUNCTION__CONSOLIDATION_FUNCTION_MAX;
	} else if (streq(cf, "avg") || streq(cf, "average")) {
		request->cf = XENMESH__V1__CONSOLIDATION_FUNCTION__CONSOLIDATION_FUNCTION_AVERAGE;
	} else {
		return cli_usage("--cf is avg, min or max, not \"%s\"", cf);
	}
	return CLI_OK;
}

static int print_series(struct cli *cli, const Xenmesh__V1__QueryReply *reply)
{
	size_t n = reply->n_series;
	const char **titles = arena_alloc(&cli->arena, (n + 1) * sizeof(*titles));
	_cleanup_(table_freep) struct table *table = NULL;

	if (!titles) {
		return CLI_FAILURE;
	}
	titles[0] = "TIME";
	for (size_t i = 0; i < n; i++) {
		titles[i + 1] = arena_printf(&cli->arena, ">%s %s",
					     cli_plain(cli, reply->series[i]->name),
					     cli_plain(cli, reply->series[i]->units));
	}
	table = table_new(titles, n + 1);
	for (uint32_t row = 0; row < reply->rows; row++) {
		uint64_t t = (uint64_t)reply->start_s + (uint64_t)row * reply->step_s;

		table_cell(table, "%s", cli_time(cli, t * NSEC_PER_SEC));
		for (size_t i = 0; i < n; i++) {
			value_cell(table, row < reply->series[i]->n_values
						  ? reply->series[i]->values[row]
						  : (double)NAN);
		}
	}
	table_print(table);
	return CLI_OK;
}

int cmd_metrics_query(struct cli *cli, int argc, char **argv)
{
	Xenmesh__V1__QueryRequest request = XENMESH__V1__QUERY_REQUEST__INIT;
	const Xenmesh__V1__QueryReply *reply;
	int r = query_options(&argc, argv, &request);

	if (r || argc < 1) {
		return r ? r : cli_usage("metrics query wants host or a VM");
	}
	r = resolve_owner(cli, argv[0], &request.owner, &request.uuid);
	if (r) {
		return r;
	}
	request.names = argv + 1;
	request.n_names = (size_t)argc - 1;
	r = cli_call_ok(cli, "metrics", "xenmesh.v1.Metrics/Query", &request.base, &reply);
	if (r) {
		return r;
	}
	if (cli->json) {
		cli_print_message(&reply->base);
		return CLI_OK;
	}
	return print_series(cli, reply);
}
