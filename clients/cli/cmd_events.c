/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One subscriber per service of the topology; each line is one event.  Gaps are
 * shown where they happened, and RESYNCED where everything is known again.
 */
#include <inttypes.h>
#include <stdio.h>

#include "clients/cli/cli.h"
#include "clients/cli/pbjson.h"
#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/loop.h"
#include "libcommon/parse.h"
#include "libcommon/strbuf.h"
#include "xenmesh/v1/ops.pb-c.h"

#define SERVICES_MAX 16

struct events {
	struct cli *cli;
	const char *field;
	bool live_only;
	uint64_t count; /* 0 = no end */
	uint64_t seen;
	struct bus_sub *subs[SERVICES_MAX];
	const char *names[SERVICES_MAX];
	size_t n_subs;
};

static const char *service_of(const struct events *ev, const struct bus_sub *sub)
{
	for (size_t i = 0; i < ev->n_subs; i++) {
		if (ev->subs[i] == sub) {
			return ev->names[i];
		}
	}
	return "?";
}

/* ---- text ---- */

static void summarize_vm(struct cli *cli, const Xenmesh__V1__VmState *vm)
{
	printf("%s %s", cli_text(cli, vm->name, strlen(vm->name)),
	       cli_enum(cli, &xenmesh__v1__power_state__descriptor, (int)vm->power_state,
			"POWER_STATE_"));
	if (vm->domid >= 0) {
		printf(" domid %" PRId32, vm->domid);
	}
	if (vm->shutdown_reason) {
		printf(" (%s)", cli_enum(cli, &xenmesh__v1__shutdown_reason__descriptor,
					 (int)vm->shutdown_reason, "SHUTDOWN_REASON_"));
	}
}

static void summarize_task(struct cli *cli, const Xenmesh__V1__Task *t)
{
	const char *text = t->error ? t->error->message : t->step;

	printf("%s %s %s %.0f%% %s", cli_text(cli, t->vm_name, strlen(t->vm_name)), t->method,
	       cli_enum(cli, &xenmesh__v1__task_state__descriptor, (int)t->state, "TASK_STATE_"),
	       t->progress * 100, cli_text(cli, text, strlen(text)));
}

static const char *or_unknown(struct cli *cli, ProtobufCBinaryData text)
{
	return text.len ? cli_text(cli, text.data, text.len) : "?";
}

static void summarize_guest(struct cli *cli, const Xenmesh__V1__GuestInfo *g)
{
	printf("%s, %s", or_unknown(cli, g->hostname), g->os ? or_unknown(cli, g->os->name) : "?");
	for (size_t i = 0; i < g->n_vifs; i++) {
		for (size_t j = 0; j < g->vifs[i]->n_addresses; j++) {
			const ProtobufCBinaryData *a = &g->vifs[i]->addresses[j]->address;

			printf(" %s", cli_text(cli, a->data, a->len));
		}
	}
}

static void summarize(struct cli *cli, const Xenmesh__V1__Event *e)
{
	switch (e->body_case) {
	case XENMESH__V1__EVENT__BODY_VM_STATE:
		summarize_vm(cli, e->vm_state);
		break;
	case XENMESH__V1__EVENT__BODY_TASK:
		summarize_task(cli, e->task);
		break;
	case XENMESH__V1__EVENT__BODY_GUEST_INFO:
		summarize_guest(cli, e->guest_info);
		break;
	case XENMESH__V1__EVENT__BODY_HOST_SAMPLE:
		printf("%zu domains, %s free", e->host_sample->n_domains,
		       cli_kib(cli, e->host_sample->free_memory_kib));
		break;
	case XENMESH__V1__EVENT__BODY_HOST_STATE:
		printf("%s, Xen %s%s", e->host_state->hostname, e->host_state->xen_version,
		       e->host_state->connected ? "" : ", host process away");
		break;
	case XENMESH__V1__EVENT__BODY_REMOVED:
		printf("removed: %s", e->removed->reason);
		break;
	default:
		break;
	}
}

static void print_time(struct cli *cli, uint64_t ns)
{
	const char *text = cli_time(cli, ns ? ns : clock_real_ns());
	const char *time = strchr(text, 'T');

	printf("%.8s.%03u ", time ? time + 1 : text, (unsigned int)(ns / NSEC_PER_MSEC % 1000));
}

static void print_text(struct events *ev, const char *service, const struct bus_sub_event *e)
{
	struct cli *cli = ev->cli;
	const char *red = cli->color ? "\033[31m" : "";
	const char *reset = cli->color ? "\033[0m" : "";

	print_time(cli, e->event ? e->event->time_ns : clock_real_ns());
	switch (e->what) {
	case BUS_SUB_STATE:
	case BUS_SUB_REMOVED:
		printf("%s%s #%" PRIu64 " %zuB ", e->replayed ? "=" : "", e->topic, e->seq,
		       e->size);
		if (e->event) {
			summarize(cli, e->event);
		} else {
			printf("removed");
		}
		break;
	case BUS_SUB_GAP:
		printf("%s%s GAP: %" PRIu64 " or more events lost, repairing%s", red, service,
		       e->missed, reset);
		break;
	case BUS_SUB_RESYNCED:
		printf("%s RESYNCED at #%" PRIu64, service, e->seq);
		break;
	case BUS_SUB_DOWN:
		printf("%s%s DOWN: not heard; states may be old%s", red, service, reset);
		break;
	}
	putchar('\n');
}

/* ---- JSON ---- */

static void print_json(const char *service, const struct bus_sub_event *e)
{
	static const char *const kinds[] = { "state", "removed", "resynced", "gap", "down" };
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "service", json_object_new_string(service));
	json_object_object_add(o, "kind", json_object_new_string(kinds[e->what]));
	if (e->topic) {
		json_object_object_add(o, "topic", json_object_new_string(e->topic));
	}
	json_object_object_add(o, "seq", json_object_new_uint64(e->seq));
	if (e->what == BUS_SUB_GAP) {
		json_object_object_add(o, "missed", json_object_new_uint64(e->missed));
	}
	if (e->event) {
		json_object_object_add(o, "replayed", json_object_new_boolean(e->replayed));
		json_object_object_add(o, "event", pbjson_from(&e->event->base));
	}
	cli_print_json(o);
}

/* Only one field: its value alone on the line. True when the event has it. */
static bool print_field(const struct events *ev, const struct bus_sub_event *e)
{
	struct json_object *o = e->event ? pbjson_from(&e->event->base) : NULL;
	struct json_object *value = pbjson_at(o, ev->field);

	if (value) {
		puts(json_object_is_type(value, json_type_string) && !ev->cli->json
			     ? json_object_get_string(value)
			     : json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN));
	}
	json_object_put(o);
	return value != NULL;
}

static void on_event(struct bus_sub *s, const struct bus_sub_event *e, void *userdata)
{
	struct events *ev = userdata;
	bool is_state = e->what == BUS_SUB_STATE || e->what == BUS_SUB_REMOVED;

	if ((ev->count && ev->seen >= ev->count) || (ev->live_only && is_state && e->replayed)) {
		return;
	}
	if (ev->field) {
		is_state = print_field(ev, e);
	} else if (ev->cli->json) {
		print_json(service_of(ev, s), e);
	} else {
		print_text(ev, service_of(ev, s), e);
	}
	arena_reset(&ev->cli->arena);
	if (is_state && ++ev->seen == ev->count) {
		sd_event_exit(ev->cli->loop, CLI_OK);
	}
}

static int on_time_over(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
	struct events *ev = userdata;

	return sd_event_exit(ev->cli->loop, ev->count ? CLI_TIMEOUT : CLI_OK);
}

static int subscribe(struct events *ev, const char *only, char **prefixes, size_t n_prefixes)
{
	struct cli *cli = ev->cli;

	if (only && !topology_service(cli->topology, only)) {
		cli_error("no service \"%s\" in the topology; it has: xenmesh bus ls", only);
		return CLI_FAILURE;
	}
	for (size_t i = 0; i < topology_n_services(cli->topology); i++) {
		const char *name = topology_service_at(cli->topology, i)->name;
		int r;

		if (only && !streq(name, only)) {
			continue;
		}
		if (ev->n_subs == SERVICES_MAX) {
			cli_error("more than %d services: choose one with --service", SERVICES_MAX);
			return CLI_FAILURE;
		}
		ev->names[ev->n_subs] = name;
		r = bus_sub_new(&ev->subs[ev->n_subs], cli->loop, cli->topology, name,
				(const char *const *)prefixes, n_prefixes, CLI_NAME, on_event, ev);
		if (r < 0) {
			cli_error("%s: cannot subscribe: %s", name, err_text(r));
			return CLI_FAILURE;
		}
		ev->n_subs++;
	}
	return CLI_OK;
}

int cmd_events(struct cli *cli, int argc, char **argv)
{
	_cleanup_(loop_source_unrefp) sd_event_source *timer = NULL;
	struct events ev = { .cli = cli };
	const char *service = NULL;
	const char *count = "0";
	const char *duration = NULL;
	const struct cli_option options[] = {
		{ "service", 's', &service, NULL }, { "count", 'n', &count, NULL },
		{ "for", 0, &duration, NULL },	    { "field", 'f', &ev.field, NULL },
		{ "live", 0, NULL, &ev.live_only },
	};
	uint64_t ms = 0;
	int r = cli_options(&argc, argv, options, ARRAY_LEN(options));

	if (r) {
		return r;
	}
	if (parse_u64(count, strlen(count), UINT64_MAX, &ev.count)) {
		return cli_usage("--count wants a number, got \"%s\"", count);
	}
	if (duration && parse_duration_ms(duration, &ms)) {
		return cli_usage("--for wants a time as 10s, got \"%s\"", duration);
	}
	if (ms) {
		r = loop_after(cli->loop, &timer, ms * USEC_PER_MSEC, on_time_over, &ev);
		if (r < 0) {
			return CLI_FAILURE;
		}
	}
	r = subscribe(&ev, service, argv, (size_t)argc);
	if (!r) {
		r = sd_event_loop(cli->loop);
	}
	for (size_t i = 0; i < ev.n_subs; i++) {
		bus_sub_free(ev.subs[i]);
	}
	return r < 0 ? CLI_FAILURE : r;
}
