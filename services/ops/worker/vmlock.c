/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A record lock of one byte of one file, at a place that comes from the UUID: the
 * kernel drops it with the process, there is nothing to clean up, and it knows
 * who has it.  UUIDs that share a place only wait for each other.
 */
#include "services/ops/worker/vmlock.h"

#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>

#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/uuid.h"
#include "services/ops/mark.h"

#define HOLDER_TRIES 3 /* it may let go between two looks */

static off_t place_of(const char *uuid)
{
	struct uuid u = { 0 };
	uint64_t halves[2];

	uuid_parse(uuid, &u);
	memcpy(halves, u.bytes, sizeof(halves));
	return (off_t)((halves[0] ^ halves[1]) >> 2); /* no sum of it overflows */
}

int vmlock_take(const char *path, const char *uuid, pid_t *holder)
{
	/* Stays open: closing any descriptor of the file would drop the lock. */
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0) {
		return err_errno();
	}
	for (int i = 0; i < HOLDER_TRIES; i++) {
		struct flock lock = { .l_type = F_WRLCK,
				      .l_whence = SEEK_SET,
				      .l_start = place_of(uuid),
				      .l_len = 1 };

		if (fcntl(fd, F_SETLK, &lock) == 0) {
			return 0;
		}
		if (errno != EAGAIN && errno != EACCES) {
			return err_errno();
		}
		if (fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK) {
			*holder = lock.l_pid;
			return 1;
		}
	}
	return -EAGAIN;
}

void vmlock_clear_marks(const char *dir, const char *uuid)
{
	char pattern[PATH_MAX];
	glob_t found = { 0 };

	snprintf(pattern, sizeof(pattern), "%s/userdata-d.*.%s." OPERATION_USERDATA, dir, uuid);
	if (glob(pattern, GLOB_NOSORT, NULL, &found) == 0) {
		for (size_t i = 0; i < found.gl_pathc; i++) {
			if (unlink(found.gl_pathv[i]) < 0) {
				log_warning("cannot remove %s, which no domain has any more: %s",
					    found.gl_pathv[i], err_text(err_errno()));
			}
		}
	}
	globfree(&found);
}
