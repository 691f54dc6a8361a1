/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * OpenSSL 3 without linking it: libssl and libcrypto cost a process 1.7 MiB,
 * whether it speaks TLS or not, so they are loaded with the first TLS address.
 * Behind this header their functions are called as ever; the table stands for
 * what the dynamic linker would have filled in, and is written once.
 */
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "libcommon/strbuf.h"

/* clang-format off */
#define OPENSSL_FUNCTIONS(X) \
	X(ASN1_STRING_get0_data) \
	X(ASN1_STRING_length) \
	X(ASN1_TIME_diff) \
	X(ASN1_TIME_to_tm) \
	X(BIO_clear_flags) \
	X(BIO_free) \
	X(BIO_get_data) \
	X(BIO_meth_free) \
	X(BIO_meth_new) \
	X(BIO_meth_set_ctrl) \
	X(BIO_meth_set_read) \
	X(BIO_meth_set_write) \
	X(BIO_new) \
	X(BIO_s_mem) \
	X(BIO_set_data) \
	X(BIO_set_flags) \
	X(BIO_set_init) \
	X(BIO_write) \
	X(ERR_clear_error) \
	X(ERR_get_error) \
	X(ERR_reason_error_string) \
	X(EVP_PKEY_free) \
	X(GENERAL_NAMES_free) \
	X(OPENSSL_sk_num) \
	X(OPENSSL_sk_value) \
	X(PEM_read_bio_PrivateKey) \
	X(PEM_read_bio_X509) \
	X(PEM_read_bio_X509_CRL) \
	X(SSL_CTX_add_client_CA) \
	X(SSL_CTX_ctrl) \
	X(SSL_CTX_free) \
	X(SSL_CTX_get_cert_store) \
	X(SSL_CTX_new) \
	X(SSL_CTX_set_cipher_list) \
	X(SSL_CTX_set_num_tickets) \
	X(SSL_CTX_set_options) \
	X(SSL_CTX_set_verify) \
	X(SSL_CTX_set_verify_depth) \
	X(SSL_CTX_use_PrivateKey) \
	X(SSL_CTX_use_certificate) \
	X(SSL_ctrl) \
	X(SSL_do_handshake) \
	X(SSL_free) \
	X(SSL_get0_param) \
	X(SSL_get1_peer_certificate) \
	X(SSL_get_error) \
	X(SSL_get_peer_cert_chain) \
	X(SSL_get_verify_result) \
	X(SSL_new) \
	X(SSL_read) \
	X(SSL_set1_host) \
	X(SSL_set_accept_state) \
	X(SSL_set_bio) \
	X(SSL_set_connect_state) \
	X(SSL_set_hostflags) \
	X(SSL_shutdown) \
	X(SSL_write) \
	X(TLS_method) \
	X(X509_CRL_free) \
	X(X509_CRL_get0_nextUpdate) \
	X(X509_NAME_ENTRY_get_data) \
	X(X509_NAME_get_entry) \
	X(X509_NAME_get_index_by_NID) \
	X(X509_STORE_CTX_free) \
	X(X509_STORE_CTX_init) \
	X(X509_STORE_CTX_new) \
	X(X509_STORE_add_cert) \
	X(X509_STORE_add_crl) \
	X(X509_STORE_set_flags) \
	X(X509_VERIFY_PARAM_set1_ip_asc) \
	X(X509_cmp_time) \
	X(X509_free) \
	X(X509_get0_notAfter) \
	X(X509_get0_notBefore) \
	X(X509_get_ext_d2i) \
	X(X509_get_subject_name) \
	X(X509_verify_cert) \
	X(X509_verify_cert_error_string)
/* clang-format on */

#define OPENSSL_MEMBER(f) __typeof__(f) *f;
struct openssl {
	OPENSSL_FUNCTIONS(OPENSSL_MEMBER)
};

extern struct openssl openssl_table;

/* Before the first call of any of them. Blocks on the file system the first time.
 * 0; -ENOSYS with a complaint: not installed, or too old. */
int openssl_load(struct strbuf *errors);

#ifndef OPENSSL_NO_NAMES
/* clang-format off */
#define ASN1_STRING_get0_data         openssl_table.ASN1_STRING_get0_data
#define ASN1_STRING_length            openssl_table.ASN1_STRING_length
#define ASN1_TIME_diff                openssl_table.ASN1_TIME_diff
#define ASN1_TIME_to_tm               openssl_table.ASN1_TIME_to_tm
#define BIO_clear_flags               openssl_table.BIO_clear_flags
#define BIO_free                      openssl_table.BIO_free
#define BIO_get_data                  openssl_table.BIO_get_data
#define BIO_meth_free                 openssl_table.BIO_meth_free
#define BIO_meth_new                  openssl_table.BIO_meth_new
#define BIO_meth_set_ctrl             openssl_table.BIO_meth_set_ctrl
#define BIO_meth_set_read             openssl_table.BIO_meth_set_read
#define BIO_meth_set_write            openssl_table.BIO_meth_set_write
#define BIO_new                       openssl_table.BIO_new
#define BIO_s_mem                     openssl_table.BIO_s_mem
#define BIO_set_data                  openssl_table.BIO_set_data
#define BIO_set_flags                 openssl_table.BIO_set_flags
#define BIO_set_init                  openssl_table.BIO_set_init
#define BIO_write                     openssl_table.BIO_write
#define ERR_clear_error               openssl_table.ERR_clear_error
#define ERR_get_error                 openssl_table.ERR_get_error
#define ERR_reason_error_string       openssl_table.ERR_reason_error_string
#define EVP_PKEY_free                 openssl_table.EVP_PKEY_free
#define GENERAL_NAMES_free            openssl_table.GENERAL_NAMES_free
#define OPENSSL_sk_num                openssl_table.OPENSSL_sk_num
#define OPENSSL_sk_value              openssl_table.OPENSSL_sk_value
#define PEM_read_bio_PrivateKey       openssl_table.PEM_read_bio_PrivateKey
#define PEM_read_bio_X509             openssl_table.PEM_read_bio_X509
#define PEM_read_bio_X509_CRL         openssl_table.PEM_read_bio_X509_CRL
#define SSL_CTX_add_client_CA         openssl_table.SSL_CTX_add_client_CA
#define SSL_CTX_ctrl                  openssl_table.SSL_CTX_ctrl
#define SSL_CTX_free                  openssl_table.SSL_CTX_free
#define SSL_CTX_get_cert_store        openssl_table.SSL_CTX_get_cert_store
#define SSL_CTX_new                   openssl_table.SSL_CTX_new
#define SSL_CTX_set_cipher_list       openssl_table.SSL_CTX_set_cipher_list
#define SSL_CTX_set_num_tickets       openssl_table.SSL_CTX_set_num_tickets
#define SSL_CTX_set_options           openssl_table.SSL_CTX_set_options
#define SSL_CTX_set_verify            openssl_table.SSL_CTX_set_verify
#define SSL_CTX_set_verify_depth      openssl_table.SSL_CTX_set_verify_depth
#define SSL_CTX_use_PrivateKey        openssl_table.SSL_CTX_use_PrivateKey
#define SSL_CTX_use_certificate       openssl_table.SSL_CTX_use_certificate
#define SSL_ctrl                      openssl_table.SSL_ctrl
#define SSL_do_handshake              openssl_table.SSL_do_handshake
#define SSL_free                      openssl_table.SSL_free
#define SSL_get0_param                openssl_table.SSL_get0_param
#define SSL_get1_peer_certificate     openssl_table.SSL_get1_peer_certificate
#define SSL_get_error                 openssl_table.SSL_get_error
#define SSL_get_peer_cert_chain       openssl_table.SSL_get_peer_cert_chain
#define SSL_get_verify_result         openssl_table.SSL_get_verify_result
#define SSL_new                       openssl_table.SSL_new
#define SSL_read                      openssl_table.SSL_read
#define SSL_set1_host                 openssl_table.SSL_set1_host
#define SSL_set_accept_state          openssl_table.SSL_set_accept_state
#define SSL_set_bio                   openssl_table.SSL_set_bio
#define SSL_set_connect_state         openssl_table.SSL_set_connect_state
#define SSL_set_hostflags             openssl_table.SSL_set_hostflags
#define SSL_shutdown                  openssl_table.SSL_shutdown
#define SSL_write                     openssl_table.SSL_write
#define TLS_method                    openssl_table.TLS_method
#define X509_CRL_free                 openssl_table.X509_CRL_free
#define X509_CRL_get0_nextUpdate      openssl_table.X509_CRL_get0_nextUpdate
#define X509_NAME_ENTRY_get_data      openssl_table.X509_NAME_ENTRY_get_data
#define X509_NAME_get_entry           openssl_table.X509_NAME_get_entry
#define X509_NAME_get_index_by_NID    openssl_table.X509_NAME_get_index_by_NID
#define X509_STORE_CTX_free           openssl_table.X509_STORE_CTX_free
#define X509_STORE_CTX_init           openssl_table.X509_STORE_CTX_init
#define X509_STORE_CTX_new            openssl_table.X509_STORE_CTX_new
#define X509_STORE_add_cert           openssl_table.X509_STORE_add_cert
#define X509_STORE_add_crl            openssl_table.X509_STORE_add_crl
#define X509_STORE_set_flags          openssl_table.X509_STORE_set_flags
#define X509_VERIFY_PARAM_set1_ip_asc openssl_table.X509_VERIFY_PARAM_set1_ip_asc
#define X509_cmp_time                 openssl_table.X509_cmp_time
#define X509_free                     openssl_table.X509_free
#define X509_get0_notAfter            openssl_table.X509_get0_notAfter
#define X509_get0_notBefore           openssl_table.X509_get0_notBefore
#define X509_get_ext_d2i              openssl_table.X509_get_ext_d2i
#define X509_get_subject_name         openssl_table.X509_get_subject_name
#define X509_verify_cert              openssl_table.X509_verify_cert
#define X509_verify_cert_error_string openssl_table.X509_verify_cert_error_string
/* clang-format on */
#endif
