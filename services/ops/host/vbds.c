/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The directory is listed at each look: that costs less than to learn of each
 * coming and going from elsewhere, and cannot be wrong.  A file of a vbd that
 * was unplugged answers ENODEV even when a new vbd of the same name is there,
 * so a failed read opens the files once more.
 *
 * Invariant: `counters` is sorted after each look.
 */
#include "services/ops/host/vbds.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>

#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/map.h"
#include "libcommon/parse.h"

/* The first is in every kernel and tells whether there are counters at all. */
static const struct {
	const char *name;
	size_t offset;
} files[] = {
	{ "rd_req", offsetof(struct host_vbd_counters, rd_req) },
	{ "wr_req", offsetof(struct host_vbd_counters, wr_req) },
	{ "rd_sect", offsetof(struct host_vbd_counters, rd_sect) },
	{ "wr_sect", offsetof(struct host_vbd_counters, wr_sect) },
	{ "oo_req", offsetof(struct host_vbd_counters, oo_req) },
	{ "f_req", offsetof(struct host_vbd_counters, f_req) },
	{ "ds_req", offsetof(struct host_vbd_counters, ds_req) },
};

#define N_FILES ARRAY_LEN(files)

struct vbd {
	uint32_t domid;
	uint32_t devid;
	bool is_open;
	int fds[N_FILES]; /* -1 = this kernel has no such counter */
	unsigned int seen;
};

struct host_vbds {
	char *devices;		       /* directory */
	struct map vbds;	       /* name -> struct vbd */
	struct host_counters counters; /* of struct host_vbd_counters */
	unsigned int look;
};

int host_vbds_new(struct host_vbds **out, const char *sysfs_root)
{
	struct host_vbds *v = calloc(1, sizeof(*v));

	if (!v || asprintf(&v->devices, "%s/bus/xen-backend/devices", sysfs_root) < 0) {
		free(v);
		return -ENOMEM;
	}
	v->counters.item_size = sizeof(struct host_vbd_counters);
	*out = v;
	return 0;
}

static void close_files(struct vbd *vbd)
{
	for (size_t i = 0; vbd->is_open && i < N_FILES; i++) {
		vbd->fds[i] = xclose(vbd->fds[i]);
	}
	vbd->is_open = false;
}

struct host_vbds *host_vbds_free(struct host_vbds *v)
{
	if (!v) {
		return NULL;
	}
	for (struct map_iter i = map_begin(&v->vbds); map_next(&v->vbds, &i);) {
		close_files(i.value);
		free(i.value);
	}
	map_deinit(&v->vbds);
	host_counters_deinit(&v->counters);
	free(v->devices);
	free(v);
	return NULL;
}

static int open_files(const struct host_vbds *v, struct vbd *vbd)
{
	char path[512];
	int r = 0;

	vbd->is_open = true;
	for (size_t i = 0; i < N_FILES; i++) {
		if ((size_t)snprintf(path, sizeof(path), "%s/vbd-%u-%u/statistics/%s", v->devices,
				     vbd->domid, vbd->devid, files[i].name) >= sizeof(path)) {
			vbd->fds[i] = -1;
			r = -ENAMETOOLONG;
			continue;
		}
		vbd->fds[i] = open(path, O_RDONLY | O_CLOEXEC);
		if (vbd->fds[i] < 0 && (errno != ENOENT || i == 0)) {
			r = err_errno();
		}
	}
	if (r < 0) {
		close_files(vbd);
	}
	if (r == -EMFILE || r == -ENFILE) {
		log_warning("no counters of vbd %u of domain %u: %s (raise LimitNOFILE=)",
			    vbd->devid, vbd->domid, err_text(r));
	}
	return r;
}

static int read_counter(int fd, uint64_t *out)
{
	char text[32];
	ssize_t n = pread(fd, text, sizeof(text), 0);

	if (n < 0) {
		return err_errno();
	}
	while (n > 0 && text[n - 1] == '\n') {
		n--;
	}
	return parse_u64(text, (size_t)n, UINT64_MAX, out);
}

static int read_files(const struct host_vbds *v, struct vbd *vbd, struct host_vbd_counters *c)
{
	int r = vbd->is_open ? 0 : open_files(v, vbd);

	*c = (struct host_vbd_counters){ .device = { vbd->domid, vbd->devid } };
	for (size_t i = 0; r == 0 && i < N_FILES; i++) {
		if (vbd->fds[i] >= 0) {
			r = read_counter(vbd->fds[i],
					 (uint64_t *)(void *)((char *)c + files[i].offset));
		}
	}
	if (r < 0) {
		close_files(vbd);
	}
	return r;
}

/* *out is NULL when the name is not of a vbd. */
static int find_vbd(struct host_vbds *v, const char *name, struct vbd **out)
{
	uint32_t domid, devid;
	struct vbd *vbd;
	int end = -1;

	*out = map_get_str(&v->vbds, name);
	if (*out || sscanf(name, "vbd-%5u-%10u%n", &domid, &devid, &end) != 2 || end < 0 ||
	    name[end]) {
		return 0;
	}
	vbd = calloc(1, sizeof(*vbd));
	if (!vbd || map_set_str(&v->vbds, name, vbd, NULL) < 0) {
		free(vbd);
		return -ENOMEM;
	}
	vbd->domid = domid;
	vbd->devid = devid;
	*out = vbd;
	return 0;
}

static int read_vbd(struct host_vbds *v, const char *name)
{
	struct host_vbd_counters *c;
	struct vbd *vbd;
	bool was_open;
	int r = find_vbd(v, name, &vbd);

	if (r < 0 || !vbd) {
		return r;
	}
	vbd->seen = v->look;
	c = host_counters_add(&v->counters);
	if (!c) {
		return -ENOMEM;
	}
	was_open = vbd->is_open;
	r = read_files(v, vbd, c);
	if (r < 0 && was_open) {
		r = read_files(v, vbd, c);
	}
	if (r < 0) {
		v->counters.n--; /* just made or just unplugged */
	}
	return 0;
}

static void forget_unseen(struct host_vbds *v)
{
	for (struct map_iter i = map_begin(&v->vbds); map_next(&v->vbds, &i);) {
		struct vbd *vbd = i.value;

		if (vbd->seen != v->look) {
			close_files(vbd);
			map_remove(&v->vbds, i.key, i.key_len);
			free(vbd);
		}
	}
}

int host_vbds_read(struct host_vbds *v)
{
	const struct dirent *entry;
	DIR *dir = opendir(v->devices);
	int r = 0;

	v->look++;
	v->counters.n = 0;
	if (!dir && errno != ENOENT) {
		return err_errno();
	}
	while (dir && r == 0 && (entry = readdir(dir))) {
		if (str_starts(entry->d_name, "vbd-")) {
			r = read_vbd(v, entry->d_name);
		}
	}
	if (dir) {
		closedir(dir);
	}
	if (r < 0) {
		v->counters.n = 0;
		return err_trace(r);
	}
	forget_unseen(v);
	host_counters_sort(&v->counters);
	return 0;
}

const struct host_vbd_counters *host_vbds_of(const struct host_vbds *v, uint32_t domid, size_t *n)
{
	return host_counters_of(&v->counters, domid, n);
}
