/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The audit: who did what, in the log of the service.
 *
 * Each call of a method that is mutating or for admins is one line when it
 * ends, however it ends, and each task that such a call made is one more when
 * it ends.  They are at level notice and written whatever the level of the log
 * is.  In the journal they have these fields, on stderr the same without XENMESH_
 * and in lower case:
 *
 *   MESSAGE_ID          one of AUDIT_ID_*
 *   XENMESH_METHOD      "xenmesh.v1.Ops/StartVm"; of a task "StartVm"
 *   XENMESH_OBJECT      what the request named (option `object` in the protos)
 *   XENMESH_OBJECT_ID   which that was (option `object_id`); for a VM its UUID
 *   XENMESH_OUTCOME     accepted: done, or begun as a task
 *                       denied: the caller's role is too low
 *                       failed: refused or failed for another reason
 *                       repeated: answered with the result of an earlier call
 *                       unanswered: the service ended, or the caller did not wait
 *                       and of a task: done, failed, cancelled
 *   XENMESH_RESULT      the code: "OK", "NOT_FOUND", ...
 *   XENMESH_REASON      the text that came with it
 *   XENMESH_UID, _GID, _PID       of a local caller, as the kernel says
 *   XENMESH_CERTIFICATE name in the certificate of a caller over TLS
 *   XENMESH_ADDRESS     of a caller over plain TCP
 *   XENMESH_CLIENT      what the caller calls itself
 *   XENMESH_DURATION_US           from its arrival to its end
 *   XENMESH_REQUEST_ID  32 hex digits; the same for a call, its repeats and its task
 *   TRACE_ID            of the W3C trace context, the same for all that belongs together
 *   TASK                the id of the task
 *
 * A field that does not apply is left out.  All text is escaped by the log.
 *
 * Calls that were not executed are limited to AUDIT_REFUSED_MAX lines in 10 s
 * per user (callers with a certificate are one, all others of the network
 * another), so that nobody who may do nothing can flood the journal until it
 * drops what others did; how many more there were is one line afterwards.
 */
#include <protobuf-c/protobuf-c.h>
#include <systemd/sd-event.h>

#include "bus/engine.h"
#include "bus/quota.h"

#define AUDIT_ID_CALL	  "8c16b3e0d04a41dabeec220a346feb01"
#define AUDIT_ID_TASK	  "c56d3adc46b24b57a46abb0423e92fc8"
#define AUDIT_ID_LEFT_OUT "7ccc6fc813854ec09414ea6d34b773d9"
#define AUDIT_REFUSED_MAX 50
#define AUDIT_REQUEST_ID  16 /* bytes */
#define AUDIT_OBJECT_SIZE 256
#define AUDIT_USERS	  32 /* that are being limited at a time */

enum audit_outcome {
	AUDIT_ACCEPTED,
	AUDIT_DENIED,
	AUDIT_FAILED,
	AUDIT_REPEATED,
	AUDIT_UNANSWERED,
	AUDIT_DONE,
	AUDIT_CANCELLED,
};

/* Text that is NULL or "" does not apply. */
struct audit_line {
	const char *message_id;
	const char *method;
	const char *object, *object_id;
	enum audit_outcome outcome;
	int code; /* enum bus_code */
	const char *reason;
	const struct bus_peer *peer; /* or NULL */
	const char *client;
	uint64_t duration_us;
	const uint8_t *request_id; /* AUDIT_REQUEST_ID bytes, or NULL */
	const char *traceparent;
	const char *task;
};

void audit_write(const struct audit_line *line);

/* The value at a path as in the options `object` and `object_id`, cut to the buffer; "" when it is
 * not set, or path is "". */
void audit_object(const ProtobufCMessage *message, const char *path, char *out, size_t size);

/* The lines that each user still has for what was not executed. */
struct audit_limit {
	sd_event *loop;
	sd_event_source *timer;
	struct audit_user {
		struct quota_payer payer;
		uint64_t window_ns; /* its begin; 0 = unused */
		unsigned int n_lines, n_left_out;
	} users[AUDIT_USERS];
};

void audit_limit_init(struct audit_limit *l, sd_event *loop);
/* Tells what was left out and not told yet. */
void audit_limit_deinit(struct audit_limit *l);
/* Whether a refused call of peer may be written; it is counted if not. */
bool audit_limit_take(struct audit_limit *l, const struct bus_peer *peer);
