/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "clients/cli/follow.h"

#include <signal.h>
#include <sys/signalfd.h>

#include "bus/codes.h"
#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/loop.h"
#include "libcommon/parse.h"

#define ASK_TIMEOUT_MS 5000

static void on_event(struct bus_sub *s _unused_, const struct bus_sub_event *e, void *userdata)
{
	struct follow_source *source = userdata;

	source->is_reached = source->is_reached || e->what != BUS_SUB_DOWN;
	source->owner->fn(source, e, source->owner->userdata);
}

static bool is_remote(const struct topology_service *s)
{
	return strchr(s->name, '/') || !topology_url_path(s->pub.urls[0]);
}

static int add_source(struct follow *f, struct cli *cli, const struct topology_service *where,
		      char *const *prefixes, size_t n_prefixes)
{
	struct follow_source *source = &f->sources[f->n];
	int r;

	*source = (struct follow_source){ .owner = f,
					  .service = where->name,
					  .is_remote = is_remote(where) };
	r = bus_sub_new(&source->sub, cli->loop, cli->topology, where->name,
			(const char *const *)prefixes, n_prefixes, CLI_NAME, on_event, source);
	if (r == -EINVAL) {
		return cli_usage("too many topic prefixes, or one is too long");
	}
	if (r < 0) {
		cli_error("%s: cannot subscribe: %s", where->name, err_text(r));
		return CLI_FAILURE;
	}
	f->n++;
	return CLI_OK;
}

int follow_open(struct follow *f, struct cli *cli, const char *only, char *const *prefixes,
		size_t n_prefixes, follow_fn fn, void *userdata)
{
	size_t n = topology_n_services(cli->topology);
	int unknown = only ? cli_check_service(cli, only) : CLI_OK;

	*f = (struct follow){ .fn = fn, .userdata = userdata };
	if (unknown) {
		return unknown;
	}
	f->sources = calloc(n + 1, sizeof(*f->sources));
	if (!f->sources) {
		cli_error("out of memory");
		return CLI_FAILURE;
	}
	for (size_t i = 0; i < n; i++) {
		const struct topology_service *where = topology_service_at(cli->topology, i);
		int r;

		if ((only && !streq(where->name, only)) || where->pub.n_urls == 0) {
			continue;
		}
		r = add_source(f, cli, where, prefixes, n_prefixes);
		if (r) {
			return r;
		}
	}
	return CLI_OK;
}

static void on_pong(struct bus_client *client _unused_, const struct bus_result *result,
		    void *userdata)
{
	struct follow_source *source = userdata;
	struct follow *f = source->owner;
	size_t n_denied = 0;

	if (result->code != CODE_PERMISSION_DENIED) {
		return; /* one that is away may come */
	}
	source->is_denied = true;
	cli_error("%s: %s", source->service, cli_bare_message(source->service, result->message));
	for (size_t i = 0; i < f->n; i++) {
		n_denied += f->sources[i].is_denied;
	}
	if (n_denied == f->n) {
		sd_event_exit(f->loop, CLI_DENIED);
	}
}

int follow_ask(struct follow *f, struct cli *cli)
{
	const struct bus_call_options options = { .timeout_ms = ASK_TIMEOUT_MS };
	Xenmesh__V1__PingRequest ping = XENMESH__V1__PING_REQUEST__INIT;
	int r = 0;

	f->loop = cli->loop;
	for (size_t i = 0; i < f->n && r == 0; i++) {
		struct follow_source *s = &f->sources[i];

		r = bus_client_new(&s->client, cli->loop, cli->topology, s->service, CLI_NAME);
		if (r == 0) {
			r = bus_client_call(s->client, "xenmesh.v1.Bus/Ping", &ping.base, &options,
					    on_pong, s, NULL);
		}
	}
	if (r < 0) {
		cli_error("cannot ask the services: %s", err_text(r));
	}
	return r < 0 ? CLI_FAILURE : CLI_OK;
}

void follow_close(struct follow *f)
{
	for (size_t i = 0; i < f->n; i++) {
		bus_sub_free(f->sources[i].sub);
		bus_client_free(f->sources[i].client);
	}
	free(f->sources);
	*f = (struct follow){ 0 };
}

int follow_signals_catch(struct cli *cli, sd_event_source *sources[static 2],
			 sd_event_signal_handler_t fn, void *userdata)
{
	static const int signals[] = { SIGINT, SIGTERM };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
		sigaddset(&set, signals[i]);
	}
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
		int r = sd_event_add_signal(cli->loop, &sources[i], signals[i], fn, userdata);

		if (r < 0) {
			cli_error("cannot wait for signals: %s", err_text(r));
			return r;
		}
	}
	return 0;
}

void follow_signals_release(sd_event_source *sources[static 2])
{
	sd_event_source_disable_unref(sources[0]);
	sd_event_source_disable_unref(sources[1]);
}

int follow_run(struct cli *cli, int interrupted)
{
	sd_event_source *sources[2] = { NULL };
	int r = follow_signals_catch(cli, sources, NULL, (void *)(intptr_t)interrupted);

	if (r == 0) {
		r = sd_event_loop(cli->loop);
		if (r < 0) {
			cli_error("%s", err_text(r));
		}
	}
	follow_signals_release(sources);
	return r < 0 ? CLI_FAILURE : r;
}

static int on_until_time(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
	*(bool *)userdata = true;
	return 0;
}

static int on_until_signal(sd_event_source *source _unused_,
			   const struct signalfd_siginfo *info _unused_, void *userdata)
{
	*(bool *)userdata = true;
	return 0;
}

int follow_until(struct cli *cli, bool *is_over, uint64_t boot_ns)
{
	_cleanup_(loop_source_unrefp) sd_event_source *timer = NULL;
	sd_event_source *sources[2] = { NULL };
	uint64_t now = clock_boot_ns();
	bool is_due = boot_ns > 0 && boot_ns <= now;
	int r = follow_signals_catch(cli, sources, on_until_signal, is_over);

	if (r >= 0 && boot_ns > now) {
		r = loop_after(cli->loop, &timer, (boot_ns - now) / 1000 + 1, on_until_time,
			       &is_due);
	}
	while (r >= 0 && !is_due && !*is_over) {
		r = sd_event_run(cli->loop, UINT64_MAX);
	}
	follow_signals_release(sources);
	return r < 0 ? r : 0;
}

static int on_time_over(sd_event_source *source, uint64_t usec _unused_, void *userdata)
{
	return sd_event_exit(sd_event_source_get_event(source), (int)(intptr_t)userdata);
}

int follow_end_after(struct cli *cli, sd_event_source **source, uint64_t ms, int status)
{
	int r = ms ? loop_after(cli->loop, source, ms * USEC_PER_MSEC, on_time_over,
				(void *)(intptr_t)status)
		   : 0;

	if (r < 0) {
		cli_error("cannot make a timer: %s", err_text(r));
	}
	return r < 0 ? CLI_FAILURE : CLI_OK;
}

int follow_judge(const struct follow *f, int status, int over)
{
	_cleanup_(strbuf_deinit) struct strbuf missing = STRBUF_NULL;
	size_t n_missing = 0;

	if (status != FOLLOW_TIME_OVER) {
		return status;
	}
	for (size_t i = 0; i < f->n; i++) {
		if (!f->sources[i].is_reached) {
			strbuf_printf(&missing, "%s%s", n_missing ? ", " : "",
				      f->sources[i].service);
			n_missing++;
		}
	}
	if (n_missing == 0) {
		return over;
	}
	if (n_missing < f->n) {
		cli_error("warning: not reached in this time: %s; `xenmesh bus ls` tells why",
			  strbuf_str(&missing));
		return over;
	}
	cli_error("no service could be reached in this time: %s; `xenmesh bus ls` tells why",
		  strbuf_str(&missing));
	return CLI_UNREACHABLE;
}

int follow_duration(const char *text, uint64_t *ms)
{
	if (text && (parse_duration_ms(text, ms) || !*ms)) {
		return cli_usage("--for wants a time as 10s, got \"%s\"", text);
	}
	return CLI_OK;
}

int follow_count(const char *text, uint64_t *count)
{
	*count = 0;
	if (text && (parse_u64(text, strlen(text), UINT64_MAX, count) || *count == 0)) {
		return cli_usage("--count wants a number from 1, got \"%s\"", text);
	}
	return CLI_OK;
}

/* The value behind the option, if arg is it; *is_next: the value is the next word. */
static const char *value_of(const char *arg, const char *name, char letter, bool *is_next)
{
	size_t len = strlen(name);

	*is_next = false;
	if (arg[0] == '-' && letter && arg[1] == letter) {
		*is_next = !arg[2];
		return arg + 2;
	}
	if (!str_starts(arg, "--") || strncmp(arg + 2, name, len) != 0) {
		return NULL;
	}
	*is_next = !arg[2 + len];
	return *is_next || arg[2 + len] == '=' ? arg + 3 + len : NULL;
}

static bool split(char *text, const char **values, size_t max, size_t *n)
{
	char *rest = text;

	for (char *word = strsep(&rest, ","); word; word = strsep(&rest, ",")) {
		if (*n == max) {
			return false;
		}
		values[(*n)++] = word;
	}
	return true;
}

int follow_repeated(int *argc, char **argv, const char *name, char letter, const char **values,
		    size_t max, size_t *n)
{
	bool is_over = false;
	int kept = 0;

	*n = 0;
	for (int i = 0; i < *argc; i++) {
		bool is_next;
		const char *value = is_over ? NULL : value_of(argv[i], name, letter, &is_next);

		is_over = is_over || streq(argv[i], "--");
		if (!value) {
			argv[kept++] = argv[i];
			continue;
		}
		if (is_next && ++i == *argc) {
			return cli_usage("--%s wants a value", name);
		}
		if (!split(is_next ? argv[i] : (char *)value, values, max, n)) {
			return cli_usage("more than %zu times --%s", max, name);
		}
	}
	*argc = kept;
	return CLI_OK;
}
