/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal as a sink.  A file of its own: programs that do not call
 * log_use_journal() do not get it from the archive.
 *
 * sd_journal_sendv(3) waits while the journal's queue is full, which would stop
 * the loop; so the entry is written here as its documented native protocol
 * says (systemd.io/JOURNAL_NATIVE_PROTOCOL), and what the journal does not take
 * at once is counted and told with the next entry that it takes, or on stderr
 * at the end of the program.
 */
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>

#include "libcommon/log.h"

#define JOURNAL_SOCKET "/run/systemd/journal/socket"
#define ENTRY_SIZE     8192 /* more than a message and all fields that a sink can get */
#define LOST_SIZE      96
#define SEND_BUFFER    (256U << 10) /* a burst, while the journal writes to its disk */

static struct {
	int fd; /* valid when address is set */
	struct sockaddr_un address;
	unsigned int n_lost;
} journal = { .fd = -1 };

struct entry {
	char bytes[ENTRY_SIZE];
	size_t len;
};

static int priority(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR:
		return LOG_ERR;
	case LOG_LEVEL_WARNING:
		return LOG_WARNING;
	case LOG_LEVEL_NOTICE:
		return LOG_NOTICE;
	case LOG_LEVEL_INFO:
		return LOG_INFO;
	default:
		return LOG_DEBUG;
	}
}

/* Values are escaped: a line each. What has no room is left out whole. */
static void add(struct entry *e, const char *name, const char *value)
{
	size_t room = sizeof(e->bytes) - e->len;
	int len = snprintf(e->bytes + e->len, room, "%s=%s\n", name, value);

	if (len > 0 && (size_t)len < room) {
		e->len += (size_t)len;
	}
}

static void begin(struct entry *e, enum log_level level, const char *message)
{
	char digit[2] = { (char)('0' + priority(level)) };

	e->len = 0;
	add(e, "MESSAGE", message);
	add(e, "PRIORITY", digit);
	add(e, "SYSLOG_IDENTIFIER", log_ident());
}

/* 0; -EAGAIN: its queue is full; -errno. */
static int deliver(const struct entry *e)
{
	ssize_t n = sendto(journal.fd, e->bytes, e->len, MSG_DONTWAIT | MSG_NOSIGNAL,
			   (const struct sockaddr *)&journal.address, sizeof(journal.address));

	if (n >= 0) {
		return 0;
	}
	return errno == ENOBUFS || errno == EINTR ? -EAGAIN : -errno;
}

static void put_lost(char text[static LOST_SIZE])
{
	snprintf(text, LOST_SIZE, "%u lines are missing here: the journal was too slow for them",
		 journal.n_lost);
}

static int tell_lost(void)
{
	struct entry e;
	char text[LOST_SIZE];
	int r;

	if (journal.n_lost == 0) {
		return 0;
	}
	put_lost(text);
	begin(&e, LOG_LEVEL_WARNING, text);
	r = deliver(&e);
	journal.n_lost = r == 0 ? 0 : journal.n_lost;
	return r;
}

static void sink(enum log_level level, const char *message, const struct log_field *fields,
		 size_t n_fields)
{
	struct entry e;
	int r = tell_lost();

	if (r == 0) {
		begin(&e, level, message);
		for (size_t i = 0; i < n_fields; i++) {
			add(&e, fields[i].name, fields[i].value);
		}
		r = deliver(&e);
	}
	if (r == -EAGAIN) {
		journal.n_lost++;
	} else if (r < 0) {
		log_sink_stderr(level, message, fields, n_fields);
	}
}

/* There will be no next entry. */
static void flush(void)
{
	char text[LOST_SIZE];

	if (tell_lost() < 0) {
		put_lost(text);
		log_sink_stderr(LOG_LEVEL_WARNING, text, NULL, 0);
		journal.n_lost = 0;
	}
}

int log_use_journal_at(const char *path)
{
	const int size = SEND_BUFFER;

	if (strlen(path) >= sizeof(journal.address.sun_path)) {
		return -ENAMETOOLONG;
	}
	if (journal.fd < 0) {
		journal.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	}
	if (journal.fd < 0) {
		return -errno;
	}
	setsockopt(journal.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	journal.address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(journal.address.sun_path, path, strlen(path) + 1);
	journal.n_lost = 0;
	log_set_sink(sink);
	log_set_flush(flush);
	return 0;
}

void log_use_journal(void)
{
	if (log_stderr_is_journal()) {
		log_use_journal_at(JOURNAL_SOCKET);
	}
}
