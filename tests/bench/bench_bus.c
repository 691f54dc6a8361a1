/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bus beside its peers: round trips one by one and with many outstanding,
 * fan-out, and what an idle service takes.  All processes share one core, and
 * the peers have their turns in each round, so that what disturbs the machine
 * disturbs all alike; the medians of the rounds are printed, and our figures
 * divided by each peer's.
 */
#include <ftw.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>

#include "libcommon/log.h"
#include "tests/bench/bus_idle.h"
#include "tests/bench/bus_process.h"
#include "tests/bench/bus_report.h"

#define N_SIZES	 3
#define N_FANS	 3
#define BURST	 100 /* events of a host with as many VMs, all at once */
#define FLOOD_N	 10  /* subscribers */
#define FLOOD_AT 1   /* in sizes[]: 1 KiB */

static const size_t sizes[N_SIZES] = { 64, 1024, BENCH_MESSAGE_MAX };
static const char *const size_names[N_SIZES] = { "64 B", "1 KiB", "64 KiB" };
static const size_t fans[N_FANS] = { 1, 10, 100 };

enum { RAW, ENGINE, RPC, NNG, ZMQ, DBUS, NATS, N_PEERS };

static const struct bench_peer *const peers[N_PEERS] = {
	[RAW] = &peer_raw, [ENGINE] = &peer_native, [RPC] = &peer_rpc,	 [NNG] = &peer_nng,
	[ZMQ] = &peer_zmq, [DBUS] = &peer_dbus,	    [NATS] = &peer_nats,
};

struct figures {
	struct report_series p50, p99, switches;     /* serial */
	struct report_series rate, switches_of_many; /* many outstanding */
};

struct fan_figures {
	struct report_series rate;
	uint64_t n_expected, n_lost, n_dropped, n_disordered;
};

struct results {
	struct bench_pair pairs[N_PEERS];
	struct figures calls[N_PEERS][N_SIZES];
	struct fan_figures fan[N_PEERS][N_FANS][N_SIZES];
	struct fan_figures flood[N_PEERS];
	struct bench_idle idle[BENCH_N_IDLE];
	uint64_t server_threads[N_PEERS], server_rss_kib[N_PEERS];
};

struct plan {
	bool is_json;
	size_t n_rounds;
	size_t n_serial[N_SIZES], n_many[N_SIZES];
	size_t n_bursts[N_FANS][N_SIZES];
	size_t n_flood; /* bursts */
};

static const struct plan full = {
	.n_rounds = 5,
	.n_serial = { 3000, 3000, 1000 },
	.n_many = { 10000, 10000, 1500 },
	.n_bursts = { { 50, 50, 10 }, { 20, 20, 3 }, { 3, 3, 1 } },
	.n_flood = 100,
};

static const struct plan quick = {
	.n_rounds = 3,
	.n_serial = { 1000, 1000, 300 },
	.n_many = { 3000, 3000, 500 },
	.n_bursts = { { 10, 10, 2 }, { 5, 5, 1 }, { 1, 1, 1 } },
	.n_flood = 50,
};

static char dir[] = "/tmp/xenmesh-bench-XXXXXX";

/* ---- measuring ---- */

static void measure_calls(struct results *res, const struct plan *plan, size_t size)
{
	for (size_t i = 0; i < N_PEERS; i++) {
		struct figures *f = &res->calls[i][size];
		struct bench_calls c;

		if (bench_pair_call(&res->pairs[i], sizes[size], plan->n_serial[size], false, &c)) {
			report_series_add(&f->p50, c.p50_us);
			report_series_add(&f->p99, c.p99_us);
			report_series_add(&f->switches, c.switches);
		}
	}
	for (size_t i = 0; i < N_PEERS; i++) {
		struct figures *f = &res->calls[i][size];
		struct bench_calls c;

		if (bench_pair_call(&res->pairs[i], sizes[size], plan->n_many[size], true, &c)) {
			report_series_add(&f->rate, c.per_second);
			report_series_add(&f->switches_of_many, c.switches);
		}
	}
}

static void add_fan(struct fan_figures *f, const struct bench_fan_out *out)
{
	report_series_add(&f->rate, out->per_second);
	f->n_expected += out->n_expected;
	f->n_lost += out->n_expected - out->n_delivered;
	f->n_dropped += out->n_dropped;
	f->n_disordered += out->n_disordered;
}

static void measure_fan(struct results *res, const struct plan *plan, size_t fan)
{
	struct bench_fan_case cases[N_SIZES + 1];
	size_t n_cases = N_SIZES;

	for (size_t i = 0; i < N_SIZES; i++) {
		cases[i] = (struct bench_fan_case){ .size = sizes[i],
						    .n_bursts = plan->n_bursts[fan][i],
						    .burst = BURST };
	}
	if (fans[fan] == FLOOD_N) {
		cases[n_cases++] = (struct bench_fan_case){ .size = sizes[FLOOD_AT],
							    .n_bursts = plan->n_flood,
							    .burst = BURST,
							    .is_flood = true };
	}
	for (size_t i = 0; i < N_PEERS; i++) {
		struct bench_fan_out out[N_SIZES + 1];

		if (!peers[i]->publisher ||
		    !bench_pair_fan_out(&res->pairs[i], fans[fan], cases, n_cases, out)) {
			continue;
		}
		for (size_t k = 0; k < N_SIZES; k++) {
			add_fan(&res->fan[i][fan][k], &out[k]);
		}
		if (n_cases > N_SIZES) {
			add_fan(&res->flood[i], &out[N_SIZES]);
		}
	}
}

static void measure(struct results *res, const struct plan *plan, const char *bin_dir)
{
	for (size_t i = 0; i < N_PEERS; i++) {
		bench_pair_start(&res->pairs[i], peers[i], dir);
	}
	for (size_t round = 0; round < plan->n_rounds; round++) {
		fprintf(stderr, "\rround %zu of %zu ", round + 1, plan->n_rounds);
		for (size_t size = 0; size < N_SIZES; size++) {
			measure_calls(res, plan, size);
		}
		for (size_t fan = 0; fan < N_FANS; fan++) {
			measure_fan(res, plan, fan);
		}
	}
	fputs("\r                    \r", stderr);
	for (size_t i = 0; i < N_PEERS; i++) {
		if (!res->pairs[i].trouble) {
			res->server_threads[i] = bench_status(res->pairs[i].server, "Threads:");
			res->server_rss_kib[i] = bench_status(res->pairs[i].server, "VmRSS:");
		}
		bench_pair_stop(&res->pairs[i]);
	}
	bench_idle_measure(bin_dir, dir, res->idle);
}

/* ---- printing ---- */

static void print_calls(struct report *r, const struct results *res, size_t size)
{
	static const struct report_column serial[] = {
		{ "p50_us", "p50 us", 1 },	{ "p99_us", "p99 us", 1 },
		{ "switches", "switches", 1 },	{ "engine_ratio", "engine/peer", 2 },
		{ "rpc_ratio", "RPC/peer", 2 },
	};
	static const struct report_column many[] = {
		{ "calls_per_s", "calls/s", 0 },
		{ "switches", "switches", 2 },
		{ "engine_ratio", "engine/peer", 2 },
		{ "rpc_ratio", "RPC/peer", 2 },
	};
	char id[48], title[64];

	snprintf(id, sizeof(id), "serial_%zu", sizes[size]);
	snprintf(title, sizeof(title), "round trip, %s, one by one", size_names[size]);
	report_table(r, id, title, serial, ARRAY_LEN(serial));
	for (size_t i = 0; i < N_PEERS; i++) {
		const struct figures *f = &res->calls[i][size];
		const double values[] = { report_median(&f->p50), report_median(&f->p99),
					  report_median(&f->switches),
					  report_ratio(&res->calls[ENGINE][size].p50, &f->p50),
					  report_ratio(&res->calls[RPC][size].p50, &f->p50) };

		report_row(r, peers[i]->name, values, res->pairs[i].trouble);
	}
	snprintf(id, sizeof(id), "outstanding_%zu", sizes[size]);
	snprintf(title, sizeof(title), "calls, %s, %d outstanding", size_names[size], BENCH_WINDOW);
	report_table(r, id, title, many, ARRAY_LEN(many));
	for (size_t i = 0; i < N_PEERS; i++) {
		const struct figures *f = &res->calls[i][size];
		const double values[] = { report_median(&f->rate),
					  report_median(&f->switches_of_many),
					  report_ratio(&res->calls[ENGINE][size].rate, &f->rate),
					  report_ratio(&res->calls[RPC][size].rate, &f->rate) };

		report_row(r, peers[i]->name, values, res->pairs[i].trouble);
	}
}

static void print_fan_rows(struct report *r, const struct results *res, const char *id,
			   const char *title, const struct fan_figures *const rows[N_PEERS])
{
	static const struct report_column columns[] = {
		{ "delivered_per_s", "delivered/s", 0 },
		{ "engine_ratio", "engine/peer", 2 },
		{ "expected", "expected", 0 },
		{ "lost", "lost", 0 },
		{ "counted", "counted", 0 },
		{ "disordered", "disordered", 0 },
	};

	report_table(r, id, title, columns, ARRAY_LEN(columns));
	for (size_t i = 0; i < N_PEERS; i++) {
		const struct fan_figures *f = rows[i];
		bool is_counted = peers[i]->drops;
		const double values[] = {
			report_median(&f->rate),
			report_ratio(&rows[ENGINE]->rate, &f->rate),
			(double)f->n_expected,
			(double)f->n_lost,
			is_counted ? (double)f->n_dropped : (double)NAN,
			(double)f->n_disordered,
		};

		if (peers[i]->publisher || res->pairs[i].trouble) {
			report_row(r, peers[i]->name, values, res->pairs[i].trouble);
		}
	}
}

static void print_fans(struct report *r, const struct results *res)
{
	const struct fan_figures *rows[N_PEERS];
	char id[48], title[64];

	for (size_t fan = 0; fan < N_FANS; fan++) {
		for (size_t size = 0; size < N_SIZES; size++) {
			for (size_t i = 0; i < N_PEERS; i++) {
				rows[i] = &res->fan[i][fan][size];
			}
			snprintf(id, sizeof(id), "fan_%zu_%zu", fans[fan], sizes[size]);
			snprintf(title, sizeof(title), "fan-out to %zu, %s, bursts", fans[fan],
				 size_names[size]);
			print_fan_rows(r, res, id, title, rows);
		}
	}
	for (size_t i = 0; i < N_PEERS; i++) {
		rows[i] = &res->flood[i];
	}
	snprintf(title, sizeof(title), "fan-out to %d, %s, no pause", FLOOD_N,
		 size_names[FLOOD_AT]);
	print_fan_rows(r, res, "flood", title, rows);
}

static void print_idle(struct report *r, const struct results *res)
{
	static const struct report_column columns[] = {
		{ "threads", "threads", 0 },
		{ "rss_mib", "RSS MiB", 1 },
		{ "anonymous_mib", "anonymous", 1 },
	};
	static const struct report_column servers[] = {
		{ "threads", "threads", 0 },
		{ "rss_mib", "RSS MiB", 1 },
	};

	report_table(r, "idle", "an idle service, ipc only", columns, ARRAY_LEN(columns));
	for (size_t i = 0; i < BENCH_N_IDLE; i++) {
		const struct bench_idle *s = &res->idle[i];
		const double values[] = { (double)s->threads, (double)s->rss_kib / 1024,
					  (double)s->private_kib / 1024 };

		report_row(r, s->name, values, s->trouble);
	}
	report_table(r, "echo_servers", "the echo servers of this run", servers,
		     ARRAY_LEN(servers));
	for (size_t i = 0; i < N_PEERS; i++) {
		const double values[] = { (double)res->server_threads[i],
					  (double)res->server_rss_kib[i] / 1024 };

		report_row(r, peers[i]->name, values, res->pairs[i].trouble);
	}
}

static void print_targets(struct report *r, const struct results *res)
{
	const struct figures *engine = &res->calls[ENGINE][0], *rpc = &res->calls[RPC][0];
	const struct fan_figures *ours = &res->fan[ENGINE][1][FLOOD_AT];
	const struct fan_figures *flood = &res->flood[ENGINE];
	double threads = 0, rss = 0;

	for (size_t i = 0; i < BENCH_N_IDLE; i++) {
		const struct bench_idle *s = &res->idle[i];

		threads = s->trouble ? (double)NAN : MAX(threads, (double)s->threads);
		rss = s->trouble ? (double)NAN : MAX(rss, (double)s->rss_kib / 1024);
	}
	report_target(r, "round trip 64 B: engine / raw epoll",
		      report_ratio(&engine->p50, &res->calls[RAW][0].p50), true, 1.3);
	report_target(r, "round trip 64 B: nng / engine",
		      report_ratio(&res->calls[NNG][0].p50, &engine->p50), false, 3);
	report_target(r, "round trip 64 B: dbus-broker / engine",
		      report_ratio(&res->calls[DBUS][0].p50, &engine->p50), false, 1);
	report_target(r, "64 outstanding, 64 B: RPC / nng",
		      report_ratio(&rpc->rate, &res->calls[NNG][0].rate), false, 1);
	report_target(r, "fan-out to 10, 1 KiB: engine / nng",
		      report_ratio(&ours->rate, &res->fan[NNG][1][FLOOD_AT].rate), false, 2);
	report_target(r, "fan-out to 10, 1 KiB: lost and not counted",
		      (double)(ours->n_lost - ours->n_dropped) +
			      (double)(flood->n_lost - flood->n_dropped),
		      true, 0);
	report_target(r, "threads of an idle service", threads, true, 2);
	report_target(r, "RSS of an idle service, MiB", rss, true, 6);
}

static void print(const struct results *res, const struct plan *plan, int cpu, double load)
{
	struct report r;

	report_open(&r, plan->is_json, cpu, load, plan->n_rounds);
	for (size_t size = 0; size < N_SIZES; size++) {
		print_calls(&r, res, size);
	}
	print_fans(&r, res);
	print_idle(&r, res);
	print_targets(&r, res);
	report_close(&r);
}

/* ---- main ---- */

static int remove_one(const char *path, const struct stat *st _unused_, int flag _unused_,
		      struct FTW *ftw _unused_)
{
	return remove(path);
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' },
						 { "quick", no_argument, NULL, 'q' },
						 { "rounds", required_argument, NULL, 'r' },
						 { 0 } };
	static struct results res;
	struct plan plan = full;
	char bin_dir[PATH_MAX];
	bool is_json = false;
	size_t n_rounds = 0;
	double load = 0;
	int option, cpu;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'j':
			is_json = true;
			break;
		case 'q':
			plan = quick;
			break;
		case 'r':
			n_rounds = strtoul(optarg, NULL, 10);
			break;
		default:
			fputs("usage: bench_bus [--quick] [--rounds N] [--json]\n", stderr);
			return EXIT_FAILURE;
		}
	}
	plan.is_json = is_json;
	plan.n_rounds = MIN(n_rounds ? n_rounds : plan.n_rounds, (size_t)REPORT_ROUNDS_MAX);
	log_init("bench_bus");
	log_set_level(LOG_LEVEL_ERROR);
	snprintf(bin_dir, sizeof(bin_dir), "%s/../..", dirname(argv[0]));
	signal(SIGPIPE, SIG_IGN);
	bench_expect(mkdtemp(dir), dir);
	getloadavg(&load, 1);
	cpu = bench_pin();
	measure(&res, &plan, bin_dir);
	print(&res, &plan, cpu, load);
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return EXIT_SUCCESS;
}
