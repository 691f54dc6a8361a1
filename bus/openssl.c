/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define OPENSSL_NO_NAMES
#include "bus/openssl.h"

#include "libcommon/library.h"

#define LIBRARY "libssl.so.3" /* brings libcrypto.so.3 */

struct openssl openssl_table;

int openssl_load(struct strbuf *errors)
{
	static const struct library_function functions[] = {
#define OPENSSL_ROW(f) { #f, offsetof(struct openssl, f) },
		OPENSSL_FUNCTIONS(OPENSSL_ROW)
	};
	const char *why;
	int r = 0;

	if (!openssl_table.SSL_new) {
		r = library_load(LIBRARY, functions, ARRAY_LEN(functions), &openssl_table,
				 sizeof(openssl_table), &why);
	}
	if (r < 0) {
		strbuf_printf(errors, "tls+tcp:// needs %s of OpenSSL 3: %s; install libssl3\n",
			      LIBRARY, why);
	}
	return r;
}
