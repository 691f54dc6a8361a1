/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What `top` and `bus top` are around what they show: a frame of lines per
 * delay, on the whole terminal with keys or printed one after the other, until
 * a key, a signal or the number of frames ends it.
 *
 * The command waits with frames_wait() for what it shows, and calls frames_next()
 * when it has it.
 */
#include "clients/cli/cli.h"

struct frames;

/* What is the command's own. */
struct frames_kind {
	const char *command;	    /* "top", for messages */
	const char *const *columns; /* to sort by, the first when --sort does not tell; then NULL */
	const char *keys;	    /* a letter for each of them */
	const char *key_help;	    /* the last line of the screen */
	uint64_t delay_min_ms;
	const char *delay_min; /* the same in words, for messages */
	/* The frame as it is now, by frames_line(); no line: nothing to show yet. */
	void (*text)(struct frames *f, void *userdata);
	/* The same for --json, NULL for nothing to show; consumed. */
	struct json_object *(*json)(const struct frames *f, void *userdata);
};

struct frames {
	const struct frames_kind *kind;
	struct cli *cli;
	void *userdata; /* of the kind's functions */
	bool is_batch;	/* printed; else the terminal is ours from frames_begin() on */
	uint64_t delay_ns;
	size_t column; /* to sort by, index into the kind's columns */
	bool is_over;  /* set it to end, after saying why */

	/* Its own. */
	uint64_t n_max; /* 0 = no end */
	uint64_t n_shown;
	bool is_screen, is_quit;
	bool is_waiting; /* else a call may go on, whose answer is in the arena */
	sd_event_source *key_source;
	struct frames_line *lines;
	size_t n_lines, n_allocated;
};

/* Takes -b, -n, -d and -s of argv, which must leave nothing. CLI_OK, or CLI_USAGE after saying what
 * is wrong, or CLI_FAILURE after saying that the terminal cannot be drawn on. kind must outlive f.
 */
int frames_init(struct frames *f, const struct frames_kind *kind, struct cli *cli, void *userdata,
		int argc, char **argv);
/* Idempotent, also for a zeroed one. */
void frames_deinit(struct frames *f);

/* Takes the terminal and its keys, unless it is a batch: nothing else may be written from now on.
 * 0 or -errno. */
int frames_begin(struct frames *f);
/* Gives the terminal back; idempotent. */
void frames_end(struct frames *f);

/* Runs the loop until the time, CLOCK_BOOTTIME (0 = never), or is_over, which a key, SIGINT and
 * SIGTERM set too. Keys draw the present frame again, with the order they choose. 0 or -errno. */
int frames_wait(struct frames *f, uint64_t boot_ns);
/* Shows a frame and counts it; is_over with the last. Resets the arena of cli. */
void frames_next(struct frames *f);
/* The exit code when it is over: CLI_INTERRUPTED for a signal before all frames that --frames wants
 * were there, else CLI_OK. */
int frames_status(const struct frames *f);

/* For `text`: the next line, with control characters escaped by the caller. One that there is no
 * memory for is left out. Titles are marked on a screen. */
void frames_line(struct frames *f, bool is_title, const char *format, ...) _printf_(3, 4);
