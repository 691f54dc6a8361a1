/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The only descriptors that a worker gets are 0 to 2 and its socket: all others
 * of this process are close-on-exec.
 */
#include "services/ops/host/workers.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>

#include "libcommon/err.h"
#include "libcommon/list.h"
#include "libcommon/log.h"

#define WORKER_FD 3

struct worker {
	struct list list;
	struct host_workers *workers;
	sd_event_source *child;
	pid_t pid;
};

struct host_workers {
	sd_event *loop;
	char *path;
	host_workers_ended_fn on_ended;
	void *userdata;
	struct list list;
	size_t n;
};

int host_workers_new(struct host_workers **out, sd_event *loop, const char *path,
		     host_workers_ended_fn on_ended, void *userdata)
{
	struct host_workers *w = calloc(1, sizeof(*w));
	sigset_t blocked;

	if (!w) {
		return -ENOMEM;
	}
	list_init(&w->list);
	w->loop = loop;
	w->on_ended = on_ended;
	w->userdata = userdata;
	w->path = strdup(path);
	if (!w->path) {
		host_workers_free(w);
		return -ENOMEM;
	}
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGCHLD);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	*out = w;
	return 0;
}

static void forget(struct worker *worker)
{
	list_unlink(&worker->list);
	worker->workers->n--;
	sd_event_source_disable_unref(worker->child);
	free(worker);
}

struct host_workers *host_workers_free(struct host_workers *w)
{
	if (w) {
		list_for_each_safe (i, &w->list) {
			forget(list_entry(i, struct worker, list));
		}
		free(w->path);
		free(w);
	}
	return NULL;
}

static int on_worker_exit(sd_event_source *s _unused_, const siginfo_t *info, void *userdata)
{
	struct worker *worker = userdata;
	struct host_workers *w = worker->workers;

	if (info->si_code != CLD_EXITED) {
		log_warning("worker %d was killed by signal %d", worker->pid, info->si_status);
	} else if (info->si_status != 0) {
		log_warning("worker %d ended with status %d", worker->pid, info->si_status);
	} else {
		log_debug("worker %d ended", worker->pid);
	}
	w->on_ended(w->userdata);
	forget(worker);
	return 0;
}

/* Ours without what is only for us. NULL when out of memory. */
static char **worker_environment(void)
{
	static const char *const ours[] = { "NOTIFY_SOCKET=", "WATCHDOG_PID=", "WATCHDOG_USEC=",
					    "LISTEN_PID=", "LISTEN_FDS=" };
	size_t n = 0, kept = 0;
	char **copy;

	while (environ[n]) {
		n++;
	}
	copy = calloc(n + 1, sizeof(*copy));
	for (size_t i = 0; copy && i < n; i++) {
		bool is_ours = false;

		for (size_t k = 0; k < ARRAY_LEN(ours); k++) {
			is_ours |= str_starts(environ[i], ours[k]);
		}
		if (!is_ours) {
			copy[kept++] = environ[i];
		}
	}
	return copy;
}

static int spawn(const char *path, int fd, pid_t *pid)
{
	_cleanup_(xfreep) char **environment = worker_environment();
	char *const argv[] = { (char *)path, (char *)"--log-level",
			       (char *)log_level_name(log_level()), NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int r;

	if (!environment) {
		return -ENOMEM;
	}
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	r = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (r == 0) {
		r = posix_spawn_file_actions_adddup2(&actions, fd, WORKER_FD);
	}
	if (r == 0) {
		r = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
							    POSIX_SPAWN_SETSIGDEF);
	}
	if (r == 0) {
		posix_spawnattr_setsigmask(&attr, &none);
		posix_spawnattr_setsigdefault(&attr, &all);
		r = posix_spawn(pid, path, &actions, &attr, argv, environment);
	}
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return -r;
}

static int watch_child(struct host_workers *w, pid_t pid)
{
	struct worker *worker = calloc(1, sizeof(*worker));
	int r;

	if (!worker) {
		return -ENOMEM;
	}
	worker->workers = w;
	worker->pid = pid;
	r = sd_event_add_child(w->loop, &worker->child, pid, WEXITED, on_worker_exit, worker);
	if (r < 0) {
		free(worker);
		return r;
	}
	list_append(&w->list, &worker->list);
	w->n++;
	return 0;
}

int host_workers_spawn(struct host_workers *w, int *out)
{
	_cleanup_(xclosep) int ours = -1;
	_cleanup_(xclosep) int theirs = -1;
	int fds[2], r;
	pid_t pid = -1;

	if (w->n >= HOST_WORKERS_MAX) {
		return -EBUSY;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
		return err_errno();
	}
	ours = fds[0];
	theirs = fds[1];
	r = spawn(w->path, theirs, &pid);
	if (r < 0) {
		return err_trace(r);
	}
	r = watch_child(w, pid);
	if (r < 0) {
		/* It has no operation yet and ends when `ours` closes. */
		log_warning("worker %d cannot be watched: %s", pid, err_text(r));
		return r;
	}
	log_debug("worker %d started", pid);
	*out = STEAL_FD(ours);
	return 0;
}

size_t host_workers_count(const struct host_workers *w)
{
	return w->n;
}
