/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The file has the syntax of shell assignments without expansion.  It belongs
 * to the distribution, but an image builder may have put anything there, so
 * each line is judged alone and every value is bounded.
 */
#include "services/guest-agent/logic/osrelease.h"

#include <stdio.h>

#include "services/guest-agent/logic/text.h"

/* Longer values are cut; the longest that is used has GUEST_TEXT_SIZE. */
#define VALUE_SIZE 512

struct release {
	char id[VALUE_SIZE];
	char name[VALUE_SIZE];
	char pretty_name[VALUE_SIZE];
	char version_id[VALUE_SIZE];
};

/* Between double quotes the backslash is literal before all but these. */
static bool is_escapable(char c)
{
	return c == '"' || c == '$' || c == '\\' || c == '`';
}

/* Remove quotes and escapes of text[0..len) into out. False when a quote is left open. */
static bool unquote(const char *text, size_t len, char out[static VALUE_SIZE])
{
	char quote = '\0';
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (quote == '\0' && (c == '"' || c == '\'')) {
			quote = c;
			continue;
		}
		if (quote != '\0' && c == quote) {
			quote = '\0';
			continue;
		}
		if (quote == '\0' && (c == ' ' || c == '\t' || c == '#')) {
			break;
		}
		if (c == '\\' && quote != '\'' && i + 1 < len &&
		    (quote == '\0' || is_escapable(text[i + 1]))) {
			c = text[++i];
		}
		if (n < VALUE_SIZE - 1) {
			out[n++] = c;
		}
	}
	out[n] = '\0';
	return quote == '\0';
}

static void take_line(struct release *release, const char *line, size_t len)
{
	const struct {
		const char *name;
		char *value;
	} known[] = {
		{ "ID=", release->id },
		{ "NAME=", release->name },
		{ "PRETTY_NAME=", release->pretty_name },
		{ "VERSION_ID=", release->version_id },
	};

	while (len > 0 && (*line == ' ' || *line == '\t')) {
		line++;
		len--;
	}
	if (len > 0 && line[len - 1] == '\r') {
		len--;
	}
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		size_t name_len = strlen(known[i].name);
		char value[VALUE_SIZE];

		if (len >= name_len && memcmp(line, known[i].name, name_len) == 0 &&
		    unquote(line + name_len, len - name_len, value)) {
			memcpy(known[i].value, value, sizeof(value));
		}
	}
}

/* Readers in dom0 choose icons by it: anything but a plain lower-case word is no distro. */
static bool is_distro(const char *text)
{
	size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789._-");

	return len > 0 && len < GUEST_WORD_SIZE && text[len] == '\0';
}

/* The decimal number that starts text, "" when there is none or it is too long. */
static size_t take_number(const char *text, char out[static GUEST_NUMBER_SIZE])
{
	size_t len = strspn(text, "0123456789");

	if (len == 0 || len >= GUEST_NUMBER_SIZE) {
		out[0] = '\0';
		return 0;
	}
	memcpy(out, text, len);
	out[len] = '\0';
	return len;
}

static void take_version(const char *text, struct guest_os *out)
{
	size_t len = take_number(text, out->major);

	if (len > 0 && text[len] == '.') {
		take_number(text + len + 1, out->minor);
	}
}

void guest_osrelease_parse(const char *text, size_t len, struct guest_os *out)
{
	struct release release = { 0 };
	char name[2 * VALUE_SIZE];

	while (len > 0) {
		const char *end = memchr(text, '\n', len);
		size_t line_len = end ? (size_t)(end - text) : len;

		take_line(&release, text, line_len);
		line_len += end ? 1 : 0;
		text += line_len;
		len -= line_len;
	}

	*out = (struct guest_os){ 0 };
	snprintf(name, sizeof(name), "%s %s", release.name, release.version_id);
	guest_text_copy(out->name, sizeof(out->name), release.pretty_name,
			strlen(release.pretty_name));
	if (out->name[0] == '\0' && release.name[0] != '\0') {
		guest_text_copy(out->name, sizeof(out->name), name, strlen(name));
	}
	if (out->name[0] == '\0') {
		guest_text_copy(out->name, sizeof(out->name), "Linux", strlen("Linux"));
	}
	if (!is_distro(release.id)) {
		snprintf(release.id, sizeof(release.id), "linux");
	}
	guest_text_copy(out->distro, sizeof(out->distro), release.id, strlen(release.id));
	take_version(release.version_id, out);
}
