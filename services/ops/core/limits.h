/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Limits of ops, each with its reason.
 */
#include "libcommon/base.h"

#define OPS_CONFIG_TEXT_MAX (64U << 10) /* a .vm or xl.cfg; hand-written ones are below 4 KiB */
#define OPS_WARNINGS_MAX    100		/* of one definition */
#define OPS_ERRORS_MAX_LEN  8192	/* bytes of text in one refusal */
#define OPS_VMS_MAX	    10000	/* defined VMs; twice what a host can run */
#define OPS_QUEUE_MAX	    16		/* operations waiting for one VM */
#define OPS_ACTIVE_MAX	    4096	/* tasks that have not ended */
#define OPS_REF_MAX	    256		/* bytes of a `vm` or task id in a request */

#define OPS_WORKERS_DEFAULT 4 /* at work at once; xenopsd's pool has the same size */
#define OPS_WORKERS_MAX	    64
#define OPS_ASKING_MAX	    64 /* more, that only wait for a guest's answer; 2 MiB each */

#define OPS_TASKS_KEPT	      1000   /* ended tasks that stay visible ... */
#define OPS_TASK_KEPT_S	      3600   /* ... and for how long at most */
#define OPS_TASK_LOG_LINES    50     /* see TaskError.log */
#define OPS_TASK_LOG_LINE_MAX 1024   /* bytes; longer ones are cut */
#define OPS_TASK_TEXT_MAX     1024   /* bytes of a message or step */
#define OPS_TASK_PUBLISH_MS   200    /* progress is told at most five times a second */
#define OPS_ANSWERS_MAX	      100000 /* remembered answers; 160 mutating calls a second */
#define OPS_ANSWER_SECONDS    600    /* bus/limits.h BUS_DEDUP_SECONDS */

#define OPS_SHUTDOWN_DEFAULT_S 120
#define OPS_SHUTDOWN_MAX_S     3600

#define OPS_HOST_WAIT_MS    30000 /* an operation waits so long for an absent host process */
#define OPS_HELLO_WAIT_MS   5000  /* the host process has to say hello */
#define OPS_HOST_SILENCE_MS 15000 /* it sends a sample each second */
#define OPS_SPAWN_WAIT_MS   10000 /* and a worker, a fork and an exec */
#define OPS_CANCEL_WAIT_MS  15000 /* a worker has that long to obey, then its link is cut */
#define OPS_ASK_AGAIN_MS    5000  /* between two tries to ask a guest to end */
#define OPS_DYING_WAIT_MS   60000 /* a large guest's memory is freed in that time */
#define OPS_STORE_WAIT_MS   60000 /* an accepted operation waits so long for a full disk */
#define OPS_MEMORY_WAIT_MS  5000  /* freed memory shows up in a sample within two seconds */
#define OPS_SETTLE_WAIT_MS  5000  /* a change is told within one second */
#define OPS_RECOVER_NONE_MS 3000  /* after a restart: nothing to be seen of the operation */
#define OPS_RECOVER_HALF_MS 60000 /* after a restart: the domain exists, not yet as wanted */

/* Boot-loop guard; the 120 s and the delay are xenopsd's. */
#define OPS_CRASH_LOOP_S    120	  /* a crash so soon after the start: no restart */
#define OPS_REBOOT_LOOP_S   15	  /* a reboot so soon after the start ... */
#define OPS_REBOOT_DELAY_MS 15000 /* ... waits that long */
