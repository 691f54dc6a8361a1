/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * UUIDs and random identifiers.
 */
#include "libcommon/base.h"

#define UUID_STR_LEN_ 36

struct uuid {
	uint8_t bytes[16];
};

/* Fills with bytes of the kernel's generator; never fails on a booted Linux. */
void random_bytes(void *out, size_t len);
/* Version 4. */
void uuid_random(struct uuid *out);
/* 36 characters and a NUL, lower case. */
void uuid_format(const struct uuid *u, char out[static 37]);
/* Exactly 36 characters, either case; -EINVAL otherwise. */
int uuid_parse(const char *text, struct uuid *out);
bool uuid_is_zero(const struct uuid *u);
/* True when text is a UUID in the canonical lower-case form. */
bool uuid_is_canonical(const char *text);
