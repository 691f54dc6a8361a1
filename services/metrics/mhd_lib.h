/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * libmicrohttpd without linking it: with the GnuTLS that it brings it costs a
 * process 2.4 MiB, and who is never scraped needs none of it.  Behind this header
 * its functions are called as ever, after mhd_lib_load().
 */
#include <microhttpd.h>

#include "libcommon/library.h"

/* clang-format off */
#define MHD_LIB_FUNCTIONS(X) \
	X(MHD_add_response_header) \
	X(MHD_create_response_from_buffer) \
	X(MHD_destroy_response) \
	X(MHD_get_connection_info) \
	X(MHD_get_daemon_info) \
	X(MHD_get_timeout) \
	X(MHD_queue_response) \
	X(MHD_run) \
	X(MHD_start_daemon) \
	X(MHD_stop_daemon)
/* clang-format on */

#define MHD_LIB_MEMBER(f) __typeof__(f) *f;
struct mhd_lib {
	MHD_LIB_FUNCTIONS(MHD_LIB_MEMBER)
};

extern struct mhd_lib mhd_lib_table;

/* Before the first call of any of them. 0; -ENOSYS (logged): not installed. */
int mhd_lib_load(void);
/* Whether mhd_lib_load() will do, found out by a child process, so that it costs this one no
 * memory. Blocks until the child ends, some 10 ms. 0; -ENOSYS (logged); another errno: no child. */
int mhd_lib_check(void);

#ifndef MHD_LIB_NO_NAMES
/* clang-format off */
#define MHD_add_response_header         mhd_lib_table.MHD_add_response_header
#define MHD_create_response_from_buffer mhd_lib_table.MHD_create_response_from_buffer
#define MHD_destroy_response            mhd_lib_table.MHD_destroy_response
#define MHD_get_connection_info         mhd_lib_table.MHD_get_connection_info
#define MHD_get_daemon_info             mhd_lib_table.MHD_get_daemon_info
#define MHD_get_timeout                 mhd_lib_table.MHD_get_timeout
#define MHD_queue_response              mhd_lib_table.MHD_queue_response
#define MHD_run                         mhd_lib_table.MHD_run
#define MHD_start_daemon                mhd_lib_table.MHD_start_daemon
#define MHD_stop_daemon                 mhd_lib_table.MHD_stop_daemon
/* clang-format on */
#endif
