/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "services/ops/core/api.h"

#include "bus/limits.h"
#include "services/ops/core/limits.h"
#include "services/ops/core/pb.h"

#define PAGE_MAX 500

const struct bus_handler api_handlers[] = {
	{ "xenmesh.v1.Ops/ListVms", api_list_vms },
	{ "xenmesh.v1.Ops/GetVm", api_get_vm },
	{ "xenmesh.v1.Ops/DefineVm", api_define_vm },
	{ "xenmesh.v1.Ops/UndefineVm", api_undefine_vm },
	{ "xenmesh.v1.Ops/StartVm", api_start_vm },
	{ "xenmesh.v1.Ops/ShutdownVm", api_shutdown_vm },
	{ "xenmesh.v1.Ops/RebootVm", api_reboot_vm },
	{ "xenmesh.v1.Ops/DestroyVm", api_destroy_vm },
	{ "xenmesh.v1.Ops/PauseVm", api_pause_vm },
	{ "xenmesh.v1.Ops/UnpauseVm", api_unpause_vm },
	{ "xenmesh.v1.Ops/GetHost", api_get_host },
	{ "xenmesh.v1.Ops/ListTasks", api_list_tasks },
	{ "xenmesh.v1.Ops/GetTask", api_get_task },
	{ "xenmesh.v1.Ops/WaitTask", api_wait_task },
	{ "xenmesh.v1.Ops/CancelTask", api_cancel_task },
};
const size_t api_n_handlers = ARRAY_LEN(api_handlers);

/* ---- shared ---- */

struct vm *api_find_vm(struct core *c, struct bus_call *call, const char *ref)
{
	_cleanup_(strbuf_deinit) struct strbuf error = STRBUF_NULL;
	struct vm *vm = NULL;
	int r;

	if (strlen(ref) > OPS_REF_MAX) {
		bus_call_fail(call, CODE_INVALID_ARGUMENT, "vm: longer than %d bytes", OPS_REF_MAX);
		return NULL;
	}
	r = vms_find(&c->vms, ref, &vm, &error);
	if (r == 2) {
		bus_call_fail(call, CODE_INVALID_ARGUMENT, "%s", strbuf_str(&error));
	} else if (r == 1) {
		bus_call_fail(call, ref[0] ? CODE_NOT_FOUND : CODE_INVALID_ARGUMENT, "%s",
			      strbuf_str(&error));
	}
	return vm;
}

size_t api_page_limit(struct bus_call *call, uint32_t limit)
{
	if (limit > PAGE_MAX) {
		bus_call_fail(call, CODE_INVALID_ARGUMENT, "limit: %u is more than %d", limit,
			      PAGE_MAX);
		return 0;
	}
	return limit ? limit : PAGE_MAX;
}

bool api_begin(struct core *c, struct bus_call *call)
{
	int r = store_begin(c->store);

	if (r < 0) {
		bus_call_fail(call, (enum bus_code)store_error_code(r), "nothing was done: %s",
			      store_error(c->store));
		return false;
	}
	return true;
}

void api_finish(struct core *c, struct bus_call *call, int r, const ProtobufCMessage *reply)
{
	if (r == 0) {
		r = store_flush(c->store);
	}
	if (r < 0) {
		store_rollback(c->store);
		bus_call_fail(call, (enum bus_code)store_error_code(r), "nothing was done: %s",
			      r == -ENOMEM ? "out of memory" : store_error(c->store));
		return;
	}
	bus_call_reply(call, reply);
	store_rollback(c->store); /* if the answer could not even be made */
}

/* ---- VMs ---- */

struct page {
	Xenmesh__V1__VmState *states;
	Xenmesh__V1__VmState **pointers;
	size_t n;
	bool has_more;
};

/* As many as fit into one answer. */
static int fill_page(struct core *c, const char *after_uuid, size_t limit, struct page *page)
{
	_cleanup_(xfreep) struct vm **all = NULL;
	size_t n, bytes = 0;
	int r = vms_sorted(&c->vms, &all, &n);

	if (r < 0) {
		return r;
	}
	page->states = calloc(limit, sizeof(*page->states));
	page->pointers = calloc(limit, sizeof(Xenmesh__V1__VmState *));
	if (!page->states || !page->pointers) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++) {
		Xenmesh__V1__VmState *state = &page->states[page->n];

		if (strcmp(all[i]->uuid, after_uuid) <= 0) {
			continue;
		}
		if (page->n == limit || bytes >= BUS_PAGE_BYTES) {
			page->has_more = true;
			return 0;
		}
		vm_fill_state(all[i], NULL, state);
		state->stale_ms = host_stale_ms(&c->host);
		bytes += protobuf_c_message_get_packed_size(&state->base);
		page->pointers[page->n++] = state;
	}
	return 0;
}

void api_list_vms(struct bus_call *call, const ProtobufCMessage *request, void *userdata)
{
	const Xenmesh__V1__ListVmsRequest *q = (const void *)request;
	Xenmesh__V1__ListVmsReply reply = XENMESH__V1__LIST_VMS_REPLY__INIT;
	size_t limit = api_page_limit(call, q->limit);
	struct page page = { 0 };

	if (limit == 0) {
		return;
	}
	if (fill_page(userdata, q->after_uuid, limit, &page) < 0) {
		bus_call_fail(call, CODE_RESOURCE_EXHAUSTED, "out of memory");
	} else {
		reply.vms = page.pointers;
		reply.n_vms = page.n;
		reply.more = page.has_more;
		bus_call_reply(call, &reply.base);
	}
	free(page.states);
	free(page.pointers);
}

void api_get_vm(struct bus_call *call, const ProtobufCMessage *request, void *userdata)
{
	const Xenmesh__V1__GetVmRequest *q = (const void *)request;
	struct core *c = userdata;
	struct vm *vm = api_find_vm(c, call, q->vm);
	Xenmesh__V1__VmState state;

	if (vm) {
		vm_fill_state(vm, NULL, &state);
		state.stale_ms = host_stale_ms(&c->host);
		bus_call_reply(call, &state.base);
	}
}

/* ---- the host ---- */

void api_get_host(struct bus_call *call, const ProtobufCMessage *request, void *userdata)
{
	const Xenmesh__V1__GetHostRequest *q = (const void *)request;
	Xenmesh__V1__GetHostReply reply = XENMESH__V1__GET_HOST_REPLY__INIT;
	struct core *c = userdata;

	reply.state = c->host.state;
	reply.sample = q->sample ? host_copy_sample(&c->host) : NULL;
	reply.vms_defined = (uint32_t)vms_n_defined(&c->vms);
	reply.domains = (uint32_t)vms_n_domains(&c->vms);
	reply.stale_ms = host_stale_ms(&c->host);
	bus_call_reply(call, &reply.base);
	pb_free((ProtobufCMessage *)reply.sample);
}
