/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xenmesh-simhost: a host without Xen, for trying things out and for tests.
 */
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"
#include "libcommon/parse.h"
#include "services/simhost/commands.h"
#include "services/simhost/control.h"
#include "services/simhost/service.h"

#define EXIT_USAGE   2
#define VMS_MOST     10000
#define PCPUS_MOST   4096
#define BOOT_MS	     400
#define BOOT_MOST_MS 3600000
#define MIB_MOST     (1U << 30)
#define KIB_PER_MIB  1024ULL
#define STATE_DIR    "/run/xenmesh/simhost"
#define NAME_LINK    "link"
#define NAME_CONTROL "control"

struct options {
	struct sim_service_options service;
	struct faults faults;
	const char *state_dir;
	const char *ask;
	char link[PATH_MAX];
	char control[PATH_MAX];
};

static const char usage[] =
	"usage: xenmesh-simhost [options]\n"
	"       xenmesh-simhost [--state-dir DIR] --ask COMMAND\n"
	"Stands in for a Xen host: hypervisor, xl, guests, and xenmesh-ops-host with its workers.\n"
	"  --state-dir DIR    where its xenstored lives (" STATE_DIR ")\n"
	"  --link PATH        socket for xenmesh-ops (DIR/" NAME_LINK ")\n"
	"  --vms N            VMs that are running from the start (0)\n"
	"  --pcpus N          processors of the host (enough for them)\n"
	"  --memory MIB       memory of the host (enough for them)\n"
	"  --seed N           the same N, the same VMs and loads (1)\n"
	"  --boot-ms MS       how long a guest takes to boot (400)\n"
	"  --fault RULE       what shall go wrong, see docs/simhost.md; may be repeated\n"
	"  --ask COMMAND      tell a running one to do something; \"help\" lists commands\n"
	"  --log-level LEVEL  error, warning, notice, info or debug (info)\n"
	"  --version\n"
	"  --help\n"
	"Exit status: 0 ended by a signal, 1 failure, 2 usage.\n"
	"Other programs find its xenstored by XENSTORED_PATH=DIR/run/socket.\n";

enum {
	OPT_STATE_DIR,
	OPT_LINK,
	OPT_VMS,
	OPT_PCPUS,
	OPT_MEMORY,
	OPT_SEED,
	OPT_BOOT,
	OPT_FAULT,
	OPT_ASK,
	OPT_LOG_LEVEL,
	OPT_VERSION,
	OPT_HELP
};

static const struct option long_options[] = {
	[OPT_STATE_DIR] = { "state-dir", required_argument, NULL, OPT_STATE_DIR },
	[OPT_LINK] = { "link", required_argument, NULL, OPT_LINK },
	[OPT_VMS] = { "vms", required_argument, NULL, OPT_VMS },
	[OPT_PCPUS] = { "pcpus", required_argument, NULL, OPT_PCPUS },
	[OPT_MEMORY] = { "memory", required_argument, NULL, OPT_MEMORY },
	[OPT_SEED] = { "seed", required_argument, NULL, OPT_SEED },
	[OPT_BOOT] = { "boot-ms", required_argument, NULL, OPT_BOOT },
	[OPT_FAULT] = { "fault", required_argument, NULL, OPT_FAULT },
	[OPT_ASK] = { "ask", required_argument, NULL, OPT_ASK },
	[OPT_LOG_LEVEL] = { "log-level", required_argument, NULL, OPT_LOG_LEVEL },
	[OPT_VERSION] = { "version", no_argument, NULL, OPT_VERSION },
	[OPT_HELP] = { "help", no_argument, NULL, OPT_HELP },
	{ 0 },
};

/* False after a complaint. */
static bool take_number(int option, const char *text, uint64_t least, uint64_t most, uint64_t *out)
{
	if (parse_u64(text, strlen(text), most, out) == 0 && *out >= least) {
		return true;
	}
	fprintf(stderr,
		"xenmesh-simhost: --%s: \"%s\" is not a number from %llu to %llu; see --help\n",
		long_options[option].name, text, (unsigned long long)least,
		(unsigned long long)most);
	return false;
}

static bool take_fault(struct options *o, const char *rule)
{
	char why[256] = "out of memory";

	if (faults_add(&o->faults, rule, why, sizeof(why)) == 0) {
		return true;
	}
	fprintf(stderr, "xenmesh-simhost: --fault: %s; see --help\n", why);
	return false;
}

static bool take_log_level(const char *text)
{
	enum log_level level;

	if (log_level_parse(text, &level) < 0) {
		fprintf(stderr, "xenmesh-simhost: no such log level: %s; see --help\n", text);
		return false;
	}
	log_set_level(level);
	return true;
}

static bool take_path(char out[static PATH_MAX], const char *dir, const char *name)
{
	int n = snprintf(out, PATH_MAX, "%s%s%s", dir, *name ? "/" : "", name);

	if (n > 0 && n < PATH_MAX) {
		return true;
	}
	fprintf(stderr, "xenmesh-simhost: %s; see --help\n",
		n == 0 ? "--link wants a path" : "--state-dir or --link is too long");
	return false;
}

static bool take_option(struct options *o, int c)
{
	struct sim_service_options *s = &o->service;
	uint64_t n = 0;
	bool ok = true;

	switch (c) {
	case OPT_STATE_DIR:
		o->state_dir = optarg;
		return true;
	case OPT_LINK:
		return take_path(o->link, optarg, "");
	case OPT_VMS:
		ok = take_number(c, optarg, 0, VMS_MOST, &n);
		s->vms = (uint32_t)n;
		return ok;
	case OPT_PCPUS:
		ok = take_number(c, optarg, 1, PCPUS_MOST, &n);
		s->pcpus = (uint32_t)n;
		return ok;
	case OPT_MEMORY:
		ok = take_number(c, optarg, 1, MIB_MOST, &n);
		s->memory_kib = n * KIB_PER_MIB;
		return ok;
	case OPT_SEED:
		return take_number(c, optarg, 0, UINT64_MAX, &s->seed);
	case OPT_BOOT:
		ok = take_number(c, optarg, 1, BOOT_MOST_MS, &n);
		s->boot_ms = (uint32_t)n;
		return ok;
	case OPT_FAULT:
		return take_fault(o, optarg);
	case OPT_ASK:
		o->ask = optarg;
		return true;
	case OPT_LOG_LEVEL:
		return take_log_level(optarg);
	default:
		return false;
	}
}

/* What getopt_long() makes nothing of; `word` is the one it has just taken. */
static void complain(int c, const char *word)
{
	char letter[] = { '-', (char)optopt, '\0' };
	const char *what = c == ':' ? "a value is missing after"
			   : optopt == OPT_VERSION || optopt == OPT_HELP ? "no value belongs to"
									 : "unknown option";

	/* It may be within a word of several letters, which is not taken yet. */
	fprintf(stderr, "xenmesh-simhost: %s \"%s\"; see --help\n", what,
		c == '?' && optopt >= ' ' ? letter : word);
}

/* -1 = go on, else exit with it. */
static int parse_options(struct options *o, int argc, char **argv)
{
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":", long_options, NULL)) >= 0) {
		if (c == '?' || c == ':') {
			complain(c, argv[optind - 1]);
			return EXIT_USAGE;
		}
		if (c == OPT_VERSION) {
			puts("xenmesh-simhost " XENMESH_VERSION);
			return EXIT_SUCCESS;
		}
		if (c == OPT_HELP) {
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		}
		if (!take_option(o, c)) {
			return EXIT_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "xenmesh-simhost: \"%s\" is no option; see --help\n", argv[optind]);
		return EXIT_USAGE;
	}
	if ((!o->link[0] && !take_path(o->link, o->state_dir, NAME_LINK)) ||
	    !take_path(o->control, o->state_dir, NAME_CONTROL)) {
		return EXIT_USAGE;
	}
	return -1;
}

static int ask(const struct options *o)
{
	int r = control_ask(o->control, o->ask);

	if (r < 0) {
		fprintf(stderr,
			"xenmesh-simhost: cannot connect to %s: %s; does it run with this "
			"--state-dir?\n",
			o->control, err_text(r));
	}
	return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void on_xenstored_death(struct sim_xenstored *xs _unused_, const char *what, void *userdata)
{
	log_error("%s: without xenstored there is no host", what);
	sd_event_exit(userdata, EXIT_FAILURE);
}

static int run(struct options *o, struct sim_xenstored *xs, sd_event *loop)
{
	struct sim_service *service = NULL;
	char why[256];
	int r;

	o->service.xenstored = xs;
	o->service.link = o->link;
	o->service.control = o->control;
	o->service.faults = &o->faults;
	if (setenv("XENSTORED_PATH", sim_xenstored_socket(xs), 1) < 0) {
		return EXIT_FAILURE;
	}
	r = sim_xenstored_watch_death(xs, loop, on_xenstored_death, loop);
	if (r >= 0) {
		r = sim_service_new(&service, loop, &o->service, why, sizeof(why));
	} else {
		snprintf(why, sizeof(why), "%s", err_text(r));
	}
	if (r < 0) {
		log_error("cannot start: %s", why);
		return EXIT_FAILURE;
	}
	log_info("simulated host started, socket %s", o->link);
	loop_ready(loop, "simulating a host");
	r = loop_run(loop);
	sim_service_free(service);
	return r < 0 ? EXIT_FAILURE : r;
}

int main(int argc, char **argv)
{
	struct options o = {
		.service = { .seed = 1, .boot_ms = BOOT_MS },
		.state_dir = STATE_DIR,
	};
	struct sim_xenstored *xs = NULL;
	sd_event *loop = NULL;
	char error[SIM_ERROR_BYTES];
	int r;

	log_init("xenmesh-simhost");
	faults_init(&o.faults);
	r = parse_options(&o, argc, argv);
	if (r >= 0) {
		return r;
	}
	if (o.ask) {
		return ask(&o);
	}
	log_use_journal();
	r = loop_new(&loop);
	if (r < 0) {
		log_error("cannot start: %s", err_text(r));
		return EXIT_FAILURE;
	}
	r = sim_xenstored_open(&xs, &(struct sim_xenstored_options){ .state_dir = o.state_dir },
			       error);
	if (r < 0) {
		log_error("%s", error);
		r = EXIT_FAILURE;
	} else {
		r = run(&o, xs, loop);
	}
	sim_xenstored_free(xs);
	sd_event_unref(loop);
	faults_clear(&o.faults);
	return r;
}
