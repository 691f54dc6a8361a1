/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `bus snapshot`: what services hold in their change tables now.
 */
#include <inttypes.h>
#include <stdio.h>

#include "clients/cli/bus_tools.h"
#include "clients/cli/event_text.h"
#include "clients/cli/pages.h"
#include "clients/cli/table.h"
#include "libcommon/clock.h"
#include "libcommon/map.h"

#define PREFIXES_MAX 64

struct snapshot {
	struct map topics; /* topic -> Xenmesh__V1__Event in the arena */
	bool is_out_of_memory;
};

static void on_page_event(const Xenmesh__V1__Event *e, void *userdata)
{
	struct snapshot *s = userdata;

	if (!e) {
		map_deinit(&s->topics);
	} else if (e->body_case == XENMESH__V1__EVENT__BODY_REMOVED) {
		map_remove_str(&s->topics, e->topic);
	} else if (map_set_str(&s->topics, e->topic, (void *)e, NULL) < 0) {
		s->is_out_of_memory = true;
	}
}

static int by_topic(const void *a, const void *b)
{
	const Xenmesh__V1__Event *const *x = a;
	const Xenmesh__V1__Event *const *y = b;

	return strcmp((*x)->topic, (*y)->topic);
}

static void print_event(struct cli *cli, struct table *table, const char *service,
			const Xenmesh__V1__Event *event)
{
	struct bus_sub_event e = { .what = BUS_SUB_STATE,
				   .topic = event->topic,
				   .event = event,
				   .replayed = true,
				   .seq = event->seq,
				   .size = xenmesh__v1__event__get_packed_size(event) };

	if (cli->json) {
		cli_print_json(event_json(service, &e, clock_real_ns()));
		return;
	}
	table_cell(table, "%s", cli_text(cli, event->topic, strlen(event->topic)));
	table_cell(table, "%s", service);
	table_cell(table, "%" PRIu64, event->seq);
	table_cell(table, "%s", cli_age(cli, event->time_ns));
	table_cell(table, "%zu", e.size);
	table_cell(table, "%s", event_summary(cli, event));
}

static void print_whole(struct cli *cli, const struct pages *p, size_t n_topics)
{
	char instance[2 * sizeof(p->instance) + 1];
	struct json_object *o;

	for (size_t i = 0; i < sizeof(p->instance); i++) {
		snprintf(instance + 2 * i, 3, "%02x", p->instance[i]);
	}
	if (!cli->json) {
		fprintf(stderr, "%s: %zu topics at #%" PRIu64 " of instance %s\n", p->service,
			n_topics, p->seq, instance);
		return;
	}
	o = json_object_new_object();
	json_object_object_add(o, "service", json_object_new_string(p->service));
	json_object_object_add(o, "kind", json_object_new_string("snapshot"));
	json_object_object_add(o, "instance", json_object_new_string(instance));
	json_object_object_add(o, "seq", json_object_new_uint64(p->seq));
	json_object_object_add(o, "topics", json_object_new_uint64(n_topics));
	cli_print_json(o);
}

static int print_service(struct cli *cli, struct table *table, const char *service,
			 char *const *prefixes, size_t n)
{
	struct snapshot s = { .is_out_of_memory = false };
	struct pages pages = { .service = service,
			       .prefixes = prefixes,
			       .n_prefixes = n,
			       .fn = on_page_event,
			       .userdata = &s };
	_cleanup_(xfreep) const Xenmesh__V1__Event **events = NULL;
	size_t n_events = 0;
	int r = pages_fetch(cli, &pages);

	events = calloc(map_size(&s.topics) + 1, sizeof(Xenmesh__V1__Event *));
	if (!r && (!events || s.is_out_of_memory)) {
		cli_error("out of memory");
		r = CLI_FAILURE;
	}
	if (!r) {
		for (struct map_iter i = map_begin(&s.topics); map_next(&s.topics, &i);) {
			events[n_events++] = i.value;
		}
		qsort(events, n_events, sizeof(Xenmesh__V1__Event *), by_topic);
		for (size_t i = 0; i < n_events; i++) {
			print_event(cli, table, service, events[i]);
		}
		print_whole(cli, &pages, n_events);
	}
	map_deinit(&s.topics);
	return r;
}

/* Arguments are services or, with a slash and of no service, prefixes of topics. */
int cmd_bus_snapshot(struct cli *cli, int argc, char **argv)
{
	static const char *const titles[] = {
		"TOPIC", "SERVICE", ">SEQ", ">AGE", ">SIZE", "STATE"
	};
	_cleanup_(table_freep) struct table *table = table_new(titles, ARRAY_LEN(titles));
	const size_t n_services = topology_n_services(cli->topology);
	char *prefixes[PREFIXES_MAX];
	size_t n_prefixes = 0;
	int n_named = 0;
	int status = CLI_OK;
	int r = cli_options(&argc, argv, NULL, 0);

	for (int i = 0; !r && i < argc; i++) {
		if (topology_service(cli->topology, argv[i])) {
			argv[n_named++] = argv[i];
		} else if (!strchr(argv[i], '/')) {
			r = cli_check_service(cli, argv[i]);
			cli_error("nor is it a topic, which has a /");
		} else if (n_prefixes == PREFIXES_MAX) {
			r = cli_usage("more than %d prefixes", PREFIXES_MAX);
		} else {
			prefixes[n_prefixes++] = argv[i];
		}
	}
	if (r) {
		return r;
	}
	for (size_t i = 0; i < (n_named ? (size_t)n_named : n_services); i++) {
		const char *name = n_named ? argv[i] : topology_service_at(cli->topology, i)->name;

		r = print_service(cli, table, name, prefixes, n_prefixes);
		status = r ? r : status;
	}
	if (!cli->json) {
		table_print(table);
	}
	return status;
}
