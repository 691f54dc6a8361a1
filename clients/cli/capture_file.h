/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Files of `xenmesh bus capture`.  All numbers are little endian.
 *
 *   head     8 bytes  58 4d 43 41 50 0d 0a 1a ("XMCAP", CR, LF, ^Z)
 *            4        version, 1
 *            4        0
 *   record   4        size of the body, 28 .. CAPTURE_BODY_MAX
 *            4        CRC-32 (zlib's) of the body
 *            size     body
 *   body     1        kind: 1 live publication, 2 replayed one (of a snapshot or repair),
 *                     3 gap, 4 resynced, 5 down, 6 transient messages lost
 *            1        length of the service's name, 1 .. 64
 *            2        0
 *            8        time of receipt, CLOCK_REALTIME in ns
 *            8        seq
 *            8        kinds 3 and 6: events lost, at least; else 0
 *            ...      the service's name: letters, digits, "_", "-", "." and "/"
 *            ...      kinds 1 and 2: the publication: topic, NUL, serialized Event; others: nothing
 *
 * A reader ignores records of a kind that it does not know.  A file that ends within a record
 * was cut off: everything before is good.
 */
#include "libcommon/base.h"
#include "libcommon/strbuf.h"

#define CAPTURE_HEAD_SIZE   16
#define CAPTURE_RECORD_HEAD 8
#define CAPTURE_SERVICE_MAX 64
#define CAPTURE_BODY_MIN    28
#define CAPTURE_BODY_MAX    (CAPTURE_BODY_MIN + CAPTURE_SERVICE_MAX + (4U << 20) + 256)

enum capture_kind {
	CAPTURE_LIVE = 1,
	CAPTURE_REPLAYED,
	CAPTURE_GAP,
	CAPTURE_RESYNCED,
	CAPTURE_DOWN,
	CAPTURE_LOST,
};

struct capture_record {
	enum capture_kind kind;
	uint64_t time_ns;
	uint64_t seq;
	uint64_t missed;
	char service[CAPTURE_SERVICE_MAX + 1];
	const uint8_t *data; /* the publication, with its topic at the beginning; NULL if none */
	size_t len;
};

/* ---- bytes; pure ---- */

void capture_put_head(uint8_t out[static CAPTURE_HEAD_SIZE]);
/* NULL or what is wrong. */
const char *capture_check_head(const uint8_t head[static CAPTURE_HEAD_SIZE]);
/* Append the whole record. 0; -EINVAL for one that could not be read again; -ENOMEM. */
int capture_put(struct strbuf *out, const struct capture_record *r);
/* Give a whole record the checksum of its body. */
void capture_seal(uint8_t *record, size_t len);
/* Size of the body of a record that begins with these bytes; 0 = no record does. */
size_t capture_body_size(const uint8_t head[static CAPTURE_RECORD_HEAD]);
/* A record with its head, whole; *out points into it. 0; 1 = sound, but of an unknown kind;
 * -EBADMSG with what is wrong in *why. */
int capture_get(const uint8_t *record, size_t len, struct capture_record *out, const char **why);

/* ---- files ---- */

struct capture_reader;

/* "-" is standard input. 0 or <0 with one line in `error`. */
int capture_reader_open(struct capture_reader **out, const char *path, struct strbuf *error);
struct capture_reader *capture_reader_close(struct capture_reader *r);
static inline void capture_reader_closep(struct capture_reader **r)
{
	*r = capture_reader_close(*r);
}
/* The next record, valid until the next call. 0; 1 = the end; -EBADMSG: this record is damaged,
 * `error` says where, and the next one may be read; other <0: nothing more can be read. */
int capture_read(struct capture_reader *r, struct capture_record *out, struct strbuf *error);
