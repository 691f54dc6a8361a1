/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See the header.  Reads are limited per domain because a guest can make its
 * backends' states change as often as it likes.
 */
#include "services/ops/host/domains.h"

#include <limits.h>
#include <stdio.h>

#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/parse.h"
#include "libcommon/xenstore.h"
#include "services/ops/mark.h"

#define READS_PER_SECOND 8
#define NAME_TEXT_MAX	 256

struct host_domains {
	struct hypervisor *hv;
	struct xenstore *xs;
	const struct host_domains_events *events;
	void *userdata;
	const char *userdata_dir;
	struct host_domain **table; /* ascending domid */
	size_t n;
	xc_domaininfo_t *infos; /* of a scan */
	size_t n_infos;
	size_t infos_size;
};

int host_domains_new(struct host_domains **out, struct hypervisor *hv, struct xenstore *xs,
		     const struct host_domains_events *events, void *userdata)
{
	struct host_domains *d = calloc(1, sizeof(*d));

	if (!d) {
		return -ENOMEM;
	}
	d->hv = hv;
	d->xs = xs;
	d->events = events;
	d->userdata = userdata;
	d->userdata_dir = OPERATION_MARKS;
	*out = d;
	return 0;
}

void host_domains_set_userdata_dir(struct host_domains *d, const char *dir)
{
	d->userdata_dir = dir;
}

static void domain_free(struct host_domain *domain)
{
	if (domain) {
		xenstore_unwatch(domain->name_watch);
		host_devices_deinit(&domain->devices);
		free(domain->name);
		free(domain->told);
		free(domain);
	}
}

struct host_domains *host_domains_free(struct host_domains *d)
{
	if (d) {
		for (size_t i = 0; i < d->n; i++) {
			domain_free(d->table[i]);
		}
		free(d->table);
		free(d->infos);
		free(d);
	}
	return NULL;
}

/* ---- what a domain looks like ---- */

Xenmesh__V1__PowerState host_domain_power_state(const struct host_domain *domain)
{
	uint32_t flags = domain->info.flags;

	if (flags & XEN_DOMINF_dying) {
		return XENMESH__V1__POWER_STATE__POWER_STATE_DYING;
	}
	if (flags & XEN_DOMINF_shutdown) {
		return XENMESH__V1__POWER_STATE__POWER_STATE_SHUTDOWN;
	}
	if (flags & XEN_DOMINF_paused) {
		return XENMESH__V1__POWER_STATE__POWER_STATE_PAUSED;
	}
	return XENMESH__V1__POWER_STATE__POWER_STATE_RUNNING;
}

static Xenmesh__V1__ShutdownReason shutdown_reason(const struct host_domain *domain)
{
	uint32_t code = domain->info.flags >> XEN_DOMINF_shutdownshift & XEN_DOMINF_shutdownmask;

	/* Ours are Xen's plus one. */
	if (!(domain->info.flags & XEN_DOMINF_shutdown) ||
	    code >= XENMESH__V1__SHUTDOWN_REASON__SHUTDOWN_REASON_SOFT_RESET) {
		return XENMESH__V1__SHUTDOWN_REASON__SHUTDOWN_REASON_UNSPECIFIED;
	}
	return (Xenmesh__V1__ShutdownReason)(code + 1);
}

static Xenmesh__V1__VmType vm_type(const struct host_domain *domain)
{
	if (!(domain->info.flags & XEN_DOMINF_hvm_guest)) {
		return XENMESH__V1__VM_TYPE__VM_TYPE_PV;
	}
#if defined(__i386__) || defined(__x86_64__)
	/* A PVH domain differs by what Xen does not emulate for it. */
	if (domain->info.arch_config.emulation_flags & XEN_X86_EMU_PM) {
		return XENMESH__V1__VM_TYPE__VM_TYPE_HVM;
	}
#endif
	return XENMESH__V1__VM_TYPE__VM_TYPE_PVH;
}

uint64_t host_domain_max_memory_kib(const struct host_domain *domain)
{
	/* Without limit: all ones, in Xen's 32 bits or in the structure's 64. */
	return domain->info.max_pages >= UINT32_MAX ? 0
						    : hypervisor_pages_kib(domain->info.max_pages);
}

void host_domain_message(const struct host_domain *domain, Xenmesh__Host__Domain *out)
{
	const xc_domaininfo_t *info = &domain->info;

	xenmesh__host__domain__init(out);
	out->domid = domain->domid;
	out->uuid = (char *)domain->uuid;
	out->name = domain->name;
	out->type = vm_type(domain);
	out->power_state = host_domain_power_state(domain);
	out->shutdown_reason = shutdown_reason(domain);
	out->vcpus_online = info->nr_online_vcpus;
	out->max_vcpus = info->max_vcpu_id == XEN_INVALID_MAX_VCPU_ID ? 0 : info->max_vcpu_id + 1;
	out->memory_kib = hypervisor_pages_kib(info->tot_pages);
	out->max_memory_kib = host_domain_max_memory_kib(domain);
	out->vifs = domain->devices.vifs;
	out->n_vifs = domain->devices.n_vifs;
	out->vbds = domain->devices.vbds;
	out->n_vbds = domain->devices.n_vbds;
	out->started_ns = domain->started_ns;
	out->complete = domain->is_complete;
}

/* Tell of the domain unless it looks as it did. */
static void tell_changed(struct host_domains *d, struct host_domain *domain)
{
	Xenmesh__Host__Domain message;
	uint8_t *packed;
	size_t len;

	host_domain_message(domain, &message);
	len = xenmesh__host__domain__get_packed_size(&message);
	packed = malloc(len);
	if (packed) {
		xenmesh__host__domain__pack(&message, packed);
		if (domain->told && len == domain->told_len &&
		    memcmp(packed, domain->told, len) == 0) {
			free(packed);
			return;
		}
	}
	free(domain->told);
	domain->told = packed; /* without memory to remember it is told again */
	domain->told_len = len;
	domain->is_told = true;
	d->events->changed(domain, d->userdata);
}

/* ---- what xenstore says of it ---- */

static int read_name(struct host_domains *d, struct host_domain *domain)
{
	_cleanup_(xfreep) char *value = NULL;
	char path[48], text[NAME_TEXT_MAX];
	size_t len = 0;
	char *name;
	int r;

	snprintf(path, sizeof(path), "/local/domain/%u/name", domain->domid);
	r = xenstore_read(d->xs, path, &value, &len);
	if (r != 0) {
		return r < 0 ? err_trace(r) : 0; /* not yet or no more: keep what is known */
	}
	log_escape(text, sizeof(text), value, len);
	name = strdup(text);
	if (!name) {
		return -ENOMEM;
	}
	free(domain->name);
	domain->name = name;
	return 0;
}

/* "1795333363.76", in seconds. */
static int parse_start_time(const char *text, size_t len, uint64_t *out)
{
	const char *dot = memchr(text, '.', len);
	size_t whole = dot ? (size_t)(dot - text) : len;
	uint64_t seconds, hundredths = 0;
	int r = parse_u64(text, whole, UINT64_MAX / NSEC_PER_SEC - 1, &seconds);

	if (r == 0 && dot) {
		r = parse_u64(dot + 1, len - whole - 1, 99, &hundredths);
	}
	if (r == 0) {
		*out = seconds * NSEC_PER_SEC + hundredths * (NSEC_PER_SEC / 100);
	}
	return r;
}

static int read_start_time(struct host_domains *d, struct host_domain *domain)
{
	_cleanup_(xfreep) char *value = NULL;
	char path[64];
	size_t len = 0;
	int r;

	if (domain->has_start_time) {
		return 0;
	}
	snprintf(path, sizeof(path), "/vm/%s/start_time", domain->uuid);
	r = xenstore_read(d->xs, path, &value, &len);
	if (r == 0 && parse_start_time(value, len, &domain->started_ns) == 0) {
		domain->has_start_time = true;
	}
	return MIN(r, 0);
}

static void on_name(struct xenstore *xs _unused_, const char *path _unused_, void *userdata)
{
	struct host_domain *domain = userdata;

	domain->dirty |= HOST_DIRTY_NAME;
	domain->domains->events->marked(domain->domains->userdata);
}

static void watch_name(struct host_domains *d, struct host_domain *domain)
{
	char path[48];
	int r;

	if (domain->name_watch) {
		return;
	}
	snprintf(path, sizeof(path), "/local/domain/%u/name", domain->domid);
	r = xenstore_watch(d->xs, &domain->name_watch, path, on_name, domain);
	if (r < 0) {
		log_warning("cannot watch %s: %s; a new name of this domain goes unnoticed", path,
			    err_text(r));
	}
}

static void read_marked(struct host_domains *d, struct host_domain *domain)
{
	int r = 0;

	if (domain->dirty & HOST_DIRTY_NAME) {
		watch_name(d, domain);
		r = read_name(d, domain);
	}
	if (r == 0 && domain->dirty & HOST_DIRTY_DEVICES) {
		r = read_start_time(d, domain);
	}
	if (r == 0 && domain->dirty & HOST_DIRTY_DEVICES) {
		r = host_devices_read(&domain->devices, d->xs, domain->domid);
	} else if (r == 0 && domain->dirty & HOST_DIRTY_STATES) {
		r = host_devices_read_states(&domain->devices, d->xs);
	}
	if (r < 0) {
		/* What was known stays; xenstore's return marks everything again. */
		log_debug("domain %u: cannot read xenstore: %s", domain->domid, err_text(r));
	}
	domain->dirty = 0;
}

/* ---- the table ---- */

static struct host_domain *domain_new(struct host_domains *d, const xc_domaininfo_t *info)
{
	struct host_domain *domain = calloc(1, sizeof(*domain));
	struct uuid uuid;

	if (!domain) {
		return NULL;
	}
	memcpy(uuid.bytes, info->handle, sizeof(uuid.bytes));
	uuid_format(&uuid, domain->uuid);
	domain->domains = d;
	domain->domid = info->domain;
	domain->info = *info;
	domain->started_ns = clock_real_ns();
	domain->is_changed = true;
	domain->dirty = HOST_DIRTY_ALL;
	if (info->domain == 0) {
		domain->started_ns -= MIN(domain->started_ns, clock_boot_ns());
		domain->has_start_time = true;
	}
	domain->name = strdup(info->domain == 0 ? "Domain-0" : "");
	if (!domain->name) {
		free(domain);
		return NULL;
	}
	return domain;
}

/* All of Xen's list into infos. Not a snapshot: domains come and go between two chunks. */
static int read_infos(struct host_domains *d)
{
	uint32_t first = 0;
	int n;

	d->n_infos = 0;
	do {
		if (d->infos_size < d->n_infos + HYPERVISOR_LIST_MAX) {
			size_t size = d->infos_size * 2 + HYPERVISOR_LIST_MAX;
			void *bigger = reallocarray(d->infos, size, sizeof(*d->infos));

			if (!bigger) {
				return -ENOMEM;
			}
			d->infos = bigger;
			d->infos_size = size;
		}
		n = d->hv->ops->list(d->hv->userdata, first, HYPERVISOR_LIST_MAX,
				     d->infos + d->n_infos);
		if (n < 0) {
			return err_trace(n);
		}
		d->n_infos += (size_t)n;
		if (n > 0) {
			uint32_t last = d->infos[d->n_infos - 1].domain;

			if (last < first) {
				return err_trace(-EIO); /* would never end */
			}
			first = last + 1;
		}
	} while (n == HYPERVISOR_LIST_MAX);
	return 0;
}

/* Nothing tells when the mark is made, so each scan looks; only those that are being made, or that
 * somebody has paused, are asked about. */
static void look_for_mark(struct host_domains *d, struct host_domain *domain)
{
	char path[PATH_MAX];

	if (domain->is_complete || !(domain->info.flags & XEN_DOMINF_paused)) {
		return;
	}
	snprintf(path, sizeof(path), "%s/userdata-d.%u.%s." OPERATION_USERDATA, d->userdata_dir,
		 domain->domid, domain->uuid);
	domain->is_complete = access(path, F_OK) == 0;
	domain->is_changed |= domain->is_complete;
}

static bool is_same_domain(const struct host_domain *domain, const xc_domaininfo_t *info)
{
	return domain->domid == info->domain &&
	       memcmp(domain->info.handle, info->handle, sizeof(info->handle)) == 0;
}

static void take_info(struct host_domain *domain, const xc_domaininfo_t *info)
{
	const uint32_t seen = XEN_DOMINF_dying | XEN_DOMINF_shutdown | XEN_DOMINF_paused |
			      (uint32_t)XEN_DOMINF_shutdownmask << XEN_DOMINF_shutdownshift;
	const xc_domaininfo_t *old = &domain->info;

	domain->is_changed |= ((old->flags ^ info->flags) & seen) ||
			      old->tot_pages != info->tot_pages ||
			      old->max_pages != info->max_pages ||
			      old->nr_online_vcpus != info->nr_online_vcpus ||
			      old->max_vcpu_id != info->max_vcpu_id;
	domain->info = *info;
}

/* The new table; what is gone is left in the old one. Returns its length: a domain that there is
 * no memory for is found again by the next scan. */
static size_t build_table(struct host_domains *d, struct host_domain **table)
{
	size_t old = 0, n = 0;

	for (size_t i = 0; i < d->n_infos; i++) {
		const xc_domaininfo_t *info = &d->infos[i];

		while (old < d->n && d->table[old]->domid < info->domain) {
			old++;
		}
		if (old < d->n && is_same_domain(d->table[old], info)) {
			table[n] = STEAL(d->table[old]);
			take_info(table[n], info);
			n++;
			old++;
		} else {
			table[n] = domain_new(d, info);
			n += table[n] != NULL;
		}
	}
	return n;
}

static void tell_gone(struct host_domains *d, struct host_domain **old, size_t n_old)
{
	for (size_t i = 0; i < n_old; i++) {
		if (old[i] && old[i]->is_told) {
			d->events->gone(old[i], d->userdata);
		}
		domain_free(old[i]);
	}
}

int host_domains_scan(struct host_domains *d)
{
	struct host_domain **table, **old = d->table;
	size_t n_old = d->n;
	int r = read_infos(d);

	if (r < 0) {
		return r;
	}
	table = calloc(MAX(d->n_infos, 1), sizeof(struct host_domain *));
	if (!table) {
		return -ENOMEM;
	}
	d->n = build_table(d, table);
	d->table = table;
	tell_gone(d, old, n_old);
	free(old);
	for (size_t i = 0; i < d->n; i++) {
		struct host_domain *domain = d->table[i];

		look_for_mark(d, domain);
		if (!domain->is_changed) {
			continue;
		}
		domain->is_changed = false;
		if (domain->is_told) {
			tell_changed(d, domain);
		} else {
			d->events->marked(d->userdata);
		}
	}
	return 0;
}

static struct host_domain *find_domain(const struct host_domains *d, uint32_t domid)
{
	size_t low = 0, high = d->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (d->table[middle]->domid < domid) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return low < d->n && d->table[low]->domid == domid ? d->table[low] : NULL;
}

bool host_domains_mark(struct host_domains *d, uint32_t domid, unsigned int what)
{
	struct host_domain *domain = find_domain(d, domid);

	if (!domain) {
		return false;
	}
	domain->dirty |= what;
	d->events->marked(d->userdata);
	return true;
}

void host_domains_mark_all(struct host_domains *d, unsigned int what)
{
	for (size_t i = 0; i < d->n; i++) {
		d->table[i]->dirty |= what;
	}
	d->events->marked(d->userdata);
}

static bool may_read(struct host_domain *domain, uint64_t now_ns)
{
	if (now_ns - domain->window_ns >= NSEC_PER_SEC) {
		domain->window_ns = now_ns;
		domain->n_reads = 0;
	}
	if (domain->n_reads == READS_PER_SECOND) {
		return false;
	}
	domain->n_reads++;
	return true;
}

bool host_domains_refresh(struct host_domains *d, uint64_t budget_us)
{
	uint64_t begin_ns = clock_boot_ns();
	bool is_left = false;

	for (size_t i = 0; i < d->n; i++) {
		struct host_domain *domain = d->table[i];
		uint64_t now_ns;

		if (!domain->dirty) {
			continue;
		}
		now_ns = clock_boot_ns();
		if (now_ns - begin_ns >= budget_us * 1000 || !may_read(domain, now_ns)) {
			is_left = true;
			continue;
		}
		read_marked(d, domain);
		tell_changed(d, domain);
	}
	return is_left;
}

size_t host_domains_count(const struct host_domains *d)
{
	return d->n;
}

const struct host_domain *host_domains_at(const struct host_domains *d, size_t i)
{
	return d->table[i];
}

const struct host_domain *host_domains_tell(struct host_domains *d, size_t i)
{
	d->table[i]->is_told = true;
	return d->table[i];
}
