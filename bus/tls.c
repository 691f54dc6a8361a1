/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Invariants:
 *  - a context is whole: authority, certificate and the key that belongs to
 *    it. Half a renewal, seen between two of its files, changes nothing;
 *  - the stamps are those of the files that were read last, well or badly, so
 *    a bad file is complained of once, and looked at again when it is mended,
 *    if only by chmod.
 *
 * TLS 1.2 is spoken with ECDHE and an AEAD only; nng's mbed TLS 2.28 knows no
 * 1.3.  Sessions are not resumed: each connection shows its certificate.
 */
#include "bus/tls.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "bus/openssl.h"
#include "libcommon/clock.h"
#include "libcommon/conf.h"
#include "libcommon/err.h"
#include "libcommon/log.h"

#define PEM_MAX	    (1 << 20) /* a list of 10,000 revoked certificates is half of it */
#define CHAIN_MAX   4
#define CIPHERS_1_2 "ECDHE+AESGCM:ECDHE+CHACHA20"

struct stamp {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime;
	uint64_t mode; /* so wide that nothing is between the fields */
	uid_t uid;
	gid_t gid;
};

struct tls_file {
	char *path;
	char *conf; /* says so in */
	unsigned int line;
};

struct bus_tls {
	unsigned int n_refs;
	struct tls_file files[BUS_TLS_FILES];
	struct stamp stamps[BUS_TLS_FILES];
	SSL_CTX *context;
	uint64_t generation;
	uint64_t looked_ns;
};

static const char *const names[] = { "ca", "cert", "key", "crl" };

const char *bus_tls_file_name(enum bus_tls_file file)
{
	return names[file];
}

struct bus_tls *bus_tls_new(void)
{
	struct bus_tls *t = calloc(1, sizeof(*t));

	if (t) {
		t->n_refs = 1;
	}
	return t;
}

struct bus_tls *bus_tls_ref(struct bus_tls *t)
{
	if (t) {
		t->n_refs++;
	}
	return t;
}

struct bus_tls *bus_tls_unref(struct bus_tls *t)
{
	if (t && --t->n_refs == 0) {
		for (size_t i = 0; i < BUS_TLS_FILES; i++) {
			free(t->files[i].path);
			free(t->files[i].conf);
		}
		if (t->context) {
			SSL_CTX_free(t->context);
		}
		free(t);
	}
	return NULL;
}

int bus_tls_set(struct bus_tls *t, enum bus_tls_file file, const char *path, const char *conf,
		unsigned int line)
{
	struct tls_file fresh = { path[0] ? strdup(path) : NULL, strdup(conf), line };

	if ((path[0] && !fresh.path) || !fresh.conf) {
		free(fresh.path);
		free(fresh.conf);
		return -ENOMEM;
	}
	free(t->files[file].path);
	free(t->files[file].conf);
	t->files[file] = fresh;
	return 0;
}

const char *bus_tls_path(const struct bus_tls *t, enum bus_tls_file file)
{
	return t->files[file].path;
}

char *bus_tls_text(const char *path)
{
	_cleanup_(xclosep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	ssize_t n;
	char *text;

	if (fd < 0 || fstat(fd, &st) < 0) {
		return NULL;
	}
	if (st.st_size > PEM_MAX) {
		errno = EFBIG;
		return NULL;
	}
	text = malloc((size_t)st.st_size + 1);
	n = text ? read(fd, text, (size_t)st.st_size) : -1;
	if (n < 0) {
		free(text);
		return NULL;
	}
	text[n] = '\0';
	return text;
}

bool bus_tls_is_complete(const struct bus_tls *t)
{
	return t->files[BUS_TLS_CA].path && t->files[BUS_TLS_CERT].path &&
	       t->files[BUS_TLS_KEY].path;
}

/* ---- complaints ---- */

static void complain(const struct bus_tls *t, enum bus_tls_file file, struct strbuf *errors,
		     const char *why, const char *remedy)
{
	const struct tls_file *f = &t->files[file];
	const struct conf_pos pos = { f->conf, f->line };

	conf_complain(errors, &pos, "%s %s %s; %s", names[file], f->path, why, remedy);
}

/* ---- reading ---- */

static int check_key_file(const struct bus_tls *t, const struct stat *st, struct strbuf *errors)
{
	char why[80];

	if (st->st_uid != 0 && st->st_uid != geteuid()) {
		snprintf(why, sizeof(why), "belongs to uid %u", (unsigned int)st->st_uid);
		complain(t, BUS_TLS_KEY, errors, why,
			 "chown it to root or to the user of this program");
		return -EINVAL;
	}
	if (st->st_mode & (S_IRWXG | S_IRWXO)) {
		snprintf(why, sizeof(why), "has mode %04o, others than its owner may use it",
			 (unsigned int)(st->st_mode & 07777));
		complain(t, BUS_TLS_KEY, errors, why,
			 "chmod 600 it, or issue another if it leaked");
		return -EINVAL;
	}
	return 0;
}

/* The PEM text of a file. -EINVAL after a complaint. */
static int open_pem(struct bus_tls *t, enum bus_tls_file file, BIO **out, struct strbuf *errors)
{
	_cleanup_(xclosep) int fd = open(t->files[file].path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	_cleanup_(xfreep) char *text = NULL;
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0) {
		complain(t, file, errors, "cannot be read", err_text(err_errno()));
		return -EINVAL;
	}
	if (!S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > PEM_MAX) {
		complain(t, file, errors, "is no file of 1 byte to 1 MiB", "name another one");
		return -EINVAL;
	}
	if (file == BUS_TLS_KEY && check_key_file(t, &st, errors) < 0) {
		return -EINVAL;
	}
	text = malloc((size_t)st.st_size);
	n = text ? read(fd, text, (size_t)st.st_size) : 0;
	if (!text || n < 0) {
		complain(t, file, errors, "cannot be read", err_text(err_errno()));
		return -EINVAL;
	}
	*out = BIO_new(BIO_s_mem());
	if (!*out || BIO_write(*out, text, (int)n) != n) {
		BIO_free(*out);
		return -ENOMEM;
	}
	return 0;
}

static int refuse_password(char *buffer _unused_, int size _unused_, int is_writing _unused_,
			   void *userdata _unused_)
{
	return -1;
}

/* ---- the parts of a context ---- */

static int load_authority(struct bus_tls *t, SSL_CTX *c, struct strbuf *errors)
{
	X509_STORE *store = SSL_CTX_get_cert_store(c);
	BIO *pem;
	X509 *x;
	int n = 0;
	int r = open_pem(t, BUS_TLS_CA, &pem, errors);

	if (r < 0) {
		return r;
	}
	while ((x = PEM_read_bio_X509(pem, NULL, refuse_password, NULL))) {
		n += X509_STORE_add_cert(store, x) == 1 && SSL_CTX_add_client_CA(c, x) == 1;
		X509_free(x);
	}
	BIO_free(pem);
	ERR_clear_error();
	if (n == 0) {
		complain(t, BUS_TLS_CA, errors, "has no certificate in PEM",
			 "copy ca.crt of the authority");
		return -EINVAL;
	}
	return 0;
}

/* 0; 1 = out of date; -ENOMEM. Takes crl. */
static int add_revoked(struct bus_tls *t, X509_STORE *store, X509_CRL *crl, struct strbuf *errors)
{
	int r = X509_STORE_add_crl(store, crl) == 1 ? 0 : -ENOMEM;

	if (r == 0 && X509_CRL_get0_nextUpdate(crl) &&
	    X509_cmp_time(X509_CRL_get0_nextUpdate(crl), NULL) < 0) {
		complain(t, BUS_TLS_CRL, errors, "is out of date, so every peer is refused",
			 "copy a fresh one, `xenmesh bus pki revoke` writes it");
		r = 1;
	}
	X509_CRL_free(crl);
	return r;
}

/* One list of each authority. */
static int load_revoked(struct bus_tls *t, SSL_CTX *c, struct strbuf *errors)
{
	X509_STORE *store = SSL_CTX_get_cert_store(c);
	X509_CRL *crl;
	bool is_damaged;
	BIO *pem;
	int n = 0;
	int r;

	if (!t->files[BUS_TLS_CRL].path) {
		return 0;
	}
	r = open_pem(t, BUS_TLS_CRL, &pem, errors);
	if (r < 0) {
		return r;
	}
	ERR_clear_error();
	while (r >= 0 && (crl = PEM_read_bio_X509_CRL(pem, NULL, refuse_password, NULL))) {
		int added = add_revoked(t, store, crl, errors);

		r = added == 0 ? r : added;
		n++;
	}
	is_damaged = r >= 0 && ERR_GET_REASON(ERR_get_error()) != PEM_R_NO_START_LINE;
	BIO_free(pem);
	ERR_clear_error();
	if (n == 0 || is_damaged) {
		complain(t, BUS_TLS_CRL, errors, "is no list in PEM",
			 "copy crl.pem of the authority");
		return -EINVAL;
	}
	if (X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK) != 1) {
		r = -ENOMEM;
	}
	return r;
}

/* 0, 1 = expired. */
static int check_dates(const struct bus_tls *t, const X509 *x, struct strbuf *errors)
{
	const ASN1_TIME *end = X509_get0_notAfter(x);
	char why[80], date[32] = "?";
	struct tm tm;
	int days = 0, seconds = 0;

	if (ASN1_TIME_to_tm(end, &tm) == 1) {
		strftime(date, sizeof(date), "%Y-%m-%d %H:%M UTC", &tm);
	}
	if (X509_cmp_time(X509_get0_notBefore(x), NULL) > 0) {
		complain(t, BUS_TLS_CERT, errors, "is not valid yet",
			 "set the clock of this host, or of the one that issued it");
		return 1;
	}
	if (ASN1_TIME_diff(&days, &seconds, NULL, end) != 1) {
		return 0;
	}
	if (days < 0 || seconds < 0) {
		snprintf(why, sizeof(why), "has expired at %s", date);
		complain(t, BUS_TLS_CERT, errors, why,
			 "issue another with `xenmesh bus pki issue` and copy it here, no restart "
			 "is needed");
		return 1;
	}
	if (days < BUS_TLS_WARN_DAYS) {
		log_warning("the certificate %s expires in %d days, at %s; issue another with "
			    "`xenmesh bus pki issue` and copy it there",
			    t->files[BUS_TLS_CERT].path, days, date);
	}
	return 0;
}

static int load_chain(struct bus_tls *t, SSL_CTX *c, struct strbuf *errors)
{
	X509 *x, *leaf = NULL;
	BIO *pem;
	int n = 0;
	int r = open_pem(t, BUS_TLS_CERT, &pem, errors);

	if (r < 0) {
		return r;
	}
	while (n < CHAIN_MAX && (x = PEM_read_bio_X509(pem, NULL, refuse_password, NULL))) {
		if (n++ == 0) {
			leaf = x;
		} else if (SSL_CTX_ctrl(c, SSL_CTRL_EXTRA_CHAIN_CERT, 0, x) != 1) {
			X509_free(x);
		}
	}
	BIO_free(pem);
	ERR_clear_error();
	if (!leaf) {
		complain(t, BUS_TLS_CERT, errors, "has no certificate in PEM",
			 "issue one with `xenmesh bus pki issue`");
		return -EINVAL;
	}
	if (SSL_CTX_use_certificate(c, leaf) != 1) {
		complain(t, BUS_TLS_CERT, errors, "is too weak or of a kind unknown here",
			 "issue another with `xenmesh bus pki issue`");
		ERR_clear_error();
		r = -EINVAL;
	} else {
		r = check_dates(t, leaf, errors);
	}
	X509_free(leaf);
	return r;
}

static int load_key(struct bus_tls *t, SSL_CTX *c, struct strbuf *errors)
{
	EVP_PKEY *key;
	BIO *pem;
	int r = open_pem(t, BUS_TLS_KEY, &pem, errors);

	if (r < 0) {
		return r;
	}
	key = PEM_read_bio_PrivateKey(pem, NULL, refuse_password, NULL);
	BIO_free(pem);
	if (!key) {
		complain(t, BUS_TLS_KEY, errors, "is no private key in PEM, or has a password",
			 "issue one with `xenmesh bus pki issue`");
		r = -EINVAL;
	} else if (SSL_CTX_use_PrivateKey(c, key) != 1) {
		complain(t, BUS_TLS_KEY, errors, "does not belong to the certificate in cert",
			 "copy NAME.crt and NAME.key of the same name");
		r = -EINVAL;
	}
	ERR_clear_error();
	EVP_PKEY_free(key);
	return r;
}

static int load_all(struct bus_tls *t, SSL_CTX *c, struct strbuf *errors)
{
	static int (*const parts[])(struct bus_tls * t, SSL_CTX * c,
				    struct strbuf * errors) = { load_authority, load_revoked,
								load_chain, load_key };
	int result = 0;

	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		int r = parts[i](t, c, errors);

		result = r < 0 || result == 0 ? r : result;
		if (r == -ENOMEM || (r < 0 && parts[i] == load_chain)) {
			break; /* a key fits no certificate that is not there */
		}
	}
	return result;
}

static SSL_CTX *new_context(void)
{
	SSL_CTX *c = SSL_CTX_new(TLS_method());

	if (!c) {
		return NULL;
	}
	SSL_CTX_ctrl(c, SSL_CTRL_SET_MIN_PROTO_VERSION, TLS1_2_VERSION, NULL);
	SSL_CTX_ctrl(c, SSL_CTRL_SET_SESS_CACHE_MODE, SSL_SESS_CACHE_OFF, NULL);
	SSL_CTX_ctrl(c, SSL_CTRL_MODE, SSL_MODE_RELEASE_BUFFERS, NULL);
	SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_num_tickets(c, 0);
	SSL_CTX_set_cipher_list(c, CIPHERS_1_2);
	SSL_CTX_set_verify(c, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_verify_depth(c, CHAIN_MAX);
	return c;
}

/* ---- loading ---- */

/* True when a file is not the one that was read. */
static bool look(struct bus_tls *t)
{
	bool has_changed = false;

	for (size_t i = 0; i < BUS_TLS_FILES; i++) {
		struct stamp fresh = { 0 };
		struct stat st;

		if (t->files[i].path && stat(t->files[i].path, &st) == 0) {
			fresh.dev = st.st_dev;
			fresh.ino = st.st_ino;
			fresh.size = st.st_size;
			fresh.mtime = st.st_mtim;
			fresh.mode = st.st_mode;
			fresh.uid = st.st_uid;
			fresh.gid = st.st_gid;
		}
		has_changed |= memcmp(&fresh, &t->stamps[i], sizeof(fresh)) != 0;
		t->stamps[i] = fresh;
	}
	return has_changed;
}

int bus_tls_load(struct bus_tls *t, struct strbuf *errors)
{
	bool has_changed = look(t);
	SSL_CTX *c;
	int r;

	if (t->context && !has_changed) {
		return 0;
	}
	r = openssl_load(errors);
	if (r < 0) {
		return r;
	}
	c = new_context();
	r = c ? load_all(t, c, errors) : -ENOMEM;
	if (r < 0) {
		if (c) {
			SSL_CTX_free(c);
		}
		return r;
	}
	if (t->context) {
		SSL_CTX_free(t->context);
	}
	t->context = c;
	t->generation++;
	return r;
}

int bus_tls_refresh(struct bus_tls *t)
{
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	uint64_t now = clock_boot_ns(), before = t->generation;
	int r;

	if (t->context && now - t->looked_ns < NSEC_PER_SEC) {
		return 0;
	}
	t->looked_ns = now;
	r = bus_tls_load(t, &errors);
	for (char *line = errors.data, *end; line && *line; line = end) {
		end = line + strcspn(line, "\n");
		log_error("%.*s", (int)(end - line), line);
		end += *end == '\n';
	}
	if (before > 0 && t->generation != before) {
		log_info("the files of [tls] have changed; new connections use them");
	}
	return r < 0 && !t->context ? r : 0;
}

struct ssl_ctx_st *bus_tls_context(const struct bus_tls *t)
{
	return t->context;
}

uint64_t bus_tls_generation(const struct bus_tls *t)
{
	return t->generation;
}
