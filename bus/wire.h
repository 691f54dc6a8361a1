/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The one piece of protobuf encoding that protobuf-c does not offer: a
 * length-delimited field around bytes that are encoded already.  The fields of
 * a message may come in any order and in pieces, so it is put beside what
 * protobuf-c packs.
 */
#include "libcommon/base.h"

#define WIRE_HEAD_MAX 15 /* of one field: 5 bytes of key, 10 of length */

/* Key and length of a field; returns the number of bytes. */
static inline size_t wire_put_head(uint8_t out[static WIRE_HEAD_MAX], uint32_t field, uint64_t len)
{
	const uint64_t values[] = { (uint64_t)field << 3 | 2, len };
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		uint64_t v = values[i];

		for (; v >= 0x80; v >>= 7) {
			out[n++] = (uint8_t)(v | 0x80);
		}
		out[n++] = (uint8_t)v;
	}
	return n;
}
