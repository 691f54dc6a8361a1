/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any text as a rule for faults and as the name of a disk: what is accepted
 * can be used up, what is refused leaves nothing and says why.
 */
#include "services/simhost/faults.h"
#include "services/simhost/xstree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true)
{
	if (!is_true) {
		abort();
	}
}

static void try_rule(const char *text)
{
	char why[256] = "";
	struct faults f;
	int r;

	faults_init(&f);
	r = faults_add(&f, text, why, sizeof(why));
	require(r == 0 || (r == 1 && why[0] != '\0'));
	require(list_is_empty(&f.rules) == (r == 1));
	for (int operation = FAULT_ANY; operation <= FAULT_GUEST; operation++) {
		faults_take(&f, (enum fault_operation)operation, "web", "db");
	}
	faults_clear(&f);
	require(list_is_empty(&f.rules));
}

static void try_vdev(const char *text)
{
	uint32_t number = UINT32_MAX;
	int r = xstree_vdev_number(text, &number);

	require(r == 0 || (r == -EINVAL && number == UINT32_MAX));
	require(r < 0 || number < 1U << 29);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1); /* strndup()'s check by ASan reads a byte too many */

	if (text) {
		memcpy(text, data, size);
		text[size] = 0;
		try_rule(text);
		try_vdev(text);
	}
	free(text);
	return 0;
}
