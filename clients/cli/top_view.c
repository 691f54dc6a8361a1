/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "clients/cli/top_view.h"

#include <math.h>

#define SECTOR_BYTES 512

/* Per second; NAN when there is no older value or the counter restarted. */
static double rate(uint64_t before, uint64_t now, double seconds)
{
	return seconds > 0 && now >= before ? (double)(now - before) / seconds : (double)NAN;
}

static const Xenmesh__V1__DomainSample *find(const Xenmesh__V1__HostSample *s,
					     const Xenmesh__V1__DomainSample *d)
{
	for (size_t i = 0; s && i < s->n_domains; i++) {
		if (s->domains[i]->domid == d->domid && streq(s->domains[i]->uuid, d->uuid)) {
			return s->domains[i];
		}
	}
	return NULL;
}

struct totals {
	uint64_t tx, rx, rd, wr, rsect, wsect, oo;
};

static struct totals add_up(const Xenmesh__V1__DomainSample *d)
{
	struct totals t = { 0 };

	for (size_t i = 0; i < d->n_vifs; i++) {
		t.tx += d->vifs[i]->tx_bytes;
		t.rx += d->vifs[i]->rx_bytes;
	}
	for (size_t i = 0; i < d->n_vbds; i++) {
		t.rd += d->vbds[i]->rd_req;
		t.wr += d->vbds[i]->wr_req;
		t.rsect += d->vbds[i]->rd_sect;
		t.wsect += d->vbds[i]->wr_sect;
		t.oo += d->vbds[i]->oo_req;
	}
	return t;
}

static void set_state(char out[static 7], const Xenmesh__V1__DomainSample *d)
{
	memcpy(out, "------", 7);
	if (d->power_state == XENMESH__V1__POWER_STATE__POWER_STATE_DYING) {
		out[0] = 'd';
	} else if (d->power_state == XENMESH__V1__POWER_STATE__POWER_STATE_SHUTDOWN) {
		out[1] = 's';
	}
	if (d->blocked) {
		out[2] = 'b';
	}
	if (d->power_state == XENMESH__V1__POWER_STATE__POWER_STATE_PAUSED) {
		out[4] = 'p';
	}
	if (d->running) {
		out[5] = 'r';
	}
}

static void fill_row(struct top_row *row, const Xenmesh__V1__DomainSample *d,
		     const Xenmesh__V1__DomainSample *old, double seconds, uint64_t total_kib)
{
	struct totals now = add_up(d);

	*row = (struct top_row){
		.name = d->name,
		.uuid = d->uuid,
		.domid = d->domid,
		.cpu_ns = d->cpu_ns,
		.memory_kib = d->memory_kib,
		.memory_percent = total_kib ? 100.0 * (double)d->memory_kib / (double)total_kib
					    : (double)NAN,
		.max_memory_kib = d->max_memory_kib,
		.vcpus = d->vcpus_online,
		.n_vifs = d->n_vifs,
		.n_vbds = d->n_vbds,
		.net_tx_bytes = now.tx,
		.net_rx_bytes = now.rx,
		.vbd_rd = now.rd,
		.vbd_wr = now.wr,
		.vbd_rsect = now.rsect,
		.vbd_wsect = now.wsect,
		.vbd_oo = now.oo,
		.cpu_percent = (double)NAN,
		.net_tx_rate = (double)NAN,
		.net_rx_rate = (double)NAN,
		.vbd_rd_rate = (double)NAN,
		.vbd_wr_rate = (double)NAN,
	};
	set_state(row->state, d);
	if (old) {
		struct totals then = add_up(old);

		row->cpu_percent = rate(old->cpu_ns, d->cpu_ns, seconds) / 1e7;
		row->net_tx_rate = rate(then.tx, now.tx, seconds);
		row->net_rx_rate = rate(then.rx, now.rx, seconds);
		row->vbd_rd_rate = rate(then.rsect, now.rsect, seconds) * SECTOR_BYTES;
		row->vbd_wr_rate = rate(then.wsect, now.wsect, seconds) * SECTOR_BYTES;
	}
}

static double host_cpu(const Xenmesh__V1__HostSample *before, const Xenmesh__V1__HostSample *now,
		       double seconds)
{
	double idle = 0;

	if (!before || before->n_pcpus != now->n_pcpus || !now->n_pcpus) {
		return (double)NAN;
	}
	for (size_t i = 0; i < now->n_pcpus; i++) {
		idle += rate(before->pcpus[i]->idle_ns, now->pcpus[i]->idle_ns, seconds) / 1e9;
	}
	if (isnan(idle)) {
		return idle;
	}
	return fmax(0, fmin(100, 100 * (1 - idle / (double)now->n_pcpus)));
}

/* Unknown sorts last. */
static int by_number(double a, double b)
{
	a = isnan(a) ? -1 : a;
	b = isnan(b) ? -1 : b;
	return (a < b) - (a > b);
}

static int compare(const void *pa, const void *pb, void *userdata)
{
	const struct top_row *a = pa;
	const struct top_row *b = pb;
	int r = 0;

	switch (*(enum top_sort *)userdata) {
	case TOP_SORT_CPU:
		r = by_number(a->cpu_percent, b->cpu_percent);
		break;
	case TOP_SORT_MEM:
		r = by_number((double)a->memory_kib, (double)b->memory_kib);
		break;
	case TOP_SORT_NET:
		r = by_number(a->net_tx_rate + a->net_rx_rate, b->net_tx_rate + b->net_rx_rate);
		break;
	case TOP_SORT_VBD:
		r = by_number(a->vbd_rd_rate + a->vbd_wr_rate, b->vbd_rd_rate + b->vbd_wr_rate);
		break;
	case TOP_SORT_NAME:
		r = strcmp(a->name, b->name);
		break;
	case TOP_SORT_DOMID:
		break;
	}
	return r ? r : (a->domid > b->domid) - (a->domid < b->domid);
}

int top_view_make(struct arena *arena, const Xenmesh__V1__HostSample *before,
		  const Xenmesh__V1__HostSample *now, uint64_t total_kib, enum top_sort sort,
		  struct top_view *out)
{
	double seconds = before && now->monotonic_ns > before->monotonic_ns
				 ? (double)(now->monotonic_ns - before->monotonic_ns) / 1e9
				 : 0;

	*out = (struct top_view){
		.rows = arena_alloc(arena, MAX(now->n_domains, 1) * sizeof(*out->rows)),
		.cpu_percent = host_cpu(before, now, seconds),
		.free_kib = now->free_memory_kib,
		.total_kib = total_kib,
		.pcpus = now->n_pcpus,
		.load_average = now->load_average,
		.realtime_ns = now->realtime_ns,
	};
	if (!out->rows) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < now->n_domains; i++) {
		fill_row(&out->rows[out->n_rows++], now->domains[i], find(before, now->domains[i]),
			 seconds, total_kib);
	}
	qsort_r(out->rows, out->n_rows, sizeof(*out->rows), compare, &sort);
	return 0;
}

const char *const top_sort_names[] = { "cpu", "mem", "net", "vbd", "name", "domid", NULL };
