/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Keeps nng 1.5.2 from going deaf, see nng_fix.c.
 */
#include <stdbool.h>

/* Whether nng sends through it in this program. Calling it links it in. */
bool nng_fix_is_active(void);
