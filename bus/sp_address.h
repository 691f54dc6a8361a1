/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Where an SP socket listens or dials: a URL taken apart.
 */
#include "libcommon/base.h"

enum sp_scheme { SP_IPC, SP_TCP, SP_TLS };

#define SP_HOST_MAX 255

struct sp_address {
	enum sp_scheme scheme;
	char path[108];		    /* ipc */
	char host[SP_HOST_MAX + 1]; /* a name, an address without brackets, "*" = all of ours */
	char port[6];
};

/* ipc:///PATH, tcp://HOST:PORT, tls+tcp://HOST:PORT.
 * 0; -EPROTONOSUPPORT; -ENAMETOOLONG; -EINVAL. */
int sp_address_parse(struct sp_address *out, const char *url);
