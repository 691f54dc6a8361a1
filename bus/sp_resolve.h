/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The addresses of a host, without blocking the loop.
 */
#include <sys/socket.h>
#include <systemd/sd-event.h>

#include "bus/sp_address.h"

#define SP_ADDRESSES_MAX 8

struct sp_addresses {
	size_t n;
	struct sockaddr_storage list[SP_ADDRESSES_MAX];
};

/* Of a literal address: never blocks. 0; 1 = it is a name. */
int sp_resolve_literal(const struct sp_address *where, struct sp_addresses *out);

struct sp_resolve;

/* fn is told once, from the loop: the addresses, or none and why. It may free the look-up. A
 * thread does the work and ends with it. */
int sp_resolve_new(struct sp_resolve **out, sd_event *loop, const struct sp_address *where,
		   void (*fn)(const struct sp_addresses *found, const char *why, void *userdata),
		   void *userdata);
/* No callback comes after it. NULL is allowed. Returns NULL. */
struct sp_resolve *sp_resolve_free(struct sp_resolve *r);
