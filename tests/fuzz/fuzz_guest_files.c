/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any bytes as os-release and as meminfo: what comes out is terminated, clean
 * and within its bounds.
 */
#include "services/guest-agent/logic/meminfo.h"
#include "services/guest-agent/logic/osrelease.h"
#include "services/guest-agent/logic/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true)
{
	if (!is_true) {
		abort();
	}
}

static void check_text(const char *text, size_t size)
{
	size_t len = strnlen(text, size);

	require(len < size);
	for (size_t i = 0; i < len; i++) {
		require((unsigned char)text[i] >= 0x20 && text[i] != 0x7f);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	struct guest_meminfo meminfo;
	struct guest_os os;
	char small[16];

	guest_osrelease_parse(text, size, &os);
	check_text(os.name, sizeof(os.name));
	check_text(os.distro, sizeof(os.distro));
	require(os.name[0] != '\0' && os.distro[0] != '\0');
	require(strspn(os.major, "0123456789") == strnlen(os.major, sizeof(os.major)));
	require(strspn(os.minor, "0123456789") == strnlen(os.minor, sizeof(os.minor)));
	guest_text_copy(small, sizeof(small), text, size);
	check_text(small, sizeof(small));
	if (guest_meminfo_parse(text, size, &meminfo) == 0) {
		require(meminfo.total_kib <= UINT64_C(1) << 50);
		require(meminfo.free_kib <= UINT64_C(1) << 50);
	}
	return 0;
}
