/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The files of [tls] for nng.
 */
#include "bus/nng_lib.h"
#include "bus/tls.h"

/* What nng needs for a tls+tcp:// URL, to be freed; *out is NULL for others.
 * 0; -ENOKEY (logged); -errno. */
int nng_tls_prepare(struct bus_tls *tls, const char *url, nng_tls_mode mode, nng_tls_config **out);
