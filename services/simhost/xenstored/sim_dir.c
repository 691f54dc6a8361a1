/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The state directory seen from outside xenstored.
 *
 * Files are never truncated or changed in size once they exist: whoever has them mapped must not
 * meet SIGBUS.  A fresh start unlinks them instead, so that a forgotten mapping is merely deaf.
 * For the same reason pages are allocated before they are written to.
 */

#include "services/simhost/xenstored/sim_dir.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "libcommon/base.h"
#include "libcommon/err.h"

/* 0 if the directory belongs to this user and only this user may write to it. */
static int check_owner(int dir_fd)
{
	struct stat st;

	if (fstat(dir_fd, &st) < 0) {
		return err_trace(err_errno());
	}
	return st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)) ? -EPERM : 0;
}

int sim_dir_open(const char *path, int *fd)
{
	int dir_fd, r;

	if (mkdir(path, 0700) < 0 && errno != EEXIST) {
		return err_errno();
	}
	dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0) {
		return err_errno();
	}
	r = check_owner(dir_fd);
	if (r < 0) {
		close(dir_fd);
		return r;
	}
	*fd = dir_fd;
	return 0;
}

static int unlink_old(int dir_fd, const char *name)
{
	if (unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT) {
		return err_trace(err_errno());
	}
	return 0;
}

/* A new file of size bytes, the first n_allocated of them sure to be there. */
static int make_file(int dir_fd, const char *name, uint64_t size, uint64_t n_allocated)
{
	int fd, r;

	r = unlink_old(dir_fd, name);
	if (r < 0) {
		return r;
	}
	fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		return err_trace(err_errno());
	}
	if (ftruncate(fd, (off_t)size) < 0) {
		r = err_errno();
	} else {
		r = -posix_fallocate(fd, 0, (off_t)n_allocated);
	}
	close(fd);
	return err_trace(r);
}

static int make_fifo(int dir_fd, const char *name)
{
	int r;

	r = unlink_old(dir_fd, name);
	if (r < 0) {
		return r;
	}
	return mkfifoat(dir_fd, name, 0600) < 0 ? err_trace(err_errno()) : 0;
}

static int make_bells(int dir_fd)
{
	char name[32];
	int r;

	r = make_fifo(dir_fd, SIM_FILE_BELL_XENSTORED);
	for (uint32_t i = 0; r == 0 && i < SIM_MAX_HUBS; i++) {
		snprintf(name, sizeof(name), SIM_FILE_BELL_GUESTS, i);
		r = make_fifo(dir_fd, name);
	}
	return r;
}

static int make_xsd_port(int dir_fd)
{
	static const char text[] = "1\n";
	int r = 0;
	int fd;

	fd = openat(dir_fd, SIM_FILE_XSD_PORT, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0) {
		return err_trace(err_errno());
	}
	if (write(fd, text, sizeof(text) - 1) != sizeof(text) - 1) {
		r = err_errno();
	}
	close(fd);
	return err_trace(r);
}

/* Map all of a file; NULL and errno, which is EPROTO if it has not this version's size. */
static void *map_file(int fd, size_t size)
{
	struct stat st;
	void *address;

	if (fstat(fd, &st) < 0) {
		return NULL;
	}
	if (st.st_size != (off_t)size) {
		errno = EPROTO;
		return NULL;
	}
	address = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (address == MAP_FAILED) {
		return NULL;
	}
	return address;
}

static int init_table(int dir_fd)
{
	_cleanup_(xclosep) int fd = -1;
	struct sim_table *table;
	int r;

	r = make_file(dir_fd, SIM_FILE_TABLE, sizeof(*table), sizeof(*table));
	if (r < 0) {
		return r;
	}
	fd = openat(dir_fd, SIM_FILE_TABLE, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		return err_trace(err_errno());
	}
	table = map_file(fd, sizeof(*table));
	if (!table) {
		return err_trace(err_errno());
	}
	table->magic = SIM_TABLE_MAGIC;
	table->version = SIM_TABLE_VERSION;
	table->size_bytes = sizeof(*table);
	for (uint32_t i = 0; i < SIM_MAX_DOMAINS; i++) {
		atomic_init(&table->domains[i].hub, SIM_NO_HUB);
	}
	atomic_store(&table->domains[0].flags, SIM_DOMAIN_PRESENT);
	munmap(table, sizeof(*table));
	return 0;
}

int sim_dir_populate(int fd)
{
	int r;

	if (mkdirat(fd, SIM_FILE_RUN_DIR, 0700) < 0 && errno != EEXIST) {
		return err_trace(err_errno());
	}
	r = unlink_old(fd, SIM_FILE_SOCKET);
	if (r == 0) {
		r = make_xsd_port(fd);
	}
	if (r == 0) {
		r = make_bells(fd);
	}
	if (r == 0) {
		r = make_file(fd, SIM_FILE_RINGS, SIM_RINGS_BYTES, SIM_PAGE_SIZE);
	}
	if (r == 0) {
		r = init_table(fd);
	}
	return r;
}

static int attach_table(struct sim_dir *dir)
{
	_cleanup_(xclosep) int fd = -1;

	fd = openat(dir->fd, SIM_FILE_TABLE, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		return err_errno();
	}
	dir->table = map_file(fd, sizeof(struct sim_table));
	if (!dir->table) {
		return err_errno();
	}
	if (dir->table->magic != SIM_TABLE_MAGIC || dir->table->version != SIM_TABLE_VERSION) {
		return -EPROTO;
	}
	return 0;
}

static int attach(struct sim_dir *dir, const char *path)
{
	int r;

	dir->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir->fd < 0) {
		return err_errno();
	}
	r = attach_table(dir);
	if (r < 0) {
		return r;
	}
	dir->rings_fd = openat(dir->fd, SIM_FILE_RINGS, O_RDWR | O_CLOEXEC);
	if (dir->rings_fd < 0) {
		return err_errno();
	}
	dir->rings = map_file(dir->rings_fd, SIM_RINGS_BYTES);
	if (!dir->rings) {
		return err_errno();
	}
	dir->bell_xenstored_fd = openat(dir->fd, SIM_FILE_BELL_XENSTORED,
					O_RDWR | O_NONBLOCK | O_CLOEXEC);
	return dir->bell_xenstored_fd < 0 ? err_errno() : 0;
}

int sim_dir_attach(struct sim_dir *dir, const char *path)
{
	int r;

	*dir = SIM_DIR_NULL;
	r = attach(dir, path);
	if (r < 0) {
		sim_dir_detach(dir);
	}
	return r;
}

void sim_dir_detach(struct sim_dir *dir)
{
	if (dir->table) {
		munmap(dir->table, sizeof(*dir->table));
	}
	if (dir->rings) {
		munmap(dir->rings, SIM_RINGS_BYTES);
	}
	xclose(dir->bell_xenstored_fd);
	xclose(dir->rings_fd);
	xclose(dir->fd);
	*dir = SIM_DIR_NULL;
}

void sim_dir_ring(_Atomic uint32_t *rung, int bell_fd)
{
	ssize_t n;

	if (atomic_exchange(rung, 1)) {
		return;
	}
	/* A FIFO that takes no more is readable already: nothing is lost by EAGAIN. */
	do {
		n = write(bell_fd, "", 1);
	} while (n < 0 && errno == EINTR);
}

int sim_dir_open_hub_bell(const struct sim_dir *dir, uint32_t index)
{
	char name[32];
	int fd;

	snprintf(name, sizeof(name), SIM_FILE_BELL_GUESTS, index);
	fd = openat(dir->fd, name, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0) {
		return err_errno();
	}
	return fd;
}

void sim_dir_drain_bell(int fd)
{
	char bytes[64];
	ssize_t n;

	do {
		n = read(fd, bytes, sizeof(bytes));
	} while (n == (ssize_t)sizeof(bytes) || (n < 0 && errno == EINTR));
}
