/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A line is formatted, escaped and handed to the sink in buffers on the stack:
 * logging never allocates, so it works when memory is out.  The guest agent
 * uses this file too, which is why nothing of libsystemd is in it.
 */
#include "libcommon/log.h"

#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include "libcommon/clock.h"
#include "libcommon/parse.h"

#define SITE_LINES_MAX 20
#define SITE_WINDOW_NS (10 * NSEC_PER_SEC)

/* At most PIPE_BUF bytes go into a pipe in one piece or not at all. */
#define LINE_SIZE    4096
#define MESSAGE_SIZE 3072
#define VALUES_SIZE  2048
#define PREFIX	     "XENMESH_" /* of fields, for the journal only */
#define STALL_MS     100

static struct {
	const char *ident;
	log_sink_fn sink;
	void (*flush)(void); /* of the sink, or NULL */
	enum log_level level;
	bool is_in_sink;
	bool is_stalled;	  /* stderr was full; do not wait for it again */
	unsigned int n_lost;	  /* lines that stderr did not take */
	struct log_site *limited; /* sites with n_suppressed > 0 */
	struct log_scope *scope;  /* entered last */
} state = { .level = LOG_LEVEL_INFO };

static const struct {
	const char *name;
	char prefix[4]; /* sd-daemon(3) */
} levels[] = {
	[LOG_LEVEL_ERROR] = { "error", "<3>" },	  [LOG_LEVEL_WARNING] = { "warning", "<4>" },
	[LOG_LEVEL_NOTICE] = { "notice", "<5>" }, [LOG_LEVEL_INFO] = { "info", "<6>" },
	[LOG_LEVEL_DEBUG] = { "debug", "<7>" },
};

/* Else the next socket would be given the number of a standard stream, and lines meant for people
 * would go to a peer. Writing to it still fails. */
static void occupy_standard_streams(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDONLY); /* the lowest number that is free */
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0) {
		close(fd);
	}
}

void log_init(const char *ident)
{
	occupy_standard_streams();
	state.ident = ident;
}

const char *log_ident(void)
{
	return state.ident ? state.ident : "xenmesh";
}

void log_set_level(enum log_level level)
{
	state.level = level;
}

enum log_level log_level(void)
{
	return state.level;
}

int log_level_parse(const char *text, enum log_level *out)
{
	for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
		if (streq(text, levels[i].name)) {
			*out = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

const char *log_level_name(enum log_level level)
{
	return levels[level].name;
}

void log_set_sink(log_sink_fn sink)
{
	state.sink = sink;
	state.flush = NULL;
}

void log_set_flush(void (*flush)(void))
{
	state.flush = flush;
}

bool log_would(enum log_level level)
{
	return level <= state.level;
}

/* ---- escaping ---- */

/* p: a valid UTF-8 character of len bytes. */
static bool is_printable(const unsigned char *p, size_t len)
{
	if (len == 1) {
		return p[0] >= 0x20 && p[0] != 0x7f;
	}
	if (len == 2) {
		return !(p[0] == 0xc2 && p[1] < 0xa0); /* C1 */
	}
	if (len == 3 && p[0] == 0xe2 && p[1] == 0x80) {
		/* U+200E U+200F marks, U+2028 U+2029 separators, U+202A..E embeddings */
		return !(p[2] == 0x8e || p[2] == 0x8f || (p[2] >= 0xa8 && p[2] <= 0xae));
	}
	if (len == 3 && p[0] == 0xe2 && p[1] == 0x81) {
		return !(p[2] >= 0xa6 && p[2] <= 0xa9); /* U+2066..9 isolates */
	}
	return true;
}

/* One character or invalid byte of text into out; how many bytes of text were used. */
static size_t escape_one(char out[static 17], const char *text, size_t len)
{
	static const char hex[] = "0123456789abcdef";
	const unsigned char *p = (const unsigned char *)text;
	size_t n = utf8_sequence_len(text, len);

	if (n > 0 && is_printable(p, n)) {
		memcpy(out, text, n);
		out[n] = '\0';
		return n;
	}
	n = MAX(n, 1);
	for (size_t i = 0; i < n; i++) {
		*out++ = '\\';
		*out++ = 'x';
		*out++ = hex[p[i] >> 4];
		*out++ = hex[p[i] & 15];
	}
	*out = '\0';
	return n;
}

void log_escape(char *out, size_t out_size, const char *text, size_t len)
{
	static const char mark[] = "...";
	size_t used = 0, cut = 0; /* cut: the longest that leaves room for the mark */
	char one[17];

	if (out_size == 0) {
		return;
	}
	while (len > 0) {
		size_t n = escape_one(one, text, len);
		size_t one_len = strlen(one);

		if (used + one_len >= out_size) {
			used = cut;
			for (size_t i = 0; mark[i] && used + 1 < out_size; i++) {
				out[used++] = mark[i];
			}
			break;
		}
		memcpy(out + used, one, one_len);
		used += one_len;
		if (used + sizeof(mark) <= out_size) {
			cut = used;
		}
		text += n;
		len -= n;
	}
	out[used] = '\0';
}

/* ---- stderr ---- */

bool log_stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

struct line {
	char data[LINE_SIZE];
	size_t len;
};

/* Always leaves room for the newline. */
static void put(struct line *l, const char *text, size_t len)
{
	len = MIN(len, sizeof(l->data) - 1 - l->len);
	memcpy(l->data + l->len, text, len);
	l->len += len;
}

static void put_str(struct line *l, const char *text)
{
	put(l, text, strlen(text));
}

static void put_field(struct line *l, const struct log_field *f)
{
	bool is_quoted = f->value[0] == '\0' || strpbrk(f->value, " \"=") != NULL;
	const char *name = f->name;

	if (streq(name, "MESSAGE_ID")) {
		return;
	}
	name += str_starts(name, PREFIX) ? strlen(PREFIX) : 0;
	put(l, " ", 1);
	for (const char *p = name; *p; p++) {
		char c = *p >= 'A' && *p <= 'Z' ? (char)(*p - 'A' + 'a') : *p;

		put(l, &c, 1);
	}
	put_str(l, is_quoted ? "=\"" : "=");
	for (const char *p = f->value; *p; p++) {
		char behind = p[strspn(p, "\\")];

		/* No text can end its quotes, nor keep them from ending. */
		if (*p == '"' || (is_quoted && *p == '\\' && (behind == '"' || behind == '\0'))) {
			put(l, "\\", 1);
		}
		put(l, p, 1);
	}
	put_str(l, is_quoted ? "\"" : "");
}

/* False when stderr does not take it now. */
static bool write_line(const struct line *l)
{
	struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };
	size_t done = 0;
	int r;

	do {
		r = poll(&p, 1, state.is_stalled ? 0 : STALL_MS);
	} while (r < 0 && errno == EINTR);
	state.is_stalled = r != 1;
	if (state.is_stalled) {
		return false;
	}
	while (done < l->len) {
		ssize_t n = write(STDERR_FILENO, l->data + done, l->len - done);

		if (n < 0 && errno != EINTR) {
			return false;
		}
		done += n > 0 ? (size_t)n : 0;
	}
	return true;
}

static void begin_line(struct line *l, enum log_level level)
{
	l->len = 0;
	if (log_stderr_is_journal()) {
		put_str(l, levels[level].prefix);
	} else {
		put_str(l, log_ident());
		put_str(l, ": ");
	}
	put_str(l, levels[level].name);
	put(l, " ", 1);
}

/* False when stderr still does not take it. */
static bool tell_lost(void)
{
	struct line l;
	char text[80];

	if (state.n_lost == 0) {
		return true;
	}
	begin_line(&l, LOG_LEVEL_WARNING);
	snprintf(text, sizeof(text), "%u lines were lost, standard error was full\n", state.n_lost);
	put_str(&l, text);
	if (!write_line(&l)) {
		return false;
	}
	state.n_lost = 0;
	return true;
}

void log_sink_stderr(enum log_level level, const char *message, const struct log_field *fields,
		     size_t n_fields)
{
	struct line l;

	if (!tell_lost()) {
		state.n_lost++;
		return;
	}
	begin_line(&l, level);
	put_str(&l, message);
	for (size_t i = 0; i < n_fields; i++) {
		size_t before = l.len;

		put_field(&l, &fields[i]);
		if (l.len == sizeof(l.data) - 1) {
			l.len = before; /* rather than half a character */
			put_str(&l, " ...");
			break;
		}
	}
	l.data[l.len++] = '\n';
	if (!write_line(&l)) {
		state.n_lost++;
	}
}

/* ---- lines ---- */

static bool has_field(const struct log_field *fields, size_t n_fields, const char *name)
{
	for (size_t i = 0; i < n_fields; i++) {
		if (streq(fields[i].name, name)) {
			return true;
		}
	}
	return false;
}

/* The fields of the line, then those of the scope. */
static size_t collect_fields(struct log_field *out, const struct log_field *fields, size_t n_fields)
{
	const struct log_scope *scope = state.scope;
	size_t n = MIN(n_fields, LOG_FIELDS_MAX);

	if (n > 0) {
		memcpy(out, fields, n * sizeof(*out));
	}
	for (size_t i = 0; scope && i < scope->n_fields && n < LOG_FIELDS_MAX; i++) {
		if (!has_field(out, n, scope->fields[i].name)) {
			out[n++] = scope->fields[i];
		}
	}
	return n;
}

/* Escaped copies of the fields, their text in values. */
static size_t escape_fields(struct log_field *out, char values[static VALUES_SIZE],
			    const struct log_field *fields, size_t n_fields)
{
	size_t n = collect_fields(out, fields, n_fields);
	size_t room = VALUES_SIZE;

	for (size_t i = 0; i < n; i++) {
		const char *value = out[i].value ? out[i].value : "";
		size_t share = room / (n - i);

		log_escape(values, share, value, strlen(value));
		out[i].value = values;
		share = strlen(values) + 1;
		values += share;
		room -= share;
	}
	return n;
}

static void emit(enum log_level level, const struct log_field *fields, size_t n_fields,
		 const char *raw, size_t raw_len)
{
	struct log_field safe[LOG_FIELDS_MAX];
	char message[MESSAGE_SIZE];
	char values[VALUES_SIZE];
	size_t n = escape_fields(safe, values, fields, n_fields);

	log_escape(message, sizeof(message), raw, raw_len);
	if (!state.sink || state.is_in_sink) {
		log_sink_stderr(level, message, safe, n);
		return;
	}
	state.is_in_sink = true;
	state.sink(level, message, safe, n);
	state.is_in_sink = false;
}

/* Tell what the limited sites left out whose window is over at now_ns. */
static void tell_suppressed(uint64_t now_ns)
{
	struct log_site **link = &state.limited;

	while (*link) {
		struct log_site *s = *link;
		char text[256];
		int len;

		if (now_ns - s->window_ns < SITE_WINDOW_NS) {
			link = &s->next;
			continue;
		}
		*link = s->next;
		len = snprintf(text, sizeof(text), "%u more lines were left out, like: %s",
			       s->n_suppressed, s->format);
		s->n_suppressed = 0;
		emit(s->level, NULL, 0, text, MIN((size_t)MAX(len, 0), sizeof(text) - 1));
		link = &state.limited; /* the sink may have logged */
	}
}

/* True when the site has written its share of the window. */
static bool is_suppressed(struct log_site *s, enum log_level level, const char *format,
			  uint64_t now_ns)
{
	if (now_ns - s->window_ns >= SITE_WINDOW_NS) {
		s->window_ns = now_ns;
		s->n_lines = 0;
	}
	if (s->n_lines < SITE_LINES_MAX) {
		s->n_lines++;
		return false;
	}
	if (s->n_suppressed++ == 0) {
		s->next = state.limited;
		state.limited = s;
	}
	s->level = level;
	s->format = format;
	return true;
}

void log_write(struct log_site *site, enum log_level level, const struct log_field *fields,
	       size_t n_fields, const char *format, ...)
{
	uint64_t now_ns = clock_boot_ns();
	int saved_errno = errno;
	char raw[MESSAGE_SIZE];
	va_list args;
	int len;

	if (state.limited) {
		tell_suppressed(now_ns);
	}
	if (site && is_suppressed(site, level, format, now_ns)) {
		errno = saved_errno;
		return;
	}
	errno = saved_errno;
	va_start(args, format);
	len = vsnprintf(raw, sizeof(raw), format, args);
	va_end(args);
	if (len < 0) {
		len = snprintf(raw, sizeof(raw), "%s", format);
	}
	if ((size_t)len >= sizeof(raw)) {
		len = sizeof(raw) - 1;
		memset(raw + len - 3, '.', 3);
	}
	emit(level, fields, n_fields, raw, (size_t)len);
	errno = saved_errno;
}

void log_lines(enum log_level level, const char *text)
{
	for (const char *p = text; *p;) {
		size_t len = strcspn(p, "\n");

		if (len) {
			log_at(level, NULL, 0, "%.*s", (int)len, p);
		}
		p += len + (p[len] == '\n');
	}
}

void log_enter(struct log_scope *scope)
{
	scope->outer = state.scope;
	state.scope = scope;
}

void log_leave(struct log_scope *scope)
{
	state.scope = scope->outer;
}

void log_flush(void)
{
	int saved_errno = errno;

	tell_suppressed(UINT64_MAX);
	if (state.flush) {
		state.flush();
	}
	tell_lost();
	errno = saved_errno;
}
