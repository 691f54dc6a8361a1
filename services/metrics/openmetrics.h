/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * OpenMetrics 1.0 text of the newest sample: true counters and base units, so
 * that Prometheus computes rates itself.  Series are labelled by uuid; names
 * of domains are only in xen_domain_info, because they change.
 */
#include "libcommon/strbuf.h"
#include "services/metrics/view.h"

#define OPENMETRICS_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"

/* Ends with "# EOF\n". 0 or -ENOMEM. */
int openmetrics_write(struct strbuf *out, const struct view *view);
