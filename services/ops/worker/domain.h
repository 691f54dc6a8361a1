/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Looking at a domain, and making it go away for certain.  Used by all
 * operations.
 */
#include "services/ops/worker/xl.h"

#define DOMAIN_GONE_LIMIT_MS 10000 /* for the hypervisor to forget a destroyed domain */

/* 0; ERROR_DOMAIN_NOTFOUND: no such domid, or it has another UUID; another error of libxl.
 * *info is initialised here also on failure: libxl_dominfo_dispose() it. */
int domain_look(struct xl *xl, uint32_t domid, const char *uuid, libxl_dominfo *info);
/* Destroy and wait until the hypervisor has it no more. 0, also when it was gone already;
 * ERROR_TIMEDOUT: it is dead but something still holds its memory. Not cancellable. */
int domain_destroy(struct xl *xl, uint32_t domid, const char *uuid);
/* Let it run, however often it was paused. ERROR_NOT_READY: it is paused all the same. Not
 * cancellable. */
int domain_unpause(struct xl *xl, uint32_t domid, const char *uuid);
