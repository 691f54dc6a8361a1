/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Once a second the socket file is looked at: gone, it is made anew (a peer
 * could not find us); another's, that is told once and left alone.
 */
#include "bus/sp_listener.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "bus/sp_inherit.h"
#include "bus/sp_path.h"
#include "libcommon/err.h"
#include "libcommon/log.h"

#define SOCKET_UMASK 0111 /* leaves 0666 */
#define CHECK_US     USEC_PER_SEC

enum file { FILE_OURS, FILE_GONE, FILE_FOREIGN };

static enum file look(const struct sp_listener *l)
{
	struct stat st;

	if (lstat(l->path, &st) < 0) {
		return errno == ENOENT ? FILE_GONE : FILE_FOREIGN;
	}
	return st.st_dev == l->dev && st.st_ino == l->ino ? FILE_OURS : FILE_FOREIGN;
}

static void on_connection(int fd, void *userdata)
{
	struct sp_listener *l = userdata;

	l->on_accept(l, fd, l->userdata);
}

static void close_socket(struct sp_listener *l)
{
	if (l->fd >= 0 && !l->is_inherited && look(l) == FILE_OURS) {
		unlink(l->path);
	}
	sp_accept_stop(&l->accept);
	l->fd = xclose(l->fd);
}

static int bind_socket(int fd, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	mode_t mask;
	int r = 0;

	memcpy(address.sun_path, path, strlen(path) + 1);
	mask = umask(SOCKET_UMASK);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		r = err_errno();
	}
	umask(mask);
	return r;
}

/* Of a socket that is bound: know it again, and listen. */
static int begin(struct sp_listener *l)
{
	struct stat st;

	if (lstat(l->path, &st) == 0) {
		l->dev = st.st_dev;
		l->ino = st.st_ino;
	}
	if (listen(l->fd, SOMAXCONN) < 0) {
		return err_errno();
	}
	return sp_accept_start(&l->accept, l->fd);
}

/* Connecting to the path must wake this very socket: its file may have been removed or replaced
 * while nobody looked. */
static bool is_at_path(const struct sp_listener *l)
{
	struct pollfd p = { .fd = l->fd, .events = POLLIN };

	return sp_path_is_reachable(l->path) && poll(&p, 1, 0) == 1;
}

/* The socket that was passed for this path. 0; -ENOENT: none that is of use; -errno. */
static int adopt_socket(struct sp_listener *l)
{
	int r = sp_inherit_take(l->path);

	if (r < 0) {
		return r;
	}
	l->fd = r;
	if (!is_at_path(l)) {
		log_warning("%s is not the file of the socket that was passed any more; restart "
			    "its socket unit",
			    l->path);
		l->fd = xclose(l->fd);
		return -ENOENT;
	}
	l->is_inherited = true;
	r = begin(l);
	if (r < 0) {
		log_error("cannot listen on the passed socket %s: %s", l->path, err_text(r));
		close_socket(l);
	}
	return r;
}

static int open_socket(struct sp_listener *l)
{
	int r = adopt_socket(l);

	if (r != -ENOENT) {
		return r;
	}
	r = sp_path_prepare(l->path, l->peer_protocol);
	if (r < 0) {
		return r;
	}
	l->is_inherited = false;
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	r = l->fd < 0 ? err_errno() : bind_socket(l->fd, l->path);
	if (r == 0) {
		r = begin(l);
	}
	if (r < 0) {
		log_error("cannot listen on %s: %s", l->path, err_text(r));
		close_socket(l);
	}
	return r;
}

static int on_check(void *userdata)
{
	struct sp_listener *l = userdata;
	enum file file = look(l);

	if (file == FILE_FOREIGN && !l->has_complained) {
		l->has_complained = true;
		log_error("%s was taken over by another process; stop one of the two", l->path);
	}
	if (file == FILE_GONE) {
		log_warning("%s has lost its socket file; listening anew%s", l->path,
			    l->is_inherited ? " (restart its socket unit, which does not know)"
					    : "");
		close_socket(l);
		if (open_socket(l) == 0) {
			l->n_relistens++;
		}
	}
	return 0;
}

int sp_listener_new(struct sp_listener **out, sd_event *loop, const char *path,
		    enum sp_protocol peer_protocol,
		    void (*on_accept)(struct sp_listener *l, int fd, void *userdata),
		    void *userdata)
{
	struct sp_listener *l;
	int r;

	if (strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
		log_error("%s is too long for a socket", path);
		return -ENAMETOOLONG;
	}
	l = calloc(1, sizeof(*l));
	if (!l) {
		return -ENOMEM;
	}
	l->fd = -1;
	l->loop = sd_event_ref(loop);
	l->path = strdup(path);
	l->peer_protocol = peer_protocol;
	l->on_accept = on_accept;
	l->userdata = userdata;
	l->accept = (struct sp_accept){
		.loop = l->loop, .where = l->path, .fn = on_connection, .userdata = l
	};
	r = l->path ? open_socket(l) : -ENOMEM;
	if (r == 0) {
		r = loop_ticker_new(&l->ticker, loop, CHECK_US, on_check, l);
	}
	if (r < 0) {
		sp_listener_free(l);
		return r;
	}
	*out = l;
	return 0;
}

struct sp_listener *sp_listener_free(struct sp_listener *l)
{
	if (!l) {
		return NULL;
	}
	list_unlink(&l->link);
	loop_ticker_free(l->ticker);
	close_socket(l);
	l->loop = sd_event_unref(l->loop);
	free(l->path);
	free(l);
	return NULL;
}
