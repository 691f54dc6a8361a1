/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/bench/bench.h"

#include <stdio.h>

void bench_times_init(struct bench_times *t, size_t n)
{
	*t = (struct bench_times){ .ns = calloc(n, sizeof(*t->ns)), .size = n };
	if (!t->ns) {
		perror("bench");
		exit(EXIT_FAILURE);
	}
}

void bench_times_deinit(struct bench_times *t)
{
	free(t->ns);
	*t = (struct bench_times){ 0 };
}

void bench_times_add(struct bench_times *t, uint64_t ns)
{
	if (t->n < t->size) {
		t->ns[t->n++] = ns;
	}
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

uint64_t bench_percentile(struct bench_times *t, double percent)
{
	size_t i = (size_t)((double)t->n * percent / 100);

	qsort(t->ns, t->n, sizeof(*t->ns), compare);
	return t->n ? t->ns[MIN(i, t->n - 1)] : 0;
}

void bench_print(const char *name, struct bench_times *t, const char *peer_name,
		 struct bench_times *peer)
{
	double p50 = (double)bench_percentile(t, 50) / 1000;
	double p99 = (double)bench_percentile(t, 99) / 1000;

	printf("%-40s p50 %9.1f us  p99 %9.1f us", name, p50, p99);
	if (peer && peer->n) {
		printf("  %.2f x %s", p50 / ((double)bench_percentile(peer, 50) / 1000), peer_name);
	}
	putchar('\n');
	fflush(stdout);
}
