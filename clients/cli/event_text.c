/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "clients/cli/event_text.h"

#include <inttypes.h>

#include "clients/cli/pbjson.h"
#include "xenmesh/v1/ops.pb-c.h"

/* ---- text ---- */

static const char *vm_text(struct cli *cli, const Xenmesh__V1__VmState *vm)
{
	const char *name = cli_text(cli, vm->name, strlen(vm->name));
	const char *state = cli_enum(cli, &xenmesh__v1__power_state__descriptor,
				     (int)vm->power_state, "POWER_STATE_");
	const char *domid = "";
	const char *reason = "";

	if (vm->domid >= 0) {
		domid = arena_printf(&cli->arena, " domid %" PRId32, vm->domid);
	}
	if (vm->shutdown_reason) {
		reason = arena_printf(&cli->arena, " (%s)",
				      cli_enum(cli, &xenmesh__v1__shutdown_reason__descriptor,
					       (int)vm->shutdown_reason, "SHUTDOWN_REASON_"));
	}
	return arena_printf(&cli->arena, "%s %s%s%s", name, state, domid, reason);
}

static const char *task_text(struct cli *cli, const Xenmesh__V1__Task *t)
{
	const char *text = t->error ? t->error->message : t->step;

	return arena_printf(
		&cli->arena, "%s %s %s %.0f%%%s%s", cli_text(cli, t->vm_name, strlen(t->vm_name)),
		cli_text(cli, t->method, strlen(t->method)),
		cli_enum(cli, &xenmesh__v1__task_state__descriptor, (int)t->state, "TASK_STATE_"),
		t->progress * 100, *text ? " " : "", cli_text(cli, text, strlen(text)));
}

static const char *or_unknown(struct cli *cli, ProtobufCBinaryData text)
{
	return text.len ? cli_text(cli, text.data, text.len) : "?";
}

static const char *guest_text(struct cli *cli, const Xenmesh__V1__GuestInfo *g)
{
	const char *text = arena_printf(&cli->arena, "%s, %s", or_unknown(cli, g->hostname),
					g->os ? or_unknown(cli, g->os->name) : "?");

	for (size_t i = 0; i < g->n_vifs; i++) {
		for (size_t j = 0; text && j < g->vifs[i]->n_addresses; j++) {
			const ProtobufCBinaryData *a = &g->vifs[i]->addresses[j]->address;

			text = arena_printf(&cli->arena, "%s %s", text,
					    cli_text(cli, a->data, a->len));
		}
	}
	return text;
}

static const char *host_text(struct cli *cli, const Xenmesh__V1__HostState *h)
{
	return arena_printf(&cli->arena, "%s, Xen %s%s",
			    cli_text(cli, h->hostname, strlen(h->hostname)),
			    cli_text(cli, h->xen_version, strlen(h->xen_version)),
			    h->connected ? "" : ", host process away");
}

/* "Ops/StartVm ok 812 us, 62 B there, 55 B back, connection 7". */
static const char *trace_text(struct cli *cli, const Xenmesh__V1__RpcTrace *t)
{
	const char *slash = strchr(t->method, '/');
	const char *begin = slash ? slash : t->method;
	const char *caller = "";

	while (slash && begin > t->method && begin[-1] != '.') {
		begin--;
	}
	if (t->caller) {
		caller = arena_printf(&cli->arena, ", uid %" PRIu32 " pid %" PRIu32 " %s",
				      t->caller->uid, t->caller->pid,
				      cli_text(cli, t->caller->client, strlen(t->caller->client)));
	}
	return arena_printf(&cli->arena,
			    "%s %s %" PRIu64 " us, %" PRIu64 " B there, %" PRIu64
			    " B back, connection %" PRIu64 "%s%s",
			    cli_text(cli, begin, strlen(begin)),
			    cli_enum(cli, &xenmesh__v1__code__descriptor, (int)t->code, "CODE_"),
			    t->duration_us, t->request_bytes, t->reply_bytes, t->connection,
			    t->repeated ? ", a repeat" : "", caller);
}

/* A body without words of its own. */
static const char *other_text(struct cli *cli, const Xenmesh__V1__Event *e)
{
	struct json_object *o = pbjson_from(&e->base);
	const char *text = "";

	json_object_object_foreach(o, name, value)
	{
		if (json_object_is_type(value, json_type_object)) {
			const char *json = json_object_to_json_string_ext(
				value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);

			text = arena_printf(&cli->arena, "%s %s", name,
					    cli_text(cli, json, strlen(json)));
		}
	}
	json_object_put(o);
	return text;
}

static const char *body_text(struct cli *cli, const Xenmesh__V1__Event *e)
{
	switch (e->body_case) {
	case XENMESH__V1__EVENT__BODY_VM_STATE:
		return vm_text(cli, e->vm_state);
	case XENMESH__V1__EVENT__BODY_TASK:
		return task_text(cli, e->task);
	case XENMESH__V1__EVENT__BODY_GUEST_INFO:
		return guest_text(cli, e->guest_info);
	case XENMESH__V1__EVENT__BODY_HOST_SAMPLE:
		return arena_printf(&cli->arena, "%zu domains, %s free", e->host_sample->n_domains,
				    cli_kib(cli, e->host_sample->free_memory_kib));
	case XENMESH__V1__EVENT__BODY_HOST_STATE:
		return host_text(cli, e->host_state);
	case XENMESH__V1__EVENT__BODY_RPC_TRACE:
		return trace_text(cli, e->rpc_trace);
	case XENMESH__V1__EVENT__BODY_REMOVED:
		return arena_printf(&cli->arena, "removed: %s",
				    cli_text(cli, e->removed->reason, strlen(e->removed->reason)));
	default:
		return other_text(cli, e);
	}
}

const char *event_summary(struct cli *cli, const Xenmesh__V1__Event *e)
{
	const char *text = e ? body_text(cli, e) : "removed";

	return text ? text : "";
}

const char *event_time(struct cli *cli, uint64_t real_ns)
{
	time_t t = (time_t)(real_ns / NSEC_PER_SEC);
	char day[32];
	char zone[8];
	struct tm tm;

	if (!real_ns || !localtime_r(&t, &tm) ||
	    !strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm) ||
	    strftime(zone, sizeof(zone), "%z", &tm) != 5) {
		return "-";
	}
	return arena_printf(&cli->arena, "%s.%03u%.3s:%s", day,
			    (unsigned int)(real_ns / NSEC_PER_MSEC % 1000), zone, zone + 3);
}

const char *event_kind(enum bus_sub_what what)
{
	static const char *const kinds[] = {
		"state", "removed", "resynced", "gap", "down", "lost"
	};

	return kinds[what];
}

/* ---- JSON ---- */

struct json_object *event_json(const char *service, const struct bus_sub_event *e,
			       uint64_t received_ns)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "received_ns", json_object_new_uint64(received_ns));
	json_object_object_add(o, "service", json_object_new_string(service));
	json_object_object_add(o, "kind", json_object_new_string(event_kind(e->what)));
	if (e->topic) {
		json_object_object_add(o, "topic", json_object_new_string(e->topic));
	}
	json_object_object_add(o, "seq", json_object_new_uint64(e->seq));
	if (e->what == BUS_SUB_GAP || e->what == BUS_SUB_LOST) {
		json_object_object_add(o, "missed", json_object_new_uint64(e->missed));
	}
	if (e->event) {
		json_object_object_add(o, "size", json_object_new_uint64(e->size));
		json_object_object_add(o, "replayed", json_object_new_boolean(e->replayed));
		json_object_object_add(o, "event", pbjson_from(&e->event->base));
	}
	return o;
}

struct json_object *event_lookup(void *event_json, const char *path)
{
	struct json_object *o = event_json;
	struct json_object *found = pbjson_at(o, path);
	struct json_object *event = pbjson_at(o, "event");

	if (found || !event) {
		return found;
	}
	found = pbjson_at(event, path);
	if (found) {
		return found;
	}
	json_object_object_foreach(event, name, value)
	{
		(void)name;
		if (json_object_is_type(value, json_type_object)) {
			return pbjson_at(value, path);
		}
	}
	return NULL;
}

const char *event_value(struct cli *cli, struct json_object *value)
{
	const char *text;

	if (json_object_is_type(value, json_type_string)) {
		return cli_text(cli, json_object_get_string(value),
				(size_t)json_object_get_string_len(value));
	}
	text = json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN |
							     JSON_C_TO_STRING_NOSLASHESCAPE);
	return cli_text(cli, text, strlen(text));
}

uint8_t *event_pack(const Xenmesh__V1__Event *e, size_t *len)
{
	size_t head = strlen(e->topic) + 1;
	uint8_t *out = malloc(head + xenmesh__v1__event__get_packed_size(e));

	if (out) {
		memcpy(out, e->topic, head);
		*len = head + xenmesh__v1__event__pack(e, out + head);
	}
	return out;
}
