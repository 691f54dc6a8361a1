/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Between xenstore.c, which must not need sd-event, and xenstore_loop.c only.
 */
#include "libcommon/xenstore.h"

struct xenstore_hooks {
	/* xenstore_fd() is another one from now on; the old one gets closed after the call. */
	void (*fd_changed)(void *userdata);
	/* xenstore_close() is at work; last call. */
	void (*closed)(void *userdata);
	void *userdata;
};

/* -EALREADY when there are some. NULL takes them away. */
int xenstore_set_hooks(struct xenstore *xs, const struct xenstore_hooks *hooks);
