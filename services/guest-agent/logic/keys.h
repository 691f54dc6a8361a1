/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Facts as xenstore keys: those that existing agents write and that XAPI reads
 * (docs of Xen: xenstore-paths).
 */
#include "services/guest-agent/logic/facts.h"
#include "services/guest-agent/logic/tree.h"

/* Told last in every batch of news, changed or not: a reader that does not watch data/ (XAPI
 * since 2025) looks at everything when something below attr/ is written. */
#define GUEST_KEY_LAST "attr/PVAddons/Installed"
/* Told once in every batch of news, for readers that watch it (XAPI before 2025) and for those
 * that take it for "a guest agent is there" (squeezed). */
#define GUEST_KEY_UPDATED "data/updated"
/* All below it is the agent's. */
#define GUEST_KEY_VIFS "attr/vif"

/* Single keys that the agent owns whether it wants them or not: one found there from an earlier
 * run is removed when it is not wanted.  NULL-terminated. */
extern const char *const guest_keys_owned[];

/* Append the wanted keys in the order in which they should be written: data/, control/ and
 * feature/, attr/vif/, attr/PVAddons/ with GUEST_KEY_LAST at the end.  Only what is true is
 * there: no feature key with "0", because readers ask for existence.  0, or -ENOMEM. */
int guest_keys_build(const struct guest_facts *facts, struct guest_tree *out);
