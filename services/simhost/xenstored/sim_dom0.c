/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A few requests on xenstored's socket by hand: libxenstore can't be told to give up after some
 * time, nor which socket to take other than by the environment of the whole process.
 */

#include "services/simhost/xenstored/sim_dom0.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <xen/io/xs_wire.h>

#include "libcommon/base.h"
#include "libcommon/err.h"

static int io_error(void)
{
	return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINPROGRESS ? -ETIMEDOUT
									       : err_errno();
}

static int set_timeouts(int fd, uint32_t timeout_ms)
{
	const struct timeval timeout = { .tv_sec = (time_t)(timeout_ms / 1000),
					 .tv_usec = (suseconds_t)(timeout_ms % 1000 * 1000) };

	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0) {
		return err_trace(err_errno());
	}
	return 0;
}

static int connect_socket(int fd, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(address.sun_path)) {
		return -ENAMETOOLONG;
	}
	memcpy(address.sun_path, path, strlen(path));
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		return io_error();
	}
	return 0;
}

static int receive_all(int fd, void *data, size_t len)
{
	ssize_t n = recv(fd, data, len, MSG_WAITALL);

	if (n < 0) {
		return io_error();
	}
	return (size_t)n == len ? 0 : -EPIPE;
}

/* One request and its reply, whose contents are dropped.  0, or 1 if the reply is an error. */
static int request(int fd, uint32_t type, const char *payload, size_t len)
{
	struct xsd_sockmsg header = { .type = type, .len = (uint32_t)len };
	char message[sizeof(header) + XENSTORE_PAYLOAD_MAX];
	ssize_t n;
	int r;

	if (len > XENSTORE_PAYLOAD_MAX) {
		return -E2BIG;
	}
	memcpy(message, &header, sizeof(header));
	memcpy(message + sizeof(header), payload, len);
	n = send(fd, message, sizeof(header) + len, MSG_NOSIGNAL);
	if (n < 0) {
		return io_error();
	}
	if ((size_t)n != sizeof(header) + len) {
		return -ETIMEDOUT;
	}
	r = receive_all(fd, &header, sizeof(header));
	if (r < 0) {
		return r;
	}
	if (header.len > XENSTORE_PAYLOAD_MAX || (header.type != type && header.type != XS_ERROR)) {
		return -EPROTO;
	}
	r = receive_all(fd, message, header.len);
	return r < 0 ? r : header.type == XS_ERROR;
}

int sim_dom0_init(const char *socket_path, uint32_t timeout_ms)
{
	static const char domid_path[] = "/local/domain/0/domid";
	/* Path, NUL, value without NUL: what XS_WRITE takes. */
	static const struct {
		const char *data;
		size_t len;
	} writes[] = {
#define NODE(path, value) { path "\0" value, sizeof(path "\0" value) - 1 }
		NODE("/local/pool/0/name", "Pool-0"),
		NODE("/local/domain/0/name", "Domain-0"),
		/* Last, because it says that all are there. */
		NODE("/local/domain/0/domid", "0"),
#undef NODE
	};
	_cleanup_(xclosep) int fd = -1;
	int r;

	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		return err_trace(err_errno());
	}
	r = set_timeouts(fd, timeout_ms);
	if (r == 0) {
		r = connect_socket(fd, socket_path);
	}
	if (r < 0) {
		return r;
	}
	r = request(fd, XS_READ, domid_path, sizeof(domid_path));
	if (r <= 0) {
		return r;
	}
	for (size_t i = 0; i < ARRAY_LEN(writes); i++) {
		r = request(fd, XS_WRITE, writes[i].data, writes[i].len);
		if (r != 0) {
			return r < 0 ? r : -EPROTO;
		}
	}
	return 0;
}
