/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * nng without linking it: with the mbed TLS that it brings it costs a process
 * 0.5 MiB and more, and only the topology's `engine = nng` needs it.  Behind
 * this header its functions are called as ever, after nng_lib_load().
 */
#include <nng/nng.h>
#include <nng/protocol/pubsub0/pub.h>
#include <nng/protocol/pubsub0/sub.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <nng/supplemental/tls/tls.h>

#include "libcommon/library.h"

/* clang-format off */
#define NNG_LIB_FUNCTIONS(X) \
	X(nng_close) \
	X(nng_dialer_create) \
	X(nng_dialer_set_ptr) \
	X(nng_dialer_start) \
	X(nng_listener_create) \
	X(nng_listener_set_ptr) \
	X(nng_listener_start) \
	X(nng_msg_alloc) \
	X(nng_msg_append) \
	X(nng_msg_body) \
	X(nng_msg_free) \
	X(nng_msg_get_pipe) \
	X(nng_msg_header) \
	X(nng_msg_header_append) \
	X(nng_msg_header_len) \
	X(nng_msg_len) \
	X(nng_pipe_close) \
	X(nng_pipe_get_bool) \
	X(nng_pipe_get_uint64) \
	X(nng_pipe_id) \
	X(nng_pipe_notify) \
	X(nng_pipe_socket) \
	X(nng_pub0_open) \
	X(nng_recvmsg) \
	X(nng_rep0_open_raw) \
	X(nng_req0_open_raw) \
	X(nng_sendmsg) \
	X(nng_socket_get_int) \
	X(nng_socket_id) \
	X(nng_socket_set) \
	X(nng_socket_set_int) \
	X(nng_socket_set_ms) \
	X(nng_socket_set_size) \
	X(nng_sub0_open) \
	X(nng_tls_config_alloc) \
	X(nng_tls_config_auth_mode) \
	X(nng_tls_config_ca_chain) \
	X(nng_tls_config_free) \
	X(nng_tls_config_own_cert)
/* clang-format on */

#define NNG_LIB_MEMBER(f) __typeof__(f) *f;
struct nng_lib {
	NNG_LIB_FUNCTIONS(NNG_LIB_MEMBER)
};

extern struct nng_lib nng_lib_table;

/* Before the first call of any of them. 0; -ENOSYS (logged): not installed. */
int nng_lib_load(void);

#ifndef NNG_LIB_NO_NAMES
/* clang-format off */
#define nng_close                nng_lib_table.nng_close
#define nng_dialer_create        nng_lib_table.nng_dialer_create
#define nng_dialer_set_ptr       nng_lib_table.nng_dialer_set_ptr
#define nng_dialer_start         nng_lib_table.nng_dialer_start
#define nng_listener_create      nng_lib_table.nng_listener_create
#define nng_listener_set_ptr     nng_lib_table.nng_listener_set_ptr
#define nng_listener_start       nng_lib_table.nng_listener_start
#define nng_msg_alloc            nng_lib_table.nng_msg_alloc
#define nng_msg_append           nng_lib_table.nng_msg_append
#define nng_msg_body             nng_lib_table.nng_msg_body
#define nng_msg_free             nng_lib_table.nng_msg_free
#define nng_msg_get_pipe         nng_lib_table.nng_msg_get_pipe
#define nng_msg_header           nng_lib_table.nng_msg_header
#define nng_msg_header_append    nng_lib_table.nng_msg_header_append
#define nng_msg_header_len       nng_lib_table.nng_msg_header_len
#define nng_msg_len              nng_lib_table.nng_msg_len
#define nng_pipe_close           nng_lib_table.nng_pipe_close
#define nng_pipe_get_bool        nng_lib_table.nng_pipe_get_bool
#define nng_pipe_get_uint64      nng_lib_table.nng_pipe_get_uint64
#define nng_pipe_id              nng_lib_table.nng_pipe_id
#define nng_pipe_notify          nng_lib_table.nng_pipe_notify
#define nng_pipe_socket          nng_lib_table.nng_pipe_socket
#define nng_pub0_open            nng_lib_table.nng_pub0_open
#define nng_recvmsg              nng_lib_table.nng_recvmsg
#define nng_rep0_open_raw        nng_lib_table.nng_rep0_open_raw
#define nng_req0_open_raw        nng_lib_table.nng_req0_open_raw
#define nng_sendmsg              nng_lib_table.nng_sendmsg
#define nng_socket_get_int       nng_lib_table.nng_socket_get_int
#define nng_socket_id            nng_lib_table.nng_socket_id
#define nng_socket_set           nng_lib_table.nng_socket_set
#define nng_socket_set_int       nng_lib_table.nng_socket_set_int
#define nng_socket_set_ms        nng_lib_table.nng_socket_set_ms
#define nng_socket_set_size      nng_lib_table.nng_socket_set_size
#define nng_sub0_open            nng_lib_table.nng_sub0_open
#define nng_tls_config_alloc     nng_lib_table.nng_tls_config_alloc
#define nng_tls_config_auth_mode nng_lib_table.nng_tls_config_auth_mode
#define nng_tls_config_ca_chain  nng_lib_table.nng_tls_config_ca_chain
#define nng_tls_config_free      nng_lib_table.nng_tls_config_free
#define nng_tls_config_own_cert  nng_lib_table.nng_tls_config_own_cert
/* clang-format on */
#endif
