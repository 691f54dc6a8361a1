/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What the tests of the host process share: a directory of files, a xenstore
 * that is an array of nodes, and a hypervisor that is an array of domains.
 * The including test gets the functions of libcommon/xenstore.h from here in
 * place of the real ones.
 */
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <xenctrl.h>

#include "libcommon/base.h"
#include "libcommon/uuid.h"
#include "libcommon/xenstore.h"
#include "services/ops/host/hypervisor.h"
#include "tests/unit/unit.h"

/* ---- files ---- */

struct fixture_dir {
	char path[64];
};

static inline void fixture_dir_make(struct fixture_dir *d)
{
	snprintf(d->path, sizeof(d->path), "/tmp/test_host.XXXXXX");
	CU_ASSERT_PTR_NOT_NULL(mkdtemp(d->path));
}

static inline int fixture_remove_one(const char *path, const struct stat *st _unused_,
				     int flag _unused_, struct FTW *ftw _unused_)
{
	return remove(path);
}

static inline void fixture_dir_remove(struct fixture_dir *d, const char *below)
{
	char path[256];

	snprintf(path, sizeof(path), "%s%s", d->path, below);
	CU_ASSERT_EQUAL(nftw(path, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* Writes into the file if it is there: whoever has it open sees it. */
static inline void fixture_write(struct fixture_dir *d, const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", d->path, name);
	for (char *p = path + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		mkdir(path, 0755);
		*p = '/';
	}
	f = fopen(path, "w");
	CU_ASSERT_PTR_NOT_NULL(f);
	if (f) {
		fputs(text, f);
		fclose(f);
	}
}

/* ---- xenstore ---- */

#define FAKE_NODES   256
#define FAKE_WATCHES 2048

struct xenstore_watch {
	struct xenstore *xs;
	char path[96];
	xenstore_watch_fn fn;
	void *userdata;
	bool is_used;
};

struct xenstore {
	struct {
		char path[96];
		char value[256];
	} nodes[FAKE_NODES];
	size_t n;
	struct xenstore_watch watches[FAKE_WATCHES];
	size_t n_watches;
	xenstore_reset_fn on_reset;
	void *reset_userdata;
	size_t n_reads;
	int error; /* answer of every read */
};

/* Tell all whose watch it concerns. */
static inline void fake_fire(struct xenstore *xs, const char *path)
{
	for (size_t i = 0; i < FAKE_WATCHES; i++) {
		struct xenstore_watch *w = &xs->watches[i];
		size_t len = strlen(w->path);

		if (w->is_used && strncmp(path, w->path, len) == 0 &&
		    (path[len] == '/' || path[len] == '\0')) {
			w->fn(xs, path, w->userdata);
		}
	}
}

static inline void fake_set(struct xenstore *xs, const char *path, const char *value)
{
	size_t i = 0;

	while (i < xs->n && !streq(xs->nodes[i].path, path)) {
		i++;
	}
	if (i == FAKE_NODES) {
		CU_FAIL("too many nodes");
		return;
	}
	xs->n = MAX(xs->n, i + 1);
	snprintf(xs->nodes[i].path, sizeof(xs->nodes[i].path), "%s", path);
	snprintf(xs->nodes[i].value, sizeof(xs->nodes[i].value), "%s", value);
	fake_fire(xs, path);
}

/* With all below. */
static inline void fake_unset(struct xenstore *xs, const char *path)
{
	size_t len = strlen(path), kept = 0;

	for (size_t i = 0; i < xs->n; i++) {
		if (strncmp(xs->nodes[i].path, path, len) != 0 ||
		    (xs->nodes[i].path[len] && xs->nodes[i].path[len] != '/')) {
			xs->nodes[kept++] = xs->nodes[i];
		}
	}
	xs->n = kept;
	fake_fire(xs, path);
}

int xenstore_read(struct xenstore *xs, const char *path, char **out, size_t *len)
{
	xs->n_reads++;
	*out = NULL;
	*len = 0;
	if (xs->error) {
		return xs->error;
	}
	for (size_t i = 0; i < xs->n; i++) {
		if (streq(xs->nodes[i].path, path)) {
			*out = strdup(xs->nodes[i].value);
			*len = strlen(*out);
			return 0;
		}
	}
	return XENSTORE_ABSENT;
}

int xenstore_read_u64(struct xenstore *xs, const char *path, uint64_t *out)
{
	_cleanup_(xfreep) char *value = NULL;
	char *end;
	size_t len;
	int r = xenstore_read(xs, path, &value, &len);

	if (r == 0) {
		*out = strtoull(value, &end, 10);
		r = *value && !*end ? 0 : -EINVAL;
	}
	return r;
}

int xenstore_list(struct xenstore *xs, const char *path, char ***out, size_t *n)
{
	size_t len = strlen(path);
	struct {
		char *names[FAKE_NODES];
		char texts[FAKE_NODES][32];
	} *block = calloc(1, sizeof(*block));

	if (!block) {
		return -ENOMEM;
	}
	*out = block->names;
	*n = 0;
	xs->n_reads++;
	for (size_t i = 0; i < xs->n; i++) {
		const char *rest = xs->nodes[i].path + len;
		bool is_known = false;

		if (strncmp(xs->nodes[i].path, path, len) != 0 || *rest != '/') {
			continue;
		}
		snprintf(block->texts[*n], sizeof(block->texts[0]), "%.*s",
			 (int)strcspn(rest + 1, "/"), rest + 1);
		for (size_t k = 0; k < *n; k++) {
			is_known |= streq(block->texts[k], block->texts[*n]);
		}
		if (!is_known) {
			block->names[*n] = block->texts[*n];
			++*n;
		}
	}
	if (xs->error || *n == 0) {
		free(block);
		*out = NULL;
		return xs->error ? xs->error : XENSTORE_ABSENT;
	}
	return 0;
}

int xenstore_watch(struct xenstore *xs, struct xenstore_watch **out, const char *path,
		   xenstore_watch_fn fn, void *userdata)
{
	for (size_t i = 0; i < FAKE_WATCHES; i++) {
		struct xenstore_watch *w = &xs->watches[i];

		if (!w->is_used) {
			*w = (struct xenstore_watch){
				.xs = xs, .fn = fn, .userdata = userdata, .is_used = true
			};
			snprintf(w->path, sizeof(w->path), "%s", path);
			xs->n_watches++;
			*out = w;
			return 0;
		}
	}
	return -ENOSPC;
}

struct xenstore_watch *xenstore_unwatch(struct xenstore_watch *w)
{
	if (w) {
		w->is_used = false;
		w->xs->n_watches--;
	}
	return NULL;
}

void xenstore_on_reset(struct xenstore *xs, xenstore_reset_fn fn, void *userdata)
{
	xs->on_reset = fn;
	xs->reset_userdata = userdata;
}

/* The text with the number in the place of each '@'. */
static inline void fake_fill(char *out, size_t size, const char *text, unsigned int number)
{
	size_t len = 0;

	for (; *text && len + 12 < size; text++) {
		len += (size_t)(*text == '@' ? snprintf(out + len, size - len, "%u", number)
					     : snprintf(out + len, size - len, "%c", *text));
	}
	out[len] = '\0';
}

/* The devices of a guest as a real host had them: xvda and one vif on xenbr0. */
static inline void fake_guest(struct xenstore *xs, unsigned int domid, const char *name)
{
	static const char *const nodes[][2] = {
		{ "/local/domain/@/name", "" },
		{ "/libxl/@/device/vbd/51712/frontend", "/local/domain/@/device/vbd/51712" },
		{ "/libxl/@/device/vbd/51712/backend", "/local/domain/0/backend/vbd/@/51712" },
		{ "/libxl/@/device/vbd/51712/params", "/dev/loop0" },
		{ "/libxl/@/device/vbd/51712/dev", "xvda" },
		{ "/libxl/@/device/vbd/51712/type", "phy" },
		{ "/libxl/@/device/vbd/51712/mode", "w" },
		{ "/libxl/@/device/console/0/backend", "/local/domain/0/backend/console/@/0" },
		{ "/libxl/@/device/vif/0/frontend", "/local/domain/@/device/vif/0" },
		{ "/libxl/@/device/vif/0/backend", "/local/domain/0/backend/vif/@/0" },
		{ "/libxl/@/device/vif/0/mac", "00:16:3e:00:00:01" },
		{ "/libxl/@/device/vif/0/bridge", "xenbr0" },
		{ "/libxl/@/type", "pv" },
		{ "/local/domain/0/backend/vbd/@/51712/state", "4" },
		{ "/local/domain/0/backend/vif/@/0/state", "2" },
		/* What the guest itself wrote: to be ignored. */
		{ "/local/domain/@/device/vif/0/mac", "66:66:66:66:66:66" },
		{ "/local/domain/@/device/vbd/51728/backend",
		  "/local/domain/0/backend/vbd/@/51728" },
	};
	char path[96], value[256];

	for (size_t i = 0; i < ARRAY_LEN(nodes); i++) {
		fake_fill(path, sizeof(path), nodes[i][0], domid);
		fake_fill(value, sizeof(value), nodes[i][1], domid);
		fake_set(xs, path, i == 0 ? name : value);
	}
}

/* ---- hypervisor ---- */

#define FAKE_DOMAINS 2048

struct fake_hv {
	xc_domaininfo_t domains[FAKE_DOMAINS]; /* ascending domid */
	size_t n;
	size_t n_list_calls;
	size_t n_vcpu_calls;
	int error;	/* answer of every call */
	int pcpu_error; /* of one */
	struct hypervisor hv;
};

static inline int fake_list(void *userdata, uint32_t first, unsigned int max, xc_domaininfo_t *out)
{
	struct fake_hv *f = userdata;
	unsigned int n = 0;

	f->n_list_calls++;
	CU_ASSERT(max <= HYPERVISOR_LIST_MAX);
	for (size_t i = 0; i < f->n && n < max && !f->error; i++) {
		if (f->domains[i].domain >= first) {
			out[n++] = f->domains[i];
		}
	}
	return f->error ? f->error : (int)n;
}

static inline int fake_physinfo(void *userdata, xc_physinfo_t *out)
{
	struct fake_hv *f = userdata;

	*out = (xc_physinfo_t){
		.threads_per_core = 2,
		.cores_per_socket = 4,
		.nr_cpus = 8,
		.max_cpu_id = 7,
		.nr_nodes = 1,
		.cpu_khz = 2400000,
		.total_pages = 1 << 20,
		.free_pages = 1 << 18,
		.outstanding_pages = 1 << 10,
	};
	return f->error;
}

static inline int fake_pcpus(void *userdata, unsigned int max, xc_cpuinfo_t *out)
{
	struct fake_hv *f = userdata;

	for (unsigned int i = 0; i < max; i++) {
		out[i].idletime = 1000 + i;
	}
	return f->pcpu_error ? f->pcpu_error : (int)max;
}

static inline int fake_vcpu(void *userdata, uint32_t domid, uint32_t vcpu, xc_vcpuinfo_t *out)
{
	struct fake_hv *f = userdata;

	f->n_vcpu_calls++;
	*out = (xc_vcpuinfo_t){
		.vcpu = vcpu,
		.online = 1,
		.blocked = vcpu % 2 != 0,
		.cpu_time = domid * 1000000 + vcpu,
		.cpu = vcpu,
	};
	return vcpu == 63 ? -EINVAL : 0; /* a vCPU that was never brought up */
}

static inline int fake_identity(void *userdata _unused_, struct hypervisor_identity *out)
{
	*out = (struct hypervisor_identity){
		.version = "4.17.7",
		.caps = "xen-3.0-x86_64 ",
		.commandline = "console=com1 \xff",
		.scheduler = XEN_SCHEDULER_CREDIT2,
	};
	return 0;
}

static inline struct fake_hv *fake_hv_new(void)
{
	static const struct hypervisor_ops ops = {
		.list = fake_list,
		.physinfo = fake_physinfo,
		.pcpus = fake_pcpus,
		.vcpu = fake_vcpu,
		.identity = fake_identity,
	};
	struct fake_hv *f = calloc(1, sizeof(*f));

	if (!f) {
		abort();
	}
	f->hv = (struct hypervisor){ .ops = &ops, .userdata = f };
	return f;
}

__attribute__((noinline)) static xc_domaininfo_t *_unused_ fake_find(struct fake_hv *f,
								     unsigned int domid)
{
	for (size_t i = 0; i < f->n; i++) {
		if (f->domains[i].domain == domid) {
			return &f->domains[i];
		}
	}
	return NULL;
}

/* A running PV domain; its UUID ends in `serial`. */
static inline xc_domaininfo_t *fake_add(struct fake_hv *f, unsigned int domid, unsigned int serial)
{
	size_t at = 0;

	while (at < f->n && f->domains[at].domain < domid) {
		at++;
	}
	memmove(&f->domains[at + 1], &f->domains[at], (f->n - at) * sizeof(f->domains[0]));
	f->n++;
	f->domains[at] = (xc_domaininfo_t){
		.domain = (domid_t)domid,
		.flags = XEN_DOMINF_running,
		.tot_pages = 32768,
		.max_pages = 33024,
		.cpu_time = 1ULL << 63 | 5000 | domid,
		.nr_online_vcpus = 1,
		.max_vcpu_id = 1,
	};
	f->domains[at].handle[14] = (uint8_t)(serial >> 8);
	f->domains[at].handle[15] = (uint8_t)serial;
	return &f->domains[at];
}

static inline void fake_drop(struct fake_hv *f, unsigned int domid)
{
	xc_domaininfo_t *info = fake_find(f, domid);
	size_t at = info ? (size_t)(info - f->domains) : f->n;

	CU_ASSERT_PTR_NOT_NULL(info);
	if (info) {
		f->n--;
		memmove(info, info + 1, (f->n - at) * sizeof(*info));
	}
}
