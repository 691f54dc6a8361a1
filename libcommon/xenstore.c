/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What libxenstore 4.17 does not say: when xenstored dies, the request in
 * flight fails with EINVAL, which a bad path does too, and all later ones with
 * EBADF; closing a dead handle is safe and does not hang.  So EINVAL is followed
 * by a read of "/" that tells the two apart.
 *
 * A watch's token is a number that is looked up in a table: events of removed
 * watches come late, and they must find nothing.
 *
 * Invariant: handle is NULL or answered the last request.
 */
#include "libcommon/xenstore.h"

#include <stdio.h>
#include <time.h>
#include <xenstore.h>

#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/map.h"
#include "libcommon/parse.h"
#include "libcommon/uuid.h"
#include "libcommon/xenstore_private.h"

#define DISPATCH_MAX	 256
#define TRANSACTIONS_MAX 32
#define BACKOFF_FIRST_NS (200 * 1000ULL)
#define BACKOFF_DOUBLED	 6  /* times: at most 12.8 ms */
#define PERMS_MAX	 16 /* of a node; xenstored lets a guest have 5 */
#define TOKEN_SIZE	 24

struct xenstore {
	struct xs_handle *handle;
	xs_transaction_t transaction;
	struct map watches; /* id (8 bytes) -> struct xenstore_watch */
	uint64_t last_id;
	size_t n_unregistered;
	unsigned int n_busy; /* callbacks on the stack */
	bool is_closed;
	xenstore_reset_fn on_reset;
	void *on_reset_data;
	struct xenstore_hooks hooks;
};

struct xenstore_watch {
	struct xenstore *xs;
	uint64_t id;
	bool is_registered;
	xenstore_watch_fn fn;
	void *userdata;
	char path[];
};

/* ---- connection ---- */

static void fd_changed(struct xenstore *xs)
{
	if (xs->hooks.fd_changed) {
		xs->hooks.fd_changed(xs->hooks.userdata);
	}
}

static void disconnect(struct xenstore *xs)
{
	struct xs_handle *handle = STEAL(xs->handle);

	xs->transaction = XBT_NULL;
	xs->n_unregistered = 0;
	for (struct map_iter i = map_begin(&xs->watches); map_next(&xs->watches, &i);) {
		struct xenstore_watch *w = i.value;

		w->is_registered = false;
		xs->n_unregistered++;
	}
	fd_changed(xs);
	xs_close(handle);
}

static void lose(struct xenstore *xs)
{
	log_warning("xenstored closed the connection or died; trying to connect again");
	disconnect(xs);
}

static bool is_alive(struct xenstore *xs)
{
	unsigned int len;
	_cleanup_(xfreep) void *value = xs_read(xs->handle, XBT_NULL, "/", &len);

	/* Any answer will do; a guest may be denied. */
	return value || errno == EACCES || errno == ENOENT;
}

/* The -errno of the request that just failed; -ENOTCONN when the connection is gone. */
static int request_failed(struct xenstore *xs)
{
	int r = err_errno();

	switch (-r) {
	case EINVAL:
	case EIO:
		if (is_alive(xs)) {
			return r;
		}
		break;
	case EBADF:
	case EPIPE:
	case ECONNRESET:
	case ENOTCONN:
		break;
	default:
		return r;
	}
	lose(xs);
	return -ENOTCONN;
}

static int register_watch(struct xenstore_watch *w)
{
	struct xenstore *xs = w->xs;
	char token[TOKEN_SIZE];

	snprintf(token, sizeof(token), "%llu", (unsigned long long)w->id);
	if (!xs_watch(xs->handle, w->path, token)) {
		return request_failed(xs);
	}
	w->is_registered = true;
	xs->n_unregistered--;
	return 0;
}

/* 0 or -ENOTCONN; a watch that xenstored refuses is tried again at the next probe. */
static int register_watches(struct xenstore *xs)
{
	for (struct map_iter i = map_begin(&xs->watches); map_next(&xs->watches, &i);) {
		struct xenstore_watch *w = i.value;
		int r = w->is_registered ? 0 : register_watch(w);

		if (r == -ENOTCONN) {
			return r;
		}
		if (r < 0) {
			log_warning("xenstored refuses the watch on %s: %s", w->path, err_text(r));
		}
	}
	return 0;
}

int xenstore_open(struct xenstore **out)
{
	struct xenstore *xs = calloc(1, sizeof(*xs));

	if (!xs) {
		return -ENOMEM;
	}
	xs->handle = xs_open(0);
	if (!xs->handle) {
		free(xs);
		return err_trace(-ENOTCONN);
	}
	*out = xs;
	return 0;
}

static void leave(struct xenstore *xs)
{
	if (--xs->n_busy == 0 && xs->is_closed) {
		free(xs);
	}
}

struct xenstore *xenstore_close(struct xenstore *xs)
{
	if (!xs) {
		return NULL;
	}
	disconnect(xs);
	if (xs->hooks.closed) {
		xs->hooks.closed(xs->hooks.userdata);
	}
	for (struct map_iter i = map_begin(&xs->watches); map_next(&xs->watches, &i);) {
		free(i.value);
	}
	map_deinit(&xs->watches);
	xs->is_closed = true;
	xs->n_busy++;
	leave(xs);
	return NULL;
}

int xenstore_set_hooks(struct xenstore *xs, const struct xenstore_hooks *hooks)
{
	if (hooks && xs->hooks.closed) {
		return -EALREADY;
	}
	xs->hooks = hooks ? *hooks : (struct xenstore_hooks){ 0 };
	return 0;
}

bool xenstore_is_connected(const struct xenstore *xs)
{
	return xs->handle != NULL;
}

int xenstore_fd(const struct xenstore *xs)
{
	return xs->handle ? xs_fileno(xs->handle) : -1;
}

int xenstore_probe(struct xenstore *xs)
{
	if (xs->handle && !is_alive(xs)) {
		lose(xs);
	}
	if (xs->handle) {
		return xs->n_unregistered > 0 ? register_watches(xs) : 0;
	}
	xs->handle = xs_open(0);
	if (!xs->handle || register_watches(xs) < 0) {
		return -ENOTCONN;
	}
	log_info("connected to xenstored again");
	fd_changed(xs);
	xs->n_busy++;
	if (xs->on_reset) {
		xs->on_reset(xs, xs->on_reset_data);
	}
	leave(xs);
	return 1;
}

void xenstore_on_reset(struct xenstore *xs, xenstore_reset_fn fn, void *userdata)
{
	xs->on_reset = fn;
	xs->on_reset_data = userdata;
}

/* ---- requests ---- */

int xenstore_read(struct xenstore *xs, const char *path, char **out, size_t *len)
{
	unsigned int value_len;
	char *value;

	if (!xs->handle) {
		return -ENOTCONN;
	}
	value = xs_read(xs->handle, xs->transaction, path, &value_len);
	if (!value) {
		return errno == ENOENT ? XENSTORE_ABSENT : request_failed(xs);
	}
	*out = value;
	*len = value_len;
	return 0;
}

int xenstore_read_u64(struct xenstore *xs, const char *path, uint64_t *out)
{
	_cleanup_(xfreep) char *value = NULL;
	size_t len = 0;
	int r = xenstore_read(xs, path, &value, &len);

	return r == 0 ? parse_u64(value, len, UINT64_MAX, out) : r;
}

int xenstore_list(struct xenstore *xs, const char *path, char ***out, size_t *n)
{
	unsigned int n_names;
	char **names;

	if (!xs->handle) {
		return -ENOTCONN;
	}
	names = xs_directory(xs->handle, xs->transaction, path, &n_names);
	if (!names) {
		return errno == ENOENT ? XENSTORE_ABSENT : request_failed(xs);
	}
	*out = names;
	*n = n_names;
	return 0;
}

int xenstore_write(struct xenstore *xs, const char *path, const void *value, size_t len)
{
	if (len > XENSTORE_VALUE_MAX) {
		return -E2BIG;
	}
	if (!xs->handle) {
		return -ENOTCONN;
	}
	return xs_write(xs->handle, xs->transaction, path, value, (unsigned int)len)
		       ? 0
		       : request_failed(xs);
}

int xenstore_write_str(struct xenstore *xs, const char *path, const char *value)
{
	return xenstore_write(xs, path, value, strlen(value));
}

int xenstore_mkdir(struct xenstore *xs, const char *path)
{
	if (!xs->handle) {
		return -ENOTCONN;
	}
	return xs_mkdir(xs->handle, xs->transaction, path) ? 0 : request_failed(xs);
}

int xenstore_remove(struct xenstore *xs, const char *path)
{
	if (!xs->handle) {
		return -ENOTCONN;
	}
	return xs_rm(xs->handle, xs->transaction, path) || errno == ENOENT ? 0 : request_failed(xs);
}

/* One of "n0" "r5" "w5" "b5"; how many bytes it takes, or -EINVAL. */
static int parse_perm(const char *text, struct xs_permissions *out)
{
	static const struct {
		char letter;
		unsigned int type;
	} types[] = {
		{ 'n', XS_PERM_NONE },
		{ 'r', XS_PERM_READ },
		{ 'w', XS_PERM_WRITE },
		{ 'b', XS_PERM_READ | XS_PERM_WRITE },
	};
	size_t n_digits = text[0] ? strspn(text + 1, "0123456789") : 0;
	uint32_t domid;

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		if (text[0] == types[i].letter &&
		    parse_u32(text + 1, n_digits, UINT16_MAX, &domid) == 0) {
			*out = (struct xs_permissions){ .id = domid, .perms = types[i].type };
			return 1 + (int)n_digits;
		}
	}
	return -EINVAL;
}

int xenstore_set_perms(struct xenstore *xs, const char *path, const char *perms)
{
	struct xs_permissions list[PERMS_MAX];
	unsigned int n = 0;

	do {
		int len = n < ARRAY_LEN(list) ? parse_perm(perms, &list[n++]) : -EINVAL;

		if (len < 0) {
			return err_trace(len);
		}
		perms += len;
	} while (*perms++ == ',');
	if (perms[-1] != '\0') {
		return err_trace(-EINVAL);
	}
	if (!xs->handle) {
		return -ENOTCONN;
	}
	return xs_set_permissions(xs->handle, xs->transaction, path, list, n) ? 0
									      : request_failed(xs);
}

/* ---- transactions ---- */

/* body's result after the commit, or negative. */
static int try_transaction(struct xenstore *xs, xenstore_body_fn body, void *userdata,
			   bool *is_conflict)
{
	int r;

	*is_conflict = false;
	xs->transaction = xs_transaction_start(xs->handle);
	if (xs->transaction == XBT_NULL) {
		return request_failed(xs);
	}
	r = body(xs, userdata);
	if (xs->transaction == XBT_NULL) {
		return -ENOTCONN; /* lost in body */
	}
	if (!xs_transaction_end(xs->handle, xs->transaction, r < 0) && r >= 0) {
		*is_conflict = errno == EAGAIN;
		r = request_failed(xs);
	}
	xs->transaction = XBT_NULL;
	return r;
}

static void back_off(int n_tries)
{
	uint64_t longest_ns = BACKOFF_FIRST_NS << MIN(n_tries, BACKOFF_DOUBLED);
	struct timespec pause = { 0 };
	uint32_t random;

	random_bytes(&random, sizeof(random));
	pause.tv_nsec = (long)(random % longest_ns);
	nanosleep(&pause, NULL);
}

int xenstore_transaction(struct xenstore *xs, xenstore_body_fn body, void *userdata)
{
	bool is_conflict = true;
	int r = -ENOTCONN;

	if (xs->transaction != XBT_NULL) {
		return err_trace(-EINVAL);
	}
	for (int i = 0; xs->handle && is_conflict && i < TRANSACTIONS_MAX; i++) {
		if (i > 0) {
			back_off(i - 1);
		}
		r = try_transaction(xs, body, userdata, &is_conflict);
	}
	return r;
}

/* ---- watches ---- */

int xenstore_watch(struct xenstore *xs, struct xenstore_watch **out, const char *path,
		   xenstore_watch_fn fn, void *userdata)
{
	size_t size = strlen(path) + 1;
	struct xenstore_watch *w;
	int r;

	if (size > XENSTORE_PATH_MAX) {
		return -ENAMETOOLONG;
	}
	w = malloc(sizeof(*w) + size);
	if (!w) {
		return -ENOMEM;
	}
	*w = (struct xenstore_watch){ xs, ++xs->last_id, false, fn, userdata };
	memcpy(w->path, path, size);
	r = map_set(&xs->watches, &w->id, sizeof(w->id), w, NULL);
	if (r < 0) {
		free(w);
		return r;
	}
	xs->n_unregistered++;
	r = xs->handle ? register_watch(w) : -ENOTCONN;
	if (r < 0 && r != -ENOTCONN) {
		xenstore_unwatch(w);
		return err_trace(r);
	}
	*out = w;
	return 0;
}

struct xenstore_watch *xenstore_unwatch(struct xenstore_watch *w)
{
	struct xenstore *xs;
	char token[TOKEN_SIZE];

	if (!w) {
		return NULL;
	}
	xs = w->xs;
	map_remove(&xs->watches, &w->id, sizeof(w->id));
	if (!w->is_registered) {
		xs->n_unregistered--;
	} else {
		snprintf(token, sizeof(token), "%llu", (unsigned long long)w->id);
		if (!xs_unwatch(xs->handle, w->path, token)) {
			request_failed(xs);
		}
	}
	free(w);
	return NULL;
}

static void deliver(struct xenstore *xs, char **event)
{
	const char *token = event[XS_WATCH_TOKEN];
	struct xenstore_watch *w = NULL;
	uint64_t id;

	if (parse_u64(token, strlen(token), UINT64_MAX, &id) == 0) {
		w = map_get(&xs->watches, &id, sizeof(id));
	}
	if (w) {
		w->fn(xs, event[XS_WATCH_PATH], w->userdata);
	}
}

int xenstore_dispatch(struct xenstore *xs)
{
	int n = 0;

	xs->n_busy++;
	while (xs->handle && n < DISPATCH_MAX) {
		_cleanup_(xfreep) char **event = xs_check_watch(xs->handle);

		if (!event) {
			if (errno != EAGAIN) {
				lose(xs);
			}
			break;
		}
		deliver(xs, event);
		n++;
	}
	if (!xs->handle) {
		n = -ENOTCONN;
	}
	leave(xs);
	return n;
}
