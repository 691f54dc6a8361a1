/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What can be wrong with a host around the services.  Nothing is changed, and
 * no socket of ours is connected to without a whole call; of xenstored, which
 * is another program, a bare connection is harmless.
 */
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <systemd/sd-journal.h>

#include "bus/tls.h"
#include "clients/cli/doctor.h"
#include "libcommon/clock.h"

#define JOURNAL_HOURS	  1
#define JOURNAL_MAX	  1000 /* entries read; more are as bad */
#define XENSTORED_DEFAULT "/run/xenstored/socket"
#define NSEC_PER_USEC	  1000ULL

/* ---- directories ---- */

static void check_directory(struct doctor *d, const char *path, bool is_needed)
{
	struct cli *cli = d->cli;
	struct stat st;

	if (stat(path, &st) < 0) {
		if (errno == EACCES) {
			doctor_find(d, "directories", path,
				    arena_printf(&cli->arena, "namei -l %s", path),
				    "this user cannot get there");
		} else if (is_needed) {
			doctor_find(d, "directories", path,
				    arena_printf(&cli->arena, "install -d -m 0755 %s", path), "%s",
				    strerror(errno));
		}
		return;
	}
	if (!S_ISDIR(st.st_mode)) {
		doctor_find(d, "directories", path,
			    arena_printf(&cli->arena, "rm %s && install -d -m 0755 %s", path, path),
			    "is no directory");
		return;
	}
	/* Who can write here can put a socket of his own in the place of a service's. */
	if (st.st_mode & (S_IWOTH | S_IWGRP)) {
		doctor_find(d, "directories", path,
			    arena_printf(&cli->arena, "chmod go-w %s", path),
			    "has mode %04o: others than its owner can replace the sockets",
			    (unsigned int)st.st_mode & 07777);
	}
	if (access(path, X_OK) < 0) {
		doctor_find(d, "directories", path,
			    arena_printf(&cli->arena, "sudo chmod o+x %s", path),
			    "is closed to this user (mode %04o), perhaps on purpose",
			    (unsigned int)st.st_mode & 07777);
	}
}

/* A service makes its sockets so that everybody can connect: roles decide the rest. */
static void check_socket(struct doctor *d, const char *url)
{
	const char *path = topology_url_path(url);
	struct stat st;

	if (path && stat(path, &st) == 0 && S_ISSOCK(st.st_mode) && (st.st_mode & 0666) != 0666) {
		doctor_find(d, "directories", path,
			    arena_printf(&d->cli->arena, "chmod 0666 %s", path),
			    "has mode %04o: who is not its owner cannot connect",
			    (unsigned int)st.st_mode & 07777);
	}
}

/* Owner of the directory that a service's socket is in: root, or the service's own user. */
static void check_owner(struct doctor *d, const struct probe *p, const char *dir)
{
	struct stat st;

	if (p->has_uid && stat(dir, &st) == 0 && st.st_uid != 0 && st.st_uid != p->uid) {
		doctor_find(d, "directories", dir,
			    arena_printf(&d->cli->arena, "chown %u %s", (unsigned int)p->uid, dir),
			    "belongs to uid %u, but %s runs as uid %u", (unsigned int)st.st_uid,
			    p->service->name, (unsigned int)p->uid);
	}
}

/* That of run_dir can move the directories of all services aside. */
static void check_run_dir_owner(struct doctor *d, const char *dir)
{
	bool is_known = false;
	struct stat st;

	if (stat(dir, &st) < 0 || st.st_uid == 0) {
		return;
	}
	for (size_t i = 0; i < d->n_probes; i++) {
		const struct probe *p = &d->probes[i];

		if (p->has_uid && p->uid == st.st_uid) {
			return;
		}
		is_known = is_known || p->has_uid;
	}
	if (is_known) {
		doctor_find(d, "directories", dir,
			    arena_printf(&d->cli->arena, "chown root %s", dir),
			    "belongs to uid %u, which no service runs as", (unsigned int)st.st_uid);
	}
}

void doctor_check_directories(struct doctor *d)
{
	const char *run_dir = topology_run_dir(d->cli->topology);

	d->n_checks++;
	check_directory(d, run_dir, true);
	check_run_dir_owner(d, run_dir);
	for (size_t i = 0; i < d->n_probes; i++) {
		const struct probe *p = &d->probes[i];
		const char *slash = p->path ? strrchr(p->path, '/') : NULL;
		const char *dir = slash ? arena_strndup(&d->cli->arena, p->path,
							(size_t)(slash - p->path))
					: NULL;

		if (!dir || streq(dir, run_dir)) {
			continue;
		}
		/* A service makes its own; one that never ran is told as missing. */
		check_directory(d, dir, false);
		check_owner(d, p, dir);
		if (strchr(p->service->name, '/')) {
			continue; /* what another program listens on */
		}
		for (size_t k = 0; k < p->service->rpc.n_urls; k++) {
			check_socket(d, p->service->rpc.urls[k]);
		}
		for (size_t k = 0; k < p->service->pub.n_urls; k++) {
			check_socket(d, p->service->pub.urls[k]);
		}
	}
}

/* ---- TLS ---- */

/* The files of [tls]; NULL when none are named. */
static struct bus_tls *find_tls(const struct doctor *d)
{
	for (size_t i = 0; i < d->n_probes; i++) {
		struct bus_tls *tls = d->probes[i].service->rpc.tls;

		if (tls && (bus_tls_path(tls, BUS_TLS_CERT) || bus_tls_path(tls, BUS_TLS_KEY))) {
			return tls;
		}
	}
	return NULL;
}

/* "topology.conf:7: key /etc/... has mode 0644; chmod 600 it": the remedy behind the `;`, as a
 * command where there is one. */
static void find_complaint(struct doctor *d, const struct bus_tls *tls, const char *line,
			   size_t len)
{
	struct cli *cli = d->cli;
	const char *text = arena_strndup(&cli->arena, line, len);
	const char *remedy = text ? strrchr(text, ';') : NULL;
	const char *key = bus_tls_path(tls, BUS_TLS_KEY);

	if (!remedy) {
		doctor_find(d, "tls", "tls", "xenmesh bus pki list", "%s", text ? text : "");
		return;
	}
	if (key && strstr(remedy, "chmod")) {
		doctor_find(d, "tls", key, arena_printf(&cli->arena, "chmod 600 %s", key), "%.*s",
			    (int)(remedy - text), text);
	} else if (key && strstr(remedy, "chown")) {
		doctor_find(d, "tls", key, arena_printf(&cli->arena, "chown root %s", key), "%.*s",
			    (int)(remedy - text), text);
	} else if (strstr(text, "cannot be read")) {
		doctor_find(d, "tls", "tls", "xenmesh bus pki issue, and copy what it writes here",
			    "%s", text);
	} else {
		doctor_find(d, "tls", "tls", remedy + 1 + strspn(remedy + 1, " "), "%.*s",
			    (int)(remedy - text), text);
	}
}

void doctor_check_tls(struct doctor *d)
{
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	struct bus_tls *tls = find_tls(d);
	const char *key = tls ? bus_tls_path(tls, BUS_TLS_KEY) : NULL;

	if (!tls) {
		return;
	}
	if (key && access(key, R_OK) < 0 && errno == EACCES) {
		cli_error("only root can look at %s: the files of [tls] were not checked", key);
		return;
	}
	d->n_checks++;
	bus_tls_load(tls, &errors);
	for (const char *p = strbuf_str(&errors); *p;) {
		size_t len = strcspn(p, "\n");

		if (len) {
			find_complaint(d, tls, p, len);
		}
		p += len + (p[len] == '\n');
	}
}

/* ---- xenstored ---- */

static bool is_dom0(void)
{
	char text[64] = "";
	FILE *f = fopen("/proc/xen/capabilities", "re");
	bool is_control = f && fgets(text, sizeof(text), f) && strstr(text, "control_d");

	if (f) {
		fclose(f);
	}
	return is_control;
}

/* Somebody listens there: 0, else errno. */
static int try_socket(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd, e;

	if (strlen(path) >= sizeof(address.sun_path)) {
		return ENAMETOOLONG;
	}
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		return errno;
	}
	e = connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? errno : 0;
	close(fd);
	/* Its queue is full: it lives. Only root may connect: so it is not for us to say. */
	return e == EAGAIN || e == EACCES ? 0 : e;
}

static const struct probe *find_service(const struct doctor *d, const char *name)
{
	for (size_t i = 0; i < d->n_probes; i++) {
		if (streq(d->probes[i].service->name, name)) {
			return &d->probes[i];
		}
	}
	return NULL;
}

void doctor_check_xenstored(struct doctor *d)
{
	const char *path = secure_getenv("XENSTORED_PATH");
	const struct probe *ops = find_service(d, "ops");
	int e;

	d->n_checks++;
	if (ops && ops->stats && !probe_stat(ops->stats, "host.connected")) {
		doctor_find(d, "host", "ops", "systemctl start xenmesh-ops-host",
			    "its host process is away: VMs can be neither seen nor changed");
	}
	/* A bus of this host that has nothing to do with Xen is none of its business. */
	if (!path && !is_dom0()) {
		return;
	}
	path = path ? path : XENSTORED_DEFAULT;
	e = try_socket(path);
	if (e) {
		doctor_find(d, "xenstored", path,
			    "systemctl start xenstored (it cannot be restarted: reboot if it died)",
			    "xenstored is absent: %s", strerror(e));
	}
}

/* ---- the journal ---- */

struct complaints {
	unsigned int n;
	const char *last; /* in the arena */
};

static struct complaints read_journal(struct doctor *d, sd_journal *journal, const char *unit)
{
	struct complaints c = { .n = 0 };
	uint64_t since_us = (clock_real_ns() - JOURNAL_HOURS * 3600 * NSEC_PER_SEC) / NSEC_PER_USEC;

	sd_journal_flush_matches(journal);
	for (int priority = 0; priority <= LOG_ERR; priority++) {
		char match[16];

		snprintf(match, sizeof(match), "PRIORITY=%d", priority);
		if (sd_journal_add_match(journal, match, 0) < 0) {
			return c;
		}
	}
	if (sd_journal_add_match(journal,
				 arena_printf(&d->cli->arena, "_SYSTEMD_UNIT=%s.service", unit),
				 0) < 0 ||
	    sd_journal_seek_realtime_usec(journal, since_us) < 0) {
		return c;
	}
	while (c.n < JOURNAL_MAX && sd_journal_next(journal) > 0) {
		const void *data;
		size_t len;

		c.n++;
		if (!sd_journal_get_data(journal, "MESSAGE", &data, &len) && len >= 8) {
			c.last = cli_text(d->cli, (const char *)data + 8, MIN(len - 8, 200));
		}
	}
	return c;
}

void doctor_check_journal(struct doctor *d)
{
	sd_journal *journal = NULL;

	d->n_checks++;
	/* Without a journal, or the right to read it, there is nothing to tell. */
	if (sd_journal_open(&journal, SD_JOURNAL_LOCAL_ONLY) < 0) {
		return;
	}
	for (size_t i = 0; i < d->n_probes; i++) {
		const char *name = d->probes[i].service->name;
		const char *unit = arena_printf(&d->cli->arena, "xenmesh-%s", name);
		struct complaints c;

		if (!unit || strchr(name, '/')) {
			continue;
		}
		c = read_journal(d, journal, unit);
		if (c.n) {
			doctor_find(d, "journal", name,
				    arena_printf(&d->cli->arena,
						 "journalctl -u %s -p err --since -%dh", unit,
						 JOURNAL_HOURS),
				    "%u errors in the last hour, the last: %s", c.n,
				    c.last ? c.last : "?");
		}
	}
	sd_journal_close(journal);
}
