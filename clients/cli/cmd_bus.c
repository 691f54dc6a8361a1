/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdio.h>

#include "clients/cli/cli.h"
#include "xenmesh/v1/bus.pb-c.h"

int cmd_bus_stats(struct cli *cli, int argc, char **argv)
{
	Xenmesh__V1__StatsRequest request = XENMESH__V1__STATS_REQUEST__INIT;
	const Xenmesh__V1__StatsReply *reply;
	int r = cli_options(&argc, argv, NULL, 0);

	if (r || argc < 1 || argc > 2) {
		return r ? r : cli_usage("bus stats wants a service and perhaps a prefix");
	}
	request.prefix = (char *)(argc > 1 ? argv[1] : "");
	r = cli_call_ok(cli, argv[0], "xenmesh.v1.Bus/Stats", &request.base, &reply);
	if (r) {
		return r;
	}
	if (cli->json) {
		struct json_object *o = json_object_new_object();

		for (size_t i = 0; i < reply->n_stats; i++) {
			json_object_object_add(o, reply->stats[i]->name,
					       json_object_new_uint64(reply->stats[i]->value));
		}
		cli_print_json(o);
		return CLI_OK;
	}
	for (size_t i = 0; i < reply->n_stats; i++) {
		printf("%-32s %" PRIu64 "\n", reply->stats[i]->name, reply->stats[i]->value);
	}
	return CLI_OK;
}

int cmd_bus_log_level(struct cli *cli, int argc, char **argv)
{
	Xenmesh__V1__SetLogLevelRequest request = XENMESH__V1__SET_LOG_LEVEL_REQUEST__INIT;
	const Xenmesh__V1__SetLogLevelReply *reply;
	int r = cli_options(&argc, argv, NULL, 0);

	if (r || argc != 2) {
		return r ? r : cli_usage("bus log-level wants a service and a level");
	}
	request.level = argv[1];
	r = cli_call_ok(cli, argv[0], "xenmesh.v1.Bus/SetLogLevel", &request.base, &reply);
	if (r) {
		return r;
	}
	if (cli->json) {
		cli_print_message(&reply->base);
	} else {
		printf("%s: %s, was %s\n", argv[0], argv[1], reply->previous);
	}
	return CLI_OK;
}
