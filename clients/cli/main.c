/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xenmesh: the command line.  Data goes to stdout, chatter to stderr.
 */
#include <locale.h>
#include <signal.h>
#include <stdio.h>

#include "clients/cli/cli.h"
#include "libcommon/log.h"
#include "libcommon/parse.h"

static const char usage[] =
	"Usage: xenmesh [OPTIONS] COMMAND ...\n"
	"\n"
	"Options (anywhere before or after the command):\n"
	"  --json             one JSON document a line instead of tables\n"
	"  --timeout T        how long a call may take: 500ms, 5s, 2m (5s)\n"
	"  --topology FILE    where the services are ($XENMESH_TOPOLOGY, "
	"/etc/xenmesh/topology.conf)\n"
	"  --request-id UUID  identify a mutating command, so that repeating it is safe\n"
	"  --debug            tell what happens on the bus\n"
	"  --help, --version\n"
	"\n"
	"Commands (each knows --help):\n";

static void print_usage(FILE *to)
{
	fputs(usage, to);
	for (const struct cli_command *c = cli_commands; c->words; c++) {
		fprintf(to, "  %-15s %s\n", c->words, c->summary);
	}
	fputs("\nExit status: 0 ok, 1 failure, 2 usage, 3 timeout, 4 unreachable, 5 denied.\n", to);
}

static int print_command_help(const struct cli_command *c)
{
	printf("Usage: xenmesh %s %s\n\n%s\n", c->words, c->args, c->summary);
	if (c->help) {
		printf("\n%s", c->help);
	}
	return CLI_OK;
}

/* How many of argv the command's words take; 0 if it is another command. */
static int match(const struct cli_command *c, int argc, char **argv)
{
	const char *second = strchr(c->words, ' ');
	size_t len = second ? (size_t)(second - c->words) : strlen(c->words);

	if (argc < 1 || strlen(argv[0]) != len || strncmp(argv[0], c->words, len) != 0) {
		return 0;
	}
	if (!second) {
		return 1;
	}
	return argc > 1 && streq(argv[1], second + 1) ? 2 : 0;
}

/* The first word is a group, the second is missing or wrong. */
static int wrong_word(int argc, char **argv)
{
	size_t len = strlen(argv[0]);
	bool is_group = false;

	for (const struct cli_command *c = cli_commands; c->words; c++) {
		if (!strncmp(c->words, argv[0], len) && c->words[len] == ' ') {
			if (!is_group) {
				fprintf(stderr, "xenmesh %s wants one of:", argv[0]);
			}
			is_group = true;
			fprintf(stderr, " %s", c->words + len + 1);
		}
	}
	if (is_group) {
		fputs(argc > 1 ? "\n" : "; see --help\n", stderr);
		return CLI_USAGE;
	}
	return cli_usage("unknown command \"%s\"", argv[0]);
}

static int run_command(struct cli *cli, const struct cli_command *c, int argc, char **argv,
		       bool help)
{
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	int r;

	if (help) {
		return print_command_help(c);
	}
	r = topology_load(&cli->topology, cli->topology_path, &errors);
	if (r < 0) {
		cli_error("%s", strbuf_str(&errors));
		return CLI_FAILURE;
	}
	r = sd_event_new(&cli->loop);
	if (r < 0) {
		cli_error("cannot make an event loop: %s", strerror(-r));
		return CLI_FAILURE;
	}
	return c->run(cli, argc, argv);
}

/* `--name VALUE` or `--name=VALUE`; NULL = another option or no value. */
static const char *global_value(const char *name, int *i, int argc, char **argv)
{
	size_t len = strlen(name);

	if (streq(argv[*i], name)) {
		return *i + 1 < argc ? argv[++*i] : NULL;
	}
	return str_starts(argv[*i], name) && argv[*i][len] == '=' ? argv[*i] + len + 1 : NULL;
}

/* Take the global options out, wherever they stand. */
static int global_options(struct cli *cli, int *argc, char **argv, bool *help)
{
	int kept = 0;

	for (int i = 0; i < *argc; i++) {
		const char *value;
		uint64_t ms;

		if (streq(argv[i], "--")) {
			while (i < *argc) {
				argv[kept++] = argv[i++];
			}
		} else if (streq(argv[i], "--json")) {
			cli->json = true;
		} else if (streq(argv[i], "--help") || streq(argv[i], "-h")) {
			*help = true;
		} else if (streq(argv[i], "--debug")) {
			log_set_level(LOG_LEVEL_DEBUG);
		} else if ((value = global_value("--topology", &i, *argc, argv))) {
			cli->topology_path = value;
		} else if ((value = global_value("--timeout", &i, *argc, argv))) {
			if (parse_duration_ms(value, &ms) || !ms || ms > 3600000) {
				return cli_usage("--timeout wants 1ms to 1h, got \"%s\"", value);
			}
			cli->timeout_ms = (uint32_t)ms;
		} else if ((value = global_value("--request-id", &i, *argc, argv))) {
			if (uuid_parse(value, &cli->request_id)) {
				return cli_usage("--request-id wants a UUID, got \"%s\"", value);
			}
			cli->has_request_id = true;
		} else if (streq(argv[i], "--topology") || streq(argv[i], "--timeout") ||
			   streq(argv[i], "--request-id")) {
			return cli_usage("%s wants a value", argv[i]);
		} else {
			argv[kept++] = argv[i];
		}
	}
	*argc = kept;
	return CLI_OK;
}

static int run(struct cli *cli, int argc, char **argv)
{
	bool help = false;
	int r = global_options(cli, &argc, argv, &help);

	if (r) {
		return r;
	}
	if (argc > 0 && streq(argv[0], "--version")) {
		puts("xenmesh " XENMESH_VERSION);
		return CLI_OK;
	}
	if (argc < 1) {
		print_usage(help ? stdout : stderr);
		return help ? CLI_OK : CLI_USAGE;
	}
	for (const struct cli_command *c = cli_commands; c->words; c++) {
		int n = match(c, argc, argv);

		if (n > 0) {
			return run_command(cli, c, argc - n, argv + n, help);
		}
	}
	if (help) {
		print_usage(stdout);
		return CLI_OK;
	}
	return wrong_word(argc, argv);
}

static void free_clients(struct cli *cli)
{
	while (cli->clients) {
		struct cli_client *c = cli->clients;

		cli->clients = c->next;
		bus_client_free(c->bus);
		free(c);
	}
}

int main(int argc, char **argv)
{
	struct cli cli = { .color = isatty(STDOUT_FILENO) && !getenv("NO_COLOR") };
	int status;

	setlocale(LC_CTYPE, "");
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_DFL);
	log_init("xenmesh");
	log_set_level(LOG_LEVEL_ERROR);
	arena_init(&cli.arena, 256U << 20);
	status = run(&cli, argc - 1, argv + 1);
	/* A truncated listing must not look like a whole one. */
	if ((fflush(stdout) || ferror(stdout)) && !status) {
		cli_error("cannot write the output: %s", strerror(errno));
		status = CLI_FAILURE;
	}
	free_clients(&cli);
	arena_deinit(&cli.arena);
	topology_free(cli.topology);
	sd_event_unref(cli.loop);
	return status;
}
