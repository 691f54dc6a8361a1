/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Each client is one command and short-lived; the oldest gives way when there
 * are too many.
 */
#include "services/simhost/control.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "libcommon/err.h"
#include "libcommon/link.h"
#include "libcommon/list.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"

#define DRAIN_MAX (64U << 10)

struct client {
	struct list list;
	struct control *control;
	int fd;
	sd_event_source *io;
	sd_event_source *limit;
	char line[CONTROL_LINE_MAX + 1];
	size_t len;
	struct strbuf answer;
	size_t sent;
	bool is_answered;
};

struct control {
	sd_event *loop;
	char *path;
	int fd;
	sd_event_source *listener;
	struct list clients;
	size_t n_clients;
	control_fn fn;
	void *userdata;
};

static void client_free(struct client *c)
{
	list_unlink(&c->list);
	c->control->n_clients--;
	sd_event_source_disable_unref(c->limit);
	sd_event_source_disable_unref(c->io);
	strbuf_deinit(&c->answer);
	xclose(c->fd);
	free(c);
}

static void answer(struct client *c, const char *error)
{
	_cleanup_(strbuf_deinit) struct strbuf out = STRBUF_NULL;
	int r;

	c->is_answered = true;
	if (error) {
		strbuf_printf(&c->answer, "error: %s\n", error);
		return;
	}
	r = c->control->fn(c->line, &out, c->control->userdata);
	if (r == 0) {
		strbuf_printf(&c->answer, "%sok\n", strbuf_str(&out));
	} else {
		strbuf_printf(&c->answer, "error: %s\n", strbuf_str(&out));
	}
}

/* The line as far as it has come. */
static int read_line(struct client *c)
{
	ssize_t n = recv(c->fd, c->line + c->len, CONTROL_LINE_MAX - c->len, MSG_DONTWAIT);
	char *end;

	if (n < 0) {
		return errno == EAGAIN || errno == EINTR ? 0 : err_errno();
	}
	if (n == 0) {
		return -ECONNRESET;
	}
	c->len += (size_t)n;
	c->line[c->len] = '\0';
	end = strchr(c->line, '\n');
	if (end) {
		*end = '\0';
		answer(c, NULL);
	} else if (c->len == CONTROL_LINE_MAX) {
		answer(c, "the line is too long");
	}
	return c->is_answered ? sd_event_source_set_io_events(c->io, EPOLLOUT) : 0;
}

/* What was sent beyond the line: closing with it unread would take the answer back. */
static void drain(int fd)
{
	char rest[4096];
	size_t left = DRAIN_MAX;
	ssize_t n;

	while (left > 0 && (n = recv(fd, rest, MIN(sizeof(rest), left), MSG_DONTWAIT)) > 0) {
		left -= (size_t)n;
	}
}

/* 1 when all is sent. */
static int write_answer(struct client *c)
{
	const char *data = strbuf_str(&c->answer);
	ssize_t n = send(c->fd, data + c->sent, c->answer.len - c->sent,
			 MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0) {
		return errno == EAGAIN || errno == EINTR ? 0 : err_errno();
	}
	c->sent += (size_t)n;
	if (c->sent < c->answer.len) {
		return 0;
	}
	drain(c->fd);
	return 1;
}

static int on_client(sd_event_source *s _unused_, int fd _unused_, uint32_t events _unused_,
		     void *userdata)
{
	struct client *c = userdata;
	int r = c->is_answered ? write_answer(c) : read_line(c);

	if (r != 0) {
		client_free(c);
	}
	return 0;
}

static int on_limit(sd_event_source *s _unused_, uint64_t usec _unused_, void *userdata)
{
	client_free(userdata);
	return 0;
}

static int add_client(struct control *control, int fd)
{
	struct client *c = calloc(1, sizeof(*c));
	int r;

	if (!c) {
		close(fd);
		return -ENOMEM;
	}
	if (control->n_clients == CONTROL_CLIENTS_MAX) {
		client_free(list_entry(control->clients.next, struct client, list));
	}
	c->control = control;
	c->fd = fd;
	list_append(&control->clients, &c->list);
	control->n_clients++;
	r = sd_event_add_io(control->loop, &c->io, fd, EPOLLIN, on_client, c);
	if (r >= 0) {
		r = loop_after(control->loop, &c->limit, CONTROL_LIMIT_MS * USEC_PER_MSEC, on_limit,
			       c);
	}
	if (r < 0) {
		client_free(c);
	}
	return r;
}

static int on_connection(sd_event_source *s _unused_, int listener, uint32_t events _unused_,
			 void *userdata)
{
	/* cppcheck-suppress nullPointer ; nobody asks for the peer's address */
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int r = fd < 0 ? err_errno() : add_client(userdata, fd);

	if (r < 0 && r != -EAGAIN && r != -EINTR && r != -ECONNABORTED) {
		log_warning("cannot take a command: %s", err_text(r));
	}
	return 0;
}

int control_new(struct control **out, sd_event *loop, const char *path, control_fn fn,
		void *userdata)
{
	struct control *c = calloc(1, sizeof(*c));
	int r;

	if (!c) {
		return -ENOMEM;
	}
	list_init(&c->clients);
	c->loop = loop;
	c->fn = fn;
	c->userdata = userdata;
	c->fd = link_listen(path);
	r = c->fd;
	if (r >= 0) {
		c->path = strdup(path);
		r = c->path ? sd_event_add_io(loop, &c->listener, c->fd, EPOLLIN, on_connection, c)
			    : -ENOMEM;
	}
	if (r < 0) {
		control_free(c);
		return err_trace(r);
	}
	*out = c;
	return 0;
}

struct control *control_free(struct control *c)
{
	if (!c) {
		return NULL;
	}
	for (struct client *one; (one = list_first(&c->clients, struct client, list));) {
		client_free(one);
	}
	sd_event_source_disable_unref(c->listener);
	if (c->path) {
		unlink(c->path);
	}
	xclose(c->fd);
	free(c->path);
	free(c);
	return NULL;
}

int control_ask(const char *path, const char *command)
{
	_cleanup_(xclosep) int fd = link_connect(path);
	FILE *stream;
	char line[CONTROL_LINE_MAX + 64];
	int result = 1;

	if (fd < 0) {
		return fd;
	}
	if (fcntl(fd, F_SETFL, 0) < 0 || dprintf(fd, "%s\n", command) < 0) {
		return err_errno();
	}
	stream = fdopen(fd, "r");
	if (!stream) {
		return err_errno();
	}
	(void)STEAL_FD(fd); /* fclose() closes it */
	while (fgets(line, sizeof(line), stream)) {
		if (streq(line, "ok\n")) {
			result = 0;
		} else {
			fputs(line, str_starts(line, "error: ") ? stderr : stdout);
		}
	}
	fclose(stream);
	return result;
}
