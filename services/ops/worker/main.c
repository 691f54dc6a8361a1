/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xenmesh-ops-worker: libxl in a process of its own, for one operation.  The
 * host process starts it with the link to the core as descriptor 3.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

#include "libcommon/log.h"
#include "services/ops/mark.h"
#include "services/ops/worker/worker.h"

#define LINK_FD	   3
#define LOCK	   "/run/xenmesh-ops-worker.lock" /* only root can make files there */
#define EXIT_USAGE 2

static const char usage[] = "usage: xenmesh-ops-worker [--log-level LEVEL]\n"
			    "Is started by xenmesh-ops-host with a socket as descriptor 3,\n"
			    "does one operation on a domain and ends.\n";

int main(int argc, char **argv)
{
	enum log_level level;
	struct stat st;

	log_init("xenmesh-ops-worker");
	if (argc == 3 && streq(argv[1], "--log-level") && log_level_parse(argv[2], &level) == 0) {
		log_set_level(level);
	} else if (argc == 2 && streq(argv[1], "--version")) {
		puts("xenmesh-ops-worker " XENMESH_VERSION);
		return EXIT_SUCCESS;
	} else if (argc != 1) {
		bool is_help = argc == 2 && streq(argv[1], "--help");

		fputs(usage, is_help ? stdout : stderr);
		return is_help ? EXIT_SUCCESS : EXIT_USAGE;
	}
	if (fstat(LINK_FD, &st) < 0 || !S_ISSOCK(st.st_mode)) {
		fputs(usage, stderr);
		return EXIT_USAGE;
	}
	log_use_journal();
	/* The core may go at any time; libxl gives its children the default back. */
	signal(SIGPIPE, SIG_IGN);
	return worker_run(LINK_FD,
			  &(struct worker_paths){ .lock = LOCK, .marks = OPERATION_MARKS });
}
