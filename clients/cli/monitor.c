/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "clients/cli/monitor.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "clients/cli/event_text.h"
#include "clients/cli/follow.h"
#include "libcommon/parse.h"

#define OPTIONS_MAX  16
#define WIDE_COLUMNS 140 /* a state's topic, its day, and what it says */

/* ---- options ---- */

static size_t terminal_columns(void)
{
	struct winsize size;

	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

static int parse_filter(struct monitor *m, const char *text)
{
	_cleanup_(strbuf_deinit) struct strbuf error = STRBUF_NULL;

	if (filter_parse(&m->filter, text, &error) < 0) {
		return cli_usage("--filter: %s", strbuf_str(&error));
	}
	return CLI_OK;
}

int monitor_options(struct monitor *m, int *argc, char **argv, const struct cli_option *rest,
		    size_t n_rest)
{
	const char *count = NULL;
	const char *filter = NULL;
	bool is_hex = false;
	bool is_raw = false;
	bool is_plain = false;
	struct cli_option options[OPTIONS_MAX] = {
		{ "count", 'n', &count, NULL },	    { "filter", 'F', &filter, NULL },
		{ "wide", 'w', NULL, &m->is_wide }, { "hex", 'x', NULL, &is_hex },
		{ "raw", 0, NULL, &is_raw },	    { "no-colour", 0, NULL, &is_plain },
		{ "no-color", 0, NULL, &is_plain },
	};
	size_t n = 7;
	int r = follow_repeated(argc, argv, "field", 'f', m->fields, MONITOR_FIELDS_MAX,
				&m->n_fields);

	for (size_t i = 0; i < n_rest; i++) {
		options[n++] = rest[i];
	}
	r = r ? r : cli_options(argc, argv, options, n);
	if (r) {
		return r;
	}
	r = follow_count(count, &m->count);
	if (r) {
		return r;
	}
	if (is_hex + is_raw + (m->n_fields > 0) + (m->cli->json && (is_hex || is_raw)) > 1) {
		return cli_usage("only one of --hex, --raw, --field and --json");
	}
	m->form = is_hex ? MONITOR_HEX : is_raw ? MONITOR_RAW : m->form;
	m->cli->color = m->cli->color && !is_plain;
	m->columns = m->is_wide ? 0 : terminal_columns();
	return filter ? parse_filter(m, filter) : CLI_OK;
}

void monitor_deinit(struct monitor *m)
{
	m->filter = filter_free(m->filter);
}

/* ---- lines ---- */

/* At most `columns` characters of it. */
static void print_cut(const char *text, size_t columns)
{
	size_t len = strlen(text);
	size_t end = 0;

	for (size_t n = 0; end < len && (!columns || n < columns); n++) {
		size_t step = utf8_sequence_len(text + end, len - end);

		end += step ? step : 1;
	}
	printf("%.*s\n", (int)end, text);
}

static const char *time_of_day(struct cli *cli, uint64_t ns)
{
	const char *text = event_time(cli, ns);
	const char *time = strchr(text, 'T');

	return time ? arena_printf(&cli->arena, "%.12s", time + 1) : text;
}

/* Cut lines have room for the time of day only. */
static const char *line_time(const struct monitor *m, uint64_t ns)
{
	bool is_short = m->form == MONITOR_SHORT || (m->columns && m->columns < WIDE_COLUMNS);

	return is_short ? time_of_day(m->cli, ns) : event_time(m->cli, ns);
}

static const char *hex_text(struct cli *cli, const uint8_t *data, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	char *text = arena_alloc(&cli->arena, 2 * len + 1);

	for (size_t i = 0; text && i < len; i++) {
		text[2 * i] = digits[data[i] >> 4];
		text[2 * i + 1] = digits[data[i] & 15];
	}
	return text ? text : "";
}

/* The publication; *owned is to be freed. NULL when there is none. */
static const uint8_t *publication(const struct bus_sub_event *e, size_t *len, uint8_t **owned)
{
	*owned = NULL;
	if (e->raw) {
		*len = e->size;
		return e->raw;
	}
	*owned = e->event ? event_pack(e->event, len) : NULL;
	return *owned;
}

static void print_state(const struct monitor *m, const char *service, const struct bus_sub_event *e,
			uint64_t received_ns)
{
	struct cli *cli = m->cli;
	uint64_t ns = e->event ? e->event->time_ns : received_ns;
	const char *topic = cli_text(cli, e->topic, strlen(e->topic));
	const char *mark = e->replayed ? "=" : "";
	const char *line;

	if (m->form == MONITOR_SHORT) {
		line = arena_printf(&cli->arena, "%s %s%s #%" PRIu64 " %zuB %s", line_time(m, ns),
				    mark, topic, e->seq, e->size, event_summary(cli, e->event));
	} else if (m->form == MONITOR_HEX) {
		size_t len = 0;
		uint8_t *owned;
		const uint8_t *bytes = publication(e, &len, &owned);

		line = arena_printf(&cli->arena, "%s %s%s %s #%" PRIu64 " %zuB %s",
				    line_time(m, ns), mark, topic, service, e->seq, e->size,
				    hex_text(cli, bytes, len));
		free(owned);
	} else {
		line = arena_printf(&cli->arena, "%s %s%s %s #%" PRIu64 " %zuB %s",
				    line_time(m, ns), mark, topic, service, e->seq, e->size,
				    event_summary(cli, e->event));
	}
	print_cut(line ? line : "(too large to be shown)", m->columns);
}

static void print_raw(const struct bus_sub_event *e)
{
	size_t len = 0;
	uint8_t *owned;
	const uint8_t *bytes = publication(e, &len, &owned);
	uint32_t head = htonl((uint32_t)len);

	if (bytes) {
		fwrite(&head, sizeof(head), 1, stdout);
		fwrite(bytes, len, 1, stdout);
		fflush(stdout);
	}
	free(owned);
}

/* What is no event: where the form is for programs, it goes beside the data. */
static void print_note(const struct monitor *m, const char *service, const struct bus_sub_event *e,
		       uint64_t received_ns)
{
	struct cli *cli = m->cli;
	bool is_data = m->n_fields == 0 && m->form != MONITOR_RAW;
	FILE *to = is_data ? stdout : stderr;
	const char *red = is_data && cli->color && e->what != BUS_SUB_RESYNCED ? "\033[31m" : "";
	const char *reset = *red ? "\033[0m" : "";

	fprintf(to, "%s %s%s ", line_time(m, received_ns), red, service);
	if (e->what == BUS_SUB_GAP) {
		fprintf(to, "GAP: %" PRIu64 " or more events lost, repairing", e->missed);
	} else if (e->what == BUS_SUB_LOST) {
		fprintf(to, "LOST: %" PRIu64 " or more transient events", e->missed);
	} else if (e->what == BUS_SUB_RESYNCED) {
		fprintf(to, "RESYNCED at #%" PRIu64, e->seq);
	} else {
		fprintf(to, "DOWN: not heard; states may be old");
	}
	fprintf(to, "%s\n", reset);
}

/* ---- fields ---- */

static const char *quoted(struct cli *cli, const char *text)
{
	struct strbuf s = STRBUF_NULL;
	const char *out;

	if (!strpbrk(text, ",\"")) {
		return text;
	}
	for (const char *c = text; *c; c++) {
		strbuf_puts(&s, *c == '"' ? "\"\"" : (char[2]){ *c, 0 });
	}
	out = arena_printf(&cli->arena, "\"%s\"", strbuf_str(&s));
	strbuf_deinit(&s);
	return out;
}

static void print_field_values(const struct monitor *m, struct json_object **values)
{
	struct cli *cli = m->cli;
	struct json_object *array;

	if (!cli->json) {
		for (size_t i = 0; i < m->n_fields; i++) {
			const char *text = values[i] ? event_value(cli, values[i]) : "";

			printf("%s%s", i ? "," : "", m->n_fields > 1 ? quoted(cli, text) : text);
		}
		putchar('\n');
		return;
	}
	if (m->n_fields == 1) {
		cli_print_json(json_object_get(values[0]));
		return;
	}
	array = json_object_new_array();
	for (size_t i = 0; i < m->n_fields; i++) {
		json_object_array_add(array, json_object_get(values[i]));
	}
	cli_print_json(array);
}

/* True when the event has one of them at least. */
static bool print_fields(const struct monitor *m, struct json_object *doc)
{
	struct json_object *values[MONITOR_FIELDS_MAX];
	bool has_any = false;

	for (size_t i = 0; i < m->n_fields; i++) {
		values[i] = event_lookup(doc, m->fields[i]);
		has_any = has_any || values[i];
	}
	if (has_any) {
		print_field_values(m, values);
	}
	return has_any;
}

/* ---- any event ---- */

static bool show(struct monitor *m, const char *service, const struct bus_sub_event *e,
		 struct json_object *doc, uint64_t received_ns)
{
	if (m->filter && !filter_match(m->filter, event_lookup, doc)) {
		return false;
	}
	if (m->n_fields > 0) {
		return print_fields(m, doc);
	}
	if (m->cli->json) {
		cli_print_json(json_object_get(doc));
	} else if (m->form == MONITOR_RAW) {
		print_raw(e);
	} else {
		print_state(m, service, e, received_ns);
	}
	return true;
}

bool monitor_show(struct monitor *m, const char *service, const struct bus_sub_event *e,
		  uint64_t received_ns)
{
	bool is_state = e->what == BUS_SUB_STATE || e->what == BUS_SUB_REMOVED;
	struct json_object *doc = NULL;

	if (m->filter || m->n_fields > 0 || m->cli->json) {
		doc = event_json(service, e, received_ns);
	}
	if (is_state) {
		m->n_shown += show(m, service, e, doc, received_ns);
	} else if (m->cli->json && m->n_fields == 0) {
		cli_print_json(json_object_get(doc));
	} else {
		print_note(m, service, e, received_ns);
	}
	json_object_put(doc);
	return m->count && m->n_shown >= m->count;
}
