/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/bench/bus_report.h"

#include <math.h>
#include <stdio.h>
#include <sys/utsname.h>

void report_series_add(struct report_series *s, double value)
{
	if (s->n < REPORT_ROUNDS_MAX) {
		s->values[s->n++] = value;
	}
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double report_median(const struct report_series *s)
{
	struct report_series sorted = *s;

	if (s->n == 0) {
		return (double)NAN;
	}
	qsort(sorted.values, sorted.n, sizeof(*sorted.values), compare);
	return (sorted.values[(sorted.n - 1) / 2] + sorted.values[sorted.n / 2]) / 2;
}

double report_ratio(const struct report_series *ours, const struct report_series *peer)
{
	struct report_series ratios = { .n = MIN(ours->n, peer->n) };

	for (size_t i = 0; i < ratios.n; i++) {
		ratios.values[i] = ours->values[i] / peer->values[i];
	}
	return report_median(&ratios);
}

static void read_cpu(char *out, size_t size)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[256];

	snprintf(out, size, "unknown CPU");
	while (f && fgets(line, sizeof(line), f)) {
		char *value = strstr(line, ": ");

		if (str_starts(line, "model name") && value) {
			value[strcspn(value, "\n\"\\")] = '\0';
			snprintf(out, size, "%s", value + 2);
			break;
		}
	}
	if (f) {
		fclose(f);
	}
}

void report_open(struct report *r, bool is_json, int cpu, double load, size_t n_rounds)
{
	struct utsname name;
	char model[128];

	*r = (struct report){ .is_json = is_json };
	uname(&name);
	read_cpu(model, sizeof(model));
	if (is_json) {
		printf("{\n  \"cpu\": \"%s\",\n  \"kernel\": \"%s\",\n  \"core\": %d,\n"
		       "  \"load_before\": %.1f,\n  \"rounds\": %zu,\n  \"tables\": {",
		       model, name.release, cpu, load, n_rounds);
		return;
	}
	printf("%s, Linux %s, load before %.1f; ", model, name.release, load);
	if (cpu >= 0) {
		printf("everything pinned to core %d", cpu);
	} else {
		printf("NOT pinned to one core");
	}
	printf("; medians of %zu rounds, peers in turn.\n"
	       "engine/peer and RPC/peer: our figure divided by that of the row, round by round.\n",
	       n_rounds);
}

static void close_table(struct report *r)
{
	if (r->is_json && r->n_tables > 0) {
		fputs("\n    ]", stdout);
	}
}

void report_table(struct report *r, const char *id, const char *title,
		  const struct report_column *columns, size_t n_columns)
{
	close_table(r);
	r->columns = columns;
	r->n_columns = n_columns;
	r->n_rows = 0;
	if (r->is_json) {
		printf("%s\n    \"%s\": [", r->n_tables > 0 ? "," : "", id);
	} else {
		printf("\n%-32s", title);
		for (size_t i = 0; i < n_columns; i++) {
			printf(" %11s", columns[i].head);
		}
		putchar('\n');
	}
	r->n_tables++;
}

void report_row(struct report *r, const char *name, const double *values, const char *trouble)
{
	if (r->is_json) {
		printf("%s\n      {\"name\": \"%s\"", r->n_rows > 0 ? "," : "", name);
		if (trouble) {
			printf(", \"trouble\": \"%s\"", trouble);
		}
	} else {
		printf("  %-30s", name);
		if (trouble) {
			printf(" %s", trouble);
		}
	}
	for (size_t i = 0; i < r->n_columns && !trouble; i++) {
		const struct report_column *c = &r->columns[i];

		if (r->is_json && !isnan(values[i])) {
			printf(", \"%s\": %.*f", c->key, c->decimals + 1, values[i]);
		} else if (!r->is_json && isnan(values[i])) {
			printf(" %11s", "-");
		} else if (!r->is_json) {
			printf(" %11.*f", c->decimals, values[i]);
		}
	}
	fputs(r->is_json ? "}" : "\n", stdout);
	fflush(stdout);
	r->n_rows++;
}

void report_target(struct report *r, const char *what, double value, bool is_at_most, double limit)
{
	bool is_met = is_at_most ? value <= limit : value >= limit;
	const char *bound = is_at_most ? "at most" : "at least";

	if (r->is_json) {
		if (r->n_targets == 0) {
			close_table(r);
			fputs("\n  },\n  \"targets\": [", stdout);
		}
		printf("%s\n    {\"what\": \"%s\", \"value\": ", r->n_targets > 0 ? "," : "", what);
		printf(isnan(value) ? "null" : "%.3f", value);
		printf(", \"%s\": %g, \"met\": %s}", is_at_most ? "at_most" : "at_least", limit,
		       is_met ? "true" : "false");
	} else {
		if (r->n_targets == 0) {
			puts("\nTargets");
		}
		if (isnan(value)) {
			printf("  unknown  %-52s %s %g\n", what, bound, limit);
		} else {
			printf("  %s   %-52s %8.2f, %s %g\n", is_met ? "met   " : "MISSED", what,
			       value, bound, limit);
		}
	}
	r->n_targets++;
}

void report_close(struct report *r)
{
	if (r->is_json) {
		puts("\n  ]\n}");
	}
}
