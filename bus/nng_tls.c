/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nng gets the texts of the files, which are checked as for our own engine.
 * It reads them once, so renewed ones need a restart.
 */
#include "bus/nng_tls.h"

#include "libcommon/err.h"
#include "libcommon/log.h"

static int configure_tls(nng_tls_config *c, const struct bus_tls *tls)
{
	_cleanup_(xfreep) char *ca = NULL, *crl = NULL, *cert = NULL, *key = NULL;
	char **const texts[] = { &ca, &cert, &key, &crl };
	int rv;

	for (enum bus_tls_file file = 0; file < BUS_TLS_FILES; file++) {
		const char *path = bus_tls_path(tls, file);

		*texts[file] = path ? bus_tls_text(path) : NULL;
		if (path && !*texts[file]) {
			return err_errno();
		}
	}
	rv = nng_tls_config_ca_chain(c, ca, crl);
	rv = rv ? rv : nng_tls_config_own_cert(c, cert, key, NULL);
	rv = rv ? rv : nng_tls_config_auth_mode(c, NNG_TLS_AUTH_MODE_REQUIRED);
	return rv == 0 ? 0 : -EINVAL; /* bus_tls has checked them */
}

int nng_tls_prepare(struct bus_tls *tls, const char *url, nng_tls_mode mode, nng_tls_config **out)
{
	nng_tls_config *c = NULL;
	int r;

	*out = NULL;
	if (!str_starts(url, "tls+tcp")) {
		return 0;
	}
	if (!tls || !bus_tls_is_complete(tls) || bus_tls_refresh(tls) < 0) {
		log_error("%s needs ca, cert and key in [tls] of the topology", url);
		return -ENOKEY;
	}
	if (nng_tls_config_alloc(&c, mode) != 0) {
		return -ENOMEM;
	}
	r = configure_tls(c, tls);
	if (r < 0) {
		nng_tls_config_free(c);
		return r;
	}
	*out = c;
	return 0;
}
