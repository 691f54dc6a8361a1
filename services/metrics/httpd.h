/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A small GET-only HTTP server (libmicrohttpd) on the service's own loop.
 * Connections: at most 64, idle ones end after 15 s.
 */
#include <systemd/sd-event.h>

#include "libcommon/strbuf.h"

struct httpd;

/* Fill body and *type (static); return the HTTP status. */
typedef unsigned int (*httpd_handler_fn)(const char *path, struct strbuf *body, const char **type,
					 void *userdata);

/* address: "127.0.0.1:9780", "[::1]:9780"; port 0 = any. -EINVAL for others; -EADDRINUSE;
 * -ENOSYS: libmicrohttpd is not installed. */
int httpd_new(struct httpd **out, sd_event *loop, const char *address, httpd_handler_fn fn,
	      void *userdata);
struct httpd *httpd_free(struct httpd *h);
/* The port it listens on. */
unsigned int httpd_port(const struct httpd *h);
