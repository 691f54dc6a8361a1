/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The socket is blocking with a limit on each system call.  Answers are some
 * 20 bytes, so the few thousand requests of one batch never fill the socket
 * from the other side while we still write.
 */
#include "services/simhost/xsbatch.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <xen/io/xs_wire.h>

#include "libcommon/err.h"
#include "libcommon/link.h"

#define CALL_LIMIT_S 10

int xsbatch_open(struct xsbatch *b, const char *socket_path)
{
	const struct timeval limit = { .tv_sec = CALL_LIMIT_S };
	int fd = link_connect(socket_path);

	if (fd < 0) {
		return err_trace(fd);
	}
	*b = XSBATCH_NULL;
	b->fd = fd;
	if (fcntl(fd, F_SETFL, 0) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0) {
		int r = err_errno();

		xsbatch_close(b);
		return err_trace(r);
	}
	return 0;
}

void xsbatch_close(struct xsbatch *b)
{
	b->fd = xclose(b->fd);
	strbuf_deinit(&b->out);
	b->n = 0;
}

static void add(struct xsbatch *b, uint32_t type, const void *payload, size_t len)
{
	const struct xsd_sockmsg header = { .type = type, .len = (uint32_t)len };

	if (len > XENSTORE_PAYLOAD_MAX) {
		b->error = b->error < 0 ? b->error : -E2BIG;
		return;
	}
	strbuf_append(&b->out, &header, sizeof(header));
	strbuf_append(&b->out, payload, len);
	b->n++;
}

void xsbatch_write(struct xsbatch *b, const char *path, const char *value)
{
	char payload[XENSTORE_PAYLOAD_MAX + 1];
	int n = snprintf(payload, sizeof(payload), "%s%c%s", path, 0, value);

	add(b, XS_WRITE, payload, (size_t)MAX(n, 0));
}

void xsbatch_writef(struct xsbatch *b, const char *value, const char *format, ...)
{
	char path[XENSTORE_ABS_PATH_MAX];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(path, sizeof(path), format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= sizeof(path)) {
		b->error = b->error < 0 ? b->error : -E2BIG;
		return;
	}
	xsbatch_write(b, path, value);
}

void xsbatch_node(struct xsbatch *b, const char *path, uint32_t owner, uint32_t reader)
{
	char payload[XENSTORE_ABS_PATH_MAX + 64];
	int n;

	xsbatch_write(b, path, "");
	/* Two strings after the path: owner with what the others may (nothing), and the reader. */
	n = snprintf(payload, sizeof(payload), "%s%cn%u%cr%u", path, 0, owner, 0, reader) + 1;
	if (reader == owner) {
		n = snprintf(payload, sizeof(payload), "%s%cn%u", path, 0, owner) + 1;
	}
	add(b, XS_SET_PERMS, payload, (size_t)n);
}

void xsbatch_remove(struct xsbatch *b, const char *path)
{
	add(b, XS_RM, path, strlen(path) + 1);
}

void xsbatch_introduce(struct xsbatch *b, uint32_t domid, uint32_t port)
{
	char payload[64];
	int n = snprintf(payload, sizeof(payload), "%u%c%u%c%u", domid, 0, domid, 0, port) + 1;

	add(b, XS_INTRODUCE, payload, (size_t)n);
}

static int read_all(int fd, void *out, size_t len)
{
	char *at = out;

	while (len > 0) {
		ssize_t n = recv(fd, at, len, MSG_WAITALL);

		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			return n == 0 ? -ECONNRESET : err_errno();
		}
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			return err_errno();
		}
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* The request at *at of what was sent, for the message; steps over it. */
static const char *next_path(const struct xsbatch *b, size_t *at, uint32_t *type)
{
	struct xsd_sockmsg header;
	const char *path = b->out.data + *at + sizeof(header);

	memcpy(&header, b->out.data + *at, sizeof(header));
	*at += sizeof(header) + header.len;
	*type = header.type;
	return path;
}

static int answer_error(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(xsd_errors); i++) {
		if (streq(name, xsd_errors[i].errstring)) {
			return -xsd_errors[i].errnum;
		}
	}
	return -EIO;
}

/* All answers; 0 or the first error in them; *is_dead when the connection is no more. */
static int read_answers(struct xsbatch *b, bool *is_dead)
{
	char payload[XENSTORE_PAYLOAD_MAX + 1];
	struct xsd_sockmsg header;
	size_t at = 0;
	int result = 0;

	for (size_t i = 0; i < b->n; i++) {
		uint32_t type;
		const char *path = next_path(b, &at, &type);
		int r = read_all(b->fd, &header, sizeof(header));

		if (r == 0 && header.len > XENSTORE_PAYLOAD_MAX) {
			r = -EPROTO;
		}
		if (r == 0) {
			r = read_all(b->fd, payload, header.len);
			payload[r == 0 ? header.len : 0] = '\0';
		}
		if (r < 0) {
			*is_dead = true;
			return r;
		}
		r = header.type == XS_ERROR ? answer_error(payload) : 0;
		if (r < 0 && result == 0 && !(r == -ENOENT && type == XS_RM)) {
			snprintf(b->failed, sizeof(b->failed), "%s", path);
			result = r;
		}
	}
	return result;
}

int xsbatch_commit(struct xsbatch *b)
{
	bool is_dead = false;
	int r = b->error;

	b->failed[0] = '\0';
	if (r == 0) {
		r = strbuf_error(&b->out);
	}
	if (r == 0 && b->fd < 0) {
		r = -ENOTCONN;
	}
	if (r == 0 && b->n > 0) {
		r = write_all(b->fd, b->out.data, b->out.len);
		is_dead = r < 0;
		if (r == 0) {
			r = read_answers(b, &is_dead);
		}
	}
	if (is_dead) {
		b->fd = xclose(b->fd);
	}
	if (strbuf_error(&b->out) < 0) {
		strbuf_deinit(&b->out);
	}
	strbuf_reset(&b->out);
	b->n = 0;
	b->error = 0;
	return r;
}
