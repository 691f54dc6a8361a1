/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xenmesh-guest-agent: the command line.
 */
#include <getopt.h>
#include <stdio.h>

#include "libcommon/log.h"
#include "libcommon/parse.h"
#include "services/guest-agent/platform/agent.h"

/* EX_USAGE of sysexits.h. */
#define EXIT_USAGE 64

static const char usage[] =
	"Usage: xenmesh-guest-agent [OPTION]...\n"
	"Tell the Xen host about this guest: its system, memory, network addresses.\n"
	"\n"
	"      --interval SECONDS  look at memory this often (default 60, at most 3600)\n"
	"      --once              publish once and exit\n"
	"      --root DIR          take DIR/proc, DIR/sys, DIR/etc, DIR/dev for the real ones\n"
	"      --log-level LEVEL   error, warning, notice, info (default) or debug\n"
	"      --help              this text\n"
	"      --version           the version\n"
	"\n"
	"Environment:\n"
	"  XENSTORED_PATH      socket of xenstored, in place of the kernel's device\n"
	"  XENMESH_GUEST_HOME  publish there (/local/domain/N), in place of this domain's home\n"
	"\n"
	"Exit status: 0 ended by SIGTERM or published once; 1 failure; 64 wrong usage;\n"
	"69 this is no Xen guest.\n";

enum option_id {
	OPTION_INTERVAL = 256,
	OPTION_ONCE,
	OPTION_ROOT,
	OPTION_LOG_LEVEL,
	OPTION_HELP,
	OPTION_VERSION
};

static const struct option options[] = {
	{ "interval", required_argument, NULL, OPTION_INTERVAL },
	{ "once", no_argument, NULL, OPTION_ONCE },
	{ "root", required_argument, NULL, OPTION_ROOT },
	{ "log-level", required_argument, NULL, OPTION_LOG_LEVEL },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ "version", no_argument, NULL, OPTION_VERSION },
	{ 0 },
};

static int wrong(const char *what, const char *value)
{
	fprintf(stderr, "xenmesh-guest-agent: %s: %s; see --help\n", what, value);
	return EXIT_USAGE;
}

/* True when the program should go on, else *status is its exit status. */
static bool parse_options(int argc, char **argv, struct agent_config *config, int *status)
{
	enum log_level level;
	int option;

	*status = EXIT_USAGE;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case OPTION_INTERVAL:
			if (parse_u32(optarg, strlen(optarg), AGENT_INTERVAL_MAX_S,
				      &config->interval_s) != 0 ||
			    config->interval_s == 0) {
				*status = wrong("no interval of 1 to 3600 seconds", optarg);
				return false;
			}
			break;
		case OPTION_ONCE:
			config->is_once = true;
			break;
		case OPTION_ROOT:
			config->root = optarg;
			break;
		case OPTION_LOG_LEVEL:
			if (log_level_parse(optarg, &level) != 0) {
				*status = wrong("no log level", optarg);
				return false;
			}
			log_set_level(level);
			break;
		case OPTION_HELP:
			fputs(usage, stdout);
			*status = EXIT_SUCCESS;
			return false;
		case OPTION_VERSION:
			puts("xenmesh-guest-agent " XENMESH_VERSION);
			*status = EXIT_SUCCESS;
			return false;
		default:
			return false;
		}
	}
	if (optind < argc) {
		*status = wrong("unknown argument", argv[optind]);
		return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	const char *home = getenv("XENMESH_GUEST_HOME");
	struct agent_config config = {
		.root = "",
		.home = home ? home : "",
		.version = XENMESH_VERSION,
		.interval_s = AGENT_INTERVAL_DEFAULT_S,
	};
	int status;

	log_init("xenmesh-guest-agent");
	if (!parse_options(argc, argv, &config, &status)) {
		return status;
	}
	if (home && home[0] != '/') {
		return wrong("$XENMESH_GUEST_HOME is no absolute path", home);
	}
	return agent_run(&config);
}
