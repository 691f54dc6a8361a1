/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Prefixes are few, so they are compared one by one.
 */
#include "bus/interest.h"

int interest_init(struct interest *i, const char *const *prefixes, size_t n)
{
	if (n > BUS_PREFIXES_MAX) {
		return -EINVAL;
	}
	for (size_t k = 0; k < n; k++) {
		if (strlen(prefixes[k]) > BUS_TOPIC_MAX) {
			return -EINVAL;
		}
		i->prefixes[k] = strdup(prefixes[k]);
		if (!i->prefixes[k]) {
			return -ENOMEM;
		}
		i->n++;
	}
	return 0;
}

void interest_deinit(struct interest *i)
{
	for (size_t k = 0; k < i->n; k++) {
		free(i->prefixes[k]);
	}
	i->n = 0;
}

bool interest_has(const struct interest *i, const char *topic)
{
	return topic_matches(topic, i->prefixes, i->n);
}

bool interest_has_segment(const struct interest *i, const char *segment)
{
	for (size_t k = 0; k < i->n; k++) {
		const char *prefix = i->prefixes[k];
		size_t len = topic_segment_len(prefix);

		if (prefix[len] == '/' ? len == strlen(segment) && !memcmp(prefix, segment, len)
				       : str_starts(segment, prefix)) {
			return true;
		}
	}
	return i->n == 0;
}

void interest_segment_of(const struct interest *i, size_t index, struct interest_segment *out)
{
	const char *prefix = i->prefixes[index];
	size_t len = topic_segment_len(prefix);

	len += prefix[len] == '/';
	memcpy(out->prefix, prefix, len);
	out->prefix[len] = '\0';
}

size_t topic_segment_len(const char *topic)
{
	return strcspn(topic, "/");
}

bool topic_matches(const char *topic, char *const *prefixes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (str_starts(topic, prefixes[i])) {
			return true;
		}
	}
	return n == 0;
}
