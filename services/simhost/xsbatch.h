/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Many xenstore changes as dom0 in one round trip.  libxenstore waits for each
 * answer, which at 150 changes a domain would make a host of 1,000 domains
 * take most of a minute to come up.
 *
 * Requests are collected, sent together and answered in order; no transaction.
 * xsbatch_commit() blocks for as long as xenstored needs, about 20 us a request.
 */
#include "libcommon/base.h"
#include "libcommon/strbuf.h"

struct xsbatch {
	int fd; /* -1 = not connected */
	struct strbuf out;
	size_t n; /* requests in it */
	int error;
	char failed[256]; /* the path of the request that failed */
};

#define XSBATCH_NULL ((struct xsbatch){ .fd = -1 })

/* socket_path: of xenstored. */
int xsbatch_open(struct xsbatch *b, const char *socket_path);
/* Idempotent. */
void xsbatch_close(struct xsbatch *b);

/* What does not fit (4096 bytes path and value) makes the commit fail with -E2BIG. */
void xsbatch_write(struct xsbatch *b, const char *path, const char *value);
void xsbatch_writef(struct xsbatch *b, const char *value, const char *format, ...) _printf_(3, 4);
/* An empty node, if it is not there, with exactly these permissions.  What is written below it
 * later gets them too.  owner: of the node, who has all rights; reader: who may read, or owner. */
void xsbatch_node(struct xsbatch *b, const char *path, uint32_t owner, uint32_t reader);
/* With all below it; absent is fine. */
void xsbatch_remove(struct xsbatch *b, const char *path);
/* XS_INTRODUCE of a simulated domain, whose ring page and port any numbers name. */
void xsbatch_introduce(struct xsbatch *b, uint32_t domid, uint32_t port);

/* Do them all, also those after one that fails. 0; the first error that xenstored answered, with
 * `failed` saying where; -errno when the connection is dead (then it stays so). */
int xsbatch_commit(struct xsbatch *b);
