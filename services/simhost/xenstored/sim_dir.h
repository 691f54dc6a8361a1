/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Making, mapping and ringing the bells of a state directory (sim_table.h), for the two sides
 * outside xenstored.  Internal to services/simhost/xenstored.
 */

#include <stddef.h>
#include <stdint.h>

#include "services/simhost/xenstored/sim_table.h"

struct sim_dir {
	int fd; /* of the directory, -1 = not attached */
	int rings_fd;
	int bell_xenstored_fd;
	struct sim_table *table;
	char *rings;
};

#define SIM_DIR_NULL ((struct sim_dir){ .fd = -1, .rings_fd = -1, .bell_xenstored_fd = -1 })

/*
 * Make the directory at path if it is not there and open it.  0 and *fd; -EPERM: it belongs to
 * another user or others may write to it; -errno.
 */
int sim_dir_open(const char *path, int *fd);

/* Make all files of the directory anew, with domain 0 in the table.  Nobody must live there. */
int sim_dir_populate(int fd);

/* Map an existing directory.  -ENOENT; -EPROTO: not of this version; -errno. */
int sim_dir_attach(struct sim_dir *dir, const char *path);

/* Idempotent. */
void sim_dir_detach(struct sim_dir *dir);

/* Ring a bell: the receiver's `rung` and its FIFO. */
void sim_dir_ring(_Atomic uint32_t *rung, int bell_fd);

/* Tell xenstored that there is news for it: VIRQ_DOM_EXC, or something in a guest's ring. */
static inline void sim_dir_ring_xenstored(struct sim_dir *dir)
{
	sim_dir_ring(&dir->table->xenstored_rung, dir->bell_xenstored_fd);
}

/* Open the FIFO of hub index for reading and writing; the fd or -errno. */
int sim_dir_open_hub_bell(const struct sim_dir *dir, uint32_t index);

/* Read a FIFO until it is empty. */
void sim_dir_drain_bell(int fd);

/* domid < SIM_MAX_DOMAINS. */
static inline char *sim_dir_page(const struct sim_dir *dir, uint32_t domid)
{
	return dir->rings + (size_t)domid * SIM_PAGE_SIZE;
}
