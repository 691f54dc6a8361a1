/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Events, one a line, in the forms that `xenmesh bus monitor`, `xenmesh events`
 * and `xenmesh bus capture --show` share.
 */
#include "clients/cli/cli.h"
#include "clients/cli/filter.h"

#define MONITOR_FIELDS_MAX 32

enum monitor_form {
	MONITOR_LINE,  /* time with date, topic, service, seq, size, summary */
	MONITOR_SHORT, /* time of day, topic, seq, size, summary */
	MONITOR_HEX,   /* as LINE, with the bytes of the publication in place of the summary */
	MONITOR_RAW,   /* those bytes, each publication after its length (4 bytes, big endian) */
};

struct monitor {
	struct cli *cli;
	enum monitor_form form;
	bool is_wide; /* lines are not cut at the width of the terminal */
	const char *fields[MONITOR_FIELDS_MAX];
	size_t n_fields;
	struct filter *filter;
	uint64_t count; /* events to show; 0 = no end */
	uint64_t n_shown;
	size_t columns; /* of the terminal; 0 = none */
};

/* --field, --filter, --wide, --hex, --raw, --no-colour and --count of argv. CLI_OK or CLI_USAGE.
 * `rest`: the options that only the caller knows. */
int monitor_options(struct monitor *m, int *argc, char **argv, const struct cli_option *rest,
		    size_t n_rest);
void monitor_deinit(struct monitor *m);

/* Shows e, unless the filter is against it. True when `count` is reached. What it needs
 * stays in the arena of cli until the caller resets that. */
bool monitor_show(struct monitor *m, const char *service, const struct bus_sub_event *e,
		  uint64_t received_ns);
