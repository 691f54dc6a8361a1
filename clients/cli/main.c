/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xenmesh: the command line.  Data goes to stdout, chatter to stderr.
 */
#include <locale.h>
#include <signal.h>
#include <stdio.h>

#include "clients/cli/cli.h"
#include "clients/cli/schema.h"
#include "libcommon/log.h"
#include "libcommon/parse.h"

#define MISTAKES_MAX 20 /* of a topology, as many as a terminal shows */

/* Where the command's next word begins if argv begins with its first words, else NULL; all of
 * its words: an empty string. *n = how many of argv they are. */
static const char *match(const struct cli_command *c, int argc, char **argv, int *n)
{
	const char *p = c->words;

	for (*n = 0; *n < argc && *p; ++*n) {
		size_t len = strcspn(p, " ");

		if (strlen(argv[*n]) != len || strncmp(argv[*n], p, len) != 0) {
			break;
		}
		p += len + (p[len] == ' ');
	}
	return *n ? p : NULL;
}

static bool is_group(int argc, char **argv)
{
	for (const struct cli_command *c = cli_commands; c->words; c++) {
		int n;

		if (match(c, argc, argv, &n) && n == argc) {
			return true;
		}
	}
	return false;
}

/* The commands that begin with these words; all if there are none. */
static void print_commands(FILE *to, int argc, char **argv)
{
	for (const struct cli_command *c = cli_commands; c->words; c++) {
		int n = 0;

		if (c->summary && (!argc || (match(c, argc, argv, &n) && n == argc))) {
			fprintf(to, "  %-21s  %s\n", c->words, c->summary);
		}
	}
}

static void print_usage(FILE *to)
{
	fprintf(to,
		"Usage: xenmesh [OPTIONS] COMMAND ...\n"
		"\n"
		"Options (anywhere before or after the command):\n"
		"%s\n"
		"Commands (each knows --help):\n",
		cli_global_options);
	print_commands(to, 0, NULL);
	fputs("\nExit status: 0 ok, 1 failure, 2 usage, 3 timeout, 4 unreachable, 5 denied, "
	      "130 interrupted.\n",
	      to);
}

static int print_group(int argc, char **argv)
{
	fputs("Usage: xenmesh ", stdout);
	for (int i = 0; i < argc; i++) {
		printf("%s ", argv[i]);
	}
	puts("COMMAND ...\n\nCommands (each knows --help):");
	print_commands(stdout, argc, argv);
	return CLI_OK;
}

static int print_command_help(const struct cli_command *c)
{
	printf("Usage: xenmesh %s %s\n\n%s\n", c->words, c->args, c->summary);
	if (c->help) {
		printf("\n%s", c->help);
	}
	return CLI_OK;
}

static int unknown_command(const char *word)
{
	const char *nearest = NULL;
	unsigned int distance = strlen(word) > 3 ? 3 : 2;

	for (const struct cli_command *c = cli_commands; c->words; c++) {
		char first[32];
		unsigned int d;

		snprintf(first, sizeof(first), "%.*s", (int)strcspn(c->words, " "), c->words);
		d = schema_distance(word, first, distance);
		if (c->summary && d < distance) {
			distance = d;
			nearest = c->words;
		}
	}
	if (nearest) {
		cli_error("unknown command \"%s\"; did you mean %.*s?", word,
			  (int)strcspn(nearest, " "), nearest);
	} else {
		cli_error("unknown command \"%s\"; see: xenmesh --help", word);
	}
	return CLI_USAGE;
}

/* The first words are a group, the next is missing or wrong. */
static int wrong_word(int argc, char **argv)
{
	int n_group = argc;
	const char *last = "";
	size_t last_len = 0;

	while (n_group > 0 && !is_group(n_group, argv)) {
		n_group--;
	}
	if (!n_group) {
		return unknown_command(argv[0]);
	}
	fputs("xenmesh", stderr);
	for (int i = 0; i < n_group; i++) {
		fprintf(stderr, " %s", argv[i]);
	}
	fputs(" wants one of:", stderr);
	for (const struct cli_command *c = cli_commands; c->words; c++) {
		int n;
		const char *next = match(c, n_group, argv, &n);
		size_t len = next ? strcspn(next, " ") : 0;

		/* The words of a group below stand together in the table. */
		if (next && n == n_group && c->summary &&
		    (len != last_len || strncmp(next, last, len) != 0)) {
			fprintf(stderr, " %.*s", (int)len, next);
			last = next;
			last_len = len;
		}
	}
	fputs(argc > n_group ? "\n" : "; see --help\n", stderr);
	return CLI_USAGE;
}

/* Of a topology, a line each: a file that is none has as many as lines. */
static void print_mistakes(const char *lines)
{
	size_t n = 0;

	for (const char *p = lines; *p; n++) {
		size_t len = strcspn(p, "\n");

		if (n < MISTAKES_MAX) {
			cli_error("%.*s", (int)len, p);
		}
		p += len + (p[len] == '\n');
	}
	if (n > MISTAKES_MAX) {
		cli_error("and %zu more mistakes; all: xenmesh bus topology check",
			  n - MISTAKES_MAX);
	}
}

static int run_command(struct cli *cli, const struct cli_command *c, int argc, char **argv,
		       bool help)
{
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	int r = 0;

	if (help) {
		return print_command_help(c);
	}
	/* These two say themselves, or not at all, what is wrong with it. */
	if (c->run != cmd_bus_topology_check && c->run != cmd_complete) {
		r = topology_load_in(&cli->topology, cli->topology_path, cli->socket_dir, &errors);
	}
	if (r < 0) {
		print_mistakes(errors.len ? strbuf_str(&errors) : strerror(-r));
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
		return *i + 1 < argc && argv[*i + 1] ? argv[++*i] : NULL;
	}
	return str_starts(argv[*i], name) && argv[*i][len] == '=' ? argv[*i] + len + 1 : NULL;
}

/* Take the global options out, wherever they stand. */
static int global_options(struct cli *cli, int *argc, char **argv, bool *help, bool *version)
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
		} else if (streq(argv[i], "--version")) {
			*version = true;
		} else if (streq(argv[i], "--debug")) {
			log_set_level(LOG_LEVEL_DEBUG);
		} else if ((value = global_value("--topology", &i, *argc, argv))) {
			cli->topology_path = value;
		} else if ((value = global_value("--socket-dir", &i, *argc, argv))) {
			if (*value != '/' || strpbrk(value, " \t\n")) {
				return cli_usage("--socket-dir wants an absolute path without "
						 "blanks, got \"%s\"",
						 value);
			}
			cli->socket_dir = value;
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
			   streq(argv[i], "--request-id") || streq(argv[i], "--socket-dir")) {
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
	bool version = false;
	int r = global_options(cli, &argc, argv, &help, &version);

	if (r) {
		return r;
	}
	if (version) {
		puts("xenmesh " XENMESH_VERSION);
		return CLI_OK;
	}
	if (argc < 1) {
		print_usage(help ? stdout : stderr);
		return help ? CLI_OK : CLI_USAGE;
	}
	for (const struct cli_command *c = cli_commands; c->words; c++) {
		int n;
		const char *rest = match(c, argc, argv, &n);

		if (rest && !*rest) {
			return run_command(cli, c, argc - n, argv + n, help);
		}
	}
	if (help && is_group(argc, argv)) {
		return print_group(argc, argv);
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

	log_init("xenmesh");
	setlocale(LC_CTYPE, "");
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_DFL);
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
