/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Values end up in dom0, in logs and on terminals there: no control character
 * leaves the guest, whatever its files hold.
 */
#include "services/guest-agent/logic/text.h"

static bool is_continuation(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

void guest_text_copy(char *out, size_t size, const char *text, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c < 0x20 || c == 0x7f || (c == ' ' && n == 0)) {
			continue;
		}
		if (n == size - 1) {
			if (is_continuation(text[i])) {
				while (n > 0 && is_continuation(out[n - 1])) {
					n--;
				}
				n -= n > 0;
			}
			break;
		}
		out[n++] = (char)c;
	}
	while (n > 0 && out[n - 1] == ' ') {
		n--;
	}
	out[n] = '\0';
}
