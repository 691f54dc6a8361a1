/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Following operations to their end.
 */
#include "clients/cli/cli.h"
#include "xenmesh/v1/ops.pb-c.h"

/* Waits for a task, with its steps on stderr when that is a terminal. Says how it ended
 * (with --json: prints the Task) and returns the exit code for it. */
int cli_task_wait(struct cli *cli, const Xenmesh__V1__Task *task);
/* Says how a task that has ended ended, as cli_task_wait() does. */
int cli_task_report(struct cli *cli, const Xenmesh__V1__Task *task);
