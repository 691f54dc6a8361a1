/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A frame per delay from the samples that ops publishes once a second.  The
 * first frame waits for a second sample, so that no rate is a lie.
 */
#include <inttypes.h>
#include <math.h>

#include "clients/cli/frames.h"
#include "clients/cli/top_view.h"
#include "libcommon/err.h"
#include "libcommon/loop.h"
#include "libcommon/parse.h"
#include "xenmesh/v1/bus.pb-c.h"

#define FIRST_SAMPLE_US (10 * USEC_PER_SEC) /* no sample for so long: say so and end */
#define NAME_WIDTH	10

struct top {
	struct cli *cli;
	struct frames frames;
	uint64_t total_kib;
	Xenmesh__V1__HostSample *before;
	Xenmesh__V1__HostSample *now; /* newest, kept for redrawing */
	sd_event_source *first_timer;
	bool is_silent; /* no sample came at all */
	bool down;
};

static const char header[] =
	"      NAME  STATE   CPU(sec)  CPU(%)     MEM(k) MEM(%)  MAXMEM(k) VCPUS NETS  NETTX(k)"
	"  NETRX(k)   TX(k/s)   RX(k/s) VBDS   VBD_RD   VBD_WR  VBD_RSECT  VBD_WSECT   RD(k/s)"
	"   WR(k/s)  DOMID";

/* Ten characters of it, to the right. */
static const char *name_cell(struct cli *cli, const char *name)
{
	const char *text = cli_plain(cli, name);
	size_t len = strlen(text), end = 0, n = 0;

	for (; n < NAME_WIDTH && end < len; n++) {
		end += MAX(utf8_sequence_len(text + end, len - end), 1);
	}
	return arena_printf(&cli->arena, "%*s%.*s", (int)(NAME_WIDTH - n), "", (int)end, text);
}

/* "-" for what is not known. */
static const char *number(struct arena *arena, double value, const char *suffix)
{
	return isnan(value) ? "-" : arena_printf(arena, "%.1f%s", value, suffix);
}

static void add_row(struct frames *f, const struct top_row *r)
{
	struct arena *a = &f->cli->arena;
	const char *max = r->max_memory_kib ? arena_printf(a, "%" PRIu64, r->max_memory_kib)
					    : "no limit";

	frames_line(f, false,
		    "%s %6s %10.0f %7s %10" PRIu64 " %6s %10s %5" PRIu32 " %4zu %9" PRIu64
		    " %9" PRIu64 " %9s %9s %4zu %8" PRIu64 " %8" PRIu64 " %10" PRIu64 " %10" PRIu64
		    " %9s %9s %6" PRIu32,
		    name_cell(f->cli, r->name), r->state, (double)r->cpu_ns / 1e9,
		    number(a, r->cpu_percent, ""), r->memory_kib, number(a, r->memory_percent, ""),
		    max, r->vcpus, r->n_vifs, r->net_tx_bytes / 1024, r->net_rx_bytes / 1024,
		    number(a, r->net_tx_rate / 1024, ""), number(a, r->net_rx_rate / 1024, ""),
		    r->n_vbds, r->vbd_rd, r->vbd_wr, r->vbd_rsect, r->vbd_wsect,
		    number(a, r->vbd_rd_rate / 1024, ""), number(a, r->vbd_wr_rate / 1024, ""),
		    r->domid);
}

static const char *summary_text(struct cli *cli, const struct top_view *v)
{
	return arena_printf(&cli->arena,
			    "%s  %zu domains  %zu pCPUs %s busy  load %.2f  %s free%s%s",
			    cli_time(cli, v->realtime_ns), v->n_rows, v->pcpus,
			    number(&cli->arena, v->cpu_percent, "%"), v->load_average,
			    cli_kib(cli, v->free_kib), v->total_kib ? " of " : "",
			    v->total_kib ? cli_kib(cli, v->total_kib) : "");
}

/* ---- JSON ---- */

static void add_double(struct json_object *o, const char *name, double value)
{
	json_object_object_add(o, name, isnan(value) ? NULL : json_object_new_double(value));
}

static struct json_object *row_json(const struct top_row *r)
{
	struct json_object *o = json_object_new_object();
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {
		{ "domid", r->domid },
		{ "cpu_ns", r->cpu_ns },
		{ "memory_kib", r->memory_kib },
		{ "max_memory_kib", r->max_memory_kib },
		{ "vcpus", r->vcpus },
		{ "vifs", r->n_vifs },
		{ "net_tx_bytes", r->net_tx_bytes },
		{ "net_rx_bytes", r->net_rx_bytes },
		{ "vbds", r->n_vbds },
		{ "vbd_rd_req", r->vbd_rd },
		{ "vbd_wr_req", r->vbd_wr },
		{ "vbd_rd_sect", r->vbd_rsect },
		{ "vbd_wr_sect", r->vbd_wsect },
		{ "vbd_oo_req", r->vbd_oo },
	};

	json_object_object_add(o, "name", json_object_new_string(r->name));
	json_object_object_add(o, "uuid", json_object_new_string(r->uuid));
	json_object_object_add(o, "state", json_object_new_string(r->state));
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		json_object_object_add(o, numbers[i].name,
				       json_object_new_uint64(numbers[i].value));
	}
	add_double(o, "cpu_percent", r->cpu_percent);
	add_double(o, "memory_percent", r->memory_percent);
	add_double(o, "net_tx_bytes_per_s", r->net_tx_rate);
	add_double(o, "net_rx_bytes_per_s", r->net_rx_rate);
	add_double(o, "vbd_rd_bytes_per_s", r->vbd_rd_rate);
	add_double(o, "vbd_wr_bytes_per_s", r->vbd_wr_rate);
	return o;
}

static struct json_object *view_json(const struct top_view *v)
{
	struct json_object *o = json_object_new_object();
	struct json_object *rows = json_object_new_array();

	json_object_object_add(o, "realtime_ns", json_object_new_uint64(v->realtime_ns));
	json_object_object_add(o, "pcpus", json_object_new_uint64(v->pcpus));
	add_double(o, "cpu_percent", v->cpu_percent);
	add_double(o, "load_average", v->load_average);
	json_object_object_add(o, "free_memory_kib", json_object_new_uint64(v->free_kib));
	json_object_object_add(o, "memory_kib", json_object_new_uint64(v->total_kib));
	for (size_t i = 0; i < v->n_rows; i++) {
		json_object_array_add(rows, row_json(&v->rows[i]));
	}
	json_object_object_add(o, "domains", rows);
	return o;
}

/* ---- frames ---- */

static bool make_view(const struct top *top, const struct frames *f, struct top_view *view)
{
	return top->now && top->before &&
	       top_view_make(&top->cli->arena, top->before, top->now, top->total_kib,
			     (enum top_sort)f->column, view) == 0;
}

static void frame_text(struct frames *f, void *userdata)
{
	struct top *top = userdata;
	struct top_view view;

	if (!make_view(top, f, &view)) {
		return;
	}
	frames_line(f, false, "%s%s", summary_text(top->cli, &view),
		    top->down && !f->is_batch ? "  [ops not heard]" : "");
	if (!f->is_batch) {
		frames_line(f, false, "%s", "");
	}
	frames_line(f, true, "%s", header);
	for (size_t i = 0; i < view.n_rows; i++) {
		add_row(f, &view.rows[i]);
	}
}

static struct json_object *frame_json(const struct frames *f, void *userdata)
{
	struct top_view view;

	return make_view(userdata, f, &view) ? view_json(&view) : NULL;
}

static const struct frames_kind top_kind = {
	.command = "top",
	.columns = top_sort_names,
	.keys = "cmnbad", /* in the order of enum top_sort */
	.key_help = "sort by: c cpu  m mem  n net  b vbd  a name  d domid    q quit",
	.delay_min_ms = 1000,
	.delay_min = "a second",
	.text = frame_text,
	.json = frame_json,
};

/* The host was booted: nothing of before can be compared with what comes. */
static void forget_samples(struct top *top)
{
	xenmesh__v1__host_sample__free_unpacked(top->before, NULL);
	xenmesh__v1__host_sample__free_unpacked(top->now, NULL);
	top->before = NULL;
	top->now = NULL;
}

static void take_sample(struct top *top, const Xenmesh__V1__HostSample *sample)
{
	_cleanup_(xfreep)
		uint8_t *packed = malloc(protobuf_c_message_get_packed_size(&sample->base));
	Xenmesh__V1__HostSample *copy;
	size_t len;

	if (!packed) {
		return;
	}
	len = protobuf_c_message_pack(&sample->base, packed);
	copy = xenmesh__v1__host_sample__unpack(NULL, len, packed);
	if (!copy) {
		return;
	}
	if (top->now) {
		xenmesh__v1__host_sample__free_unpacked(top->before, NULL);
		top->before = top->now;
	}
	top->now = copy;
}

static void on_event(struct bus_sub *s _unused_, const struct bus_sub_event *e, void *userdata)
{
	struct top *top = userdata;

	if (e->what == BUS_SUB_DOWN && !top->down) {
		top->down = true;
		if (top->frames.is_batch) {
			cli_error("ops is not heard: is xenmesh-ops running?");
		}
	}
	if (e->what != BUS_SUB_STATE || !e->event) {
		return;
	}
	top->down = false;
	if (e->event->body_case == XENMESH__V1__EVENT__BODY_HOST_STATE) {
		top->total_kib = e->event->host_state->memory_kib;
	}
	if (e->event->body_case == XENMESH__V1__EVENT__BODY_HOST_SAMPLE && top->now &&
	    e->event->host_sample->monotonic_ns < top->now->monotonic_ns) {
		forget_samples(top);
	}
	if (e->event->body_case != XENMESH__V1__EVENT__BODY_HOST_SAMPLE ||
	    (top->now && e->event->host_sample->monotonic_ns < top->now->monotonic_ns +
								       top->frames.delay_ns -
								       NSEC_PER_SEC / 2)) {
		return;
	}
	top->first_timer = sd_event_source_unref(top->first_timer);
	take_sample(top, e->event->host_sample);
	if (top->before && !top->frames.is_over) {
		frames_next(&top->frames);
	}
}

static int on_no_sample(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
	struct top *top = userdata;

	top->is_silent = true;
	top->frames.is_over = true;
	return 0;
}

static int run_top(struct top *top)
{
	static const char *const prefixes[] = { "host/" };
	_cleanup_(bus_sub_freep) struct bus_sub *sub = NULL;
	sd_event *loop = top->cli->loop;
	int r;

	r = bus_sub_new(&sub, loop, top->cli->topology, "ops", prefixes, 1, CLI_NAME, on_event,
			top);
	if (r < 0) {
		cli_error("cannot subscribe to ops: %s", err_text(r));
		return CLI_FAILURE;
	}
	r = loop_after(loop, &top->first_timer, FIRST_SAMPLE_US, on_no_sample, top);
	r = r < 0 ? r : frames_begin(&top->frames);
	r = r < 0 ? r : frames_wait(&top->frames, 0);
	frames_end(&top->frames);
	if (r < 0) {
		cli_error("%s", err_text(r));
		return CLI_FAILURE;
	}
	if (top->is_silent) {
		cli_error("no sample from ops within 10 s; see: xenmesh bus ls, xenmesh host show");
		return CLI_UNREACHABLE;
	}
	return frames_status(&top->frames);
}

int cmd_top(struct cli *cli, int argc, char **argv)
{
	struct top top = { .cli = cli };
	int r = frames_init(&top.frames, &top_kind, cli, &top, argc, argv);

	if (!r) {
		r = run_top(&top);
	}
	frames_deinit(&top.frames);
	sd_event_source_unref(top.first_timer);
	forget_samples(&top);
	return r;
}
