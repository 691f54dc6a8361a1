/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * When a peer hangs up before nng 1.5.2 has sent its handshake, sendmsg(2)
 * fails with EPIPE. nng's table of errors makes NNG_ECLOSED of that, which its
 * listener takes for its own end (upstream issue 1518, corrected in 1.6): it
 * never accepts again, and closing it leaks every connection that waited.
 * With ECONNRESET it goes on with the next peer.
 *
 * So sendmsg() of the program stands before libc's, as dynamic linking allows.
 * It changes the errno of a failed handshake and nothing else.
 */
#include "bus/nng_fix.h"

#include <dlfcn.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "bus/sp_frame.h"

static bool is_handshake(const struct msghdr *m)
{
	return m->msg_iovlen == 1 && m->msg_iov[0].iov_len == SP_HANDSHAKE_LEN &&
	       memcmp(m->msg_iov[0].iov_base, "\0SP\0", 4) == 0;
}

__attribute__((visibility("default"))) ssize_t sendmsg(int fd, const struct msghdr *message,
						       int flags)
{
	ssize_t n = syscall(SYS_sendmsg, fd, message, flags);

	if (n < 0 && errno == EPIPE && is_handshake(message)) {
		errno = ECONNRESET;
	}
	return n;
}

bool nng_fix_is_active(void)
{
	return dlsym(RTLD_DEFAULT, "sendmsg") == (void *)sendmsg;
}

#ifdef __has_feature /* clang's */
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif

#ifdef __SANITIZE_ADDRESS__
const char *__lsan_default_suppressions(void);

/* nng 1.5.2 loses what it has under way when a connection ends: the connection itself and its
 * endpoint, if it has just shaken hands, and messages that are being written or read. */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void)
{
	return "leak:libnng.so\n";
}
#endif

#ifdef __SANITIZE_THREAD__
const char *__tsan_default_suppressions(void);

/* The sanitizer does not see the atomic counters of a library that was built without it. */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void)
{
	return "race:libnng.so\n";
}
#endif
