/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * How long a queue of publications may be so that the newest of them never
 * take more than a given number of bytes: a subscriber that hangs must not
 * hold a thousand samples of three megabytes in our memory.
 */
#include "libcommon/base.h"

struct send_window {
	uint32_t *sizes; /* ring of the newest messages */
	size_t n_max;
	size_t head, n;
	uint64_t bytes, bytes_max;
	bool is_short; /* older messages were left out for their bytes */
};

int send_window_init(struct send_window *w, size_t n_max, uint64_t bytes_max);
void send_window_deinit(struct send_window *w);
/* One more message. How many of the newest, it included, fit: 1..n_max. */
size_t send_window_push(struct send_window *w, size_t len);
