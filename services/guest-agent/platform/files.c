/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * uname(2) and sethostname(2) are seen through /proc too, so that one root
 * directory stands for a whole guest in tests.
 */
#include "services/guest-agent/platform/files.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>

#include "libcommon/err.h"
#include "libcommon/parse.h"
#include "services/guest-agent/logic/osrelease.h"
#include "services/guest-agent/logic/text.h"

#define FILE_SIZE_MAX (64 * 1024)
/* Xen numbers vifs with 16 bits or less. */
#define DEVID_MAX 65535

#define HOSTNAME_PATH "/proc/sys/kernel/hostname"

static int make_path(char out[static PATH_MAX], const char *root, const char *path)
{
	int n = snprintf(out, PATH_MAX, "%s%s", root, path);

	return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static bool exists(const char *root, const char *path)
{
	char full[PATH_MAX];

	return make_path(full, root, path) == 0 && access(full, F_OK) == 0;
}

/* Read the start of a file into buffer, terminated. Its length or -errno. */
static ssize_t read_file(const char *root, const char *path, char *buffer, size_t size)
{
	_cleanup_(xclosep) int fd = -1;
	char full[PATH_MAX];
	size_t len = 0;
	ssize_t n;

	if (make_path(full, root, path) != 0) {
		return -ENAMETOOLONG;
	}
	/* O_NONBLOCK: a FIFO in the place of a file must not hold us. */
	fd = open(full, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0) {
		return err_errno();
	}
	while (len < size - 1 && (n = read(fd, buffer + len, size - 1 - len)) != 0) {
		if (n < 0) {
			return err_errno();
		}
		len += (size_t)n;
	}
	buffer[len] = '\0';
	return (ssize_t)len;
}

static void read_line(const char *root, const char *path, char *out, size_t size)
{
	char buffer[1024];
	ssize_t len = read_file(root, path, buffer, sizeof(buffer));

	out[0] = '\0';
	if (len > 0) {
		guest_text_copy(out, size, buffer, strcspn(buffer, "\n"));
	}
}

bool agent_files_have_xenbus(const char *root)
{
	return exists(root, "/dev/xen/xenbus") || exists(root, "/proc/xen/xenbus");
}

static void read_os(const char *root, struct guest_os *os)
{
	_cleanup_(xfreep) char *buffer = malloc(FILE_SIZE_MAX);
	ssize_t len = -ENOMEM;

	if (buffer) {
		len = read_file(root, "/etc/os-release", buffer, FILE_SIZE_MAX);
		if (len < 0) {
			len = read_file(root, "/usr/lib/os-release", buffer, FILE_SIZE_MAX);
		}
	}
	guest_osrelease_parse(buffer, len < 0 ? 0 : (size_t)len, os);
}

void agent_files_identity(const char *root, struct guest_facts *facts)
{
	read_os(root, &facts->os);
	read_line(root, "/proc/sys/kernel/osrelease", facts->uname, sizeof(facts->uname));
	read_line(root, HOSTNAME_PATH, facts->hostname, sizeof(facts->hostname));
	if (streq(facts->hostname, "(none)")) {
		facts->hostname[0] = '\0';
	}
	facts->has_balloon = exists(root, "/sys/devices/system/xen_memory");
	facts->has_vif_hotplug = exists(root, "/sys/bus/xen/drivers/vif");
	facts->has_vbd_hotplug = exists(root, "/sys/bus/xen/drivers/vbd");
}

int agent_files_meminfo(const char *root, struct guest_meminfo *out)
{
	char buffer[8192];
	ssize_t len = read_file(root, "/proc/meminfo", buffer, sizeof(buffer));

	if (len < 0) {
		return (int)len;
	}
	return guest_meminfo_parse(buffer, (size_t)len, out);
}

int agent_files_hostname_fd(const char *root)
{
	char full[PATH_MAX];
	int fd;

	if (make_path(full, root, HOSTNAME_PATH) != 0) {
		return -ENAMETOOLONG;
	}
	fd = open(full, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	return fd < 0 ? err_errno() : fd;
}

int agent_files_classify(const char *root, const char *ifname, uint32_t *devid)
{
	static const char prefix[] = "device/vif/";
	char path[128], node[128];
	const char *number = node + strlen(prefix);

	if (strchr(ifname, '/')) {
		return 1;
	}
	snprintf(path, sizeof(path), "/sys/class/net/%s/device/nodename", ifname);
	read_line(root, path, node, sizeof(node));
	if (!str_starts(node, prefix) || parse_u32(number, strlen(number), DEVID_MAX, devid) != 0) {
		return 1;
	}
	return 0;
}
