/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Answers of mutating calls in memory, for services whose work does not
 * outlive them: BUS_DEDUP_SECONDS long, at most BUS_DEDUP_MAX of them and
 * DEDUP_BYTES_MAX together; beyond that the oldest go first.
 */
#include <sys/types.h>

#include "bus/server.h"
#include "libcommon/base.h"

#define DEDUP_BYTES_MAX	      (32U << 20) /* answers of mutating calls are below 1 KiB */
#define DEDUP_FINGERPRINT_LEN 16

struct dedup;

/* NULL when out of memory. */
struct dedup *dedup_new(void);
struct dedup *dedup_free(struct dedup *d);
/* Lives as long as d. */
struct bus_dedup dedup_interface(struct dedup *d);

/* What a request id was used for, the same on every start: the caller's uid (4 bytes) and 96 bits
 * of SipHash-2-4-128 of method and payload. The hash only tells mistakes apart: who collides on
 * purpose deceives himself, because the uid is compared as it is. */
void dedup_fingerprint(const char *method, const void *payload, size_t len, uid_t uid,
		       uint8_t out[static DEDUP_FINGERPRINT_LEN]);
