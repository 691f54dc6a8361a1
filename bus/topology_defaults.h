/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What holds without any file.  deploy/topology.conf says the same with
 * comments; tests/unit/test_topology.c compares the two.
 */
#define TOPOLOGY_DEFAULTS                      \
	"[bus]\n"                              \
	"run_dir = /run/xenmesh\n"             \
	"engine = native\n"                    \
	"[service ops]\n"                      \
	"pub = ipc://@run@/ops/pub\n"          \
	"rpc = ipc://@run@/ops/rpc\n"          \
	"[service metrics]\n"                  \
	"pub = ipc://@run@/metrics/pub\n"      \
	"rpc = ipc://@run@/metrics/rpc\n"      \
	"[service agent-bridge]\n"             \
	"pub = ipc://@run@/agent-bridge/pub\n" \
	"rpc = ipc://@run@/agent-bridge/rpc\n" \
	"[access]\n"                           \
	"observer = *\n"                       \
	"operator = @xenmesh\n"                \
	"admin = root @xenmesh-admin\n"
