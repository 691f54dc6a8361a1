/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Foreign text on its way into facts.
 */
#include "libcommon/base.h"

/* Copy len bytes of text into out (size bytes, always terminated): control characters are left
 * out, blanks at both ends too, and what does not fit is cut off at a UTF-8 boundary. */
void guest_text_copy(char *out, size_t size, const char *text, size_t len);
