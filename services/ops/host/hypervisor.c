/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The real hypervisor: libxenctrl.  Its log lines go to ours at debug, because
 * every failure is also returned and told by who knows what it means.
 */
#include "services/ops/host/hypervisor.h"

#include <stdarg.h>
#include <stdio.h>
#include <xen/version.h>

#include "libcommon/err.h"
#include "libcommon/log.h"

struct xen {
	xentoollog_logger logger; /* first: libxenctrl hands it back */
	xc_interface *xc;
};

static void _printf_(5, 0)
	xen_vmessage(xentoollog_logger *logger _unused_, xentoollog_level level _unused_,
		     int errnoval, const char *context, const char *format, va_list args)
{
	char text[512];

	vsnprintf(text, sizeof(text), format, args);
	log_debug("%s: %s%s%s", context ? context : "xc", text, errnoval > 0 ? ": " : "",
		  errnoval > 0 ? err_text(errnoval) : "");
}

static int xen_list(void *userdata, uint32_t first, unsigned int max, xc_domaininfo_t *out)
{
	struct xen *x = userdata;
	int n = xc_domain_getinfolist(x->xc, first, max, out);

	return n < 0 ? err_errno() : n;
}

static int xen_physinfo(void *userdata, xc_physinfo_t *out)
{
	struct xen *x = userdata;

	*out = (xc_physinfo_t){ 0 };
	return xc_physinfo(x->xc, out) < 0 ? err_errno() : 0;
}

static int xen_pcpus(void *userdata, unsigned int max, xc_cpuinfo_t *out)
{
	struct xen *x = userdata;
	int n = 0;

	if (xc_getcpuinfo(x->xc, (int)max, out, &n) < 0) {
		return err_errno();
	}
	return n;
}

static int xen_vcpu(void *userdata, uint32_t domid, uint32_t vcpu, xc_vcpuinfo_t *out)
{
	struct xen *x = userdata;

	return xc_vcpu_getinfo(x->xc, domid, vcpu, out) < 0 ? err_errno() : 0;
}

static int xen_identity(void *userdata, struct hypervisor_identity *out)
{
	struct xen *x = userdata;
	xen_extraversion_t extra = "";
	xen_capabilities_info_t caps = "";
	xen_commandline_t commandline = "";
	int version = xc_version(x->xc, XENVER_version, NULL);

	if (version < 0 || xc_version(x->xc, XENVER_extraversion, extra) < 0 ||
	    xc_version(x->xc, XENVER_capabilities, caps) < 0 ||
	    xc_version(x->xc, XENVER_commandline, commandline) < 0 ||
	    xc_sched_id(x->xc, &out->scheduler) < 0) {
		return err_errno();
	}
	snprintf(out->version, sizeof(out->version), "%d.%d%.15s", version >> 16, version & 0xffff,
		 extra);
	snprintf(out->caps, sizeof(out->caps), "%.1023s", caps);
	snprintf(out->commandline, sizeof(out->commandline), "%.1023s", commandline);
	return 0;
}

static void xen_close(void *userdata)
{
	struct xen *x = userdata;

	if (x->xc) {
		xc_interface_close(x->xc);
	}
	free(x);
}

static const struct hypervisor_ops xen_ops = {
	.list = xen_list,
	.physinfo = xen_physinfo,
	.pcpus = xen_pcpus,
	.vcpu = xen_vcpu,
	.identity = xen_identity,
	.close = xen_close,
};

int hypervisor_open(struct hypervisor *hv)
{
	struct xen *x = calloc(1, sizeof(*x));
	xc_physinfo_t info;
	int r;

	*hv = (struct hypervisor){ 0 };
	if (!x) {
		return -ENOMEM;
	}
	x->logger.vmessage = xen_vmessage;
	errno = 0;
	x->xc = xc_interface_open(&x->logger, &x->logger, 0);
	if (!x->xc) {
		r = err_errno();
		free(x);
		return r == -EIO ? -ENOENT : r;
	}
	/* A guest may have the device too; only the control domain may use it. */
	r = xen_physinfo(x, &info);
	if (r < 0) {
		xen_close(x);
		return r;
	}
	*hv = (struct hypervisor){ .ops = &xen_ops, .userdata = x };
	return 0;
}

void hypervisor_close(struct hypervisor *hv)
{
	if (hv->ops && hv->ops->close) {
		hv->ops->close(hv->userdata);
	}
	*hv = (struct hypervisor){ 0 };
}
