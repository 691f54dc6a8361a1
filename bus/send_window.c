/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Invariant: `bytes` is the sum of the n entries before head.
 */
#include "bus/send_window.h"

int send_window_init(struct send_window *w, size_t n_max, uint64_t bytes_max)
{
	*w = (struct send_window){ .n_max = n_max, .bytes_max = bytes_max };
	w->sizes = calloc(n_max, sizeof(*w->sizes));
	return w->sizes ? 0 : -ENOMEM;
}

void send_window_deinit(struct send_window *w)
{
	free(w->sizes);
	*w = (struct send_window){ 0 };
}

static void drop_oldest(struct send_window *w)
{
	w->bytes -= w->sizes[(w->head + w->n_max - w->n) % w->n_max];
	w->n--;
}

size_t send_window_push(struct send_window *w, size_t len)
{
	if (w->n == w->n_max) {
		drop_oldest(w);
	}
	w->sizes[w->head] = (uint32_t)len;
	w->head = (w->head + 1) % w->n_max;
	w->bytes += len;
	w->n++;
	while (w->bytes > w->bytes_max && w->n > 1) {
		drop_oldest(w);
		w->is_short = true;
	}
	if (w->n == w->n_max) {
		w->is_short = false;
	}
	return w->is_short ? w->n : w->n_max;
}
