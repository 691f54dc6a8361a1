/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Strict parsers for foreign text: the whole input must fit, nothing is
 * skipped, ranges are checked.  All take (text, len) because values from
 * xenstore and protobuf need not be terminated.
 */
#include "libcommon/base.h"

/* Decimal without sign or leading blanks. 0, -EINVAL or -ERANGE. */
int parse_u64(const char *text, size_t len, uint64_t max, uint64_t *out);
int parse_u32(const char *text, size_t len, uint32_t max, uint32_t *out);
/* With optional '-'. */
int parse_i64(const char *text, size_t len, int64_t *out);
/* "true" "yes" "on" "1" / "false" "no" "off" "0". */
int parse_bool(const char *text, bool *out);
/* "5", "5s", "2m", "1h", "500ms" to ms. 0, -EINVAL or -ERANGE. */
int parse_duration_ms(const char *text, uint64_t *out);
/* True when all len bytes are valid UTF-8 (U+0000 is). */
bool utf8_is_valid(const char *text, size_t len);
/* Bytes of the valid UTF-8 character at text, 1..4; 0 when there is none. */
size_t utf8_sequence_len(const char *text, size_t len);
