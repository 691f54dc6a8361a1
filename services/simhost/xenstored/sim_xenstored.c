/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Starting, adopting and ending the real xenstored, and the table of domains it asks about.
 *
 * Whether xenstored lives is told by a lock, not by a number: it inherits, and never closes, the
 * descriptor through which its pid file is locked.  A pid is believed only while that lock is held,
 * and is turned into a pidfd in between.  A second lock keeps two simhosts out of one directory.
 */

#include "services/simhost/xenstored/sim_xenstored.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <xen/sched.h>

#include "libcommon/base.h"
#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/parse.h"
#include "services/simhost/xenstored/sim_dir.h"
#include "services/simhost/xenstored/sim_dom0.h"

/* sun_path without its NUL, less the name of the socket. */
#define MAX_DIR_BYTES (107 - sizeof("/" SIM_FILE_SOCKET) + 1)

#define DEFAULT_TIMEOUT_MS 10000u
/* SIGKILL takes effect in milliseconds unless the process hangs in the kernel. */
#define KILL_TIMEOUT_MS 5000

/* "-N" "-P", the extra ones, NULL. */
#define MAX_ARGS 64

struct sim_xenstored {
	struct sim_dir dir;
	char state_dir[PATH_MAX];
	char socket[PATH_MAX];
	int lock_fd;
	int pid_file_fd; /* shared with xenstored; only while starting */
	int pidfd;
	pid_t pid;
	bool is_adopted;
	bool is_dead;
	bool survives;
	sd_event_source *death_source;
	sim_xenstored_death_fn death_fn;
	void *death_userdata;
};

/* Make the sentence and pass r on. */
_printf_(3, 4) static int fail(char *error, int r, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error, SIM_ERROR_BYTES, format, args);
	va_end(args);
	return r;
}

/* The last line of the log, for a sentence; empty if there is none. */
static void read_last_log_line(int dir_fd, char *out, size_t size)
{
	_cleanup_(xclosep) int fd = -1;
	char tail[512];
	char *line;
	off_t end;
	ssize_t n;

	out[0] = '\0';
	fd = openat(dir_fd, SIM_FILE_LOG, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		return;
	}
	end = lseek(fd, 0, SEEK_END);
	n = pread(fd, tail, sizeof(tail) - 1, MAX(end - (off_t)sizeof(tail) + 1, 0));
	while (n > 0 && tail[n - 1] == '\n') {
		n--;
	}
	if (n <= 0) {
		return;
	}
	tail[n] = '\0';
	line = strrchr(tail, '\n');
	snprintf(out, size, "%s", line ? line + 1 : tail);
}

/* --- what is installed ------------------------------------------------------------------ */

/* Resolve the shim's path, by default beside the running executable. */
static int find_shim(const char *given, char out[static PATH_MAX], char *error)
{
	char path[PATH_MAX];
	char *slash;
	ssize_t n;

	if (given) {
		n = snprintf(path, sizeof(path), "%s", given);
	} else {
		n = readlink("/proc/self/exe", path, sizeof(path) - 1);
		if (n < 0) {
			return fail(error, err_errno(), "Can't read /proc/self/exe: %m.");
		}
		path[n] = '\0';
		slash = strrchr(path, '/');
		n = slash ? slash + 1 - path : 0;
		n += snprintf(path + n, sizeof(path) - (size_t)n, "xenmesh-simxen.so");
	}
	if ((size_t)n >= sizeof(path)) {
		return fail(error, -ENAMETOOLONG, "The path of xenmesh-simxen.so is too long.");
	}
	if (!realpath(path, out)) {
		return fail(error, err_errno(),
			    "The preload shim %s is not there (%m): build or install xenmesh "
			    "completely.",
			    path);
	}
	/* ld.so splits LD_PRELOAD there. */
	if (strpbrk(out, ": ")) {
		return fail(error, -EINVAL,
			    "The preload shim %s can't be used: its path has a blank or colon.",
			    out);
	}
	return 0;
}

static int check_xenstored(const char *path, char *error)
{
	if (access(path, X_OK) == 0) {
		return 0;
	}
	return fail(error, err_errno(),
		    "%s can't be run (%m): install the Debian package xen-utils-4.17.", path);
}

/* --- the child -------------------------------------------------------------------------- */

struct spawn {
	const char *argv[MAX_ARGS];
	const char *envp[5];
	char env_dir[PATH_MAX + 32];
	char env_run[PATH_MAX + 32];
	char env_preload[PATH_MAX + 32];
	int null_fd;
	int log_fd;
	int ready_fd; /* xenstored's standard output */
	int pid_file_fd;
	pid_t parent;
	bool survives;
};

/* Between fork and exec: only what is safe there.  Does not return. */
static void run_child(const struct spawn *spawn)
{
	static const char message[] = "simxen: can't execute xenstored\n";
	sigset_t none;

	sigemptyset(&none);
	/* A session of its own: Ctrl-C ends simhost, which ends xenstored when it is done. */
	setsid();
	if (sigprocmask(SIG_SETMASK, &none, NULL) == 0 && dup2(spawn->null_fd, 0) == 0 &&
	    dup2(spawn->ready_fd, 1) == 1 && dup2(spawn->log_fd, 2) == 2 &&
	    close_range(3, UINT_MAX, CLOSE_RANGE_CLOEXEC) == 0 &&
	    fcntl(spawn->pid_file_fd, F_SETFD, 0) == 0 &&
	    (spawn->survives || prctl(PR_SET_PDEATHSIG, SIGKILL) == 0) &&
	    getppid() == spawn->parent) {
		execve(spawn->argv[0], (char *const *)spawn->argv, (char *const *)spawn->envp);
	}
	(void)!write(spawn->log_fd, message, sizeof(message) - 1);
	_exit(127);
}

static int fill_spawn(struct spawn *spawn, const struct sim_xenstored *xs,
		      const struct sim_xenstored_options *options, const char *xenstored,
		      const char *shim, char *error)
{
	size_t n = 0;

	spawn->argv[n++] = xenstored;
	spawn->argv[n++] = "-N"; /* don't fork */
	spawn->argv[n++] = "-P"; /* print the pid once ready */
	for (size_t i = 0; options->extra_args && options->extra_args[i]; i++) {
		if (n == MAX_ARGS - 1) {
			return fail(error, -E2BIG, "Too many arguments for xenstored.");
		}
		spawn->argv[n++] = options->extra_args[i];
	}
	spawn->argv[n] = NULL;

	snprintf(spawn->env_dir, sizeof(spawn->env_dir), SIM_ENV_DIR "=%s", xs->state_dir);
	snprintf(spawn->env_run, sizeof(spawn->env_run), "XENSTORED_RUNDIR=%s/" SIM_FILE_RUN_DIR,
		 xs->state_dir);
	snprintf(spawn->env_preload, sizeof(spawn->env_preload), "LD_PRELOAD=%s", shim);
	spawn->envp[0] = spawn->env_dir;
	spawn->envp[1] = spawn->env_run;
	spawn->envp[2] = spawn->env_preload;
	/*
	 * At each change of permissions xenstored reads the node's parent once per guest, frees
	 * it all after the request, and glibc gives the memory back to the kernel only to ask
	 * for it again.  With thousands of guests that is most of its time.
	 */
	spawn->envp[3] = "MALLOC_TRIM_THRESHOLD_=268435456";
	spawn->envp[4] = NULL;
	spawn->pid_file_fd = xs->pid_file_fd;
	spawn->parent = getpid();
	spawn->survives = options->survives;
	return 0;
}

/* Until the pid comes out of the pipe, or its end, or the deadline. */
static int wait_ready(int fd, uint64_t deadline_ns)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t now_ns;
	char byte;
	int n;

	do {
		now_ns = clock_boot_ns();
		if (now_ns >= deadline_ns) {
			return -ETIMEDOUT;
		}
		n = poll(&p, 1, (int)((deadline_ns - now_ns) / NSEC_PER_MSEC) + 1);
	} while (n == 0 || (n < 0 && errno == EINTR));
	if (n < 0) {
		return err_trace(err_errno());
	}
	return read(fd, &byte, 1) == 1 ? 0 : -ECHILD;
}

static int write_pid(int fd, pid_t pid)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%ld\n", (long)pid);

	if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)n, 0) != n) {
		return err_trace(err_errno());
	}
	return 0;
}

static int start_process(struct sim_xenstored *xs, struct spawn *spawn, int *ready_fd, char *error)
{
	_cleanup_(xclosep) int null_fd = -1;
	_cleanup_(xclosep) int log_fd = -1;
	_cleanup_(xclosep) int write_fd = -1;
	int fds[2], r;

	null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	log_fd = openat(xs->dir.fd, SIM_FILE_LOG,
			O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	if (null_fd < 0 || log_fd < 0 || pipe2(fds, O_CLOEXEC) < 0) {
		return fail(error, err_errno(), "Can't prepare to start xenstored: %m.");
	}
	*ready_fd = fds[0];
	write_fd = fds[1];
	spawn->null_fd = null_fd;
	spawn->log_fd = log_fd;
	spawn->ready_fd = write_fd;

	xs->pid = fork();
	if (xs->pid < 0) {
		return fail(error, err_errno(), "Can't fork: %m.");
	}
	if (xs->pid == 0) {
		run_child(spawn);
	}
	xs->pidfd = pidfd_open(xs->pid, 0);
	if (xs->pidfd < 0) {
		r = err_errno();
		kill(xs->pid, SIGKILL);
		waitpid(xs->pid, NULL, 0);
	} else {
		r = write_pid(xs->pid_file_fd, xs->pid);
	}
	if (r < 0) {
		return fail(error, r, "Can't keep track of xenstored: %s.", err_text(r));
	}
	return 0;
}

/* --- opening ---------------------------------------------------------------------------- */

static int start(struct sim_xenstored *xs, const struct sim_xenstored_options *options,
		 uint64_t deadline_ns, char *error)
{
	const char *xenstored = options->xenstored_path ? options->xenstored_path
							: SIM_XENSTORED_PATH;
	_cleanup_(xclosep) int ready_fd = -1;
	char shim[PATH_MAX], line[512];
	struct spawn spawn = { 0 };
	int r;

	r = check_xenstored(xenstored, error);
	if (r == 0) {
		r = find_shim(options->shim_path, shim, error);
	}
	if (r == 0) {
		r = fill_spawn(&spawn, xs, options, xenstored, shim, error);
	}
	if (r != 0) {
		return r;
	}
	r = sim_dir_populate(xs->dir.fd);
	if (r < 0) {
		return fail(error, r, "Can't make the files of %s: %s.", xs->state_dir,
			    err_text(r));
	}
	r = start_process(xs, &spawn, &ready_fd, error);
	if (r < 0) {
		return r;
	}
	r = wait_ready(ready_fd, deadline_ns);
	if (r == 0) {
		return 0;
	}
	read_last_log_line(xs->dir.fd, line, sizeof(line));
	if (r == -ECHILD) {
		return fail(error, r, "xenstored ended while starting; its last words: \"%s\".",
			    line);
	}
	return fail(error, r, "xenstored was not ready in time (%s); its last words: \"%s\".",
		    err_text(r), line);
}

/* The pid in the file, if its process holds the lock now; a pidfd and *pid, or -errno. */
static int find_running(int pid_file_fd, pid_t *pid)
{
	char text[16];
	uint32_t number;
	ssize_t n;
	int pidfd;

	n = pread(pid_file_fd, text, sizeof(text), 0);
	if (n <= 0 || text[n - 1] != '\n' || parse_u32(text, (size_t)n - 1, INT_MAX, &number) < 0 ||
	    number == 0) {
		return -EBUSY;
	}
	pidfd = pidfd_open((pid_t)number, 0);
	if (pidfd < 0) {
		return err_errno();
	}
	/* Still locked: the holder lived all the time, so the pid was its own when opened. */
	if (flock(pid_file_fd, LOCK_EX | LOCK_NB) == 0) {
		xclose(pidfd);
		return -ESRCH;
	}
	*pid = (pid_t)number;
	return pidfd;
}

static int adopt(struct sim_xenstored *xs, char *error)
{
	xs->pidfd = find_running(xs->pid_file_fd, &xs->pid);
	if (xs->pidfd < 0) {
		return fail(error, xs->pidfd,
			    "Something holds %s/" SIM_FILE_PID
			    " but is no running xenstored (%s): use another directory.",
			    xs->state_dir, err_text(xs->pidfd));
	}
	xs->is_adopted = true;
	return 0;
}

static int lock_directory(struct sim_xenstored *xs, char *error)
{
	xs->lock_fd = openat(xs->dir.fd, SIM_FILE_LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (xs->lock_fd < 0) {
		return fail(error, err_errno(), "Can't open %s/" SIM_FILE_LOCK ": %m.",
			    xs->state_dir);
	}
	if (flock(xs->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK) {
			return fail(error, -EBUSY,
				    "Another simhost uses %s: stop it, or use another directory.",
				    xs->state_dir);
		}
		return fail(error, err_errno(), "Can't lock %s/" SIM_FILE_LOCK ": %m.",
			    xs->state_dir);
	}
	xs->pid_file_fd = openat(xs->dir.fd, SIM_FILE_PID, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (xs->pid_file_fd < 0) {
		return fail(error, err_errno(), "Can't open %s/" SIM_FILE_PID ": %m.",
			    xs->state_dir);
	}
	return 0;
}

static int open_directory(struct sim_xenstored *xs, const char *path, char *error)
{
	int r;

	r = sim_dir_open(path, &xs->dir.fd);
	if (r == -EPERM) {
		return fail(error, r,
			    "The state directory %s must be writable for this user alone.", path);
	}
	if (r < 0 || !realpath(path, xs->state_dir)) {
		r = r < 0 ? r : err_errno();
		return fail(error, r, "Can't open the state directory %s: %s.", path, err_text(r));
	}
	if (strlen(xs->state_dir) > MAX_DIR_BYTES) {
		return fail(error, -ENAMETOOLONG,
			    "The state directory %s is too long a path for xenstored's socket: at "
			    "most %zu bytes.",
			    xs->state_dir, MAX_DIR_BYTES);
	}
	snprintf(xs->socket, sizeof(xs->socket), "%.*s/" SIM_FILE_SOCKET, (int)MAX_DIR_BYTES,
		 xs->state_dir);
	return lock_directory(xs, error);
}

/* Map the directory and see that xenstored answers. */
static int attach(struct sim_xenstored *xs, uint64_t deadline_ns, char *error)
{
	uint64_t now_ns = clock_boot_ns();
	uint32_t left_ms = 1;
	int r;

	xclose(xs->dir.fd);
	r = sim_dir_attach(&xs->dir, xs->state_dir);
	if (r == -EPROTO) {
		return fail(error, r,
			    "The xenstored in %s (pid %ld) was started by another version of "
			    "xenmesh: stop it first.",
			    xs->state_dir, (long)xs->pid);
	}
	if (r < 0) {
		return fail(error, r, "Can't map the files of %s: %s.", xs->state_dir, err_text(r));
	}
	if (deadline_ns > now_ns) {
		left_ms = (uint32_t)((deadline_ns - now_ns) / NSEC_PER_MSEC) + 1;
	}
	r = sim_dom0_init(xs->socket, left_ms);
	if (r < 0) {
		return fail(error, r, "xenstored (pid %ld) does not answer on %s: %s.",
			    (long)xs->pid, xs->socket, err_text(r));
	}
	return 0;
}

static int open_all(struct sim_xenstored *xs, const struct sim_xenstored_options *options,
		    char *error)
{
	uint32_t timeout_ms = options->start_timeout_ms ? options->start_timeout_ms
							: DEFAULT_TIMEOUT_MS;
	uint64_t deadline_ns = clock_boot_ns() + timeout_ms * NSEC_PER_MSEC;
	int r;

	r = open_directory(xs, options->state_dir, error);
	if (r < 0) {
		return r;
	}
	if (flock(xs->pid_file_fd, LOCK_EX | LOCK_NB) == 0) {
		r = start(xs, options, deadline_ns, error);
	} else if (errno == EWOULDBLOCK) {
		r = adopt(xs, error);
	} else {
		r = fail(error, err_errno(), "Can't lock %s/" SIM_FILE_PID ": %m.", xs->state_dir);
	}
	if (r < 0) {
		return r;
	}
	/* Our copy of the lock; xenstored has its own. */
	xs->pid_file_fd = xclose(xs->pid_file_fd);
	return attach(xs, deadline_ns, error);
}

int sim_xenstored_open(struct sim_xenstored **out, const struct sim_xenstored_options *options,
		       char error[static SIM_ERROR_BYTES])
{
	struct sim_xenstored *xs;
	int r;

	error[0] = '\0';
	xs = calloc(1, sizeof(*xs));
	if (!xs) {
		return fail(error, -ENOMEM, "Out of memory.");
	}
	xs->dir = SIM_DIR_NULL;
	xs->lock_fd = xs->pid_file_fd = xs->pidfd = -1;
	r = open_all(xs, options, error);
	/* What could not be opened is not left running, unless it was running before. */
	xs->survives = r < 0 ? xs->is_adopted : options->survives;
	if (r < 0) {
		sim_xenstored_free(xs);
		return r;
	}
	/* What the last owner may have left half rung. */
	atomic_store(&xs->dir.table->xenstored_rung, 0);
	sim_dir_ring_xenstored(&xs->dir);
	*out = xs;
	return 0;
}

/* --- ending ----------------------------------------------------------------------------- */

static void kill_process(struct sim_xenstored *xs)
{
	struct pollfd p = { .fd = xs->pidfd, .events = POLLIN };
	siginfo_t info;
	int n;

	if (xs->pidfd < 0 || xs->is_dead) {
		return;
	}
	pidfd_send_signal(xs->pidfd, SIGKILL, NULL, 0);
	do {
		n = poll(&p, 1, KILL_TIMEOUT_MS);
	} while (n < 0 && errno == EINTR);
	if (!xs->is_adopted) {
		waitid(P_PIDFD, (id_t)xs->pidfd, &info, WEXITED | WNOHANG);
	}
	xs->is_dead = true;
}

struct sim_xenstored *sim_xenstored_stop(struct sim_xenstored *xs)
{
	if (xs) {
		xs->survives = false;
	}
	return sim_xenstored_free(xs);
}

struct sim_xenstored *sim_xenstored_free(struct sim_xenstored *xs)
{
	if (!xs) {
		return NULL;
	}
	xs->death_source = sd_event_source_disable_unref(xs->death_source);
	if (!xs->survives) {
		kill_process(xs);
	}
	sim_dir_detach(&xs->dir);
	xclose(xs->pidfd);
	xclose(xs->pid_file_fd);
	xclose(xs->lock_fd);
	free(xs);
	return NULL;
}

void sim_xenstored_freep(struct sim_xenstored **xs)
{
	*xs = sim_xenstored_free(*xs);
}

static int on_death(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct sim_xenstored *xs = userdata;
	siginfo_t info = { 0 };
	char what[128];

	(void)fd;
	(void)events;
	sd_event_source_set_enabled(source, SD_EVENT_OFF);
	xs->is_dead = true;
	if (xs->is_adopted || waitid(P_PIDFD, (id_t)xs->pidfd, &info, WEXITED | WNOHANG) < 0 ||
	    info.si_pid == 0) {
		snprintf(what, sizeof(what), "xenstored (pid %ld) has ended.", (long)xs->pid);
	} else if (info.si_code == CLD_EXITED) {
		snprintf(what, sizeof(what), "xenstored (pid %ld) ended with exit status %d.",
			 (long)xs->pid, info.si_status);
	} else {
		snprintf(what, sizeof(what), "xenstored (pid %ld) was ended by signal %d.",
			 (long)xs->pid, info.si_status);
	}
	xs->death_fn(xs, what, xs->death_userdata);
	return 0;
}

int sim_xenstored_watch_death(struct sim_xenstored *xs, sd_event *event, sim_xenstored_death_fn fn,
			      void *userdata)
{
	if (xs->death_source) {
		return -EALREADY;
	}
	xs->death_fn = fn;
	xs->death_userdata = userdata;
	return sd_event_add_io(event, &xs->death_source, xs->pidfd, EPOLLIN, on_death, xs);
}

bool sim_xenstored_is_adopted(const struct sim_xenstored *xs)
{
	return xs->is_adopted;
}

pid_t sim_xenstored_pid(const struct sim_xenstored *xs)
{
	return xs->pid;
}

const char *sim_xenstored_state_dir(const struct sim_xenstored *xs)
{
	return xs->state_dir;
}

const char *sim_xenstored_socket(const struct sim_xenstored *xs)
{
	return xs->socket;
}

/* --- domains ---------------------------------------------------------------------------- */

/* 0 and *entry; -EINVAL; -ESRCH. */
static int find_domain(const struct sim_xenstored *xs, uint32_t domid,
		       struct sim_domain_entry **entry)
{
	if (domid == 0 || domid >= SIM_MAX_DOMAINS) {
		return -EINVAL;
	}
	*entry = &xs->dir.table->domains[domid];
	return atomic_load(&(*entry)->flags) & SIM_DOMAIN_PRESENT ? 0 : -ESRCH;
}

static void raise_virq(struct sim_xenstored *xs)
{
	atomic_store(&xs->dir.table->virq_pending, 1);
	sim_dir_ring_xenstored(&xs->dir);
}

int sim_domain_add(struct sim_xenstored *xs, uint32_t domid)
{
	struct sim_domain_entry *entry;
	int r;

	r = find_domain(xs, domid, &entry);
	if (r != -ESRCH) {
		return r == 0 ? -EEXIST : r;
	}
	if (atomic_load(&entry->mapped)) {
		return -EBUSY;
	}
	r = posix_fallocate(xs->dir.rings_fd, (off_t)domid * SIM_PAGE_SIZE, SIM_PAGE_SIZE);
	if (r > 0) {
		return err_trace(-r);
	}
	memset(sim_dir_page(&xs->dir, domid), 0, SIM_PAGE_SIZE);
	atomic_store(&entry->flags, SIM_DOMAIN_PRESENT);
	return 0;
}

int sim_domain_shutdown(struct sim_xenstored *xs, uint32_t domid, uint8_t reason)
{
	struct sim_domain_entry *entry;
	uint32_t flags;
	int r;

	r = find_domain(xs, domid, &entry);
	if (r < 0) {
		return r;
	}
	flags = atomic_load(&entry->flags) & ~SIM_DOMAIN_REASON_MASK;
	flags |= SIM_DOMAIN_SHUTDOWN | ((uint32_t)reason << SIM_DOMAIN_REASON_SHIFT);
	atomic_store(&entry->flags, flags);
	raise_virq(xs);
	return 0;
}

int sim_domain_resume(struct sim_xenstored *xs, uint32_t domid)
{
	struct sim_domain_entry *entry;
	int r;

	r = find_domain(xs, domid, &entry);
	if (r < 0) {
		return r;
	}
	atomic_fetch_and(&entry->flags, ~(SIM_DOMAIN_SHUTDOWN | SIM_DOMAIN_REASON_MASK));
	return 0;
}

int sim_domain_set_dying(struct sim_xenstored *xs, uint32_t domid)
{
	struct sim_domain_entry *entry;
	int r;

	r = find_domain(xs, domid, &entry);
	if (r < 0) {
		return r;
	}
	atomic_fetch_or(&entry->flags, SIM_DOMAIN_DYING);
	raise_virq(xs);
	return 0;
}

int sim_domain_remove(struct sim_xenstored *xs, uint32_t domid)
{
	struct sim_domain_entry *entry;
	int r;

	r = find_domain(xs, domid, &entry);
	if (r < 0) {
		return r;
	}
	atomic_store(&entry->flags, 0);
	raise_virq(xs);
	return 0;
}

uint32_t sim_domain_flags(const struct sim_xenstored *xs, uint32_t domid)
{
	return domid < SIM_MAX_DOMAINS ? atomic_load(&xs->dir.table->domains[domid].flags) : 0;
}

uint32_t sim_domain_next(const struct sim_xenstored *xs, uint32_t after)
{
	for (uint32_t domid = after + 1; domid > after && domid < SIM_MAX_DOMAINS; domid++) {
		if (sim_domain_flags(xs, domid) & SIM_DOMAIN_PRESENT) {
			return domid;
		}
	}
	return 0;
}
