/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Certificates for tests, made with `xenmesh bus pki` in a directory.
 */
#include <fcntl.h>
#include <stdio.h>

#include "bus/tls.h"
#include "clients/cli/cmd_pki.h"

#define PKI_ARGS_MAX 16

/* Runs a command of ours without its words. Its exit status. */
static inline int pki_run(int (*command)(struct cli *cli, int argc, char **argv),
			  const char *const *args)
{
	struct cli cli = { .json = true };
	char *copies[PKI_ARGS_MAX] = { NULL }, *argv[PKI_ARGS_MAX];
	int out = dup(STDOUT_FILENO), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	int argc = 0, status;

	while (args[argc] && argc < PKI_ARGS_MAX) {
		copies[argc] = argv[argc] = strdup(args[argc]);
		argc++;
	}
	fflush(stdout);
	dup2(null, STDOUT_FILENO);
	arena_init(&cli.arena, 1U << 20);
	status = command(&cli, argc, argv);
	arena_deinit(&cli.arena);
	fflush(stdout);
	dup2(out, STDOUT_FILENO);
	close(out);
	close(null);
	for (size_t i = 0; i < PKI_ARGS_MAX; i++) {
		free(copies[i]);
	}
	return status;
}

#define PKI(command, ...) pki_run((command), (const char *const[]){ __VA_ARGS__, NULL })

static inline void pki_expect(int status)
{
	if (status != 0) {
		abort();
	}
}

/* An authority in dir, with certificates for "server" (127.0.0.1 and localhost) and, for each role,
 * one of the role's name. */
static inline void pki_make(const char *dir)
{
	static const char *const roles[] = { "observer", "operator", "admin" };

	pki_expect(PKI(cmd_bus_pki_init, "--dir", dir));
	pki_expect(PKI(cmd_bus_pki_issue, "server", "--server", "--host", "127.0.0.1", "--host",
		       "localhost", "--role", "observer", "--dir", dir));
	for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
		pki_expect(PKI(cmd_bus_pki_issue, roles[i], "--role", roles[i], "--dir", dir));
	}
}

/* The files of one name; the crl is the authority's own, so it is always new. */
static inline struct bus_tls *pki_files(const char *dir, const char *name)
{
	struct bus_tls *t = bus_tls_new();
	char path[4][256];

	snprintf(path[BUS_TLS_CA], sizeof(path[0]), "%s/%s/ca.crt", dir, name);
	snprintf(path[BUS_TLS_CERT], sizeof(path[0]), "%s/%s/%s.crt", dir, name, name);
	snprintf(path[BUS_TLS_KEY], sizeof(path[0]), "%s/%s/%s.key", dir, name, name);
	snprintf(path[BUS_TLS_CRL], sizeof(path[0]), "%s/crl.pem", dir);
	for (enum bus_tls_file file = 0; file < BUS_TLS_FILES; file++) {
		pki_expect(bus_tls_set(t, file, path[file], "test.conf", 10 + file));
	}
	return t;
}
