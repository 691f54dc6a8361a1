/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Values are bounded so that no sum or product below can overflow.
 */
#include "services/guest-agent/logic/meminfo.h"

#include "libcommon/parse.h"

/* 2^50 KiB are an exbibyte, more than any machine addresses. */
#define MEMORY_MAX_KIB (UINT64_C(1) << 50)

/* "MemTotal:       8049032 kB": true when line is `name` with a sane value. */
static bool take_line(const char *line, size_t len, const char *name, uint64_t *out)
{
	size_t name_len = strlen(name);
	size_t n = 0;

	if (len < name_len || memcmp(line, name, name_len) != 0) {
		return false;
	}
	line += name_len;
	len -= name_len;
	while (len > 0 && (*line == ' ' || *line == '\t')) {
		line++;
		len--;
	}
	while (n < len && line[n] >= '0' && line[n] <= '9') {
		n++;
	}
	return len - n == 3 && memcmp(line + n, " kB", 3) == 0 &&
	       parse_u64(line, n, MEMORY_MAX_KIB, out) == 0;
}

int guest_meminfo_parse(const char *text, size_t len, struct guest_meminfo *out)
{
	bool has_total = false, has_available = false, has_free = false;
	uint64_t total = 0, available = 0, free_kib = 0;

	while (len > 0) {
		const char *end = memchr(text, '\n', len);
		size_t line_len = end ? (size_t)(end - text) : len;

		has_total |= take_line(text, line_len, "MemTotal:", &total);
		has_available |= take_line(text, line_len, "MemAvailable:", &available);
		has_free |= take_line(text, line_len, "MemFree:", &free_kib);
		line_len += end ? 1 : 0;
		text += line_len;
		len -= line_len;
	}
	if (!has_total || (!has_available && !has_free)) {
		return -EINVAL;
	}
	*out = (struct guest_meminfo){ total, has_available ? available : free_kib };
	return 0;
}

bool guest_meminfo_gate_pass(struct guest_meminfo_gate *gate, const struct guest_meminfo *now,
			     uint64_t now_ns, uint64_t interval_ns)
{
	uint64_t told = gate->told.free_kib;
	uint64_t change = now->free_kib > told ? now->free_kib - told : told - now->free_kib;

	if (gate->has_told) {
		if (now_ns - gate->told_at_ns < interval_ns) {
			return false;
		}
		if (now->total_kib == gate->told.total_kib &&
		    change * 100 <= told * GUEST_MEMINFO_CHANGE_PERCENT) {
			return false;
		}
	}
	*gate = (struct guest_meminfo_gate){ *now, now_ns, true };
	return true;
}
