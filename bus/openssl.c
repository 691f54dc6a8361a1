/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Invariant: the table is whole or not used; once filled it stays, as a
 * library that is linked does.
 */
#define OPENSSL_NO_NAMES
#include "bus/openssl.h"

#include <dlfcn.h>

#define LIBRARY "libssl.so.3" /* brings libcrypto.so.3 */

struct openssl openssl_table;

static bool find_all(void *library, struct openssl *out)
{
	static const struct {
		const char *name;
		size_t offset;
	} functions[] = {
#define OPENSSL_ROW(f) { #f, offsetof(struct openssl, f) },
		OPENSSL_FUNCTIONS(OPENSSL_ROW)
	};

	for (size_t i = 0; i < ARRAY_LEN(functions); i++) {
		void *f = dlsym(library, functions[i].name);

		if (!f) {
			return false;
		}
		memcpy((char *)out + functions[i].offset, &f, sizeof(f));
	}
	return true;
}

int openssl_load(struct strbuf *errors)
{
	struct openssl table;
	void *library;

	if (openssl_table.SSL_new) {
		return 0;
	}
	library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!library || !find_all(library, &table)) {
		strbuf_printf(errors, "tls+tcp:// needs %s of OpenSSL 3: %s; install libssl3\n",
			      LIBRARY, dlerror());
		return -ENOSYS;
	}
	openssl_table = table;
	return 0;
}
