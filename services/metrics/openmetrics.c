/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One pass over the domains for each metric family, because a family's samples
 * have to stand together.
 */
#include "services/metrics/openmetrics.h"

#include <inttypes.h>
#include <math.h>

#include "libcommon/parse.h"

#define SECTOR 512.0

enum family_type { COUNTER, GAUGE, INFO, STATESET };

static void family(struct strbuf *out, const char *name, enum family_type type, const char *unit,
		   const char *help)
{
	static const char *const types[] = { "counter", "gauge", "info", "stateset" };

	strbuf_printf(out, "# TYPE %s %s\n", name, types[type]);
	if (*unit) {
		strbuf_printf(out, "# UNIT %s %s\n", name, unit);
	}
	strbuf_printf(out, "# HELP %s %s\n", name, help);
}

/* name="value", with the escapes of the format. Bytes that are no UTF-8 become '?'. */
static void label(struct strbuf *out, const char *name, const char *value, char before)
{
	strbuf_printf(out, "%c%s=\"", before, name);
	while (*value) {
		size_t n = utf8_sequence_len(value, strlen(value));

		if (*value == '\n') {
			strbuf_puts(out, "\\n");
		} else if (*value == '"' || *value == '\\') {
			strbuf_printf(out, "\\%c", *value);
		} else if (n == 0 || (unsigned char)*value < 0x20) {
			strbuf_putc(out, '?');
		} else {
			strbuf_append(out, value, n);
		}
		value += MAX(n, 1);
	}
	strbuf_putc(out, '"');
}

static void number(struct strbuf *out, double value)
{
	if (isnan(value)) {
		strbuf_puts(out, " NaN\n");
	} else {
		strbuf_printf(out, " %.17g\n", value);
	}
}

/* ---- the host ---- */

static void write_host(struct strbuf *out, const struct view *v)
{
	const Xenmesh__V1__HostSample *s = v->sample;

	if (v->state) {
		family(out, "xen_host", INFO, "", "Facts about the host.");
		strbuf_puts(out, "xen_host_info");
		label(out, "hostname", v->state->hostname, '{');
		label(out, "xen_version", v->state->xen_version, ',');
		strbuf_puts(out, "} 1\n");
		family(out, "xen_host_memory_bytes", GAUGE, "bytes", "Memory that Xen manages.");
		strbuf_printf(out, "xen_host_memory_bytes %" PRIu64 "\n",
			      v->state->memory_kib * 1024);
	}
	family(out, "xen_host_memory_free_bytes", GAUGE, "bytes", "Memory of no domain.");
	strbuf_printf(out, "xen_host_memory_free_bytes %" PRIu64 "\n", s->free_memory_kib * 1024);
	family(out, "xen_host_load1", GAUGE, "", "Load average of dom0 over one minute.");
	strbuf_puts(out, "xen_host_load1");
	number(out, s->load_average);
	family(out, "xen_host_pcpu_idle_seconds", COUNTER, "seconds",
	       "Time this physical CPU was idle since boot.");
	for (size_t i = 0; i < s->n_pcpus; i++) {
		strbuf_printf(out, "xen_host_pcpu_idle_seconds_total{pcpu=\"%" PRIu32 "\"}",
			      s->pcpus[i]->pcpu);
		number(out, (double)s->pcpus[i]->idle_ns / 1e9);
	}
}

/* ---- domains ---- */

static void domain_start(struct strbuf *out, const char *name, const Xenmesh__V1__DomainSample *d)
{
	strbuf_puts(out, name);
	label(out, "uuid", d->uuid, '{');
}

static void write_info(struct strbuf *out, const Xenmesh__V1__HostSample *s)
{
	family(out, "xen_domain", INFO, "", "Name and domid of each domain.");
	for (size_t i = 0; i < s->n_domains; i++) {
		const Xenmesh__V1__DomainSample *d = s->domains[i];

		domain_start(out, "xen_domain_info", d);
		strbuf_printf(out, ",domid=\"%" PRIu32 "\"", d->domid);
		label(out, "name", d->name, ',');
		strbuf_puts(out, "} 1\n");
	}
}

static void write_states(struct strbuf *out, const Xenmesh__V1__HostSample *s)
{
	static const struct {
		const char *name;
		Xenmesh__V1__PowerState state;
	} states[] = {
		{ "running", XENMESH__V1__POWER_STATE__POWER_STATE_RUNNING },
		{ "paused", XENMESH__V1__POWER_STATE__POWER_STATE_PAUSED },
		{ "shutdown", XENMESH__V1__POWER_STATE__POWER_STATE_SHUTDOWN },
		{ "dying", XENMESH__V1__POWER_STATE__POWER_STATE_DYING },
	};

	family(out, "xen_domain_state", STATESET, "", "What the domain does.");
	for (size_t i = 0; i < s->n_domains; i++) {
		for (size_t j = 0; j < ARRAY_LEN(states); j++) {
			domain_start(out, "xen_domain_state", s->domains[i]);
			label(out, "xen_domain_state", states[j].name, ',');
			strbuf_printf(out, "} %d\n", s->domains[i]->power_state == states[j].state);
		}
	}
}

struct domain_family {
	const char *name;
	const char *suffix;
	enum family_type type;
	const char *unit;
	const char *help;
	double (*value)(const Xenmesh__V1__DomainSample *d); /* NAN = leave out */
};

static double cpu_seconds(const Xenmesh__V1__DomainSample *d)
{
	return (double)d->cpu_ns / 1e9;
}

static double memory_bytes(const Xenmesh__V1__DomainSample *d)
{
	return (double)d->memory_kib * 1024;
}

static double memory_max_bytes(const Xenmesh__V1__DomainSample *d)
{
	return d->max_memory_kib ? (double)d->max_memory_kib * 1024 : (double)NAN;
}

static double vcpus_online(const Xenmesh__V1__DomainSample *d)
{
	return d->vcpus_online;
}

static const struct domain_family domain_families[] = {
	{ "xen_domain_cpu_seconds", "_total", COUNTER, "seconds",
	  "CPU time of all vCPUs since the domain was created.", cpu_seconds },
	{ "xen_domain_memory_bytes", "", GAUGE, "bytes", "Memory the domain has.", memory_bytes },
	{ "xen_domain_memory_max_bytes", "", GAUGE, "bytes", "Memory the domain may have at most.",
	  memory_max_bytes },
	{ "xen_domain_vcpus_online", "", GAUGE, "", "Online vCPUs.", vcpus_online },
};

static void write_domain_families(struct strbuf *out, const Xenmesh__V1__HostSample *s)
{
	for (size_t f = 0; f < ARRAY_LEN(domain_families); f++) {
		const struct domain_family *df = &domain_families[f];

		family(out, df->name, df->type, df->unit, df->help);
		for (size_t i = 0; i < s->n_domains; i++) {
			double value = df->value(s->domains[i]);

			if (!isnan(value)) {
				strbuf_puts(out, df->name);
				domain_start(out, df->suffix, s->domains[i]);
				strbuf_putc(out, '}');
				number(out, value);
			}
		}
	}
}

static void write_vcpus(struct strbuf *out, const Xenmesh__V1__HostSample *s)
{
	family(out, "xen_domain_vcpu_seconds", COUNTER, "seconds", "CPU time of one vCPU.");
	for (size_t i = 0; i < s->n_domains; i++) {
		for (size_t j = 0; j < s->domains[i]->n_vcpus; j++) {
			domain_start(out, "xen_domain_vcpu_seconds_total", s->domains[i]);
			strbuf_printf(out, ",vcpu=\"%" PRIu32 "\"}", s->domains[i]->vcpus[j]->vcpu);
			number(out, (double)s->domains[i]->vcpus[j]->cpu_ns / 1e9);
		}
	}
}

/* A counter of each vif or vbd, by the offset of its field. */
struct device_family {
	const char *name;
	const char *unit;
	const char *help;
	size_t offset;
	double scale;
};

#define VIF(field) offsetof(Xenmesh__V1__VifSample, field)
#define VBD(field) offsetof(Xenmesh__V1__VbdSample, field)

static const struct device_family vif_families[] = {
	{ "xen_domain_vif_receive_bytes", "bytes", "Received by the guest.", VIF(rx_bytes), 1 },
	{ "xen_domain_vif_transmit_bytes", "bytes", "Sent by the guest.", VIF(tx_bytes), 1 },
	{ "xen_domain_vif_receive_packets", "", "Received by the guest.", VIF(rx_packets), 1 },
	{ "xen_domain_vif_transmit_packets", "", "Sent by the guest.", VIF(tx_packets), 1 },
	{ "xen_domain_vif_receive_errors", "", "Receive errors.", VIF(rx_errors), 1 },
	{ "xen_domain_vif_transmit_errors", "", "Send errors.", VIF(tx_errors), 1 },
	{ "xen_domain_vif_receive_dropped", "", "Dropped on the way to the guest.", VIF(rx_dropped),
	  1 },
	{ "xen_domain_vif_transmit_dropped", "", "Dropped on the way from the guest.",
	  VIF(tx_dropped), 1 },
};

static const struct device_family vbd_families[] = {
	{ "xen_domain_vbd_read_bytes", "bytes", "Read from the disk.", VBD(rd_sect), SECTOR },
	{ "xen_domain_vbd_written_bytes", "bytes", "Written to the disk.", VBD(wr_sect), SECTOR },
	{ "xen_domain_vbd_read_requests", "", "Read requests.", VBD(rd_req), 1 },
	{ "xen_domain_vbd_write_requests", "", "Write requests.", VBD(wr_req), 1 },
	{ "xen_domain_vbd_flush_requests", "", "Flush requests.", VBD(f_req), 1 },
	{ "xen_domain_vbd_discard_requests", "", "Discard requests.", VBD(ds_req), 1 },
	{ "xen_domain_vbd_out_of_requests", "", "Times the backend had no request slot.",
	  VBD(oo_req), 1 },
};

static void write_value(struct strbuf *out, const struct device_family *f, const void *device)
{
	const uint64_t *value = (const void *)((const char *)device + f->offset);

	strbuf_putc(out, '}');
	number(out, (double)*value * f->scale);
}

static void write_vifs(struct strbuf *out, const Xenmesh__V1__HostSample *s)
{
	for (size_t f = 0; f < ARRAY_LEN(vif_families); f++) {
		const struct device_family *vf = &vif_families[f];

		family(out, vf->name, COUNTER, vf->unit, vf->help);
		for (size_t i = 0; i < s->n_domains; i++) {
			for (size_t j = 0; j < s->domains[i]->n_vifs; j++) {
				strbuf_puts(out, vf->name);
				domain_start(out, "_total", s->domains[i]);
				strbuf_printf(out, ",vif=\"%" PRIu32 "\"",
					      s->domains[i]->vifs[j]->devid);
				write_value(out, vf, s->domains[i]->vifs[j]);
			}
		}
	}
}

static void write_vbds(struct strbuf *out, const Xenmesh__V1__HostSample *s)
{
	for (size_t f = 0; f < ARRAY_LEN(vbd_families); f++) {
		const struct device_family *vf = &vbd_families[f];

		family(out, vf->name, COUNTER, vf->unit, vf->help);
		for (size_t i = 0; i < s->n_domains; i++) {
			for (size_t j = 0; j < s->domains[i]->n_vbds; j++) {
				strbuf_puts(out, vf->name);
				domain_start(out, "_total", s->domains[i]);
				label(out, "vbd", s->domains[i]->vbds[j]->vdev, ',');
				write_value(out, vf, s->domains[i]->vbds[j]);
			}
		}
	}
}

static void write_guests(struct strbuf *out, const struct view *v)
{
	family(out, "xen_domain_guest_memory_free_bytes", GAUGE, "bytes",
	       "Free memory as the guest's agent reports it.");
	for (size_t i = 0; i < v->sample->n_domains; i++) {
		const Xenmesh__V1__DomainSample *d = v->sample->domains[i];
		const struct view_guest *g = map_get_str(&v->guests, d->uuid);

		if (g && g->memory_free_kib) {
			domain_start(out, "xen_domain_guest_memory_free_bytes", d);
			strbuf_printf(out, "} %" PRIu64 "\n", g->memory_free_kib * 1024);
		}
	}
}

int openmetrics_write(struct strbuf *out, const struct view *v)
{
	family(out, "xenmesh_ops_up", GAUGE, "", "1 while samples of ops arrive.");
	strbuf_printf(out, "xenmesh_ops_up %d\n", view_is_fresh(v));
	/* Old samples are not served as if they were new: a target without data shows as a gap. */
	if (view_is_fresh(v)) {
		write_host(out, v);
		write_info(out, v->sample);
		write_states(out, v->sample);
		write_domain_families(out, v->sample);
		write_vcpus(out, v->sample);
		write_vifs(out, v->sample);
		write_vbds(out, v->sample);
		write_guests(out, v);
	}
	strbuf_puts(out, "# EOF\n");
	return strbuf_error(out);
}
