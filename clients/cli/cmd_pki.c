/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A private certificate authority for tls+tcp://, kept by the openssl program
 * in one directory:
 *
 *   ca.crt ca.key crl.pem      of the authority
 *   db/                        what openssl keeps of it
 *   NAME/                      NAME.crt NAME.key ca.crt crl.pem, to be copied to NAME
 *
 * Invariants: nothing there is readable by others; openssl is run with a list
 * of arguments, never through a shell, in that directory; a file that exists
 * is not overwritten unless that was asked for.
 */
#include "clients/cli/cmd_pki.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "bus/codes.h"
#include "clients/cli/table.h"
#include "libcommon/err.h"
#include "libcommon/parse.h"
#include "libcommon/strbuf.h"

#define PARENT_DIR   "/etc/xenmesh"
#define DEFAULT_DIR  PARENT_DIR "/pki"
#define CA_DAYS	     "3650"
#define DAYS_DEFAULT 365
#define DAYS_MAX     3650
#define NAME_MAX_    64
#define HOSTS_MAX    32
#define ARGS_MAX     32
#define FILE_MAX_    (4U << 20) /* an index of 40,000 certificates */

static const char config[] = "# For openssl, written by xenmesh.\n"
			     "[ca]\n"
			     "default_ca = xenmesh\n"
			     "[xenmesh]\n"
			     "database = db/index.txt\n"
			     "serial = db/serial\n"
			     "crlnumber = db/crlnumber\n"
			     "new_certs_dir = db/certs\n"
			     "certificate = ca.crt\n"
			     "private_key = ca.key\n"
			     "default_md = sha256\n"
			     "default_crl_days = " CA_DAYS "\n"
			     "crl_extensions = list\n"
			     "unique_subject = no\n"
			     "policy = policy\n"
			     "[policy]\n"
			     "organizationalUnitName = optional\n"
			     "commonName = supplied\n"
			     "[list]\n"
			     "authorityKeyIdentifier = keyid\n"
			     "[req]\n"
			     "prompt = no\n"
			     "distinguished_name = nothing\n"
			     "[nothing]\n"
			     "[authority]\n"
			     "basicConstraints = critical, CA:TRUE, pathlen:0\n"
			     "keyUsage = critical, keyCertSign, cRLSign\n"
			     "subjectKeyIdentifier = hash\n";

struct pki {
	struct cli *cli;
	const char *path;
	int dir; /* locked */
};

/* ---- files of the directory ---- */

static void pki_close(struct pki *p)
{
	p->dir = xclose(p->dir);
}

/* Opens and locks the directory. CLI_OK or CLI_FAILURE after saying why. */
static int pki_open(struct pki *p, struct cli *cli, const char *path)
{
	*p = (struct pki){ .cli = cli, .path = path ? path : DEFAULT_DIR };
	p->dir = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (p->dir < 0) {
		cli_error("cannot open %s: %s; `xenmesh bus pki init` makes an authority", p->path,
			  strerror(errno));
		return CLI_FAILURE;
	}
	if (flock(p->dir, LOCK_EX | LOCK_NB) < 0) {
		cli_error("%s is in use by another command", p->path);
		pki_close(p);
		return CLI_FAILURE;
	}
	return CLI_OK;
}

static bool has_file(const struct pki *p, const char *name)
{
	return faccessat(p->dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int open_authority(struct pki *p, struct cli *cli, const char *path)
{
	int status = pki_open(p, cli, path);

	if (status == CLI_OK && (!has_file(p, "ca.key") || !has_file(p, "db/openssl.cnf"))) {
		cli_error("%s has no authority; `xenmesh bus pki init` makes one", p->path);
		pki_close(p);
		status = CLI_FAILURE;
	}
	return status;
}

/* CLI_OK or CLI_FAILURE after saying why. */
static int write_file(const struct pki *p, const char *name, const void *data, size_t len)
{
	_cleanup_(xclosep) int fd = openat(p->dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
					   0600);

	if (fd < 0 || write(fd, data, len) != (ssize_t)len || fsync(fd) < 0) {
		cli_error("cannot write %s/%s: %s", p->path, name, strerror(errno));
		return CLI_FAILURE;
	}
	return CLI_OK;
}

/* malloc'ed and terminated; NULL after saying why. */
static char *read_file(const struct pki *p, const char *name, size_t *len)
{
	_cleanup_(xclosep) int fd = openat(p->dir, name, O_RDONLY | O_CLOEXEC);
	struct stat st;
	char *text = NULL;
	ssize_t n = -1;

	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size <= (off_t)FILE_MAX_) {
		text = malloc((size_t)st.st_size + 1);
		n = text ? read(fd, text, (size_t)st.st_size) : -1;
	}
	if (n < 0) {
		cli_error("cannot read %s/%s: %s", p->path, name, strerror(errno));
		free(text);
		return NULL;
	}
	text[n] = '\0';
	*len = (size_t)n;
	return text;
}

static int copy_file(const struct pki *p, const char *from, const char *to)
{
	size_t len;
	_cleanup_(xfreep) char *text = read_file(p, from, &len);

	return text ? write_file(p, to, text, len) : CLI_FAILURE;
}

static int make_dir(const struct pki *p, const char *name)
{
	if (mkdirat(p->dir, name, 0700) < 0 && errno != EEXIST) {
		cli_error("cannot make %s/%s: %s", p->path, name, strerror(errno));
		return CLI_FAILURE;
	}
	return CLI_OK;
}

/* ---- the openssl program ---- */

static void become_openssl(const struct pki *p, const char *const *argv, int errors)
{
	int null = open("/dev/null", O_RDWR);

	if (fchdir(p->dir) < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    dup2(errors, STDERR_FILENO) < 0) {
		_exit(126);
	}
	umask(077);
	execvp(argv[0], (char *const *)argv);
	dprintf(STDERR_FILENO, "%s\n",
		errno == ENOENT ? "there is no program openssl; install the package openssl"
				: strerror(errno));
	_exit(127);
}

static int wait_for(pid_t pid, int errors, const char *what)
{
	_cleanup_(strbuf_deinit) struct strbuf text = STRBUF_NULL;
	char buffer[4096];
	ssize_t n;
	int status = 0;

	while ((n = read(errors, buffer, sizeof(buffer))) > 0 || (n < 0 && errno == EINTR)) {
		strbuf_append(&text, buffer, n > 0 ? (size_t)n : 0);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		cli_error("openssl %s failed:\n%s", what, strbuf_str(&text));
		return CLI_FAILURE;
	}
	return CLI_OK;
}

/* Runs openssl in the directory. argv ends with NULL. CLI_OK, or CLI_FAILURE with its words. */
static int run_openssl(const struct pki *p, const char *const *argv)
{
	int fds[2], status;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0) {
		cli_error("cannot make a pipe: %s", strerror(errno));
		return CLI_FAILURE;
	}
	pid = fork();
	if (pid == 0) {
		become_openssl(p, argv, fds[1]);
	}
	close(fds[1]);
	if (pid < 0) {
		cli_error("cannot fork: %s", strerror(errno));
		status = CLI_FAILURE;
	} else {
		status = wait_for(pid, fds[0], argv[1]);
	}
	close(fds[0]);
	return status;
}

#define OPENSSL(p, ...) run_openssl((p), (const char *const[]){ "openssl", __VA_ARGS__, NULL })

static int make_key(const struct pki *p, const char *file)
{
	return OPENSSL(p, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256",
		       "-out", file);
}

static int write_crl(const struct pki *p)
{
	int status = OPENSSL(p, "ca", "-config", "db/openssl.cnf", "-gencrl", "-out", "crl.new");

	if (status == CLI_OK && renameat(p->dir, "crl.new", p->dir, "crl.pem") < 0) {
		cli_error("cannot write %s/crl.pem: %s", p->path, strerror(errno));
		status = CLI_FAILURE;
	}
	return status;
}

/* ---- init ---- */

static bool is_name(const char *text)
{
	size_t len = strlen(text);

	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)text[i]) && !strchr("-_.", text[i])) {
			return false;
		}
	}
	/* These stand in the directory themselves. */
	return len > 0 && len <= NAME_MAX_ && isalnum((unsigned char)text[0]) &&
	       !streq(text, "db") && !streq(text, "ca.crt") && !streq(text, "ca.key") &&
	       !streq(text, "crl.pem") && !streq(text, "crl.new") && !streq(text, "ca.new");
}

static int make_authority(const struct pki *p, const char *name)
{
	char subject[NAME_MAX_ + 8];
	int status = make_dir(p, "db");

	snprintf(subject, sizeof(subject), "/CN=%s", name);
	if (status == CLI_OK) {
		status = make_dir(p, "db/certs");
	}
	if (status == CLI_OK) {
		status = write_file(p, "db/openssl.cnf", config, strlen(config));
	}
	if (status == CLI_OK) {
		status = write_file(p, "db/index.txt", "", 0);
	}
	if (status == CLI_OK) {
		status = write_file(p, "db/crlnumber", "01\n", 3);
	}
	if (status == CLI_OK) {
		status = make_key(p, "ca.new");
	}
	if (status == CLI_OK) {
		status = OPENSSL(p, "req", "-x509", "-new", "-config", "db/openssl.cnf", "-key",
				 "ca.new", "-sha256", "-days", CA_DAYS, "-subj", subject,
				 "-extensions", "authority", "-out", "ca.crt");
	}
	/* The key is there once all but the list is. */
	if (status == CLI_OK && renameat(p->dir, "ca.new", p->dir, "ca.key") < 0) {
		cli_error("cannot write %s/ca.key: %s", p->path, strerror(errno));
		status = CLI_FAILURE;
	}
	return status == CLI_OK ? write_crl(p) : status;
}

static void print_authority(const struct pki *p, const char *name)
{
	if (p->cli->json) {
		struct json_object *o = json_object_new_object();

		json_object_object_add(o, "dir", json_object_new_string(p->path));
		json_object_object_add(o, "name", json_object_new_string(name));
		cli_print_json(o);
		return;
	}
	printf("%s has the authority \"%s\"; keep its ca.key secret and on this host.\n"
	       "Next: xenmesh bus pki issue NAME --role observer|operator|admin [--server --host "
	       "HOST]\n",
	       p->path, name);
}

int cmd_bus_pki_init(struct cli *cli, int argc, char **argv)
{
	_cleanup_(pki_close) struct pki p = { .dir = -1 };
	const char *path = NULL, *name = "xenmesh";
	const struct cli_option options[] = { { .name = "dir", .value = &path },
					      { .name = "name", .value = &name } };
	int status = cli_options(&argc, argv, options, ARRAY_LEN(options));

	if (status || argc > 0) {
		return status ? status : cli_usage("bus pki init takes no arguments");
	}
	if (!is_name(name)) {
		return cli_usage("--name wants letters, digits, -, _ and ., got \"%s\"", name);
	}
	if (!path && mkdir(PARENT_DIR, 0755) < 0 && errno != EEXIST) {
		cli_error("cannot make " PARENT_DIR ": %s", strerror(errno));
		return CLI_FAILURE;
	}
	if (mkdir(path ? path : DEFAULT_DIR, 0700) < 0 && errno != EEXIST) {
		cli_error("cannot make %s: %s", path ? path : DEFAULT_DIR, strerror(errno));
		return CLI_FAILURE;
	}
	status = pki_open(&p, cli, path);
	if (status != CLI_OK) {
		return status;
	}
	if (has_file(&p, "ca.key")) {
		cli_error("%s has an authority already; name another --dir", p.path);
		return CLI_FAILURE;
	}
	if (fchmod(p.dir, 0700) < 0) {
		cli_error("cannot close %s to others: %s", p.path, strerror(errno));
		return CLI_FAILURE;
	}
	status = make_authority(&p, name);
	if (status == CLI_OK) {
		print_authority(&p, name);
	}
	return status;
}

/* ---- issue ---- */

struct order {
	const char *name;
	const char *role;
	const char *hosts[HOSTS_MAX];
	size_t n_hosts;
	uint32_t days;
	bool is_server, is_renewal;
};

static bool is_role(const char *text)
{
	for (int role = ROLE_OBSERVER; role <= ROLE_ADMIN; role++) {
		if (streq(text, bus_role_name(role))) {
			return true;
		}
	}
	return false;
}

static bool is_address(const char *text)
{
	struct in6_addr a;

	return inet_pton(AF_INET, text, &a) == 1 || inet_pton(AF_INET6, text, &a) == 1;
}

static bool is_host(const char *text)
{
	size_t len = strlen(text);

	return is_address(text) ||
	       (len > 0 && len < 254 && isalnum((unsigned char)text[0]) &&
		strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.") ==
			len);
}

/* The options that may come several times; the others stay in argv. */
static int take_hosts(int *argc, char **argv, struct order *o)
{
	int kept = 0;

	for (int i = 0; i < *argc; i++) {
		bool is_joined = str_starts(argv[i], "--host=");

		if (!is_joined && !streq(argv[i], "--host")) {
			argv[kept++] = argv[i];
			continue;
		}
		if (!is_joined && i + 1 == *argc) {
			return cli_usage("--host wants a value");
		}
		if (o->n_hosts == HOSTS_MAX) {
			return cli_usage("more than %d --host", HOSTS_MAX);
		}
		o->hosts[o->n_hosts] = is_joined ? argv[i] + strlen("--host=") : argv[++i];
		if (!is_host(o->hosts[o->n_hosts])) {
			return cli_usage("--host wants a DNS name or an address, got \"%s\"",
					 o->hosts[o->n_hosts]);
		}
		o->n_hosts++;
	}
	*argc = kept;
	return CLI_OK;
}

static int read_order(int argc, char **argv, struct order *o, const char **path)
{
	const char *days = NULL;
	const struct cli_option options[] = {
		{ .name = "dir", .value = path },
		{ .name = "role", .value = &o->role },
		{ .name = "days", .value = &days },
		{ .name = "server", .flag = &o->is_server },
		{ .name = "renew", .flag = &o->is_renewal },
	};
	int status = take_hosts(&argc, argv, o);

	if (status == CLI_OK) {
		status = cli_options(&argc, argv, options, ARRAY_LEN(options));
	}
	if (status != CLI_OK) {
		return status;
	}
	o->days = DAYS_DEFAULT;
	if (argc != 1 || !is_name(argv[0])) {
		return cli_usage("bus pki issue wants one NAME of letters, digits, -, _ and .");
	}
	o->name = argv[0];
	if (!o->role || !is_role(o->role)) {
		return cli_usage("--role wants observer, operator or admin");
	}
	if (days && (parse_u32(days, strlen(days), DAYS_MAX, &o->days) < 0 || o->days == 0)) {
		return cli_usage("--days wants 1 to %d, got \"%s\"", DAYS_MAX, days);
	}
	if (o->is_server && o->n_hosts == 0) {
		return cli_usage("--server wants the --host that others dial it by");
	}
	return CLI_OK;
}

static int write_extensions(const struct pki *p, const struct order *o)
{
	_cleanup_(strbuf_deinit) struct strbuf text = STRBUF_NULL;

	strbuf_printf(&text,
		      "[certificate]\n"
		      "basicConstraints = critical, CA:FALSE\n"
		      "keyUsage = critical, digitalSignature\n"
		      "extendedKeyUsage = clientAuth%s\n"
		      "subjectKeyIdentifier = hash\n"
		      "authorityKeyIdentifier = keyid\n"
		      "subjectAltName = URI:xenmesh:role:%s",
		      o->is_server ? ", serverAuth" : "", o->role);
	for (size_t i = 0; i < o->n_hosts; i++) {
		strbuf_printf(&text, ", %s:%s", is_address(o->hosts[i]) ? "IP" : "DNS",
			      o->hosts[i]);
	}
	strbuf_putc(&text, '\n');
	return write_file(p, "db/extensions.cnf", text.data, text.len);
}

/* The files of one name. */
struct names {
	char dir[NAME_MAX_ + 2];
	char key[2 * NAME_MAX_ + 16], new_key[2 * NAME_MAX_ + 16];
	char crt[2 * NAME_MAX_ + 16], new_crt[2 * NAME_MAX_ + 16];
	char ca[NAME_MAX_ + 16], crl[NAME_MAX_ + 16];
};

static void names_init(struct names *n, const char *name)
{
	snprintf(n->dir, sizeof(n->dir), "%s", name);
	snprintf(n->key, sizeof(n->key), "%s/%s.key", name, name);
	snprintf(n->crt, sizeof(n->crt), "%s/%s.crt", name, name);
	snprintf(n->new_key, sizeof(n->new_key), "%s/%s.key.new", name, name);
	snprintf(n->new_crt, sizeof(n->new_crt), "%s/%s.crt.new", name, name);
	snprintf(n->ca, sizeof(n->ca), "%s/ca.crt", name);
	snprintf(n->crl, sizeof(n->crl), "%s/crl.pem", name);
}

static int sign(const struct pki *p, const struct order *o, const struct names *n)
{
	char subject[NAME_MAX_ + 32], days[16];
	int status;

	snprintf(subject, sizeof(subject), "/OU=%s/CN=%s", o->role, o->name);
	snprintf(days, sizeof(days), "%u", o->days);
	status = make_key(p, n->new_key);
	if (status == CLI_OK) {
		status = OPENSSL(p, "req", "-new", "-config", "db/openssl.cnf", "-key", n->new_key,
				 "-subj", subject, "-out", "db/request.pem");
	}
	if (status == CLI_OK) {
		status = OPENSSL(p, "ca", "-batch", "-notext", "-config", "db/openssl.cnf",
				 "-rand_serial", "-in", "db/request.pem", "-days", days, "-extfile",
				 "db/extensions.cnf", "-extensions", "certificate", "-out",
				 n->new_crt);
	}
	return status;
}

static int issue(const struct pki *p, const struct order *o, const struct names *n)
{
	int status = make_dir(p, n->dir);

	if (status == CLI_OK) {
		status = write_extensions(p, o);
	}
	if (status == CLI_OK) {
		status = sign(p, o, n);
	}
	if (status == CLI_OK) {
		status = copy_file(p, "ca.crt", n->ca);
	}
	if (status == CLI_OK) {
		status = copy_file(p, "crl.pem", n->crl);
	}
	if (status == CLI_OK && (renameat(p->dir, n->new_key, p->dir, n->key) < 0 ||
				 renameat(p->dir, n->new_crt, p->dir, n->crt) < 0)) {
		cli_error("cannot write %s/%s: %s", p->path, n->crt, strerror(errno));
		status = CLI_FAILURE;
	}
	if (status != CLI_OK) {
		unlinkat(p->dir, n->new_key, 0);
		unlinkat(p->dir, n->new_crt, 0);
	}
	return status;
}

static void print_order(const struct pki *p, const struct order *o, const struct names *n)
{
	if (p->cli->json) {
		struct json_object *j = json_object_new_object();
		const char *const files[] = { n->crt, n->key, n->ca, n->crl };
		static const char *const keys[] = { "cert", "key", "ca", "crl" };

		json_object_object_add(j, "name", json_object_new_string(o->name));
		json_object_object_add(j, "role", json_object_new_string(o->role));
		json_object_object_add(j, "days", json_object_new_int64(o->days));
		for (size_t i = 0; i < ARRAY_LEN(files); i++) {
			_cleanup_(strbuf_deinit) struct strbuf path = STRBUF_NULL;

			strbuf_printf(&path, "%s/%s", p->path, files[i]);
			json_object_object_add(j, keys[i],
					       json_object_new_string(strbuf_str(&path)));
		}
		cli_print_json(j);
		return;
	}
	printf("%s/%s has what belongs on the host %s, for %u days and the role %s.\n"
	       "Copy its files to /etc/xenmesh/tls there, readable for the services only, and say "
	       "in\n"
	       "the topology:\n"
	       "\n"
	       "  [tls]\n"
	       "  ca = /etc/xenmesh/tls/ca.crt\n"
	       "  cert = /etc/xenmesh/tls/%s.crt\n"
	       "  key = /etc/xenmesh/tls/%s.key\n"
	       "  crl = /etc/xenmesh/tls/crl.pem\n",
	       p->path, n->dir, o->name, o->days, o->role, o->name, o->name);
}

int cmd_bus_pki_issue(struct cli *cli, int argc, char **argv)
{
	_cleanup_(pki_close) struct pki p = { .dir = -1 };
	struct order o = { .name = NULL };
	const char *path = NULL;
	struct names n;
	int status = read_order(argc, argv, &o, &path);

	if (status == CLI_OK) {
		status = open_authority(&p, cli, path);
	}
	if (status != CLI_OK) {
		return status;
	}
	names_init(&n, o.name);
	if (!o.is_renewal && (has_file(&p, n.crt) || has_file(&p, n.key))) {
		cli_error("%s/%s is there already; replace it with --renew, or choose another NAME",
			  p.path, n.crt);
		return CLI_FAILURE;
	}
	status = issue(&p, &o, &n);
	if (status == CLI_OK) {
		print_order(&p, &o, &n);
	}
	return status;
}

/* ---- list ---- */

/* A line of openssl's index. */
struct entry {
	const char *state; /* "valid", "expired", "revoked" */
	char until[24];
	char *serial, *subject;
};

/* "261122101112Z" or "20261122101112Z" -> "2026-11-22 10:11" and the seconds since the epoch. */
static time_t read_time(const char *text, char *out, size_t size)
{
	struct tm tm = { 0 };
	const char *end = strptime(text, strlen(text) > 13 ? "%Y%m%d%H%M%S" : "%y%m%d%H%M%S", &tm);

	if (!end || !strftime(out, size, "%Y-%m-%d %H:%M", &tm)) {
		snprintf(out, size, "?");
	}
	return end ? timegm(&tm) : 0;
}

/* Cuts the line up. False when it is none. */
static bool read_entry(char *line, struct entry *out)
{
	char *fields[6];
	time_t end;

	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		fields[i] = strsep(&line, "\t");
		if (!fields[i]) {
			return false;
		}
	}
	end = read_time(fields[1], out->until, sizeof(out->until));
	out->state = fields[0][0] == 'R' ? "revoked" : end <= time(NULL) ? "expired" : "valid";
	out->serial = fields[3];
	out->subject = fields[5];
	return true;
}

/* A part of "/OU=admin/CN=blue", in the arena. */
static const char *part_of(struct cli *cli, const char *subject, const char *key)
{
	const char *at = strstr(subject, key);

	at = at ? at + strlen(key) : "";
	return cli_text(cli, at, strcspn(at, "/"));
}

static struct json_object *entry_json(struct cli *cli, const struct entry *e)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "name", json_object_new_string(part_of(cli, e->subject, "/CN=")));
	json_object_object_add(o, "role", json_object_new_string(part_of(cli, e->subject, "/OU=")));
	json_object_object_add(o, "state", json_object_new_string(e->state));
	json_object_object_add(o, "until", json_object_new_string(e->until));
	json_object_object_add(o, "serial", json_object_new_string(e->serial));
	return o;
}

int cmd_bus_pki_list(struct cli *cli, int argc, char **argv)
{
	static const char *const titles[] = { "NAME", "ROLE", "STATE", "UNTIL (UTC)", "SERIAL" };
	_cleanup_(table_freep) struct table *table = table_new(titles, ARRAY_LEN(titles));
	_cleanup_(pki_close) struct pki p = { .dir = -1 };
	_cleanup_(xfreep) char *text = NULL;
	const char *path = NULL;
	const struct cli_option options[] = { { .name = "dir", .value = &path } };
	int status = cli_options(&argc, argv, options, ARRAY_LEN(options));
	size_t len;

	if (status || argc > 0) {
		return status ? status : cli_usage("bus pki list takes no arguments");
	}
	status = open_authority(&p, cli, path);
	if (status != CLI_OK) {
		return status;
	}
	text = read_file(&p, "db/index.txt", &len);
	if (!text) {
		return CLI_FAILURE;
	}
	for (char *rest = text, *line; (line = strsep(&rest, "\n"));) {
		struct entry e;

		if (!read_entry(line, &e)) {
			continue;
		}
		if (cli->json) {
			cli_print_json(entry_json(cli, &e));
			continue;
		}
		table_cell(table, "%s", part_of(cli, e.subject, "/CN="));
		table_cell(table, "%s", part_of(cli, e.subject, "/OU="));
		table_cell(table, "%s", e.state);
		table_cell(table, "%s", e.until);
		table_cell(table, "%s", e.serial);
	}
	if (!cli->json) {
		table_print(table);
	}
	return CLI_OK;
}

/* ---- revoke ---- */

/* All valid certificates of a name. CLI_OK with their number. */
static int revoke_name(const struct pki *p, const char *name, unsigned int *n_revoked)
{
	size_t len;
	_cleanup_(xfreep) char *text = read_file(p, "db/index.txt", &len);

	if (!text) {
		return CLI_FAILURE;
	}
	for (char *rest = text, *line; (line = strsep(&rest, "\n"));) {
		char file[96];
		struct entry e;
		int status;

		if (!read_entry(line, &e) || !streq(e.state, "valid") ||
		    !streq(part_of(p->cli, e.subject, "/CN="), name)) {
			continue;
		}
		snprintf(file, sizeof(file), "db/certs/%.64s.pem", e.serial);
		status = OPENSSL(p, "ca", "-config", "db/openssl.cnf", "-revoke", file);
		if (status != CLI_OK) {
			return status;
		}
		++*n_revoked;
	}
	return CLI_OK;
}

int cmd_bus_pki_revoke(struct cli *cli, int argc, char **argv)
{
	_cleanup_(pki_close) struct pki p = { .dir = -1 };
	const char *path = NULL;
	const struct cli_option options[] = { { .name = "dir", .value = &path } };
	int status = cli_options(&argc, argv, options, ARRAY_LEN(options));
	unsigned int n_revoked = 0;

	if (status == CLI_OK) {
		status = open_authority(&p, cli, path);
	}
	for (int i = 0; i < argc && status == CLI_OK; i++) {
		unsigned int before = n_revoked;

		status = revoke_name(&p, argv[i], &n_revoked);
		if (status == CLI_OK && n_revoked == before) {
			cli_error("%s has no valid certificate of \"%s\"; `xenmesh bus pki list` "
				  "lists them",
				  p.path, argv[i]);
			status = CLI_FAILURE;
		}
	}
	if (status != CLI_OK) {
		return status;
	}
	status = write_crl(&p);
	if (status == CLI_OK && cli->json) {
		struct json_object *o = json_object_new_object();

		json_object_object_add(o, "revoked", json_object_new_int64(n_revoked));
		cli_print_json(o);
	} else if (status == CLI_OK) {
		printf("%u revoked. Copy %s/crl.pem to every host, to the path of crl in [tls]; no "
		       "restart is needed.\n",
		       n_revoked, p.path);
	}
	return status;
}
