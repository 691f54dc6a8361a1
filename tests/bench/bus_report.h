/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What the benchmark of the bus prints: tables for people, or one JSON document.
 */
#include "libcommon/base.h"

#define REPORT_ROUNDS_MAX 25

/* A figure of all rounds; 0 rounds = there is none. */
struct report_series {
	double values[REPORT_ROUNDS_MAX];
	size_t n;
};

struct report_column {
	const char *key;  /* of JSON */
	const char *head; /* of the table */
	int decimals;
};

struct report {
	bool is_json;
	const struct report_column *columns;
	size_t n_columns;
	size_t n_tables, n_rows, n_targets;
};

void report_series_add(struct report_series *s, double value);
/* NAN when there is none. */
double report_median(const struct report_series *s);
/* Median of ours / peer's, round by round. */
double report_ratio(const struct report_series *ours, const struct report_series *peer);

/* load: of the machine before the benchmark. */
void report_open(struct report *r, bool is_json, int cpu, double load, size_t n_rounds);
/* id is of JSON. The columns must live as long as rows are added. */
void report_table(struct report *r, const char *id, const char *title,
		  const struct report_column *columns, size_t n_columns);
/* As many values as there are columns, NAN = none. trouble, if not NULL, takes their place. */
void report_row(struct report *r, const char *name, const double *values, const char *trouble);
/* A value that has to be at most (or at least) the limit. */
void report_target(struct report *r, const char *what, double value, bool is_at_most, double limit);
void report_close(struct report *r);
