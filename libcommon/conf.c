/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * inih as Debian builds it tells its handler no line numbers, names only the
 * first bad line, cuts long lines in two and long section names off.  So the
 * text is fed line by line from here: whoever feeds knows the number, refuses
 * what inih would mangle, and sees which line came to nothing.
 */
#include "libcommon/conf.h"

#include <dirent.h>
#include <fcntl.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include "libcommon/err.h"
#include "libcommon/log.h"

/* Beyond the longest line inih wants "\r\n" and a NUL. */
#define INIH_LINE_SIZE (CONF_LINE_MAX + 3)

struct reader {
	struct conf_pos pos; /* of the line inih works on */
	const char *at, *end;
	bool wants_key; /* that line must come to a call of on_key() */
	size_t n_errors;
	conf_fn fn;
	void *userdata;
	struct strbuf *errors;
};

static void _printf_(3, 0) complain_va(struct strbuf *errors, const struct conf_pos *pos,
				       const char *format, va_list args)
{
	char text[512], safe[512];

	vsnprintf(text, sizeof(text), format, args);
	log_escape(safe, sizeof(safe), text, strlen(text));
	strbuf_printf(errors, "%s:%u: %s\n", pos->file, pos->line, safe);
}

void conf_complain(struct strbuf *errors, const struct conf_pos *pos, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	complain_va(errors, pos, format, args);
	va_end(args);
}

static void _printf_(2, 3) refuse(struct reader *rd, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	complain_va(rd->errors, &rd->pos, format, args);
	va_end(args);
	rd->n_errors++;
}

/* inih's handler: always content, so that inih's own count is of no interest. */
static int on_key(void *userdata, const char *section, const char *key, const char *value)
{
	struct reader *rd = userdata;
	size_t errors_len = rd->errors->len;

	rd->wants_key = false;
	if (key[0] == '\0') {
		refuse(rd, "there is no key before the '='");
		return 1;
	}
	if (rd->fn(section, key, value, &rd->pos, rd->errors, rd->userdata) < 0) {
		rd->n_errors++;
		if (rd->errors->len == errors_len) {
			conf_complain(rd->errors, &rd->pos, "the value of %s is not acceptable",
				      key);
		}
	}
	return 1;
}

static void finish_line(struct reader *rd)
{
	if (rd->wants_key) {
		refuse(rd, "neither [section] nor key = value");
		rd->wants_key = false;
	}
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

/* line begins with '['. */
static bool check_section(struct reader *rd, const char *line, size_t len)
{
	const char *bracket = memchr(line, ']', len);
	const char *rest;

	if (!bracket) {
		refuse(rd, "the section's ']' is missing");
		return false;
	}
	if (bracket - line - 1 > CONF_SECTION_MAX) {
		refuse(rd, "the section's name is longer than %d bytes", CONF_SECTION_MAX);
		return false;
	}
	if (memchr(line, ';', (size_t)(bracket - line))) {
		refuse(rd, "a section's name cannot contain ';'"); /* a comment to inih */
		return false;
	}
	for (rest = bracket + 1; rest < line + len && is_blank(*rest); rest++) {
	}
	if (rest < line + len && *rest != ';' && *rest != '#') {
		refuse(rd, "there is something after the section's ']'");
		return false;
	}
	return true;
}

/* Whether inih will read the line right; sets wants_key. Complains if not. */
static bool check_line(struct reader *rd, const char *line, size_t len)
{
	const char *equals;

	if (len > CONF_LINE_MAX) {
		refuse(rd, "the line is longer than %d bytes", CONF_LINE_MAX);
		return false;
	}
	if (memchr(line, '\0', len)) {
		refuse(rd, "there is a NUL byte in the line");
		return false;
	}
	if (len == 0 || line[0] == ';' || line[0] == '#') {
		return true;
	}
	if (line[0] == '[') {
		return check_section(rd, line, len);
	}
	equals = memchr(line, '=', len);
	if (equals && memchr(line, ':', (size_t)(equals - line))) {
		refuse(rd, "a key cannot contain ':'"); /* inih would divide the line there */
		return false;
	}
	rd->wants_key = true;
	return equals;
}

/* inih's fgets(): the next good line without its indentation, which inih would take for a
 * continuation of the line before. */
static char *read_line(char *out, int out_size, void *stream)
{
	struct reader *rd = stream;

	for (finish_line(rd); rd->at < rd->end; finish_line(rd)) {
		const char *line = rd->at;
		const char *newline = memchr(line, '\n', (size_t)(rd->end - line));
		const char *end = newline ? newline : rd->end;

		rd->at = newline ? newline + 1 : rd->end;
		rd->pos.line++;
		for (; line < end && is_blank(*line); line++) {
		}
		for (; line < end && is_blank(end[-1]); end--) {
		}
		if (check_line(rd, line, (size_t)(end - line))) {
			snprintf(out, (size_t)out_size, "%.*s\n", (int)(end - line), line);
			return out;
		}
	}
	return NULL;
}

int conf_parse(const char *name, const char *text, size_t len, conf_fn fn, void *userdata,
	       struct strbuf *errors)
{
	static const char bom[] = "\xef\xbb\xbf";
	struct reader rd = {
		.pos = { .file = name },
		.at = text,
		.end = text + len,
		.fn = fn,
		.userdata = userdata,
		.errors = errors,
	};
	int r;

	if (len >= strlen(bom) && memcmp(text, bom, strlen(bom)) == 0) {
		rd.at += strlen(bom);
	}
	/* The library's switches are variables of the process. */
	ini_use_stack = false;
	ini_allow_realloc = false;
	ini_max_line = ini_initial_alloc = INIH_LINE_SIZE;
	r = ini_parse_stream(read_line, &rd, on_key, &rd);
	if (r < 0) {
		refuse(&rd, "out of memory");
	} else if (r > 0 && rd.n_errors == 0) {
		refuse(&rd, "not understood by the ini parser");
	}
	return rd.n_errors > 0 || strbuf_error(errors) < 0 ? -EINVAL : 0;
}

/* 0, 1 = no such file, -EINVAL after a complaint. */
static int load_file(const char *path, conf_fn fn, void *userdata, struct strbuf *errors)
{
	_cleanup_(strbuf_deinit) struct strbuf text = STRBUF_NULL;
	_cleanup_(xclosep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char block[4096];
	ssize_t n = 0;
	int r = 0;

	if (fd < 0) {
		r = err_errno();
		if (r == -ENOENT) {
			return 1;
		}
	}
	while (r == 0 && (n = read(fd, block, sizeof(block))) != 0) {
		if (n > 0) {
			strbuf_append(&text, block, (size_t)n);
			r = strbuf_error(&text);
		} else if (errno != EINTR) {
			r = err_errno();
		}
		if (text.len > CONF_FILE_MAX) {
			r = -EFBIG;
		}
	}
	if (r < 0) {
		strbuf_printf(errors, "%s: cannot be read: %s\n", path, err_text(r));
		return -EINVAL;
	}
	return conf_parse(path, strbuf_str(&text), text.len, fn, userdata, errors);
}

static int is_conf_file(const struct dirent *d)
{
	size_t len = strlen(d->d_name);

	return d->d_name[0] != '.' && len > 5 && streq(d->d_name + len - 5, ".conf");
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name); /* not the locale's order */
}

static int load_dropins(const char *path, conf_fn fn, void *userdata, struct strbuf *errors)
{
	_cleanup_(strbuf_deinit) struct strbuf dir = STRBUF_NULL;
	struct dirent **names = NULL;
	size_t len = strlen(path);
	int n, r = 0;

	if (len > 5 && streq(path + len - 5, ".conf")) {
		len -= 5;
	}
	strbuf_append(&dir, path, len);
	strbuf_puts(&dir, ".d");
	n = strbuf_error(&dir) < 0 ? -1 : scandir(strbuf_str(&dir), &names, is_conf_file, by_name);
	if (n < 0) {
		if (errno == ENOENT) {
			return 0;
		}
		strbuf_printf(errors, "%s: cannot be read: %s\n", strbuf_str(&dir),
			      err_text(err_errno()));
		return -EINVAL;
	}
	for (int i = 0; i < n; i++) {
		_cleanup_(strbuf_deinit) struct strbuf file = STRBUF_NULL;

		strbuf_printf(&file, "%s/%s", strbuf_str(&dir), names[i]->d_name);
		if (strbuf_error(&file) < 0 ||
		    load_file(strbuf_str(&file), fn, userdata, errors) < 0) {
			r = -EINVAL;
		}
		free(names[i]);
	}
	free(names);
	return r;
}

int conf_load(const char *path, bool with_dropins, conf_fn fn, void *userdata,
	      struct strbuf *errors)
{
	int r = load_file(path, fn, userdata, errors);
	int r_dropins = with_dropins ? load_dropins(path, fn, userdata, errors) : 0;

	if (r < 0 || r_dropins < 0) {
		return -EINVAL;
	}
	return r == 1 ? -ENOENT : 0;
}
