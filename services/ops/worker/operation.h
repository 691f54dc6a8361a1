/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The operations on a domain, each from the first check to the last clean-up.
 * They run to their end whatever becomes of the core: a domain half made is
 * worse than one too many, which the core finds again by its UUID.
 */
#include "bus/codes.h"
#include "libcommon/strbuf.h"
#include "services/ops/worker/lines.h"
#include "services/ops/worker/vmlock.h"
#include "services/ops/worker/xl.h"
#include "xenmesh/host/host.pb-c.h"

#define OPERATION_MESSAGE_MAX 1024

struct operation {
	struct xl *xl;	     /* open */
	struct lines *lines; /* of the same libxl context */
	const struct worker_paths *paths;
	void (*tell)(double progress, const char *step, void *userdata);
	void *userdata;

	/* Outcome. */
	enum bus_code code;
	char message[OPERATION_MESSAGE_MAX]; /* one sentence; "" when OK */
	int rc;				     /* libxl's error or 0 */
	int domid;			     /* created domain, else -1 */
};

/* Each fills the outcome. */
void operation_create(struct operation *op, const Xenmesh__Host__CreateDomain *request);
void operation_act(struct operation *op, const Xenmesh__Host__ActOnDomain *request);
