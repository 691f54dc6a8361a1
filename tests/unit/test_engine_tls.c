/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls+tcp://: what every engine has to pass, with nng at the other end too,
 * and who is refused, when, and with which words.
 */
#include <dlfcn.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "bus/codes.h"
#include "bus/engine.h"
#include "bus/openssl.h"
#include "bus/sp_tls.h"
#include "bus/tls.h"
#include "libcommon/log.h"
#include "tests/unit/bus_util.h"
#include "tests/unit/engine_suite.h"
#include "tests/unit/pki_util.h"
#include "tests/unit/unit.h"

SUITE_PAIR(sp_tls, &bus_engine_sp, &bus_engine_sp, SP_TLS)
SUITE_PAIR(sp_nng_tls, &bus_engine_sp, &bus_engine_nng, SP_TLS)
SUITE_PAIR(nng_sp_tls, &bus_engine_nng, &bus_engine_sp, SP_TLS)

/* ---- a service and who calls it ---- */

struct host {
	struct bus_dir dir;
	char pki[80], other_pki[80];
	sd_event *loop;
	unsigned int port;
	char url[64];
	struct bus_socket *rep;
	size_t n_messages, n_down;
	struct bus_peer peer;
};

struct client {
	struct host *host;
	struct bus_socket *socket;
	size_t n_answers, n_up, n_down;
};

static char last_log[2048];

/* Remembers all lines since it was cleared. */
static void log_remember(enum log_level level _unused_, const char *message,
			 const struct log_field *fields _unused_, size_t n_fields _unused_)
{
	size_t len = strlen(last_log);

	snprintf(last_log + len, sizeof(last_log) - len, "%s\n", message);
}

static void expect_log(const char *text)
{
	if (!strstr(last_log, text)) {
		printf("   \"%s\" is not in: %s", text, last_log);
		CU_FAIL("the log does not say it");
	}
}

static bool admit(struct bus_peer *peer, void *userdata _unused_)
{
	return peer->role != ROLE_NONE;
}

static void on_request(struct bus_socket *s, const struct bus_peer *peer,
		       const struct bus_route *route, const void *data, size_t len, void *userdata)
{
	struct host *h = userdata;
	struct bus_route copy = *route;

	h->n_messages++;
	h->peer = *peer;
	bus_engine_sp.send(s, &copy, data, len);
}

static void on_host_link(struct bus_socket *s _unused_, const struct bus_peer *peer _unused_,
			 bool up, void *userdata)
{
	struct host *h = userdata;

	h->n_down += !up;
}

static void host_start(struct host *h)
{
	*h = (struct host){ .port = bus_free_port() };
	last_log[0] = '\0';
	log_set_sink(log_remember);
	bus_dir_make(&h->dir);
	if (sd_event_new(&h->loop) < 0) {
		abort();
	}
	snprintf(h->pki, sizeof(h->pki), "%s/pki", h->dir.path);
	snprintf(h->other_pki, sizeof(h->other_pki), "%s/other", h->dir.path);
	snprintf(h->url, sizeof(h->url), "tls+tcp://127.0.0.1:%u", h->port);
	pki_make(h->pki);
}

/* Takes tls. */
static void host_listen_with(struct host *h, struct bus_tls *tls)
{
	const struct bus_socket_options options = { .max_message = 1 << 20,
						    .queue = 100,
						    .tls = tls };
	const struct bus_socket_handler handler = { .admit = admit,
						    .on_message = on_request,
						    .on_link = on_host_link };

	CU_ASSERT_EQUAL(bus_engine_sp.open(&h->rep, h->loop, BUS_REP, &options, &handler, h), 0);
	CU_ASSERT_EQUAL(bus_engine_sp.listen(h->rep, h->url), 0);
	bus_tls_unref(tls);
}

static void host_listen(struct host *h)
{
	host_listen_with(h, pki_files(h->pki, "server"));
}

static void host_stop(struct host *h)
{
	bus_engine_sp.close(h->rep);
	sd_event_unref(h->loop);
	bus_dir_remove(&h->dir);
	log_set_sink(NULL);
}

static void on_answer(struct bus_socket *s _unused_, const struct bus_peer *peer _unused_,
		      const struct bus_route *route _unused_, const void *data _unused_,
		      size_t len _unused_, void *userdata)
{
	struct client *c = userdata;

	c->n_answers++;
}

static void on_link(struct bus_socket *s _unused_, const struct bus_peer *peer _unused_, bool up,
		    void *userdata)
{
	struct client *c = userdata;

	c->n_up += up;
	c->n_down += !up;
}

/* Takes tls. */
static void client_start(struct client *c, struct host *h, struct bus_tls *tls, const char *url)
{
	const struct bus_socket_options options = { .max_message = 1 << 20,
						    .queue = 100,
						    .tls = tls };
	const struct bus_socket_handler handler = { .on_message = on_answer, .on_link = on_link };

	*c = (struct client){ .host = h };
	CU_ASSERT_EQUAL(bus_engine_sp.open(&c->socket, h->loop, BUS_REQ, &options, &handler, c), 0);
	CU_ASSERT_EQUAL(bus_engine_sp.dial(c->socket, url), 0);
	bus_tls_unref(tls);
}

static void client_stop(struct client *c)
{
	bus_engine_sp.close(c->socket);
}

static bool pings(struct client *c, size_t size)
{
	_cleanup_(xfreep) char *body = calloc(1, size);
	struct bus_route route;
	size_t want = c->n_answers + 1;

	return bus_run_until(c->host->loop, &c->n_up, 1, 5000) &&
	       bus_engine_sp.send(c->socket, &route, body, size) == 0 &&
	       bus_run_until(c->host->loop, &c->n_answers, want, 5000);
}

/* It never gets through, and the log says why. */
static void expect_refused(struct host *h, struct bus_tls *tls, const char *url,
			   const char *const *texts)
{
	uint64_t end = clock_boot_ns() + 5 * NSEC_PER_SEC;
	struct client c;

	last_log[0] = '\0';
	client_start(&c, h, tls, url);
	while (clock_boot_ns() < end && !strstr(last_log, texts[0])) {
		sd_event_run(h->loop, 10 * USEC_PER_MSEC);
	}
	for (size_t i = 0; texts[i]; i++) {
		expect_log(texts[i]);
	}
	CU_ASSERT_EQUAL(c.n_up, 0);
	client_stop(&c);
	CU_ASSERT_EQUAL(h->n_messages, 0);
}

#define REFUSED(h, tls, url, ...) \
	expect_refused((h), (tls), (url), (const char *const[]){ __VA_ARGS__, NULL })

/* ---- who comes in ---- */

static void test_roles(void)
{
	static const char *const names[] = { "observer", "operator", "admin" };
	struct client c;
	struct host h;

	host_start(&h);
	host_listen(&h);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		client_start(&c, &h, pki_files(h.pki, names[i]), h.url);
		CU_ASSERT(pings(&c, 10));
		CU_ASSERT(h.peer.has_cert);
		CU_ASSERT_FALSE(h.peer.is_plain_tcp);
		CU_ASSERT_FALSE(h.peer.has_creds);
		CU_ASSERT_EQUAL(h.peer.role, ROLE_OBSERVER + (int)i);
		CU_ASSERT_STRING_EQUAL(h.peer.name, names[i]);
		client_stop(&c);
	}
	host_stop(&h);
}

/* Many TLS records, and more than the sockets hold. */
static void test_large_messages(void)
{
	enum { N = 12, SIZE = 1 << 20 };
	static char body[SIZE];
	struct client c;
	struct host h;

	host_start(&h);
	host_listen(&h);
	client_start(&c, &h, pki_files(h.pki, "operator"), h.url);
	for (size_t size = 1; size <= SIZE; size = size * 4 + 1) {
		CU_ASSERT(pings(&c, size));
	}
	c.n_answers = 0;
	for (int i = 0; i < N; i++) {
		struct bus_route route;

		CU_ASSERT_EQUAL(bus_engine_sp.send(c.socket, &route, body, SIZE), 0);
	}
	CU_ASSERT(bus_run_until(h.loop, &c.n_answers, N, 10000));
	CU_ASSERT_EQUAL(c.n_down, 0);
	client_stop(&c);
	CU_ASSERT(bus_run_until(h.loop, &h.n_down, 1, 5000));
	host_stop(&h);
}

/* A name is looked up, and has to be in the certificate, as an address has. */
static void test_names_of_servers(void)
{
	char url[64];
	struct client c;
	struct host h;

	host_start(&h);
	snprintf(h.url, sizeof(h.url), "tls+tcp://*:%u", h.port);
	host_listen(&h);
	snprintf(url, sizeof(url), "tls+tcp://localhost:%u", h.port);
	client_start(&c, &h, pki_files(h.pki, "operator"), url);
	CU_ASSERT(pings(&c, 10));
	client_stop(&c);
	h.n_messages = 0;
	snprintf(url, sizeof(url), "tls+tcp://127.0.0.2:%u", h.port);
	REFUSED(&h, pki_files(h.pki, "operator"), url, "IP address mismatch", url);
	snprintf(url, sizeof(url), "tls+tcp://no-such-host.invalid:%u", h.port);
	REFUSED(&h, pki_files(h.pki, "operator"), url, "cannot find the host");
	host_stop(&h);
}

/* ---- who does not ---- */

static pid_t spawn(const char *const *argv)
{
	posix_spawn_file_actions_t actions;
	pid_t pid = 0;

	posix_spawn_file_actions_init(&actions);
	for (int fd = 0; fd < 3; fd++) {
		posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
	}
	if (posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)argv, environ) != 0) {
		abort();
	}
	posix_spawn_file_actions_destroy(&actions);
	return pid;
}

#define SPAWN(...) spawn((const char *const[]){ __VA_ARGS__, NULL })

static int wait_for(pid_t pid)
{
	int status = -1;

	waitpid(pid, &status, 0);
	return status;
}

/* Another certificate for the key of a name, without what `pki issue` sees to. */
static void issue_by_hand(const char *pki, const char *name, const char *subject,
			  const char *extensions, const char *start, const char *end)
{
	char ext[128], config[128], key[128], crt[128], request[128];
	FILE *f;
	int cwd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	snprintf(ext, sizeof(ext), "%s/by-hand.cnf", pki);
	snprintf(request, sizeof(request), "%s/by-hand.csr", pki);
	snprintf(config, sizeof(config), "%s/db/openssl.cnf", pki);
	snprintf(key, sizeof(key), "%s/%s/%s.key", pki, name, name);
	snprintf(crt, sizeof(crt), "%s/%s/%s.crt", pki, name, name);
	f = fopen(ext, "we");
	fprintf(f, "[x]\n%s\n", extensions);
	fclose(f);
	f = fopen(config, "ae");
	fprintf(f, "[any]\ncommonName = optional\norganizationName = optional\n");
	fclose(f);
	CU_ASSERT_EQUAL(wait_for(SPAWN("openssl", "req", "-new", "-config", config, "-key", key,
				       "-subj", subject, "-out", request)),
			0);
	CU_ASSERT_EQUAL(chdir(pki), 0); /* the paths in the configuration are relative */
	CU_ASSERT_EQUAL(wait_for(SPAWN("openssl", "ca", "-batch", "-notext", "-config", config,
				       "-rand_serial", "-policy", "any", "-in", request,
				       "-startdate", start, "-enddate", end, "-extfile", ext,
				       "-extensions", "x", "-out", crt)),
			0);
	CU_ASSERT_EQUAL(fchdir(cwd), 0);
	close(cwd);
}

static void set_file(struct bus_tls *t, enum bus_tls_file file, const char *pki, const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", pki, name);
	CU_ASSERT_EQUAL(bus_tls_set(t, file, path, "test.conf", 10 + file), 0);
}

static void test_other_authorities(void)
{
	struct bus_tls *tls;
	struct host h;

	host_start(&h);
	host_listen(&h);
	pki_make(h.other_pki);
	/* It does not know the server's. */
	REFUSED(&h, pki_files(h.other_pki, "admin"), h.url,
		"a TLS connection of 127.0.0.1 was refused: tlsv1 alert unknown ca");
	/* It does, but not the other way round. */
	tls = pki_files(h.other_pki, "admin");
	set_file(tls, BUS_TLS_CA, h.pki, "ca.crt");
	set_file(tls, BUS_TLS_CRL, h.pki, "crl.pem");
	REFUSED(&h, tls, h.url, "a TLS connection of 127.0.0.1 was refused",
		"the peer's certificate is refused");
	host_stop(&h);
}

static void test_no_certificate(void)
{
	char connect[48];
	struct host h;
	pid_t pid;

	host_start(&h);
	host_listen(&h);
	snprintf(connect, sizeof(connect), "127.0.0.1:%u", h.port);
	pid = SPAWN("openssl", "s_client", "-connect", connect);
	for (int i = 0; i < 500 && !strstr(last_log, "was refused"); i++) {
		sd_event_run(h.loop, 10 * USEC_PER_MSEC);
	}
	expect_log("peer did not return a certificate");
	expect_log("the peer needs cert and key in [tls]");
	wait_for(pid);
	CU_ASSERT_EQUAL(h.n_messages, 0);
	host_stop(&h);
}

static void test_expired(void)
{
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	struct bus_tls *tls;
	struct host h;

	host_start(&h);
	host_listen(&h);
	issue_by_hand(h.pki, "admin", "/CN=by-hand",
		      "extendedKeyUsage=clientAuth\nsubjectAltName=URI:xenmesh:role:admin",
		      "20250101000000Z", "20250201000000Z");
	tls = pki_files(h.pki, "admin");
	CU_ASSERT_EQUAL(bus_tls_load(tls, &errors), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(strbuf_str(&errors), "test.conf:11: cert "));
	CU_ASSERT_PTR_NOT_NULL(strstr(strbuf_str(&errors), "has expired at 2025-02-01 00:00 UTC"));
	CU_ASSERT_PTR_NOT_NULL(strstr(strbuf_str(&errors), "xenmesh bus pki issue"));
	REFUSED(&h, tls, h.url, "127.0.0.1 was refused: certificate has expired");
	host_stop(&h);
}

static void test_roles_that_are_none(void)
{
	static const char *const names[] = {
		"DNS:client.example", "URI:xenmesh:role:king",	"URI:xenmesh:role:admin2",
		"URI:xenmesh:role:",  "DNS:xenmesh:role:admin",
	};
	struct host h;

	host_start(&h);
	host_listen(&h);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char extensions[128];
		struct client c;

		snprintf(extensions, sizeof(extensions), "extendedKeyUsage=clientAuth\n%s%s",
			 "subjectAltName=", names[i]);
		issue_by_hand(h.pki, "admin", "/CN=by-hand", extensions, "20250101000000Z",
			      "20990201000000Z");
		client_start(&c, &h, pki_files(h.pki, "admin"), h.url);
		bus_run_for(h.loop, 300);
		CU_ASSERT_EQUAL(c.n_up, 0);
		client_stop(&c);
	}
	host_stop(&h);
}

/* Other authorities may issue such. The peer's address is not taken for its name: each address
 * would have an account. */
static void test_certificate_without_name(void)
{
	struct client c;
	struct host h;

	host_start(&h);
	host_listen(&h);
	issue_by_hand(h.pki, "admin", "/O=Example",
		      "extendedKeyUsage=clientAuth\nsubjectAltName=URI:xenmesh:role:admin",
		      "20250101000000Z", "20990201000000Z");
	client_start(&c, &h, pki_files(h.pki, "admin"), h.url);
	CU_ASSERT(pings(&c, 1));
	CU_ASSERT(h.peer.has_cert);
	CU_ASSERT_EQUAL(h.peer.role, ROLE_ADMIN);
	CU_ASSERT_STRING_EQUAL(h.peer.name, "");
	client_stop(&c);
	host_stop(&h);
}

/* A live connection ends too. */
static void test_revoked(void)
{
	struct client c, other;
	struct host h;

	host_start(&h);
	host_listen(&h);
	client_start(&c, &h, pki_files(h.pki, "operator"), h.url);
	client_start(&other, &h, pki_files(h.pki, "admin"), h.url);
	CU_ASSERT(pings(&c, 10));
	CU_ASSERT(pings(&other, 10));
	h.n_messages = 0;
	CU_ASSERT_EQUAL(PKI(cmd_bus_pki_revoke, "operator", "--dir", h.pki), 0);
	CU_ASSERT(bus_run_until(h.loop, &c.n_down, 1, 25000));
	expect_log("the certificate of operator is not valid any more");
	CU_ASSERT_EQUAL(other.n_down, 0);
	client_stop(&c);
	REFUSED(&h, pki_files(h.pki, "operator"), h.url, "certificate revoked");
	CU_ASSERT(pings(&other, 10));
	client_stop(&other);
	host_stop(&h);
}

/* Bytes that are no TLS, and a handshake that is never ended. */
static void test_no_tls(void)
{
	uint64_t start;
	struct client c;
	struct host h;
	uint8_t byte;
	int fd, n;

	host_start(&h);
	host_listen(&h);
	fd = bus_tcp_connect(h.port);
	CU_ASSERT(bus_raw_send(fd, "\0SP\0\0\x30\0\0", 8));
	for (int i = 0; i < 500 && !strstr(last_log, "was refused"); i++) {
		sd_event_run(h.loop, 10 * USEC_PER_MSEC);
	}
	expect_log("a TLS connection of 127.0.0.1 was refused");
	expect_log("the peer does not speak TLS here");
	close(fd);
	start = clock_boot_ns();
	fd = bus_tcp_connect(h.port);
	CU_ASSERT(bus_raw_send(fd, "\x16\x03\x01\x02", 4));
	client_start(&c, &h, pki_files(h.pki, "operator"), h.url);
	CU_ASSERT(pings(&c, 10)); /* the others do not wait for it */
	do {
		sd_event_run(h.loop, 100 * USEC_PER_MSEC);
		n = (int)recv(fd, &byte, 1, MSG_DONTWAIT);
	} while (n < 0 && errno == EAGAIN && clock_boot_ns() - start < 15 * NSEC_PER_SEC);
	CU_ASSERT(n == 0 || (n < 0 && errno == ECONNRESET));
	CU_ASSERT(clock_boot_ns() - start >= 4900 * NSEC_PER_MSEC);
	CU_ASSERT_EQUAL(c.n_down, 0);
	close(fd);
	client_stop(&c);
	host_stop(&h);
}

/* Handshakes that are begun and left: they keep nobody out, and nobody who is in. */
static void test_many_without_tls(void)
{
	enum { N = 200, FILES = 640 }; /* 160 connections: 80 of these at most */
	struct rlimit files, low;
	struct client c, late;
	struct host h;
	int fds[N];
	uint8_t byte;

	getrlimit(RLIMIT_NOFILE, &files);
	low = (struct rlimit){ FILES, files.rlim_max };
	setrlimit(RLIMIT_NOFILE, &low);
	host_start(&h);
	host_listen(&h);
	client_start(&c, &h, pki_files(h.pki, "operator"), h.url);
	CU_ASSERT(pings(&c, 10));
	for (size_t i = 0; i < N; i++) {
		fds[i] = bus_tcp_connect(h.port);
		sd_event_run(h.loop, 0);
	}
	client_start(&late, &h, pki_files(h.pki, "admin"), h.url);
	CU_ASSERT(pings(&late, 10));
	CU_ASSERT(pings(&c, 10));
	CU_ASSERT_EQUAL(c.n_down, 0);
	CU_ASSERT_PTR_NULL(strstr(last_log, "turning away"));
	CU_ASSERT_EQUAL(recv(fds[0], &byte, 1, MSG_DONTWAIT), 0);
	CU_ASSERT_EQUAL(recv(fds[N - 1], &byte, 1, MSG_DONTWAIT), -1);
	for (size_t i = 0; i < N; i++) {
		close(fds[i]);
	}
	client_stop(&late);
	client_stop(&c);
	host_stop(&h);
	setrlimit(RLIMIT_NOFILE, &files);
}

/* What is wrong behind good bytes is told, though the socket has no more to read. */
static void test_damage_behind_data(void)
{
	static const uint8_t junk[32] = { 0x17, 3, 3, 0, 27 };
	struct sp_tls *server = NULL, *client = NULL;
	const struct iovec hello = { (void *)"hello", 5 };
	struct bus_tls *tls, *other;
	struct host h;
	char buffer[100];
	int fds[2], n = 0;

	host_start(&h);
	tls = pki_files(h.pki, "server");
	other = pki_files(h.pki, "operator");
	CU_ASSERT_EQUAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	CU_ASSERT_EQUAL(sp_tls_new(&server, tls, fds[0], NULL), 0);
	CU_ASSERT_EQUAL(sp_tls_new(&client, other, fds[1], "localhost"), 0);
	for (int i = 0; i < 10 && n < 2; i++) {
		n = sp_tls_shake(client) + sp_tls_shake(server);
	}
	CU_ASSERT_EQUAL(n, 2);
	CU_ASSERT_EQUAL(sp_tls_write(client, &hello, 1), 5);
	CU_ASSERT_EQUAL(send(fds[1], junk, sizeof(junk), MSG_NOSIGNAL), sizeof(junk));
	CU_ASSERT_EQUAL(sp_tls_read(server, buffer, sizeof(buffer)), 5);
	CU_ASSERT(sp_tls_holds_input(server));
	CU_ASSERT(sp_tls_read(server, buffer, sizeof(buffer)) < 0);
	sp_tls_free(client);
	sp_tls_free(server);
	close(fds[0]);
	close(fds[1]);
	bus_tls_unref(tls);
	bus_tls_unref(other);
	host_stop(&h);
}

/* Those of OpenSSL that only a peer with bad intentions needs. */
struct openssl_flood {
	int (*set_fd)(SSL *ssl, int fd);
	void (*set0_wbio)(SSL *ssl, BIO *bio);
	int (*key_update)(SSL *ssl, int type);
	int (*bio_read)(BIO *bio, void *out, int len);
};

static void openssl_flood_load(struct openssl_flood *f)
{
	void *library = dlopen("libssl.so.3", RTLD_NOW);

	f->set_fd = dlsym(library, "SSL_set_fd");
	f->set0_wbio = dlsym(library, "SSL_set0_wbio");
	f->key_update = dlsym(library, "SSL_key_update");
	f->bio_read = dlsym(library, "BIO_read");
}

/* Fill the socket with renewals of the client's key. */
static void flood(const struct openssl_flood *f, SSL *client, int fd)
{
	uint8_t block[32 << 10];
	BIO *memory = BIO_new(BIO_s_mem());
	ssize_t sent;

	f->set0_wbio(client, memory);
	do {
		int len = 0;

		while (len < (int)sizeof(block) - 100) {
			CU_ASSERT_EQUAL_FATAL(f->key_update(client, SSL_KEY_UPDATE_NOT_REQUESTED),
					      1);
			CU_ASSERT_EQUAL_FATAL(SSL_do_handshake(client), 1);
			len += f->bio_read(memory, block + len, (int)sizeof(block) - len);
		}
		sent = send(fd, block, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (sent > 0);
}

/* Records without a byte for us do not keep the loop for as long as the peer sends them. */
static void test_records_without_data(void)
{
	const int size = 200 << 10; /* the kernel doubles it */
	struct openssl_flood f;
	struct sp_tls *server = NULL;
	struct bus_tls *tls, *other;
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	uint8_t buffer[100];
	struct host h;
	SSL *client;
	int fds[2], left = 0, is_shaken = 0;

	host_start(&h);
	tls = pki_files(h.pki, "server");
	other = pki_files(h.pki, "operator");
	CU_ASSERT_EQUAL(bus_tls_load(other, &errors), 0);
	openssl_flood_load(&f);
	CU_ASSERT_EQUAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	CU_ASSERT_EQUAL(setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	CU_ASSERT_EQUAL(sp_tls_new(&server, tls, fds[0], NULL), 0);
	client = SSL_new(bus_tls_context(other));
	CU_ASSERT_EQUAL(f.set_fd(client, fds[1]), 1);
	SSL_set_connect_state(client);
	for (int i = 0; i < 10 && is_shaken < 2; i++) {
		is_shaken = (SSL_do_handshake(client) == 1) + sp_tls_shake(server);
	}
	CU_ASSERT_EQUAL(is_shaken, 2);
	flood(&f, client, fds[1]);
	CU_ASSERT_EQUAL(sp_tls_read(server, buffer, sizeof(buffer)), 0);
	CU_ASSERT_EQUAL(ioctl(fds[0], FIONREAD, &left), 0);
	CU_ASSERT(left > 0);
	CU_ASSERT(sp_tls_holds_input(server));
	while (sp_tls_holds_input(server)) {
		CU_ASSERT_EQUAL_FATAL(sp_tls_read(server, buffer, sizeof(buffer)), 0);
	}
	SSL_free(client);
	sp_tls_free(server);
	close(fds[0]);
	close(fds[1]);
	bus_tls_unref(tls);
	bus_tls_unref(other);
	host_stop(&h);
}

/* ---- the files ---- */

/* DIR/NAME of both authorities in one file of h's. */
static void join_files(const struct host *h, const char *name, const char *joined)
{
	const char *const dirs[] = { h->pki, h->other_pki };
	char path[256];
	FILE *out;

	snprintf(path, sizeof(path), "%s/%s", h->pki, joined);
	out = fopen(path, "we");
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		_cleanup_(xfreep) char *text = NULL;

		snprintf(path, sizeof(path), "%s/%s", dirs[i], name);
		text = bus_tls_text(path);
		fprintf(out, "%s\n", text ? text : "");
	}
	fclose(out);
}

/* While one authority takes the place of another, peers have certificates of either, and both have
 * lists of what they took back. */
static void test_two_authorities(void)
{
	struct bus_tls *tls;
	struct client c;
	struct host h;

	host_start(&h);
	pki_make(h.other_pki);
	CU_ASSERT_EQUAL(PKI(cmd_bus_pki_revoke, "operator", "--dir", h.other_pki), 0);
	join_files(&h, "ca.crt", "both.crt");
	join_files(&h, "crl.pem", "both.pem");
	tls = pki_files(h.pki, "server");
	set_file(tls, BUS_TLS_CA, h.pki, "both.crt");
	set_file(tls, BUS_TLS_CRL, h.pki, "both.pem");
	host_listen_with(&h, tls);
	tls = pki_files(h.other_pki, "admin");
	set_file(tls, BUS_TLS_CA, h.pki, "ca.crt");
	set_file(tls, BUS_TLS_CRL, h.pki, "crl.pem");
	client_start(&c, &h, tls, h.url);
	CU_ASSERT(pings(&c, 10));
	client_stop(&c);
	h.n_messages = 0;
	tls = pki_files(h.other_pki, "operator");
	set_file(tls, BUS_TLS_CA, h.pki, "ca.crt");
	set_file(tls, BUS_TLS_CRL, h.pki, "crl.pem");
	REFUSED(&h, tls, h.url, "certificate revoked");
	host_stop(&h);
}

static void expect_complaint(struct bus_tls *tls, const char *text)
{
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;

	CU_ASSERT_EQUAL(bus_tls_load(tls, &errors), -EINVAL);
	CU_ASSERT_PTR_NULL(bus_tls_context(tls));
	if (!strstr(strbuf_str(&errors), text)) {
		printf("   \"%s\" is not in: %s", text, strbuf_str(&errors));
		CU_FAIL("complaint is missing");
	}
	bus_tls_unref(tls);
}

static struct bus_tls *with_file(const struct host *h, enum bus_tls_file file, const char *name)
{
	struct bus_tls *tls = pki_files(h->pki, "admin");

	set_file(tls, file, h->pki, name);
	return tls;
}

static void test_bad_files(void)
{
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	char path[256];
	struct bus_tls *tls;
	struct host h;
	FILE *crl;

	host_start(&h);
	expect_complaint(with_file(&h, BUS_TLS_KEY, "none"), "test.conf:12: key ");
	expect_complaint(with_file(&h, BUS_TLS_CA, "none"), "cannot be read; No such file");
	expect_complaint(with_file(&h, BUS_TLS_CA, "admin/admin.key"), "has no certificate in PEM");
	expect_complaint(with_file(&h, BUS_TLS_CERT, "admin/admin.key"), "test.conf:11: cert ");
	expect_complaint(with_file(&h, BUS_TLS_CERT, "db"), "is no file of 1 byte to 1 MiB");
	expect_complaint(with_file(&h, BUS_TLS_KEY, "ca.crt"), "is no private key in PEM");
	expect_complaint(with_file(&h, BUS_TLS_KEY, "operator/operator.key"),
			 "does not belong to the certificate in cert; copy NAME.crt and NAME.key");
	expect_complaint(with_file(&h, BUS_TLS_CRL, "ca.crt"), "test.conf:13: crl ");
	snprintf(path, sizeof(path), "%s/crl.pem", h.pki);
	crl = fopen(path, "ae");
	fprintf(crl, "-----BEGIN X509 CRL-----\n?\n-----END X509 CRL-----\n");
	fclose(crl);
	expect_complaint(pki_files(h.pki, "admin"), "is no list in PEM");
	CU_ASSERT_EQUAL(PKI(cmd_bus_pki_revoke, "observer", "--dir", h.pki), 0);
	snprintf(path, sizeof(path), "%s/admin/admin.key", h.pki);
	CU_ASSERT_EQUAL(chmod(path, 0644), 0);
	expect_complaint(pki_files(h.pki, "admin"), "has mode 0644, others than its owner");
	CU_ASSERT_EQUAL(chmod(path, 0620), 0);
	expect_complaint(pki_files(h.pki, "admin"), "has mode 0620");
	CU_ASSERT_EQUAL(chmod(path, 0600), 0);
	if (geteuid() == 0) {
		CU_ASSERT_EQUAL(chown(path, 65534, 65534), 0);
		expect_complaint(pki_files(h.pki, "admin"), "belongs to uid 65534");
		CU_ASSERT_EQUAL(chown(path, 0, 0), 0);
	}
	tls = pki_files(h.pki, "admin");
	CU_ASSERT_EQUAL(bus_tls_load(tls, &errors), 0);
	CU_ASSERT_STRING_EQUAL(strbuf_str(&errors), "");
	CU_ASSERT_EQUAL(bus_tls_generation(tls), 1);
	CU_ASSERT_EQUAL(bus_tls_load(tls, &errors), 0);
	CU_ASSERT_EQUAL(bus_tls_generation(tls), 1);
	bus_tls_unref(tls);
	host_stop(&h);
}

/* Renewed files are used without a restart; half a renewal changes nothing. */
static void test_renewal(void)
{
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	struct bus_tls *tls;
	struct host h;

	host_start(&h);
	tls = pki_files(h.pki, "admin");
	CU_ASSERT_EQUAL(bus_tls_load(tls, &errors), 0);
	CU_ASSERT_EQUAL(PKI(cmd_bus_pki_issue, "admin", "--role", "admin", "--renew", "--days",
			    "29", "--dir", h.pki),
			0);
	CU_ASSERT_EQUAL(bus_tls_load(tls, &errors), 0);
	CU_ASSERT_EQUAL(bus_tls_generation(tls), 2);
	expect_log("expires in 2");
	set_file(tls, BUS_TLS_KEY, h.pki, "operator/operator.key");
	CU_ASSERT_EQUAL(bus_tls_load(tls, &errors), -EINVAL);
	CU_ASSERT_EQUAL(bus_tls_generation(tls), 2);
	CU_ASSERT_PTR_NOT_NULL(bus_tls_context(tls));
	set_file(tls, BUS_TLS_CERT, h.pki, "operator/operator.crt");
	CU_ASSERT_EQUAL(bus_tls_load(tls, &errors), 0);
	CU_ASSERT_EQUAL(bus_tls_generation(tls), 3);
	bus_tls_unref(tls);
	host_stop(&h);
}

/* Who does what a complaint of a renewed key says needs no restart either. */
static void test_renewal_mended(void)
{
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	char key[256];
	struct bus_tls *tls;
	struct host h;

	host_start(&h);
	snprintf(key, sizeof(key), "%s/admin/admin.key", h.pki);
	tls = pki_files(h.pki, "admin");
	CU_ASSERT_EQUAL(bus_tls_load(tls, &errors), 0);
	CU_ASSERT_EQUAL(
		PKI(cmd_bus_pki_issue, "admin", "--role", "admin", "--renew", "--dir", h.pki), 0);
	CU_ASSERT_EQUAL(chmod(key, 0644), 0);
	CU_ASSERT_EQUAL(bus_tls_load(tls, &errors), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(strbuf_str(&errors), "chmod 600 it"));
	CU_ASSERT_EQUAL(bus_tls_generation(tls), 1);
	CU_ASSERT_EQUAL(chmod(key, 0600), 0);
	CU_ASSERT_EQUAL(bus_tls_load(tls, &errors), 0);
	CU_ASSERT_EQUAL(bus_tls_generation(tls), 2);
	if (geteuid() == 0) {
		CU_ASSERT_EQUAL(chown(key, 65534, 0), 0);
		CU_ASSERT_EQUAL(bus_tls_load(tls, &errors), -EINVAL);
		CU_ASSERT_EQUAL(chown(key, 0, 0), 0);
		CU_ASSERT_EQUAL(bus_tls_load(tls, &errors), 0);
		CU_ASSERT_EQUAL(bus_tls_generation(tls), 3);
	}
	bus_tls_unref(tls);
	host_stop(&h);
}

/* An address of TLS without files is an error, for both engines. */
static void test_no_files(void)
{
	static const struct bus_engine *const engines[] = { &bus_engine_sp, &bus_engine_nng };
	const struct bus_socket_options options = { .max_message = 100, .queue = 10 };
	const struct bus_socket_handler handler = { .on_message = NULL };
	struct host h;

	host_start(&h);
	for (size_t i = 0; i < ARRAY_LEN(engines); i++) {
		struct bus_socket *s;

		CU_ASSERT_EQUAL(engines[i]->open(&s, h.loop, BUS_REP, &options, &handler, NULL), 0);
		CU_ASSERT_EQUAL(engines[i]->listen(s, h.url), -ENOKEY);
		expect_log("needs ca, cert and key in [tls]");
		engines[i]->close(s);
		CU_ASSERT_EQUAL(engines[i]->open(&s, h.loop, BUS_REQ, &options, &handler, NULL), 0);
		CU_ASSERT_EQUAL(engines[i]->dial(s, h.url), -ENOKEY);
		engines[i]->close(s);
		last_log[0] = '\0';
	}
	host_stop(&h);
}

int main(void)
{
	static const struct unit_test tests[] = {
		SUITE_TESTS(sp_tls),
		SUITE_TESTS(sp_nng_tls),
		SUITE_TESTS(nng_sp_tls),
		UNIT_TEST(test_roles),
		UNIT_TEST(test_large_messages),
		UNIT_TEST(test_names_of_servers),
		UNIT_TEST(test_other_authorities),
		UNIT_TEST(test_no_certificate),
		UNIT_TEST(test_expired),
		UNIT_TEST(test_roles_that_are_none),
		UNIT_TEST(test_certificate_without_name),
		UNIT_TEST(test_revoked),
		UNIT_TEST(test_no_tls),
		UNIT_TEST(test_many_without_tls),
		UNIT_TEST(test_damage_behind_data),
		UNIT_TEST(test_records_without_data),
		UNIT_TEST(test_two_authorities),
		UNIT_TEST(test_bad_files),
		UNIT_TEST(test_renewal),
		UNIT_TEST(test_renewal_mended),
		UNIT_TEST(test_no_files),
	};

	/* Without nng_fini(), which waits for the TLS connections that nng cannot close. */
	log_init("test_engine_tls");
	return unit_run("engine_tls", tests, ARRAY_LEN(tests));
}
