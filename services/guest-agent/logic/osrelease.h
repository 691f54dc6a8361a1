/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * os-release(5).
 */
#include "services/guest-agent/logic/facts.h"

/* Fills *out completely.  Lines that are no assignment, or whose quotes do not close, are as if
 * they were not there; of repeated names the last counts.  With nothing usable the name is
 * "Linux" and the distro "linux", as the manual says. */
void guest_osrelease_parse(const char *text, size_t len, struct guest_os *out);
