/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Keeps what the services publish in a file, and shows such files.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#include "bus/limits.h"
#include "clients/cli/bus_tools.h"
#include "clients/cli/capture_file.h"
#include "clients/cli/event_text.h"
#include "clients/cli/follow.h"
#include "clients/cli/monitor.h"
#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/loop.h"

#define FLUSH_US 1000000 /* what a kill -9 can cost */

struct capture {
	struct cli *cli;
	struct follow follow;
	const char *path;
	int fd;
	struct strbuf pending;
	bool is_live_only;
	uint64_t count; /* 0 = no end */
	uint64_t n_publications, n_gaps, n_bytes;
};

/* ---- writing ---- */

static int flush(struct capture *c)
{
	size_t done = 0;

	while (done < c->pending.len) {
		ssize_t n = write(c->fd, c->pending.data + done, c->pending.len - done);

		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			cli_error("cannot write %s: %s; what it has until now is good", c->path,
				  strerror(errno));
			sd_event_exit(c->cli->loop, CLI_FAILURE);
			return -EIO;
		}
		done += (size_t)n;
	}
	c->n_bytes += done;
	strbuf_reset(&c->pending);
	return 0;
}

static int on_flush(void *userdata)
{
	flush(userdata);
	return 0;
}

/* A state that was found to be gone has no event: it gets one. */
static uint8_t *pack_removal(const struct bus_sub_event *e, size_t *len)
{
	Xenmesh__V1__Event event = XENMESH__V1__EVENT__INIT;
	Xenmesh__V1__Removed removed = XENMESH__V1__REMOVED__INIT;

	removed.reason = (char *)"not there any more";
	event.topic = (char *)e->topic;
	event.seq = e->seq;
	event.body_case = XENMESH__V1__EVENT__BODY_REMOVED;
	event.removed = &removed;
	return event_pack(&event, len);
}

static int put_event(struct capture *c, const char *service, const struct bus_sub_event *e)
{
	static const enum capture_kind kinds[] = { CAPTURE_LIVE, CAPTURE_LIVE, CAPTURE_RESYNCED,
						   CAPTURE_GAP,	 CAPTURE_DOWN, CAPTURE_GAP };
	struct capture_record r = { .kind = kinds[e->what],
				    .time_ns = clock_real_ns(),
				    .seq = e->seq,
				    .missed = e->missed,
				    .data = e->raw,
				    .len = e->raw ? e->size : 0 };
	_cleanup_(xfreep) uint8_t *packed = NULL;

	snprintf(r.service, sizeof(r.service), "%s", service);
	if (r.kind == CAPTURE_LIVE && !e->raw) {
		packed = e->event ? event_pack(e->event, &r.len) : pack_removal(e, &r.len);
		if (!packed) {
			return -ENOMEM;
		}
		r.kind = CAPTURE_REPLAYED;
		r.data = packed;
	}
	return capture_put(&c->pending, &r);
}

static void on_event(const struct follow_source *source, const struct bus_sub_event *e,
		     void *userdata)
{
	struct capture *c = userdata;
	bool is_state = e->what == BUS_SUB_STATE || e->what == BUS_SUB_REMOVED;
	int r;

	if ((is_state && c->is_live_only && e->replayed) ||
	    (c->count && c->n_publications >= c->count)) {
		return;
	}
	r = put_event(c, source->service, e);
	if (r < 0) {
		cli_error("cannot keep an event of %s: %s", source->service, err_text(r));
		sd_event_exit(c->cli->loop, CLI_FAILURE);
		return;
	}
	c->n_gaps += e->what == BUS_SUB_GAP || e->what == BUS_SUB_LOST;
	c->n_publications += is_state;
	if (c->pending.len > (1U << 20)) {
		flush(c);
	}
	if (c->count && c->n_publications == c->count) {
		sd_event_exit(c->cli->loop, CLI_OK);
	}
}

static int open_file(struct capture *c, bool may_replace)
{
	uint8_t head[CAPTURE_HEAD_SIZE];

	c->fd = streq(c->path, "-")
			? STDOUT_FILENO
			: open(c->path,
			       O_WRONLY | O_CREAT | O_CLOEXEC | (may_replace ? O_TRUNC : O_EXCL),
			       0666);
	if (c->fd < 0) {
		cli_error("%s: %s%s", c->path, strerror(errno),
			  errno == EEXIST ? "; --force replaces it" : "");
		return CLI_FAILURE;
	}
	if (isatty(c->fd)) {
		return cli_usage("a capture is no text for a terminal: -o FILE");
	}
	capture_put_head(head);
	strbuf_append(&c->pending, head, sizeof(head));
	return flush(c) < 0 ? CLI_FAILURE : CLI_OK;
}

/* The file is touched last, so that a wrong word costs nobody the capture that is there. */
static int capture_run(struct capture *c, bool may_replace, const char *service,
		       char *const *prefixes, size_t n)
{
	struct loop_ticker *ticker = NULL;
	int r = follow_open(&c->follow, c->cli, service, prefixes, n, on_event, c);

	r = r ? r : follow_ask(&c->follow, c->cli);
	r = r ? r : open_file(c, may_replace);
	if (r) {
		follow_close(&c->follow);
		return r;
	}
	if (!r && loop_ticker_new(&ticker, c->cli->loop, FLUSH_US, on_flush, c) < 0) {
		r = CLI_FAILURE;
	}
	r = r ? r : follow_run(c->cli, c->count ? CLI_INTERRUPTED : CLI_OK);
	r = follow_judge(&c->follow, r, c->count ? CLI_TIMEOUT : CLI_OK);
	loop_ticker_free(ticker);
	follow_close(&c->follow);
	if (flush(c) < 0) {
		r = CLI_FAILURE;
	}
	fprintf(stderr, "%" PRIu64 " publications, %" PRIu64 " gaps, %" PRIu64 " bytes to %s\n",
		c->n_publications, c->n_gaps, c->n_bytes, c->path);
	return r;
}

/* ---- --show ---- */

/* Of a capture's record, for whoever shows events. False when its bytes are no event. */
static bool show_record(struct monitor *m, const struct capture_record *r, bool *is_full)
{
	static const enum bus_sub_what whats[] = {
		[CAPTURE_LIVE] = BUS_SUB_STATE,	       [CAPTURE_REPLAYED] = BUS_SUB_STATE,
		[CAPTURE_GAP] = BUS_SUB_GAP,	       [CAPTURE_DOWN] = BUS_SUB_DOWN,
		[CAPTURE_RESYNCED] = BUS_SUB_RESYNCED, [CAPTURE_LOST] = BUS_SUB_LOST,
	};
	struct bus_sub_event e = { .what = whats[r->kind],
				   .replayed = r->kind == CAPTURE_REPLAYED,
				   .seq = r->seq,
				   .missed = r->missed,
				   .size = r->len,
				   .raw = r->data };
	_cleanup_(arena_deinit) struct arena arena = { 0 };
	size_t head;

	if (r->data) {
		head = strlen((const char *)r->data) + 1;
		arena_init(&arena, r->len * BUS_ARENA_FACTOR + BUS_ARENA_BASE);
		e.event = (const Xenmesh__V1__Event *)arena_unpack(
			&arena, &xenmesh__v1__event__descriptor, r->data + head, r->len - head);
		if (!e.event) {
			return false;
		}
		e.topic = (const char *)r->data;
		if (e.event->body_case == XENMESH__V1__EVENT__BODY_REMOVED) {
			e.what = BUS_SUB_REMOVED;
		}
	}
	*is_full = monitor_show(m, r->service, &e, r->time_ns);
	arena_reset(&m->cli->arena);
	return true;
}

static int show_file(struct monitor *m, const char *path)
{
	_cleanup_(capture_reader_closep) struct capture_reader *reader = NULL;
	_cleanup_(strbuf_deinit) struct strbuf error = STRBUF_NULL;
	struct capture_record record;
	bool is_full = false;
	int status = CLI_OK;
	int r = capture_reader_open(&reader, path, &error);

	while (r >= 0 && !is_full) {
		strbuf_reset(&error);
		r = capture_read(reader, &record, &error);
		if (r > 0) {
			return status;
		}
		if (r == -EBADMSG) {
			cli_error("%s", strbuf_str(&error));
			status = CLI_FAILURE;
			r = 0;
		} else if (r == 0 && !show_record(m, &record, &is_full)) {
			cli_error("%s: a publication of %s is no event", path, record.service);
			status = CLI_FAILURE;
		}
	}
	if (r < 0) {
		cli_error("%s", strbuf_str(&error));
		return CLI_FAILURE;
	}
	return status;
}

/* ---- the command ---- */

int cmd_bus_capture(struct cli *cli, int argc, char **argv)
{
	_cleanup_(loop_source_unrefp) sd_event_source *end = NULL;
	struct capture c = { .cli = cli, .fd = -1, .pending = STRBUF_NULL };
	struct monitor monitor = { .cli = cli };
	const char *show = NULL;
	const char *service = NULL;
	const char *duration = NULL;
	bool may_replace = false;
	const struct cli_option options[] = {
		{ "output", 'o', &c.path, NULL },     { "show", 0, &show, NULL },
		{ "service", 's', &service, NULL },   { "for", 0, &duration, NULL },
		{ "live", 0, NULL, &c.is_live_only }, { "force", 0, NULL, &may_replace },
	};
	uint64_t ms = 0;
	int r = monitor_options(&monitor, &argc, argv, options, ARRAY_LEN(options));

	r = r ? r : follow_duration(duration, &ms);
	if (!r && !show == !c.path) {
		r = cli_usage("bus capture wants -o FILE or --show FILE");
	} else if (!r && c.path && (monitor.filter || monitor.n_fields)) {
		r = cli_usage("everything is kept; --filter and --field are for --show");
	} else if (!r && show) {
		r = argc ? cli_usage("--show wants no topics; choose with --filter")
			 : show_file(&monitor, show);
	} else if (!r) {
		c.count = monitor.count;
		r = follow_end_after(cli, &end, ms, FOLLOW_TIME_OVER);
		r = r ? r : capture_run(&c, may_replace, service, argv, (size_t)argc);
	}
	if (c.fd > STDOUT_FILENO) {
		close(c.fd);
	}
	strbuf_deinit(&c.pending);
	monitor_deinit(&monitor);
	return r;
}
