/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs a fuzz target over files without libFuzzer, so that the corpus and every
 * input that ever found a fault are ordinary regression tests with any compiler
 * and sanitizer.  Arguments: files, or folders whose files are taken.
 */
#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>

#include "libcommon/base.h"

#define INPUT_MAX (64U << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct tally {
	size_t n_ok;
	size_t n_failed;
};

static void fail(struct tally *t, const char *name, const char *path, const char *what)
{
	printf("FAIL %s: %s: %s\n", name, path, what);
	t->n_failed++;
}

/* The input at the end of a block of its own, so that reading beyond it is noticed; NULL when it
 * cannot be read. */
static uint8_t *load(const char *path, size_t size)
{
	uint8_t *data = malloc(MAX(size, 1));
	FILE *f = fopen(path, "rb");
	size_t n = f && data ? fread(data, 1, size, f) : 0;

	if (f) {
		fclose(f);
	}
	if (!f || n != size) {
		free(data);
		return NULL;
	}
	return data;
}

static void run_file(struct tally *t, const char *name, const char *path, size_t size)
{
	uint8_t *data = load(path, size);

	if (!data) {
		fail(t, name, path, "cannot be read");
		return;
	}
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	t->n_ok++;
}

static int is_visible(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

static void run_path(struct tally *t, const char *name, const char *path)
{
	struct dirent **names;
	struct stat st;
	int n;

	if (stat(path, &st) < 0) {
		fail(t, name, path, strerror(errno));
		return;
	}
	if (S_ISREG(st.st_mode)) {
		if (st.st_size > INPUT_MAX) {
			fail(t, name, path, "is too big for an input");
		} else {
			run_file(t, name, path, (size_t)st.st_size);
		}
		return;
	}
	n = scandir(path, &names, is_visible, alphasort);
	if (n < 0) {
		fail(t, name, path, strerror(errno));
		return;
	}
	for (int i = 0; i < n; i++) {
		char file[4096];

		snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name);
		run_path(t, name, file);
		free(names[i]);
	}
	free(names);
}

int main(int argc, char **argv)
{
	const char *slash = strrchr(argv[0], '/');
	const char *name = slash ? slash + 1 : argv[0];
	struct tally t = { 0 };

	for (int i = 1; i < argc; i++) {
		run_path(&t, name, argv[i]);
	}
	if (t.n_ok == 0 && t.n_failed == 0) {
		fail(&t, name, argc > 1 ? argv[1] : "no argument", "there are no inputs");
	}
	if (t.n_failed == 0) {
		printf("ok %s: %zu inputs\n", name, t.n_ok);
	}
	printf("%d passed, %zu failed\n", t.n_failed == 0, t.n_failed);
	return t.n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
