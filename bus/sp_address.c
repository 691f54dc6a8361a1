/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Invariant: what is parsed is terminated and not empty.
 */
#include "bus/sp_address.h"

#include <stdio.h>

#include "libcommon/parse.h"

static int parse_path(struct sp_address *a, const char *path)
{
	if (strlen(path) >= sizeof(a->path)) {
		return -ENAMETOOLONG;
	}
	memcpy(a->path, path, strlen(path) + 1);
	return path[0] == '\0' ? -EINVAL : 0;
}

static int parse_host(struct sp_address *a, const char *text)
{
	const char *colon = strrchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : 0;
	uint32_t port;

	if (len == 0 || strchr(text, '/') ||
	    parse_u32(colon + 1, strlen(colon + 1), UINT16_MAX, &port) < 0 || port == 0) {
		return -EINVAL;
	}
	if (text[0] == '[') {
		if (len < 3 || text[len - 1] != ']') {
			return -EINVAL;
		}
		text++;
		len -= 2;
	} else if (memchr(text, ':', len)) {
		return -EINVAL; /* IPv6 without brackets: where would the port begin? */
	}
	if (len > SP_HOST_MAX) {
		return -ENAMETOOLONG;
	}
	memcpy(a->host, text, len);
	snprintf(a->port, sizeof(a->port), "%hu", (unsigned short)port);
	return 0;
}

int sp_address_parse(struct sp_address *out, const char *url)
{
	static const struct {
		const char *prefix;
		enum sp_scheme scheme;
	} schemes[] = { { "ipc://", SP_IPC }, { "tcp://", SP_TCP }, { "tls+tcp://", SP_TLS } };

	for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
		if (str_starts(url, schemes[i].prefix)) {
			const char *rest = url + strlen(schemes[i].prefix);

			*out = (struct sp_address){ .scheme = schemes[i].scheme };
			return out->scheme == SP_IPC ? parse_path(out, rest)
						     : parse_host(out, rest);
		}
	}
	return -EPROTONOSUPPORT;
}
