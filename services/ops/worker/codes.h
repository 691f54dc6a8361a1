/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * libxl's errors in the vocabulary of the bus.
 */
#include "bus/codes.h"

/* rc: a libxl_error or 0. Most failures are ERROR_FAIL: the reason is only in the log. */
enum bus_code worker_code_of(int rc);
/* "ERROR_FAIL"; "unknown libxl error". */
const char *worker_error_name(int rc);
