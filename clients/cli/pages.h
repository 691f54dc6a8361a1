/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What a service has published, asked for once: all pages of Bus.Snapshot or
 * Bus.Changes (docs/protocol.md, section 5.1).
 */
#include "clients/cli/cli.h"

/* e lives in cli->arena. A topic may come again, newer or removed. NULL: forget all, the service
 * was restarted meanwhile. */
typedef void (*pages_fn)(const Xenmesh__V1__Event *e, void *userdata);

struct pages {
	const char *service;
	char *const *prefixes;
	size_t n_prefixes;
	bool since_start; /* also what was removed since the service started */
	pages_fn fn;
	void *userdata;
	/* The answer: */
	uint8_t instance[16];
	uint64_t seq;
	bool is_cut; /* older removals are forgotten by the service */
};

/* Waits for the answers; the exit code, after saying what is wrong. */
int pages_fetch(struct cli *cli, struct pages *p);
