/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "clients/cli/probe.h"

#include <stdio.h>
#include <sys/stat.h>

#include "libcommon/clock.h"

#define ACCEPTS_CONNECTIONS 0x10000U /* __SO_ACCEPTCON of /proc/net/unix */

uint64_t probe_stat(const Xenmesh__V1__StatsReply *stats, const char *name)
{
	for (size_t i = 0; stats && i < stats->n_stats; i++) {
		if (streq(stats->stats[i]->name, name)) {
			return stats->stats[i]->value;
		}
	}
	return 0;
}

/* Whether a process listens at the path, without disturbing it: num, refs, protocol, flags, type,
 * state, inode, path. */
static bool has_listener(const char *wanted)
{
	FILE *f = fopen("/proc/net/unix", "re");
	char line[512];
	bool is_found = false;

	while (f && !is_found && fgets(line, sizeof(line), f)) {
		char path[256];
		unsigned int flags;

		is_found = sscanf(line, "%*x: %*x %*x %x %*x %*x %*u %255[^\n]", &flags, path) ==
				   2 &&
			   flags & ACCEPTS_CONNECTIONS && streq(path, wanted);
	}
	if (f) {
		fclose(f);
	}
	return is_found;
}

static enum probe_state state_without_answer(const struct probe *p)
{
	struct stat st;

	if (p->reply.is_connected) {
		return PROBE_DEAF;
	}
	if (!p->path) {
		return PROBE_UNREACHABLE;
	}
	if (stat(p->path, &st) == 0) {
		if (access(p->path, W_OK) < 0) {
			return PROBE_DENIED;
		}
		return has_listener(p->path) ? PROBE_DEAF : PROBE_DOWN;
	}
	return errno == EACCES ? PROBE_DENIED : PROBE_MISSING;
}

static enum probe_state state_of(const struct probe *p)
{
	switch (p->reply.code) {
	case CODE_OK:
		return PROBE_UP;
	case CODE_PERMISSION_DENIED:
	case CODE_UNAUTHENTICATED:
		return PROBE_DENIED;
	case CODE_UNAVAILABLE:
	case CODE_DEADLINE_EXCEEDED:
		return state_without_answer(p);
	default:
		return PROBE_ERROR;
	}
}

/* The owner of the process; it may be gone already. */
static void look_up_uid(struct probe *p)
{
	char path[32];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%u", p->about->pid);
	p->has_uid = p->path && stat(path, &st) == 0;
	p->uid = p->has_uid ? st.st_uid : 0;
}

void probe_stats(struct cli *cli, struct probe *probes, size_t n, uint32_t timeout_ms)
{
	Xenmesh__V1__StatsRequest request = XENMESH__V1__STATS_REQUEST__INIT;
	struct cli_pending *calls = calloc(MAX(n, 1), sizeof(*calls));
	size_t n_calls = 0;

	for (size_t i = 0; calls && i < n; i++) {
		if (probes[i].state == PROBE_UP) {
			calls[n_calls].service = probes[i].service->name;
			calls[n_calls].method = "xenmesh.v1.Bus/Stats";
			calls[n_calls++].request = &request.base;
		}
	}
	if (calls) {
		cli_call_all(cli, calls, n_calls, timeout_ms);
	}
	for (size_t i = 0, j = 0; calls && i < n; i++) {
		if (probes[i].state == PROBE_UP) {
			probes[i].stats = (const void *)calls[j++].reply.payload;
		}
	}
	free(calls);
}

struct probe *probe_all(struct cli *cli, uint32_t timeout_ms)
{
	Xenmesh__V1__DescribeRequest request = XENMESH__V1__DESCRIBE_REQUEST__INIT;
	size_t n = topology_n_services(cli->topology);
	struct probe *probes = calloc(MAX(n, 1), sizeof(*probes));
	_cleanup_(xfreep) struct cli_pending *calls = calloc(MAX(n, 1), sizeof(*calls));

	if (!probes || !calls) {
		free(probes);
		return NULL;
	}
	for (size_t i = 0; i < n; i++) {
		probes[i].service = topology_service_at(cli->topology, i);
		calls[i].service = probes[i].service->name;
		calls[i].method = "xenmesh.v1.Bus/Describe";
		calls[i].request = &request.base;
	}
	cli_call_all(cli, calls, n, timeout_ms);
	for (size_t i = 0; i < n; i++) {
		const struct topology_endpoint *rpc = &probes[i].service->rpc;

		probes[i].reply = calls[i].reply;
		probes[i].path = rpc->n_urls ? topology_url_path(rpc->urls[0]) : NULL;
		probes[i].state = state_of(&probes[i]);
		if (probes[i].state == PROBE_UP) {
			probes[i].about = (const void *)calls[i].reply.payload;
			probes[i].answered_real_ns = clock_real_ns();
			look_up_uid(&probes[i]);
		}
	}
	probe_stats(cli, probes, n, timeout_ms);
	return probes;
}

const char *probe_state_name(enum probe_state state)
{
	static const char *const names[] = {
		[PROBE_UP] = "up",	   [PROBE_MISSING] = "missing",
		[PROBE_DOWN] = "down",	   [PROBE_DEAF] = "deaf",
		[PROBE_DENIED] = "denied", [PROBE_UNREACHABLE] = "unreachable",
		[PROBE_ERROR] = "error",
	};

	return names[state];
}

const char *probe_advice(struct cli *cli, const struct probe *p)
{
	const char *name = p->service->name;
	const char *slash = strrchr(name, '/');
	const char *where = slash ? arena_printf(&cli->arena, "ssh %.*s ", (int)(slash - name),
						 name)
				  : "";
	const char *verb = p->state == PROBE_DEAF ? "restart" : "start";

	/* Nothing was sent: it is on our side. */
	if (p->state == PROBE_UNREACHABLE && !p->reply.took_ns) {
		return "sudo xenmesh bus doctor";
	}
	switch (p->state) {
	case PROBE_UP:
		return "";
	case PROBE_DENIED:
		if (p->path && access(p->path, W_OK) < 0 && errno == EACCES) {
			return arena_printf(&cli->arena, "namei -l %s", p->path);
		}
		return "ask for a role in [access] of the topology";
	case PROBE_ERROR:
		return arena_printf(&cli->arena, "%sjournalctl -u xenmesh-%s", where,
				    slash ? slash + 1 : name);
	default:
		return arena_printf(&cli->arena, "%ssystemctl %s xenmesh-%s", where, verb,
				    slash ? slash + 1 : name);
	}
}
