/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Where the modules of ops publish: the bus, or a table in tests.
 */
#include "xenmesh/v1/bus.pb-c.h"

struct events {
	/* As bus_pub_publish() and bus_pub_remove(). */
	int (*publish)(void *userdata, const char *topic, Xenmesh__V1__Event *event);
	int (*remove)(void *userdata, const char *topic, const char *reason);
	void *userdata;
};
