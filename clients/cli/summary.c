/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "clients/cli/summary.h"

#include "clients/cli/cli.h"

static int compare_times(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static double percentile_us(const uint64_t *times_ns, size_t n, size_t percent)
{
	size_t i = (n * percent + 99) / 100 - 1;

	return (double)times_ns[i] / 1e3;
}

struct summary summary_of(uint64_t *times_ns, size_t n)
{
	struct summary s = { .n = n };
	double sum = 0;

	if (!n) {
		return s;
	}
	qsort(times_ns, n, sizeof(*times_ns), compare_times);
	for (size_t i = 0; i < n; i++) {
		sum += (double)times_ns[i];
	}
	s.min_us = (double)times_ns[0] / 1e3;
	s.avg_us = sum / (double)n / 1e3;
	s.max_us = (double)times_ns[n - 1] / 1e3;
	s.p50_us = percentile_us(times_ns, n, 50);
	s.p99_us = percentile_us(times_ns, n, 99);
	return s;
}

void summary_to_json(const struct summary *s, struct json_object *o)
{
	const struct {
		const char *name;
		double value;
	} rows[] = {
		{ "min_us", s->min_us }, { "avg_us", s->avg_us }, { "max_us", s->max_us },
		{ "p50_us", s->p50_us }, { "p99_us", s->p99_us },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		json_object_object_add(o, rows[i].name,
				       s->n ? cli_json_double(rows[i].value) : NULL);
	}
}
