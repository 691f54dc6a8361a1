/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The handlers of service Ops, by method.  A call that changes something is one
 * transaction of the store, ended by the answer (store.h); what it makes known
 * or starts hangs on the commit.
 */
#include "bus/server.h"
#include "services/ops/core/core.h"

/* For bus_service_config; userdata is the core. */
extern const struct bus_handler api_handlers[];
extern const size_t api_n_handlers;

/* ---- for api_*.c ---- */

#define API_HANDLER(name) \
	void name(struct bus_call *call, const ProtobufCMessage *request, void *userdata)

API_HANDLER(api_list_vms);
API_HANDLER(api_get_vm);
API_HANDLER(api_get_host);
API_HANDLER(api_define_vm);
API_HANDLER(api_undefine_vm);
API_HANDLER(api_start_vm);
API_HANDLER(api_shutdown_vm);
API_HANDLER(api_reboot_vm);
API_HANDLER(api_destroy_vm);
API_HANDLER(api_pause_vm);
API_HANDLER(api_unpause_vm);
API_HANDLER(api_list_tasks);
API_HANDLER(api_get_task);
API_HANDLER(api_wait_task);
API_HANDLER(api_cancel_task);

/* The VM that ref names; NULL after the call was failed. */
struct vm *api_find_vm(struct core *c, struct bus_call *call, const char *ref);
/* The size of a page; 0 after the call was failed. */
size_t api_page_limit(struct bus_call *call, uint32_t limit);
/* Begin the call's transaction; false after the call was failed. */
bool api_begin(struct core *c, struct bus_call *call);
/* Answer and commit. r < 0: what was to be written could not be; fails the call then. */
void api_finish(struct core *c, struct bus_call *call, int r, const ProtobufCMessage *reply);
