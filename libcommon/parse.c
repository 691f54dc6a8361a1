/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The libc parsers skip blanks, take signs and wrap; none of that is wanted of
 * text that a guest or a peer wrote.
 */
#include "libcommon/parse.h"

int parse_u64(const char *text, size_t len, uint64_t max, uint64_t *out)
{
	bool is_too_big = false;
	uint64_t value = 0;

	if (len == 0) {
		return -EINVAL;
	}
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9') {
			return -EINVAL;
		}
		is_too_big |= __builtin_mul_overflow(value, 10, &value);
		is_too_big |= __builtin_add_overflow(value, text[i] - '0', &value);
	}
	if (is_too_big || value > max) {
		return -ERANGE;
	}
	*out = value;
	return 0;
}

int parse_u32(const char *text, size_t len, uint32_t max, uint32_t *out)
{
	uint64_t value;
	int r = parse_u64(text, len, max, &value);

	if (r == 0) {
		*out = (uint32_t)value;
	}
	return r;
}

int parse_i64(const char *text, size_t len, int64_t *out)
{
	bool is_negative = len > 0 && text[0] == '-';
	uint64_t magnitude;
	int r;

	if (is_negative) {
		text++;
		len--;
	}
	r = parse_u64(text, len, (uint64_t)INT64_MAX + is_negative, &magnitude);
	if (r == 0) {
		*out = is_negative ? (int64_t)-magnitude : (int64_t)magnitude;
	}
	return r;
}

int parse_bool(const char *text, bool *out)
{
	static const char *const words[][2] = {
		{ "false", "true" },
		{ "no", "yes" },
		{ "off", "on" },
		{ "0", "1" },
	};

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		for (int value = 0; value <= 1; value++) {
			if (streq(text, words[i][value])) {
				*out = value;
				return 0;
			}
		}
	}
	return -EINVAL;
}

int parse_duration_ms(const char *text, uint64_t *out)
{
	static const struct {
		const char *suffix;
		uint64_t ms;
	} units[] = { { "", 1000 }, { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 } };
	size_t n_digits = strspn(text, "0123456789");

	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (streq(text + n_digits, units[i].suffix)) {
			uint64_t n;
			int r = parse_u64(text, n_digits, UINT64_MAX / units[i].ms, &n);

			if (r == 0) {
				*out = n * units[i].ms;
			}
			return r;
		}
	}
	return -EINVAL;
}

/* Length of the valid UTF-8 sequence at p (end beyond its last byte), 0 when there is none. */
static size_t utf8_sequence(const unsigned char *p, const unsigned char *end)
{
	static const struct {
		unsigned char first_min, first_max, second_min, second_max, len;
	} forms[] = {
		/* Table 3-7 of the Unicode standard: neither overlong, nor surrogates. */
		{ 0x00, 0x7f, 0x00, 0xff, 1 }, { 0xc2, 0xdf, 0x80, 0xbf, 2 },
		{ 0xe0, 0xe0, 0xa0, 0xbf, 3 }, { 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
		{ 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 },
		{ 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};

	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		if (*p < forms[i].first_min || *p > forms[i].first_max) {
			continue;
		}
		if (forms[i].len > end - p) {
			return 0;
		}
		if (forms[i].len > 1 &&
		    (p[1] < forms[i].second_min || p[1] > forms[i].second_max)) {
			return 0;
		}
		for (size_t k = 2; k < forms[i].len; k++) {
			if ((p[k] & 0xc0) != 0x80) {
				return 0;
			}
		}
		return forms[i].len;
	}
	return 0;
}

size_t utf8_sequence_len(const char *text, size_t len)
{
	const unsigned char *p = (const unsigned char *)text;

	return len > 0 ? utf8_sequence(p, p + len) : 0;
}

bool utf8_is_valid(const char *text, size_t len)
{
	while (len > 0) {
		size_t n = utf8_sequence_len(text, len);

		if (n == 0) {
			return false;
		}
		text += n;
		len -= n;
	}
	return true;
}
