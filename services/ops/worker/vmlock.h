/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * One creation of a VM at a time on this host, whoever asked for it: Xen itself
 * does not mind two domains of one UUID, and a look at its list does not show
 * one that another worker is about to make.
 */
#include "libcommon/base.h"

/* What workers of this host share. */
struct worker_paths {
	const char *lock;  /* a file, made if need be */
	const char *marks; /* directory of libxl's userdata */
};

/* Hold the lock of a VM until this process ends; children do not inherit it. uuid: canonical.
 * 0; 1 = *holder has it; -errno. */
int vmlock_take(const char *path, const char *uuid, pid_t *holder);
/* Remove what domains of this UUID have left of their marks, as a power loss does: a new domain
 * might get the same domid. To be called with the lock held and when there is no such domain. */
void vmlock_clear_marks(const char *dir, const char *uuid);
