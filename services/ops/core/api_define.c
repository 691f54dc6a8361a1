/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * DefineVm and UndefineVm.
 */
#include <stdio.h>

#include "libcommon/log.h"
#include "libcommon/uuid.h"
#include "services/ops/core/api.h"
#include "services/ops/core/limits.h"
#include "services/ops/core/pb.h"
#include "services/ops/core/vmconfig.h"
#include "services/ops/core/vmfile.h"
#include "services/ops/core/xlcfg.h"

#define ERRORS_TOLD 3000 /* bytes; a failure's message has at most 4096 */

struct definition {
	struct core *core;
	Xenmesh__V1__VmConfig *config;
	enum store_desired desired;
	struct strbuf warnings, errors; /* lines */
};

static void definition_deinit(struct definition *d)
{
	d->config = vmconfig_free(d->config);
	strbuf_deinit(&d->warnings);
	strbuf_deinit(&d->errors);
}

/* ---- reading ---- */

static int read_source(struct definition *d, const Xenmesh__V1__DefineVmRequest *q)
{
	switch (q->source_case) {
	case XENMESH__V1__DEFINE_VM_REQUEST__SOURCE_CONFIG:
		d->config = vmconfig_copy(q->config);
		return d->config ? 0 : -ENOMEM;
	case XENMESH__V1__DEFINE_VM_REQUEST__SOURCE_VM_FILE:
		return vmfile_parse((const char *)q->vm_file.data, q->vm_file.len, &d->config,
				    &d->errors);
	case XENMESH__V1__DEFINE_VM_REQUEST__SOURCE_XL_CFG:
		return xlcfg_parse((const char *)q->xl_cfg.data, q->xl_cfg.len, &d->config,
				   &d->warnings, &d->errors);
	default:
		strbuf_puts(&d->errors, "config, vm_file or xl_cfg: one of them is needed\n");
		return 1;
	}
}

/* The table knows canonical UUIDs only. */
static int make_canonical(Xenmesh__V1__VmConfig *config)
{
	struct uuid u;
	char text[37];

	if (config->uuid[0] == '\0') {
		return 0; /* by its name, or a new one */
	}
	if (uuid_parse(config->uuid, &u) < 0) {
		return -EINVAL;
	}
	uuid_format(&u, text);
	return pb_set(&config->uuid, text);
}

/* A failure has one text only: there the warnings are marked. */
static void fail_of_mistakes(struct definition *d, struct bus_call *call)
{
	_cleanup_(strbuf_deinit) struct strbuf marked = STRBUF_NULL;
	char *rest = d->warnings.data;

	for (char *line = strsep(&rest, "\n"); line; line = strsep(&rest, "\n")) {
		if (*line) {
			strbuf_printf(&marked, "warning: %s\n", line);
		}
	}
	/* A key that was left out may be the reason of an error. */
	bus_call_fail(call, CODE_INVALID_ARGUMENT, "%.*s%.*s", ERRORS_TOLD, strbuf_str(&d->errors),
		      4000 - ERRORS_TOLD, strbuf_str(&marked));
}

/* False after the call was failed. */
static bool read_definition(struct definition *d, struct bus_call *call,
			    const Xenmesh__V1__DefineVmRequest *q)
{
	int r = read_source(d, q);

	if (r == 0) {
		bus_call_name_object(call, d->config->name);
		r = vmconfig_check(d->config, &d->errors);
	}
	if (r == 0) {
		r = make_canonical(d->config);
	}
	if (r == 0 && strbuf_error(&d->warnings) == 0) {
		return true;
	}
	if (r == 1) {
		fail_of_mistakes(d, call);
	} else {
		bus_call_fail(call, CODE_RESOURCE_EXHAUSTED, "out of memory");
	}
	return false;
}

/* ---- against what is there ---- */

/* The one that would be replaced; false after the call was failed. */
static bool find_existing(struct definition *d, struct bus_call *call, bool is_replacing,
			  struct vm **out)
{
	struct core *c = d->core;
	struct vm *by_name = vms_defined_by_name(&c->vms, d->config->name);
	struct vm *vm = d->config->uuid[0] ? vms_get(&c->vms, d->config->uuid) : by_name;

	*out = vm;
	if (by_name && by_name != vm) {
		bus_call_fail(call, CODE_ALREADY_EXISTS, "the name \"%s\" belongs to VM %s",
			      d->config->name, by_name->uuid);
		return false;
	}
	if (vm && vm_is_dom0(vm)) {
		bus_call_fail(call, CODE_FAILED_PRECONDITION, "this is dom0, the host itself");
		return false;
	}
	if (vm && vm->config && !is_replacing) {
		bus_call_fail(call, CODE_ALREADY_EXISTS,
			      "VM %s (%s) is defined already; ask for replace to define it anew",
			      vm->uuid, vm->config->name);
		return false;
	}
	return true;
}

/* Whether vm is surely halted; false after the call was failed. */
static bool is_halted(struct core *c, struct bus_call *call, const struct vm *vm)
{
	if (vm->queue) {
		bus_call_fail(call, CODE_FAILED_PRECONDITION,
			      "an operation on VM %s is under way; wait for it or cancel it",
			      vm->uuid);
	} else if (!c->host.is_connected) {
		bus_call_fail(call, CODE_UNAVAILABLE,
			      "there is no host process to tell whether VM %s is halted; start "
			      "xenmesh-ops-host and try again",
			      vm->uuid);
	} else if (vm_domain(vm)) {
		bus_call_fail(call, CODE_FAILED_PRECONDITION,
			      "VM %s is not halted, it is domain %d; shut it down or destroy it",
			      vm->uuid, vm_domid(vm));
	} else {
		return true;
	}
	return false;
}

static bool has_mac(const Xenmesh__V1__VmConfig *c, const char *mac)
{
	for (size_t i = 0; i < c->n_vifs; i++) {
		if (strcasecmp(c->vifs[i]->mac, mac) == 0) {
			return true;
		}
	}
	return false;
}

/* The same MAC in two VMs may be meant (only one of them runs), so it is only told. */
static void warn_of_macs(struct definition *d)
{
	const struct map *vms = &d->core->vms.by_uuid;

	for (struct map_iter it = map_begin(vms); map_next(vms, &it);) {
		const struct vm *vm = it.value;

		for (size_t i = 0; i < d->config->n_vifs; i++) {
			const char *mac = d->config->vifs[i]->mac;

			if (vm->config && !streq(vm->uuid, d->config->uuid) &&
			    has_mac(vm->config, mac)) {
				strbuf_printf(&d->warnings, "vifs[%zu].mac: VM %s has %s, too\n", i,
					      vm->config->name, mac);
			}
		}
	}
}

/* From now on it is managed: its end is followed by what the definition says. */
static void warn_of_adoption(struct definition *d, const struct vm *vm)
{
	if (vm && !vm->config && vm_domain(vm)) {
		strbuf_printf(
			&d->warnings,
			"the VM runs already, as domain %d that was not made from this "
			"definition; on_poweroff, on_reboot and on_crash hold for it at once, "
			"the rest from the next start on\n",
			vm_domid(vm));
	}
}

/* ---- answering ---- */

/* Cuts lines into strings in place. */
static size_t split_lines(char *text, char **out, size_t max)
{
	size_t n = 0;

	for (char *line = text; *line && n < max; n++) {
		char *end = strchr(line, '\n');

		out[n] = line;
		if (!end) {
			return n + 1;
		}
		*end = '\0';
		line = end + 1;
	}
	return n;
}

/* As the state will be. */
static void preview(struct definition *d, struct vm *vm, Xenmesh__V1__VmState *out)
{
	struct vm fresh = { .vms = &d->core->vms };

	if (vm) {
		vm_fill_state(vm, d->config, out);
		return;
	}
	list_init(&fresh.domains);
	vm_fill_state(&fresh, d->config, out);
	out->uuid = d->config->uuid;
	out->task = (char *)"";
}

static void on_defined(bool is_committed, void *userdata)
{
	struct definition *d = userdata;

	if (is_committed && vms_define(&d->core->vms, STEAL(d->config), d->desired) < 0) {
		log_error("out of memory: a defined VM will be seen after a restart only");
	}
}

/* Write, answer; on_defined() enters the VM into the table between the two. */
static void store_definition(struct definition *d, struct bus_call *call,
			     const Xenmesh__V1__DefineVmReply *reply)
{
	struct core *c = d->core;
	_cleanup_(xfreep) uint8_t *bytes = NULL;
	size_t len = 0;
	int r;

	if (!api_begin(c, call)) {
		return;
	}
	r = pb_pack(&d->config->base, &bytes, &len);
	if (r == 0) {
		r = store_vm_put(c->store, d->config->uuid, bytes, len, d->desired);
	}
	if (r == 0) {
		r = store_on_end(c->store, on_defined, d);
	}
	api_finish(c, call, r, &reply->base);
}

static void define(struct definition *d, struct bus_call *call,
		   const Xenmesh__V1__DefineVmRequest *q)
{
	Xenmesh__V1__DefineVmReply reply = XENMESH__V1__DEFINE_VM_REPLY__INIT;
	char *lines[OPS_WARNINGS_MAX];
	Xenmesh__V1__VmState state;
	struct vm *vm;

	if (!read_definition(d, call, q) || !find_existing(d, call, q->replace, &vm)) {
		return;
	}
	if (vm && vm->config && !is_halted(d->core, call, vm)) {
		return;
	}
	if (!vm && vms_n_defined(&d->core->vms) >= OPS_VMS_MAX) {
		bus_call_fail(call, CODE_RESOURCE_EXHAUSTED,
			      "%d VMs are defined, as many as are allowed; undefine some",
			      OPS_VMS_MAX);
		return;
	}
	if ((vm && pb_set(&d->config->uuid, vm->uuid) < 0) || vmconfig_complete(d->config) < 0) {
		bus_call_fail(call, CODE_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	d->desired = vm ? vm->desired : STORE_DESIRED_UNKNOWN;
	warn_of_macs(d);
	warn_of_adoption(d, vm);
	preview(d, vm, &state);
	reply.vm = &state;
	reply.warnings = lines;
	if (d->warnings.data) {
		reply.n_warnings = split_lines(d->warnings.data, lines, ARRAY_LEN(lines));
	}
	if (q->dry_run) {
		bus_call_reply(call, &reply.base);
	} else {
		store_definition(d, call, &reply);
	}
}

void api_define_vm(struct bus_call *call, const ProtobufCMessage *request, void *userdata)
{
	_cleanup_(definition_deinit) struct definition d = { .core = userdata };

	define(&d, call, (const void *)request);
}

/* ---- undefine ---- */

static void on_undefined(bool is_committed, void *userdata)
{
	if (is_committed) {
		vms_undefine(userdata);
	}
}

void api_undefine_vm(struct bus_call *call, const ProtobufCMessage *request, void *userdata)
{
	const Xenmesh__V1__UndefineVmRequest *q = (const void *)request;
	Xenmesh__V1__UndefineVmReply reply = XENMESH__V1__UNDEFINE_VM_REPLY__INIT;
	struct core *c = userdata;
	struct vm *vm = api_find_vm(c, call, q->vm);
	int r;

	if (!vm) {
		return;
	}
	if (!vm->config) {
		bus_call_fail(call, CODE_FAILED_PRECONDITION, "VM %s has no definition here",
			      vm->uuid);
		return;
	}
	if (!is_halted(c, call, vm) || !api_begin(c, call)) {
		return;
	}
	reply.uuid = arena_strndup(bus_call_arena(call), vm->uuid, strlen(vm->uuid));
	r = reply.uuid ? store_vm_delete(c->store, vm->uuid) : -ENOMEM;
	if (r == 0) {
		r = store_on_end(c->store, on_undefined, vm);
	}
	api_finish(c, call, r, &reply.base);
}
