/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xenmesh-agent-bridge: what guests say about themselves through xenstore, on
 * the bus.
 */
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"
#include "libcommon/strbuf.h"
#include "services/agent-bridge/api.h"

struct app {
	sd_event *loop;
	struct topology *topology;
	struct xenstore *xs;
	struct bus_service *service;
	struct bridge_mirror *mirror;
	struct bridge_api api;
};

static int load_topology(struct app *app, const char *path)
{
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	int r = topology_load(&app->topology, path, &errors);

	if (r < 0) {
		log_lines(LOG_LEVEL_ERROR, errors.len ? strbuf_str(&errors) : err_text(r));
	}
	return r;
}

static int make_loop(struct app *app)
{
	int r = loop_new(&app->loop);

	if (r < 0) {
		log_error("cannot start: %s", err_text(r));
	}
	return r;
}

static int open_xenstore(struct app *app)
{
	int r = xenstore_open(&app->xs);

	if (r < 0) {
		log_error("can't connect to xenstored (%s); is it running, and may this user? "
			  "$XENSTORED_PATH names its socket",
			  err_text(r));
		return r;
	}
	r = xenstore_attach(app->xs, app->loop);
	if (r < 0) {
		log_error("cannot listen to xenstored: %s", err_text(r));
	}
	return r;
}

static int open_service(struct app *app)
{
	const struct bus_service_config config = {
		.topology = app->topology,
		.name = "agent-bridge",
		.version = XENMESH_VERSION,
		.handlers = bridge_api_handlers,
		.n_handlers = bridge_api_n_handlers,
		.userdata = &app->api,
		.stats = bridge_api_stats,
	};
	int r = bus_service_new(&app->service, app->loop, &config);

	if (r == 0) {
		app->api.pub = bus_service_pub(app->service);
	} else if (r != -EADDRINUSE) { /* that was told */
		log_error("the service cannot be put on the bus: %s", err_text(r));
	}
	return r;
}

static int open_mirror(struct app *app)
{
	const struct bridge_sink sink = bridge_api_sink(&app->api);
	int r = bridge_mirror_new(&app->mirror, app->loop, app->xs, &sink);

	app->api.mirror = app->mirror;
	if (r < 0) {
		log_error("cannot mirror what guests say: %s", err_text(r));
	}
	return r;
}

/* Whatever fails has told why. */
static int run(struct app *app, const char *topology_path)
{
	int r;

	r = load_topology(app, topology_path);
	if (r == 0) {
		r = make_loop(app);
	}
	if (r == 0) {
		r = open_xenstore(app);
	}
	if (r == 0) {
		r = open_service(app);
	}
	if (r == 0) {
		r = open_mirror(app);
	}
	if (r < 0) {
		return err_trace(r);
	}
	loop_ready(app->loop, "mirroring guests");
	r = loop_run(app->loop);
	if (r < 0) {
		log_error("ended: %s", err_text(r));
	}
	return r;
}

int main(int argc, char **argv)
{
	struct bus_args args = { .program = "xenmesh-agent-bridge" };
	struct app app = { 0 };
	int r, status;

	log_init("xenmesh-agent-bridge");
	log_use_journal();
	if (bus_args_parse(&args, argc, argv, &status) != 0) {
		return status;
	}
	r = run(&app, args.topology_path);
	bridge_mirror_free(app.mirror);
	bus_service_free(app.service);
	xenstore_close(app.xs);
	topology_free(app.topology);
	sd_event_unref(app.loop);
	return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
