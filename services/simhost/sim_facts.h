/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What a simulated guest's agent would find in its /proc, /etc/os-release and
 * network: pure, always the same for the same domain.
 */
#include "services/guest-agent/logic/facts.h"
#include "xenmesh/host/host.pb-c.h"

/* All but memory.  Addresses are of 10.0.0.0/8 and fd00::/8, made from the MAC.  0 or -ENOMEM. */
int sim_facts_make(const Xenmesh__Host__Domain *d, struct guest_facts *out);
/* Free memory: step is the number of the look, usage what the CPUs do, 0..1. */
uint64_t sim_facts_free_kib(const Xenmesh__Host__Domain *d, uint64_t step, double usage);
