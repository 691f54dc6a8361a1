/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file is a stranger's: every length is checked before it is believed, and
 * no more memory is used than one record may have.
 */
#include "clients/cli/capture_file.h"

#include <ctype.h>
#include <endian.h>
#include <stdio.h>

#include "libcommon/err.h"

#define VERSION 1

static const uint8_t magic[8] = { 'X', 'M', 'C', 'A', 'P', '\r', '\n', 0x1a };

struct capture_reader {
	FILE *file;
	char *path;
	uint64_t offset; /* of the record that comes next */
	uint64_t n_good;
	uint8_t *record;
	size_t size; /* of its memory */
};

/* ---- bytes ---- */

static void put_u32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static void put_u64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

static uint32_t get_u32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t get_u64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

/* CRC-32 of IEEE 802.3, four bits at a time. */
static uint32_t crc32_of(const uint8_t *data, size_t len)
{
	static const uint32_t table[16] = {
		0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
		0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
		0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
	};
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < len; i++) {
		crc ^= data[i];
		crc = crc >> 4 ^ table[crc & 15];
		crc = crc >> 4 ^ table[crc & 15];
	}
	return ~crc;
}

static bool is_service(const char *name, size_t len)
{
	if (len == 0 || len > CAPTURE_SERVICE_MAX) {
		return false;
	}
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)name[i]) && !strchr("_-./", name[i])) {
			return false;
		}
	}
	return !memchr(name, 0, len);
}

static bool has_publication(enum capture_kind kind)
{
	return kind == CAPTURE_LIVE || kind == CAPTURE_REPLAYED;
}

void capture_put_head(uint8_t out[static CAPTURE_HEAD_SIZE])
{
	memset(out, 0, CAPTURE_HEAD_SIZE);
	memcpy(out, magic, sizeof(magic));
	put_u32(out + 8, VERSION);
}

const char *capture_check_head(const uint8_t head[static CAPTURE_HEAD_SIZE])
{
	if (memcmp(head, magic, sizeof(magic)) != 0) {
		return "it is no capture of xenmesh bus";
	}
	if (get_u32(head + 8) != VERSION) {
		return "it is of a newer version of xenmesh";
	}
	return NULL;
}

void capture_seal(uint8_t *record, size_t len)
{
	put_u32(record + 4, crc32_of(record + CAPTURE_RECORD_HEAD, len - CAPTURE_RECORD_HEAD));
}

int capture_put(struct strbuf *out, const struct capture_record *r)
{
	size_t name = strlen(r->service);
	size_t body = CAPTURE_BODY_MIN + name + r->len;
	uint8_t *p;

	if (!is_service(r->service, name) || body > CAPTURE_BODY_MAX ||
	    has_publication(r->kind) != (r->len > 0)) {
		return -EINVAL;
	}
	p = strbuf_extend(out, CAPTURE_RECORD_HEAD + body);
	if (!p) {
		return -ENOMEM;
	}
	put_u32(p, (uint32_t)body);
	p[8] = (uint8_t)r->kind;
	p[9] = (uint8_t)name;
	p[10] = 0;
	p[11] = 0;
	put_u64(p + 12, r->time_ns);
	put_u64(p + 20, r->seq);
	put_u64(p + 28, r->missed);
	memcpy(p + 36, r->service, name);
	if (r->len > 0) {
		memcpy(p + 36 + name, r->data, r->len);
	}
	capture_seal(p, CAPTURE_RECORD_HEAD + body);
	return 0;
}

size_t capture_body_size(const uint8_t head[static CAPTURE_RECORD_HEAD])
{
	uint32_t size = get_u32(head);

	return size >= CAPTURE_BODY_MIN && size <= CAPTURE_BODY_MAX ? size : 0;
}

int capture_get(const uint8_t *record, size_t len, struct capture_record *out, const char **why)
{
	size_t size = len < CAPTURE_RECORD_HEAD ? 0 : capture_body_size(record);
	const uint8_t *body = record + CAPTURE_RECORD_HEAD;
	size_t name;

	*why = NULL;
	if (size == 0 || size != len - CAPTURE_RECORD_HEAD) {
		*why = "no record begins there";
		return -EBADMSG;
	}
	name = body[1];
	if (crc32_of(body, size) != get_u32(record + 4)) {
		*why = "its checksum is wrong";
	} else if (CAPTURE_BODY_MIN + name > size ||
		   !is_service((const char *)body + CAPTURE_BODY_MIN, name)) {
		*why = "it has no valid name of a service";
	}
	if (*why) {
		return -EBADMSG;
	}
	*out = (struct capture_record){ .kind = (enum capture_kind)body[0],
					.time_ns = get_u64(body + 4),
					.seq = get_u64(body + 12),
					.missed = get_u64(body + 20) };
	memcpy(out->service, body + CAPTURE_BODY_MIN, name);
	if (body[0] < CAPTURE_LIVE || body[0] > CAPTURE_LOST) {
		return 1;
	}
	if (has_publication(out->kind)) {
		out->data = body + CAPTURE_BODY_MIN + name;
		out->len = size - CAPTURE_BODY_MIN - name;
	}
	if (has_publication(out->kind) && !memchr(out->data, 0, out->len)) {
		*why = "its publication has no topic";
		return -EBADMSG;
	}
	return 0;
}

/* ---- files ---- */

int capture_reader_open(struct capture_reader **out, const char *path, struct strbuf *error)
{
	_cleanup_(capture_reader_closep) struct capture_reader *r = calloc(1, sizeof(*r));
	uint8_t head[CAPTURE_HEAD_SIZE];
	const char *why;

	if (!r) {
		return -ENOMEM;
	}
	r->path = strdup(path);
	r->file = streq(path, "-") ? stdin : fopen(path, "re");
	if (!r->file || !r->path) {
		int e = err_errno();

		strbuf_printf(error, "%s: %s", path, err_text(e));
		return e;
	}
	if (fread(head, 1, sizeof(head), r->file) != sizeof(head)) {
		strbuf_printf(error, "%s: %s", path,
			      ferror(r->file) ? err_text(err_errno())
					      : "it is too short for a capture of xenmesh bus");
		return -EINVAL;
	}
	why = capture_check_head(head);
	if (why) {
		strbuf_printf(error, "%s: %s", path, why);
		return -EINVAL;
	}
	r->offset = sizeof(head);
	*out = STEAL(r);
	return 0;
}

struct capture_reader *capture_reader_close(struct capture_reader *r)
{
	if (r) {
		if (r->file && r->file != stdin) {
			fclose(r->file);
		}
		free(r->path);
		free(r->record);
		free(r);
	}
	return NULL;
}

static int complain(const struct capture_reader *r, int code, const char *what,
		    struct strbuf *error)
{
	strbuf_printf(error, "%s: record at byte %llu: %s; %llu before it are good", r->path,
		      (unsigned long long)r->offset, what, (unsigned long long)r->n_good);
	return code;
}

/* 0; 1 = not a byte is left; -EIO. */
static int read_bytes(struct capture_reader *r, uint8_t *to, size_t len, struct strbuf *error)
{
	size_t n = fread(to, 1, len, r->file);

	if (n == len) {
		return 0;
	}
	if (ferror(r->file)) {
		return complain(r, -EIO, err_text(err_errno()), error);
	}
	return n == 0 ? 1 : complain(r, -EIO, "the file ends within it", error);
}

static bool make_room(struct capture_reader *r, size_t size)
{
	uint8_t *larger = size <= r->size ? r->record : realloc(r->record, size);

	if (!larger) {
		return false;
	}
	r->record = larger;
	r->size = MAX(r->size, size);
	return true;
}

int capture_read(struct capture_reader *r, struct capture_record *out, struct strbuf *error)
{
	uint8_t head[CAPTURE_RECORD_HEAD];

	for (;;) {
		const char *why;
		size_t size;
		int e = read_bytes(r, head, sizeof(head), error);

		if (e) {
			return e;
		}
		size = capture_body_size(head);
		if (size == 0) {
			return complain(r, -EIO, "no record begins there", error);
		}
		if (!make_room(r, sizeof(head) + size)) {
			return complain(r, -ENOMEM, "out of memory", error);
		}
		memcpy(r->record, head, sizeof(head));
		e = read_bytes(r, r->record + sizeof(head), size, error);
		if (e) {
			return e < 0 ? e : complain(r, -EIO, "the file ends within it", error);
		}
		e = capture_get(r->record, sizeof(head) + size, out, &why);
		if (e < 0) {
			e = complain(r, -EBADMSG, why, error);
		}
		r->offset += sizeof(head) + size;
		r->n_good += e >= 0;
		if (e <= 0) {
			return e;
		}
	}
}
