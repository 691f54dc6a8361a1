/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What was taken is remembered by the descriptors themselves: the place of one
 * that was taken holds /dev/null until sp_inherit_finish(), so nothing else can
 * get its number meanwhile.
 */
#include "bus/sp_inherit.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include "libcommon/err.h"
#include "libcommon/log.h"

#define NULL_DEVICE makedev(1, 3)

static void names_free(char **names)
{
	for (char **i = names; i && *i; i++) {
		free(*i);
	}
	free(names);
}

/* The descriptor in its new place, with /dev/null in the old one. */
static int move(int place)
{
	int filler = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int fd = filler < 0 ? -1 : fcntl(place, F_DUPFD_CLOEXEC, SD_LISTEN_FDS_START);
	int flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);
	int r = 0;

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    dup3(filler, place, O_CLOEXEC) < 0) {
		r = err_errno();
	}
	if (filler >= 0) {
		close(filler);
	}
	if (r < 0 && fd >= 0) {
		close(fd);
	}
	return r < 0 ? r : fd;
}

int sp_inherit_take(const char *path)
{
	int n = sd_listen_fds(0);

	for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + n; fd++) {
		if (sd_is_socket_unix(fd, SOCK_STREAM, 1, path, 0) > 0) {
			int r = move(fd);

			if (r < 0) {
				log_error("cannot use the passed socket of %s: %s", path,
					  err_text(r));
			}
			return r < 0 ? -ENOENT : r;
		}
	}
	return -ENOENT;
}

/* What a descriptor is, for people. */
static void describe(int fd, char *out, size_t size)
{
	struct sockaddr_un address = { .sun_family = AF_UNSPEC };
	socklen_t len = sizeof(address);
	struct stat st;

	if (fstat(fd, &st) < 0) {
		snprintf(out, size, "not open");
	} else if (!S_ISSOCK(st.st_mode) ||
		   getsockname(fd, (struct sockaddr *)&address, &len) < 0) {
		snprintf(out, size, "no socket");
	} else if (address.sun_family != AF_UNIX) {
		snprintf(out, size, "no unix socket");
	} else if (sd_is_socket_unix(fd, SOCK_STREAM, 1, NULL, 0) <= 0) {
		snprintf(out, size, "no listening stream socket");
	} else {
		snprintf(out, size, "bound to %.*s",
			 (int)(len - offsetof(struct sockaddr_un, sun_path)), address.sun_path);
	}
}

void sp_inherit_finish(void)
{
	char **names = NULL;
	int n = sd_listen_fds_with_names(1, &names);

	for (int i = 0; i < n; i++) {
		int fd = SD_LISTEN_FDS_START + i;
		struct stat st;
		char what[160];

		if (fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == NULL_DEVICE) {
			close(fd);
			continue;
		}
		describe(fd, what, sizeof(what));
		log_warning("the passed descriptor %d '%s' is %s, where no endpoint of this "
			    "service listens; make ListenStream= of the socket unit the path of "
			    "its ipc:// address in the topology",
			    fd, names && names[i] ? names[i] : "", what);
		close(fd);
	}
	names_free(names);
}
