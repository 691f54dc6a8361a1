/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A subscriber for the tests of the bus: bus_testsub TOPOLOGY [PREFIX...].
 * Mirrors the service "test".  For each line on standard input it writes
 * what it has: a line "TOPIC VALUE" for each topic, then
 *   end synced=0|1 states=N removed=N gaps=N missed=N resyncs=N downs=N went_back=N
 * It ends with its standard input.
 */
#include <stdio.h>

#include "bus/sub.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"
#include "libcommon/map.h"

struct mirror {
	uint8_t instance[16];
	uint64_t value;
	char topic[];
};

struct testsub {
	sd_event *loop;
	struct bus_sub *sub;
	struct map topics;
	unsigned long n_states, n_removed, n_gaps, n_resyncs, n_downs, n_went_back;
	unsigned long long n_missed;
};

static void set_topic(struct testsub *t, const struct bus_sub_event *e)
{
	struct mirror *m = map_get_str(&t->topics, e->topic);
	uint64_t value = strtoull(e->event->task->step, NULL, 10);
	size_t size = strlen(e->topic) + 1;

	if (!m) {
		m = calloc(1, sizeof(*m) + size);
		if (!m || map_set_str(&t->topics, e->topic, m, NULL) < 0) {
			abort();
		}
		memcpy(m->topic, e->topic, size);
	} else if (memcmp(m->instance, e->event->instance.data, 16) == 0 && value <= m->value) {
		t->n_went_back++;
	}
	memcpy(m->instance, e->event->instance.data, 16);
	m->value = value;
}

static void on_sub(struct bus_sub *s _unused_, const struct bus_sub_event *e, void *userdata)
{
	struct testsub *t = userdata;

	switch (e->what) {
	case BUS_SUB_LOST:
		break; /* bus_testpub has nothing transient */
	case BUS_SUB_STATE:
		t->n_states++;
		set_topic(t, e);
		break;
	case BUS_SUB_REMOVED:
		t->n_removed++;
		free(map_remove_str(&t->topics, e->topic));
		break;
	case BUS_SUB_RESYNCED:
		t->n_resyncs++;
		break;
	case BUS_SUB_GAP:
		t->n_gaps++;
		t->n_missed += e->missed;
		break;
	case BUS_SUB_DOWN:
		t->n_downs++;
		break;
	}
}

static void dump(struct testsub *t)
{
	for (struct map_iter i = map_begin(&t->topics); map_next(&t->topics, &i);) {
		const struct mirror *m = i.value;

		printf("%s %llu\n", m->topic, (unsigned long long)m->value);
	}
	printf("end synced=%d states=%lu removed=%lu gaps=%lu missed=%llu resyncs=%lu downs=%lu "
	       "went_back=%lu\n",
	       bus_sub_is_synced(t->sub), t->n_states, t->n_removed, t->n_gaps, t->n_missed,
	       t->n_resyncs, t->n_downs, t->n_went_back);
	fflush(stdout);
}

static int on_stdin(sd_event_source *source _unused_, int fd, uint32_t revents _unused_,
		    void *userdata)
{
	struct testsub *t = userdata;
	char buffer[64];
	ssize_t n = read(fd, buffer, sizeof(buffer));

	for (ssize_t i = 0; i < n; i++) {
		if (buffer[i] == '\n') {
			dump(t);
		}
	}
	return n > 0 ? 0 : sd_event_exit(t->loop, 0);
}

int main(int argc, char **argv)
{
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL;
	_cleanup_(topology_freep) struct topology *topology = NULL;
	struct testsub t = { 0 };
	int r;

	log_init("bus_testsub");
	if (argc < 2) {
		fprintf(stderr, "usage: bus_testsub TOPOLOGY [PREFIX...]\n");
		return EXIT_FAILURE;
	}
	if (topology_load(&topology, argv[1], &errors) < 0) {
		fprintf(stderr, "%s", strbuf_str(&errors));
		return EXIT_FAILURE;
	}
	r = loop_new(&t.loop);
	if (r >= 0) {
		r = sd_event_add_io(t.loop, NULL, STDIN_FILENO, EPOLLIN, on_stdin, &t);
	}
	if (r >= 0) {
		r = bus_sub_new(&t.sub, t.loop, topology, "test", (const char *const *)argv + 2,
				(size_t)argc - 2, "bus_testsub", on_sub, &t);
	}
	r = r < 0 ? r : loop_run(t.loop);
	bus_sub_free(t.sub);
	for (struct map_iter i = map_begin(&t.topics); map_next(&t.topics, &i);) {
		free(i.value);
	}
	map_deinit(&t.topics);
	sd_event_unref(t.loop);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
