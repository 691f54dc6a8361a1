/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * TLS over one stream socket that does not block.
 */
#include <sys/types.h>
#include <sys/uio.h>

#include "bus/engine.h"
#include "bus/tls.h"

struct sp_tls;

/* server_name: of the peer we dialled, to be found in its certificate; NULL: we are the server.
 * fd stays the caller's and lives longer. 0, -errno. */
int sp_tls_new(struct sp_tls **out, struct bus_tls *tls, int fd, const char *server_name);
/* Says good-bye if that does not wait. NULL is allowed. Returns NULL. */
struct sp_tls *sp_tls_free(struct sp_tls *t);

/* 1 = hands are shaken and the peer's certificate is in order; 0 = call again when the socket has
 * or takes bytes; -errno. */
int sp_tls_shake(struct sp_tls *t);
/* Who the certificate says it is. After the handshake. */
void sp_tls_identify(const struct sp_tls *t, struct bus_peer *out);
/* False when the peer's certificate is not valid any more: expired, or revoked since. */
bool sp_tls_is_valid(struct sp_tls *t);

/* Bytes, 0 = none now, -EPIPE at the end, -errno. */
ssize_t sp_tls_read(struct sp_tls *t, void *out, size_t size);
/* Bytes taken; what of them the socket did not take yet is held, and nothing more is taken. */
ssize_t sp_tls_write(struct sp_tls *t, const struct iovec *iov, size_t n_iov);
/* What is held. 0, -errno. */
int sp_tls_flush(struct sp_tls *t);
bool sp_tls_holds_output(const struct sp_tls *t);
/* The last read left something, bytes or the end, that no poll will tell of. */
bool sp_tls_holds_input(const struct sp_tls *t);
/* Why it failed, for people; NULL: it did not. */
const char *sp_tls_failure(const struct sp_tls *t);
