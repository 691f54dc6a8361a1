/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * From what ops and the guests tell to readings of data sources.  Names and
 * units are xcp-rrdd's.
 */
#include "services/metrics/objects.h"
#include "xenmesh/v1/guest.pb-c.h"
#include "xenmesh/v1/ops.pb-c.h"

/* total_kib: memory of the host, 0 = not known yet. */
void sources_from_sample(struct objects *o, const Xenmesh__V1__HostSample *sample,
			 uint64_t total_kib);
void sources_from_guest(struct objects *o, const Xenmesh__V1__GuestInfo *guest, uint64_t at_ns);
