/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * One address that is dialled, for ever.
 */
#include "bus/sp_pool.h"
#include "bus/sp_resolve.h"

struct sp_dialer {
	struct list link; /* of the owner */
	struct sp_pool *pool;
	char *url;
	struct sp_address where;
	struct sp_conn *conn; /* NULL: none at the moment */
	uint64_t up_since_ns; /* 0 = not up */
	uint64_t delay_ms;
	sd_event_source *timer;
	struct sp_resolve *resolve;
	struct sp_addresses found; /* of a tcp host */
	size_t next;		   /* of them to try */
	char complaint[200];	   /* told last */
};

/* Connects at once. The connection's owner is the dialer. 0; -EPROTONOSUPPORT; -ENAMETOOLONG;
 * -EINVAL: no address; -errno of the TLS files (logged); -ENOMEM. */
int sp_dialer_new(struct sp_dialer **out, struct sp_pool *pool, const char *url);
/* Its connection stays. Returns NULL. */
struct sp_dialer *sp_dialer_free(struct sp_dialer *d);
/* For the owner, of what happened to d->conn. */
void sp_dialer_on_up(struct sp_dialer *d);
void sp_dialer_on_down(struct sp_dialer *d);
