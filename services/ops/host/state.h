/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What is told of the host itself and changes rarely.
 */
#include "libcommon/arena.h"
#include "services/ops/host/hypervisor.h"
#include "xenmesh/v1/ops.pb-c.h"

/* A HostState in the arena: four hypercalls. */
int host_state_read(struct arena *a, struct hypervisor *hv, Xenmesh__V1__HostState **out);
