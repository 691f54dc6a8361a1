/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xenmesh-metrics: an ordinary subscriber of ops and agent-bridge that keeps
 * history, answers queries on the bus and serves /metrics.
 */
#include <stdio.h>

#include "bus/service.h"
#include "bus/sub.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"
#include "services/metrics/api.h"
#include "services/metrics/httpd.h"
#include "services/metrics/openmetrics.h"
#include "services/metrics/view.h"

#define CLIENT_NAME "xenmesh-metrics/" XENMESH_VERSION

struct metrics {
	sd_event *loop;
	struct topology *topology;
	struct objects *objects;
	struct view view;
	struct bus_service *service;
	struct bus_sub *ops;
	struct bus_sub *guests;
	struct httpd *httpd;
	const char *state_dir;
	const char *http;
};

static const char usage[] =
	"  --state-dir DIR     where archives are kept (/var/lib/xenmesh/metrics)\n"
	"  --http ADDRESS|off  where /metrics is served (127.0.0.1:9780)\n";

static int take_option(const char *name, const char *value, void *userdata)
{
	struct metrics *m = userdata;

	if (streq(name, "--state-dir") && value) {
		m->state_dir = value;
		return 1;
	}
	if (streq(name, "--http") && value) {
		m->http = value;
		return 1;
	}
	return -EINVAL;
}

static void on_ops(struct bus_sub *s _unused_, const struct bus_sub_event *e, void *userdata)
{
	struct metrics *m = userdata;

	view_take_ops(&m->view, e);
}

static void on_guest(struct bus_sub *s _unused_, const struct bus_sub_event *e, void *userdata)
{
	struct metrics *m = userdata;

	view_take_guest(&m->view, e);
}

static unsigned int on_http(const char *path, struct strbuf *body, const char **type,
			    void *userdata)
{
	const struct metrics *m = userdata;

	if (streq(path, "/metrics")) {
		*type = OPENMETRICS_TYPE;
		openmetrics_write(body, &m->view);
		return 200;
	}
	if (streq(path, "/")) {
		strbuf_puts(body, "xenmesh-metrics " XENMESH_VERSION ": see /metrics\n");
		return 200;
	}
	strbuf_puts(body, "not found; there is /metrics\n");
	return 404;
}

static void write_stats(void *userdata, bus_stat_fn fn, void *fn_userdata)
{
	const struct view *v = userdata;

	fn("metrics.objects", objects_count(v->objects), fn_userdata);
	fn("metrics.sources", objects_n_sources(v->objects), fn_userdata);
	fn("metrics.samples", v->n_samples, fn_userdata);
	fn("metrics.tick_us", v->tick_ns / 1000, fn_userdata);
	fn("metrics.tick_max_us", v->tick_max_ns / 1000, fn_userdata);
}

static int start_http(struct metrics *m)
{
	int r;

	if (streq(m->http, "off")) {
		return 0;
	}
	r = httpd_new(&m->httpd, m->loop, m->http, on_http, m);
	if (r < 0) {
		log_error("cannot serve HTTP at %s: %s; choose another with --http ADDRESS:PORT",
			  m->http, err_text(r));
		return r;
	}
	log_debug("serving /metrics at port %u", httpd_port(m->httpd));
	return 0;
}

static int start_bus(struct metrics *m)
{
	static const char *const host[] = { "host/" };
	static const char *const vm[] = { "vm/" };
	const struct bus_service_config config = {
		.topology = m->topology,
		.name = "metrics",
		.version = XENMESH_VERSION,
		.handlers = metrics_api_handlers,
		.n_handlers = metrics_api_n_handlers,
		.userdata = &m->view,
		.stats = write_stats,
	};
	int r = bus_service_new(&m->service, m->loop, &config);

	if (r < 0) {
		return err_trace(r);
	}
	r = bus_sub_new(&m->ops, m->loop, m->topology, "ops", host, 1, CLIENT_NAME, on_ops, m);
	if (r < 0) {
		return err_trace(r);
	}
	r = bus_sub_new(&m->guests, m->loop, m->topology, "agent-bridge", vm, 1, CLIENT_NAME,
			on_guest, m);
	return r < 0 ? err_trace(r) : 0;
}

static int start(struct metrics *m, const char *topology_path)
{
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	int r = topology_load(&m->topology, topology_path, &errors);

	if (r < 0) {
		log_lines(LOG_LEVEL_ERROR, errors.len ? strbuf_str(&errors) : err_text(r));
		return r;
	}
	r = loop_new(&m->loop);
	if (r < 0) {
		return err_trace(r);
	}
	r = objects_new(&m->objects, m->state_dir);
	if (r < 0) {
		log_error("%s: %s; choose a directory with --state-dir", m->state_dir, err_text(r));
		return r;
	}
	view_init(&m->view, m->objects);
	r = start_bus(m);
	return r < 0 ? r : start_http(m);
}

static void stop(struct metrics *m)
{
	httpd_free(m->httpd);
	bus_sub_free(m->guests);
	bus_sub_free(m->ops);
	bus_service_free(m->service);
	view_deinit(&m->view);
	objects_free(m->objects);
	sd_event_unref(m->loop);
	topology_free(m->topology);
}

int main(int argc, char **argv)
{
	struct metrics m = { .state_dir = "/var/lib/xenmesh/metrics", .http = "127.0.0.1:9780" };
	struct bus_args args = {
		.program = "xenmesh-metrics", .usage = usage, .extra = take_option, .userdata = &m
	};
	int status;
	int r;

	log_init("xenmesh-metrics");
	if (bus_args_parse(&args, argc, argv, &status)) {
		return status;
	}
	log_use_journal();
	r = start(&m, args.topology_path);
	if (r >= 0) {
		loop_ready(m.loop, "recording");
		r = loop_run(m.loop);
	}
	stop(&m);
	return r < 0 ? EXIT_FAILURE : r;
}
