/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What `xenmesh bus top` shows: counts of the messages that came, and two
 * samples of each service's counters, made into rates.  Pure.
 */
#include "clients/cli/window.h"
#include "xenmesh/v1/bus.pb-c.h"

#define BUSTOP_SEGMENTS_MAX   128 /* a service has a handful; what comes beyond is one row */
#define BUSTOP_METHODS_MAX    512
#define BUSTOP_PUBLISHERS_MAX 16
#define BUSTOP_NAME_MAX	      128
#define BUSTOP_WINDOW	      1000 /* sizes of the last messages of a segment */

struct bustop_segment {
	char name[BUSTOP_NAME_MAX];
	size_t publishers[BUSTOP_PUBLISHERS_MAX]; /* indices of services */
	size_t n_publishers;
	uint64_t n_messages, n_bytes; /* since the last frame */
	struct window sizes;
	/* Of the frame: */
	uint64_t subscribers;
	double rate, byte_rate;
	struct window_stats size;
};

struct bustop_service {
	const char *name;
	bool is_up;
	uint64_t n_gaps, n_missed; /* that this program had */
	uint64_t subscribers, dropped, queued_bytes, high_bytes, in_flight, rss_kib;
	uint64_t calls, calls_before, errors;
	unsigned int n_samples; /* of the same process */
	uint64_t uptime_s;
	double call_rate; /* NAN = not known */
};

struct bustop_method {
	size_t service;
	char name[BUSTOP_NAME_MAX]; /* "StartVm" */
	uint64_t calls, calls_before, errors, in_flight, p50_us, p99_us;
	bool is_new; /* calls_before is of no sample */
	double rate;
};

/* By service, for segments that tell their subscribers. */
struct bustop_count {
	size_t service;
	char segment[BUSTOP_NAME_MAX];
	uint64_t subscribers;
};

struct bustop {
	struct bustop_service *services;
	size_t n_services;
	struct bustop_segment *segments;
	size_t n_segments;
	struct bustop_method *methods;
	size_t n_methods;
	struct bustop_count *counts;
	size_t n_counts;
};

enum bustop_sort { BUSTOP_BY_RATE, BUSTOP_BY_BYTES, BUSTOP_BY_NAME };

/* In their order, then NULL. */
extern const char *const bustop_sort_names[];

/* 0 or -ENOMEM. The services' names are set by the caller. */
int bustop_init(struct bustop *b, size_t n_services);
/* Idempotent. */
void bustop_deinit(struct bustop *b);
/* A live message. */
void bustop_message(struct bustop *b, size_t service, const char *topic, size_t size);
void bustop_gap(struct bustop *b, size_t service, uint64_t missed);
/* A sample of its counters; NULL: it does not answer. */
void bustop_stats(struct bustop *b, size_t service, const Xenmesh__V1__StatsReply *reply);
/* Rates over the seconds since the last frame; then counting begins anew. */
void bustop_frame(struct bustop *b, double seconds);
/* Put segments and methods in order; bytes are of segments only. */
void bustop_order(struct bustop *b, enum bustop_sort sort);
