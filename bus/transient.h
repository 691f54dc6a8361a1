/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Topics whose events stand for themselves and not for the state of an object
 * (RpcTrace in bus.proto): counted like all others, but kept nowhere, so a loss
 * of them is told and not repaired.
 */
#include "libcommon/base.h"

#define BUS_TRANSIENT_SEGMENT "trace"

static inline bool bus_topic_is_transient(const char *topic)
{
	return str_starts(topic, BUS_TRANSIENT_SEGMENT "/");
}
