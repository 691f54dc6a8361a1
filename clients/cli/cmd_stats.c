/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `bus stats` and `bus log-level`.
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>

#include "clients/cli/cli.h"
#include "clients/cli/stat_name.h"
#include "libcommon/log.h"
#include "xenmesh/v1/bus.pb-c.h"

/* ---- OpenMetrics ---- */

struct metric {
	char family[STAT_WHAT_MAX + 32];
	struct stat_name name;
	uint64_t value;
};

static void metric_init(struct metric *m, const Xenmesh__V1__Stat *stat)
{
	static const char *const prefixes[] = {
		[STAT_PLAIN] = "xenmesh_",
		[STAT_METHOD] = "xenmesh_rpc_method_",
		[STAT_SEGMENT] = "xenmesh_pub_segment_",
		[STAT_PEER] = "xenmesh_pub_peer_",
	};

	stat_name_parse(stat->name, &m->name);
	m->value = stat->value;
	snprintf(m->family, sizeof(m->family), "%s%s", prefixes[m->name.kind], m->name.what);
	for (char *c = m->family; *c; c++) {
		*c = isalnum((unsigned char)*c) ? *c : '_';
	}
}

static void print_label(const char *name, const char *value)
{
	printf("%s=\"", name);
	for (const char *c = value; *c; c++) {
		if (*c == '\\' || *c == '"') {
			putchar('\\');
		}
		putchar((unsigned char)*c < ' ' ? '?' : *c);
	}
	putchar('"');
}

static void print_metric(const char *service, const struct metric *m)
{
	static const char *const labels[] = {
		[STAT_METHOD] = ",method", [STAT_SEGMENT] = ",segment", [STAT_PEER] = ",pid"
	};

	printf("%s{", m->family);
	print_label("service", service);
	if (m->name.kind != STAT_PLAIN) {
		print_label(labels[m->name.kind], m->name.label);
	}
	printf("} %" PRIu64 "\n", m->value);
}

static int by_family(const void *a, const void *b)
{
	const struct metric *x = a;
	const struct metric *y = b;
	int order = strcmp(x->family, y->family);

	return order ? order : strcmp(x->name.label, y->name.label);
}

/* The services do not say which of their numbers only grow, so their type is "unknown". */
static int print_openmetrics(const char *service, const Xenmesh__V1__StatsReply *reply)
{
	_cleanup_(xfreep) struct metric *metrics = calloc(reply->n_stats + 1, sizeof(*metrics));

	if (!metrics) {
		cli_error("out of memory");
		return CLI_FAILURE;
	}
	for (size_t i = 0; i < reply->n_stats; i++) {
		metric_init(&metrics[i], reply->stats[i]);
	}
	qsort(metrics, reply->n_stats, sizeof(*metrics), by_family);
	for (size_t i = 0; i < reply->n_stats; i++) {
		if (i == 0 || !streq(metrics[i].family, metrics[i - 1].family)) {
			printf("# TYPE %s unknown\n", metrics[i].family);
		}
		print_metric(service, &metrics[i]);
	}
	puts("# EOF");
	return CLI_OK;
}

/* ---- stats ---- */

static int print_stats(struct cli *cli, const Xenmesh__V1__StatsReply *reply)
{
	struct json_object *o = cli->json ? json_object_new_object() : NULL;

	for (size_t i = 0; i < reply->n_stats; i++) {
		const Xenmesh__V1__Stat *stat = reply->stats[i];

		if (o) {
			json_object_object_add(o, stat->name, json_object_new_uint64(stat->value));
		} else {
			printf("%-32s %" PRIu64 "\n", cli_text(cli, stat->name, strlen(stat->name)),
			       stat->value);
		}
	}
	if (o) {
		cli_print_json(o);
	}
	return CLI_OK;
}

int cmd_bus_stats(struct cli *cli, int argc, char **argv)
{
	Xenmesh__V1__StatsRequest request = XENMESH__V1__STATS_REQUEST__INIT;
	const Xenmesh__V1__StatsReply *reply;
	const char *prefix = NULL;
	bool is_openmetrics = false;
	const struct cli_option options[] = {
		{ "prefix", 0, &prefix, NULL },
		{ "openmetrics", 0, NULL, &is_openmetrics },
	};
	int r = cli_options(&argc, argv, options, ARRAY_LEN(options));

	if (r || argc < 1 || argc > 2 || (argc == 2 && prefix)) {
		return r ? r : cli_usage("bus stats wants a service and perhaps a prefix");
	}
	if (is_openmetrics && cli->json) {
		return cli_usage("only one of --openmetrics and --json");
	}
	request.prefix = (char *)(prefix ? prefix : argc > 1 ? argv[1] : "");
	r = cli_check_service(cli, argv[0]);
	r = r ? r : cli_call_ok(cli, argv[0], "xenmesh.v1.Bus/Stats", &request.base, &reply);
	if (r) {
		return r;
	}
	r = is_openmetrics ? print_openmetrics(argv[0], reply) : print_stats(cli, reply);
	if (!r && reply->n_stats == 0 && *request.prefix) {
		cli_error("no counter of %s begins with \"%s\"; `xenmesh bus stats %s` lists all",
			  argv[0], request.prefix, argv[0]);
		r = CLI_FAILURE;
	}
	return r;
}

/* ---- log-level ---- */

static int show_log_level(struct cli *cli, const char *service)
{
	Xenmesh__V1__StatsRequest request = XENMESH__V1__STATS_REQUEST__INIT;
	const Xenmesh__V1__StatsReply *reply;
	enum log_level level;
	int r;

	request.prefix = (char *)"process.uptime_s"; /* the fewest counters */
	r = cli_call_ok(cli, service, "xenmesh.v1.Bus/Stats", &request.base, &reply);
	if (r) {
		return r;
	}
	if (log_level_parse(reply->log_level, &level) < 0) {
		cli_error("%s does not tell its log level; it is of another version", service);
		return CLI_FAILURE;
	}
	if (cli->json) {
		struct json_object *o = json_object_new_object();

		json_object_object_add(o, "level", json_object_new_string(reply->log_level));
		cli_print_json(o);
	} else {
		printf("%s: %s\n", service, reply->log_level);
	}
	return CLI_OK;
}

int cmd_bus_log_level(struct cli *cli, int argc, char **argv)
{
	Xenmesh__V1__SetLogLevelRequest request = XENMESH__V1__SET_LOG_LEVEL_REQUEST__INIT;
	const Xenmesh__V1__SetLogLevelReply *reply;
	int r = cli_options(&argc, argv, NULL, 0);

	if (r || argc < 1 || argc > 2) {
		return r ? r : cli_usage("bus log-level wants a service and perhaps a level");
	}
	r = cli_check_service(cli, argv[0]);
	if (r || argc == 1) {
		return r ? r : show_log_level(cli, argv[0]);
	}
	request.level = argv[1];
	r = cli_call_ok(cli, argv[0], "xenmesh.v1.Bus/SetLogLevel", &request.base, &reply);
	if (r) {
		return r;
	}
	if (cli->json) {
		cli_print_message(&reply->base);
	} else {
		printf("%s: %s, was %s\n", argv[0], argv[1],
		       cli_text(cli, reply->previous, strlen(reply->previous)));
	}
	return CLI_OK;
}
