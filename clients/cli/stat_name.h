/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The names of Bus.Stats taken apart: "rpc.StartVm.calls", "pub.vm.bytes",
 * "pub.peer.1041.dropped", and all others, which are of the whole service.
 */
#include "libcommon/base.h"

#define STAT_LABEL_MAX 160
#define STAT_WHAT_MAX  64

enum stat_kind {
	STAT_PLAIN,   /* "rpc.calls": `what` is all of it */
	STAT_METHOD,  /* label: "StartVm" */
	STAT_SEGMENT, /* label: "vm" */
	STAT_PEER,    /* label: "1041", a process that listens */
};

struct stat_name {
	enum stat_kind kind;
	char label[STAT_LABEL_MAX]; /* cut if longer */
	char what[STAT_WHAT_MAX];
};

void stat_name_parse(const char *name, struct stat_name *out);
