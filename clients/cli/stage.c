/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "clients/cli/stage.h"

#include <sys/stat.h>

#include "bus/service.h"
#include "libcommon/err.h"

/* The topology of the host, whatever options and environment say. NULL when it cannot be read. */
static struct topology *load_own(void)
{
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	const char *set = getenv("XENMESH_TOPOLOGY");
	char *saved = set ? strdup(set) : NULL;
	struct topology *own = NULL;

	unsetenv("XENMESH_TOPOLOGY");
	if (topology_load(&own, NULL, &errors) < 0) {
		own = NULL;
	}
	if (saved) {
		setenv("XENMESH_TOPOLOGY", saved, 1);
		free(saved);
	}
	return own;
}

static bool has_url(const struct topology_endpoint *e, const char *url)
{
	for (size_t i = 0; i < e->n_urls; i++) {
		if (streq(e->urls[i], url)) {
			return true;
		}
	}
	return false;
}

static bool is_url_of_any(const struct topology *t, const char *url)
{
	for (size_t i = 0; i < topology_n_services(t); i++) {
		const struct topology_service *s = topology_service_at(t, i);

		if (has_url(&s->pub, url) || has_url(&s->rpc, url)) {
			return true;
		}
	}
	return false;
}

bool stage_is_live(const struct cli *cli, const char *service)
{
	const struct topology_service *s = topology_service(cli->topology, service);
	_cleanup_(topology_freep) struct topology *own = load_own();

	if (!s || !own) {
		return true;
	}
	for (size_t i = 0; i < s->pub.n_urls; i++) {
		if (is_url_of_any(own, s->pub.urls[i])) {
			return true;
		}
	}
	for (size_t i = 0; i < s->rpc.n_urls; i++) {
		if (is_url_of_any(own, s->rpc.urls[i])) {
			return true;
		}
	}
	return false;
}

int stage_add(struct stage *s, struct cli *cli, const char *service, bool i_know)
{
	struct bus_service_config config = { .topology = cli->topology,
					     .name = service,
					     .version = XENMESH_VERSION };
	int r = cli_check_service(cli, service);

	if (r) {
		return r;
	}
	if (!i_know && stage_is_live(cli, service)) {
		cli_error("that would be %s of this host itself, at %s; choose a test bus with "
			  "--socket-dir or --topology, or insist with --i-know",
			  service, topology_service(cli->topology, service)->pub.urls[0]);
		return CLI_FAILURE;
	}
	if (s->n == STAGE_SERVICES_MAX) {
		cli_error("more than %d services", STAGE_SERVICES_MAX);
		return CLI_FAILURE;
	}
	/* Else the first use of a test bus would begin with an error. */
	if (cli->socket_dir && mkdir(cli->socket_dir, 0755) < 0 && errno != EEXIST) {
		cli_error("cannot make %s: %s", cli->socket_dir, strerror(errno));
		return CLI_FAILURE;
	}
	r = bus_service_new(&s->services[s->n], cli->loop, &config);
	if (r < 0) {
		cli_error("cannot stand in for %s: %s", service,
			  r == -EADDRINUSE ? "it is running" : err_text(r));
		return CLI_FAILURE;
	}
	s->names[s->n++] = topology_service(cli->topology, service)->name;
	return CLI_OK;
}

struct bus_pub *stage_pub(const struct stage *s, const char *service)
{
	for (size_t i = 0; i < s->n; i++) {
		if (streq(s->names[i], service)) {
			return bus_service_pub(s->services[i]);
		}
	}
	return NULL;
}

static void on_stat(const char *name, uint64_t value, void *userdata)
{
	if (streq(name, "pub.subscribers")) {
		*(uint64_t *)userdata += value;
	}
}

uint64_t stage_subscribers(const struct stage *s)
{
	uint64_t n = 0;

	for (size_t i = 0; i < s->n; i++) {
		bus_pub_stats(bus_service_pub(s->services[i]), on_stat, &n);
	}
	return n;
}

void stage_close(struct stage *s)
{
	for (size_t i = 0; i < s->n; i++) {
		bus_service_free(s->services[i]);
	}
	s->n = 0;
}
