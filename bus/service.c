/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Publisher and server of one service, and the methods of xenmesh.v1.Bus.
 */
#include "bus/service.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>

#include "bus/limits.h"
#include "bus/rpctrace.h"
#include "bus/server_internal.h"
#include "bus/sp_inherit.h"
#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/parse.h"

#define ECHO_MAX     (64U << 10)	       /* of Ping */
#define FILES_WANTED (4 * BUS_CONNECTIONS_MAX) /* see max_connections() of sp_pool.c */

struct bus_service {
	struct bus_service_config config;
	struct bus_pub *pub;
	struct bus_server *server;
	struct rpc_trace *trace;
	uint64_t started_real_ns, started_boot_ns;
};

/* ---- Ping, Describe ---- */

static ProtobufCBinaryData instance_of(const struct bus_service *s)
{
	const struct uuid *instance = bus_pub_instance(s->pub);

	return (ProtobufCBinaryData){ .len = sizeof(instance->bytes),
				      .data = (uint8_t *)instance->bytes };
}

static void on_ping(struct bus_call *call, const ProtobufCMessage *request, void *userdata)
{
	const Xenmesh__V1__PingRequest *ping = (const Xenmesh__V1__PingRequest *)request;
	Xenmesh__V1__PingReply reply = XENMESH__V1__PING_REPLY__INIT;
	struct bus_service *s = userdata;

	if (ping->echo.len > ECHO_MAX) {
		bus_call_fail(call, CODE_INVALID_ARGUMENT,
			      "echo has %zu bytes, at most %u come back", ping->echo.len, ECHO_MAX);
		return;
	}
	reply.echo = ping->echo;
	reply.service = (char *)s->config.name;
	reply.instance = instance_of(s);
	bus_call_reply(call, &reply.base);
}

static void fill_method(Xenmesh__V1__MethodInfo *info, const struct bus_method *m)
{
	xenmesh__v1__method_info__init(info);
	info->name = (char *)m->name;
	info->role = (Xenmesh__V1__Role)m->role;
	info->mutating = m->mutating;
	info->input = (char *)m->input->name;
	info->output = (char *)m->output->name;
	info->doc = (char *)m->doc;
}

static void on_describe(struct bus_call *call, const ProtobufCMessage *request, void *userdata)
{
	const Xenmesh__V1__DescribeRequest *r = (const Xenmesh__V1__DescribeRequest *)request;
	Xenmesh__V1__DescribeReply reply = XENMESH__V1__DESCRIBE_REPLY__INIT;
	struct bus_service *s = userdata;
	_cleanup_(xfreep) Xenmesh__V1__MethodInfo *infos = calloc(bus_n_methods, sizeof(*infos));
	_cleanup_(xfreep) Xenmesh__V1__MethodInfo **list = calloc(bus_n_methods, sizeof(*list));

	if (!infos || !list) {
		bus_call_fail(call, CODE_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	for (size_t i = 0; i < bus_n_methods; i++) {
		if (s->server->slots[i].fn) {
			list[reply.n_methods] = &infos[reply.n_methods];
			fill_method(list[reply.n_methods++], &bus_methods[i]);
		}
	}
	reply.methods = list;
	reply.service = (char *)s->config.name;
	reply.version = (char *)s->config.version;
	reply.instance = instance_of(s);
	reply.pid = (uint32_t)getpid();
	reply.started_ns = s->started_real_ns;
	if (r->with_descriptors) {
		reply.descriptors.data = (uint8_t *)bus_descriptors;
		reply.descriptors.len = bus_descriptors_len;
	}
	bus_call_reply(call, &reply.base);
}

/* ---- Snapshot, Changes ---- */

static bool are_prefixes_valid(struct bus_call *call, char *const *prefixes, size_t n)
{
	if (n > BUS_PREFIXES_MAX) {
		bus_call_fail(call, CODE_INVALID_ARGUMENT, "%zu prefixes, at most %d are allowed",
			      n, BUS_PREFIXES_MAX);
		return false;
	}
	for (size_t i = 0; i < n; i++) {
		if (strlen(prefixes[i]) > BUS_TOPIC_MAX) {
			bus_call_fail(call, CODE_INVALID_ARGUMENT,
				      "a prefix has more than %d bytes, as no topic has",
				      BUS_TOPIC_MAX);
			return false;
		}
	}
	return true;
}

static void reply_page(struct bus_call *call, int r, uint8_t *page, size_t len)
{
	if (r < 0) {
		bus_call_fail(call, CODE_RESOURCE_EXHAUSTED, "%s", err_text(r));
		return;
	}
	bus_call_reply_raw(call, page, len);
	free(page);
}

static void on_snapshot(struct bus_call *call, const ProtobufCMessage *request, void *userdata)
{
	const Xenmesh__V1__SnapshotRequest *q = (const Xenmesh__V1__SnapshotRequest *)request;
	struct bus_service *s = userdata;
	uint8_t *page = NULL;
	size_t len = 0;
	int r;

	if (!are_prefixes_valid(call, q->prefixes, q->n_prefixes)) {
		return;
	}
	r = bus_pub_snapshot(s->pub, q->after_seq, q->prefixes, q->n_prefixes, &page, &len);
	reply_page(call, r, page, len);
}

static void on_changes(struct bus_call *call, const ProtobufCMessage *request, void *userdata)
{
	const Xenmesh__V1__ChangesRequest *q = (const Xenmesh__V1__ChangesRequest *)request;
	struct bus_service *s = userdata;
	uint8_t *page = NULL;
	size_t len = 0;
	int r;

	if (!are_prefixes_valid(call, q->prefixes, q->n_prefixes)) {
		return;
	}
	r = bus_pub_changes(s->pub, q->instance.data, q->instance.len, q->since_seq, q->prefixes,
			    q->n_prefixes, &page, &len);
	reply_page(call, r, page, len);
}

/* ---- Stats ---- */

/* The counters that are wanted, in the arena of the call. */
struct stat_list {
	struct arena *arena;
	const char *prefix;
	Xenmesh__V1__Stat **stats;
	size_t n, size;
	bool is_cut;
};

static void add_stat(const char *name, uint64_t value, void *userdata)
{
	struct stat_list *list = userdata;
	Xenmesh__V1__Stat *stat;

	if (!str_starts(name, list->prefix)) {
		return;
	}
	if (list->n == list->size) {
		size_t size = MAX(2 * list->size, 64U);
		Xenmesh__V1__Stat **more = realloc(list->stats, size * sizeof(Xenmesh__V1__Stat *));

		if (!more) {
			list->is_cut = true;
			return;
		}
		list->stats = more;
		list->size = size;
	}
	stat = arena_alloc(list->arena, sizeof(*stat));
	if (!stat) {
		list->is_cut = true;
		return;
	}
	xenmesh__v1__stat__init(stat);
	stat->name = arena_strndup(list->arena, name, strlen(name));
	stat->value = value;
	if (!stat->name) {
		list->is_cut = true;
		return;
	}
	list->stats[list->n++] = stat;
}

static size_t count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t n = 0;

	if (!dir) {
		return 0;
	}
	for (const struct dirent *d = readdir(dir); d; d = readdir(dir)) {
		n += d->d_name[0] != '.';
	}
	closedir(dir);
	return n > 0 ? n - 1 : 0; /* without the directory's own */
}

static void process_stats(const struct bus_service *s, bus_stat_fn fn, void *userdata)
{
	FILE *f = fopen("/proc/self/status", "re");
	char line[256];

	while (f && fgets(line, sizeof(line), f)) {
		unsigned long long value;

		if (sscanf(line, "VmRSS: %llu", &value) == 1) {
			fn("process.rss_kib", value, userdata);
		} else if (sscanf(line, "Threads: %llu", &value) == 1) {
			fn("process.threads", value, userdata);
		}
	}
	if (f) {
		fclose(f);
	}
	fn("process.fds", count_fds(), userdata);
	fn("process.uptime_s", (clock_boot_ns() - s->started_boot_ns) / NSEC_PER_SEC, userdata);
}

static void on_stats(struct bus_call *call, const ProtobufCMessage *request, void *userdata)
{
	const Xenmesh__V1__StatsRequest *q = (const Xenmesh__V1__StatsRequest *)request;
	Xenmesh__V1__StatsReply reply = XENMESH__V1__STATS_REPLY__INIT;
	struct bus_service *s = userdata;
	struct arena arena;
	struct stat_list list = { .arena = &arena, .prefix = q->prefix };

	arena_init(&arena, BUS_REPLY_MAX);
	bus_pub_stats(s->pub, add_stat, &list);
	bus_server_stats(s->server, add_stat, &list);
	process_stats(s, add_stat, &list);
	if (s->config.stats) {
		s->config.stats(s->config.userdata, add_stat, &list);
	}
	reply.stats = list.stats;
	reply.n_stats = list.n;
	reply.log_level = (char *)log_level_name(log_level());
	if (list.is_cut) {
		bus_call_fail(call, CODE_RESOURCE_EXHAUSTED, "too many counters; give a prefix");
	} else {
		bus_call_reply(call, &reply.base);
	}
	free(list.stats);
	arena_deinit(&arena);
}

/* ---- SetLogLevel ---- */

static void on_set_log_level(struct bus_call *call, const ProtobufCMessage *request,
			     void *userdata _unused_)
{
	const Xenmesh__V1__SetLogLevelRequest *q = (const Xenmesh__V1__SetLogLevelRequest *)request;
	Xenmesh__V1__SetLogLevelReply reply = XENMESH__V1__SET_LOG_LEVEL_REPLY__INIT;
	enum log_level level;

	if (log_level_parse(q->level, &level) < 0) {
		bus_call_fail(
			call, CODE_INVALID_ARGUMENT,
			"unknown level '%.32s'; there are error, warning, notice, info and debug",
			q->level);
		return;
	}
	reply.previous = (char *)log_level_name(log_level());
	log_set_level(level);
	log_info("log level is %s now, set by %s", log_level_name(level), bus_call_client(call));
	bus_call_reply(call, &reply.base);
}

/* ---- the service ---- */

static const struct bus_handler own_handlers[] = {
	{ "xenmesh.v1.Bus/Ping", on_ping },
	{ "xenmesh.v1.Bus/Describe", on_describe },
	{ "xenmesh.v1.Bus/Snapshot", on_snapshot },
	{ "xenmesh.v1.Bus/Changes", on_changes },
	{ "xenmesh.v1.Bus/Stats", on_stats },
	{ "xenmesh.v1.Bus/SetLogLevel", on_set_log_level },
};

/* The soft limit of 1024 is for programs that use select(2), and one user's share of it is little.
 */
static void raise_file_limit(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < FILES_WANTED) {
		files.rlim_cur = MIN(files.rlim_max, (rlim_t)FILES_WANTED);
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

static int open_sockets(struct bus_service *s, sd_event *loop, const struct topology_service *where)
{
	const struct bus_service_config *c = &s->config;
	const struct bus_server_config config = {
		.service = where,
		.topology = c->topology,
		.handlers = c->handlers,
		.n_handlers = c->n_handlers,
		.dedup = c->dedup,
		.userdata = c->userdata,
	};
	int r = bus_pub_new(&s->pub, loop, where, c->topology);

	if (r == 0) {
		r = bus_server_new(&s->server, loop, &config);
	}
	if (r == 0) {
		r = bus_server_add(s->server, own_handlers, ARRAY_LEN(own_handlers), s);
	}
	return r < 0 ? r : rpc_trace_new(&s->trace, loop, s->server, s->pub, c->name);
}

int bus_service_new(struct bus_service **out, sd_event *loop,
		    const struct bus_service_config *config)
{
	const struct topology_service *where = topology_service(config->topology, config->name);
	struct bus_service *s;
	int r;

	if (!where || where->pub.n_urls == 0 || where->rpc.n_urls == 0) {
		log_error("the topology (%s) does not say where '%s' listens; give pub and rpc in "
			  "[service %s]",
			  topology_origin(config->topology), config->name, config->name);
		return -ENOENT;
	}
	s = calloc(1, sizeof(*s));
	if (!s) {
		return -ENOMEM;
	}
	s->config = *config;
	s->started_real_ns = clock_real_ns();
	s->started_boot_ns = clock_boot_ns();
	raise_file_limit();
	r = open_sockets(s, loop, where);
	if (r < 0) {
		bus_service_free(s);
		return err_trace(r);
	}
	sp_inherit_finish();
	*out = s;
	return 0;
}

struct bus_service *bus_service_free(struct bus_service *s)
{
	if (s) {
		rpc_trace_free(s->trace);
		bus_server_free(s->server);
		bus_pub_free(s->pub);
		free(s);
	}
	return NULL;
}

struct bus_pub *bus_service_pub(struct bus_service *s)
{
	return s->pub;
}
