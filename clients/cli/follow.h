/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * One subscriber for each service of the topology, and what commands that
 * follow events have in common.
 */
#include "clients/cli/cli.h"

struct follow_source;

typedef void (*follow_fn)(const struct follow_source *source, const struct bus_sub_event *e,
			  void *userdata);

struct follow_source {
	struct follow *owner;
	const char *service;
	bool is_remote; /* of another host, whose clock is another one */
	struct bus_sub *sub;
	bool is_reached;	   /* it has said something */
	struct bus_client *client; /* of follow_ask(), or NULL */
	bool is_denied;		   /* it has said that we may not */
};

/* A status for follow_end_after() that is no exit code: follow_judge() makes one of it. */
#define FOLLOW_TIME_OVER 256

struct follow {
	struct follow_source *sources;
	size_t n;
	follow_fn fn;
	void *userdata;
	sd_event *loop; /* cli's, since follow_ask() */
};

/* only NULL: all services. prefixes as for bus_sub_new(). The exit code after saying what is
 * wrong; close it in any case. fn must not close it. */
int follow_open(struct follow *f, struct cli *cli, const char *only, char *const *prefixes,
		size_t n_prefixes, follow_fn fn, void *userdata);
void follow_close(struct follow *f);
/* Ask each service whether we may: a publisher hangs up on who may not, without a word. One that
 * refuses is told on standard error, and when all do, the loop ends with CLI_DENIED. Does not wait.
 * CLI_OK, or the exit code after saying what is wrong. */
int follow_ask(struct follow *f, struct cli *cli);

/* SIGINT and SIGTERM come from the loop of cli to fn from now on, until the sources are released;
 * fn NULL: they end it with the status that userdata is. 0 or -errno after saying what is wrong;
 * release them in any case, the two begin as NULL. They stay blocked: one that comes later waits
 * for the next to catch it. */
int follow_signals_catch(struct cli *cli, sd_event_source *sources[static 2],
			 sd_event_signal_handler_t fn, void *userdata);
void follow_signals_release(sd_event_source *sources[static 2]);

/* Runs the loop of cli to its end, also by SIGINT and SIGTERM. The exit code; `interrupted` is that
 * for the two: CLI_OK where nothing else ends it, so that a script can tell success from Ctrl-C. */
int follow_run(struct cli *cli, int interrupted);
/* The same without an end of the loop, so that calls can be made afterwards: until *is_over, which
 * SIGINT and SIGTERM set too, or the time, CLOCK_BOOTTIME (0 = never). 0 or -errno. */
int follow_until(struct cli *cli, bool *is_over, uint64_t boot_ns);
/* End the loop with `status` after the time; *source as in loop_after(). ms 0: never. */
int follow_end_after(struct cli *cli, sd_event_source **source, uint64_t ms, int status);

/* The exit code when follow_run() gave `status`: that, unless it is FOLLOW_TIME_OVER. Then services
 * that were not reached are told, and it is CLI_UNREACHABLE if none was, else `over`. */
int follow_judge(const struct follow *f, int status, int over);

/* The value of --for, NULL = not given. CLI_OK or CLI_USAGE. */
int follow_duration(const char *text, uint64_t *ms);

/* The value of --count, NULL = not given, which is 0. CLI_OK or CLI_USAGE. */
int follow_count(const char *text, uint64_t *count);

/* Take `--name V`, `--name=V` or `-lV` out of argv, as often as it is there, into values: comma-
 * separated words count as several. CLI_OK or CLI_USAGE. */
int follow_repeated(int *argc, char **argv, const char *name, char letter, const char **values,
		    size_t max, size_t *n);
