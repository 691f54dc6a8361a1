/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which engine moves the bytes of a URL.
 */
#include "bus/engine.h"

const struct bus_engine *bus_engine_for(const char *url)
{
	if (str_starts(url, "ipc://")) {
		return &bus_engine_sp;
	}
	if (str_starts(url, "tcp://")) {
		return &bus_engine_nng;
	}
	return NULL;
}
