/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The bytes under one SP connection: a unix or tcp socket, with TLS or
 * without.  Nothing blocks.
 */
#include <sys/types.h>
#include <sys/uio.h>

#include "bus/sp_tls.h"

struct sp_stream {
	int fd;
	bool is_connecting; /* connect() goes on */
	struct sp_tls *tls; /* NULL: plain */
};

/* Go on with what comes before the first byte. 1 = open; 0 = later; -errno. */
int sp_stream_open(struct sp_stream *s);
/* Idempotent. */
void sp_stream_close(struct sp_stream *s);
/* Bytes, 0 = none now, -EPIPE at the end, -errno. */
ssize_t sp_stream_read(struct sp_stream *s, void *out, size_t size);
/* Bytes taken, 0 when it would block, -errno. */
ssize_t sp_stream_write(struct sp_stream *s, const struct iovec *iov, size_t n_iov);
/* TLS: bytes that were taken and wait for the socket. */
static inline bool sp_stream_holds_output(const struct sp_stream *s)
{
	return s->tls && sp_tls_holds_output(s->tls);
}
/* TLS: the last read left something that no poll will tell of. */
static inline bool sp_stream_holds_input(const struct sp_stream *s)
{
	return s->tls && sp_tls_holds_input(s->tls);
}
/* What is held. 0, -errno. */
static inline int sp_stream_flush(struct sp_stream *s)
{
	return s->tls ? sp_tls_flush(s->tls) : 0;
}
