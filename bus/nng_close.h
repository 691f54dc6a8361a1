/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The end of an nng socket.
 */
#include "bus/nng_lib.h"

/* The warning that it was. */
#define NNG_CLOSE_LEFT "nng cannot close a socket, a connection of it hangs; left behind"

/* Closes it, and blocks until that is done: milliseconds, at most 2 s. nng_close() of 1.5.2 waits
 * for ever when its reaper is stuck in a connection that ended between two halves of a message;
 * then the socket and a thread are left behind, and a warning is logged. No callback of the socket
 * may point into what is freed afterwards. Without memory for the thread it waits as nng does. */
void nng_close_bounded(nng_socket nng);
