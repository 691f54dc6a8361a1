/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What `bus doctor` finds. Each finding comes with the command that mends it.
 */
#include "clients/cli/probe.h"

struct doctor {
	struct cli *cli;
	const struct probe *probes;
	size_t n_probes;
	unsigned int n_findings;
	unsigned int n_checks;
};

/* check: "services", "tls" ...; subject: service or path; mend: a command, in what it is told. */
void doctor_find(struct doctor *d, const char *check, const char *subject, const char *mend,
		 const char *format, ...) _printf_(5, 6);

/* Files of this host: directories of the sockets, modes of [tls], xenstored, the journal. */
void doctor_check_directories(struct doctor *d);
void doctor_check_tls(struct doctor *d);
void doctor_check_xenstored(struct doctor *d);
void doctor_check_journal(struct doctor *d);
