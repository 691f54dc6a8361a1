/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
#include <json-c/json.h>

#include "bus/topology.h"

/* Mistakes of a topology that loading does not refuse, as lines of text added to the two arrays.
 * Asks NSS for the users of [access]. */
void topology_find(const struct topology *t, struct json_object *errors,
		   struct json_object *warnings);
