/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "clients/cli/window.h"

#include <math.h>

int window_init(struct window *w, size_t size)
{
	*w = (struct window){ .size = size };
	if (size == 0) {
		return -EINVAL;
	}
	w->values = calloc(size, sizeof(*w->values));
	w->sorted = calloc(size, sizeof(*w->sorted));
	if (!w->values || !w->sorted) {
		window_deinit(w);
		return -ENOMEM;
	}
	return 0;
}

void window_deinit(struct window *w)
{
	free(w->values);
	free(w->sorted);
	*w = (struct window){ 0 };
}

void window_add(struct window *w, double value)
{
	w->values[w->at] = value;
	w->at = (w->at + 1) % w->size;
	w->n = MIN(w->n + 1, w->size);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a;
	double y = *(const double *)b;

	return (x > y) - (x < y);
}

static double quantile(const double *sorted, size_t n, double q)
{
	size_t rank = (size_t)ceil(q * (double)n);

	return sorted[rank > 0 ? rank - 1 : 0];
}

void window_stats(struct window *w, struct window_stats *out)
{
	double squares = 0;

	*out = (struct window_stats){ .n = w->n };
	if (w->n == 0) {
		return;
	}
	memcpy(w->sorted, w->values, w->n * sizeof(*w->sorted));
	qsort(w->sorted, w->n, sizeof(*w->sorted), by_value);
	for (size_t i = 0; i < w->n; i++) {
		out->sum += w->sorted[i];
	}
	out->avg = out->sum / (double)w->n;
	for (size_t i = 0; i < w->n; i++) {
		squares += (w->sorted[i] - out->avg) * (w->sorted[i] - out->avg);
	}
	out->stddev = sqrt(squares / (double)w->n);
	out->min = w->sorted[0];
	out->max = w->sorted[w->n - 1];
	out->p50 = quantile(w->sorted, w->n, 0.50);
	out->p99 = quantile(w->sorted, w->n, 0.99);
}
