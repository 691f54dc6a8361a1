/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * libxl as it was in Xen 4.13: the oldest form of what is used here, kept by
 * all later ones.  Its ABI is tied to one Xen all the same.
 */
#define LIBXL_API_VERSION 0x041300

#include <libxl.h>
#include <libxl_utils.h>
