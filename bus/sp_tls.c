/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * OpenSSL reads from the socket itself, but writes into a buffer of ours: so
 * what was given to it counts as written, and no write has to be repeated with
 * the same bytes.  The buffer takes one batch of records and must be empty for
 * the next.
 *
 * OpenSSL reads on until it has bytes for us, and a peer can send records
 * without any, new keys for example, for ever: so it gets a bounded part of
 * what there is, and the rest at the next turn.
 */
#include "bus/sp_tls.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>

#include "bus/codes.h"
#include "bus/openssl.h"
#include "libcommon/err.h"

#define BATCH_MAX  (64U << 10)	    /* of plain bytes encrypted at once */
#define OUTPUT_MAX (4U * BATCH_MAX) /* beyond it a peer that asks and never reads waits */
#define RECORD_MAX (16U << 10)	    /* of TLS */
#define READS_MAX  128		    /* of the socket in a turn: 64 records */
#define ROLE_URI   "xenmesh:role:"

struct sp_tls {
	int fd;
	SSL *ssl;
	BIO_METHOD *method;
	bool is_shaken, is_ended, holds_input;
	unsigned int n_reads; /* of this turn */
	int error;	      /* of the socket, -errno */
	uint8_t *output;
	size_t n_output, at, size;
	uint64_t generation; /* of the files the peer was verified with */
	struct bus_tls *files;
	char failure[160];
};

/* ---- the socket, as OpenSSL sees it ---- */

static int bio_read(BIO *b, char *out, int len)
{
	struct sp_tls *t = BIO_get_data(b);
	ssize_t n;

	BIO_clear_flags(b, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY);
	if (t->n_reads == READS_MAX) {
		BIO_set_flags(b, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY);
		return -1;
	}
	t->n_reads++;
	n = recv(t->fd, out, (size_t)len, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		BIO_set_flags(b, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY);
	} else if (n < 0) {
		t->error = err_errno();
	} else if (n == 0) {
		t->is_ended = true;
	}
	return (int)n;
}

static int bio_write(BIO *b, const char *data, int len)
{
	struct sp_tls *t = BIO_get_data(b);
	size_t need = t->n_output + (size_t)len;

	BIO_clear_flags(b, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY);
	if (t->n_output > OUTPUT_MAX) {
		BIO_set_flags(b, BIO_FLAGS_WRITE | BIO_FLAGS_SHOULD_RETRY);
		return -1;
	}
	if (need > t->size) {
		size_t size = MAX(need, 2 * t->size);
		uint8_t *more = realloc(t->output, size);

		if (!more) {
			t->error = -ENOMEM;
			return -1;
		}
		t->output = more;
		t->size = size;
	}
	memcpy(t->output + t->n_output, data, (size_t)len);
	t->n_output = need;
	return len;
}

static long bio_ctrl(BIO *b _unused_, int command, long value _unused_, void *data _unused_)
{
	return command == BIO_CTRL_FLUSH; /* we do it */
}

static int open_bio(struct sp_tls *t)
{
	BIO_METHOD *m = t->method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "xenmesh");
	BIO *b;

	if (!m || !BIO_meth_set_read(m, bio_read) || !BIO_meth_set_write(m, bio_write) ||
	    !BIO_meth_set_ctrl(m, bio_ctrl)) {
		return -ENOMEM;
	}
	b = BIO_new(m);
	if (!b) {
		return -ENOMEM;
	}
	BIO_set_data(b, t);
	BIO_set_init(b, 1);
	SSL_set_bio(t->ssl, b, b);
	return 0;
}

/* ---- failures ---- */

static void set_failure(struct sp_tls *t, const char *reason, const char *hint)
{
	if (!t->failure[0]) {
		snprintf(t->failure, sizeof(t->failure), "%s%s%s", reason, hint[0] ? "; " : "",
			 hint);
	}
}

/* What people do about an alert of the peer or an error of ours. */
static const char *hint_of(unsigned long error)
{
	static const struct {
		int reason;
		const char *hint;
	} table[] = {
		{ SSL_R_TLSV1_ALERT_UNKNOWN_CA,
		  "the peer does not know the authority that signed our certificate" },
		{ SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, "the peer refuses our certificate" },
		{ SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, "renew our certificate" },
		{ SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED,
		  "our certificate was revoked, issue another" },
		{ SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED, "give cert and key in [tls]" },
		{ SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, "the peer needs cert and key in [tls]" },
		{ SSL_R_WRONG_VERSION_NUMBER, "the peer does not speak TLS here" },
		{ SSL_R_HTTP_REQUEST, "the peer does not speak TLS here" },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		if (ERR_GET_REASON(error) == table[i].reason) {
			return table[i].hint;
		}
	}
	return "";
}

static int fail(struct sp_tls *t, int error)
{
	unsigned long e = ERR_get_error();
	long verified = SSL_get_verify_result(t->ssl);
	const char *reason = e ? ERR_reason_error_string(e) : NULL;

	ERR_clear_error();
	if (verified != X509_V_OK) {
		set_failure(t, X509_verify_cert_error_string(verified),
			    "the peer's certificate is refused");
	} else if (e) {
		set_failure(t, reason ? reason : "protocol error", hint_of(e));
	}
	return error < 0 ? error : -EPROTO;
}

/* Of an operation that did not succeed: 0 = it needs the socket, -errno. */
static int outcome(struct sp_tls *t, int result)
{
	int what = SSL_get_error(t->ssl, result);

	if (what == SSL_ERROR_WANT_READ || what == SSL_ERROR_WANT_WRITE) {
		return t->is_ended ? -EPIPE : 0;
	}
	if (what == SSL_ERROR_ZERO_RETURN) {
		return -EPIPE;
	}
	if (t->error < 0) {
		return fail(t, t->error);
	}
	return fail(t, t->is_ended ? -EPIPE : -EPROTO);
}

/* ---- beginning and end ---- */

/* Its certificate must have the name we dialled: a DNS name, or an address. */
static int expect_name(struct sp_tls *t, const char *name)
{
	struct in6_addr address;
	bool is_address = inet_pton(AF_INET, name, &address) == 1 ||
			  inet_pton(AF_INET6, name, &address) == 1;
	int ok;

	if (is_address) {
		ok = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(t->ssl), name);
	} else {
		SSL_set_hostflags(t->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
						  X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
		ok = SSL_set1_host(t->ssl, name) == 1 &&
		     SSL_ctrl(t->ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
			      (void *)name) == 1;
	}
	return ok == 1 ? 0 : -EINVAL;
}

int sp_tls_new(struct sp_tls **out, struct bus_tls *tls, int fd, const char *server_name)
{
	struct sp_tls *t;
	int r = tls ? bus_tls_refresh(tls) : -EINVAL;

	if (r < 0) {
		return r;
	}
	t = calloc(1, sizeof(*t));
	if (!t) {
		return -ENOMEM;
	}
	t->fd = fd;
	t->files = tls;
	t->generation = bus_tls_generation(tls);
	t->ssl = SSL_new(bus_tls_context(tls));
	r = t->ssl ? open_bio(t) : -ENOMEM;
	if (r == 0 && server_name) {
		SSL_set_connect_state(t->ssl);
		r = expect_name(t, server_name);
	} else if (r == 0) {
		SSL_set_accept_state(t->ssl);
	}
	if (r < 0) {
		sp_tls_free(t);
		return r;
	}
	*out = t;
	return 0;
}

struct sp_tls *sp_tls_free(struct sp_tls *t)
{
	if (!t) {
		return NULL;
	}
	if (t->is_shaken && !t->failure[0] && t->error == 0) {
		SSL_shutdown(t->ssl);
		sp_tls_flush(t);
	}
	if (t->ssl) {
		SSL_free(t->ssl);
	}
	BIO_meth_free(t->method);
	ERR_clear_error();
	free(t->output);
	free(t);
	return NULL;
}

/* ---- the handshake ---- */

int sp_tls_shake(struct sp_tls *t)
{
	int flushed, r;

	t->n_reads = 0;
	r = t->is_shaken ? 1 : SSL_do_handshake(t->ssl);
	if (r == 1) {
		t->is_shaken = true;
	} else {
		r = outcome(t, r);
	}
	flushed = sp_tls_flush(t); /* an alert too */
	if (r < 0 || flushed < 0) {
		return r < 0 ? r : flushed;
	}
	return t->is_shaken && t->n_output == 0;
}

/* The part of the text that may be printed anywhere. */
static void copy_printable(char *out, size_t size, const unsigned char *text, int len)
{
	size_t n = 0;

	for (int i = 0; i < len && n + 1 < size; i++) {
		out[n++] = (char)(text[i] > ' ' && text[i] <= '~' ? text[i] : '?');
	}
	out[n] = '\0';
}

static int role_of(const unsigned char *uri, int len)
{
	for (int role = ROLE_ADMIN; role > ROLE_NONE; role--) {
		char text[sizeof(ROLE_URI) + 16];
		int n = snprintf(text, sizeof(text), ROLE_URI "%s", bus_role_name(role));

		if (n == len && memcmp(uri, text, (size_t)n) == 0) {
			return role;
		}
	}
	return ROLE_NONE;
}

static int certified_role(const X509 *x)
{
	GENERAL_NAMES *list = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	int role = ROLE_NONE;

	for (int i = 0; list && i < OPENSSL_sk_num((const OPENSSL_STACK *)list); i++) {
		const GENERAL_NAME *name = OPENSSL_sk_value((const OPENSSL_STACK *)list, i);

		if (name->type == GEN_URI) {
			const ASN1_STRING *uri = name->d.uniformResourceIdentifier;

			role = MAX(role,
				   role_of(ASN1_STRING_get0_data(uri), ASN1_STRING_length(uri)));
		}
	}
	GENERAL_NAMES_free(list);
	return role;
}

void sp_tls_identify(const struct sp_tls *t, struct bus_peer *out)
{
	X509 *x = SSL_get1_peer_certificate(t->ssl);
	X509_NAME *subject = x ? X509_get_subject_name(x) : NULL;
	int at = subject ? X509_NAME_get_index_by_NID(subject, NID_commonName, -1) : -1;

	if (!x) {
		return;
	}
	out->has_cert = true;
	out->role = certified_role(x);
	out->name[0] = '\0'; /* it was the address */
	if (at >= 0) {
		const ASN1_STRING *cn = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));

		copy_printable(out->name, sizeof(out->name), ASN1_STRING_get0_data(cn),
			       ASN1_STRING_length(cn));
	}
	X509_free(x);
}

bool sp_tls_is_valid(struct sp_tls *t)
{
	X509 *x = SSL_get1_peer_certificate(t->ssl);
	X509_STORE_CTX *v = X509_STORE_CTX_new();
	bool is_valid = false;

	if (x && t->generation == bus_tls_generation(t->files)) {
		is_valid = X509_cmp_time(X509_get0_notAfter(x), NULL) > 0;
	} else if (x && v &&
		   X509_STORE_CTX_init(v, SSL_CTX_get_cert_store(bus_tls_context(t->files)), x,
				       SSL_get_peer_cert_chain(t->ssl)) == 1) {
		is_valid = X509_verify_cert(v) == 1;
		t->generation = bus_tls_generation(t->files);
	}
	X509_STORE_CTX_free(v);
	X509_free(x);
	ERR_clear_error();
	return is_valid;
}

/* ---- bytes ---- */

ssize_t sp_tls_read(struct sp_tls *t, void *out, size_t size)
{
	size_t n = 0;

	t->holds_input = false;
	t->n_reads = 0;
	while (n < size) {
		int r = SSL_read(t->ssl, (uint8_t *)out + n, (int)(size - n));

		if (r > 0) {
			n += (size_t)r;
			continue;
		}
		r = outcome(t, r);
		if (r == 0) {
			r = sp_tls_flush(t);
		}
		if (r < 0 && n > 0) {
			break; /* it is met again, whether anything more comes or not */
		}
		t->holds_input = t->n_reads == READS_MAX;
		return r < 0 ? r : (ssize_t)n;
	}
	t->holds_input = true;
	return (ssize_t)n;
}

/* Encrypt as much as one batch takes, in whole records. Bytes, -errno. */
static ssize_t encrypt(struct sp_tls *t, const struct iovec *iov, size_t n_iov)
{
	uint8_t record[RECORD_MAX];
	size_t total = 0, n = 0, offset = 0;

	for (size_t i = 0; i < n_iov || n > 0;) {
		if (i < n_iov && n < RECORD_MAX && total + n < BATCH_MAX) {
			size_t part = MIN(iov[i].iov_len - offset, RECORD_MAX - n);

			memcpy(record + n, (const uint8_t *)iov[i].iov_base + offset, part);
			n += part;
			offset += part;
			if (offset == iov[i].iov_len) {
				i++;
				offset = 0;
			}
			continue;
		}
		if (n == 0) {
			break; /* the batch is full */
		}
		if (SSL_write(t->ssl, record, (int)n) != (int)n) {
			return fail(t, t->error);
		}
		total += n;
		n = 0;
	}
	return (ssize_t)total;
}

ssize_t sp_tls_write(struct sp_tls *t, const struct iovec *iov, size_t n_iov)
{
	ssize_t n;
	int r = sp_tls_flush(t);

	if (r < 0 || t->n_output > 0) {
		return r;
	}
	n = encrypt(t, iov, n_iov);
	r = n < 0 ? (int)n : sp_tls_flush(t);
	return r < 0 ? r : n;
}

int sp_tls_flush(struct sp_tls *t)
{
	while (t->at < t->n_output) {
		ssize_t n = send(t->fd, t->output + t->at, t->n_output - t->at,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ENOBUFS) {
			t->error = err_errno();
			return t->error;
		}
		if (n <= 0) {
			return 0;
		}
		t->at += (size_t)n;
	}
	free(t->output);
	t->output = NULL;
	t->at = t->n_output = t->size = 0;
	return 0;
}

bool sp_tls_holds_output(const struct sp_tls *t)
{
	return t->n_output > 0;
}

bool sp_tls_holds_input(const struct sp_tls *t)
{
	return t->holds_input;
}

const char *sp_tls_failure(const struct sp_tls *t)
{
	return t->failure[0] ? t->failure : NULL;
}
