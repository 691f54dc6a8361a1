/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The methods of xenmesh.v1.Metrics. Their userdata is a struct view.
 */
#include "bus/server.h"
#include "services/metrics/view.h"

extern const struct bus_handler metrics_api_handlers[];
extern const size_t metrics_api_n_handlers;
