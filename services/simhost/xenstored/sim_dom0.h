/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The nodes that a booting dom0 writes.  Internal to services/simhost/xenstored.
 */

#include <stdint.h>

/*
 * Make dom0's nodes through xenstored's socket, unless they are there: domid and name under
 * /local/domain/0 and the name of CPU pool 0, as xen-init-dom0 of Xen 4.17 does.  This is also
 * the proof that xenstored answers.  Blocks, at most timeout_ms for each of a few steps.
 * 0; -ETIMEDOUT; -EPROTO: it refused; -errno.
 */
int sim_dom0_init(const char *socket_path, uint32_t timeout_ms);
