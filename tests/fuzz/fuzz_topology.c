/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any bytes as topology.conf: either complaints, or a topology whose URLs an
 * engine takes.
 */
#include <stdio.h>
#include <sys/mman.h>

#include "bus/engine.h"
#include "bus/topology.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true)
{
	if (!is_true) {
		abort();
	}
}

static void check_endpoint(const struct topology_endpoint *e)
{
	require(e->n_urls <= TOPOLOGY_URLS_MAX);
	for (size_t i = 0; i < e->n_urls; i++) {
		const char *path = topology_url_path(e->urls[i]);

		require(e->engine != NULL);
		require(!path || (path[0] == '/' && strlen(path) <= 107));
		require(!strpbrk(e->urls[i], " \t\n"));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	_cleanup_(topology_freep) struct topology *t = NULL;
	_cleanup_(xclosep) int fd = memfd_create("topology", MFD_CLOEXEC);
	char path[64];
	int r;

	if (fd < 0 || write(fd, data, size) != (ssize_t)size) {
		return 0;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = topology_load(&t, path, &errors);
	require((r == 0) == (t != NULL));
	require((r == -EINVAL) == (errors.len > 0));
	if (!t) {
		return 0;
	}
	for (size_t i = 0; i < topology_n_services(t); i++) {
		const struct topology_service *s = topology_service_at(t, i);

		require(topology_service(t, s->name) == s);
		check_endpoint(&s->pub);
		check_endpoint(&s->rpc);
	}
	return 0;
}
