/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xenmesh-ops-host: the only root process of ops.  Watches and samples Xen for
 * the core and starts workers for it.
 */
#include <getopt.h>
#include <grp.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>

#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"
#include "libcommon/parse.h"
#include "libcommon/xenstore.h"
#include "services/ops/host/service.h"

#define EXIT_USAGE  2
#define EXIT_NO_XEN 69 /* EX_UNAVAILABLE of sysexits.h: no use to try again on this boot */

struct options {
	const char *link;
	const char *worker;
	const char *sysfs_root;
	gid_t link_group;
	char default_worker[PATH_MAX + 32];
};

static const char usage[] =
	"usage: xenmesh-ops-host [options]\n"
	"Watches and samples the Xen host for xenmesh-ops and starts its workers.\n"
	"  --link PATH        socket for xenmesh-ops (/run/xenmesh/ops-host/link)\n"
	"  --link-group NAME  group that may connect to it\n"
	"  --worker PATH      worker program (xenmesh-ops-worker beside this one)\n"
	"  --sysfs-root PATH  where sysfs is (/sys)\n"
	"  --log-level LEVEL  error, warning, notice, info or debug (info)\n"
	"  --version\n"
	"  --help\n"
	"Exit status: 0 ended by a signal, 1 failure, 2 usage, 69 not the control domain of a "
	"Xen.\n";

static int find_worker(struct options *o)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0) {
		return err_errno();
	}
	self[n] = '\0';
	snprintf(o->default_worker, sizeof(o->default_worker), "%s/xenmesh-ops-worker",
		 dirname(self));
	o->worker = o->default_worker;
	return 0;
}

static int find_group(const char *name, gid_t *out)
{
	const struct group *group = getgrnam(name);
	uint32_t number;

	if (group) {
		*out = group->gr_gid;
	} else if (parse_u32(name, strlen(name), UINT32_MAX - 1, &number) == 0) {
		*out = number;
	} else {
		return -ENOENT;
	}
	return 0;
}

/* -1 = go on, else exit with it. */
static int parse_options(struct options *o, int argc, char **argv)
{
	static const struct option options[] = {
		{ "link", required_argument, NULL, 'l' },
		{ "link-group", required_argument, NULL, 'g' },
		{ "worker", required_argument, NULL, 'w' },
		{ "sysfs-root", required_argument, NULL, 's' },
		{ "log-level", required_argument, NULL, 'L' },
		{ "version", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	enum log_level level;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c == 'l') {
			o->link = optarg;
		} else if (c == 'w') {
			o->worker = optarg;
		} else if (c == 's') {
			o->sysfs_root = optarg;
		} else if (c == 'g' && find_group(optarg, &o->link_group) == 0) {
			continue;
		} else if (c == 'L' && log_level_parse(optarg, &level) == 0) {
			log_set_level(level);
		} else if (c == 'v') {
			puts("xenmesh-ops-host " XENMESH_VERSION);
			return EXIT_SUCCESS;
		} else if (c == 'h') {
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		} else {
			if (c != '?') {
				fprintf(stderr, "xenmesh-ops-host: no such %s: %s\n",
					c == 'g' ? "group" : "log level", optarg);
			}
			fputs(usage, stderr);
			return EXIT_USAGE;
		}
	}
	if (optind < argc) {
		fputs(usage, stderr);
		return EXIT_USAGE;
	}
	return -1;
}

static int open_xen(struct hypervisor *hv, struct xenstore **xs)
{
	int r = hypervisor_open(hv);

	if (r == -EACCES && geteuid() != 0) {
		log_error("the hypervisor can be used by root only");
		return EXIT_FAILURE;
	}
	if (r == -EACCES) {
		log_error("the hypervisor refuses this program: it was built for another version "
			  "of Xen");
		return EXIT_NO_XEN;
	}
	if (r < 0) {
		log_error("this is not the control domain (dom0) of a Xen host: %s; "
			  "to try xenmesh without Xen start xenmesh-simhost instead",
			  err_text(r));
		return EXIT_NO_XEN;
	}
	r = xenstore_open(xs);
	if (r < 0) {
		log_error("cannot connect to xenstored: %s; is it running (xen.service)?",
			  err_text(r));
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}

static int run(const struct options *o, struct hypervisor *hv, struct xenstore *xs)
{
	struct host_service_config config = {
		.hv = hv,
		.xs = xs,
		.link = o->link,
		.link_group = o->link_group,
		.worker = o->worker,
		.sysfs_root = o->sysfs_root,
	};
	struct host_service *service = NULL;
	sd_event *loop = NULL;
	int r;

	if ((r = loop_new(&loop)) < 0 || (r = xenstore_attach(xs, loop)) < 0 ||
	    (r = host_service_new(&service, loop, &config)) < 0) {
		log_error("cannot start (socket %s): %s", o->link, err_text(r));
	} else {
		log_info("started, socket %s", o->link);
		loop_ready(loop, "watching the host");
		r = loop_run(loop);
	}
	host_service_free(service);
	sd_event_unref(loop);
	return r < 0 ? EXIT_FAILURE : r;
}

int main(int argc, char **argv)
{
	struct options o = {
		.link = "/run/xenmesh/ops-host/link",
		.sysfs_root = "/sys",
		.link_group = (gid_t)-1,
	};
	struct hypervisor hv = { 0 };
	struct xenstore *xs = NULL;
	int r;

	log_init("xenmesh-ops-host");
	r = parse_options(&o, argc, argv);
	if (r >= 0) {
		return r;
	}
	if (!o.worker && (r = find_worker(&o)) < 0) {
		log_error("cannot find the worker program: %s; use --worker", err_text(r));
		return EXIT_FAILURE;
	}
	log_use_journal();
	r = open_xen(&hv, &xs);
	if (r == EXIT_SUCCESS) {
		r = run(&o, &hv, xs);
	}
	xenstore_close(xs);
	hypervisor_close(&hv);
	return r;
}
