/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A VM's definition as libxl wants it: PV or PVH with a kernel given directly.
 */
#include "services/ops/worker/libxl_api.h"
#include "xenmesh/v1/ops.pb-c.h"

/* c: accepted by vmconfig_check() and with a UUID. *out is initialised here also on failure and
 * belongs to libxl_domain_config_dispose(). 0, -ENOMEM or -EINVAL. A vif without MAC gets
 * vmconfig_mac()'s. */
int worker_config_build(libxl_domain_config *out, const Xenmesh__V1__VmConfig *c);
