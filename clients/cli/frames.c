/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The lines of a frame are collected before any is shown, so that a screen can
 * be drawn at once and what is below its end is cut.
 */
#include "clients/cli/frames.h"

#include <curses.h>
#include <stdarg.h>
#include <stdio.h>
#include <termcap.h>

#include "clients/cli/follow.h"
#include "libcommon/loop.h"
#include "libcommon/parse.h"

#define KEY_ESCAPE 27

struct frames_line {
	bool is_title;
	char *text;
};

/* ---- options ---- */

static int parse_column(struct frames *f, const char *text)
{
	const char *const *columns = f->kind->columns;
	char list[128];
	size_t len = 0;

	for (size_t i = 0; columns[i]; i++) {
		if (streq(columns[i], text)) {
			f->column = i;
			return CLI_OK;
		}
	}
	for (size_t i = 0; columns[i] && len < sizeof(list); i++) {
		const char *before = !i ? "" : columns[i + 1] ? ", " : " or ";

		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", before, columns[i]);
	}
	return cli_usage("--sort is %s, not \"%s\"", list, text);
}

/* curses ends the program when it cannot draw, before it could be told what to do. */
static int check_terminal(void)
{
	const char *type = getenv("TERM");

	if (type && tgetent(NULL, type) == 1) {
		return CLI_OK;
	}
	cli_error(
		"cannot draw on a terminal of type \"%s\": set TERM to what it is, or print frames "
		"with --batch",
		type ? type : "");
	return CLI_FAILURE;
}

int frames_init(struct frames *f, const struct frames_kind *kind, struct cli *cli, void *userdata,
		int argc, char **argv)
{
	const char *frames = NULL;
	const char *delay = "1s";
	const char *sort = kind->columns[0];
	bool is_batch = false;
	const struct cli_option options[] = {
		{ "batch", 'b', NULL, &is_batch },
		{ "frames", 'n', &frames, NULL },
		{ "delay", 'd', &delay, NULL },
		{ "sort", 's', &sort, NULL },
	};
	uint64_t ms;
	int r = cli_options(&argc, argv, options, ARRAY_LEN(options));

	*f = (struct frames){ .kind = kind, .cli = cli, .userdata = userdata };
	if (r || argc) {
		return r ? r : cli_usage("%s takes no arguments", kind->command);
	}
	if (frames && (parse_u64(frames, strlen(frames), UINT64_MAX, &f->n_max) || f->n_max == 0)) {
		return cli_usage("--frames wants a number from 1, got \"%s\"", frames);
	}
	if (parse_duration_ms(delay, &ms) || ms < kind->delay_min_ms) {
		return cli_usage("--delay wants %s or more, got \"%s\"", kind->delay_min, delay);
	}
	f->delay_ns = ms * NSEC_PER_MSEC;
	f->is_batch = is_batch || cli->json || !isatty(STDOUT_FILENO);
	r = parse_column(f, sort);
	return r || f->is_batch ? r : check_terminal();
}

static void drop_lines(struct frames *f)
{
	for (size_t i = 0; i < f->n_lines; i++) {
		free(f->lines[i].text);
	}
	f->n_lines = 0;
}

void frames_deinit(struct frames *f)
{
	frames_end(f);
	drop_lines(f);
	free(f->lines);
	*f = (struct frames){ 0 };
}

/* ---- a frame ---- */

static struct frames_line *new_line(struct frames *f)
{
	size_t n = MAX(f->n_allocated * 2, 64);
	struct frames_line *lines;

	if (f->n_lines < f->n_allocated) {
		return &f->lines[f->n_lines];
	}
	lines = reallocarray(f->lines, n, sizeof(*lines));
	if (!lines) {
		return NULL;
	}
	f->lines = lines;
	f->n_allocated = n;
	return &f->lines[f->n_lines];
}

void frames_line(struct frames *f, bool is_title, const char *format, ...)
{
	struct frames_line *line = new_line(f);
	va_list ap;
	int len;

	if (!line) {
		return;
	}
	line->is_title = is_title;
	va_start(ap, format);
	len = vasprintf(&line->text, format, ap);
	va_end(ap);
	f->n_lines += len >= 0;
}

static void draw(const struct frames *f)
{
	erase();
	for (size_t i = 0; i < f->n_lines && (int)i < LINES - 1; i++) {
		if (f->lines[i].is_title) {
			attron(A_REVERSE);
		}
		mvaddnstr((int)i, 0, f->lines[i].text, COLS);
		attroff(A_REVERSE);
	}
	mvaddnstr(LINES - 1, 0, f->kind->key_help, COLS);
	refresh();
}

static void show_text(struct frames *f)
{
	f->kind->text(f, f->userdata);
	if (f->is_screen && f->n_lines) {
		draw(f);
	}
	for (size_t i = 0; f->is_batch && i < f->n_lines; i++) {
		puts(f->lines[i].text);
	}
	drop_lines(f);
}

static void show(struct frames *f)
{
	if (f->cli->json) {
		struct json_object *o = f->kind->json(f, f->userdata);

		if (o) {
			cli_print_json(o);
		}
	} else {
		show_text(f);
	}
	fflush(stdout);
	arena_reset(&f->cli->arena);
}

void frames_next(struct frames *f)
{
	show(f);
	f->n_shown++;
	f->is_over = f->is_over || f->n_shown == f->n_max;
}

/* ---- the terminal ---- */

static int on_key(sd_event_source *source _unused_, int fd _unused_, uint32_t revents,
		  void *userdata)
{
	struct frames *f = userdata;
	int key = getch();
	const char *found = key > 0 && key < 128 ? strchr(f->kind->keys, key) : NULL;

	if (key == ERR) {
		/* A terminal that hangs up, or a pipe in its place, has something to tell forever.
		 */
		if (revents & (EPOLLHUP | EPOLLERR)) {
			f->key_source = sd_event_source_disable_unref(f->key_source);
		}
		return 0;
	}
	if (key == 'q' || key == KEY_ESCAPE) {
		f->is_quit = true;
		f->is_over = true;
		return 0;
	}
	if (found) {
		f->column = (size_t)(found - f->kind->keys);
	}
	if (f->is_waiting) {
		show(f);
	}
	return 0;
}

int frames_begin(struct frames *f)
{
	int r;

	if (f->is_batch) {
		return 0;
	}
	f->is_screen = initscr() != NULL;
	noecho();
	cbreak();
	curs_set(0);
	nodelay(stdscr, TRUE);
	r = sd_event_add_io(f->cli->loop, &f->key_source, STDIN_FILENO, EPOLLIN, on_key, f);
	return r == -EPERM ? 0 : r; /* a file or /dev/null, which has no keys */
}

void frames_end(struct frames *f)
{
	f->key_source = sd_event_source_disable_unref(f->key_source);
	if (f->is_screen) {
		endwin();
	}
	f->is_screen = false;
}

int frames_wait(struct frames *f, uint64_t boot_ns)
{
	int r;

	f->is_waiting = true;
	r = follow_until(f->cli, &f->is_over, boot_ns);
	f->is_waiting = false;
	return r;
}

int frames_status(const struct frames *f)
{
	return f->is_quit || f->n_shown >= f->n_max ? CLI_OK : CLI_INTERRUPTED;
}
