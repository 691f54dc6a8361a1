/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "libcommon/log.h"
#include "services/metrics/archive.h"
#include "tests/unit/unit.h"

#define DAY 17280LL /* slots */

static char dir[] = "/tmp/xenmesh-archive-XXXXXX";
static char path[64];

static void fresh(void)
{
	unlink(path);
}

static struct archive *open_fresh(void)
{
	struct archive *a = NULL;

	fresh();
	CU_ASSERT_EQUAL(archive_open(&a, path), 0);
	return a;
}

static void test_archive__averages_min_and_max(void)
{
	struct archive *a = open_fresh();
	int64_t first = 20000 * DAY;

	CU_ASSERT_EQUAL(archive_column(a, "x", "B"), 0);
	for (int64_t i = 0; i < 24; i++) {
		double value = (double)i;

		CU_ASSERT_EQUAL(archive_commit(a, first + i, &value), 0);
	}
	CU_ASSERT_EQUAL(archive_value(a, 0, ARCHIVE_AVERAGE, first + 7, 0), 7);
	CU_ASSERT_EQUAL(archive_last_row(a, 1), first / 12 + 1);
	CU_ASSERT_EQUAL(archive_value(a, 1, ARCHIVE_AVERAGE, first / 12, 0), 5.5);
	CU_ASSERT_EQUAL(archive_value(a, 1, ARCHIVE_MIN, first / 12, 0), 0);
	CU_ASSERT_EQUAL(archive_value(a, 1, ARCHIVE_MAX, first / 12 + 1, 0), 23);
	CU_ASSERT(isnan(archive_value(a, 0, ARCHIVE_AVERAGE, first + 24, 0)));
	CU_ASSERT(isnan(archive_value(a, 0, ARCHIVE_AVERAGE, first - 1, 0)));
	archive_close(a);
}

static void test_archive__unknown_values_are_left_out_of_averages(void)
{
	struct archive *a = open_fresh();
	int64_t first = 20000 * DAY;
	double nan_value = (double)NAN;
	double four = 4;

	archive_column(a, "x", "B");
	for (int64_t i = 0; i < 24; i++) {
		archive_commit(a, first + i, i < 12 && i % 2 ? &four : &nan_value);
	}
	CU_ASSERT_EQUAL(archive_value(a, 1, ARCHIVE_AVERAGE, first / 12, 0), 4);
	CU_ASSERT(isnan(archive_value(a, 1, ARCHIVE_AVERAGE, first / 12 + 1, 0)));
	archive_close(a);
}

static void test_archive__a_gap_is_unknown(void)
{
	struct archive *a = open_fresh();
	int64_t first = 20000 * DAY;
	double v = 10;

	archive_column(a, "x", "B");
	archive_commit(a, first, &v);
	archive_commit(a, first + 30, &v);
	CU_ASSERT_EQUAL(archive_value(a, 0, ARCHIVE_AVERAGE, first, 0), 10);
	CU_ASSERT(isnan(archive_value(a, 0, ARCHIVE_AVERAGE, first + 15, 0)));
	CU_ASSERT_EQUAL(archive_value(a, 0, ARCHIVE_AVERAGE, first + 30, 0), 10);
	CU_ASSERT_EQUAL(archive_value(a, 1, ARCHIVE_AVERAGE, first / 12, 0), 10);
	CU_ASSERT(isnan(archive_value(a, 1, ARCHIVE_AVERAGE, first / 12 + 1, 0)));
	/* Months later nothing old may show through. */
	archive_commit(a, first + 100 * DAY, &v);
	for (int64_t i = 1; i < 120; i++) {
		CU_ASSERT(isnan(archive_value(a, 0, ARCHIVE_AVERAGE, first + 100 * DAY - i, 0)));
	}
	CU_ASSERT_EQUAL(archive_value(a, 0, ARCHIVE_AVERAGE, first + 100 * DAY, 0), 10);
	archive_close(a);
}

static void test_archive__a_slot_is_committed_once(void)
{
	struct archive *a = open_fresh();
	double v = 1;
	double w = 2;

	archive_column(a, "x", "B");
	CU_ASSERT_EQUAL(archive_commit(a, 1000000, &v), 0);
	CU_ASSERT_EQUAL(archive_commit(a, 1000000, &w), 1);
	CU_ASSERT_EQUAL(archive_commit(a, 999999, &w), 1);
	CU_ASSERT_EQUAL(archive_value(a, 0, ARCHIVE_AVERAGE, 1000000, 0), 1);
	archive_close(a);
}

static void test_archive__rewind_forgets_the_future(void)
{
	struct archive *a = open_fresh();
	int64_t first = 20000 * DAY;

	archive_column(a, "x", "B");
	for (int64_t i = 0; i < 60; i++) {
		double v = (double)i;

		archive_commit(a, first + i, &v);
	}
	archive_rewind(a, first + 9);
	CU_ASSERT_EQUAL(archive_last_slot(a), first + 9);
	CU_ASSERT_EQUAL(archive_value(a, 0, ARCHIVE_AVERAGE, first + 9, 0), 9);
	CU_ASSERT(isnan(archive_value(a, 0, ARCHIVE_AVERAGE, first + 10, 0)));
	/* What was written in the future must not come back as an older row of the ring. */
	for (int64_t i = 10; i < 60; i++) {
		CU_ASSERT(isnan(archive_value(a, 0, ARCHIVE_AVERAGE, first + i - 120, 0)));
	}
	archive_close(a);
}

static void test_archive__grows_and_keeps_values(void)
{
	struct archive *a = open_fresh();
	double values[200];
	char name[32];

	for (int i = 0; i < 200; i++) {
		values[i] = i;
	}
	CU_ASSERT_EQUAL(archive_column(a, "first", "B"), 0);
	for (int64_t i = 0; i < 24; i++) {
		archive_commit(a, 12000000 + i, values + 7);
	}
	for (int i = 1; i < 200; i++) {
		snprintf(name, sizeof(name), "source_%d", i);
		CU_ASSERT_EQUAL(archive_column(a, name, "B/s"), i);
	}
	CU_ASSERT_EQUAL(archive_column(a, "source_150", "B/s"), 150);
	archive_commit(a, 12000024, values);
	a = archive_close(a);
	CU_ASSERT_EQUAL(archive_open_existing(&a, path), 0);
	CU_ASSERT_EQUAL(archive_n_columns(a), 200);
	CU_ASSERT_STRING_EQUAL(archive_units(a, 0), "B");
	CU_ASSERT_EQUAL(archive_value(a, 0, ARCHIVE_AVERAGE, 12000023, 0), 7);
	CU_ASSERT_EQUAL(archive_value(a, 1, ARCHIVE_AVERAGE, 1000001, 0), 7);
	CU_ASSERT_EQUAL(archive_value(a, 0, ARCHIVE_AVERAGE, 12000024, 150), 150);
	/* A source has no values from before it was there. */
	CU_ASSERT(isnan(archive_value(a, 0, ARCHIVE_AVERAGE, 12000023, 150)));
	archive_close(a);
}

static void test_archive__refuses_bad_names(void)
{
	struct archive *a = open_fresh();
	char name[ARCHIVE_NAME_MAX + 1];
	int r = 0;

	memset(name, 'n', sizeof(name));
	name[ARCHIVE_NAME_MAX] = 0;
	CU_ASSERT_EQUAL(archive_column(a, name, ""), -EINVAL);
	CU_ASSERT_EQUAL(archive_column(a, "", ""), -EINVAL);
	CU_ASSERT_EQUAL(archive_column(a, "x", "a unit that is too long"), -EINVAL);
	for (int i = 0; i <= ARCHIVE_SOURCES_MAX && r >= 0; i++) {
		snprintf(name, sizeof(name), "%d", i);
		r = archive_column(a, name, "");
	}
	CU_ASSERT_EQUAL(r, -ENOSPC);
	CU_ASSERT_EQUAL(archive_n_columns(a), ARCHIVE_SOURCES_MAX);
	archive_close(a);
}

static void spoil(size_t offset, const void *bytes, size_t len)
{
	FILE *f = fopen(path, "r+e");

	if (f) {
		fseek(f, (long)offset, SEEK_SET);
		fwrite(bytes, 1, len, f);
		fclose(f);
	}
}

static void test_archive__sets_foreign_files_aside(void)
{
	static const uint32_t huge = UINT32_MAX;
	char bad[80];
	struct stat st;

	snprintf(bad, sizeof(bad), "%s.bad", path);
	for (int i = 0; i < 4; i++) {
		struct archive *a = open_fresh();

		archive_column(a, "x", "B");
		a = archive_close(a);
		unlink(bad);
		switch (i) {
		case 0:
			spoil(0, "garbage!", 8);
			break;
		case 1:
			CU_ASSERT_EQUAL(truncate(path, 1000), 0);
			break;
		case 2:
			spoil(12, &huge, 4); /* n_columns */
			break;
		default:
			spoil(16, &huge, 4); /* capacity */
			break;
		}
		CU_ASSERT_EQUAL(archive_open_existing(&a, path), -ENOENT);
		CU_ASSERT_EQUAL(stat(bad, &st), 0);
		CU_ASSERT_EQUAL(archive_open(&a, path), 0);
		CU_ASSERT_EQUAL(archive_n_columns(a), 0);
		archive_close(a);
	}
	unlink(bad);
}

/* As a copy that leaves out zeros: a store into a hole of it would be a SIGBUS when the disk is
 * full. */
static void test_archive__holes_are_filled(void)
{
	struct archive *a = open_fresh();
	double v = 7;
	char head[4096];
	struct stat st;
	int fd;

	archive_column(a, "x", "B");
	archive_commit(a, 20000 * DAY, &v);
	archive_close(a);
	fd = open(path, O_RDWR | O_CLOEXEC);
	CU_ASSERT_EQUAL(fstat(fd, &st), 0);
	CU_ASSERT_EQUAL(read(fd, head, sizeof(head)), (ssize_t)sizeof(head));
	CU_ASSERT_EQUAL(ftruncate(fd, 0), 0);
	CU_ASSERT_EQUAL(ftruncate(fd, st.st_size), 0);
	CU_ASSERT_EQUAL(pwrite(fd, head, sizeof(head), 0), (ssize_t)sizeof(head));
	CU_ASSERT_EQUAL(archive_open_existing(&a, path), 0);
	CU_ASSERT_EQUAL(archive_last_slot(a), 20000 * DAY);
	CU_ASSERT_EQUAL(archive_n_columns(a), 1);
	CU_ASSERT_EQUAL(fstat(fd, &st), 0);
	CU_ASSERT(st.st_blocks * 512LL >= st.st_size);
	archive_close(a);
	close(fd);
}

/* A process that commits as fast as it can is killed at some moment, many times over; whatever
 * is committed must be right each time. */
static void test_archive__survives_kill_9(void)
{
	int64_t first = 20000 * DAY;
	struct archive *a = open_fresh();
	unsigned int n_committed = 0;

	archive_column(a, "x", "B");
	a = archive_close(a);
	for (unsigned int i = 0; i < 50; i++) {
		int status;
		pid_t pid = fork();

		if (pid == 0) {
			if (archive_open_existing(&a, path) < 0) {
				_exit(1);
			}
			for (int64_t s = MAX(archive_last_slot(a) + 1, first);; s++) {
				double v = (double)(s - first);

				archive_commit(a, s, &v);
			}
		}
		usleep(2000 + i * 37);
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		CU_ASSERT_EQUAL(archive_open_existing(&a, path), 0);
		for (int64_t s = MAX(archive_last_slot(a) - 100, first); s <= archive_last_slot(a);
		     s++) {
			CU_ASSERT_EQUAL(archive_value(a, 0, ARCHIVE_AVERAGE, s, 0), s - first);
			n_committed++;
		}
		for (int64_t m = MAX(archive_last_row(a, 1) - 50, first / 12);
		     m <= archive_last_row(a, 1); m++) {
			CU_ASSERT_EQUAL(archive_value(a, 1, ARCHIVE_AVERAGE, m, 0),
					(double)(m * 12 - first) + 5.5);
			CU_ASSERT_EQUAL(archive_value(a, 1, ARCHIVE_MAX, m, 0),
					m * 12 - first + 11);
		}
		a = archive_close(a);
	}
	CU_ASSERT(n_committed > 100);
}

static void test_archive__chooses_a_level(void)
{
	CU_ASSERT_EQUAL(archive_choose(0, 1000, 1300), 0);
	CU_ASSERT_EQUAL(archive_choose(5, 1000, 1600), 0);
	CU_ASSERT_EQUAL(archive_choose(5, 1000, 1601), 1);
	CU_ASSERT_EQUAL(archive_choose(60, 1000, 1010), 1);
	CU_ASSERT_EQUAL(archive_choose(0, 0, 86400), 2);
	CU_ASSERT_EQUAL(archive_choose(0, 0, 86400LL * 3000), 3);
	CU_ASSERT_EQUAL(archive_choose(1000000, 0, 10), 3);
}

int main(void)
{
	const struct unit_test tests[] = {
		UNIT_TEST(test_archive__averages_min_and_max),
		UNIT_TEST(test_archive__unknown_values_are_left_out_of_averages),
		UNIT_TEST(test_archive__a_gap_is_unknown),
		UNIT_TEST(test_archive__a_slot_is_committed_once),
		UNIT_TEST(test_archive__rewind_forgets_the_future),
		UNIT_TEST(test_archive__grows_and_keeps_values),
		UNIT_TEST(test_archive__refuses_bad_names),
		UNIT_TEST(test_archive__sets_foreign_files_aside),
		UNIT_TEST(test_archive__holes_are_filled),
		UNIT_TEST(test_archive__survives_kill_9),
		UNIT_TEST(test_archive__chooses_a_level),
	};
	int status;

	log_init("test_metrics_archive");
	log_set_level(LOG_LEVEL_ERROR);
	if (!mkdtemp(dir)) {
		return EXIT_FAILURE;
	}
	snprintf(path, sizeof(path), "%s/a.xma", dir);
	status = unit_run("archive", tests, ARRAY_LEN(tests));
	unlink(path);
	rmdir(dir);
	return status;
}
