/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdio.h>

#include "clients/cli/pbjson.h"
#include "clients/cli/table.h"
#include "clients/cli/task.h"
#include "libcommon/err.h"
#include "libcommon/parse.h"

#define FILE_MAX 65536 /* ops accepts no larger definition */
#define VMS_MAX	 64    /* of one command line */

static const char *state_name(struct cli *cli, const Xenmesh__V1__VmState *vm)
{
	return cli_enum(cli, &xenmesh__v1__power_state__descriptor, (int)vm->power_state,
			"POWER_STATE_");
}

static const char *type_name(struct cli *cli, const Xenmesh__V1__VmState *vm)
{
	return cli_enum(cli, &xenmesh__v1__vm_type__descriptor, (int)vm->type, "VM_TYPE_");
}

/* ---- list, show ---- */

static void vm_row(struct cli *cli, struct table *table, const Xenmesh__V1__VmState *vm)
{
	table_cell(table, "%s", vm->uuid);
	table_cell(table, "%s", cli_text(cli, vm->name, strlen(vm->name)));
	table_cell(table, vm->domid < 0 ? "-" : "%" PRId32, vm->domid);
	table_cell(table, "%s%s", state_name(cli, vm), *vm->task ? "*" : "");
	table_cell(table, "%s", type_name(cli, vm));
	table_cell(table, "%" PRIu32, vm->vcpus_online);
	table_cell(table, "%s", cli_kib(cli, vm->memory_kib));
	table_cell(table, "%s", cli_age(cli, vm->started_ns));
	table_cell(table, "%s", vm->managed ? "yes" : vm->domid == 0 ? "dom0" : "no");
}

/* stale_ms of VmState. */
static void warn_stale(uint64_t stale_ms)
{
	if (stale_ms) {
		cli_error("ops has not heard from its host process (xenmesh-ops-host) for %" PRIu64
			  " s: domains are shown as they were then",
			  (stale_ms + 999) / 1000);
	}
}

int cmd_vm_list(struct cli *cli, int argc, char **argv)
{
	static const char *const titles[] = { "UUID",	"NAME", ">DOMID", "STATE",  "TYPE",
					      ">VCPUS", ">MEM", "UP",	  "MANAGED" };
	Xenmesh__V1__ListVmsRequest request = XENMESH__V1__LIST_VMS_REQUEST__INIT;
	_cleanup_(table_freep) struct table *table = table_new(titles, ARRAY_LEN(titles));
	const Xenmesh__V1__ListVmsReply *reply;
	int r = cli_options(&argc, argv, NULL, 0);
	uint64_t stale_ms = 0;

	if (r || argc) {
		return r ? r : cli_usage("vm list takes no arguments");
	}
	do {
		r = cli_call_ok(cli, "ops", "xenmesh.v1.Ops/ListVms", &request.base, &reply);
		if (r) {
			return r;
		}
		for (size_t i = 0; i < reply->n_vms; i++) {
			if (cli->json) {
				cli_print_message(&reply->vms[i]->base);
			} else {
				vm_row(cli, table, reply->vms[i]);
			}
			request.after_uuid = reply->vms[i]->uuid;
			stale_ms = MAX(stale_ms, reply->vms[i]->stale_ms);
		}
	} while (reply->more && reply->n_vms);
	if (!cli->json) {
		table_print(table);
		warn_stale(stale_ms);
	}
	return CLI_OK;
}

static void show_devices(struct cli *cli, const Xenmesh__V1__VmState *vm)
{
	for (size_t i = 0; i < vm->n_vifs; i++) {
		const Xenmesh__V1__VifState *v = vm->vifs[i];

		printf("vif %-6" PRIu32 "mac %s bridge %s backend domid %" PRIu32 "%s\n", v->devid,
		       cli_plain(cli, v->mac), *v->bridge ? cli_plain(cli, v->bridge) : "-",
		       v->backend_domid, v->xenbus_state == 4 ? " connected" : "");
	}
	for (size_t i = 0; i < vm->n_vbds; i++) {
		const Xenmesh__V1__VbdState *v = vm->vbds[i];

		printf("vbd %-6s%s%s backend domid %" PRIu32 "%s\n", cli_plain(cli, v->vdev),
		       cli_text(cli, v->target, strlen(v->target)), v->readonly ? " (ro)" : "",
		       v->backend_domid, v->xenbus_state == 4 ? " connected" : "");
	}
}

static void show_action(struct cli *cli, const char *name, int action)
{
	if (action) {
		printf("          %s %s\n", name,
		       cli_enum(cli, &xenmesh__v1__action__descriptor, action, "ACTION_"));
	}
}

static void show_config(struct cli *cli, const Xenmesh__V1__VmConfig *c)
{
	printf("config    vcpus %" PRIu32, c->vcpus);
	if (c->max_vcpus) {
		printf(" of %" PRIu32, c->max_vcpus);
	}
	printf("\n          memory %s", cli_kib(cli, c->memory_kib));
	if (c->max_memory_kib) {
		printf(" of %s", cli_kib(cli, c->max_memory_kib));
	}
	printf("\n          kernel %s\n", cli_plain(cli, c->kernel));
	if (*c->ramdisk) {
		printf("          ramdisk %s\n", cli_plain(cli, c->ramdisk));
	}
	if (*c->cmdline) {
		printf("          cmdline %s\n", cli_plain(cli, c->cmdline));
	}
	for (size_t i = 0; i < c->n_vifs; i++) {
		printf("          vif %" PRIu32 " %s %s\n", c->vifs[i]->devid,
		       cli_plain(cli, c->vifs[i]->mac), cli_plain(cli, c->vifs[i]->bridge));
	}
	for (size_t i = 0; i < c->n_vbds; i++) {
		printf("          vbd %s %s%s\n", cli_plain(cli, c->vbds[i]->vdev),
		       cli_plain(cli, c->vbds[i]->target), c->vbds[i]->readonly ? " (ro)" : "");
	}
	show_action(cli, "on_poweroff", (int)c->on_poweroff);
	show_action(cli, "on_reboot", (int)c->on_reboot);
	show_action(cli, "on_crash", (int)c->on_crash);
}

static int show_vm(struct cli *cli, const Xenmesh__V1__VmState *vm)
{
	if (cli->json) {
		cli_print_message(&vm->base);
		return CLI_OK;
	}
	warn_stale(vm->stale_ms);
	printf("uuid      %s\nname      %s\nstate     %s", cli_plain(cli, vm->uuid),
	       cli_plain(cli, vm->name), state_name(cli, vm));
	if (vm->domid >= 0) {
		printf(", domid %" PRId32 ", up %s", vm->domid, cli_age(cli, vm->started_ns));
	}
	if (vm->shutdown_reason) {
		printf(", %s", cli_enum(cli, &xenmesh__v1__shutdown_reason__descriptor,
					(int)vm->shutdown_reason, "SHUTDOWN_REASON_"));
	}
	printf("\ntype      %s\nmanaged   %s\n", type_name(cli, vm), vm->managed ? "yes" : "no");
	if (vm->domid >= 0) {
		printf("vcpus     %" PRIu32 " of %" PRIu32 "\nmemory    %s of %s\n",
		       vm->vcpus_online, vm->max_vcpus, cli_kib(cli, vm->memory_kib),
		       vm->max_memory_kib ? cli_kib(cli, vm->max_memory_kib) : "no limit");
	}
	show_devices(cli, vm);
	if (vm->config) {
		show_config(cli, vm->config);
	}
	if (*vm->task) {
		printf("task      %s\n", cli_plain(cli, vm->task));
	}
	if (*vm->last_error) {
		printf("error     %s\n", cli_plain(cli, vm->last_error));
	}
	return CLI_OK;
}

int cmd_vm_show(struct cli *cli, int argc, char **argv)
{
	Xenmesh__V1__GetVmRequest request = XENMESH__V1__GET_VM_REQUEST__INIT;
	const Xenmesh__V1__VmState *vm;
	int r = cli_options(&argc, argv, NULL, 0);

	if (r || argc != 1) {
		return r ? r : cli_usage("vm show wants one VM");
	}
	request.vm = argv[0];
	r = cli_call_ok(cli, "ops", "xenmesh.v1.Ops/GetVm", &request.base, &vm);
	return r ? r : show_vm(cli, vm);
}

/* ---- define, undefine ---- */

/* The whole file (or standard input for "-") in the command's arena. */
static int read_file(struct cli *cli, const char *path, ProtobufCBinaryData *out)
{
	FILE *f = streq(path, "-") ? stdin : fopen(path, "re");
	size_t n;

	if (!f) {
		cli_error("%s: %s", path, strerror(errno));
		return CLI_FAILURE;
	}
	out->data = arena_alloc(&cli->arena, FILE_MAX + 2);
	n = out->data ? fread(out->data, 1, FILE_MAX + 1, f) : 0;
	if (ferror(f)) {
		cli_error("%s: %s", path, strerror(errno));
	} else if (n > FILE_MAX) {
		cli_error("%s: larger than %d bytes, that is no VM definition", path, FILE_MAX);
	}
	out->len = n;
	n = ferror(f) || n > FILE_MAX;
	if (f != stdin) {
		fclose(f);
	}
	return n ? CLI_FAILURE : CLI_OK;
}

static bool has_suffix(const char *s, const char *suffix)
{
	size_t len = strlen(s);
	size_t n = strlen(suffix);

	return len >= n && streq(s + len - n, suffix);
}

static const char *guess_format(const char *path)
{
	return has_suffix(path, ".json") ? "json" : has_suffix(path, ".cfg") ? "xl" : "vm";
}

static int config_from_json(struct cli *cli, const char *path, const ProtobufCBinaryData *text,
			    Xenmesh__V1__VmConfig **out)
{
	_cleanup_(strbuf_deinit) struct strbuf error = STRBUF_NULL;
	struct json_object *o = pbjson_parse((const char *)text->data, text->len, &error);
	int r;

	if (!o) {
		cli_error("%s: not JSON: %s", path, strbuf_str(&error));
		return CLI_FAILURE;
	}
	r = pbjson_to(&cli->arena, &xenmesh__v1__vm_config__descriptor, o,
		      (ProtobufCMessage **)(void *)out, &error);
	json_object_put(o);
	if (r < 0) {
		cli_error("%s: %s", path, error.len ? strbuf_str(&error) : err_text(r));
		return CLI_FAILURE;
	}
	return CLI_OK;
}

static int fill_source(struct cli *cli, const char *path, const char *format,
		       Xenmesh__V1__DefineVmRequest *request)
{
	ProtobufCBinaryData text = { 0 };
	int r = read_file(cli, path, &text);

	if (r) {
		return r;
	}
	if (streq(format, "json")) {
		request->source_case = XENMESH__V1__DEFINE_VM_REQUEST__SOURCE_CONFIG;
		return config_from_json(cli, path, &text, &request->config);
	}
	if (streq(format, "xl")) {
		request->source_case = XENMESH__V1__DEFINE_VM_REQUEST__SOURCE_XL_CFG;
		request->xl_cfg = text;
	} else if (streq(format, "vm")) {
		request->source_case = XENMESH__V1__DEFINE_VM_REQUEST__SOURCE_VM_FILE;
		request->vm_file = text;
	} else {
		return cli_usage("--format is vm, xl or json, not \"%s\"", format);
	}
	return CLI_OK;
}

int cmd_vm_define(struct cli *cli, int argc, char **argv)
{
	Xenmesh__V1__DefineVmRequest request = XENMESH__V1__DEFINE_VM_REQUEST__INIT;
	const Xenmesh__V1__DefineVmReply *reply;
	const char *format = NULL;
	bool dry_run = false;
	bool replace = false;
	const struct cli_option options[] = {
		{ "format", 'f', &format, NULL },
		{ "dry-run", 0, NULL, &dry_run },
		{ "replace", 0, NULL, &replace },
	};
	int r = cli_options(&argc, argv, options, ARRAY_LEN(options));

	if (r || argc != 1) {
		return r ? r : cli_usage("vm define wants one file, or - for standard input");
	}
	r = fill_source(cli, argv[0], format ? format : guess_format(argv[0]), &request);
	if (r) {
		return r;
	}
	request.dry_run = dry_run;
	request.replace = replace;
	r = cli_call_ok(cli, "ops", "xenmesh.v1.Ops/DefineVm", &request.base, &reply);
	if (r) {
		return r;
	}
	for (size_t i = 0; i < reply->n_warnings; i++) {
		fprintf(stderr, "warning: %s\n",
			cli_text(cli, reply->warnings[i], strlen(reply->warnings[i])));
	}
	if (cli->json) {
		cli_print_message(&reply->base);
	} else if (reply->vm) {
		printf("%s %s %s\n", cli_plain(cli, reply->vm->uuid),
		       cli_plain(cli, reply->vm->name), dry_run ? "would be defined" : "defined");
	}
	return CLI_OK;
}

int cmd_vm_undefine(struct cli *cli, int argc, char **argv)
{
	Xenmesh__V1__UndefineVmRequest request = XENMESH__V1__UNDEFINE_VM_REQUEST__INIT;
	const Xenmesh__V1__UndefineVmReply *reply;
	int status = CLI_OK;
	int r = cli_options(&argc, argv, NULL, 0);

	if (r || argc < 1) {
		return r ? r : cli_usage("vm undefine wants a VM");
	}
	if (argc > 1 && cli->has_request_id) {
		return cli_usage("--request-id identifies one request: give one VM");
	}
	for (int i = 0; i < argc; i++) {
		request.vm = argv[i];
		r = cli_call_ok(cli, "ops", "xenmesh.v1.Ops/UndefineVm", &request.base, &reply);
		if (r) {
			status = r;
		} else if (cli->json) {
			cli_print_message(&reply->base);
		} else {
			printf("%s undefined\n", argv[i]);
		}
	}
	return status;
}

/* ---- operations ---- */

/* Asks for all first, so that different VMs are worked on in parallel, then waits for each. */
static int operate(struct cli *cli, const char *method, ProtobufCMessage *request, char **vm_field,
		   int argc, char **argv, bool no_wait)
{
	const Xenmesh__V1__Task *tasks[VMS_MAX] = { NULL };
	int status = CLI_OK;

	if (argc < 1) {
		return cli_usage("wants a VM: its UUID, name or domid");
	}
	if (argc > VMS_MAX) {
		return cli_usage("takes %d VMs at most", VMS_MAX);
	}
	if (argc > 1 && cli->has_request_id) {
		return cli_usage("--request-id identifies one request: give one VM");
	}
	for (int i = 0; i < argc; i++) {
		int r;

		*vm_field = argv[i];
		r = cli_call_ok(cli, "ops", method, request, &tasks[i]);
		status = r ? r : status;
	}
	for (int i = 0; i < argc; i++) {
		int r = CLI_OK;

		if (tasks[i] && !no_wait) {
			r = cli_task_wait(cli, tasks[i]);
		} else if (tasks[i] && cli->json) {
			cli_print_message(&tasks[i]->base);
		} else if (tasks[i]) {
			printf("%s: accepted, task %s\n", argv[i], cli_plain(cli, tasks[i]->id));
		}
		status = r ? r : status;
	}
	return status;
}

int cmd_vm_start(struct cli *cli, int argc, char **argv)
{
	Xenmesh__V1__StartVmRequest request = XENMESH__V1__START_VM_REQUEST__INIT;
	bool no_wait = false;
	bool paused = false;
	const struct cli_option options[] = { { "no-wait", 0, NULL, &no_wait },
					      { "paused", 'p', NULL, &paused } };
	int r = cli_options(&argc, argv, options, ARRAY_LEN(options));

	request.paused = paused;
	return r ? r
		 : operate(cli, "xenmesh.v1.Ops/StartVm", &request.base, &request.vm, argc, argv,
			   no_wait);
}

struct end_options {
	uint32_t timeout_s;
	bool force;
	bool no_wait;
};

static int end_options(int *argc, char **argv, struct end_options *out)
{
	const char *deadline = NULL;
	const struct cli_option options[] = {
		{ "no-wait", 0, NULL, &out->no_wait },
		{ "force", 'f', NULL, &out->force },
		{ "deadline", 'd', &deadline, NULL },
	};
	int r = cli_options(argc, argv, options, ARRAY_LEN(options));

	if (!r && deadline &&
	    (parse_u32(deadline, strlen(deadline), 3600, &out->timeout_s) || !out->timeout_s)) {
		return cli_usage("--deadline wants 1 to 3600 seconds, got \"%s\"", deadline);
	}
	return r;
}

int cmd_vm_shutdown(struct cli *cli, int argc, char **argv)
{
	Xenmesh__V1__ShutdownVmRequest request = XENMESH__V1__SHUTDOWN_VM_REQUEST__INIT;
	struct end_options o = { 0 };
	int r = end_options(&argc, argv, &o);

	request.timeout_s = o.timeout_s;
	request.force = o.force;
	return r ? r
		 : operate(cli, "xenmesh.v1.Ops/ShutdownVm", &request.base, &request.vm, argc, argv,
			   o.no_wait);
}

int cmd_vm_reboot(struct cli *cli, int argc, char **argv)
{
	Xenmesh__V1__RebootVmRequest request = XENMESH__V1__REBOOT_VM_REQUEST__INIT;
	struct end_options o = { 0 };
	int r = end_options(&argc, argv, &o);

	request.timeout_s = o.timeout_s;
	request.force = o.force;
	return r ? r
		 : operate(cli, "xenmesh.v1.Ops/RebootVm", &request.base, &request.vm, argc, argv,
			   o.no_wait);
}

/* For the operations whose request has only a VM. */
static int simple_operation(struct cli *cli, const char *method, ProtobufCMessage *request,
			    char **vm_field, int argc, char **argv)
{
	bool no_wait = false;
	const struct cli_option options[] = { { "no-wait", 0, NULL, &no_wait } };
	int r = cli_options(&argc, argv, options, ARRAY_LEN(options));

	return r ? r : operate(cli, method, request, vm_field, argc, argv, no_wait);
}

int cmd_vm_destroy(struct cli *cli, int argc, char **argv)
{
	Xenmesh__V1__DestroyVmRequest request = XENMESH__V1__DESTROY_VM_REQUEST__INIT;

	return simple_operation(cli, "xenmesh.v1.Ops/DestroyVm", &request.base, &request.vm, argc,
				argv);
}

int cmd_vm_pause(struct cli *cli, int argc, char **argv)
{
	Xenmesh__V1__PauseVmRequest request = XENMESH__V1__PAUSE_VM_REQUEST__INIT;

	return simple_operation(cli, "xenmesh.v1.Ops/PauseVm", &request.base, &request.vm, argc,
				argv);
}

int cmd_vm_unpause(struct cli *cli, int argc, char **argv)
{
	Xenmesh__V1__UnpauseVmRequest request = XENMESH__V1__UNPAUSE_VM_REQUEST__INIT;

	return simple_operation(cli, "xenmesh.v1.Ops/UnpauseVm", &request.base, &request.vm, argc,
				argv);
}
