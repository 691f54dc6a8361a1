/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <math.h>
#include <stdio.h>

#include "clients/cli/capture_file.h"
#include "clients/cli/window.h"
#include "tests/unit/unit.h"

static const uint8_t publication[] = "vm/1/state\0event";

static struct capture_record a_record(enum capture_kind kind)
{
	struct capture_record r = { .kind = kind, .time_ns = 1795355665745870549, .seq = 300 };

	strcpy(r.service, "pool-1/ops");
	if (kind == CAPTURE_LIVE || kind == CAPTURE_REPLAYED) {
		r.data = publication;
		r.len = sizeof(publication);
	}
	return r;
}

static bool is_same(const struct capture_record *a, const struct capture_record *b)
{
	return a->kind == b->kind && a->time_ns == b->time_ns && a->seq == b->seq &&
	       a->missed == b->missed && streq(a->service, b->service) && a->len == b->len &&
	       (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

/* The bytes that capture_file.h promises. */
static void has_documented_layout(void)
{
	static const uint8_t wanted[] = {
		33, 0, 0, 0, 0xaf, 0x09, 0xe4, 0xa5, 3,	  5,   0,   0,	 1,   0,
		0,  0, 0, 0, 0,	   0,	 2,    0,    0,	  0,   0,   0,	 0,   0,
		4,  0, 0, 0, 0,	   0,	 0,    0,    'a', 'b', 'c', 'd', 'e',
	};
	struct capture_record r = {
		.kind = CAPTURE_GAP, .time_ns = 1, .seq = 2, .missed = 4, .service = "abcde"
	};
	struct strbuf s = STRBUF_NULL;
	uint8_t head[CAPTURE_HEAD_SIZE];

	capture_put_head(head);
	CU_ASSERT_EQUAL(memcmp(head, "XMCAP\r\n\x1a\x01\0\0\0\0\0\0\0", sizeof(head)), 0);
	CU_ASSERT_EQUAL(capture_put(&s, &r), 0);
	CU_ASSERT_EQUAL(s.len, sizeof(wanted));
	CU_ASSERT_EQUAL(memcmp(s.data, wanted, MIN(s.len, sizeof(wanted))), 0);
	strbuf_deinit(&s);
}

static void reads_what_it_wrote(void)
{
	for (int kind = CAPTURE_LIVE; kind <= CAPTURE_LOST; kind++) {
		struct capture_record r = a_record((enum capture_kind)kind);
		struct capture_record back;
		struct strbuf s = STRBUF_NULL;
		const char *why;

		CU_ASSERT_EQUAL(capture_put(&s, &r), 0);
		CU_ASSERT_EQUAL(capture_get((const uint8_t *)s.data, s.len, &back, &why), 0);
		CU_ASSERT(is_same(&r, &back));
		strbuf_deinit(&s);
	}
}

static void sees_every_damage(void)
{
	struct capture_record r = a_record(CAPTURE_LIVE);
	struct capture_record back;
	struct strbuf s = STRBUF_NULL;
	const char *why;

	CU_ASSERT_EQUAL(capture_put(&s, &r), 0);
	for (size_t bit = 0; bit < s.len * 8; bit++) {
		s.data[bit / 8] ^= (char)(1 << bit % 8);
		CU_ASSERT_EQUAL(capture_get((const uint8_t *)s.data, s.len, &back, &why), -EBADMSG);
		CU_ASSERT_PTR_NOT_NULL(why);
		s.data[bit / 8] ^= (char)(1 << bit % 8);
	}
	for (size_t len = 0; len < s.len; len++) {
		CU_ASSERT_EQUAL(capture_get((const uint8_t *)s.data, len, &back, &why), -EBADMSG);
	}
	strbuf_deinit(&s);
}

static void writes_only_what_can_be_read(void)
{
	struct capture_record r = a_record(CAPTURE_LIVE);
	struct strbuf s = STRBUF_NULL;

	r.len = CAPTURE_BODY_MAX;
	CU_ASSERT_EQUAL(capture_put(&s, &r), -EINVAL);
	r = a_record(CAPTURE_LIVE);
	r.len = 0;
	CU_ASSERT_EQUAL(capture_put(&s, &r), -EINVAL);
	r = a_record(CAPTURE_GAP);
	r.len = 3;
	CU_ASSERT_EQUAL(capture_put(&s, &r), -EINVAL);
	r = a_record(CAPTURE_GAP);
	strcpy(r.service, "a b");
	CU_ASSERT_EQUAL(capture_put(&s, &r), -EINVAL);
	r.service[0] = 0;
	CU_ASSERT_EQUAL(capture_put(&s, &r), -EINVAL);
	CU_ASSERT_EQUAL(s.len, 0);
	strbuf_deinit(&s);
}

/* ---- files ---- */

struct file {
	char path[32];
	struct strbuf bytes;
};

static void file_write(struct file *f, size_t len)
{
	FILE *out;

	strcpy(f->path, "/tmp/test_captureXXXXXX");
	out = fdopen(mkstemp(f->path), "w");
	CU_ASSERT_EQUAL(fwrite(f->bytes.data, 1, len, out), len);
	fclose(out);
}

/* Three records of `size` bytes each. */
static size_t file_init(struct file *f)
{
	struct capture_record r = a_record(CAPTURE_LIVE);

	f->bytes = STRBUF_NULL;
	capture_put_head(strbuf_extend(&f->bytes, CAPTURE_HEAD_SIZE));
	for (int i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(capture_put(&f->bytes, &r), 0);
		r.seq++;
	}
	return (f->bytes.len - CAPTURE_HEAD_SIZE) / 3;
}

/* Good records, and the error at the end. */
static int file_read(struct file *f, int *last, struct strbuf *error)
{
	_cleanup_(capture_reader_closep) struct capture_reader *reader = NULL;
	struct capture_record r;
	int n = 0;

	*last = capture_reader_open(&reader, f->path, error);
	while (*last == 0 || (reader && *last == -EBADMSG)) {
		*last = capture_read(reader, &r, error);
		n += *last == 0;
	}
	unlink(f->path);
	return n;
}

static void keeps_what_is_good(void)
{
	struct strbuf error = STRBUF_NULL;
	struct file f;
	size_t size = file_init(&f);
	char place[64];
	int last;

	file_write(&f, f.bytes.len);
	CU_ASSERT_EQUAL(file_read(&f, &last, &error), 3);
	CU_ASSERT_EQUAL(last, 1);
	CU_ASSERT_EQUAL(error.len, 0);
	/* Cut off anywhere. */
	for (size_t len = CAPTURE_HEAD_SIZE; len < f.bytes.len; len += 7) {
		size_t whole = (len - CAPTURE_HEAD_SIZE) / size;

		strbuf_reset(&error);
		file_write(&f, len);
		CU_ASSERT_EQUAL(file_read(&f, &last, &error), (int)whole);
		snprintf(place, sizeof(place), "record at byte %zu",
			 CAPTURE_HEAD_SIZE + whole * size);
		CU_ASSERT(last == 1 ? len == CAPTURE_HEAD_SIZE + whole * size
				    : strstr(strbuf_str(&error), place) != NULL);
	}
	/* The second is damaged: the others are read. */
	strbuf_reset(&error);
	f.bytes.data[CAPTURE_HEAD_SIZE + size + size / 2] ^= 1;
	file_write(&f, f.bytes.len);
	CU_ASSERT_EQUAL(file_read(&f, &last, &error), 2);
	CU_ASSERT_EQUAL(last, 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(strbuf_str(&error), "checksum"));
	strbuf_deinit(&error);
	strbuf_deinit(&f.bytes);
}

static void refuses_other_files(void)
{
	struct strbuf error = STRBUF_NULL;
	struct file f;
	int last;

	file_init(&f);
	f.bytes.data[8] = 2;
	file_write(&f, f.bytes.len);
	CU_ASSERT_EQUAL(file_read(&f, &last, &error), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(strbuf_str(&error), "newer version"));
	strbuf_reset(&error);
	f.bytes.data[0] = 'Y';
	file_write(&f, f.bytes.len);
	CU_ASSERT_EQUAL(file_read(&f, &last, &error), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(strbuf_str(&error), "no capture"));
	strbuf_reset(&error);
	file_write(&f, 5);
	CU_ASSERT_EQUAL(file_read(&f, &last, &error), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(strbuf_str(&error), "too short"));
	strbuf_reset(&error);
	CU_ASSERT_EQUAL(file_read(&f, &last, &error), 0);
	CU_ASSERT_EQUAL(last, -ENOENT);
	strbuf_deinit(&error);
	strbuf_deinit(&f.bytes);
}

/* ---- windows ---- */

static void window_has_statistics(void)
{
	struct window_stats s;
	struct window w;

	CU_ASSERT_EQUAL(window_init(&w, 100), 0);
	window_stats(&w, &s);
	CU_ASSERT_EQUAL(s.n, 0);
	for (int i = 1000; i > 0; i--) {
		window_add(&w, i);
	}
	window_stats(&w, &s);
	CU_ASSERT_EQUAL(s.n, 100);
	CU_ASSERT_DOUBLE_EQUAL(s.min, 1, 1e-9);
	CU_ASSERT_DOUBLE_EQUAL(s.max, 100, 1e-9);
	CU_ASSERT_DOUBLE_EQUAL(s.avg, 50.5, 1e-9);
	CU_ASSERT_DOUBLE_EQUAL(s.p50, 50, 1e-9);
	CU_ASSERT_DOUBLE_EQUAL(s.p99, 99, 1e-9);
	CU_ASSERT_DOUBLE_EQUAL(s.stddev, sqrt(833.25), 1e-9);
	window_deinit(&w);
	CU_ASSERT_EQUAL(window_init(&w, 0), -EINVAL);
}

UNIT_MAIN("cli_capture", UNIT_TEST(has_documented_layout), UNIT_TEST(reads_what_it_wrote),
	  UNIT_TEST(sees_every_damage), UNIT_TEST(writes_only_what_can_be_read),
	  UNIT_TEST(keeps_what_is_good), UNIT_TEST(refuses_other_files),
	  UNIT_TEST(window_has_statistics))
