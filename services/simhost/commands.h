/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What the control socket understands: to play xl, a guest's own will, and
 * things going wrong.  commands_help lists them.
 */
#include "libcommon/strbuf.h"
#include "services/simhost/faults.h"
#include "services/simhost/xl.h"

struct sim_service;

struct commands {
	struct sim_service *service;
	struct machine *machine;
	struct sim_xl *xl;
	struct faults *faults;
};

extern const char commands_help[];

/* A control_fn; userdata is a struct commands. */
int commands_run(char *line, struct strbuf *out, void *userdata);
