/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Texts come from Xen and the kernel; they pass log_escape() so that one odd
 * byte on a boot command line cannot make a message that does not decode.
 */
#include "services/ops/host/state.h"

#include <limits.h>

#include "libcommon/err.h"
#include "libcommon/log.h"

static const char *scheduler_name(int id)
{
	switch (id) {
	case XEN_SCHEDULER_CREDIT:
		return "credit";
	case XEN_SCHEDULER_CREDIT2:
		return "credit2";
	case XEN_SCHEDULER_ARINC653:
		return "arinc653";
	case XEN_SCHEDULER_RTDS:
		return "rtds";
	case XEN_SCHEDULER_NULL:
		return "null";
	default:
		return "unknown";
	}
}

static char *safe_text(struct arena *a, const char *text)
{
	char safe[2048];

	log_escape(safe, sizeof(safe), text, strlen(text));
	return arena_strndup(a, safe, strlen(safe));
}

int host_state_read(struct arena *a, struct hypervisor *hv, Xenmesh__V1__HostState **out)
{
	Xenmesh__V1__HostState *state = arena_alloc(a, sizeof(*state));
	struct hypervisor_identity identity;
	char hostname[HOST_NAME_MAX + 1] = "";
	xc_physinfo_t info;
	int r;

	if (!state) {
		return -ENOMEM;
	}
	if ((r = hv->ops->physinfo(hv->userdata, &info)) < 0 ||
	    (r = hv->ops->identity(hv->userdata, &identity)) < 0) {
		return err_trace(r);
	}
	if (gethostname(hostname, sizeof(hostname) - 1) < 0) {
		return err_trace(err_errno());
	}
	xenmesh__v1__host_state__init(state);
	state->hostname = safe_text(a, hostname);
	state->xen_version = safe_text(a, identity.version);
	state->xen_caps = safe_text(a, identity.caps);
	state->xen_commandline = safe_text(a, identity.commandline);
	state->scheduler = (char *)scheduler_name(identity.scheduler);
	state->pcpus = info.nr_cpus;
	state->cores_per_socket = info.cores_per_socket;
	state->threads_per_core = info.threads_per_core;
	state->nodes = info.nr_nodes;
	state->cpu_khz = info.cpu_khz;
	state->memory_kib = hypervisor_pages_kib(info.total_pages);
	state->connected = true;
	if (!state->hostname || !state->xen_version || !state->xen_caps ||
	    !state->xen_commandline) {
		return -ENOMEM;
	}
	*out = state;
	return 0;
}
