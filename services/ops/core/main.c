/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xenmesh-ops: VMs and the host on the bus.
 */
#include <stdio.h>

#include "bus/service.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"
#include "libcommon/parse.h"
#include "services/ops/core/api.h"
#include "services/ops/core/core.h"
#include "services/ops/core/limits.h"

static const char usage[] =
	"  --state-dir DIR    where definitions and tasks are stored (/var/lib/xenmesh/ops)\n"
	"  --host-link PATH   socket of the host process (RUN_DIR/ops-host/link)\n"
	"  --host-uid UID     user that may be the host process, beside root and this one\n"
	"  --workers N        operations at work on the host at once, 1..64 (4)\n";

static int parse_option(const char *name, const char *value, void *userdata)
{
	struct core_config *config = userdata;
	uint32_t number;

	if (!value) {
		return -EINVAL;
	}
	if (streq(name, "--state-dir")) {
		config->state_dir = value;
	} else if (streq(name, "--host-link")) {
		config->host_link = value;
	} else if (streq(name, "--host-uid") &&
		   parse_u32(value, strlen(value), UINT32_MAX - 1, &number) == 0) {
		config->host_uid = (uid_t)number;
	} else if (streq(name, "--workers") &&
		   parse_u32(value, strlen(value), OPS_WORKERS_MAX, &number) == 0 && number > 0) {
		config->max_workers = number;
	} else {
		return -EINVAL;
	}
	return 1;
}

/* ---- publishing ---- */

static int publish(void *userdata, const char *topic, Xenmesh__V1__Event *event)
{
	return bus_pub_publish(userdata, topic, event);
}

static int unpublish(void *userdata, const char *topic, const char *reason)
{
	return bus_pub_remove(userdata, topic, reason);
}

/* ---- parts, in the order in which they are made ---- */

struct ops {
	sd_event *loop;
	struct topology *topology;
	struct core_config config;
	char *default_link;
	struct core *core;
	struct bus_dedup dedup;
	struct bus_service *service;
};

static int load_topology(struct ops *o, const char *path)
{
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	int r = topology_load(&o->topology, path, &errors);

	if (r < 0) {
		log_lines(LOG_LEVEL_ERROR, errors.len ? strbuf_str(&errors) : err_text(r));
		return r;
	}
	if (!o->config.host_link) {
		if (asprintf(&o->default_link, "%s/ops-host/link", topology_run_dir(o->topology)) <
		    0) {
			o->default_link = NULL;
			return -ENOMEM;
		}
		o->config.host_link = o->default_link;
	}
	return 0;
}

static int make_core(struct ops *o)
{
	int r = core_new(&o->core, o->loop, &o->config);

	if (r == -EBUSY) {
		log_error("another xenmesh-ops uses %s; stop it, or choose another --state-dir",
			  o->config.state_dir);
	} else if (r < 0) {
		log_error("%s cannot be used: %s; make it writable for this user, or choose "
			  "another --state-dir",
			  o->config.state_dir, err_text(r));
	}
	return r;
}

static int make_service(struct ops *o)
{
	struct bus_service_config config = {
		.topology = o->topology,
		.name = "ops",
		.version = XENMESH_VERSION,
		.handlers = api_handlers,
		.n_handlers = api_n_handlers,
		.dedup = &o->dedup,
		.userdata = o->core,
		.stats = core_stats,
	};
	int r;

	o->dedup = store_dedup(o->core->store);
	r = bus_service_new(&o->service, o->loop, &config);
	if (r < 0 && r != -EADDRINUSE) { /* that was told */
		log_error("the service cannot be put on the bus: %s", err_text(r));
	}
	return r;
}

static int start(struct ops *o)
{
	const struct events events = {
		.publish = publish,
		.remove = unpublish,
		.userdata = bus_service_pub(o->service),
	};
	int r = core_start(o->core, &events);

	if (r < 0) {
		log_error("xenmesh-ops cannot start: %s", err_text(r));
	}
	return r;
}

static int run(struct ops *o, const char *topology_path)
{
	int r = loop_new(&o->loop);

	r = r < 0 ? r : load_topology(o, topology_path);
	r = r < 0 ? r : make_core(o);
	r = r < 0 ? r : make_service(o);
	r = r < 0 ? r : start(o);
	if (r < 0) {
		return EXIT_FAILURE;
	}
	loop_ready(o->loop, "serving");
	return loop_run(o->loop) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct ops ops = {
		.config = {
			.state_dir = "/var/lib/xenmesh/ops",
			.max_workers = OPS_WORKERS_DEFAULT,
		},
	};
	struct bus_args args = {
		.program = "xenmesh-ops",
		.usage = usage,
		.extra = parse_option,
		.userdata = &ops.config,
	};
	int status;

	log_init("xenmesh-ops");
	log_use_journal();
	if (bus_args_parse(&args, argc, argv, &status) != 0) {
		return status;
	}
	status = run(&ops, args.topology_path);
	ops.service = bus_service_free(ops.service);
	ops.core = core_free(ops.core);
	free(ops.default_link);
	topology_free(ops.topology);
	sd_event_unref(ops.loop);
	return status;
}
