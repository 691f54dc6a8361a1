/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A line is made of what is known without asking anybody, so it can be
 * written for every call, and before its answer is sent.
 */
#include "bus/audit.h"

#include <stdio.h>

#include "bus/codes.h"
#include "bus/quota.h"
#include "libcommon/clock.h"
#include "libcommon/loop.h"
#include "libcommon/traceparent.h"

#define WINDOW_NS   (10 * NSEC_PER_SEC)
#define NUMBER_SIZE 24

static const char *const outcomes[] = {
	[AUDIT_ACCEPTED] = "accepted",	 [AUDIT_DENIED] = "denied",
	[AUDIT_FAILED] = "failed",	 [AUDIT_REPEATED] = "repeated",
	[AUDIT_DONE] = "done",		 [AUDIT_UNANSWERED] = "unanswered",
	[AUDIT_CANCELLED] = "cancelled",
};

/* ---- lines ---- */

struct fields {
	struct log_field list[LOG_FIELDS_MAX];
	size_t n;
};

static void add(struct fields *f, const char *name, const char *value)
{
	if (value && value[0] && f->n < ARRAY_LEN(f->list)) {
		f->list[f->n++] = (struct log_field){ name, value };
	}
}

static const char *number(char out[static NUMBER_SIZE], uint64_t value)
{
	snprintf(out, NUMBER_SIZE, "%llu", (unsigned long long)value);
	return out;
}

static void put_hex(char *out, const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		snprintf(out + 2 * i, 3, "%02x", bytes[i]);
	}
}

/* "StartVm" of "xenmesh.v1.Ops/StartVm" */
static const char *short_name(const char *method)
{
	const char *slash = strrchr(method, '/');

	return slash ? slash + 1 : method;
}

static void write_message(const struct audit_line *line, const struct fields *f)
{
	bool has_object = line->object && line->object[0];
	bool has_reason = line->reason && line->reason[0] && streq(line->message_id, AUDIT_ID_TASK);
	char who[160] = "";

	if (line->peer && line->peer->has_creds) {
		snprintf(who, sizeof(who), " by uid %u", (unsigned int)line->peer->uid);
	} else if (line->peer && line->peer->name[0]) {
		snprintf(who, sizeof(who), " by %s%s", line->peer->has_cert ? "" : "tcp ",
			 line->peer->name);
	} else if (line->client) {
		snprintf(who, sizeof(who), " by %.128s", line->client);
	}
	log_write(NULL, LOG_LEVEL_NOTICE, f->list, f->n, "%s%s%s%s: %s%s%s",
		  short_name(line->method), has_object ? " of " : "",
		  has_object ? line->object : "", who, outcomes[line->outcome],
		  has_reason ? ": " : "", has_reason ? line->reason : "");
}

void audit_write(const struct audit_line *line)
{
	char uid[NUMBER_SIZE], gid[NUMBER_SIZE], pid[NUMBER_SIZE], duration[NUMBER_SIZE];
	char request_id[2 * AUDIT_REQUEST_ID + 1] = "", trace_id[TRACE_ID_SIZE];
	const struct bus_peer *peer = line->peer;
	struct fields f = { .n = 0 };

	add(&f, "MESSAGE_ID", line->message_id);
	add(&f, "XENMESH_METHOD", line->method);
	add(&f, "XENMESH_OBJECT", line->object);
	add(&f, "XENMESH_OBJECT_ID", line->object_id);
	add(&f, "XENMESH_OUTCOME", outcomes[line->outcome]);
	add(&f, "XENMESH_RESULT", bus_code_name(line->code));
	if (peer && peer->has_creds) {
		add(&f, "XENMESH_UID", number(uid, peer->uid));
		add(&f, "XENMESH_GID", number(gid, peer->gid));
		add(&f, "XENMESH_PID", number(pid, (uint64_t)peer->pid));
	} else if (peer) {
		add(&f, peer->has_cert ? "XENMESH_CERTIFICATE" : "XENMESH_ADDRESS", peer->name);
	}
	add(&f, "XENMESH_DURATION_US", number(duration, line->duration_us));
	if (line->request_id) {
		put_hex(request_id, line->request_id, AUDIT_REQUEST_ID);
	}
	add(&f, "XENMESH_REQUEST_ID", request_id);
	traceparent_trace_id(line->traceparent ? line->traceparent : "", trace_id);
	add(&f, "TRACE_ID", trace_id);
	add(&f, "TASK", line->task);
	add(&f, "XENMESH_CLIENT", line->client);
	add(&f, "XENMESH_REASON", line->reason);
	write_message(line, &f);
}

/* ---- objects ---- */

static const void *member(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *field)
{
	const char *base = (const char *)m;
	bool is_oneof = field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;

	if (field->label == PROTOBUF_C_LABEL_REPEATED) {
		return NULL;
	}
	if (is_oneof && *(const uint32_t *)(base + field->quantifier_offset) != field->id) {
		return NULL;
	}
	return base + field->offset;
}

static void put_value(const ProtobufCFieldDescriptor *field, const void *value, char *out,
		      size_t size)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_STRING:
		log_escape(out, size, *(const char *const *)value,
			   strlen(*(const char *const *)value));
		break;
	case PROTOBUF_C_TYPE_BOOL:
		snprintf(out, size, "%s", *(const protobuf_c_boolean *)value ? "true" : "false");
		break;
	case PROTOBUF_C_TYPE_UINT32:
		snprintf(out, size, "%u", *(const uint32_t *)value);
		break;
	default:
		break;
	}
}

void audit_object(const ProtobufCMessage *message, const char *path, char *out, size_t size)
{
	out[0] = '\0';
	while (message && path[0]) {
		size_t len = strcspn(path, ".");
		char name[64];
		const ProtobufCFieldDescriptor *field;
		const void *value;

		snprintf(name, sizeof(name), "%.*s", (int)len, path);
		field = protobuf_c_message_descriptor_get_field_by_name(message->descriptor, name);
		value = field ? member(message, field) : NULL;
		if (!value) {
			return;
		}
		path += len + (path[len] == '.');
		if (field->type != PROTOBUF_C_TYPE_MESSAGE) {
			put_value(field, value, out, size);
			return;
		}
		message = *(const ProtobufCMessage *const *)value;
	}
}

/* ---- the limit of what was not executed ---- */

void audit_limit_init(struct audit_limit *l, sd_event *loop)
{
	*l = (struct audit_limit){ .loop = loop };
}

static void tell_left_out(struct audit_user *u)
{
	bool has_cert = u->payer.uid == QUOTA_UID_CERTIFICATE;
	bool is_local = u->payer.uid != QUOTA_UID_UNKNOWN && !has_cert;
	char uid[NUMBER_SIZE], count[NUMBER_SIZE], who[NUMBER_SIZE + 8];
	struct fields f = { .n = 0 };

	if (u->n_left_out == 0) {
		return;
	}
	number(count, u->n_left_out);
	snprintf(who, sizeof(who), "uid %s", number(uid, u->payer.uid));
	add(&f, "MESSAGE_ID", AUDIT_ID_LEFT_OUT);
	add(&f, "XENMESH_LEFT_OUT", count);
	add(&f, "XENMESH_UID", is_local ? uid : NULL);
	add(&f, "XENMESH_CERTIFICATE", u->payer.name[0] ? u->payer.name : NULL);
	log_write(NULL, LOG_LEVEL_NOTICE, f.list, f.n,
		  "%s more calls by %s were refused, and not told one by one", count,
		  is_local	     ? who
		  : u->payer.name[0] ? u->payer.name
		  : has_cert	     ? "callers whose certificates have no name"
				     : "callers without a user");
	u->n_left_out = 0;
}

void audit_limit_deinit(struct audit_limit *l)
{
	l->timer = sd_event_source_disable_unref(l->timer);
	for (size_t i = 0; i < ARRAY_LEN(l->users); i++) {
		tell_left_out(&l->users[i]);
	}
}

static int on_timer(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
	audit_limit_deinit(userdata);
	return 0;
}

/* The place of the payer, or the one that has been in use for longest. */
static struct audit_user *find_user(struct audit_limit *l, const struct quota_payer *payer)
{
	struct audit_user *oldest = &l->users[0];

	for (size_t i = 0; i < ARRAY_LEN(l->users); i++) {
		struct audit_user *u = &l->users[i];

		if (u->window_ns && quota_payer_equal(&u->payer, payer)) {
			return u;
		}
		if (u->window_ns < oldest->window_ns) {
			oldest = u;
		}
	}
	tell_left_out(oldest);
	*oldest = (struct audit_user){ .payer = *payer };
	return oldest;
}

bool audit_limit_take(struct audit_limit *l, const struct bus_peer *peer)
{
	const struct quota_payer payer = quota_payer(peer);
	struct audit_user *u = find_user(l, &payer);
	uint64_t now = clock_boot_ns();

	if (!u->window_ns || now - u->window_ns >= WINDOW_NS) {
		tell_left_out(u);
		u->window_ns = now;
		u->n_lines = 0;
	}
	if (u->n_lines < AUDIT_REFUSED_MAX) {
		u->n_lines++;
		return true;
	}
	u->n_left_out++;
	if (!l->timer && loop_after(l->loop, &l->timer, WINDOW_NS / 1000, on_timer, l) < 0) {
		return true; /* better too many lines than an uncounted one */
	}
	return false;
}
