/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdio.h>

#include "clients/cli/cli.h"
#include "xenmesh/v1/ops.pb-c.h"

int cmd_host_show(struct cli *cli, int argc, char **argv)
{
	Xenmesh__V1__GetHostRequest request = XENMESH__V1__GET_HOST_REQUEST__INIT;
	const Xenmesh__V1__GetHostReply *reply;
	const Xenmesh__V1__HostState *h;
	int r = cli_options(&argc, argv, NULL, 0);

	if (r || argc) {
		return r ? r : cli_usage("host show takes no arguments");
	}
	request.sample = true;
	r = cli_call_ok(cli, "ops", "xenmesh.v1.Ops/GetHost", &request.base, &reply);
	if (r) {
		return r;
	}
	if (cli->json) {
		cli_print_message(&reply->base);
		return CLI_OK;
	}
	h = reply->state;
	if (!h) {
		cli_error("ops has not heard from its host process yet (xenmesh-ops-host)");
		return CLI_FAILURE;
	}
	printf("hostname   %s%s\nxen        %s, scheduler %s%s\n", cli_plain(cli, h->hostname),
	       h->connected ? "" : " (host process away, facts may be old)",
	       cli_plain(cli, h->xen_version), cli_plain(cli, h->scheduler),
	       h->simulated ? " (simulated)" : "");
	printf("caps       %s\n", cli_plain(cli, h->xen_caps));
	printf("cpus       %" PRIu32 " pCPUs, %" PRIu32 " cores a socket, %" PRIu32
	       " threads a core, %" PRIu32 " nodes, %" PRIu32 " MHz\n",
	       h->pcpus, h->cores_per_socket, h->threads_per_core, h->nodes, h->cpu_khz / 1000);
	printf("memory     %s", cli_kib(cli, h->memory_kib));
	if (reply->sample) {
		printf(", %s free", cli_kib(cli, reply->sample->free_memory_kib));
	}
	printf("\nvms        %" PRIu32 " defined, %" PRIu32 " domains\n", reply->vms_defined,
	       reply->domains);
	return CLI_OK;
}
