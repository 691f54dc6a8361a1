/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The commands of `xenmesh bus` that watch, record and imitate.
 */
#include "clients/cli/cli.h"

int cmd_bus_monitor(struct cli *cli, int argc, char **argv);
int cmd_bus_hz(struct cli *cli, int argc, char **argv);
int cmd_bus_bw(struct cli *cli, int argc, char **argv);
int cmd_bus_delay(struct cli *cli, int argc, char **argv);
int cmd_bus_wait(struct cli *cli, int argc, char **argv);
int cmd_bus_capture(struct cli *cli, int argc, char **argv);
int cmd_bus_replay(struct cli *cli, int argc, char **argv);
int cmd_bus_pub(struct cli *cli, int argc, char **argv);
int cmd_bus_snapshot(struct cli *cli, int argc, char **argv);
int cmd_bus_top(struct cli *cli, int argc, char **argv);
int cmd_bus_trace(struct cli *cli, int argc, char **argv);
