/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The agent: looks at this guest, publishes what it finds, and again whenever
 * something changes.  One poll(2) loop; between events it sleeps, but for one
 * look at memory an interval.
 */
#include "libcommon/base.h"

#define AGENT_INTERVAL_DEFAULT_S 60
#define AGENT_INTERVAL_MAX_S	 3600

/* Exit status: EX_UNAVAILABLE of sysexits.h. */
#define AGENT_EXIT_NO_XEN 69

struct agent_config {
	const char *root; /* before /proc, /sys, /etc and /dev; "" = the real ones */
	const char *home; /* "" = of this domain; else "/local/domain/N", through the socket */
	const char *version;
	uint32_t interval_s; /* between looks at memory */
	bool is_once;	     /* publish once and return */
};

/* Returns an exit status: 0 after SIGTERM or SIGINT (the keys stay) or when published once;
 * AGENT_EXIT_NO_XEN, said on the log, where there is no xenstore of a guest; 1 for failures. */
int agent_run(const struct agent_config *config);
