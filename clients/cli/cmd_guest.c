/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdio.h>

#include "clients/cli/cli.h"
#include "clients/cli/table.h"
#include "xenmesh/v1/guest.pb-c.h"

static const char *text(struct cli *cli, ProtobufCBinaryData b)
{
	return cli_text(cli, b.data, b.len);
}

/* The address an operator means: the first one that the agent put first. */
static const char *first_address(struct cli *cli, const Xenmesh__V1__GuestInfo *g)
{
	for (size_t i = 0; i < g->n_vifs; i++) {
		if (g->vifs[i]->n_addresses) {
			return text(cli, g->vifs[i]->addresses[0]->address);
		}
	}
	return "-";
}

int cmd_guest_list(struct cli *cli, int argc, char **argv)
{
	static const char *const titles[] = { "UUID",	 ">DOMID", "HOSTNAME", "OS",
					      "ADDRESS", ">FREE",  "UPDATED" };
	Xenmesh__V1__ListGuestsRequest request = XENMESH__V1__LIST_GUESTS_REQUEST__INIT;
	_cleanup_(table_freep) struct table *table = table_new(titles, ARRAY_LEN(titles));
	const Xenmesh__V1__ListGuestsReply *reply;
	int r = cli_options(&argc, argv, NULL, 0);

	if (r || argc) {
		return r ? r : cli_usage("guest list takes no arguments");
	}
	do {
		r = cli_call_ok(cli, "agent-bridge", "xenmesh.v1.Guest/ListGuests", &request.base,
				&reply);
		if (r) {
			return r;
		}
		for (size_t i = 0; i < reply->n_guests; i++) {
			const Xenmesh__V1__GuestInfo *g = reply->guests[i];

			request.after_uuid = g->uuid;
			if (cli->json) {
				cli_print_message(&g->base);
				continue;
			}
			table_cell(table, "%s", g->uuid);
			table_cell(table, "%" PRIu32, g->domid);
			table_cell(table, "%s", text(cli, g->hostname));
			table_cell(table, "%s", g->os ? text(cli, g->os->name) : "-");
			table_cell(table, "%s", first_address(cli, g));
			table_cell(table, "%s",
				   g->memory_free_kib ? cli_kib(cli, g->memory_free_kib) : "-");
			table_cell(table, "%s", cli_age(cli, g->updated_ns));
		}
	} while (reply->more && reply->n_guests);
	if (!cli->json) {
		table_print(table);
	}
	return CLI_OK;
}

static void show_keys(struct cli *cli, const char *title, Xenmesh__V1__GuestKey *const *keys,
		      size_t n)
{
	for (size_t i = 0; i < n; i++) {
		printf("%-10s%s = %s\n", i ? "" : title, text(cli, keys[i]->key),
		       text(cli, keys[i]->value));
	}
}

static void show_guest(struct cli *cli, const Xenmesh__V1__GuestInfo *g)
{
	printf("uuid      %s\ndomid     %" PRIu32 "\nhostname  %s\n", cli_plain(cli, g->uuid),
	       g->domid, text(cli, g->hostname));
	if (g->os) {
		printf("os        %s\nkernel    %s\n", text(cli, g->os->name),
		       text(cli, g->os->uname));
	}
	if (g->agent) {
		printf("agent     %s.%s.%s build %s\n", text(cli, g->agent->major),
		       text(cli, g->agent->minor), text(cli, g->agent->micro),
		       text(cli, g->agent->build));
	}
	if (g->memory_total_kib) {
		printf("memory    %s, %s free\n", cli_kib(cli, g->memory_total_kib),
		       cli_kib(cli, g->memory_free_kib));
	}
	for (size_t i = 0; i < g->n_vifs; i++) {
		const Xenmesh__V1__GuestVif *v = g->vifs[i];

		printf("vif %-6" PRIu32 "%s %s", v->devid, text(cli, v->name), text(cli, v->mac));
		for (size_t j = 0; j < v->n_addresses; j++) {
			printf(v->addresses[j]->prefix ? " %s/%" PRIu32 : " %s",
			       text(cli, v->addresses[j]->address), v->addresses[j]->prefix);
		}
		putchar('\n');
	}
	show_keys(cli, "features", g->features, g->n_features);
	show_keys(cli, "drivers", g->drivers, g->n_drivers);
	show_keys(cli, "other", g->other, g->n_other);
	printf("updated   %s ago%s\n", cli_age(cli, g->updated_ns),
	       g->truncated ? "; the guest wrote more than is kept" : "");
}

int cmd_guest_show(struct cli *cli, int argc, char **argv)
{
	Xenmesh__V1__GetGuestRequest request = XENMESH__V1__GET_GUEST_REQUEST__INIT;
	const Xenmesh__V1__GuestInfo *g;
	int r = cli_options(&argc, argv, NULL, 0);

	if (r || argc != 1) {
		return r ? r : cli_usage("guest show wants one VM");
	}
	r = cli_resolve_vm(cli, argv[0], (const char **)&request.vm);
	if (r) {
		return r;
	}
	r = cli_call_ok(cli, "agent-bridge", "xenmesh.v1.Guest/GetGuest", &request.base, &g);
	if (r) {
		return r;
	}
	if (cli->json) {
		cli_print_message(&g->base);
	} else {
		show_guest(cli, g);
	}
	return CLI_OK;
}
