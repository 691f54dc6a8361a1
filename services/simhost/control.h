/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A socket for commands: one line in, lines of text out, the last of them "ok"
 * or "error: SENTENCE"; then the connection is closed.  Whoever may open the
 * socket (mode 0660) may do everything.
 */
#include <systemd/sd-event.h>

#include "libcommon/strbuf.h"

#define CONTROL_LINE_MAX    1000 /* bytes */
#define CONTROL_CLIENTS_MAX 16
#define CONTROL_LIMIT_MS    5000 /* for a client to send its line and to take the answer */

/* Do what `line` says (may be changed). 0: out is the answer; 1: out is a sentence why not. */
typedef int (*control_fn)(char *line, struct strbuf *out, void *userdata);

struct control;

int control_new(struct control **out, sd_event *loop, const char *path, control_fn fn,
		void *userdata);
/* Removes the socket. */
struct control *control_free(struct control *c);

/* The other side, for a program of its own: sends a command, copies the answer to stdout (an error
 * to stderr).  Blocks.  0; 1: the command failed; <0: no connection. */
int control_ask(const char *path, const char *command);
