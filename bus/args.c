/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The command line that all services share.  "--name value" and "--name=value"
 * are the same.
 */
#include <stdio.h>

#include "bus/service.h"
#include "libcommon/log.h"

#define STATUS_USAGE 2

enum taken { TAKEN_UNKNOWN = -1, TAKEN_ONE, TAKEN_WITH_VALUE, TAKEN_EXIT, TAKEN_WRONG };

static void print_help(const struct bus_args *a)
{
	printf("Usage: %s [OPTION]...\n"
	       "\n"
	       "  --topology FILE     where services are and who may do what\n"
	       "                      ($XENMESH_TOPOLOGY, " TOPOLOGY_DEFAULT_PATH ")\n"
	       "  --log-level LEVEL   error, warning, notice, info (default) or debug\n"
	       "%s"
	       "  --help, --version\n",
	       a->program, a->usage ? a->usage : "");
}

static enum taken take_common(struct bus_args *a, const char *name, const char *value)
{
	enum log_level level;

	if (streq(name, "--help") || streq(name, "-h")) {
		print_help(a);
		return TAKEN_EXIT;
	}
	if (streq(name, "--version")) {
		printf("%s %s\n", a->program, XENMESH_VERSION);
		return TAKEN_EXIT;
	}
	if (streq(name, "--topology")) {
		a->topology_path = value;
		return TAKEN_WITH_VALUE;
	}
	if (streq(name, "--log-level")) {
		if (value && log_level_parse(value, &level) < 0) {
			fprintf(stderr,
				"%s: --log-level wants error, warning, notice, info or debug, got "
				"\"%s\"\n",
				a->program, value);
			return TAKEN_WRONG;
		}
		if (value) {
			log_set_level(level);
		}
		return TAKEN_WITH_VALUE;
	}
	return TAKEN_UNKNOWN;
}

static enum taken take(struct bus_args *a, const char *name, const char *value)
{
	enum taken taken = take_common(a, name, value);
	int r;

	if (taken != TAKEN_UNKNOWN || !a->extra) {
		return taken;
	}
	r = a->extra(name, value, a->userdata);
	return r < 0 ? TAKEN_UNKNOWN : r == 0 ? TAKEN_ONE : TAKEN_WITH_VALUE;
}

int bus_args_parse(struct bus_args *args, int argc, char **argv, int *status)
{
	*status = STATUS_USAGE;
	for (int i = 1; i < argc; i++) {
		char *equals = str_starts(argv[i], "--") ? strchr(argv[i], '=') : NULL;
		_cleanup_(xfreep) char *name = equals ? strndup(argv[i], (size_t)(equals - argv[i]))
						      : strdup(argv[i]);
		const char *value = equals ? equals + 1 : i + 1 < argc ? argv[i + 1] : NULL;
		enum taken taken = name ? take(args, name, value) : TAKEN_WRONG;

		if (taken == TAKEN_EXIT) {
			*status = EXIT_SUCCESS;
			return 1;
		}
		if (taken == TAKEN_WRONG) {
			return 1;
		}
		if (taken == TAKEN_UNKNOWN && value) {
			fprintf(stderr,
				"%s: unknown option \"%s\", or \"%s\" is no value of it; see "
				"--help\n",
				args->program, name, value);
			return 1;
		}
		if (taken == TAKEN_UNKNOWN || (taken == TAKEN_WITH_VALUE && !value) ||
		    (taken == TAKEN_ONE && equals)) {
			fprintf(stderr, "%s: %s \"%s\"; see --help\n", args->program,
				taken == TAKEN_UNKNOWN ? "unknown or incomplete option"
				: taken == TAKEN_ONE   ? "no value belongs to"
						       : "a value is missing after",
				name);
			return 1;
		}
		i += taken == TAKEN_WITH_VALUE && !equals ? 1 : 0;
	}
	*status = EXIT_SUCCESS;
	return 0;
}
