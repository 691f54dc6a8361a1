/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * xenmesh bus pki: the certificates of tls+tcp://.
 */
#include "clients/cli/cli.h"

int cmd_bus_pki_init(struct cli *cli, int argc, char **argv);
int cmd_bus_pki_issue(struct cli *cli, int argc, char **argv);
int cmd_bus_pki_list(struct cli *cli, int argc, char **argv);
int cmd_bus_pki_revoke(struct cli *cli, int argc, char **argv);
